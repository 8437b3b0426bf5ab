//! What clients are doing, at one moment: for INFO and metrics. Looks only at what they have published.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Source;
use crate::client::{ClientFlags, ClientInfo};

/// Figures about all clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientFacts {
    /// Without replicas.
    pub(crate) connected: usize,
    pub(crate) watching: usize,
    pub(crate) listening: usize,
    /// Bytes of the largest query buffer, and of the largest output.
    pub(crate) input_max: usize,
    pub(crate) output_max: usize,
    /// Clients of each worker.
    pub(crate) by_worker: Vec<usize>,
    /// Query and output buffers of clients, and of replicas.
    pub(crate) buffer_bytes: u64,
    pub(crate) replica_buffer_bytes: u64,
}

impl ClientFacts {
    pub(crate) fn gather(source: &Source<'_>) -> Self {
        let mut facts = Self { by_worker: vec![0; source.server.workers.len()], ..Self::default() };
        source.server.clients.list().iter().for_each(|it| facts.add(it));
        facts
    }

    fn add(&mut self, client: &ClientInfo) {
        let number = |it: &AtomicUsize| it.load(Ordering::Relaxed);
        let flags = client.flags();
        let query = number(&client.query_len) + number(&client.query_free);
        let output = number(&client.output_bytes);
        self.input_max = self.input_max.max(query);
        self.output_max = self.output_max.max(output);
        self.watching += usize::from(number(&client.watching) != 0);
        self.listening += usize::from(flags.contains(ClientFlags::PUBSUB));
        if let Some(count) = self.by_worker.get_mut(client.worker) {
            *count += 1;
        }
        let buffers = (query + output) as u64;
        if flags.contains(ClientFlags::REPLICA) {
            self.replica_buffer_bytes += buffers;
        } else {
            self.connected += 1;
            self.buffer_bytes += buffers;
        }
    }
}
