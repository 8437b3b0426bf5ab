//! Clients that wait until replicas have what they wrote: WAIT, and WAITAOF, which asks for disks. Sends nothing to a replica
//! but the question how far it is.

use rubine_commands::CommandError;
use rubine_journal::{Offset, Park};
use rubine_resp::writer::{Output, Reply};

use super::Core;
use crate::client::Client;
use crate::client::suspension::TimeoutReply;
use crate::mailbox::Message;
use crate::pause::Hold;

/// What WAITAOF asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedDisks {
    pub(crate) wants_local: bool,
    pub(crate) replicas: usize,
}

impl Core {
    /// Lets a client wait until so many replicas have what it wrote.
    pub(crate) fn wait_for_replicas(
        &mut self,
        client: &mut Client,
        replicas: usize,
        deadline: Option<i64>,
    ) {
        let (acknowledged, offset) =
            (&self.server.replication.replicas.acknowledged, client.disk.written_offset);
        let on_timeout = TimeoutReply::Replicated { acknowledged, offset };
        self.block_without_keys(client, deadline, on_timeout);
        match acknowledged.park(offset, replicas, client.id) {
            Park::Parked => self.ask_replicas(),
            // One has told it in between; or so many wait that it is told how it is.
            Park::Satisfied | Park::Full => self.give_up(client),
        }
    }

    /// Lets a client wait until disks have what it wrote.
    pub(crate) fn wait_for_disks(
        &mut self,
        client: &mut Client,
        wanted: WantedDisks,
        deadline: Option<i64>,
    ) {
        let WantedDisks { wants_local, replicas } = wanted;
        let (synced, offset) =
            (&self.server.replication.replicas.synced, client.disk.written_offset);
        let on_timeout = TimeoutReply::Durable { local: 0, wants_local, synced, offset, replicas };
        self.block_without_keys(client, deadline, on_timeout);
        if 0 < replicas {
            self.ask_replicas();
        }
        if self.server.aof.is_enabled() && !self.server.aof.waits_for_base() {
            self.unsynced.insert((offset, client.id));
        }
        self.answer_durable(client);
    }

    /// Has replicas say how far they are.
    pub(super) fn ask_replicas(&self) {
        if self.server.pause.is_held(Hold::Takeover) {
            // The log stands still until a replica has taken over, which says where it is once a second.
            return;
        }
        let second = (self.now / 1000) as u64;
        self.server.journal.tell_replicas(&[b"REPLCONF", b"GETACK", b"*"], second);
    }

    /// Answers a client that waited for replicas: enough of them have what it wrote.
    pub(crate) fn answer_replicated(&mut self, client: &mut Client) {
        match client.blocked().map(|it| it.on_timeout) {
            Some(TimeoutReply::Replicated { .. }) => self.give_up(client),
            Some(TimeoutReply::Durable { .. }) => self.answer_durable(client),
            _ => {}
        }
    }

    /// Answers a client that sent WAITAOF, if disks have what it asked for.
    pub(crate) fn answer_durable(&mut self, client: &mut Client) {
        let id = client.id;
        let is_closed = !self.server.aof.is_enabled();
        let waits_for_base = self.server.aof.waits_for_base();
        let reached = self.server.aof.synced().reached();
        let Some(blocked) = client.blocked_mut() else { return };
        let TimeoutReply::Durable { local, wants_local, synced, offset, replicas } =
            &mut blocked.on_timeout
        else {
            return;
        };
        let is_refused = *wants_local && is_closed;
        *local = i64::from(!is_closed && !waits_for_base && *offset <= reached);
        if *wants_local && *local == 0 && !is_refused {
            if waits_for_base {
                self.without_base.insert(id);
            } else {
                self.unsynced.insert((*offset, id));
            }
            return;
        }
        if !is_refused && 0 < *replicas {
            synced.cancel(id);
            if matches!(synced.park(*offset, *replicas, id), Park::Parked) {
                return;
            }
        }
        let Some(blocked) = self.stop_waiting(client) else { return };
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, client.protocol);
        if is_refused {
            reply.error(&CommandError::text(NO_LOG).to_string());
        } else {
            blocked.on_timeout.write(&mut reply);
        }
        client.deliver(output);
    }

    /// Tells clients that what they wait for has come.
    pub(crate) fn tell_replicated(&self, clients: &[u64]) {
        for &client in clients {
            if let Some(info) = self.server.clients.get(client) {
                self.server.workers[info.worker].send(Message::Replicated { client });
            }
        }
    }

    /// How many replicas have what a client wrote, in memory.
    pub(crate) fn replicas_with_writes_of(&self, client: &Client) -> usize {
        self.server.replication.replicas.acknowledged.count(client.disk.written_offset)
    }

    /// How many have it on disk.
    pub(crate) fn replica_disks_with_writes_of(&self, client: &Client) -> usize {
        self.server.replication.replicas.synced.count(client.disk.written_offset)
    }

    /// Whether the disk of this server has what ends there.
    pub(crate) fn is_on_disk(&self, offset: Offset) -> bool {
        let aof = &self.server.aof;
        // What is written of a log without its base is of no use after a restart.
        aof.is_enabled() && !aof.waits_for_base() && offset <= aof.synced().reached()
    }
}

/// The reply to WAITAOF where there is no log.
pub(crate) const NO_LOG: &str =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
