//! Clients whose replies are held back for the disk. Never sends anything.

use std::sync::atomic::Ordering;

use rubine_base::clock::monotonic_millis;
use rubine_commands::CommandError;
use rubine_journal::Park;

use super::Core;
use crate::client::Client;
use crate::mailbox::Message;
use rubine_storage::{Host as _, Trouble, dumps};
use rubine_system::ticks;

/// The error of a replica that is to be as new as its master, and is not.
pub(crate) const STALE: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
/// The error of a replica that takes no writes.
pub(crate) const READ_ONLY: &str = "READONLY You can't write against a read only replica.";

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

    /// Whether what is here is as new as it is asked to be: always, unless this is a replica.
    #[inline]
    pub(crate) fn may_answer(&self) -> bool {
        !self.server.replication.following.is_replica() || self.replica_may_answer()
    }

    /// Whether this server, a replica, answers from what it has.
    pub(crate) fn replica_may_answer(&self) -> bool {
        let following = &self.server.replication.following;
        let serves = self.settings.serves_stale_data || following.is_link_up();
        let lag_ms_max = self.settings.replica_lag_ms_max;
        serves && (lag_ms_max == i64::MAX || self.now - following.link.caught_up_at() <= lag_ms_max)
    }

    /// Whether this is a replica that takes no writes but its master's.
    #[inline]
    pub(crate) fn refuses_writes_of_clients(&self) -> bool {
        self.server.replication.following.is_replica() && self.settings.is_read_only_replica
    }

    /// Why nothing may be written where too few replicas would get it.
    pub(crate) fn lack_of_replicas(&self) -> Option<CommandError> {
        let wanted = self.settings.good_replicas_min as usize;
        let replication = &self.server.replication;
        if wanted == 0 || replication.following.is_replica() {
            return None;
        }
        if replication.replicas.good_count() < wanted {
            // It is counted by the clock: what was asked for may have changed since, or they may have come.
            let lag_seconds_max = u64::from(self.server.config.load().min_replicas_max_lag);
            replication.replicas.count_good(monotonic_millis(), lag_seconds_max);
        }
        let lacks = replication.replicas.good_count() < wanted;
        lacks.then_some(CommandError::text("NOREPLICAS Not enough good replicas to write."))
    }

    /// Whether a client's output has to stay until the disk has what it tells of. If so, the client is looked after again
    /// when that is so.
    #[inline]
    pub(crate) fn holds_back(&mut self, client: &mut Client) -> bool {
        if client.disk.saves != 0 || self.lacks_quorum(client) {
            return true;
        }
        // What is beyond the end is of a log that was given up.
        let is_given_up = || self.server.journal.end() < client.disk.durable_offset;
        if client.disk.durable_offset <= self.server.aof.synced().reached() || is_given_up() {
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
}
