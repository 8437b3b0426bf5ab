//! Closing connections when all clients together take more memory than `maxmemory-clients`: the largest first. Looks
//! only at what clients have published. Never evicts a key.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::client::line::log_line;
use crate::client::{Client, ClientFlags, ClientInfo};
use crate::core::Core;

impl Core {
    /// Counts what a client takes now in place of what it took before.
    #[inline]
    pub(crate) fn count_client(&mut self, client: &mut Client) {
        let bytes = evictable_bytes(&client.info);
        if bytes != client.traffic.counted_bytes {
            let gauge = &self.stats().client_bytes;
            gauge.set(gauge.get() - client.traffic.counted_bytes as u64 + bytes as u64);
            client.traffic.counted_bytes = bytes;
        }
    }

    /// Takes a client that goes away out of the count.
    pub(crate) fn uncount_client(&mut self, client: &mut Client) {
        let gauge = &self.stats().client_bytes;
        gauge.set(gauge.get() - client.traffic.counted_bytes as u64);
        client.traffic.counted_bytes = 0;
    }

    /// Closes the largest connections, if all together take more than they may.
    #[inline]
    pub(crate) fn evict_clients(&mut self, bytes_max: u64) {
        if bytes_max != 0 && bytes_max < self.server.total(|it| it.client_bytes.get()) {
            self.evict_largest_clients(bytes_max);
        }
    }

    #[cold]
    fn evict_largest_clients(&mut self, bytes_max: u64) {
        // Whoever holds it does what is needed.
        let server = self.server;
        if let Some(_eviction) = server.client_eviction.turn.try_lock() {
            self.kill_largest_clients(bytes_max);
        }
    }

    /// As [`Self::evict_clients`], by what clients have published by now rather than by what their workers have counted: whoever
    /// is shown clients sees none that were to go. Returns whether any went.
    pub(crate) fn evict_clients_at_once(&mut self) -> bool {
        let (server, bytes_max) = (self.server, self.settings.client_bytes_max);
        if bytes_max == 0 {
            return false;
        }
        let _eviction = server.client_eviction.turn.lock();
        self.kill_largest_clients(bytes_max)
    }

    fn kill_largest_clients(&mut self, bytes_max: u64) -> bool {
        let server = self.server;
        let sized = |info: Arc<ClientInfo>| (evictable_bytes(&info) as u64, info);
        let mut clients: Vec<_> = server.clients.list().into_iter().map(sized).collect();
        let mut bytes: u64 = clients.iter().map(|it| it.0).sum();
        clients.sort_by_key(|it| it.0);
        let mut has_killed = false;
        while bytes_max < bytes {
            let Some((client_bytes, info)) = clients.pop().filter(|it| it.0 != 0) else { break };
            let line = log_line(&server.commands, &info, self.now, &server.config.load());
            tracing::info!("Evicting client: {line}");
            server.kill(&info);
            self.stats().evicted_clients.add(1);
            bytes -= client_bytes;
            has_killed = true;
        }
        has_killed
    }
}

/// The memory of a client, as far as it counts here.
fn evictable_bytes(info: &ClientInfo) -> usize {
    let is_exempt =
        info.flags().intersects(ClientFlags::NO_EVICT | ClientFlags::REPLICA | ClientFlags::MASTER);
    if is_exempt { 0 } else { info.total_bytes.load(Ordering::Relaxed) }
}
