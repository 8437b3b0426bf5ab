//! A compact sequence of byte strings in one shared allocation: the small form of every collection
//! and the chunk of every list. Never interprets an item, and never changes a block that somebody
//! else still holds: a clone costs one count and stays as it was.

use std::fmt;
use std::ops::Range;

use triomphe::{Arc, ThinArc};

use crate::relocation::Relocation;
use crate::table::prefetch::prefetch_lines;

use self::block::{
    Edit, PREFIX, Room, Shape, block_bytes, bounds_bytes, build, length_of, splice_in_place,
    unrounded_bytes,
};
use self::code::{Frame, SHORT_MAX, code_of, length_width, width_at_back, width_at_front};

pub use self::block::allocation_class;
pub use self::iter::Iter;

mod block;
mod code;
mod iter;
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

    /// Asks the processor to fetch the first items: all, where some ten are short. Reads nothing itself.
    #[inline]
    pub fn prefetch(&self) {
        const LINES_FETCHED: usize = 4;
        if let Some(block) = &self.block {
            prefetch_lines(ThinArc::as_ptr(block).cast(), LINES_FETCHED);
        }
    }

    /// Moves the block if it is to move and nobody else holds it.
    pub(crate) fn relocate(&mut self, relocation: &mut Relocation<'_>) {
        if let Some(block) = &mut self.block
            && ThinArc::strong_count(block) == 1
            && relocation.wants(ThinArc::as_ptr(block))
        {
            *block = ThinArc::from_header_and_slice((), &block.slice);
        }
    }

    /// Somebody else holds the same block, so the next change copies it.
    pub fn is_shared(&self) -> bool {
        self.block.as_ref().is_some_and(|block| ThinArc::strong_count(block) > 1)
    }

    /// Whether the other is a handle of the same block: then nothing was changed since one was cloned from the other.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.block, &other.block) {
            (Some(ours), Some(theirs)) => std::ptr::eq(ours.slice.as_ptr(), theirs.slice.as_ptr()),
            (None, None) => true,
            _ => false,
        }
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
        if self.overwrite(index, item) {
            return;
        }
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

    /// The short way of [`Pack::replace`], for an item as long as the one in its place, where all up to it are short.
    #[inline]
    fn overwrite(&mut self, index: usize, item: &[u8]) -> bool {
        self.change_own_block(|block| {
            let shape = Shape::read(block);
            let code_at = shape.codes_end - 1 - index;
            let codes_before = &block[code_at + 1..shape.codes_end];
            let is_as_long = usize::from(block[code_at]) == item.len();
            let are_short = codes_before.iter().all(|&code| code <= SHORT_MAX);
            if !(is_as_long && item.len() <= usize::from(SHORT_MAX) && are_short) {
                return false;
            }
            let before = codes_before.iter().map(|&code| usize::from(code)).sum::<usize>();
            let start = shape.data_start + before;
            block[start..start + item.len()].copy_from_slice(item);
            true
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

#[inline]
fn same(item: &[u8], needle: &[u8]) -> bool {
    // Items of one collection often have one length and one prefix: the last byte tells most apart.
    item.len() == needle.len() && item.last() == needle.last() && item == needle
}
