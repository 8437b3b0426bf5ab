//! Clients of the TLS port that have yet to agree with the server on how they speak: so many in a turn, so that a storm of
//! them does not hold up those that are there already. Also says who speaks otherwise than its port.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::Ordering;

use rubine_net::tls::stream::HandshakeError;

use super::admission;
use super::schedule::schedule;
use crate::client::{Client, ClientFlags};
use crate::core::Core;

/// Whoever takes longer is closed: it would keep another's place.
const HANDSHAKE_MS_MAX: i64 = 60_000;
/// How often the log tells of clients that speak otherwise than their port.
const WARNING_INTERVAL_MS: i64 = 60_000;
/// What says in TLS that this is none: a fatal alert, that the handshake failed.
const NO_TLS: &[u8] = &[21, 3, 1, 0, 2, 2, 40];

/// Those that something has come for.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// Slots of clients. Bounded by their number: whoever is scheduled is here once.
    waiting: VecDeque<usize>,
    failed: Vec<usize>,
}

impl Handshakes {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Something has come for a client that is not through yet.
    pub(super) fn note_event(&mut self, client: &mut Client, slot: usize) {
        schedule_at_end(&mut self.waiting, client, slot);
    }

    /// Goes on with as many as one turn may have, those first that have waited longest.
    pub(super) fn go_on(
        &mut self,
        core: &mut Core,
        clients: &mut [Option<Box<Client>>],
        scheduled: &mut Vec<usize>,
    ) {
        if self.waiting.is_empty() {
            return;
        }
        let count = core.server.config.load().max_new_tls_connections_per_cycle;
        for _ in 0..count {
            let Some(slot) = self.waiting.pop_front() else { return };
            let Some(client) = &mut clients[slot] else { continue };
            client.is_scheduled = false;
            match client.socket.handshake() {
                Ok(true) if !admission::admit_later(core, client) => self.failed.push(slot),
                Ok(true) => {
                    core.welcome_certificate(client);
                    core.welcome(client);
                    // What came behind the handshake may be here already.
                    client.input.is_readable = true;
                    schedule(scheduled, client, slot);
                }
                // What is read next may be the end, of which no event tells after one for what came before it.
                Ok(false) if client.socket.holds_more() || client.input.is_read_closed => {
                    schedule_at_end(&mut self.waiting, client, slot);
                }
                Ok(false) => {}
                Err(error) => {
                    tell(core, client, &error);
                    self.failed.push(slot);
                }
            }
            if client.flags.contains(ClientFlags::CLOSE_NOW)
                || client.info.is_killed.load(Ordering::Acquire)
            {
                schedule(scheduled, client, slot);
            }
        }
        core.catch_up();
    }

    /// Those that came to nothing.
    pub(super) fn take_failed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.failed)
    }
}

fn schedule_at_end(waiting: &mut VecDeque<usize>, client: &mut Client, slot: usize) {
    if !client.is_scheduled {
        client.is_scheduled = true;
        waiting.push_back(slot);
    }
}

/// Marks a client to be closed that takes too long for its handshake.
pub(super) fn end_if_late(core: &Core, client: &mut Client) {
    let is_late =
        client.socket.is_handshaking() && client.info.connected_at + HANDSHAKE_MS_MAX < core.now;
    if is_late {
        let address = &client.info.address;
        tracing::debug!("Closing client that has not ended its handshake: {address}");
        client.flags |= ClientFlags::CLOSE_NOW;
    }
}

/// Whether a request begins as a client of TLS does: a record of a handshake, of version 3.
pub(super) fn begins_tls(query: &[u8]) -> bool {
    matches!(query, [22, 3, ..])
}

/// Closes a client that speaks TLS on a port that does not.
#[cold]
pub(super) fn refuse_tls(core: &mut Core, client: &mut Client) {
    client.flags |= ClientFlags::CLOSE_NOW;
    client.input.may_parse = false;
    // It may never arrive.
    let _ = client.socket.write_vectored(&[IoSlice::new(NO_TLS)]);
    warn(core, client, "speaks TLS on a port that does not: the port of TLS is tls-port");
}

#[cold]
fn tell(core: &Core, client: &Client, error: &HandshakeError) {
    match error {
        HandshakeError::Lost => {
            tracing::debug!("A client left during its handshake: {}", client.info.address);
        }
        HandshakeError::NotTls => warn(core, client, "does not speak TLS on the port of TLS"),
        HandshakeError::Refused(reason) => {
            let address = &client.info.address;
            tracing::debug!("Error accepting a client connection: {reason} (addr={address})");
        }
    }
}

fn warn(core: &Core, client: &Client, what: &str) {
    let warned_at = &core.server.ports.warned_of_speech_at;
    if warned_at.load(Ordering::Relaxed) + WARNING_INTERVAL_MS < core.now {
        warned_at.store(core.now, Ordering::Relaxed);
        let address = &client.info.address;
        tracing::warn!("The client {address} {what}. It is closed, as others will be.");
    }
}
