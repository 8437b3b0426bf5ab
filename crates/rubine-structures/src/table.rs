//! The table of one database in one shard: extendible hashing over small segments of cache-line buckets, with
//! point-in-time snapshots that cost a pointer. Knows no lock and no clock; its owner serialises access.
//!
//! A **directory** of 2^depth entries, indexed by the top bits of the hash, points to **segments**. A segment has some
//! 64-byte buckets of seven records each, or a part of one; it grows in the steps of the allocator's size classes and
//! splits in two when it has the largest size, so nothing is ever rehashed as a whole.
//!
//! A **bucket** holds seven tag bytes, one overflow byte and seven entries. Within a segment, the 15 hash bits below
//! the directory's decide the home bucket by multiplication, so records lie in hash order up to displacement. A record
//! whose home is full goes to the next bucket with room, and each bucket passed counts it in its overflow byte: a
//! search goes on past a bucket only while that count is not zero (the scheme of Folly's F14).
//!
//! An **entry** is 48 bits of record pointer, the 15 position bits, and a bit that says the record may be shared with
//! a snapshot.
//!
//! **Snapshots**: each takes the directory by reference count and starts a new epoch. A segment born no later than the
//! newest live snapshot is copied before it is changed, and in the copy all records are marked shared; a shared record
//! is replaced rather than changed. What was replaced is kept until no snapshot can see it.

#[cfg(test)]
mod collection_tests;
mod hints;
pub(crate) mod prefetch;
mod segment;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rubine_base::random::Random;

pub use self::hints::{Hint, Hints, Reading, free_what_waits};
pub use self::prefetch::prefetch_whole;
pub use self::snapshot::TableSnapshot;

use self::hints::{OwnHint, free_unseen};
use self::segment::{Place, SegmentCell, SegmentRef};
use self::snapshot::{Garbage, SnapshotFacts, Versions};
use crate::record::{Record, RecordRef, ValueMut};
use crate::relocation::Relocation;
use crate::value::Value;

/// The directory stops growing here: 2^24 segments hold billions of records.
const DEPTH_MAX: u8 = 24;

/// Gives the hash that a key's record is placed by.
pub type HashOf = fn(&[u8]) -> u64;

/// A hash table of records, ordered by hash.
///
/// What most requests look at comes first, so that it lies on one line where the owner sees to it.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    directory: Arc<[SegmentCell]>,
    len: usize,
    /// Records that have a deadline.
    volatile_len: usize,
    versions: Option<Arc<Versions>>,
    /// The epoch in which changes are made now; a snapshot starts the next one.
    epoch: u64,
    depth: u8,
    /// Whether [`Self::due`] can find anything: some record has or had a deadline, or an element of one.
    has_deadlines: bool,
    /// An element of a value has had a deadline, at some time.
    had_inner_deadlines: bool,
    /// Whether somebody without the lock may have found the directory by a hint that shows another table by now.
    was_shown: bool,
    /// Segments whose depth is the directory's; the directory halves when there is none.
    deepest_count: usize,
    hash_of: HashOf,
    /// Where others learn what to prefetch.
    hint: Option<OwnHint>,
}

/// Bytes of a table, from its first on, that most requests look at.
pub const TABLE_BYTES_HOT: usize = std::mem::offset_of!(Table, deepest_count);

/// What became of a record that was stored.
#[derive(Debug)]
pub enum Stored {
    Inserted,
    /// There was one; its value is handed back if it is worth freeing elsewhere.
    Replaced(Option<Value<'static>>),
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableShape {
    pub directory_len: usize,
    pub segments: usize,
    pub slots: usize,
    pub records: usize,
}

impl Table {
    /// An empty table, without any allocation but its directory. `hash_of` is what callers use for every hash that
    /// they pass.
    pub fn new(hash_of: HashOf) -> Self {
        Self {
            directory: Arc::new([SegmentCell::new(SegmentRef::empty(0))]),
            depth: 0,
            hash_of,
            len: 0,
            volatile_len: 0,
            has_deadlines: false,
            had_inner_deadlines: false,
            was_shown: false,
            deepest_count: 1,
            epoch: 1,
            versions: None,
            hint: None,
        }
    }

    /// An empty table that keeps hint `number` up to date for those who prefetch without its lock.
    pub fn with_hints(hash_of: HashOf, hints: Hints, number: usize) -> Self {
        let mut table = Self::new(hash_of);
        let hint = OwnHint::new(hints, number);
        hint.replace(table.depth, &table.directory, None);
        table.hint = Some(hint);
        table
    }

    /// Tells whoever prefetches where this table lies. It stays there from now on, or says so again.
    pub fn tell_address(&self) {
        if let Some(hint) = &self.hint {
            hint.tell_address(std::ptr::from_ref(self).addr());
        }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of records with a deadline.
    pub fn volatile_len(&self) -> usize {
        self.volatile_len
    }

    /// Empties the table and hands out what was in it.
    pub fn take(&mut self) -> Self {
        let mut taken = std::mem::replace(self, Self::new(self.hash_of));
        self.adopt_hint(taken.give_hint());
        taken
    }

    /// Exchanges the content of two tables.
    pub fn swap(&mut self, other: &mut Self) {
        let (own, others) = (self.give_hint(), other.give_hint());
        std::mem::swap(self, other);
        self.adopt_hint(own);
        other.adopt_hint(others);
    }

    /// Gives up its hint, to be adopted by another table at once.
    fn give_hint(&mut self) -> Option<OwnHint> {
        self.was_shown |= self.hint.is_some();
        self.hint.take()
    }

    /// Lets `hint` show this table in place of another.
    fn adopt_hint(&mut self, hint: Option<OwnHint>) {
        if let Some(hint) = &hint {
            hint.replace(self.depth, &self.directory, None);
        }
        self.hint = hint;
    }

    /// Whether any record, or part of one, has or had a deadline.
    pub fn has_deadlines(&self) -> bool {
        self.has_deadlines
    }

    /// The record of `key`.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<RecordRef<'_>> {
        self.segment(hash).find(hash, key).map(|place| self.view().record(place))
    }

    /// The record of `key`, to be changed; no snapshot sees what is done to it.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<RecordMut<'_>> {
        let place = self.find_own(hash, key)?;
        Some(RecordMut { table: self, place })
    }

    /// Stores `value` under `key`, replacing value and deadline of a record that is there. `access` is given the access
    /// bits of that, if it is, and says what they are from now on.
    #[inline]
    pub fn store(
        &mut self,
        hash: u64,
        key: &[u8],
        value: Value<'_>,
        deadline: Option<i64>,
        access: impl FnOnce(Option<u32>) -> u32,
    ) -> Stored {
        if let Some(mut record) = self.find_mut(hash, key) {
            record.get().set_access(access(Some(record.get().access())));
            return Stored::Replaced(record.replace(value, deadline));
        }
        self.insert(hash, Record::new(key, value, deadline, access(None)));
        Stored::Inserted
    }

    /// Adds a record whose key is not in the table.
    pub fn insert(&mut self, hash: u64, record: Record) {
        self.forget_dead_snapshots();
        let mut segment = self.writable_segment(hash);
        while segment.is_full() {
            self.make_room(hash);
            segment = self.segment(hash);
        }
        self.volatile_len += usize::from(record.as_ref().deadline().is_some());
        let deadline = record.as_ref().earliest_deadline();
        if deadline < i64::MAX {
            self.has_deadlines = true;
            self.had_inner_deadlines |= record.as_ref().value().has_inner_deadlines();
            segment.note_deadline(deadline);
        }
        segment.insert(hash, record);
        self.len += 1;
    }

    /// Removes the record of `key`. What a snapshot still sees is handed out as a copy that shares its content.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Record> {
        let place = self.find_own(hash, key)?;
        let segment = self.segment(hash);
        let record = segment.remove(place);
        self.len -= 1;
        if record.as_ref().deadline().is_some() {
            self.volatile_len -= 1;
        }
        if segment.is_sparse() {
            self.give_back(hash);
        }
        Some(record)
    }

    /// Visits the records whose hash is at least `cursor`, in hash order, until `count` or a few more were seen.
    /// Returns the hash to go on from, or `None` at the end.
    ///
    /// A record that is in the table from the first call to the last is visited at least once, whatever else is
    /// added or removed between the calls.
    pub fn scan(&self, cursor: u64, count: usize, visit: impl FnMut(RecordRef<'_>)) -> Option<u64> {
        self.view().scan(cursor, count, visit)
    }

    /// A record chosen at random, each with the same probability.
    pub fn random(&self, random: &mut Random) -> Option<RecordRef<'_>> {
        if self.len == 0 {
            return None;
        }
        let slots = if self.depth == 0 {
            self.directory[0].get().slot_numbers()
        } else {
            segment::SLOTS_MAX
        };
        loop {
            let segment = self.segment(random.next_u64());
            // A segment that has split less is met more often by as much as it is refused here.
            let refused = (1 << (self.depth - segment.depth())) - 1;
            if random.next_u64() & refused != 0 {
                continue;
            }
            let slot = random.below(slots as u64) as usize;
            if let Some(place) = segment.slot(slot) {
                return Some(self.view().record(place));
            }
        }
    }

    /// Visits some `count` records that lie side by side at a random place: cheaper than as many random ones.
    pub fn sample(&self, random: &mut Random, count: usize, visit: impl FnMut(RecordRef<'_>)) {
        self.view().scan_segment(random.next_u64(), count, visit);
    }

    /// Visits the records that are due at `now`, or have elements that are, in the segment that holds `cursor`. Returns where the next segment
    /// begins, `None` after the last. Costs one look at a header where nothing is due.
    pub fn due(&self, cursor: u64, now: i64, mut visit: impl FnMut(RecordRef<'_>)) -> Option<u64> {
        let segment = self.segment(cursor);
        if segment.earliest_deadline() <= now {
            let mut earliest = i64::MAX;
            segment.prefetch_records();
            segment.for_each(|place| {
                let record = self.view().record(place);
                let deadline = record.earliest_deadline();
                earliest = earliest.min(deadline);
                if deadline <= now {
                    visit(record);
                }
            });
            segment.set_earliest_deadline(earliest);
        }
        segment.end_hash(cursor)
    }

    /// Whether a snapshot may look on.
    pub fn has_snapshots(&mut self) -> bool {
        self.forget_dead_snapshots();
        self.versions.is_some()
    }

    /// Moves the segment that holds `cursor`, with its records and what their values own, as far as `relocation` wants.
    /// `visit` is told of each record where its value has come to: 0 if all of it was looked at, else the position to go
    /// on from. Returns where the next segment begins, `None` after the last, and where snapshots look on.
    pub fn relocate(
        &mut self,
        cursor: u64,
        relocation: &mut Relocation<'_>,
        mut visit: impl FnMut(RecordRef<'_>, u64, u64),
    ) -> Option<u64> {
        if self.has_snapshots() {
            return None;
        }
        let segment = self.segment(cursor);
        segment.prefetch_records();
        segment.for_each(|place| {
            let moved_before = relocation.moved();
            let mut record = RecordMut { table: self, place };
            if relocation.wants(record.get().as_raw().as_ptr()) {
                record.edit(Record::relocate);
            }
            let position = record.value_mut().relocate(0, relocation);
            visit(record.get(), position, relocation.moved() - moved_before);
        });
        if !segment.is_empty_marker() && relocation.wants(segment.address()) {
            self.point_to(cursor, segment.moved());
            segment.free();
        }
        segment.end_hash(cursor)
    }

    /// Number of records in the segment that holds `hash`.
    pub fn segment_len(&self, hash: u64) -> usize {
        self.segment(hash).len()
    }

    /// Bytes of directory and segments.
    pub fn overhead_bytes(&self) -> usize {
        let mut segments = 0;
        self.for_each_segment(|segment| segments += segment.size());
        size_of_val(&*self.directory) + segments
    }

    /// How full the table is.
    pub fn shape(&self) -> TableShape {
        let directory_len = self.directory.len();
        let mut shape = TableShape { directory_len, records: self.len, ..TableShape::default() };
        self.for_each_segment(|segment| {
            shape.segments += 1;
            shape.slots += segment.slots();
        });
        shape
    }

    /// An image of this moment that stays as it is whatever is done to the table.
    pub fn snapshot(&mut self) -> TableSnapshot {
        self.forget_dead_snapshots();
        let versions = self.versions.get_or_insert_default().clone();
        let epoch = self.epoch;
        self.epoch += 1;
        let (directory, len) = (self.directory.clone(), self.len);
        let facts = SnapshotFacts {
            depth: self.depth,
            len,
            volatile_len: self.volatile_len,
            had_inner_deadlines: self.had_inner_deadlines,
        };
        TableSnapshot::new(directory, facts, epoch, versions)
    }

    #[inline]
    fn view(&self) -> View<'_> {
        View { directory: &self.directory, depth: self.depth }
    }

    #[inline]
    fn segment(&self, hash: u64) -> SegmentRef {
        self.view().segment(hash)
    }

    fn for_each_segment(&self, mut visit: impl FnMut(SegmentRef)) {
        let mut index = 0;
        while index < self.directory.len() {
            let segment = self.directory[index].get();
            visit(segment);
            index += 1 << (self.depth - segment.depth());
        }
    }

    /// Snapshots that are gone cost nothing any more.
    #[inline]
    fn forget_dead_snapshots(&mut self) {
        if self.versions.as_ref().is_some_and(|versions| versions.newest() == 0) {
            self.versions = None;
        }
    }

    /// Where the record of `key` lies, after copying whatever of it a snapshot sees.
    #[inline]
    fn find_own(&mut self, hash: u64, key: &[u8]) -> Option<Place> {
        self.forget_dead_snapshots();
        let place = self.segment(hash).find(hash, key)?;
        if self.versions.is_none() {
            return Some(place);
        }
        let place = self
            .writable_segment(hash)
            .find(hash, key)
            .expect("a copied segment holds what the original held");
        if let Some(old) = SegmentRef::unshare(place) {
            self.retire(Garbage::Record(Some(old)));
        }
        Some(place)
    }

    /// The segment of `hash`, made if there is none, copied if a snapshot sees it.
    fn writable_segment(&mut self, hash: u64) -> SegmentRef {
        let segment = self.segment(hash);
        if segment.is_empty_marker() {
            let fresh = SegmentRef::with_room_for(1, segment.depth(), self.epoch);
            self.point_to(hash, fresh);
            return fresh;
        }
        let shared = self.versions.as_ref().is_some_and(|it| segment.birth() <= it.newest());
        if !shared {
            return segment;
        }
        let copy = segment.copy(self.epoch);
        self.point_to(hash, copy);
        self.retire(Garbage::Segment(segment));
        copy
    }

    /// Frees `garbage` as soon as no snapshot can see it.
    fn retire(&self, garbage: Garbage) {
        match &self.versions {
            Some(versions) => versions.retire(self.epoch, garbage),
            None => drop(garbage),
        }
    }

    /// Lets every directory entry of the segment that holds `hash` point to `segment`, which has the same depth.
    fn point_to(&mut self, hash: u64, segment: SegmentRef) {
        let (first, run) = self.view().run(hash, segment.depth());
        self.fill(first, run, segment);
    }

    fn fill(&mut self, first: usize, run: usize, segment: SegmentRef) {
        if Arc::get_mut(&mut self.directory).is_none() {
            // A snapshot has it.
            let copy = self.directory.iter().map(SegmentCell::copy).collect();
            self.set_directory(copy, self.depth);
        }
        for cell in &self.directory[first..first + run] {
            cell.set(segment);
        }
    }

    fn set_directory(&mut self, directory: Arc<[SegmentCell]>, depth: u8) {
        let old = std::mem::replace(&mut self.directory, directory);
        self.depth = depth;
        if let Some(hint) = &self.hint {
            hint.replace(self.depth, &self.directory, Some(old));
        } else if self.was_shown {
            free_unseen(old);
        }
    }

    /// Grows or splits the segment of `hash`, which is writable and full.
    fn make_room(&mut self, hash: u64) {
        let segment = self.segment(hash);
        // So many records with one hash prefix are not to be had from a keyed hash; such a segment just grows on.
        let may_split = segment.depth() < DEPTH_MAX;
        if !(may_split && segment.is_largest()) {
            self.point_to(hash, segment.resized(segment.len() + 1, self.epoch));
            return segment.free();
        }
        if segment.depth() == self.depth {
            let doubled =
                self.directory.iter().flat_map(|cell| [cell.copy(), cell.copy()]).collect();
            self.set_directory(doubled, self.depth + 1);
            self.deepest_count = 0;
        }
        let (low, high) = segment.split(self.epoch, self.hash_of);
        if low.depth() == self.depth {
            self.deepest_count += 2;
        }
        let (first, run) = self.view().run(hash, segment.depth());
        self.fill(first, run / 2, low);
        self.fill(first + run / 2, run / 2, high);
        segment.free();
    }

    /// Merges the segment of `hash`, which is writable and sparse, with its sibling, or lets it shrink.
    fn give_back(&mut self, hash: u64) {
        let segment = self.segment(hash);
        if 0 < segment.depth() {
            let sibling_hash = hash ^ (1 << (64 - segment.depth()));
            let sibling = self.segment(sibling_hash);
            let mergeable = sibling.depth() == segment.depth()
                && sibling.len() + segment.len() <= segment::LEN_MAX / 2;
            if mergeable {
                return self.merge(hash, sibling_hash);
            }
        }
        if segment.len() == 0 {
            self.point_to(hash, SegmentRef::empty(segment.depth()));
        } else {
            self.point_to(hash, segment.resized(segment.len(), self.epoch));
        }
        segment.free();
    }

    fn merge(&mut self, hash: u64, sibling_hash: u64) {
        let segment = self.writable_segment(hash);
        let sibling = self.writable_segment(sibling_hash);
        let (low, high) = if hash < sibling_hash { (segment, sibling) } else { (sibling, segment) };
        let merged = SegmentRef::merged(low, high, self.epoch);
        if segment.depth() == self.depth {
            self.deepest_count -= 2;
        }
        self.point_to(hash, merged);
        segment.free();
        sibling.free();
        while self.deepest_count == 0 && 0 < self.depth {
            let halved = self.directory.iter().step_by(2).map(SegmentCell::copy).collect();
            self.set_directory(halved, self.depth - 1);
            let mut deepest_count = 0;
            let depth = self.depth;
            self.for_each_segment(|segment| deepest_count += usize::from(segment.depth() == depth));
            self.deepest_count = deepest_count;
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // Nobody shall find a segment any more before it is freed.
        if let Some(hint) = self.hint.take() {
            hint.clear(&self.directory);
        } else if self.was_shown {
            free_unseen(self.directory.clone());
        }
        let mut segments = Vec::new();
        self.for_each_segment(|segment| segments.push(segment));
        self.retire(Garbage::All(segments));
    }
}

/// A directory to read through: the table's own or a snapshot's.
#[derive(Clone, Copy)]
struct View<'a> {
    directory: &'a [SegmentCell],
    depth: u8,
}

impl<'a> View<'a> {
    #[inline]
    fn segment(self, hash: u64) -> SegmentRef {
        self.directory[self.index(hash)].get()
    }

    #[inline]
    fn index(self, hash: u64) -> usize {
        // Two shifts, since a shift by 64 is not allowed.
        (hash >> 1 >> (63 - self.depth)) as usize
    }

    /// First index and number of the directory entries that a segment of `depth` around `hash` has.
    fn run(self, hash: u64, depth: u8) -> (usize, usize) {
        let run = 1 << (self.depth - depth);
        (self.index(hash) / run * run, run)
    }

    #[inline]
    #[expect(unsafe_code, reason = "places hold raw record pointers")]
    #[expect(clippy::unused_self, reason = "the view's lifetime is the record's")]
    fn record(self, place: Place) -> RecordRef<'a> {
        // SAFETY: whoever lends the directory keeps its records alive and unchanged as long as it is lent.
        unsafe { RecordRef::from_raw(place.record()) }
    }

    fn find(self, hash: u64, key: &[u8]) -> Option<RecordRef<'a>> {
        self.segment(hash).find(hash, key).map(|place| self.record(place))
    }

    fn scan(
        self,
        mut cursor: u64,
        count: usize,
        mut visit: impl FnMut(RecordRef<'a>),
    ) -> Option<u64> {
        let mut seen = 0;
        loop {
            let visit = |record: RecordRef<'a>| {
                seen += 1;
                visit(record);
            };
            cursor = self.scan_segment(cursor, count, visit)?;
            if count <= seen {
                return Some(cursor);
            }
        }
    }

    /// Scans in the one segment that holds `cursor`.
    fn scan_segment(
        self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(RecordRef<'a>),
    ) -> Option<u64> {
        self.segment(cursor).scan(cursor, count, |place| visit(self.record(place)))
    }
}

/// A record that is being changed. It is small, so that it is handed on in registers.
#[derive(Debug)]
pub struct RecordMut<'a> {
    table: &'a mut Table,
    place: Place,
}

#[expect(unsafe_code, reason = "places hold raw record pointers")]
impl<'a> RecordMut<'a> {
    /// The record as it is now.
    #[inline]
    pub fn get(&self) -> RecordRef<'_> {
        // SAFETY: the table is borrowed as long as `self`, and only `self` changes it.
        unsafe { RecordRef::from_raw(self.place.record()) }
    }

    /// The value, to be changed where it lies.
    #[inline]
    pub fn into_value_mut(self) -> ValueMut<'a> {
        // SAFETY: the record is private to the table, which is mutably borrowed for `'a`, and its place does not
        // change by what is done to the value.
        unsafe { crate::record::value_mut_of(self.place.record()) }
    }

    /// The value, to be changed where it lies.
    #[inline]
    pub fn value_mut(&mut self) -> ValueMut<'_> {
        // SAFETY: as above, for the time of this borrow.
        unsafe { crate::record::value_mut_of(self.place.record()) }
    }

    /// Puts another value and deadline in place. The old value is handed back if it is worth freeing elsewhere.
    #[inline]
    pub fn replace(&mut self, value: Value<'_>, deadline: Option<i64>) -> Option<Value<'static>> {
        self.count_deadline(deadline);
        self.note_deadlines_in(&value);
        self.edit(|record| record.replace(value, deadline))
    }

    /// Puts another value in place and keeps the deadline.
    #[inline]
    pub fn set_value(&mut self, value: Value<'_>) -> Option<Value<'static>> {
        let deadline = self.get().deadline();
        self.note_deadlines_in(&value);
        self.edit(|record| record.replace(value, deadline))
    }

    /// Sets or clears the deadline.
    pub fn set_deadline(&mut self, deadline: Option<i64>) {
        self.count_deadline(deadline);
        self.edit(|record| record.set_deadline(deadline));
    }

    fn count_deadline(&mut self, new: Option<i64>) {
        match (self.get().deadline(), new) {
            (None, Some(_)) => self.table.volatile_len += 1,
            (Some(_), None) => self.table.volatile_len -= 1,
            _ => {}
        }
        if let Some(deadline) = new {
            self.note_deadline(deadline);
        }
    }

    fn note_deadlines_in(&mut self, value: &Value<'_>) {
        if let Value::Hash(hash) = value
            && let Some(deadline) = hash.next_deadline()
        {
            self.note_inner_deadline(deadline);
        }
    }

    /// An element of the value falls due at `deadline`: [`Table::due`] will come by then.
    pub fn note_inner_deadline(&mut self, deadline: i64) {
        self.table.had_inner_deadlines = true;
        self.note_deadline(deadline);
    }

    fn note_deadline(&mut self, deadline: i64) {
        self.table.has_deadlines = true;
        let hash = (self.table.hash_of)(self.get().key());
        self.table.segment(hash).note_deadline(deadline);
    }

    /// Lets `change` work on the record, which may move.
    #[inline]
    fn edit<T>(&mut self, change: impl FnOnce(&mut Record) -> T) -> T {
        // SAFETY: the entry owns the record; it is put back before anybody can look at the entry.
        let mut record =
            std::mem::ManuallyDrop::new(unsafe { Record::from_raw(self.place.record()) });
        let result = change(&mut record);
        self.place.point_to(record.as_ref().as_raw());
        result
    }
}
