//! Snapshots of a table and what is kept for them. Knows nothing of where a record lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::View;
use super::segment::{SegmentCell, SegmentRef};
use crate::record::{Record, RecordRef};
use crate::value::ValueRef;

/// A table as it was at one moment. Readable from any thread while the table goes on.
#[derive(Debug)]
pub struct TableSnapshot {
    directory: Arc<[SegmentCell]>,
    facts: SnapshotFacts,
    epoch: u64,
    versions: Arc<Versions>,
}

/// What is known of a table at the moment of a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotFacts {
    pub(super) depth: u8,
    pub(super) len: usize,
    pub(super) volatile_len: usize,
    pub(super) had_inner_deadlines: bool,
}

impl TableSnapshot {
    pub(super) fn new(
        directory: Arc<[SegmentCell]>,
        facts: SnapshotFacts,
        epoch: u64,
        versions: Arc<Versions>,
    ) -> Self {
        versions.admit(epoch);
        Self { directory, facts, epoch, versions }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.facts.len
    }

    pub fn is_empty(&self) -> bool {
        self.facts.len == 0
    }

    /// Number of records with a deadline.
    pub fn volatile_len(&self) -> usize {
        self.facts.volatile_len
    }

    /// Whether an element of a value may have a deadline: one had, at some time.
    pub fn may_have_inner_deadlines(&self) -> bool {
        self.facts.had_inner_deadlines
    }

    /// The record of `key`.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<RecordRef<'_>> {
        self.view().find(hash, key)
    }

    /// As [`super::Table::scan`]; nothing changes between the calls, so each record is visited once.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        visit: impl FnMut(RecordRef<'a>),
    ) -> Option<u64> {
        self.view().scan(cursor, count, visit)
    }

    /// Bytes that the table has replaced and keeps for its snapshots, about: what they cost.
    pub fn retained_bytes(&self) -> usize {
        self.versions.retained_bytes.load(Ordering::Relaxed)
    }

    fn view(&self) -> View<'_> {
        View { directory: &self.directory, depth: self.facts.depth }
    }
}

impl Drop for TableSnapshot {
    fn drop(&mut self) {
        self.versions.release(self.epoch);
    }
}

/// What a table replaced while a snapshot could see it. Dropping it frees the memory.
#[derive(Debug)]
pub(super) enum Garbage {
    /// A segment whose records live on elsewhere.
    Segment(SegmentRef),
    Record(Option<Record>),
    /// Segments with all their records.
    All(Vec<SegmentRef>),
}

impl Garbage {
    /// Bytes of the allocations that are replaced. What a large value shares with its successor is not looked at.
    fn size(&self) -> usize {
        let record_size = |record: &Record| {
            let record = record.as_ref();
            let behind = match record.value() {
                ValueRef::Shared(bytes) => bytes.capacity(),
                _ => 0,
            };
            record.size() + behind
        };
        match self {
            Self::Segment(segment) => segment.size(),
            Self::Record(record) => record.as_ref().map_or(0, record_size),
            Self::All(segments) => segments.iter().map(|it| it.size()).sum(),
        }
    }
}

impl Drop for Garbage {
    fn drop(&mut self) {
        match self {
            Self::Segment(segment) => segment.free(),
            Self::Record(record) => drop(record.take()),
            Self::All(segments) => segments.drain(..).for_each(SegmentRef::free_with_records),
        }
    }
}

/// The live snapshots of one table, and what is kept for them.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// The epoch of the newest live snapshot, 0 if there is none.
    newest: AtomicU64,
    /// Bytes of what is retired, about.
    retained_bytes: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Epochs of live snapshots, ascending.
    live: Vec<u64>,
    /// What was replaced, with the epoch of the replacement, ascending. Snapshots of earlier epochs may see it.
    retired: Vec<(u64, Garbage)>,
}

impl Versions {
    #[inline]
    pub(super) fn newest(&self) -> u64 {
        // Acquire: whoever sees that a snapshot is gone also sees its reads as done.
        self.newest.load(Ordering::Acquire)
    }

    fn admit(&self, epoch: u64) {
        let mut state = self.state.lock();
        state.live.push(epoch);
        self.newest.store(epoch, Ordering::Release);
    }

    pub(super) fn retire(&self, epoch: u64, garbage: Garbage) {
        let mut state = self.state.lock();
        if state.live.is_empty() {
            drop(state);
            drop(garbage);
        } else {
            self.retained_bytes.fetch_add(garbage.size(), Ordering::Relaxed);
            state.retired.push((epoch, garbage));
        }
    }

    fn release(&self, epoch: u64) {
        let mut state = self.state.lock();
        state.live.retain(|&it| it != epoch);
        self.newest.store(state.live.last().copied().unwrap_or(0), Ordering::Release);
        let oldest = state.live.first().copied().unwrap_or(u64::MAX);
        let unseen = state.retired.partition_point(|&(retired, _)| retired <= oldest);
        let garbage: Vec<_> = state.retired.drain(..unseen).collect();
        if state.live.is_empty() {
            state.retired = Vec::new();
        }
        drop(state);
        let freed = garbage.iter().map(|(_, it)| it.size()).sum();
        self.retained_bytes.fetch_sub(freed, Ordering::Relaxed);
        drop(garbage);
    }
}
