//! Where to prefetch: a copy of each table's directory that may be read without the table's lock. What is read may be
//! out of date, which costs a useless prefetch and nothing else.
//!
//! Directories and segments that were replaced are freed by epochs (crossbeam): not before every thread that was
//! reading when they went has let go of its [`Reading`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::segment::SegmentRef;

/// A copy of a directory.
#[derive(Debug)]
struct Copy {
    depth: u8,
    segments: Box<[AtomicU64]>,
}

/// The hints of many tables, numbered by their owner.
#[derive(Clone, Debug)]
pub struct Hints {
    slots: Arc<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    copy: AtomicPtr<Copy>,
    /// One table keeps it up to date.
    is_claimed: AtomicBool,
}

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

impl Hints {
    /// Room for the hints of `count` tables.
    pub fn new(count: usize) -> Self {
        Self { slots: (0..count).map(|_| Slot::default()).collect() }
    }

    /// Asks the processor to fetch the home bucket of `hash` in table `number`.
    #[inline]
    pub fn prefetch_bucket(&self, reading: &Reading, number: usize, hash: u64) {
        if let Some(segment) = self.segment(reading, number, hash) {
            segment.prefetch_bucket(hash);
        }
    }

    /// Asks the processor to fetch the records that may be the one of `hash` in table `number`. To be called when the
    /// bucket has been fetched.
    #[inline]
    pub fn prefetch_record(&self, reading: &Reading, number: usize, hash: u64) {
        if let Some(segment) = self.segment(reading, number, hash) {
            segment.prefetch_record(hash);
        }
    }

    #[inline]
    #[expect(unsafe_code, reason = "what is read is kept alive by the epoch")]
    fn segment(&self, reading: &Reading, number: usize, hash: u64) -> Option<SegmentRef> {
        let Reading(_guard) = reading;
        let copy = self.slots.get(number)?.copy.load(Ordering::Acquire);
        // SAFETY: a copy and the segments in it are freed only after the guard's epoch.
        unsafe {
            let copy = copy.as_ref()?;
            let index = (hash >> 1 >> (63 - copy.depth)) as usize;
            let bits = copy.segments.get(index)?.load(Ordering::Acquire);
            Some(SegmentRef::from_bits(bits))
        }
    }
}

/// A table's own entry among the hints.
#[derive(Debug)]
pub(super) struct OwnHint {
    hints: Hints,
    number: usize,
}

#[expect(unsafe_code, reason = "what is replaced is freed by the epoch")]
impl OwnHint {
    /// # Panics
    /// If another table has the number: the segments of one would be found through the other.
    pub(super) fn new(hints: Hints, number: usize) -> Self {
        let was_claimed = hints.slots[number].is_claimed.swap(true, Ordering::AcqRel);
        assert!(!was_claimed, "two tables with one number");
        Self { hints, number }
    }

    /// The directory is another now.
    pub(super) fn replace(&self, depth: u8, directory: &[SegmentRef]) {
        let segments = directory.iter().map(|it| AtomicU64::new(it.to_bits())).collect();
        self.swap(Box::into_raw(Box::new(Copy { depth, segments })));
    }

    /// Directory entries `first..first + run` point to `segment` now.
    pub(super) fn set(&self, first: usize, run: usize, segment: SegmentRef) {
        let copy = self.hints.slots[self.number].copy.load(Ordering::Relaxed);
        // SAFETY: only this table replaces its copy, and it is mutably borrowed by the caller.
        let Some(copy) = (unsafe { copy.as_ref() }) else { return };
        for entry in &copy.segments[first..first + run] {
            entry.store(segment.to_bits(), Ordering::Release);
        }
    }

    fn swap(&self, copy: *mut Copy) {
        let old = self.hints.slots[self.number].copy.swap(copy, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: it came from a box, and nobody finds it any more.
            let old = unsafe { Box::from_raw(old) };
            crossbeam_epoch::pin().defer(move || drop(old));
        }
    }
}

impl Drop for OwnHint {
    fn drop(&mut self) {
        self.swap(std::ptr::null_mut());
        self.hints.slots[self.number].is_claimed.store(false, Ordering::Release);
    }
}
