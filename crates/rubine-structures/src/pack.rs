//! A compact sequence of byte strings in one shared allocation: the small form of every collection
//! and the chunk of every list. Never interprets an item, and never changes a block that somebody
//! else still holds: a clone costs one count and stays as it was.

use std::fmt;
use std::mem::size_of;
use std::ops::Range;

use triomphe::{Arc, ThinArc};

#[cfg(test)]
mod tests;

/// A sequence of byte strings, one pointer wide; empty, it owns no memory.
///
/// ```text
///  one allocation
///  +-----------+--------+--------+-----------+---------------+-----------+---------------+----------+
///  | reference | block  | bounds | front gap | item 0, 1, .. | gap       | .. code 1, 0  | last gap |
///  | count     | length |        |           | (data)        |           | (codes)       |          |
///  +-----------+--------+--------+-----------+---------------+-----------+---------------+----------+
///    8           8        4, 8, 32             grows ->        shared      <- grows
/// ```
///
/// Data and codes grow towards each other, so one gap serves both when items come in at the back,
/// whatever their lengths. The outer gaps appear when items leave or enter at the front. A code is
/// the length of its item, or says how wide the length is that stands before and after the item.
#[derive(Clone, Default)]
pub struct Pack {
    /// Invariant: a block holds at least one item.
    block: Option<ThinArc<(), u8>>,
}

/// Where a new block keeps its free bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Between data and codes, for items that come in at the back.
    Back,
    /// Mostly outside of both, for items that come in at the front.
    Front,
    /// All outside, for the last ones that come in at the front.
    FrontOnly,
}

/// How much a block grows when it is full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// To the next size that the allocator has: least memory.
    Tight,
    /// To twice the size: fewest copies, for a chunk that is going to be filled.
    Double,
}

impl Pack {
    pub const fn new() -> Self {
        Self { block: None }
    }

    /// A pack of one item.
    pub fn of(item: &[u8]) -> Self {
        let mut pack = Self::new();
        pack.push_back(item);
        pack
    }

    pub fn len(&self) -> usize {
        self.shape().map_or(0, Shape::count)
    }

    pub fn is_empty(&self) -> bool {
        self.block.is_none()
    }

    /// The items' bytes together with what marks the length of long ones.
    pub fn data_bytes(&self) -> usize {
        self.shape().map_or(0, Shape::data_len)
    }

    /// What the allocator sets aside for this pack. A clone shares it.
    pub fn heap_bytes(&self) -> usize {
        self.block.as_ref().map_or(0, |block| allocation_class(PREFIX + block.slice.len()))
    }

    /// The size of the allocation that would hold these items without a gap.
    pub fn heap_bytes_needed(&self) -> usize {
        self.shape().map_or(0, |shape| block_bytes(shape.used()))
    }

    /// As [`Pack::heap_bytes_needed`], with one more item of this length.
    pub fn heap_bytes_needed_with(&self, item_len: usize) -> usize {
        let used = self.shape().map_or(0, Shape::used);
        block_bytes(used + 1 + item_len + 2 * length_width(code_of(item_len)))
    }

    /// Somebody else holds the same block, so the next change copies it.
    pub fn is_shared(&self) -> bool {
        self.block.as_ref().is_some_and(|block| ThinArc::strong_count(block) > 1)
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let mut iter = self.iter();
        if index < iter.len() / 2 {
            iter.nth(index)
        } else {
            let from_back = iter.len().checked_sub(index + 1)?;
            iter.nth_back(from_back)
        }
    }

    pub fn first(&self) -> Option<&[u8]> {
        self.iter().next()
    }

    pub fn last(&self) -> Option<&[u8]> {
        self.iter().next_back()
    }

    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        match &self.block {
            Some(block) => Shape::read(&block.slice).iter(&block.slice),
            None => Iter::default(),
        }
    }

    /// The items from `index` on; none if there are fewer.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        let mut iter = self.iter();
        iter.skip_front(index);
        iter
    }

    /// The items `range`, which is cut to what there is.
    pub fn iter_range(&self, range: Range<usize>) -> Iter<'_> {
        let mut iter = self.iter();
        iter.skip_back(iter.len().saturating_sub(range.end));
        iter.skip_front(range.start);
        iter
    }

    /// The first item equal to `needle`, looking at `start`, `start + step`, and so on.
    pub fn find(&self, needle: &[u8], start: usize, step: usize) -> Option<usize> {
        assert!(0 < step);
        let mut iter = self.iter_from(start);
        let mut index = start;
        while let Some(item) = iter.next() {
            if same(item, needle) {
                return Some(index);
            }
            for _ in 1..step {
                iter.next();
            }
            index += step;
        }
        None
    }

    /// The last item equal to `needle` before `end`.
    pub fn find_last(&self, needle: &[u8], end: usize) -> Option<usize> {
        let end = end.min(self.len());
        self.iter_range(0..end).rev().position(|item| same(item, needle)).map(|back| end - 1 - back)
    }

    #[inline]
    pub fn push_back(&mut self, item: &[u8]) {
        let pushed = self.push_back_within(item, usize::MAX, Growth::Tight);
        assert!(pushed, "an allocation without a limit has room");
    }

    #[inline]
    pub fn push_front(&mut self, item: &[u8]) {
        let pushed = self.push_front_within(item, usize::MAX, Growth::Tight);
        assert!(pushed, "an allocation without a limit has room");
    }

    /// Appends, unless the allocation would have to be larger than `bytes_max`. If it is that large
    /// already, a little room on the other side may stay unused.
    #[inline]
    pub fn push_back_within(&mut self, item: &[u8], bytes_max: usize, growth: Growth) -> bool {
        if item.len() <= usize::from(SHORT_MAX) && self.push_back_in_gap(item) {
            return true;
        }
        let edit = self.shape().map_or(Edit::AT_FRONT, |shape| Edit {
            items: shape.count()..shape.count(),
            data: shape.data_len()..shape.data_len(),
        });
        self.splice(&edit, Some(item), bytes_max, growth)
    }

    /// Prepends, as [`Pack::push_back_within`] appends.
    #[inline]
    pub fn push_front_within(&mut self, item: &[u8], bytes_max: usize, growth: Growth) -> bool {
        if item.len() <= usize::from(SHORT_MAX) && self.push_front_in_gap(item) {
            return true;
        }
        self.splice(&Edit::AT_FRONT, Some(item), bytes_max, growth)
    }

    /// Puts `item` before the item at `index`, or at the end if `index` is the length.
    pub fn insert(&mut self, index: usize, item: &[u8]) {
        assert!(index <= self.len());
        let edit = self.edit(index..index);
        self.splice(&edit, Some(item), usize::MAX, Growth::Tight);
    }

    pub fn replace(&mut self, index: usize, item: &[u8]) {
        assert!(index < self.len());
        let edit = self.edit(index..index + 1);
        self.splice(&edit, Some(item), usize::MAX, Growth::Tight);
    }

    pub fn remove(&mut self, index: usize) {
        assert!(index < self.len());
        self.remove_range(index..index + 1);
    }

    pub fn remove_range(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.len());
        if range.is_empty() {
            return;
        }
        let edit = self.edit(range);
        self.splice(&edit, None, usize::MAX, Growth::Tight);
    }

    /// Removes the first item; false if there is none.
    #[inline]
    pub fn drop_front(&mut self) -> bool {
        let mut is_wasteful = false;
        let dropped = self.change_own_block(|block| {
            let mut shape = Shape::read(block);
            let code = block[shape.codes_end - 1];
            shape.data_start += width_at_front(code, &block[shape.data_start..]);
            shape.codes_end -= 1;
            shape.write(block);
            is_wasteful = shape.is_wasteful_in(block.len());
            true
        });
        if is_wasteful {
            self.give_back();
        }
        dropped || self.drop_shared(0)
    }

    /// Removes the last item; false if there is none.
    #[inline]
    pub fn drop_back(&mut self) -> bool {
        let mut is_wasteful = false;
        let dropped = self.change_own_block(|block| {
            let mut shape = Shape::read(block);
            let code = block[shape.codes_start];
            shape.data_end -= width_at_back(code, &block[..shape.data_end]);
            shape.codes_start += 1;
            shape.write(block);
            is_wasteful = shape.is_wasteful_in(block.len());
            true
        });
        if is_wasteful {
            self.give_back();
        }
        dropped || self.drop_shared(self.len().wrapping_sub(1))
    }

    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        let item = self.first()?.to_vec();
        self.drop_front();
        Some(item)
    }

    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        let item = self.last()?.to_vec();
        self.drop_back();
        Some(item)
    }

    pub fn clear(&mut self) {
        self.block = None;
    }

    /// Keeps `0..index` and gives the rest away.
    #[must_use = "the items are no longer in this pack"]
    pub fn split_off(&mut self, index: usize) -> Self {
        assert!(index <= self.len());
        let rest = self.iter_from(index);
        let tail = Self::from_parts(&[rest.data], &[rest.codes]);
        self.remove_range(index..self.len());
        tail
    }

    /// Appends the items of `other`.
    pub fn append(&mut self, other: &Self) {
        if self.is_empty() {
            *self = other.clone();
        } else if !other.is_empty() {
            let (front, back) = (self.iter(), other.iter());
            *self = Self::from_parts(&[front.data, back.data], &[back.codes, front.codes]);
        }
    }

    /// Keeps the items for which `keep` holds, in one pass.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let mut data = Vec::with_capacity(self.data_bytes());
        let mut codes_reversed = Vec::with_capacity(self.len());
        let mut iter = self.iter();
        while let Some(&code) = iter.codes.last() {
            let stored = &iter.data[..iter.front_width().expect("there is a code")];
            if iter.next().is_some_and(&mut keep) {
                data.extend_from_slice(stored);
                codes_reversed.push(code);
            }
        }
        codes_reversed.reverse();
        *self = Self::from_parts(&[&data], &[&codes_reversed]);
    }

    /// Gives the gaps back to the allocator.
    pub fn shrink_to_fit(&mut self) {
        if self.heap_bytes_needed() < self.heap_bytes() {
            let all = self.iter();
            *self = Self::from_parts(&[all.data], &[all.codes]);
        }
    }

    fn shape(&self) -> Option<Shape> {
        self.block.as_ref().map(|block| Shape::read(&block.slice))
    }

    fn edit(&self, items: Range<usize>) -> Edit {
        let all = self.iter();
        let from = {
            let mut iter = all.clone();
            if items.start <= all.len() / 2 {
                iter.skip_front(items.start);
                all.data.len() - iter.data.len()
            } else {
                iter.skip_back(all.len() - items.start);
                iter.data.len()
            }
        };
        let mut rest =
            Iter { data: &all.data[from..], codes: &all.codes[..all.len() - items.start] };
        rest.skip_front(items.len());
        Edit { data: from..all.data.len() - rest.data.len(), items }
    }

    fn from_parts(data: &[&[u8]], codes: &[&[u8]]) -> Self {
        if length_of(codes) == 0 {
            return Self::new();
        }
        let bytes = block_bytes(length_of(data) + length_of(codes));
        Self { block: Some(build(bytes, Room::Back, data, codes)) }
    }

    /// The short way of [`Pack::splice`] for a short item, which is nearly every push there is.
    #[inline]
    fn push_back_in_gap(&mut self, item: &[u8]) -> bool {
        self.change_own_block(|block| {
            let mut shape = Shape::read(block);
            let end = shape.data_end + item.len();
            let fits = end < shape.codes_start;
            if fits {
                block[shape.data_end..end].copy_from_slice(item);
                shape.data_end = end;
                shape.codes_start -= 1;
                block[shape.codes_start] = item.len() as u8;
                shape.write(block);
            }
            fits
        })
    }

    /// As [`Pack::push_back_in_gap`], at the other end.
    #[inline]
    fn push_front_in_gap(&mut self, item: &[u8]) -> bool {
        self.change_own_block(|block| {
            let mut shape = Shape::read(block);
            let fits = bounds_bytes(block.len()) + item.len() <= shape.data_start
                && shape.codes_end < block.len();
            if fits {
                let start = shape.data_start - item.len();
                block[start..shape.data_start].copy_from_slice(item);
                shape.data_start = start;
                block[shape.codes_end] = item.len() as u8;
                shape.codes_end += 1;
                shape.write(block);
            }
            fits
        })
    }

    /// False if there is no block, or if somebody else holds it, or if `change` says so.
    #[inline]
    fn change_own_block(&mut self, change: impl FnOnce(&mut [u8]) -> bool) -> bool {
        let Some(block) = &mut self.block else { return false };
        block.with_arc_mut(|arc| match Arc::get_mut(arc) {
            Some(block) => change(block.slice_mut()),
            None => false,
        })
    }

    /// Replaces the items of `edit` by `item`, or by nothing.
    /// False, and nothing is changed, if that needs an allocation larger than `bytes_max`.
    #[inline]
    fn splice(
        &mut self,
        edit: &Edit,
        item: Option<&[u8]>,
        bytes_max: usize,
        growth: Growth,
    ) -> bool {
        if self.change_own_block(|block| splice_in_place(block, edit, item)) {
            let block = self.block.as_ref().expect("it was just changed");
            if item.is_none() && Shape::read(&block.slice).is_wasteful_in(block.slice.len()) {
                self.give_back();
            }
            return true;
        }
        self.splice_into_new(edit, item, bytes_max, growth)
    }

    #[cold]
    #[inline(never)]
    fn splice_into_new(
        &mut self,
        edit: &Edit,
        item: Option<&[u8]>,
        bytes_max: usize,
        growth: Growth,
    ) -> bool {
        let all = self.iter();
        let removes_all = edit.items.len() == all.len();
        if item.is_none() && removes_all {
            self.block = None;
            return true;
        }
        let frame = item.map(Frame::of);
        let length = frame.as_ref().map_or(&[][..], Frame::length);
        let code = frame.as_ref().map(|frame| frame.code);
        let (data_before, data_after) = (&all.data[..edit.data.start], &all.data[edit.data.end..]);
        let data = [data_before, length, item.unwrap_or(&[]), length, data_after];
        let codes = [
            &all.codes[..all.len() - edit.items.end],
            code.as_slice(),
            &all.codes[all.len() - edit.items.start..],
        ];
        let used = length_of(&data) + length_of(&codes);
        let is_push_front = item.is_some() && edit.items.end == 0;
        let is_push_back = item.is_some() && edit.items.start == all.len();
        let bytes = if is_push_front || is_push_back {
            self.bytes_for_push(used, bytes_max, growth)
        } else if item.is_some() {
            // What comes into the middle costs a move anyway, so it does not pay for room in advance.
            Some(block_bytes(used).max(self.heap_bytes()))
        } else {
            Some(block_bytes(used))
        };
        let Some(bytes) = bytes else { return false };
        let room = if !is_push_front || is_push_back {
            Room::Back
        } else if bytes < bytes_max {
            Room::Front
        } else {
            Room::FrontOnly
        };
        self.block = Some(build(bytes, room, &data, &codes));
        true
    }

    /// How large the block becomes when this one has no room for a push at the end where it comes;
    /// `used` counts the new item. Nothing if that is more than `bytes_max`, or if there is room left
    /// on the wrong side but so little that a queue would move its items there at every other push.
    fn bytes_for_push(&self, used: usize, bytes_max: usize, growth: Growth) -> Option<usize> {
        let least = block_bytes(used);
        let now = self.heap_bytes();
        if bytes_max < least {
            return None;
        }
        if self.is_empty() {
            return Some(least);
        }
        let free = now.saturating_sub(unrounded_bytes(used));
        if least <= now && (now / 16 <= free || self.is_shared()) {
            return Some(now);
        }
        if now < bytes_max {
            let grown = match growth {
                Growth::Tight => allocation_class(now + 1),
                Growth::Double => allocation_class(now * 2),
            };
            return Some(grown.max(least).min(bytes_max));
        }
        (now / 64 <= free).then_some(now)
    }

    /// Removes an item from a block that somebody else holds; false if there is no such item.
    #[cold]
    fn drop_shared(&mut self, index: usize) -> bool {
        let there_is_one = !self.is_empty();
        if there_is_one {
            self.remove(index);
        }
        there_is_one
    }

    /// Moves to a smaller block if this one is wasteful.
    #[cold]
    fn give_back(&mut self) {
        let all = self.iter();
        *self = Self::from_parts(&[all.data], &[all.codes]);
    }
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(<[u8]>::escape_ascii)).finish()
    }
}

impl PartialEq for Pack {
    fn eq(&self, other: &Self) -> bool {
        // A length has one code only, so equal items have equal bytes.
        let (ours, theirs) = (self.iter(), other.iter());
        ours.codes == theirs.codes && ours.data == theirs.data
    }
}

impl Eq for Pack {}

impl<'a> FromIterator<&'a [u8]> for Pack {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(items: I) -> Self {
        let mut pack = Self::new();
        for item in items {
            pack.push_back_within(item, usize::MAX, Growth::Double);
        }
        pack.shrink_to_fit();
        pack
    }
}

impl<'a> IntoIterator for &'a Pack {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The items of a pack from both ends.
#[derive(Clone, Debug, Default)]
pub struct Iter<'a> {
    data: &'a [u8],
    /// One for each item, in reverse order.
    codes: &'a [u8],
}

impl Iter<'_> {
    /// Passes over `count` items, or all there are.
    pub fn skip_front(&mut self, count: usize) {
        if self.codes.len() <= count {
            *self = Iter::default();
            return;
        }
        let (rest, skipped) = self.codes.split_at(self.codes.len() - count);
        self.codes = rest;
        for block in skipped.rchunks(SUM_BLOCK) {
            if let Some(sum) = sum_of_short(block) {
                self.data = &self.data[sum..];
            } else {
                for &code in block.iter().rev() {
                    self.data = &self.data[width_at_front(code, self.data)..];
                }
            }
        }
    }

    /// Passes over `count` items from the back, or all there are.
    pub fn skip_back(&mut self, count: usize) {
        if self.codes.len() <= count {
            *self = Iter::default();
            return;
        }
        let (skipped, rest) = self.codes.split_at(count);
        self.codes = rest;
        for block in skipped.chunks(SUM_BLOCK) {
            if let Some(sum) = sum_of_short(block) {
                self.data = &self.data[..self.data.len() - sum];
            } else {
                for &code in block {
                    self.data = &self.data[..self.data.len() - width_at_back(code, self.data)];
                }
            }
        }
    }

    fn front_width(&self) -> Option<usize> {
        self.codes.last().map(|&code| width_at_front(code, self.data))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&code, codes) = self.codes.split_last()?;
        let (stored, data) = self.data.split_at(width_at_front(code, self.data));
        (self.codes, self.data) = (codes, data);
        Some(without_length(code, stored))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.codes.len(), Some(self.codes.len()))
    }

    fn nth(&mut self, count: usize) -> Option<&'a [u8]> {
        self.skip_front(count);
        self.next()
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<&'a [u8]> {
        let (&code, codes) = self.codes.split_first()?;
        let from = self.data.len() - width_at_back(code, self.data);
        let (data, stored) = self.data.split_at(from);
        (self.codes, self.data) = (codes, data);
        Some(without_length(code, stored))
    }

    fn nth_back(&mut self, count: usize) -> Option<&'a [u8]> {
        self.skip_back(count);
        self.next_back()
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// The items that a change takes away, and where their data is.
struct Edit {
    items: Range<usize>,
    /// Offsets from the first item's data.
    data: Range<usize>,
}

impl Edit {
    const AT_FRONT: Self = Self { items: 0..0, data: 0..0 };
}

/// What stands around one item: its code and, if it is long, its length.
struct Frame {
    code: u8,
    length: [u8; 8],
}

/// Codes up to this one are the length itself; the next three say how wide the length is.
const SHORT_MAX: u8 = 252;
const LENGTH_IN_2_BYTES: u8 = 253;
const LENGTH_IN_4_BYTES: u8 = 254;
const LENGTH_IN_8_BYTES: u8 = 255;

impl Frame {
    #[inline]
    fn of(item: &[u8]) -> Self {
        Self { code: code_of(item.len()), length: (item.len() as u64).to_le_bytes() }
    }

    fn length(&self) -> &[u8] {
        &self.length[..length_width(self.code)]
    }
}

#[inline]
fn code_of(item_len: usize) -> u8 {
    if item_len <= usize::from(SHORT_MAX) {
        item_len as u8
    } else if u16::try_from(item_len).is_ok() {
        LENGTH_IN_2_BYTES
    } else if u32::try_from(item_len).is_ok() {
        LENGTH_IN_4_BYTES
    } else {
        LENGTH_IN_8_BYTES
    }
}

/// How many bytes the length takes before and again after an item.
#[inline]
const fn length_width(code: u8) -> usize {
    match code {
        LENGTH_IN_2_BYTES => 2,
        LENGTH_IN_4_BYTES => 4,
        LENGTH_IN_8_BYTES => 8,
        _ => 0,
    }
}

#[inline]
fn width_at_front(code: u8, data: &[u8]) -> usize {
    if code <= SHORT_MAX { usize::from(code) } else { long_width(&data[..length_width(code)]) }
}

#[inline]
fn width_at_back(code: u8, data: &[u8]) -> usize {
    if code <= SHORT_MAX {
        usize::from(code)
    } else {
        long_width(&data[data.len() - length_width(code)..])
    }
}

#[cold]
fn long_width(length: &[u8]) -> usize {
    let mut bytes = [0; 8];
    bytes[..length.len()].copy_from_slice(length);
    u64::from_le_bytes(bytes) as usize + 2 * length.len()
}

#[inline]
fn without_length(code: u8, stored: &[u8]) -> &[u8] {
    if code <= SHORT_MAX {
        stored
    } else {
        &stored[length_width(code)..stored.len() - length_width(code)]
    }
}

/// So few codes that their sum fits 16 bits, which lets the compiler add eight at once.
const SUM_BLOCK: usize = 128;
const _: () = assert!(SUM_BLOCK * (SHORT_MAX as usize) <= u16::MAX as usize);

/// The bytes that items with these codes take, unless one of them is long.
#[inline]
fn sum_of_short(codes: &[u8]) -> Option<usize> {
    let largest = codes.iter().fold(0, |largest, &code| largest.max(code));
    let sum = codes.iter().fold(0u16, |sum, &code| sum.wrapping_add(u16::from(code)));
    (largest <= SHORT_MAX).then_some(usize::from(sum))
}

#[inline]
fn same(item: &[u8], needle: &[u8]) -> bool {
    // Items of one collection often have one length and one prefix: the last byte tells most apart.
    item.len() == needle.len() && item.last() == needle.last() && item == needle
}

/// The bounds of the four areas of a block, as offsets into it.
///
/// Invariant: `bounds_bytes <= data_start <= data_end <= codes_start < codes_end <= block.len()`.
#[derive(Clone, Copy)]
struct Shape {
    data_start: usize,
    data_end: usize,
    codes_start: usize,
    codes_end: usize,
}

impl Shape {
    #[inline]
    fn read(block: &[u8]) -> Self {
        let [data_start, data_end, codes_start, codes_end] = match bounds_bytes(block.len()) {
            BOUNDS_OF_TINY => array::<4>(block).map(usize::from),
            BOUNDS_OF_SMALL => {
                let packed = u64::from_le_bytes(array(block));
                [packed, packed >> 16, packed >> 32, packed >> 48]
                    .map(|bound| bound as usize & usize::from(u16::MAX))
            }
            _ => [0, 8, 16, 24].map(|at| u64::from_le_bytes(array(&block[at..])) as usize),
        };
        Self { data_start, data_end, codes_start, codes_end }
    }

    #[inline]
    fn write(self, block: &mut [u8]) {
        let bounds = [self.data_start, self.data_end, self.codes_start, self.codes_end];
        match bounds_bytes(block.len()) {
            BOUNDS_OF_TINY => block[..4].copy_from_slice(&bounds.map(|bound| bound as u8)),
            BOUNDS_OF_SMALL => {
                let packed = bounds.iter().rev().fold(0, |all, &bound| all << 16 | bound as u64);
                block[..8].copy_from_slice(&packed.to_le_bytes());
            }
            _ => {
                for (at, bound) in bounds.into_iter().enumerate() {
                    block[8 * at..8 * at + 8].copy_from_slice(&(bound as u64).to_le_bytes());
                }
            }
        }
    }

    fn count(self) -> usize {
        self.codes_end - self.codes_start
    }

    fn data_len(self) -> usize {
        self.data_end - self.data_start
    }

    fn used(self) -> usize {
        self.data_len() + self.count()
    }

    /// There are no items, or three quarters of a block that is worth it are free.
    #[inline]
    fn is_wasteful_in(self, block_len: usize) -> bool {
        const KEPT_ANYWAY: usize = 128;
        let mostly_free = KEPT_ANYWAY < block_len && self.used() < block_len / 4;
        self.count() == 0 || mostly_free
    }

    #[inline]
    fn iter(self, block: &[u8]) -> Iter<'_> {
        Iter {
            data: &block[self.data_start..self.data_end],
            codes: &block[self.codes_start..self.codes_end],
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("a block is longer than its bounds")
}

/// The reference count and the length of the block, which are before it in its allocation.
const PREFIX: usize = 2 * size_of::<usize>();
const BOUNDS_OF_TINY: usize = 4 * size_of::<u8>();
const BOUNDS_OF_SMALL: usize = 4 * size_of::<u16>();
const BOUNDS_OF_LARGE: usize = 4 * size_of::<u64>();

/// How many bytes the bounds take in a block of this length.
#[inline]
fn bounds_bytes(block_len: usize) -> usize {
    if u8::try_from(block_len).is_ok() {
        BOUNDS_OF_TINY
    } else if u16::try_from(block_len).is_ok() {
        BOUNDS_OF_SMALL
    } else {
        BOUNDS_OF_LARGE
    }
}

/// The smallest allocation for `used` bytes of data and codes.
fn block_bytes(used: usize) -> usize {
    // Rounding up may bring the block into the range of wider bounds.
    let bytes = allocation_class(unrounded_bytes(used));
    let bounds = bounds_bytes(bytes - PREFIX);
    if PREFIX + bounds + used <= bytes { bytes } else { allocation_class(bytes + 1) }
}

fn unrounded_bytes(used: usize) -> usize {
    let tiny = BOUNDS_OF_TINY + used;
    PREFIX + used + bounds_bytes(if u8::try_from(tiny).is_ok() { tiny } else { tiny + 4 })
}

/// What the allocator sets aside when asked for `bytes`: four sizes for each doubling.
pub fn allocation_class(bytes: usize) -> usize {
    const QUANTUM: usize = 16;
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(QUANTUM),
        _ => {
            let doubling = usize::BITS - 1 - (bytes - 1).leading_zeros();
            bytes.next_multiple_of(1 << (doubling - 2))
        }
    }
}

fn length_of(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// A block in an allocation of about `bytes`, filled with `data` and `codes`.
fn build(bytes: usize, room: Room, data: &[&[u8]], codes: &[&[u8]]) -> ThinArc<(), u8> {
    let block_len = bytes - PREFIX;
    let (data_len, codes_len) = (length_of(data), length_of(codes));
    let bounds = bounds_bytes(block_len);
    let free = block_len - bounds - data_len - codes_len;
    let outer = match room {
        Room::Back => 0,
        Room::Front => free - free / 4,
        Room::FrontOnly => free,
    };
    // Of this the codes get as much as items like these need.
    let last_gap = if outer == 0 { 0 } else { outer * codes_len / (data_len + codes_len) };
    let front_gap = outer - last_gap;
    let data_start = bounds + front_gap;
    let codes_end = block_len - last_gap;
    let shape = Shape {
        data_start,
        data_end: data_start + data_len,
        codes_start: codes_end - codes_len,
        codes_end,
    };
    let mut thin = zeroed(block_len);
    thin.with_arc_mut(|arc| {
        let block = Arc::get_mut(arc).expect("nobody else has seen it yet").slice_mut();
        write_parts(&mut block[shape.data_start..], data);
        write_parts(&mut block[shape.codes_start..], codes);
        shape.write(block);
    });
    thin
}

fn zeroed(len: usize) -> ThinArc<(), u8> {
    static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
    match ZEROS.get(..len) {
        Some(zeros) => ThinArc::from_header_and_slice((), zeros),
        None => ThinArc::from_header_and_iter((), std::iter::repeat_n(0, len)),
    }
}

fn write_parts(mut target: &mut [u8], parts: &[&[u8]]) {
    for part in parts {
        let (here, rest) = target.split_at_mut(part.len());
        here.copy_from_slice(part);
        target = rest;
    }
}

/// Makes the change of [`Pack::splice`] without another block, if the gaps are large enough.
#[inline]
fn splice_in_place(block: &mut [u8], edit: &Edit, item: Option<&[u8]>) -> bool {
    let frame = item.map(Frame::of);
    let (data_added, codes_added) = match (&frame, item) {
        (Some(frame), Some(item)) => (item.len() + 2 * length_width(frame.code), 1),
        _ => (0, 0),
    };
    let mut shape = Shape::read(block);
    let (data_removed, codes_removed) = (edit.data.len(), edit.items.len());

    // A push never shifts everything there is to the other end; a new block makes room for many.
    let (is_push_front, is_push_back) = (edit.items.end == 0, edit.items.start == shape.count());
    let fits_back = !is_push_front
        && shape.data_end + data_added + codes_added
            <= shape.codes_start + data_removed + codes_removed;
    let fits_front = !is_push_back
        && bounds_bytes(block.len()) + data_added <= shape.data_start + data_removed
        && shape.codes_end + codes_added <= block.len() + codes_removed;
    let front_is_shorter = edit.data.start < shape.data_len() - edit.data.end;
    let (data_from, data_to) =
        (shape.data_start + edit.data.start, shape.data_start + edit.data.end);
    let (codes_from, codes_to) =
        (shape.codes_end - edit.items.end, shape.codes_end - edit.items.start);

    let data_at = if fits_front && (front_is_shorter || !fits_back) {
        let data_start = shape.data_start + data_removed - data_added;
        let codes_end = shape.codes_end + codes_added - codes_removed;
        block.copy_within(shape.data_start..data_from, data_start);
        block.copy_within(codes_to..shape.codes_end, codes_from + codes_added);
        (shape.data_start, shape.codes_end) = (data_start, codes_end);
        data_start + edit.data.start
    } else if fits_back {
        let codes_start = shape.codes_start + codes_removed - codes_added;
        block.copy_within(data_to..shape.data_end, data_from + data_added);
        block.copy_within(shape.codes_start..codes_from, codes_start);
        shape.data_end = shape.data_end + data_added - data_removed;
        shape.codes_start = codes_start;
        data_from
    } else {
        return false;
    };

    if let (Some(frame), Some(item)) = (frame, item) {
        block[shape.codes_end - 1 - edit.items.start] = frame.code;
        write_item(&mut block[data_at..data_at + data_added], &frame, item);
    }
    shape.write(block);
    true
}

#[inline]
fn write_item(stored: &mut [u8], frame: &Frame, item: &[u8]) {
    if frame.code <= SHORT_MAX {
        stored.copy_from_slice(item);
    } else {
        write_parts(stored, &[frame.length(), item, frame.length()]);
    }
}
