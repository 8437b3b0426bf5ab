//! What can be sorted: handles of collections, and walks through them. Never changes a collection.

use std::ops::Range;

use rubine_structures::list::{End, List, ListCursor};
use rubine_structures::set::{Set, SetWalk};
use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetCursor};
use rubine_structures::value::ValueRef;

#[derive(Clone, Debug)]
pub(super) enum Source {
    Nothing,
    List(List),
    Set(Set),
    SortedSet(SortedSet),
}

impl Source {
    /// A handle; `None` if it cannot be sorted.
    pub(super) fn of(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::List(list) => Some(Self::List(list.clone())),
            ValueRef::Set(set) => Some(Self::Set(set.clone())),
            ValueRef::SortedSet(set) => Some(Self::SortedSet(set.clone())),
            _ => None,
        }
    }

    /// Whether the other is the same value still, seen through another handle.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => true,
            (Self::List(ours), Self::List(theirs)) => ours.is_same(theirs),
            (Self::Set(ours), Self::Set(theirs)) => ours.is_same(theirs),
            (Self::SortedSet(ours), Self::SortedSet(theirs)) => ours.is_same(theirs),
            _ => false,
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::List(list) => list.len(),
            Self::Set(set) => set.len() as usize,
            Self::SortedSet(set) => set.len() as usize,
        }
    }

    /// Visits all elements, in the order that the collection has.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&[u8])) {
        match self {
            Self::Nothing => {}
            Self::List(list) => list.iter().for_each(visit),
            Self::Set(set) => {
                let mut text = Vec::new();
                set.iter().for_each(|member| visit(member.text_in(&mut text)));
            }
            Self::SortedSet(set) => set.iter().for_each(|(member, _)| visit(member)),
        }
    }
}

/// The elements of a collection in a range, one after the other.
#[derive(Debug)]
pub(super) enum Walk {
    Nothing,
    List(ListCursor),
    /// A set has no order, so what is in front of the range comes by too.
    Set {
        walk: SetWalk,
        skipped: usize,
        left: usize,
    },
    SortedSet(SortedSetCursor),
}

impl Walk {
    pub(super) fn new(source: &Source, range: Range<usize>, direction: Direction) -> Self {
        let len = source.len();
        let (turned, end) = match direction {
            Direction::Ascending => (range.clone(), End::Front),
            Direction::Descending => (len - range.end..len - range.start, End::Back),
        };
        match source {
            Source::Nothing => Self::Nothing,
            Source::List(list) => Self::List(ListCursor::new(list, turned, end)),
            Source::Set(set) => {
                Self::Set { walk: SetWalk::new(set), skipped: range.start, left: range.len() }
            }
            Source::SortedSet(set) => {
                let ranks = turned.start as u64..turned.end as u64;
                Self::SortedSet(SortedSetCursor::new(set, ranks, direction))
            }
        }
    }

    /// Visits some elements, about as many as `count`. False when there are no more.
    pub(super) fn next_slice(&mut self, count: usize, mut visit: impl FnMut(&[u8])) -> bool {
        /// Elements longer than this together are enough, however few.
        const BYTES_MAX: usize = 64 * 1024;
        match self {
            Self::Nothing => false,
            Self::List(cursor) => cursor.next_slice(count, BYTES_MAX, visit),
            Self::SortedSet(cursor) => {
                cursor.next_slice(count, BYTES_MAX, |member, _| visit(member))
            }
            Self::Set { walk, skipped, left } => {
                let mut seen = 0;
                let mut text = Vec::new();
                while 0 < *left && seen < count {
                    let has_more = walk.visit_some(|member| {
                        seen += 1;
                        if 0 < *skipped {
                            *skipped -= 1;
                        } else if 0 < *left {
                            *left -= 1;
                            visit(member.text_in(&mut text));
                        }
                    });
                    assert!(has_more, "the range ends before the set does");
                }
                0 < *left
            }
        }
    }

    pub(super) fn unshared_bytes(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::List(cursor) => cursor.list().unshared_bytes(),
            Self::Set { walk, .. } => walk.unshared_bytes(),
            Self::SortedSet(cursor) => cursor.unshared_bytes(),
        }
    }
}
