//! The journal itself: the log behind one lock, with what is asked most often beside it as atomics.
//! Never wakes or frees while a shard lock is held; that is what [`Journal::notify`] is for.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::Waker;

use thiserror::Error;

use crate::Offset;
use rubine_resp::command::{INTO_MEMORY, write_command};

use crate::audience::{Audience, Side};
use crate::effects::Effects;
use crate::history::{History, HistoryId, Origin, Point, ReplicationOffset};
use crate::log::Log;
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard};

/// The one ordered log of what changed.
///
/// **Activation.** While there is neither a reader nor a backlog, nothing is kept and `append` is not
/// even called. Opening the first reader or setting a backlog makes the journal active. A reader that
/// must see everything after some state of the keyspace (an AOF rewrite, a full sync) is opened while
/// all shard locks are held: whoever takes a shard lock later sees the journal active. Opened without
/// them, it sees what is appended "from now on", which may leave out a command that is just running.
///
/// What changed while the journal was inactive is not in it, so each activation but the one at birth
/// leaves out one offset: a position from before the gap is never mistaken for the present one.
#[repr(C, align(64))]
pub struct Journal {
    log: Mutex<Log>,
    /// Follows the log's end, written under the lock, with which it shares a cache line.
    end: AtomicU64,
    is_active: AtomicBool,
    /// `notify` has something to do once the log has reached this offset.
    attention_at: AtomicU64,
    /// Somebody wants what is for replicas only.
    is_followed: AtomicBool,
    reader_id_next: AtomicU64,
}

/// A master's bytes do not follow what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a master's bytes begin at offset {}, where {} is due", at.0, expected.0)]
pub struct Misplaced {
    pub at: ReplicationOffset,
    pub expected: ReplicationOffset,
}

/// For INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalStatus {
    pub is_active: bool,
    pub oldest: Offset,
    pub end: Offset,
    /// Room that is allocated for what comes next.
    pub spare_bytes: u64,
    pub backlog_bytes_max: u64,
    pub reader_count: usize,
    /// The most that any reader is behind.
    pub lag_bytes_max: u64,
}

#[cfg(not(shuttle))]
const _: () = assert!(std::mem::offset_of!(Journal, is_active) == 64, "an append writes one line");

impl JournalStatus {
    pub fn buffered_bytes(&self) -> u64 {
        self.end - self.oldest
    }

    /// What of that is kept for replicas that may come back.
    pub fn backlog_bytes(&self) -> u64 {
        self.buffered_bytes().min(self.backlog_bytes_max)
    }
}

impl Journal {
    /// A journal whose next byte has the offset `start`. It is active from birth if it has a backlog.
    pub fn new(start: Offset, backlog_bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            is_active: AtomicBool::new(0 < backlog_bytes_max),
            end: AtomicU64::new(start),
            attention_at: AtomicU64::new(Offset::MAX),
            log: Mutex::new(Log::new(start, backlog_bytes_max)),
            is_followed: AtomicBool::new(0 < backlog_bytes_max),
            reader_id_next: AtomicU64::new(0),
        })
    }

    /// Whether effects are wanted. One load, to be asked with the shard locks held.
    pub fn is_active(&self) -> bool {
        self.is_active.load(Relaxed)
    }

    /// The offset after the last byte.
    pub fn end(&self) -> Offset {
        self.end.load(Acquire)
    }

    /// Appends one unit while its shard locks are held, and returns the offset after it. `second` is
    /// the unix time of the caller's turn. Leaves `effects` empty. Wakes nobody: the caller does it
    /// with [`Journal::notify`] when it holds no shard lock.
    pub fn append(&self, effects: &mut Effects, second: u64) -> Offset {
        if effects.is_empty() {
            return self.end();
        }
        let large = effects.take_large();
        let end = {
            let mut log = self.log.lock();
            let is_wanted =
                effects.only_side().map_or(log.is_wanted(), |side| log.is_wanted_by(side));
            if is_wanted {
                effects.append_to(large.as_ref(), &mut log, second);
            }
            self.publish_end(&log)
        };
        effects.clear();
        end
    }

    /// Appends what of one unit is for `side`, for that side only, as [`Journal::append`] does. If that side reads nothing,
    /// it is dropped.
    pub fn append_for(&self, side: Side, effects: &mut Effects, second: u64) -> Offset {
        if effects.is_empty() {
            return self.end();
        }
        let large = effects.take_large();
        let end = {
            let mut log = self.log.lock();
            if log.is_wanted_by(side) {
                effects.append_part_to(side, large.as_ref(), &mut log, second);
            }
            self.publish_end(&log)
        };
        effects.clear();
        end
    }

    /// Appends a command for replicas only that applies to no database: PING, REPLCONF GETACK, PUBLISH. One load if there
    /// are none and no backlog.
    pub fn tell_replicas(&self, arguments: &[&[u8]], second: u64) -> Offset {
        if !self.is_followed() {
            return self.end();
        }
        let mut bytes = Vec::new();
        write_command(arguments, &mut bytes).expect(INTO_MEMORY);
        let mut log = self.log.lock();
        if log.is_wanted_by(Side::Replicas) {
            log.append_told(&bytes, second);
        }
        self.publish_end(&log)
    }

    /// Appends whole commands as they came from a master, so that offsets agree with the master's, under the locks of what
    /// they change. `at` is the master's offset of the first byte. The caller says which database they leave selected.
    /// They count even if nobody wants them.
    pub fn append_master(
        &self,
        at: ReplicationOffset,
        bytes: &[u8],
        audience: Audience,
        database_after: u32,
        second: u64,
    ) -> Result<Offset, Misplaced> {
        assert!(audience != Audience::Only(Side::Disk), "a master's bytes are its replicas'");
        let (end, discarded) = {
            let mut log = self.log.lock();
            let expected = log.point().offset;
            if at != expected {
                return Err(Misplaced { at, expected });
            }
            if bytes.is_empty() {
                return Ok(log.end());
            }
            if log.is_wanted() {
                log.append_master(bytes, audience, database_after, second);
                (self.publish_end(&log), Vec::new())
            } else {
                log.skip(bytes.len() as u64, database_after);
                (self.publish_end(&log), std::mem::take(&mut log.kept.discarded))
            }
        };
        drop(discarded);
        Ok(end)
    }

    /// Whether what is for replicas only is wanted. One load.
    pub fn is_followed(&self) -> bool {
        self.is_followed.load(Relaxed)
    }

    /// The history and where it is now: what belongs together is of one moment.
    pub fn point(&self) -> Point {
        self.log.lock().point()
    }

    /// The replication offset at a position; `None` where it is not known any more, or not yet.
    pub fn offset_at(&self, position: Offset) -> Option<ReplicationOffset> {
        self.log.lock().offset_at(position)
    }

    /// The last position with a replication offset, which a replica that has acknowledged the offset has got to; `None`
    /// where it is not known any more, or not yet.
    pub fn position_of(&self, offset: ReplicationOffset) -> Option<Offset> {
        self.log.lock().position_of(offset)
    }

    /// Goes on as a history of its own: the present one is valid up to here. For a promotion, with all shard locks held;
    /// and for a replica whose master was promoted, where `origin` is that master. Readers go on.
    pub fn begin_history(&self, id: HistoryId, origin: Origin) -> Point {
        let mut log = self.log.lock();
        log.part_history(id, origin);
        log.point()
    }

    /// Goes on with the present history as a master's.
    pub fn follow_history(&self) {
        self.log.lock().follow_history();
    }

    /// Notes which database is selected where the log ends, after a dump has said so.
    pub fn note_database(&self, database: Option<u32>) {
        self.log.lock().note_database(database);
    }

    /// Gives the history another name, and forgets what it was before: nobody who knows the old one goes on from here.
    /// Readers do.
    pub fn rename_history(&self, id: HistoryId) {
        self.log.lock().rename_history(id);
    }

    /// Takes over a master's history at `offset`: the data was replaced by a full sync. The caller holds all shard locks.
    /// What was kept is dropped, so that nobody gets bytes of another history, and open readers find that they have lost
    /// their place.
    pub fn adopt_history(&self, id: HistoryId, offset: ReplicationOffset) {
        self.resume_history(History::new(id), offset, Origin::Master);
    }

    /// Takes up the history that a dump or a log says the data belongs to, after it was loaded.
    pub fn resume_history(&self, history: History, offset: ReplicationOffset, origin: Origin) {
        let discarded = {
            let mut log = self.log.lock();
            log.replace_history(history, offset, origin);
            self.publish(&log);
            std::mem::take(&mut log.kept.discarded)
        };
        drop(discarded);
        self.wake_all();
    }

    /// Wakes the readers that wait for what was appended, and frees what is no longer kept. Called at
    /// the end of a worker's turn, without shard locks. Two loads if there is nothing to do.
    pub fn notify(&self) {
        if self.end.load(Relaxed) < self.attention_at.load(Relaxed) {
            return;
        }
        let (due, discarded) = {
            let mut log = self.log.lock();
            let due = take_due(&mut log);
            let discarded = std::mem::take(&mut log.kept.discarded);
            self.publish(&log);
            (due, discarded)
        };
        due.into_iter().for_each(Waker::wake);
        drop(discarded);
    }

    /// Wakes every reader that waits, whatever there is to read: for shutting down.
    pub fn wake_all(&self) {
        let due = {
            let mut log = self.log.lock();
            let sleepers = log.kept.readers.iter_mut().filter_map(|reader| reader.sleeper.take());
            let due: Vec<_> = sleepers.collect();
            self.publish(&log);
            due
        };
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// Sets how much is kept for replicas that come back. Zero gives the backlog up, and with it, if
    /// there is no reader, the journal's activity.
    pub fn set_backlog(&self, backlog_bytes_max: u64) {
        let discarded = {
            let mut log = self.log.lock();
            if !log.is_wanted() && 0 < backlog_bytes_max {
                log.leave_gap();
            }
            log.set_backlog(backlog_bytes_max);
            give_up_if_unwanted(&mut log);
            self.publish(&log);
            std::mem::take(&mut log.kept.discarded)
        };
        drop(discarded);
    }

    pub fn status(&self) -> JournalStatus {
        let log = self.log.lock();
        let end = log.end();
        let lags = log.kept.readers.iter().map(|reader| end.saturating_sub(reader.position));
        JournalStatus {
            is_active: log.is_wanted(),
            oldest: log.oldest(),
            end,
            spare_bytes: log.spare_bytes(),
            backlog_bytes_max: log.backlog_bytes_max(),
            reader_count: log.kept.readers.len(),
            lag_bytes_max: lags.max().unwrap_or(0),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock()
    }

    pub(crate) fn next_reader_id(&self) -> u64 {
        self.reader_id_next.fetch_add(1, Relaxed)
    }

    /// Drops a reader's entry. What only it held goes with the next trim.
    pub(crate) fn close_reader(&self, id: u64) {
        let discarded = {
            let mut log = self.log.lock();
            log.kept.readers.retain(|reader| reader.id != id);
            log.trim();
            give_up_if_unwanted(&mut log);
            self.publish(&log);
            std::mem::take(&mut log.kept.discarded)
        };
        drop(discarded);
    }

    /// Copies what is asked without the lock out of the log, after more than an append.
    pub(crate) fn publish(&self, log: &Log) {
        self.end.store(log.end(), Release);
        let is_wanted = log.is_wanted();
        if self.is_active.load(Relaxed) != is_wanted {
            self.is_active.store(is_wanted, Relaxed);
        }
        let is_followed = log.is_wanted_by(Side::Replicas);
        if self.is_followed.load(Relaxed) != is_followed {
            self.is_followed.store(is_followed, Relaxed);
        }
        let attention_at = if log.kept.discarded.is_empty() {
            let wake_offsets = log.kept.readers.iter().filter_map(|reader| reader.sleeper.as_ref());
            wake_offsets.map(|(wake_at, _)| *wake_at).min().unwrap_or(Offset::MAX)
        } else {
            0
        };
        if self.attention_at.load(Relaxed) != attention_at {
            self.attention_at.store(attention_at, Relaxed);
        }
    }

    /// Copies what an append may change out of the log.
    fn publish_end(&self, log: &Log) -> Offset {
        let end = log.end();
        self.end.store(end, Release);
        if !log.kept.discarded.is_empty() && self.attention_at.load(Relaxed) != 0 {
            self.attention_at.store(0, Relaxed);
        }
        end
    }
}

fn give_up_if_unwanted(log: &mut Log) {
    if !log.is_wanted() {
        let end = log.end();
        log.restart(end);
    }
}

fn take_due(log: &mut Log) -> Vec<Waker> {
    let end = log.end();
    let mut due = Vec::new();
    for reader in &mut log.kept.readers {
        if reader.sleeper.as_ref().is_some_and(|(wake_at, _)| *wake_at <= end) {
            due.extend(reader.sleeper.take().map(|(_, waker)| waker));
        }
    }
    due
}

#[cfg(all(test, shuttle))]
mod interleavings;
#[cfg(all(test, not(shuttle)))]
mod tests;
