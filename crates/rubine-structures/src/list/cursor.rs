//! Reads a range of a list piece by piece, while the list itself changes or is gone.

use std::ops::Range;

use super::List;

/// The items of a range as they were when the cursor was made.
#[derive(Clone, Debug)]
pub struct ListCursor {
    list: List,
    range: Range<usize>,
}

impl ListCursor {
    /// `range` is cut to what there is.
    pub fn new(list: &List, range: Range<usize>) -> Self {
        let end = range.end.min(list.len());
        Self { list: list.clone(), range: range.start.min(end)..end }
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
        let mut bytes = 0;
        let items_max = self.range.len().min(items_max.max(1));
        for item in self.list.iter_from(self.range.start).take(items_max) {
            give(item);
            self.range.start += 1;
            bytes += item.len();
            if bytes_max <= bytes {
                break;
            }
        }
        !self.range.is_empty()
    }
}
