//! One reader of the journal: a position, and what waits there. Never copies what it hands out, save
//! for a few bytes at the very end, and never keeps appenders waiting for longer than it takes to
//! count up a few references.

use std::fmt;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use thiserror::Error;

use crate::Offset;
use crate::audience::Side;
use crate::history::{HistoryId, Point, ReplicationOffset};
use crate::journal::Journal;
use crate::log::{Hold, Log, ReaderEntry, Slice};
use crate::sync::{Thread, park_timeout, this};

/// Reads the log at its own pace. Dropping it closes it.
///
/// Read no more than can be passed on now: what is read is held by its slices and no longer counted
/// by the journal, and what is not read yet shows as lag.
pub struct Reader {
    journal: Arc<Journal>,
    id: u64,
    side: Side,
    position: Offset,
    began: Point,
    database: Option<u32>,
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

/// Where a replica's reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaStart {
    /// With what is appended next: for a full sync. A SELECT will precede it.
    End,
    /// With what follows what a replica has.
    After { id: HistoryId, offset: ReplicationOffset },
}

/// Why a replica cannot go on where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotShared {
    #[error("its history is another, or went another way before its offset")]
    History,
    #[error("its offset is not kept: {0}")]
    Range(#[from] OutOfRange),
}

/// The reader's next byte is gone: it fell too far behind, or the log began another history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the journal no longer has offset {position}; its oldest is {oldest}")]
pub struct Lost {
    pub position: Offset,
    pub oldest: Offset,
}

impl Journal {
    /// Opens a reader of what the log on disk gets. See the type's notes on what it will see.
    pub fn open_reader(self: &Arc<Self>, start: Start, hold: Hold) -> Result<Reader, OutOfRange> {
        let mut log = self.lock();
        let position = match start {
            Start::At(position) => Some(position),
            Start::End => None,
        };
        self.open(&mut log, Side::Disk, position, hold)
    }

    /// Opens a reader of what replicas get.
    pub fn open_replica_reader(
        self: &Arc<Self>,
        start: ReplicaStart,
        hold: Hold,
    ) -> Result<Reader, NotShared> {
        let mut log = self.lock();
        let position = match start {
            ReplicaStart::After { id, offset } => {
                if !log.history().shares(id, offset) {
                    return Err(NotShared::History);
                }
                let out_of_range = OutOfRange { oldest: log.oldest(), end: log.end() };
                Some(log.position_of(offset).ok_or(out_of_range)?)
            }
            ReplicaStart::End => None,
        };
        Ok(self.open(&mut log, Side::Replicas, position, hold)?)
    }

    /// Opens a reader at a position, or at the end.
    fn open(
        self: &Arc<Self>,
        log: &mut Log,
        side: Side,
        position: Option<Offset>,
        hold: Hold,
    ) -> Result<Reader, OutOfRange> {
        let was_wanted = log.is_wanted();
        if let Some(position) = position {
            let is_kept = was_wanted && log.oldest() <= position && position <= log.end();
            if !is_kept {
                let oldest = if was_wanted { log.oldest() } else { log.end() };
                return Err(OutOfRange { oldest, end: log.end() });
            }
        }
        if !was_wanted {
            log.leave_gap();
        }
        let follows_from_end = side == Side::Replicas && position.is_none();
        let database = follows_from_end.then(|| log.selected_database(side)).flatten();
        if position.is_none() {
            log.select_before_next();
        }
        let (id, position) = (self.next_reader_id(), position.unwrap_or(log.end()));
        let entry = ReaderEntry { id, side, position, hold, is_cut: false, sleeper: None };
        log.kept.readers.push(entry);
        self.publish(log);
        let journal = Arc::clone(self);
        Ok(Reader { journal, id, side, position, began: log.point(), database })
    }
}

impl Reader {
    /// The history, and where it was, as the reader was opened.
    pub fn began(&self) -> &Point {
        &self.began
    }

    /// The offset of the next byte to read.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// The database that was selected where a replica's reader began, for one at the end of a log that follows a master's
    /// word for word. Otherwise a SELECT is the first thing to read.
    pub fn database_at_start(&self) -> Option<u32> {
        self.database
    }

    pub fn lag_bytes(&self) -> u64 {
        self.journal.end().saturating_sub(self.position)
    }

    /// Reads up to `bytes_max` bytes into `out` and says how many they were. What is not for this reader's side is passed
    /// over: none may have been read although the position has moved on.
    pub fn read(&mut self, bytes_max: usize, out: &mut Vec<Slice>) -> Result<usize, Lost> {
        self.read_until(Offset::MAX, bytes_max, out)
    }

    /// Reads as [`Reader::read`] does, but nothing from `until` on: a file may have to end exactly
    /// where a snapshot begins.
    pub fn read_until(
        &mut self,
        until: Offset,
        bytes_max: usize,
        out: &mut Vec<Slice>,
    ) -> Result<usize, Lost> {
        if self.journal.end() == self.position || until <= self.position {
            return Ok(0);
        }
        let (start, slices_before) = (self.position, out.len());
        let discarded = {
            let mut log = self.journal.lock();
            let is_cut = find_entry(&mut log.kept.readers, self.id).is_cut;
            let is_kept = log.oldest() <= start && start <= log.end();
            if is_cut || !is_kept {
                return Err(Lost { position: start, oldest: log.oldest() });
            }
            self.position = log.read(self.side, start, until, bytes_max, out);
            find_entry(&mut log.kept.readers, self.id).position = self.position;
            log.trim();
            let discarded = std::mem::take(&mut log.kept.discarded);
            self.journal.publish(&log);
            discarded
        };
        drop(discarded);
        Ok(out[slices_before..].iter().map(|slice| slice.len()).sum())
    }

    /// Asks to be woken, once, by the first `notify` after the log has reached `wake_at`. False if it
    /// has already, or if the reader has lost its place: then nobody will wake it, and it reads.
    #[must_use = "nobody wakes a reader that could go on"]
    pub fn arm(&self, wake_at: Offset, waker: &Waker) -> bool {
        let mut log = self.journal.lock();
        let end = log.end();
        let entry = find_entry(&mut log.kept.readers, self.id);
        if entry.is_cut || wake_at <= end {
            return false;
        }
        entry.sleeper = Some((wake_at, waker.clone()));
        self.journal.publish(&log);
        true
    }

    /// Parks the thread until there is something to read, or `timeout` is over, or for no reason.
    pub fn wait(&self, timeout: Duration) {
        let waker = Waker::from(Arc::new(ThreadWaker(this())));
        if self.arm(self.position + 1, &waker) {
            park_timeout(timeout);
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, side, position, .. } = self;
        formatter
            .debug_struct("Reader")
            .field("id", id)
            .field("side", side)
            .field("position", position)
            .finish_non_exhaustive()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.journal.close_reader(self.id);
    }
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn find_entry(readers: &mut [ReaderEntry], id: u64) -> &mut ReaderEntry {
    readers.iter_mut().find(|reader| reader.id == id).expect("an entry lives as long as its reader")
}
