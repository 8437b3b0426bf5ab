//! Ranges of a list: what an index means, how a range is replied with and how it is removed, without a stall however
//! long it is. Knows nothing of keys.

use std::ops::Range;

use rubine_resp::writer::{Progress, Reply, ReplyStream};
use rubine_structures::list::{ChunkLimit, End, List, ListCursor};

/// Items of a reply that are written at once; a stream writes those beyond.
const ITEMS_AT_ONCE_MAX: usize = 512;
/// Bytes of items that are written at once.
const BYTES_AT_ONCE_MAX: usize = 64 * 1024;
/// Removing more items than this leaves the freeing to another thread.
const ITEMS_FREED_HERE_MAX: usize = 4096;

/// The items from `start` to `stop`, both included, both counted from the tail if negative.
pub(super) fn between(start: i64, stop: i64, len: usize) -> Range<usize> {
    let from_head =
        |index: i64| if index < 0 { index.saturating_add_unsigned(len as u64) } else { index };
    let start = usize::try_from(from_head(start)).unwrap_or(0);
    let end = from_head(stop).checked_add(1).map_or(len, |end| usize::try_from(end).unwrap_or(0));
    let end = end.min(len);
    if start < end { start..end } else { 0..0 }
}

/// The index of the item that `index` means, which counts from the tail if negative.
pub(super) fn item_index(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add_unsigned(len as u64)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}

/// Replies with an array of the items `range`, beginning with the one next to `end`.
pub(super) fn reply(reply: &mut Reply<'_>, list: &List, range: Range<usize>, end: End) {
    reply.array(range.len());
    let items: &mut dyn Iterator<Item = &[u8]> = match end {
        End::Front => &mut list.iter_from(range.start),
        End::Back => &mut list.iter_back_from(range.end),
    };
    let mut count = 0;
    let mut bytes = 0;
    for item in items.take(range.len().min(ITEMS_AT_ONCE_MAX)) {
        reply.bulk(item);
        (count, bytes) = (count + 1, bytes + item.len());
        if BYTES_AT_ONCE_MAX <= bytes {
            break;
        }
    }
    if count < range.len() {
        let rest = match end {
            End::Front => range.start + count..range.end,
            End::Back => range.start..range.end - count,
        };
        reply.stream(Box::new(Items { cursor: ListCursor::new(list, rest, end) }));
    }
}

/// Removes the items `range`. What is handed back holds what may be costly to free, so it should be dropped elsewhere.
pub(super) fn remove(list: &mut List, range: Range<usize>, limit: ChunkLimit) -> Option<List> {
    // A second handle takes over the chunks, at the price of copying the few that are not removed as a whole.
    let before = (ITEMS_FREED_HERE_MAX < range.len()).then(|| list.clone());
    list.remove_range(range, limit);
    before
}

/// The items of a long reply that are still to be written.
struct Items {
    cursor: ListCursor,
}

impl ReplyStream for Items {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        // A short item costs more than its bytes: each one in the budget of a header.
        const ITEM_BYTES_MIN: usize = 16;
        let has_more =
            self.cursor
                .next_slice(budget_bytes / ITEM_BYTES_MIN, budget_bytes, |item| reply.bulk(item));
        if has_more { Progress::More } else { Progress::Done }
    }

    fn pinned_bytes(&self) -> usize {
        self.cursor.list().unshared_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_list() {
        let cases = [
            ((0, -1), 0..5),
            ((1, 3), 1..4),
            ((-2, -1), 3..5),
            ((-100, 100), 0..5),
            ((3, 1), 0..0),
            ((5, 9), 0..0),
            ((0, -6), 0..0),
            ((4, 4), 4..5),
            ((i64::MIN, i64::MAX), 0..5),
            ((i64::MAX, i64::MIN), 0..0),
        ];
        for ((start, stop), expected) in cases {
            assert_eq!(between(start, stop, 5), expected, "{start} {stop}");
        }
        assert_eq!(between(0, -1, 0), 0..0);
    }

    #[test]
    fn indexes_count_from_both_ends() {
        let cases =
            [(0, Some(0)), (4, Some(4)), (5, None), (-1, Some(4)), (-5, Some(0)), (-6, None)];
        for (index, expected) in cases {
            assert_eq!(item_index(index, 5), expected, "{index}");
        }
        assert_eq!(item_index(i64::MIN, 5), None);
    }
}
