//! What a unit of work has done to keys: counts, and what is to be told or done about it. Never touches a key but to
//! take back what was done.

use std::cell::Cell;

use crate::keyspace::{Keyspace, Locked};
use crate::tracking::{Stale, Tracking};
use crate::undo::Undo;

/// What happened to keys while a command ran.
#[derive(Debug, Default)]
pub struct Changes {
    /// Number of changes, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    /// Keys that were found due and removed, with their database.
    pub expired: Vec<(usize, Box<[u8]>)>,
    /// How many keys were found due.
    pub expired_count: u64,
    /// Fields of hashes that a command removed or replaced because they were due.
    pub expired_fields: u64,
    /// Lookups for reading that found a key.
    pub hits: u64,
    /// Lookups for reading that did not.
    pub misses: u64,
    /// Whether the keys that were not found are wanted too.
    pub notes_misses: bool,
    /// Keys that were not found, with their database.
    pub missed: Vec<(usize, Box<[u8]>)>,
    /// All databases were emptied at once.
    pub was_flushed: bool,
    /// A database was emptied, or all of them.
    pub was_emptied: bool,
    /// Keys that a walk found due. It held no lock to remove them under, so whoever ran the command has
    /// [`crate::remove_due`] do it.
    pub found_due: Vec<(usize, Box<[u8]>)>,
    /// A walk that takes locks by itself has met this shard, which is busy, and has ended there: what the command has
    /// replied is worth nothing, and it is to run again when the shard is free.
    pub busy_shard: Cell<Option<usize>>,
    /// What is to be noted in `stale`.
    pub tracking: Tracking,
    /// Copies of keys that clients keep and that are out of date now, in the order of the changes.
    pub stale: Vec<Stale>,
    /// What was there before, if the unit may have to be taken back.
    pub(crate) undo: Option<Box<Undo>>,
    /// A log that is not used now.
    spare_undo: Option<Box<Undo>>,
}

/// A moment of a unit of work, to which the keys and the counts of its [`Changes`] can be brought back.
#[derive(Clone, Copy, Debug)]
pub struct ChangesMark {
    steps: usize,
    dirty: u64,
    expired_len: usize,
    expired_count: u64,
    expired_fields: u64,
    hits: u64,
    misses: u64,
    missed_len: usize,
    was_flushed: bool,
    was_emptied: bool,
    found_due_len: usize,
    stale_len: usize,
}

impl Changes {
    /// From now on, what is changed can be taken back, until [`Self::keep_all`].
    pub fn begin_undo(&mut self) {
        if self.undo.is_none() {
            self.undo = Some(self.spare_undo.take().unwrap_or_default());
        }
    }

    /// Whether what is changed can be taken back.
    #[inline]
    pub fn can_undo(&self) -> bool {
        self.undo.is_some()
    }

    /// What was done stands: nothing can be taken back any more. Best called when the locks are given back, since it frees
    /// memory.
    pub fn keep_all(&mut self, keyspace: &Keyspace) {
        if let Some(mut undo) = self.undo.take() {
            undo.clear(keyspace);
            self.spare_undo = Some(undo);
        }
    }

    /// Gives back the memory of a log that is not used now.
    pub fn forget_spare(&mut self) {
        self.spare_undo = None;
    }

    /// This moment. Marks are for one unit, and those after the one that was gone back to are void.
    ///
    /// # Panics
    /// If [`Self::begin_undo`] was not called.
    pub fn mark(&mut self) -> ChangesMark {
        let undo = self.undo.as_mut().expect("a mark takes a log");
        ChangesMark {
            steps: undo.mark(),
            dirty: self.dirty,
            expired_len: self.expired.len(),
            expired_count: self.expired_count,
            expired_fields: self.expired_fields,
            hits: self.hits,
            misses: self.misses,
            missed_len: self.missed.len(),
            was_flushed: self.was_flushed,
            was_emptied: self.was_emptied,
            found_due_len: self.found_due.len(),
            stale_len: self.stale.len(),
        }
    }
}

impl Locked<'_> {
    /// Takes back what was done since `mark`: keys with their values, deadlines and access bits, who keeps copies
    /// of them, and the counts of `changes`. The locks are those under which it was done, or more.
    ///
    /// A watch that was broken stays broken, and who waits for a key that was changed looks in vain.
    pub fn undo_to(&mut self, changes: &mut Changes, mark: &ChangesMark) {
        let undo = changes.undo.as_mut().expect("a mark took a log");
        undo.take_back(mark.steps, self);
        changes.dirty = mark.dirty;
        changes.expired.truncate(mark.expired_len);
        changes.expired_count = mark.expired_count;
        changes.expired_fields = mark.expired_fields;
        changes.hits = mark.hits;
        changes.misses = mark.misses;
        changes.missed.truncate(mark.missed_len);
        changes.was_flushed = mark.was_flushed;
        changes.was_emptied = mark.was_emptied;
        changes.found_due.truncate(mark.found_due_len);
        for stale in changes.stale.drain(mark.stale_len..) {
            if let Stale::Read { readers, .. } = stale {
                self.put_back(&readers);
            }
        }
    }
}
