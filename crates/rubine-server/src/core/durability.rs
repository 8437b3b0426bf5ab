//! Clients that wait for the disk: those whose replies are held back, and those who sent WAITAOF. Never sends anything.

use std::sync::atomic::Ordering;

use rubine_commands::CommandError;
use rubine_journal::{Offset, Park};
use rubine_resp::writer::{Output, Reply};

use super::Core;
use crate::client::Client;
use crate::client::suspension::TimeoutReply;
use crate::mailbox::Message;
use rubine_storage::{Host as _, Trouble, dumps};
use rubine_system::ticks;

impl Core {
    /// Whether writes are refused because the last save has failed.
    pub(crate) fn failed_save_stops_writes(&self) -> bool {
        self.settings.stops_writes_on_failed_save
            && self.server.persistence.troubles().contains(Trouble::SAVE_FAILED)
    }

    /// Why nothing may be written where the last save has failed.
    pub(crate) fn save_trouble(&self) -> Option<CommandError> {
        self.failed_save_stops_writes().then_some(CommandError::text(
            "MISCONF Rubine is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that \
             may modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
             snapshotting fails (stop-writes-on-bgsave-error option). Please check the Rubine logs for details about the RDB \
             error.",
        ))
    }

    /// Why nothing may be written where the append-only file cannot be.
    pub(crate) fn log_trouble(&self) -> Option<CommandError> {
        let reason = self.server.aof.error()?;
        let text = format!("MISCONF Errors writing to the AOF file: {reason}");
        Some(CommandError::Other(text.into()))
    }

    /// Why nothing may be written now, whatever it is.
    pub(crate) fn trouble_of_writes(&self) -> Option<CommandError> {
        let is_fine = self.server.persistence.troubles().is_empty()
            && !self.server.aof.has_error()
            && self.settings.good_replicas_min == 0;
        if is_fine {
            return None;
        }
        self.save_trouble().or_else(|| self.log_trouble()).or_else(|| self.lack_of_replicas())
    }

    /// Why nothing may be written where too few replicas would get it. There are none.
    pub(crate) fn lack_of_replicas(&self) -> Option<CommandError> {
        let lacks = self.settings.good_replicas_min != 0;
        lacks.then_some(CommandError::text("NOREPLICAS Not enough good replicas to write."))
    }

    /// Whether a client's output has to stay until the disk has what it tells of. If so, the client is looked after again
    /// when that is so.
    #[inline]
    pub(crate) fn holds_back(&mut self, client: &mut Client) -> bool {
        if client.disk.saves != 0 {
            return true;
        }
        if client.disk.durable_offset <= self.server.aof.synced().reached() {
            return false;
        }
        if !client.disk.is_unsynced {
            client.disk.is_unsynced = true;
            self.disk_waits.count(&mut client.disk.wait_window);
            self.unsynced.insert((client.disk.durable_offset, client.id));
        }
        true
    }

    /// All keys have been removed by a client: what it is told waits until they are gone from the dump file too. A thread
    /// sees to that, since it may have to wait for a save that goes on.
    pub(crate) fn save_flush(&mut self, client: Option<&mut Client>) {
        let (server, now, worker) = (self.server, self.now, self.index);
        let waits = !server.config.load().save.is_empty();
        let Some(client) = client.filter(|_| waits) else {
            dumps::note_flush(server.storage(), now);
            return;
        };
        let id = client.id;
        let run = move || {
            dumps::note_flush(server.storage(), now);
            server.workers[worker].send(Message::FlushSaved { client: id });
        };
        match std::thread::Builder::new().name("flush".to_owned()).spawn(run) {
            Ok(_) => client.disk.saves += 1,
            Err(error) => tracing::warn!("Can't save: no thread can be started: {error}"),
        }
    }

    /// Sees to it that this worker is woken when the disk has got to where the first of its clients waits. Returns whether
    /// it has already.
    pub(crate) fn park_unsynced(&mut self) -> bool {
        self.publish_unsynced();
        let Some(&(offset, _)) = self.unsynced.first() else { return false };
        if self.parked_at.is_some_and(|at| at <= offset) {
            return false;
        }
        let (synced, token) = (self.server.aof.synced(), self.index as u64);
        synced.cancel(token);
        match synced.park(offset, token) {
            Park::Parked => {
                self.parked_at = Some(offset);
                false
            }
            Park::Satisfied | Park::Full => true,
        }
    }

    /// Tells the writer of the log how many clients wait for it, and how many different ones have lately.
    fn publish_unsynced(&mut self) {
        if !self.settings.waits_for_disk {
            return;
        }
        let ended = self.disk_waits.end(ticks::now());
        let stats = self.stats();
        stats.waiting_for_disk.set(self.unsynced.len() as u64);
        if let Some(counted) = ended {
            stats.waited_for_disk.set(counted.clients);
        }
        let aof = &self.server.aof;
        if aof.gathers.load(Ordering::Relaxed) && !self.server.lacks_waiters() {
            aof.gathers.store(false, Ordering::Relaxed);
            aof.wake_writer();
        }
    }

    /// Lets a client wait until the disk has what it wrote.
    pub(crate) fn wait_for_own_writes(
        &mut self,
        client: &mut Client,
        deadline: Option<i64>,
        replicas: i64,
    ) {
        self.block_without_keys(client, deadline, TimeoutReply::Durable { local: 0, replicas });
        self.unsynced.insert((client.disk.written_offset, client.id));
    }

    /// Answers a client that sent WAITAOF, if the disk has what it asked for.
    pub(crate) fn answer_synced(&mut self, client: &mut Client, reached: Offset) {
        let (written, id) = (client.disk.written_offset, client.id);
        let Some(blocked) = client.blocked_mut() else { return };
        let TimeoutReply::Durable { local, replicas } = &mut blocked.on_timeout else { return };
        if reached < written {
            self.unsynced.insert((written, id));
            return;
        }
        let is_closed = !self.server.aof.is_enabled();
        *local = 1;
        if 0 < *replicas && !is_closed {
            return;
        }
        let Some(blocked) = self.stop_waiting(client) else { return };
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, client.protocol);
        if is_closed {
            reply.error(&CommandError::text(NO_LOG).to_string());
        } else {
            blocked.on_timeout.write(&mut reply);
        }
        client.deliver(output);
    }
}

/// The reply to WAITAOF where there is no log.
pub(crate) const NO_LOG: &str =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
