//! The journal itself: the log behind one lock, with what is asked most often beside it as atomics.
//! Never wakes or frees while a shard lock is held; that is what [`Journal::notify`] is for.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::Waker;

use thiserror::Error;

use crate::Offset;
use crate::effects::Effects;
use crate::log::{Hold, Log, ReaderEntry};
use crate::reader::Reader;
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
    reader_id_next: AtomicU64,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is appended next. A SELECT will precede it.
    End,
    /// At an offset that the log still has.
    At(Offset),
}

/// A reader asked to begin at an offset that the log does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the journal holds offsets {oldest} to {end}")]
pub struct OutOfRange {
    pub oldest: Offset,
    pub end: Offset,
}

/// For INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalStatus {
    pub is_active: bool,
    pub oldest: Offset,
    pub end: Offset,
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
}

impl Journal {
    /// A journal whose next byte has the offset `start`. It is active from birth if it has a backlog.
    pub fn new(start: Offset, backlog_bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            is_active: AtomicBool::new(0 < backlog_bytes_max),
            end: AtomicU64::new(start),
            attention_at: AtomicU64::new(Offset::MAX),
            log: Mutex::new(Log::new(start, backlog_bytes_max)),
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
            if log.is_wanted() {
                log.append(effects, large.as_ref(), second);
            }
            self.publish_end(&log)
        };
        effects.clear();
        end
    }

    /// Appends whole commands as they came from a master, so that offsets agree with the master's.
    /// The caller says which database they leave selected.
    pub fn append_verbatim(&self, bytes: &[u8], database_after: u32, second: u64) -> Offset {
        let mut log = self.log.lock();
        if log.is_wanted() && !bytes.is_empty() {
            log.append_verbatim(bytes, database_after, second);
        }
        self.publish_end(&log)
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

    /// Opens a reader. See the type's notes on what it will see.
    pub fn open_reader(self: &Arc<Self>, start: Start, hold: Hold) -> Result<Reader, OutOfRange> {
        let mut log = self.log.lock();
        let was_wanted = log.is_wanted();
        if let Start::At(offset) = start {
            let is_kept = was_wanted && log.oldest() <= offset && offset <= log.end();
            if !is_kept {
                let oldest = if was_wanted { log.oldest() } else { log.end() };
                return Err(OutOfRange { oldest, end: log.end() });
            }
        }
        if !was_wanted {
            leave_gap(&mut log);
        }
        let (position, database) = match start {
            Start::At(offset) => (offset, None),
            Start::End => {
                log.select_before_next();
                (log.end(), log.selected_database())
            }
        };
        let id = self.reader_id_next.fetch_add(1, Relaxed);
        log.kept.readers.push(ReaderEntry { id, position, hold, is_cut: false, sleeper: None });
        self.publish(&log);
        drop(log);
        Ok(Reader::new(Arc::clone(self), id, position, database))
    }

    /// Sets how much is kept for replicas that come back. Zero gives the backlog up, and with it, if
    /// there is no reader, the journal's activity.
    pub fn set_backlog(&self, backlog_bytes_max: u64) {
        let discarded = {
            let mut log = self.log.lock();
            if !log.is_wanted() && 0 < backlog_bytes_max {
                leave_gap(&mut log);
            }
            log.set_backlog(backlog_bytes_max);
            give_up_if_unwanted(&mut log);
            self.publish(&log);
            std::mem::take(&mut log.kept.discarded)
        };
        drop(discarded);
    }

    /// Begins another history at `start`: the dataset was replaced (a full sync, a loaded file). The
    /// caller holds all shard locks. Open readers find that they have lost their place. A replica sets
    /// its backlog first, so that its offsets are its master's.
    pub fn restart(&self, start: Offset) {
        let discarded = {
            let mut log = self.log.lock();
            log.restart(start);
            self.publish(&log);
            std::mem::take(&mut log.kept.discarded)
        };
        drop(discarded);
        self.wake_all();
    }

    pub fn status(&self) -> JournalStatus {
        let log = self.log.lock();
        let end = log.end();
        let lags = log.kept.readers.iter().map(|reader| end.saturating_sub(reader.position));
        JournalStatus {
            is_active: log.is_wanted(),
            oldest: log.oldest(),
            end,
            backlog_bytes_max: log.backlog_bytes_max(),
            reader_count: log.kept.readers.len(),
            lag_bytes_max: lags.max().unwrap_or(0),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock()
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

fn leave_gap(log: &mut Log) {
    let start = log.end() + 1;
    log.restart(start);
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
