//! One segment of a table: cache-line buckets of tagged record pointers, in raw memory. Never decides when to copy, split
//! or free: the table does.
//!
//! ```text
//! bucket 0                                             bucket 1 ..
//! +------+--------------+----------+---------+-----+---------+  +------+---------+-----+---------+
//! | tags | birth, count | deadline | entry 2 | ... | entry 6 |  | tags | entry 0 | ... | entry 6 |
//! +------+--------------+----------+---------+-----+---------+  +------+---------+-----+---------+
//! ```
//!
//! What is known of a segment as a whole lies where the first two entries of its first bucket would be. The smallest
//! segments end within that bucket, behind the last entry that they have room for.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::HashOf;
use super::prefetch::{LINE, prefetch};
use crate::record::{Record, RecordRef};

const BUCKET_SLOTS: usize = 7;

/// The first slots of the first bucket, where the header is.
const HEADER_SLOTS: usize = 2;

/// Segment sizes in bytes, which are the allocator's size classes. The first is that of the shared empty segment.
const SIZES: [u32; CLASSES] = {
    const SMALL: [u32; CLASS_OF_LINE] = [0, 32, 40, 48, 56];
    const LINES: [u32; CLASSES - CLASS_OF_LINE] = [
        1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128,
        160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560,
        3072, 3584, 4096,
    ];
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        sizes[class] = match class.checked_sub(CLASS_OF_LINE) {
            None => SMALL[class],
            Some(index) => LINES[index] * LINE as u32,
        };
        class += 1;
    }
    sizes
};

const CLASSES: usize = 49;

/// The class of the shared empty segment: no other segment has it.
const CLASS_EMPTY: u8 = 0;

/// The first class whose buckets are complete.
const CLASS_OF_LINE: usize = 5;

/// A segment of this class splits instead of growing.
const CLASS_LARGEST: u8 = 24;

/// How many buckets a segment of each class has. The smallest ones have one, which is not complete.
const BUCKETS: [u16; CLASSES] = {
    let mut buckets = [1; CLASSES];
    let mut class = CLASS_OF_LINE;
    while class < CLASSES {
        buckets[class] = (SIZES[class] as usize / LINE) as u16;
        class += 1;
    }
    buckets
};

/// Slots that a segment of the largest class has or would have, those of the header included.
pub(super) const SLOTS_MAX: usize = BUCKETS[CLASS_LARGEST as usize] as usize * BUCKET_SLOTS;

/// Records in a segment of the largest class when it splits.
pub(super) const LEN_MAX: usize = len_max(CLASS_LARGEST);

/// Slots for records in a segment of this class.
const fn slot_count(class: u8) -> usize {
    let words = SIZES[class as usize] as usize / size_of::<u64>();
    // A word of each bucket has its tags.
    words.saturating_sub(BUCKETS[class as usize] as usize + HEADER_SLOTS)
}

/// How many records a segment of this class may hold before searches get long.
const fn len_max(class: u8) -> usize {
    let slots = slot_count(class);
    // One bucket is filled to the last slot; larger segments to 93 %.
    if BUCKETS[class as usize] == 1 { slots } else { slots * 93 / 100 }
}

const POINTER_BITS: u32 = 48;
const POINTER_MASK: u64 = (1 << POINTER_BITS) - 1;
const POSITION_BITS: u32 = 15;
const SHARED: u64 = 1 << 63;

/// A pointer to a segment, with what a search needs to know before it touches it:
/// 48 bits address, 8 bits size class, 8 bits depth.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentRef(u64);

/// An entry of a directory. Read without a lock by those who prefetch; written under it.
#[derive(Debug)]
pub(super) struct SegmentCell(AtomicU64);

impl SegmentCell {
    pub(super) fn new(segment: SegmentRef) -> Self {
        Self(AtomicU64::new(segment.0))
    }

    #[inline]
    pub(super) fn get(&self) -> SegmentRef {
        // Acquire: whoever finds a segment finds it initialised.
        SegmentRef(self.0.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, segment: SegmentRef) {
        self.0.store(segment.0, Ordering::Release);
    }

    /// Another entry for the same segment.
    pub(super) fn copy(&self) -> Self {
        Self::new(self.get())
    }
}

/// A bucket, by the address of its first word: seven tags, and the overflow count in the top byte. A tag is 0 for a free
/// slot. Entries follow, as many as the segment has.
///
/// All words are atomics because prefetching looks at them without a lock; whoever writes holds it, so all accesses are
/// relaxed and cost what plain ones do.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bucket(NonNull<AtomicU64>);

const OVERFLOW_SHIFT: u32 = 56;
const OVERFLOW_MAX: u64 = u8::MAX as u64;
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
const SLOT_MARKS: u64 = 0x0080_8080_8080_8080;

/// The tag of slots that have no record in them but the header.
const HEADER_TAG: u8 = 1;
const HEADER_TAGS: u64 = HEADER_TAG as u64 | (HEADER_TAG as u64) << 8;

#[expect(unsafe_code, reason = "segments are raw memory")]
impl Bucket {
    #[inline]
    fn tags_cell(&self) -> &AtomicU64 {
        // SAFETY: the segment lives as long as the directory that it was found in, or the epoch in which it was; the
        // reference does not leave this module.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn entry_cell(&self, slot: usize) -> &AtomicU64 {
        debug_assert!(slot < BUCKET_SLOTS);
        // SAFETY: as above. Whoever asks for a slot has seen its tag, or knows from the segment's count that it is there.
        unsafe { self.0.add(1 + slot).as_ref() }
    }

    #[inline]
    fn tags(self) -> u64 {
        self.tags_cell().load(Ordering::Relaxed)
    }

    #[inline]
    fn set_tags(self, tags: u64) {
        self.tags_cell().store(tags, Ordering::Relaxed);
    }

    #[inline]
    fn entry(self, slot: usize) -> u64 {
        self.entry_cell(slot).load(Ordering::Relaxed)
    }

    #[inline]
    fn set_entry(self, slot: usize, entry: u64) {
        self.entry_cell(slot).store(entry, Ordering::Relaxed);
    }

    /// A mark in the top bit of each byte whose slot has `tag`.
    #[inline]
    fn matches(self, tag: u8) -> u64 {
        let difference = self.tags() ^ (u64::from(tag) * 0x0101_0101_0101_0101);
        !(((difference & LOW_BITS) + LOW_BITS) | difference) & SLOT_MARKS
    }

    /// A mark for each slot with a record.
    fn occupied(self) -> u64 {
        !(self.matches(0) | self.matches(HEADER_TAG)) & SLOT_MARKS
    }

    #[inline]
    fn overflow(self) -> u64 {
        self.tags() >> OVERFLOW_SHIFT
    }

    /// Counts one more record that went past; a full count stays full.
    fn count_overflow(self) {
        if self.overflow() < OVERFLOW_MAX {
            self.set_tags(self.tags() + (1 << OVERFLOW_SHIFT));
        }
    }

    fn discount_overflow(self) {
        if self.overflow() < OVERFLOW_MAX {
            self.set_tags(self.tags() - (1 << OVERFLOW_SHIFT));
        }
    }

    fn set(self, slot: usize, tag: u8, entry: u64) {
        let tags = self.tags() & !(0xff << (slot * 8)) | u64::from(tag) << (slot * 8);
        self.set_tags(tags);
        self.set_entry(slot, entry);
    }

    fn tag(self, slot: usize) -> u8 {
        (self.tags() >> (slot * 8)) as u8
    }
}

/// The slots that a mask of marks names.
fn slots_of(mut marks: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = (marks != 0).then(|| marks.trailing_zeros() as usize / 8)?;
        marks &= marks - 1;
        Some(slot)
    })
}

/// The eight hash bits that are compared first; never those of a free slot or of the header.
#[inline]
fn tag_of(hash: u64) -> u8 {
    ((hash >> 16) as u8).max(HEADER_TAG + 1)
}

/// The 15 hash bits below `depth`: where in its segment a record lies.
#[inline]
fn position_of(hash: u64, depth: u8) -> u64 {
    hash << depth >> (64 - POSITION_BITS)
}

#[inline]
fn position_in(entry: u64) -> u64 {
    entry >> POINTER_BITS & ((1 << POSITION_BITS) - 1)
}

/// The home bucket of `position` among `buckets`.
#[inline]
fn home(position: u64, buckets: usize) -> usize {
    (position as usize * buckets) >> POSITION_BITS
}

/// Compares keys. Most are short, and equal when it comes to this: two loads a side do it then.
#[inline]
fn equal(one: &[u8], other: &[u8]) -> bool {
    /// The first and the last bytes, which overlap, of a key that is no longer than both.
    fn ends<const N: usize>(key: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        if key.len() <= 2 * N { Some((key.first_chunk()?, key.last_chunk()?)) } else { None }
    }
    if one.len() != other.len() {
        return false;
    }
    if let (Some(some), Some(others)) = (ends::<8>(one), ends::<8>(other)) {
        return some == others;
    }
    if let (Some(some), Some(others)) = (ends::<16>(one), ends::<16>(other)) {
        return some == others;
    }
    one == other
}

/// One occupied slot, by the address of its entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(NonNull<AtomicU64>);

#[expect(unsafe_code, reason = "segments are raw memory")]
impl Place {
    #[inline]
    fn new(bucket: Bucket, slot: usize) -> Self {
        debug_assert!(slot < BUCKET_SLOTS);
        // SAFETY: the slot is occupied, so the bucket has it.
        Self(unsafe { bucket.0.add(1 + slot) })
    }

    /// The slot's number, if it is one of `bucket`.
    fn slot_in(self, bucket: Bucket) -> Option<usize> {
        let words = self.0.addr().get().wrapping_sub(bucket.0.addr().get()) / size_of::<u64>();
        (1..=BUCKET_SLOTS).contains(&words).then(|| words - 1)
    }

    #[inline]
    fn entry(self) -> u64 {
        // SAFETY: a place is used only while its segment lives and nobody else writes it.
        unsafe { self.0.as_ref() }.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn record(self) -> NonNull<u8> {
        pointer_in(self.entry())
    }

    /// Lets the slot point to where its record moved; the record is private from then on.
    #[inline]
    pub(super) fn point_to(self, record: NonNull<u8>) {
        let address = record.expose_provenance().get() as u64;
        let entry = self.entry();
        let entry_now = position_in(entry) << POINTER_BITS | address;
        if entry != entry_now {
            // SAFETY: as above, and the table is mutably borrowed by the caller.
            unsafe { self.0.as_ref() }.store(entry_now, Ordering::Relaxed);
        }
    }
}

#[inline]
fn pointer_in(entry: u64) -> NonNull<u8> {
    let pointer = std::ptr::with_exposed_provenance_mut((entry & POINTER_MASK) as usize);
    NonNull::new(pointer).expect("an occupied slot has a record")
}

/// What every empty segment points to: the tags and the header of a bucket that nobody writes.
#[repr(align(64))]
struct EmptySegment([AtomicU64; 1 + HEADER_SLOTS]);

static EMPTY: EmptySegment = EmptySegment([
    AtomicU64::new(HEADER_TAGS),
    AtomicU64::new(u64::MAX << LEN_BITS),
    AtomicU64::new(i64::MAX as u64),
]);

/// Birth and number of records share a word.
const LEN_BITS: u32 = 16;

#[expect(unsafe_code, reason = "segments are raw memory")]
impl SegmentRef {
    /// A segment without records, for which nothing is allocated.
    pub(super) fn empty(depth: u8) -> Self {
        Self::pack((&raw const EMPTY.0).cast_mut().cast(), CLASS_EMPTY, depth)
    }

    /// A new segment that takes `len` records before it is full.
    pub(super) fn with_room_for(len: usize, depth: u8, birth: u64) -> Self {
        let class = (1..CLASSES as u8)
            .find(|&class| len <= len_max(class))
            .expect("the largest class has room for a hundred times what a segment splits at");
        Self::of_class(class, depth, birth)
    }

    fn of_class(class: u8, depth: u8, birth: u64) -> Self {
        let layout = layout(class);
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let segment = Self::pack(memory.as_ptr().cast(), class, depth);
        segment.bucket(0).set_tags(HEADER_TAGS);
        segment.birth_cell().store(birth << LEN_BITS, Ordering::Relaxed);
        segment.set_earliest_deadline(i64::MAX);
        segment
    }

    fn pack(memory: *mut AtomicU64, class: u8, depth: u8) -> Self {
        let address = memory.expose_provenance() as u64;
        assert!(address <= POINTER_MASK, "user space has 48-bit addresses");
        Self(address | u64::from(class) << POINTER_BITS | u64::from(depth) << 56)
    }

    #[inline]
    pub(super) fn depth(self) -> u8 {
        (self.0 >> 56) as u8
    }

    #[inline]
    fn class(self) -> u8 {
        (self.0 >> POINTER_BITS) as u8
    }

    pub(super) fn is_empty_marker(self) -> bool {
        self.class() == CLASS_EMPTY
    }

    pub(super) fn is_largest(self) -> bool {
        CLASS_LARGEST <= self.class()
    }

    #[inline]
    fn buckets(self) -> usize {
        usize::from(BUCKETS[usize::from(self.class())])
    }

    /// Slots for records.
    pub(super) fn slots(self) -> usize {
        slot_count(self.class())
    }

    /// The numbers that [`Self::slot`] takes are below this.
    pub(super) fn slot_numbers(self) -> usize {
        self.buckets() * BUCKET_SLOTS
    }

    /// Bytes allocated.
    pub(super) fn size(self) -> usize {
        SIZES[usize::from(self.class())] as usize
    }

    #[inline]
    fn memory(self) -> NonNull<AtomicU64> {
        let memory = std::ptr::with_exposed_provenance_mut((self.0 & POINTER_MASK) as usize);
        // SAFETY: the address is that of an allocation, or of a static.
        unsafe { NonNull::new_unchecked(memory) }
    }

    #[inline]
    fn bucket(self, index: usize) -> Bucket {
        debug_assert!(index < self.buckets());
        // SAFETY: `index` is below the number of the buckets that the memory has.
        Bucket(unsafe { self.memory().byte_add(index * LINE) })
    }

    fn header_cell<'a>(self, slot: usize) -> &'a AtomicU64 {
        // SAFETY: every segment has the header, for as long as it lives.
        unsafe { self.memory().add(1 + slot).as_ref() }
    }

    /// The table's epoch when the segment was made, and below it the number of records.
    fn birth_cell<'a>(self) -> &'a AtomicU64 {
        self.header_cell(0)
    }

    pub(super) fn len(self) -> usize {
        usize::from(self.birth_cell().load(Ordering::Relaxed) as u16)
    }

    /// The caller owns the segment.
    fn add_to_len(self, by: i64) {
        let cell = self.birth_cell();
        cell.store(cell.load(Ordering::Relaxed).wrapping_add_signed(by), Ordering::Relaxed);
    }

    pub(super) fn birth(self) -> u64 {
        self.birth_cell().load(Ordering::Relaxed) >> LEN_BITS
    }

    pub(super) fn is_full(self) -> bool {
        len_max(self.class()) <= self.len()
    }

    /// Whether a smaller segment would do with room to spare.
    pub(super) fn is_sparse(self) -> bool {
        self.len() * 2 < len_max(self.class())
    }

    /// No record in the segment falls due before this. Not content: also changed while snapshots look on.
    fn deadline_cell<'a>(self) -> &'a AtomicU64 {
        self.header_cell(1)
    }

    pub(super) fn earliest_deadline(self) -> i64 {
        self.deadline_cell().load(Ordering::Relaxed) as i64
    }

    pub(super) fn set_earliest_deadline(self, deadline: i64) {
        if !self.is_empty_marker() {
            self.deadline_cell().store(deadline as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn note_deadline(self, deadline: i64) {
        if deadline < self.earliest_deadline() {
            self.set_earliest_deadline(deadline);
        }
    }

    #[inline]
    pub(super) fn prefetch_bucket(self, hash: u64) {
        let bucket = self.bucket(home(position_of(hash, self.depth()), self.buckets()));
        let line = bucket.0.as_ptr().cast::<u8>().cast_const();
        prefetch(line);
        // In a well-filled table, every fifth record lies in the next.
        prefetch(line.wrapping_add(LINE));
    }

    /// Looks where a search would look first.
    #[inline]
    pub(super) fn prefetch_record(self, hash: u64) {
        /// Few records lie further away from home.
        const BUCKETS_LOOKED_AT: usize = 5;
        let (position, buckets) = (position_of(hash, self.depth()), self.buckets());
        let mut index = home(position, buckets);
        for _ in 0..BUCKETS_LOOKED_AT {
            let bucket = self.bucket(index);
            for slot in slots_of(bucket.matches(tag_of(hash))) {
                let entry = bucket.entry(slot);
                if position_in(entry) == position {
                    let record = (entry & POINTER_MASK) as usize as *const u8;
                    prefetch(record);
                    // Header and key are on the first line, a value of some length on the next.
                    prefetch(record.wrapping_add(LINE));
                    return;
                }
            }
            if bucket.overflow() == 0 {
                return;
            }
            index = if index + 1 == buckets { 0 } else { index + 1 };
        }
    }

    /// Asks the processor to fetch every record.
    pub(super) fn prefetch_records(self) {
        self.for_each_entry(|_, entry| prefetch(pointer_in(entry).as_ptr()));
    }

    #[inline]
    pub(super) fn find(self, hash: u64, key: &[u8]) -> Option<Place> {
        let buckets = self.buckets();
        let position = position_of(hash, self.depth());
        let tag = tag_of(hash);
        let mut index = home(position, buckets);
        for _ in 0..buckets {
            let bucket = self.bucket(index);
            for slot in slots_of(bucket.matches(tag)) {
                let entry = bucket.entry(slot);
                // SAFETY: an occupied slot points to a live record, which nobody writes during the search.
                let record = unsafe { RecordRef::from_raw(pointer_in(entry)) };
                if position_in(entry) == position && equal(record.key(), key) {
                    return Some(Place::new(self.bucket(index), slot));
                }
            }
            if bucket.overflow() == 0 {
                return None;
            }
            index = if index + 1 == buckets { 0 } else { index + 1 };
        }
        None
    }

    /// Adds a record that is not there. The segment is writable and not full.
    pub(super) fn insert(self, hash: u64, record: Record) {
        let address = record.into_raw().expose_provenance().get() as u64;
        assert!(address <= POINTER_MASK, "user space has 48-bit addresses");
        let position = position_of(hash, self.depth());
        self.insert_entry(tag_of(hash), position << POINTER_BITS | address);
    }

    fn insert_entry(self, tag: u8, entry: u64) {
        let buckets = self.buckets();
        let mut index = home(position_in(entry), buckets);
        loop {
            let bucket = self.bucket(index);
            let free = bucket.matches(0);
            if let Some(slot) = slots_of(free).next() {
                bucket.set(slot, tag, entry);
                break;
            }
            bucket.count_overflow();
            index = if index + 1 == buckets { 0 } else { index + 1 };
        }
        self.add_to_len(1);
    }

    /// Takes a record out. The segment is writable and the record private.
    pub(super) fn remove(self, place: Place) -> Record {
        let buckets = self.buckets();
        let mut index = home(position_in(place.entry()), buckets);
        let slot = loop {
            if let Some(slot) = place.slot_in(self.bucket(index)) {
                break slot;
            }
            self.bucket(index).discount_overflow();
            index = if index + 1 == buckets { 0 } else { index + 1 };
        };
        let memory = place.record();
        self.bucket(index).set(slot, 0, 0);
        self.add_to_len(-1);
        // SAFETY: the entry no longer owns the record.
        unsafe { Record::from_raw(memory) }
    }

    /// If a snapshot may see the record at `place`, puts a copy there and hands the old one out.
    pub(super) fn unshare(place: Place) -> Option<Record> {
        if place.entry() & SHARED == 0 {
            return None;
        }
        // SAFETY: an occupied slot points to a live record; after the copy took its place, the entry no longer owns it.
        let old = unsafe { Record::from_raw(place.record()) };
        place.point_to(old.duplicate().into_raw());
        Some(old)
    }

    /// A copy for a new epoch, in which every record counts as shared.
    pub(super) fn copy(self, birth: u64) -> Self {
        let copy = Self::of_class(self.class(), self.depth(), birth);
        for index in 0..self.buckets() {
            let from = self.bucket(index);
            let to = copy.bucket(index);
            to.set_tags(from.tags());
            for slot in slots_of(from.occupied()) {
                to.set_entry(slot, from.entry(slot) | SHARED);
            }
        }
        copy.add_to_len(self.len() as i64);
        copy.set_earliest_deadline(self.earliest_deadline());
        copy
    }

    /// The same in another place.
    pub(super) fn moved(self) -> Self {
        let moved = Self::of_class(self.class(), self.depth(), self.birth());
        for index in 0..self.buckets() {
            let (from, to) = (self.bucket(index), moved.bucket(index));
            to.set_tags(from.tags());
            slots_of(from.occupied()).for_each(|slot| to.set_entry(slot, from.entry(slot)));
        }
        moved.add_to_len(self.len() as i64);
        moved.set_earliest_deadline(self.earliest_deadline());
        moved
    }

    /// Where it lies.
    pub(super) fn address(self) -> *const u8 {
        self.memory().as_ptr().cast_const().cast()
    }

    /// The same records in a segment that has room for `len`.
    pub(super) fn resized(self, len: usize, birth: u64) -> Self {
        // Some room is left when a segment shrinks, so that it does not grow again at once.
        let len = if len < self.len() + 1 { len + len / 8 } else { len };
        let other = Self::with_room_for(len, self.depth(), birth);
        self.for_each_entry(|tag, entry| other.insert_entry(tag, entry));
        other.set_earliest_deadline(self.earliest_deadline());
        other
    }

    /// The records with a 0 and those with a 1 in the next bit of their hash.
    pub(super) fn split(self, birth: u64, hash_of: HashOf) -> (Self, Self) {
        let depth = self.depth() + 1;
        let in_high = |entry: u64| position_in(entry) >> (POSITION_BITS - 1) == 1;
        let mut high_len = 0;
        self.for_each_entry(|_, entry| {
            high_len += usize::from(in_high(entry));
            prefetch(pointer_in(entry).as_ptr());
        });
        let low = Self::with_room_for((self.len() - high_len).max(1), depth, birth);
        let high = Self::with_room_for(high_len.max(1), depth, birth);
        self.for_each_entry(|tag, entry| {
            // SAFETY: an occupied slot points to a live record.
            let hash = hash_of(unsafe { RecordRef::from_raw(pointer_in(entry)) }.key());
            let kept = entry & (POINTER_MASK | SHARED);
            let moved = kept | position_of(hash, depth) << POINTER_BITS;
            if in_high(entry) { high } else { low }.insert_entry(tag, moved);
        });
        low.set_earliest_deadline(self.earliest_deadline());
        high.set_earliest_deadline(self.earliest_deadline());
        (low, high)
    }

    /// The records of two siblings in one segment.
    pub(super) fn merged(low: Self, high: Self, birth: u64) -> Self {
        let len = low.len() + high.len();
        let merged = Self::with_room_for((len + len / 8).max(1), low.depth() - 1, birth);
        for (segment, bit) in [(low, 0), (high, 1)] {
            segment.for_each_entry(|tag, entry| {
                let position = bit << (POSITION_BITS - 1) | position_in(entry) >> 1;
                let kept = entry & (POINTER_MASK | SHARED);
                merged.insert_entry(tag, kept | position << POINTER_BITS);
            });
        }
        merged.set_earliest_deadline(low.earliest_deadline().min(high.earliest_deadline()));
        merged
    }

    fn for_each_entry(self, mut visit: impl FnMut(u8, u64)) {
        for index in 0..self.buckets() {
            let bucket = self.bucket(index);
            for slot in slots_of(bucket.occupied()) {
                visit(bucket.tag(slot), bucket.entry(slot));
            }
        }
    }

    /// Visits every record.
    pub(super) fn for_each(self, mut visit: impl FnMut(Place)) {
        for index in 0..self.buckets() {
            for slot in slots_of(self.bucket(index).occupied()) {
                visit(Place::new(self.bucket(index), slot));
            }
        }
    }

    /// The record in slot number `slot`, if there is such a slot and it is occupied.
    pub(super) fn slot(self, slot: usize) -> Option<Place> {
        let (index, slot) = (slot / BUCKET_SLOTS, slot % BUCKET_SLOTS);
        if self.buckets() <= index || self.bucket(index).tag(slot) <= HEADER_TAG {
            return None;
        }
        Some(Place::new(self.bucket(index), slot))
    }

    /// Visits the records whose hash is at least `cursor`, up to the end of a bucket where `count` is reached.
    /// Returns the hash where the rest of the table begins.
    pub(super) fn scan(
        self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Place),
    ) -> Option<u64> {
        let buckets = self.buckets();
        let mut from = position_of(cursor, self.depth());
        let mut seen = 0;
        for index in home(from, buckets)..buckets {
            // Positions from `from` up to `end` have their home in this bucket.
            let end = (((index as u64 + 1) << POSITION_BITS).div_ceil(buckets as u64))
                .min(1 << POSITION_BITS);
            self.scan_home(index, from..end, |place| {
                seen += 1;
                visit(place);
            });
            from = end;
            if count <= seen && from < 1 << POSITION_BITS {
                return Some(
                    self.start_hash(cursor) | from << (64 - POSITION_BITS) >> self.depth(),
                );
            }
        }
        self.end_hash(cursor)
    }

    /// Visits the records at `positions`, whose home is bucket `index`, wherever they were displaced to.
    fn scan_home(
        self,
        index: usize,
        positions: std::ops::Range<u64>,
        mut visit: impl FnMut(Place),
    ) {
        let buckets = self.buckets();
        let mut at = index;
        for _ in 0..buckets {
            let bucket = self.bucket(at);
            for slot in slots_of(bucket.occupied()) {
                if positions.contains(&position_in(bucket.entry(slot))) {
                    visit(Place::new(self.bucket(at), slot));
                }
            }
            if bucket.overflow() == 0 {
                return;
            }
            at = if at + 1 == buckets { 0 } else { at + 1 };
        }
    }

    /// The lowest hash that belongs to the segment, which holds `hash`.
    fn start_hash(self, hash: u64) -> u64 {
        let depth = self.depth();
        if depth == 0 { 0 } else { hash >> (64 - depth) << (64 - depth) }
    }

    /// The lowest hash after the segment, which holds `hash`; `None` for the last one.
    pub(super) fn end_hash(self, hash: u64) -> Option<u64> {
        let depth = self.depth();
        if depth == 0 { None } else { self.start_hash(hash).checked_add(1 << (64 - depth)) }
    }

    /// Frees the segment, not its records, as soon as nobody who prefetches can be looking at it.
    pub(super) fn free(self) {
        /// So much waits on each thread before it is pushed on.
        const WAITING_BYTES_MAX: usize = 1024;
        thread_local! {
            static WAITING_BYTES: Cell<usize> = const { Cell::new(0) };
        }
        if self.is_empty_marker() {
            return;
        }
        let guard = crossbeam_epoch::pin();
        guard.defer(move || self.free_now());
        let waiting = WAITING_BYTES.get() + self.size();
        if WAITING_BYTES_MAX <= waiting {
            guard.flush();
            WAITING_BYTES.set(0);
        } else {
            WAITING_BYTES.set(waiting);
        }
    }

    fn free_now(self) {
        // SAFETY: the table calls `free` once, when nobody can reach the segment any more, and whoever had found it
        // without a lock has since let go.
        unsafe { dealloc(self.memory().as_ptr().cast(), layout(self.class())) };
    }

    /// Frees the records, which no prefetch looks at, and then the segment.
    pub(super) fn free_with_records(self) {
        // SAFETY: the table calls this once, when nobody can reach segment or records any more.
        self.for_each_entry(|_, entry| drop(unsafe { Record::from_raw(pointer_in(entry)) }));
        self.free();
    }
}

impl std::fmt::Debug for SegmentRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment {{ depth: {}, slots: {} }}", self.depth(), self.slots())
    }
}

fn layout(class: u8) -> Layout {
    let size = SIZES[usize::from(class)] as usize;
    let align = if usize::from(class) < CLASS_OF_LINE { align_of::<u64>() } else { LINE };
    Layout::from_size_align(size, align).expect("a line is a power of two")
}
