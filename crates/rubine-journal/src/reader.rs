//! One reader of the journal: a position, and what waits there. Never copies what it hands out, save
//! for a few bytes at the very end, and never keeps appenders waiting for longer than it takes to
//! count up a few references.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use thiserror::Error;

use crate::Offset;
use crate::journal::Journal;
use crate::log::{ReaderEntry, Slice};
use crate::sync::{Thread, park_timeout, this};

/// Reads the log at its own pace. Dropping it closes it.
///
/// Read no more than can be passed on now: what is read is held by its slices and no longer counted
/// by the journal, and what is not read yet shows as lag.
pub struct Reader {
    journal: Arc<Journal>,
    id: u64,
    position: Offset,
    database: Option<u32>,
}

/// The reader's next byte is gone: it fell too far behind, or the log began another history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the journal no longer has offset {position}; its oldest is {oldest}")]
pub struct Lost {
    pub position: Offset,
    pub oldest: Offset,
}

impl Reader {
    pub(crate) fn new(
        journal: Arc<Journal>,
        id: u64,
        position: Offset,
        database: Option<u32>,
    ) -> Self {
        Self { journal, id, position, database }
    }

    /// The offset of the next byte to read.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// The database that was selected where the reader began, for a reader at the end of a log that
    /// follows a master's word for word. Otherwise a SELECT is the first thing to read.
    pub fn database_at_start(&self) -> Option<u32> {
        self.database
    }

    pub fn lag_bytes(&self) -> u64 {
        self.journal.end().saturating_sub(self.position)
    }

    /// Reads up to `bytes_max` bytes into `out` and says how many they were.
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
        let start = self.position;
        let discarded = {
            let mut log = self.journal.lock();
            let is_cut = find_entry(&mut log.kept.readers, self.id).is_cut;
            let is_kept = log.oldest() <= start && start <= log.end();
            if is_cut || !is_kept {
                return Err(Lost { position: start, oldest: log.oldest() });
            }
            self.position = log.read(start, until, bytes_max, out);
            find_entry(&mut log.kept.readers, self.id).position = self.position;
            log.trim();
            let discarded = std::mem::take(&mut log.kept.discarded);
            self.journal.publish(&log);
            discarded
        };
        drop(discarded);
        Ok((self.position - start) as usize)
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
