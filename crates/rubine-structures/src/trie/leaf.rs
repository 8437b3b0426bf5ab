//! A leaf of the trie: up to 64 elements in one reference-counted block. Never allocates per element, except for
//! parts that are too long for the block; never knows where in the trie it is.
//!
//! ```text
//! block: | group 0 | group 1 | .. |   free   | .. | element 1 | element 0 |
//! group: | 8 tags | 8 key lengths | 8 value lengths |      one byte each, for 8 elements
//! element: | deadline (0 or 8 bytes) | value | key |       higher addresses to the right
//! ```
//!
//! Tags and lengths are adjacent, so that a look-up reads the head of the block and one element. An element is
//! found by summing the lengths before it. What a length byte says:
//!
//! ```text
//! 0 to 191     the part has so many bytes
//! 192 to 254   a long part: 200, 208, .. 696 bytes, of which the last tells how many are padding
//! 255          the part is a shared buffer in `large` and takes no bytes in the element
//! ```

use std::sync::Arc;

use rubine_base::SharedBytes;

use super::{Deadline, Element};
use crate::relocation::Relocation;
use crate::table::prefetch::{prefetch, prefetch_all};

/// One bit per element in a word is what bounds a leaf.
pub(super) const ELEMENTS_MAX: usize = 64;

const LANES: usize = 8;
const LANE_BYTES: usize = size_of::<u64>();
const GROUP_BYTES: usize = 3 * LANE_BYTES;
const TAGS: usize = 0;
const KEY_LENS: usize = 1;
const VALUE_LENS: usize = 2;

const DEADLINE_BYTES: usize = size_of::<i64>();
const OUT_OF_LINE: u8 = u8::MAX;
const SHORT_LEN_MAX: usize = 191;
const LONG_STEP: usize = 8;
const LONG_SIZE_MAX: usize =
    SHORT_LEN_MAX + 1 + (OUT_OF_LINE as usize - 1 - SHORT_LEN_MAX) * LONG_STEP;
/// The longest part that lies in the block: a long one spends at least a byte on telling its padding.
pub(super) const INLINE_LEN_MAX: usize = LONG_SIZE_MAX - 1;

/// No deadline of an element is later, so it stands for "none" where the earliest of several is kept.
pub(super) const NO_DEADLINE: i64 = i64::MAX;

/// The bytes of an allocation that are not its block: two counts and the fields of [`Leaf`].
const HEADER_BYTES: usize = 2 * size_of::<usize>() + 2 * size_of::<u64>() + 4;

#[derive(Debug)]
pub(super) struct Leaf<Block: ?Sized = [u8]> {
    /// Bit i: element i has a deadline.
    deadlines: u64,
    /// The out-of-line keys and values in the order of the elements, a key before its value.
    large: Option<Box<Large>>,
    /// Bytes of elements. Invariant: `used + groups * GROUP_BYTES <= block.len()`
    used: u16,
    /// Invariant: `count <= ELEMENTS_MAX`
    count: u8,
    /// Not all lengths are plain numbers of bytes, or were since the leaf was made by a split or merge.
    coded: bool,
    block: Block,
}

#[derive(Clone, Debug, Default)]
struct Large {
    parts: Vec<SharedBytes>,
}

/// The leaf cannot take the element: it must be split.
#[derive(Debug)]
pub(super) struct Full;

/// Where an element lies in the block.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
    key_start: usize,
    value_start: usize,
}

macro_rules! allocation_sizes {
    ($($size:literal)*) => {
        /// Whole allocations, matching the size classes of jemalloc so that no byte is wasted between
        /// what is asked for and what is given.
        const ALLOCATION_SIZES: &[usize] = &[$($size),*];

        fn allocate(block_bytes: usize) -> Arc<Leaf> {
            $(
                if block_bytes <= $size - HEADER_BYTES {
                    let block = [0; $size - HEADER_BYTES];
                    let leaf = Leaf { deadlines: 0, large: None, used: 0, count: 0, coded: false, block };
                    return Arc::new(leaf);
                }
            )*
            unreachable!("a leaf of {block_bytes} bytes is split before it is allocated")
        }
    };
}

allocation_sizes!(64 96 128 160 192 224 256 320 384 448 512 640 768 896 1024 1280 1536 1792 2048 2560 3072 3584 4096);

const BLOCK_BYTES_MAX: usize = ALLOCATION_SIZES[ALLOCATION_SIZES.len() - 1] - HEADER_BYTES;

/// Adds an element or replaces the value of the one that has this key. Returns whether it was added.
pub(super) fn upsert(
    leaf: &mut Arc<Leaf>,
    tag: u8,
    key: &[u8],
    value: &[u8],
    deadline: Deadline,
) -> Result<bool, Full> {
    let found = leaf.find(tag, key);
    let (bytes_before, deadline) = match found {
        Some(index) => {
            let place = leaf.place(index, leaf.bytes_before(index));
            let deadline = deadline.resolve(leaf.deadline_at(index, place));
            let keeps_shape = leaf.lane(index, VALUE_LENS) == code_of(value)
                && code_of(value) != OUT_OF_LINE
                && leaf.has_deadline(index) == deadline.is_some();
            if keeps_shape {
                let block_bytes = leaf.block.len();
                let own = own(leaf, block_bytes);
                own.write_value(place, value);
                own.write_deadline(place, deadline);
                return Ok(false);
            }
            (place.end - place.start, deadline)
        }
        None => (0, deadline.resolve(None)),
    };
    let count = leaf.len() + usize::from(found.is_none());
    let element_bytes = inline_size(key) + inline_size(value) + deadline_len(deadline);
    let block_bytes =
        leaf.used() - bytes_before + element_bytes + count.div_ceil(LANES) * GROUP_BYTES;
    if count > ELEMENTS_MAX || block_bytes > BLOCK_BYTES_MAX {
        return Err(Full);
    }
    let own = own(leaf, block_bytes);
    match found {
        Some(index) => own.replace(index, value, deadline),
        None => own.push(tag, key, value, deadline),
    }
    give_back_slack(leaf);
    Ok(found.is_none())
}

/// Sets or clears the deadline of the element at `index`.
pub(super) fn set_deadline(
    leaf: &mut Arc<Leaf>,
    index: usize,
    deadline: Option<i64>,
) -> Result<(), Full> {
    let adds = !leaf.has_deadline(index) && deadline.is_some();
    let block_bytes = leaf.block_bytes() + if adds { DEADLINE_BYTES } else { 0 };
    if BLOCK_BYTES_MAX < block_bytes {
        return Err(Full);
    }
    own(leaf, block_bytes).replace_deadline(index, deadline);
    Ok(())
}

pub(super) fn remove(leaf: &mut Arc<Leaf>, index: usize) {
    let block_bytes = leaf.block_bytes();
    own(leaf, block_bytes).remove(index);
    give_back_slack(leaf);
}

/// Divides the elements: those whose bit is set in `right` go to the second leaf.
pub(super) fn split(leaf: &Leaf, right: u64) -> [Arc<Leaf>; 2] {
    [!right, right].map(|chosen| {
        let indexes = || (0..leaf.len()).filter(|index| chosen >> index & 1 == 1);
        let groups = indexes().count().div_ceil(LANES);
        let used: usize = leaf
            .places()
            .zip(0..)
            .filter(|(_, index)| chosen >> index & 1 == 1)
            .map(|(place, _)| place.end - place.start)
            .sum();
        let mut half = allocate(used + groups * GROUP_BYTES);
        own(&mut half, 0).copy_from(leaf, chosen);
        half
    })
}

/// One leaf with the elements of both, unless they are too many bytes for a common block of `block_bytes_max`.
pub(super) fn merge(left: &Leaf, right: &Leaf, block_bytes_max: usize) -> Option<Arc<Leaf>> {
    let groups = (left.len() + right.len()).div_ceil(LANES);
    let block_bytes = left.used() + right.used() + groups * GROUP_BYTES;
    (block_bytes <= block_bytes_max).then(|| {
        let mut merged = allocate(block_bytes);
        let own = own(&mut merged, 0);
        own.copy_from(left, u64::MAX);
        own.copy_from(right, u64::MAX);
        merged
    })
}

pub(super) fn empty() -> Arc<Leaf> {
    allocate(0)
}

/// The leaf for writing with room for `block_bytes`: a copy where it is too small or a handle looks at it.
fn own(leaf: &mut Arc<Leaf>, block_bytes: usize) -> &mut Leaf {
    if leaf.block.len() < block_bytes || Arc::strong_count(leaf) != 1 {
        *leaf = leaf.resized(block_bytes.max(leaf.block_bytes()));
    }
    Arc::get_mut(leaf).expect("nobody else holds the leaf, and weak references are never made")
}

fn give_back_slack(leaf: &mut Arc<Leaf>) {
    let block_bytes = leaf.block_bytes();
    if ALLOCATION_SIZES[0] < leaf.block.len() && block_bytes * 3 / 2 + LANES < leaf.block.len() {
        *leaf = leaf.resized(block_bytes + block_bytes / 8);
    }
}

/// Moves the leaf if it is to move and no handle looks at it.
pub(super) fn relocate(leaf: &mut Arc<Leaf>, relocation: &mut Relocation<'_>) {
    if Arc::strong_count(leaf) == 1 && relocation.wants(Arc::as_ptr(leaf)) {
        *leaf = leaf.resized(leaf.block.len());
    }
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Asks the processor for the counts, tags and lengths.
    #[inline]
    pub(super) fn prefetch_head(&self) {
        // How many groups there are stands in what is to be fetched: a leaf is expected to be as full as its size says.
        let element_bytes_min = 3 * LANES;
        let groups = self.block.len().div_ceil(LANES * element_bytes_min).min(ELEMENTS_MAX / LANES);
        prefetch(std::ptr::from_ref(&self.deadlines).cast());
        prefetch_all(&self.block[..(groups * GROUP_BYTES).min(self.block.len())]);
    }

    /// Asks the processor for the first element with this tag. To be called when the head has been fetched.
    #[inline]
    pub(super) fn prefetch_element(&self, tag: u8) {
        let hits = self.hits(tag);
        if hits != 0 {
            let index = hits.trailing_zeros() as usize;
            let place = self.place(index, self.bytes_before(index));
            prefetch_all(&self.block[place.start..place.end]);
        }
    }

    /// Bit i: element i has this tag.
    #[inline]
    fn hits(&self, tag: u8) -> u64 {
        let wanted = u64::from(tag) * EVERY_BYTE;
        // All tags before any key: their loads overlap, and there is no branch to guess wrong.
        let mut hits = 0;
        for group in 0..self.groups() {
            let equal = zero_bytes(self.word(group, TAGS) ^ wanted);
            hits |= gather_bits(equal) << (group * LANES);
        }
        hits & low_bits(self.len())
    }

    /// Which element has this key.
    #[inline]
    pub(super) fn find(&self, tag: u8, key: &[u8]) -> Option<usize> {
        let mut hits = self.hits(tag);
        while hits != 0 {
            let index = hits.trailing_zeros() as usize;
            if self.key_equals(index, key) {
                return Some(index);
            }
            hits &= hits - 1;
        }
        None
    }

    pub(super) fn element(&self, index: usize) -> Element<'_> {
        let place = self.place(index, self.bytes_before(index));
        self.element_at(index, place, || self.large_before(index))
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        let mut large = 0;
        self.places().zip(0..).map(move |(place, index)| {
            let before = large;
            large += self.large_count(index);
            self.element_at(index, place, || before)
        })
    }

    /// The earliest deadline, or [`NO_DEADLINE`].
    pub(super) fn earliest_deadline(&self) -> i64 {
        if self.deadlines == 0 {
            return NO_DEADLINE;
        }
        let deadlines = self.places().zip(0..).filter_map(|(place, i)| self.deadline_at(i, place));
        deadlines.min().unwrap_or(NO_DEADLINE)
    }

    /// Bytes of the allocation and of what lies out of line.
    pub(super) fn heap_bytes(&self) -> usize {
        let parts = self.large.iter().flat_map(|large| &large.parts);
        let large: usize = parts.map(|part| part.capacity() + SHARED_HEADER_BYTES).sum();
        HEADER_BYTES + self.block.len() + large
    }

    /// How many allocations go with the leaf.
    pub(super) fn allocations(&self) -> usize {
        self.large.as_ref().map_or(1, |large| 3 + large.parts.len())
    }

    fn used(&self) -> usize {
        usize::from(self.used)
    }

    fn groups(&self) -> usize {
        self.len().div_ceil(LANES)
    }

    fn block_bytes(&self) -> usize {
        self.used() + self.groups() * GROUP_BYTES
    }

    #[inline]
    fn word(&self, group: usize, lane: usize) -> u64 {
        let start = group * GROUP_BYTES + lane * LANE_BYTES;
        let bytes = self.block[start..start + LANE_BYTES].try_into();
        u64::from_le_bytes(bytes.expect("the slice is one word long"))
    }

    fn set_word(&mut self, group: usize, lane: usize, word: u64) {
        let start = group * GROUP_BYTES + lane * LANE_BYTES;
        self.block[start..start + LANE_BYTES].copy_from_slice(&word.to_le_bytes());
    }

    #[inline]
    fn lane(&self, index: usize, lane: usize) -> u8 {
        self.block[index / LANES * GROUP_BYTES + lane * LANE_BYTES + index % LANES]
    }

    fn set_lane(&mut self, index: usize, lane: usize, byte: u8) {
        self.block[index / LANES * GROUP_BYTES + lane * LANE_BYTES + index % LANES] = byte;
    }

    fn has_deadline(&self, index: usize) -> bool {
        self.deadlines >> index & 1 == 1
    }

    /// The bytes that a part takes in the element.
    #[inline]
    fn size(&self, index: usize, lane: usize) -> usize {
        size_of_code(self.lane(index, lane))
    }

    /// The bytes of all elements before `index`.
    #[inline]
    fn bytes_before(&self, index: usize) -> usize {
        let deadlines = (self.deadlines & low_bits(index)).count_ones() as usize * DEADLINE_BYTES;
        if self.coded {
            let sizes = (0..index).map(|i| self.size(i, KEY_LENS) + self.size(i, VALUE_LENS));
            return deadlines + sizes.sum::<usize>();
        }
        let sum = |group, mask| {
            let (keys, values) = (self.word(group, KEY_LENS), self.word(group, VALUE_LENS));
            sum_bytes(keys & mask) + sum_bytes(values & mask)
        };
        let mut total: usize = (0..index / LANES).map(|group| sum(group, u64::MAX)).sum();
        if !index.is_multiple_of(LANES) {
            total += sum(index / LANES, low_bits(index % LANES * 8));
        }
        total + deadlines
    }

    /// How many parts of elements before `index` are out of line.
    fn large_before(&self, index: usize) -> usize {
        if self.large.is_none() {
            return 0;
        }
        (0..index).map(|index| self.large_count(index)).sum()
    }

    fn large_count(&self, index: usize) -> usize {
        [KEY_LENS, VALUE_LENS].into_iter().filter(|&l| self.lane(index, l) == OUT_OF_LINE).count()
    }

    #[inline]
    fn place(&self, index: usize, bytes_before: usize) -> Place {
        let end = self.block.len() - bytes_before;
        let key_start = end - self.size(index, KEY_LENS);
        let value_start = key_start - self.size(index, VALUE_LENS);
        let deadline_len = if self.has_deadline(index) { DEADLINE_BYTES } else { 0 };
        Place { start: value_start - deadline_len, end, key_start, value_start }
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        let mut before = 0;
        (0..self.len()).map(move |index| {
            let place = self.place(index, before);
            before += place.end - place.start;
            place
        })
    }

    #[inline]
    fn key_equals(&self, index: usize, key: &[u8]) -> bool {
        let code = code_of(key);
        if self.lane(index, KEY_LENS) != code {
            return false;
        }
        if code == OUT_OF_LINE {
            return self.large_part(self.large_before(index)).as_slice() == key;
        }
        let end = self.block.len() - self.bytes_before(index);
        content(code, &self.block[end - size_of_code(code)..end]) == key
    }

    fn large_part(&self, rank: usize) -> &SharedBytes {
        let large = self.large.as_ref().expect("a length says that a part is out of line");
        &large.parts[rank]
    }

    #[inline]
    fn deadline_at(&self, index: usize, place: Place) -> Option<i64> {
        self.has_deadline(index).then(|| {
            let bytes = self.block[place.start..place.value_start].try_into();
            i64::from_le_bytes(bytes.expect("a deadline is 8 bytes long"))
        })
    }

    #[inline]
    fn element_at(
        &self,
        index: usize,
        place: Place,
        large_before: impl FnOnce() -> usize,
    ) -> Element<'_> {
        let mut element = Element {
            key: content(self.lane(index, KEY_LENS), &self.block[place.key_start..place.end]),
            value: content(
                self.lane(index, VALUE_LENS),
                &self.block[place.value_start..place.key_start],
            ),
            shared_value: None,
            deadline: self.deadline_at(index, place),
        };
        if self.large.is_some() && self.large_count(index) != 0 {
            let mut rank = large_before();
            if self.lane(index, KEY_LENS) == OUT_OF_LINE {
                element.key = self.large_part(rank);
                rank += 1;
            }
            if self.lane(index, VALUE_LENS) == OUT_OF_LINE {
                let shared = self.large_part(rank);
                element.value = shared;
                element.shared_value = Some(shared);
            }
        }
        element
    }

    /// A copy with room for `block_bytes`.
    fn resized(&self, block_bytes: usize) -> Arc<Self> {
        let mut copy = allocate(block_bytes);
        let leaf = Arc::get_mut(&mut copy).expect("the copy is new");
        leaf.deadlines = self.deadlines;
        leaf.large.clone_from(&self.large);
        leaf.used = self.used;
        leaf.count = self.count;
        leaf.coded = self.coded;
        let groups = self.groups() * GROUP_BYTES;
        leaf.block[..groups].copy_from_slice(&self.block[..groups]);
        let (to, from) = (leaf.block.len() - self.used(), self.block.len() - self.used());
        leaf.block[to..].copy_from_slice(&self.block[from..]);
        copy
    }

    /// Appends the elements of `other` whose bit is set in `chosen`. There is room.
    fn copy_from(&mut self, other: &Self, chosen: u64) {
        let mut large_before = 0;
        for (place, index) in other.places().zip(0..) {
            let large_after = large_before + other.large_count(index);
            if chosen >> index & 1 == 1 {
                let [tag, key_len, value_len] =
                    [TAGS, KEY_LENS, VALUE_LENS].map(|lane| other.lane(index, lane));
                if large_before < large_after {
                    let parts = (large_before..large_after).map(|rank| other.large_part(rank));
                    self.large.get_or_insert_default().parts.extend(parts.cloned());
                }
                let bytes = &other.block[place.start..place.end];
                let has_deadline = other.has_deadline(index);
                let start = self.append([tag, key_len, value_len], bytes.len(), has_deadline);
                self.block[start..start + bytes.len()].copy_from_slice(bytes);
            }
            large_before = large_after;
        }
    }

    /// Makes room for one more element behind the others and returns where its bytes start.
    fn append(&mut self, lanes: [u8; 3], bytes: usize, has_deadline: bool) -> usize {
        let index = self.len();
        for (lane, byte) in [TAGS, KEY_LENS, VALUE_LENS].into_iter().zip(lanes) {
            if index.is_multiple_of(LANES) {
                self.set_word(index / LANES, lane, 0);
            }
            self.set_lane(index, lane, byte);
        }
        self.coded |= is_coded(lanes[KEY_LENS]) || is_coded(lanes[VALUE_LENS]);
        self.deadlines |= u64::from(has_deadline) << index;
        self.count += 1;
        self.used += bytes as u16;
        assert!(self.block_bytes() <= self.block.len());
        self.block.len() - self.used()
    }

    fn push(&mut self, tag: u8, key: &[u8], value: &[u8], deadline: Option<i64>) {
        for part in [key, value] {
            if code_of(part) == OUT_OF_LINE {
                let large = self.large.get_or_insert_default();
                large.parts.push(SharedBytes::new(part.to_vec()));
            }
        }
        let bytes = inline_size(key) + inline_size(value) + deadline_len(deadline);
        self.append([tag, code_of(key), code_of(value)], bytes, deadline.is_some());
        let index = self.len() - 1;
        let place = self.place(index, self.used() - bytes);
        write_part(&mut self.block[place.key_start..place.end], key);
        self.write_value(place, value);
        self.write_deadline(place, deadline);
    }

    fn replace(&mut self, index: usize, value: &[u8], deadline: Option<i64>) {
        let rank = self.large_before(index);
        let rank = rank + usize::from(self.lane(index, KEY_LENS) == OUT_OF_LINE);
        let was_large = self.lane(index, VALUE_LENS) == OUT_OF_LINE;
        match (was_large, code_of(value) == OUT_OF_LINE) {
            (false, false) => {}
            (true, false) => self.drain_large(rank, 1),
            (was_large, true) => {
                let parts = &mut self.large.get_or_insert_default().parts;
                let part = SharedBytes::new(value.to_vec());
                if was_large {
                    parts[rank] = part;
                } else {
                    parts.insert(rank, part);
                }
            }
        }
        let place = self.reshape(index, code_of(value), deadline.is_some());
        self.write_value(place, value);
        self.write_deadline(place, deadline);
    }

    fn replace_deadline(&mut self, index: usize, deadline: Option<i64>) {
        let before = self.place(index, self.bytes_before(index));
        let value_code = self.lane(index, VALUE_LENS);
        if deadline.is_some() == self.has_deadline(index) {
            self.write_deadline(before, deadline);
        } else {
            // Only the bytes below the value move.
            let place = self.reshape(index, value_code, deadline.is_some());
            self.write_deadline(place, deadline);
        }
    }

    /// Gives an element another length of value or presence of deadline. Its key stays; what is
    /// below moves. Returns its new place.
    fn reshape(&mut self, index: usize, value_code: u8, has_deadline: bool) -> Place {
        let bytes_before = self.bytes_before(index);
        let old = self.place(index, bytes_before);
        self.set_lane(index, VALUE_LENS, value_code);
        self.coded |= is_coded(value_code);
        self.deadlines &= !(1 << index);
        self.deadlines |= u64::from(has_deadline) << index;
        let new = self.place(index, bytes_before);
        if new.start != old.start {
            let lowest = self.block.len() - self.used();
            let to = lowest + new.start - old.start;
            self.block.copy_within(lowest..old.start, to);
            self.used = (self.block.len() - to) as u16;
        }
        new
    }

    fn remove(&mut self, index: usize) {
        let place = self.place(index, self.bytes_before(index));
        let large_count = self.large_count(index);
        if large_count != 0 {
            self.drain_large(self.large_before(index), large_count);
        }
        let size = place.end - place.start;
        let lowest = self.block.len() - self.used();
        self.block.copy_within(lowest..place.start, lowest + size);
        self.used -= size as u16;
        let groups = self.groups();
        for lane in [TAGS, KEY_LENS, VALUE_LENS] {
            for group in index / LANES..groups {
                let stays = if group == index / LANES { low_bits(index % LANES * 8) } else { 0 };
                let word = self.word(group, lane);
                let next = if group + 1 < groups { self.word(group + 1, lane) } else { 0 };
                let shifted = word >> 8 | next << 56;
                self.set_word(group, lane, word & stays | shifted & !stays);
            }
        }
        let stays = low_bits(index);
        self.deadlines = self.deadlines & stays | self.deadlines >> 1 & !stays;
        self.count -= 1;
    }

    fn drain_large(&mut self, rank: usize, count: usize) {
        let large = self.large.as_mut().expect("a length says that a part is out of line");
        large.parts.drain(rank..rank + count);
        if large.parts.is_empty() {
            self.large = None;
        }
    }

    fn write_value(&mut self, place: Place, value: &[u8]) {
        write_part(&mut self.block[place.value_start..place.key_start], value);
    }

    fn write_deadline(&mut self, place: Place, deadline: Option<i64>) {
        if let Some(deadline) = deadline {
            self.block[place.start..place.value_start].copy_from_slice(&deadline.to_le_bytes());
        }
    }
}

/// `Arc` counts and the `Vec` of a shared buffer, and the pointer to it.
const SHARED_HEADER_BYTES: usize =
    2 * size_of::<usize>() + size_of::<Vec<u8>>() + size_of::<usize>();

const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;

/// The length byte of a part.
#[inline]
fn code_of(part: &[u8]) -> u8 {
    if part.len() <= SHORT_LEN_MAX {
        part.len() as u8
    } else if part.len() <= INLINE_LEN_MAX {
        (SHORT_LEN_MAX + 1 + (part.len() - SHORT_LEN_MAX - 1) / LONG_STEP) as u8
    } else {
        OUT_OF_LINE
    }
}

fn is_coded(code: u8) -> bool {
    SHORT_LEN_MAX < usize::from(code)
}

/// The bytes that a part with this length byte takes in its element.
#[inline]
fn size_of_code(code: u8) -> usize {
    match usize::from(code) {
        short @ ..=SHORT_LEN_MAX => short,
        _ if code == OUT_OF_LINE => 0,
        long => SHORT_LEN_MAX + 1 + (long - SHORT_LEN_MAX) * LONG_STEP,
    }
}

fn inline_size(part: &[u8]) -> usize {
    size_of_code(code_of(part))
}

/// A part without its padding.
#[inline]
fn content(code: u8, part: &[u8]) -> &[u8] {
    match part {
        [.., padding] if is_coded(code) => &part[..part.len() - usize::from(*padding)],
        _ => part,
    }
}

fn write_part(to: &mut [u8], part: &[u8]) {
    match code_of(part) {
        OUT_OF_LINE => {}
        code if is_coded(code) => {
            let (content, padding) = to.split_at_mut(part.len());
            content.copy_from_slice(part);
            padding.fill(padding.len() as u8);
        }
        _ => to.copy_from_slice(part),
    }
}

fn deadline_len(deadline: Option<i64>) -> usize {
    if deadline.is_some() { DEADLINE_BYTES } else { 0 }
}

/// 0x80 in every byte that is zero.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x7f * EVERY_BYTE;
    !(((word & LOW) + LOW) | word | LOW)
}

/// Bit i: byte i of `flags`, whose bytes are 0x80 or zero, is not zero.
#[inline]
fn gather_bits(flags: u64) -> u64 {
    (flags >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[inline]
fn sum_bytes(word: u64) -> usize {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let pairs = (word & EVEN) + (word >> 8 & EVEN);
    (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize
}

#[inline]
fn low_bits(count: usize) -> u64 {
    1_u64.checked_shl(count as u32).map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}
