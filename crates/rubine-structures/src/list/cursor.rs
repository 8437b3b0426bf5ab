//! Reads a range of a list piece by piece, while the list itself changes or is gone.

use std::ops::Range;

use super::{End, List};

/// The items of a range as they were when the cursor was made.
#[derive(Clone, Debug)]
pub struct ListCursor {
    list: List,
    range: Range<usize>,
    /// Where in the range the next item is.
    end: End,
}

impl ListCursor {
    /// The items of `range` from `end` on. `range` is cut to what there is.
    pub fn new(list: &List, range: Range<usize>, end: End) -> Self {
        let stop = range.end.min(list.len());
        Self { list: list.clone(), range: range.start.min(stop)..stop, end }
    }

    /// How many items are still to come.
    pub fn remaining(&self) -> usize {
        self.range.len()
    }

    /// The list that the cursor keeps alive.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// Gives the next items: as many as `items_max`, fewer if their bytes reach `bytes_max`, but one
    /// at least. False when there are no more.
    pub fn next_slice(
        &mut self,
        items_max: usize,
        bytes_max: usize,
        mut give: impl FnMut(&[u8]),
    ) -> bool {
        let (mut count, mut bytes) = (0, 0);
        let items_max = self.range.len().min(items_max.max(1));
        let items: &mut dyn Iterator<Item = &[u8]> = match self.end {
            End::Front => &mut self.list.iter_from(self.range.start),
            End::Back => &mut self.list.iter_back_from(self.range.end),
        };
        for item in items.take(items_max) {
            give(item);
            (count, bytes) = (count + 1, bytes + item.len());
            if bytes_max <= bytes {
                break;
            }
        }
        match self.end {
            End::Front => self.range.start += count,
            End::Back => self.range.end -= count,
        }
        !self.range.is_empty()
    }
}
