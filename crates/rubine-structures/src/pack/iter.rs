//! The items of a pack one by one, from both ends. Never copies an item.

use super::code::{SUM_BLOCK, sum_of_short, width_at_back, width_at_front, without_length};

/// The items of a pack from both ends.
#[derive(Clone, Debug, Default)]
pub struct Iter<'a> {
    pub(super) data: &'a [u8],
    /// One for each item, in reverse order.
    pub(super) codes: &'a [u8],
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

    pub(super) fn front_width(&self) -> Option<usize> {
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
