//! Where to prefetch: the directories of many tables, readable without the tables' locks. What is read may be out of
//! date, which costs a useless prefetch and nothing else.
//!
//! Directories and segments that were replaced are freed by epochs (crossbeam): not before every thread that was
//! reading when they went has let go of its [`Reading`].

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::TABLE_BYTES_HOT;
use super::prefetch::{LINE, prefetch_lines};
use super::segment::{SegmentCell, SegmentRef};

const POINTER_BITS: u32 = 48;
const DEPTH_SHIFT: u32 = 56;

/// The hints of many tables, numbered by their owner.
#[derive(Clone, Debug)]
pub struct Hints {
    slots: Arc<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Address and depth of a directory, which has 2^depth entries; 0 for none.
    directory: AtomicU64,
    /// Where the table lies that has the number, [`SOMEWHERE`] if it has not said so; 0 for none.
    table: AtomicUsize,
}

/// A table has the number, wherever it lies.
const SOMEWHERE: usize = 1;

/// Lines of a table that are worth fetching.
const TABLE_LINES: usize = TABLE_BYTES_HOT.div_ceil(LINE);

/// While it lives, hints may be read.
pub struct Reading(crossbeam_epoch::Guard);

impl Reading {
    pub fn new() -> Self {
        Self(crossbeam_epoch::pin())
    }
}

impl Default for Reading {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reading")
    }
}

/// Frees directories and segments that were replaced, as far as nobody can be reading them any more. It happens without
/// this, too, but only while tables change.
pub fn free_what_waits() {
    crossbeam_epoch::pin().flush();
}

/// Lets go of a directory when nobody who has found it by a hint can be looking at it any more.
pub(super) fn free_unseen(directory: Arc<[SegmentCell]>) {
    crossbeam_epoch::pin().defer(move || drop(directory));
}

/// Where a record may be.
#[derive(Clone, Copy, Debug)]
pub struct Hint<'r> {
    segment: SegmentRef,
    hash: u64,
    reading: PhantomData<&'r Reading>,
}

impl Hint<'_> {
    /// Asks the processor to fetch the home bucket.
    #[inline]
    pub fn prefetch_bucket(self) {
        self.segment.prefetch_bucket(self.hash);
    }

    /// Asks the processor to fetch the records that may be the one. To be called when the bucket has been fetched.
    #[inline]
    pub fn prefetch_record(self) {
        self.segment.prefetch_record(self.hash);
    }
}

impl Hints {
    /// Room for the hints of `count` tables.
    pub fn new(count: usize) -> Self {
        Self { slots: (0..count).map(|_| Slot::default()).collect() }
    }

    /// Where table `number` has, or would have, the record of `hash`.
    #[inline]
    pub fn look<'r>(&self, reading: &'r Reading, number: usize, hash: u64) -> Option<Hint<'r>> {
        let segment = self.segment(reading, number, hash)?;
        Some(Hint { segment, hash, reading: PhantomData })
    }

    /// Asks the processor to fetch what most requests look at of table `number`, if it has said where it lies.
    #[inline]
    pub fn prefetch_table(&self, number: usize) {
        if let Some(slot) = self.slots.get(number) {
            let address = slot.table.load(Ordering::Relaxed);
            if SOMEWHERE < address {
                prefetch_lines(std::ptr::without_provenance(address), TABLE_LINES);
            }
        }
    }

    #[inline]
    #[expect(unsafe_code, reason = "what is read is kept alive by the epoch")]
    fn segment(&self, reading: &Reading, number: usize, hash: u64) -> Option<SegmentRef> {
        let Reading(_guard) = reading;
        let directory = self.slots.get(number)?.directory.load(Ordering::Acquire);
        if directory == 0 {
            return None;
        }
        let depth = directory >> DEPTH_SHIFT;
        let address = directory & ((1 << POINTER_BITS) - 1);
        let cells = std::ptr::with_exposed_provenance::<SegmentCell>(address as usize);
        let index = (hash >> 1 >> (63 - depth)) as usize;
        // SAFETY: the directory has 2^depth entries, and it and the segments in it are freed only after the guard's
        // epoch.
        Some(unsafe { &*cells.add(index) }.get())
    }
}

/// A table's own entry among the hints.
#[derive(Debug)]
pub(super) struct OwnHint {
    hints: Hints,
    number: usize,
}

impl OwnHint {
    /// # Panics
    /// If another table has the number: the segments of one would be found through the other.
    pub(super) fn new(hints: Hints, number: usize) -> Self {
        let claimed = hints.slots[number].table.swap(SOMEWHERE, Ordering::AcqRel);
        assert!(claimed == 0, "two tables with one number");
        Self { hints, number }
    }

    /// The table lies at `address` until it says otherwise, or ends.
    pub(super) fn tell_address(&self, address: usize) {
        self.hints.slots[self.number].table.store(address, Ordering::Relaxed);
    }

    /// The directory is `directory` now, in place of `old`.
    pub(super) fn replace(
        &self,
        depth: u8,
        directory: &Arc<[SegmentCell]>,
        old: Option<Arc<[SegmentCell]>>,
    ) {
        let address = directory.as_ptr().expose_provenance() as u64;
        assert!(address >> POINTER_BITS == 0, "user space has 48-bit addresses");
        let slot = &self.hints.slots[self.number];
        slot.directory.store(address | u64::from(depth) << DEPTH_SHIFT, Ordering::Release);
        if let Some(old) = old {
            free_unseen(old);
        }
    }

    /// The table with `directory` ends.
    pub(super) fn clear(self, directory: &Arc<[SegmentCell]>) {
        let slot = &self.hints.slots[self.number];
        slot.directory.store(0, Ordering::Release);
        slot.table.store(0, Ordering::Release);
        free_unseen(directory.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{Hints, Reading, free_what_waits};
    use crate::record::Record;
    use crate::relocation::Relocation;
    use crate::table::Table;
    use crate::value::Value;

    fn hash_of(key: &[u8]) -> u64 {
        rubine_base::hash::KeyHasher::with_seed(3).hash(key)
    }

    /// Segments and directories come, go and move while others look at them without a lock. What a memory checker would
    /// find is a read of what was freed.
    #[test]
    fn readers_may_look_while_tables_change() {
        const READERS: usize = 2;
        const KEYS: u32 = 3000;
        let hints = Hints::new(1);
        let is_over = AtomicBool::new(false);
        let keys: Vec<Vec<u8>> = (0..KEYS).map(|it| it.to_string().into_bytes()).collect();
        std::thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    let mut looks = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let reading = Reading::new();
                        for key in keys.iter().skip(looks % 97).step_by(97) {
                            if let Some(hint) = hints.look(&reading, 0, hash_of(key)) {
                                hint.prefetch_bucket();
                                hint.prefetch_record();
                            }
                        }
                        looks += 1;
                    }
                    assert!(0 < looks);
                });
            }
            for round in 0..3 {
                let mut table = Table::with_hints(hash_of, hints.clone(), 0);
                for key in &keys {
                    table.insert(hash_of(key), Record::new(key, Value::Int(round), None, 0));
                }
                let snapshot = (round == 1).then(|| table.snapshot());
                let mut everything = |_: *const u8| true;
                let mut relocation = Relocation::new(&mut everything);
                let mut cursor = Some(0);
                while let Some(from) = cursor {
                    cursor = table.relocate(from, &mut relocation, |_, _, _| {});
                }
                for key in &keys {
                    assert!(table.remove(hash_of(key), key).is_some());
                }
                free_what_waits();
                assert_eq!(snapshot.map_or(keys.len(), |it| it.len()), keys.len());
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
