//! Elements as a reply shows them: at once if they are few, else by a stream over a handle of the set. Never changes a
//! set.

use std::ops::Range;

use rubine_resp::writer::{Progress, Protocol, Reply, ReplyStream};
use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetCursor};

/// Elements of a reply that are written at once; a stream writes those beyond.
pub(super) const COUNT_AT_ONCE_MAX: u64 = 512;
/// Bytes of members that are written at once.
const BYTES_AT_ONCE_MAX: usize = 64 * 1024;

/// What is replied of each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Members,
    /// Member and score by turns in one array.
    Flat,
    /// Member and score in an array of their own.
    Pairs,
}

impl Layout {
    /// The usual layout: scores, if wanted, are in arrays of their own since RESP3.
    pub(super) fn of(with_scores: bool, protocol: Protocol) -> Self {
        match (with_scores, protocol) {
            (false, _) => Self::Members,
            (true, Protocol::Resp2) => Self::Flat,
            (true, Protocol::Resp3) => Self::Pairs,
        }
    }

    /// Writes what stands in front of `count` elements.
    pub(super) fn write_header(self, reply: &mut Reply<'_>, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        reply.array(if self == Self::Flat { count.saturating_mul(2) } else { count });
    }

    pub(super) fn write(self, reply: &mut Reply<'_>, member: &[u8], score: f64) {
        if self == Self::Pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if self != Self::Members {
            reply.double(score);
        }
    }
}

/// Replies with an array of the elements with these ranks.
pub(super) fn write_range(
    reply: &mut Reply<'_>,
    set: &SortedSet,
    ranks: Range<u64>,
    direction: Direction,
    layout: Layout,
) {
    layout.write_header(reply, ranks.end - ranks.start);
    write_elements(reply, set, ranks, direction, layout);
}

/// As [`write_range`], without the header.
pub(super) fn write_elements(
    reply: &mut Reply<'_>,
    set: &SortedSet,
    mut ranks: Range<u64>,
    direction: Direction,
    layout: Layout,
) {
    let (mut count, mut bytes) = (0, 0);
    for (member, score) in set.iter_range(ranks.clone(), direction) {
        if COUNT_AT_ONCE_MAX <= count || BYTES_AT_ONCE_MAX <= bytes {
            break;
        }
        layout.write(reply, member, score);
        (count, bytes) = (count + 1, bytes + member.len());
    }
    match direction {
        Direction::Ascending => ranks.start += count,
        Direction::Descending => ranks.end -= count,
    }
    if !ranks.is_empty() {
        let cursor = SortedSetCursor::new(set, ranks, direction);
        reply.stream(Box::new(Elements { cursor, layout }));
    }
}

/// The elements of a long reply that are still to be written.
struct Elements {
    cursor: SortedSetCursor,
    layout: Layout,
}

impl ReplyStream for Elements {
    fn fill(&mut self, reply: &mut Reply<'_>, budget_bytes: usize) -> Progress {
        // A short element costs more than its bytes.
        const ELEMENT_BYTES_MIN: usize = 24;
        let layout = self.layout;
        let has_more = self.cursor.next_slice(
            budget_bytes / ELEMENT_BYTES_MIN,
            budget_bytes,
            |member, score| {
                layout.write(reply, member, score);
            },
        );
        if has_more { Progress::More } else { Progress::Done }
    }

    fn pinned_bytes(&self) -> usize {
        self.cursor.unshared_bytes()
    }
}
