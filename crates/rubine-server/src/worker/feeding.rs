//! What replicas are sent: dumps, and the log behind them, by reference. Never looks at what the bytes say.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Wake, Waker};

use rubine_base::clock::monotonic_millis;
use rubine_replication::leader::Replica;

use super::sending::send;
use crate::client::replica::{Stage, Unfit};
use crate::client::{Client, ClientFlags};
use crate::core::Core;
use crate::mailbox::Message;
use crate::process::logging::log;
use crate::process::stopping::StopPoint;
use crate::server::Server;

/// Bytes that one replica is sent in one turn before clients have theirs.
const TURN_BYTES_MAX: usize = 1024 * 1024;
const SLICES_MAX: usize = 64;

/// The clients of a worker that are replicas.
pub(super) struct Replicas {
    slots: Vec<usize>,
    /// Wakes the worker when the log has something for one of them.
    waker: Waker,
}

struct WakeWorker {
    server: &'static Server,
    worker: usize,
}

impl Wake for WakeWorker {
    fn wake(self: Arc<Self>) {
        self.server.workers[self.worker].send(Message::Wake);
    }
}

impl Replicas {
    pub(super) fn new(core: &Core) -> Self {
        let wake = WakeWorker { server: core.server, worker: core.index };
        Self { slots: Vec::new(), waker: Waker::from(Arc::new(wake)) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A client has become a replica.
    pub(super) fn add(&mut self, slot: usize) {
        if !self.slots.contains(&slot) {
            self.slots.push(slot);
        }
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.slots.retain(|it| *it != slot);
    }

    /// Sends each what there is. Returns those whose connection is to be closed.
    #[must_use = "what cannot be sent to any more is closed"]
    pub(super) fn feed(&self, core: &mut Core, clients: &mut [Option<Box<Client>>]) -> Vec<usize> {
        let mut unfit = Vec::new();
        for &slot in &self.slots {
            let Some(client) = &mut clients[slot] else { continue };
            if client.flags.contains(ClientFlags::CLOSE_NOW) || !feed(core, client) {
                unfit.push(slot);
            }
        }
        unfit
    }

    /// Sees to it that the worker is woken when there is something for one of them. Returns whether there is already.
    pub(super) fn rest(&self, clients: &mut [Option<Box<Client>>]) -> bool {
        let mut has_more = false;
        for &slot in &self.slots {
            let Some(client) = &mut clients[slot] else { continue };
            let Some(replica) = &client.replica else { continue };
            if !client.sending.is_writable {
                continue;
            }
            has_more |= match &replica.stage {
                _ if replica.has_pending() => true,
                Stage::Stream { log } => !log.arm(log.position() + 1, &self.waker),
                // A dump wakes whoever found nothing, and so do files.
                Stage::Waiting
                | Stage::Dump { .. }
                | Stage::Catching { .. }
                | Stage::Sent { .. } => false,
            };
        }
        has_more
    }
}

/// Sends a replica what there is. Returns whether the connection is still good.
fn feed(core: &mut Core, client: &mut Client) -> bool {
    // What was said to it comes first.
    if !client.output.is_empty() {
        if !send(core, client) {
            return false;
        }
        if !client.output.is_empty() {
            return true;
        }
    }
    let now = monotonic_millis();
    let mut sent = 0;
    while client.sending.is_writable && sent < TURN_BYTES_MAX {
        let Some(replica) = &mut client.replica else { return true };
        match replica.fill() {
            Ok(false) => {}
            Ok(true) => {
                end_dump(core, client, now);
                continue;
            }
            Err(reason) => {
                tell_unfit(core, client, reason);
                return false;
            }
        }
        if !replica.has_pending() {
            replica.moved_at = now;
            return true;
        }
        match write(client) {
            Ok(0) => return false,
            Ok(count) => {
                sent += count;
                core.stats().output_bytes.add(count as u64);
                core.stats().replica_output_bytes.add(count as u64);
                core.stats().writes_processed.add(1);
                client.traffic.net_output += count as u64;
                if let Some(replica) = &mut client.replica {
                    replica.advance(count);
                    replica.moved_at = now;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                client.sending.is_writable = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}

fn write(client: &mut Client) -> io::Result<usize> {
    let Client { replica, socket, .. } = client;
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let mut count = 0;
    for (slice, bytes) in slices.iter_mut().zip(replica.iter().flat_map(|it| it.pending())) {
        *slice = IoSlice::new(bytes);
        count += 1;
    }
    socket.write_vectored(&slices[..count])
}

/// All of a dump has left for a replica.
fn end_dump(core: &Core, client: &mut Client, now: u64) {
    core.server.process.stopping.at(StopPoint::DumpSent);
    let replicas = &core.server.replication.replicas;
    let (may_go_on, name) = replicas.with(|leader| {
        let may_go_on = leader.note_sent(client.id, now);
        (may_go_on, leader.get(client.id).map(Replica::name).unwrap_or_default())
    });
    let Some(replica) = &mut client.replica else { return };
    if replica.log().is_none() {
        log::notice!(
            "RDB transfer completed, rdb only replica ({name}) should be disconnected asap"
        );
    } else if may_go_on {
        replica.begin_stream();
        log::notice!("Synchronization with replica {name} succeeded");
    } else {
        log::notice!(
            "Streamed replica with replica {name} succeeded (socket). Waiting for REPLCONF ACK from replica to enable streaming"
        );
    }
}

fn tell_unfit(core: &Core, client: &Client, reason: Unfit) {
    match reason {
        Unfit::Broken => log::warning!("What a replica was being sent has ended before its time"),
        Unfit::Behind => {
            core.stats().output_buffer_limit_disconnections.add(1);
            let line = super::limits::line(core, client);
            log::warning!(
                "Client {line} scheduled to be closed ASAP for overcoming of output buffer limits."
            );
        }
    }
}
