//! The elements of a large sorted set in order: a B+-tree whose nodes count the elements below. A node that somebody
//! else holds is copied before it is changed, and nothing else is. Never knows which members there are.

use std::ops::Range;

use triomphe::Arc;

use super::Direction;
use super::leaf::{Element, Elements, Leaf};
use super::order::{Probe, prefix_of, rank_of};
use crate::relocation::Relocation;

/// Copying a shared node touches every child's count, so nodes are not larger.
const NODE_ENTRIES_MAX: usize = 32;

/// How many leaves are looked at to estimate the size of all.
const SAMPLES: u64 = 16;

#[derive(Clone, Default)]
pub(super) struct Tree {
    /// Invariant: every leaf is equally deep, and the topmost node has at least two entries.
    root: Option<Entry>,
}

/// Invariant: the count and the first element are those of the child.
#[derive(Clone)]
struct Entry {
    count: u64,
    /// The rank of the first element's score.
    rank: u64,
    /// The beginning of the first element's member.
    prefix: u64,
    child: Child,
}

#[derive(Clone)]
enum Child {
    Leaf(Leaf),
    Node(Arc<Node>),
}

#[derive(Clone)]
struct Node {
    /// Invariant: there is at least one.
    entries: Vec<Entry>,
}

impl Tree {
    /// Moves the leaves that hold elements of these ranks, as far as they are to move and no other handle leads to them.
    pub(super) fn relocate(&mut self, ranks: Range<u64>, relocation: &mut Relocation<'_>) {
        let Some(root) = &mut self.root else { return };
        let mut rank = ranks.start;
        while rank < ranks.end.min(root.count) {
            rank = root.relocate(rank, relocation);
        }
    }

    /// A tree of these elements, which are in order.
    pub(super) fn of<'a>(elements: impl Iterator<Item = Element<'a>>) -> Self {
        let mut level = Vec::new();
        Leaf::fill(elements, |leaf| level.push(Entry::leaf(leaf)));
        while 1 < level.len() {
            let mut above = Vec::with_capacity(level.len().div_ceil(NODE_ENTRIES_MAX));
            let mut rest = level.into_iter().peekable();
            while rest.peek().is_some() {
                let mut entries = Vec::with_capacity(NODE_ENTRIES_MAX);
                entries.extend(rest.by_ref().take(NODE_ENTRIES_MAX));
                above.push(Entry::node(Node { entries }));
            }
            level = above;
        }
        Self { root: level.pop() }
    }

    pub(super) fn len(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.count)
    }

    /// How many elements are before the place.
    pub(super) fn position(&self, probe: &Probe<'_>) -> u64 {
        let Some(mut entry) = self.root.as_ref() else { return 0 };
        let mut before = 0;
        loop {
            match &entry.child {
                Child::Leaf(leaf) => return before + leaf.position(probe) as u64,
                Child::Node(node) => {
                    let at = node.child_at(probe);
                    before += node.entries[..at].iter().map(|entry| entry.count).sum::<u64>();
                    entry = &node.entries[at];
                }
            }
        }
    }

    /// The leaf of the element with this rank, and the element's index in it.
    pub(super) fn leaf_at(&self, rank: u64) -> Option<(&Leaf, usize)> {
        self.find_leaf(rank, false)
    }

    /// The elements of `range` in the leaf that has the next one from this end. They are taken off the range.
    pub(super) fn next_run(
        &self,
        range: &mut Range<u64>,
        direction: Direction,
    ) -> Option<Elements<'_>> {
        if range.is_empty() {
            return None;
        }
        let left = range.end - range.start;
        match direction {
            Direction::Ascending => {
                let (leaf, index) = self.leaf_at(range.start)?;
                let count = left.min((leaf.len() - index) as u64);
                range.start += count;
                Some(leaf.elements(index..index + count as usize))
            }
            Direction::Descending => {
                let (leaf, index) = self.leaf_at(range.end - 1)?;
                let count = left.min(index as u64 + 1);
                range.end -= count;
                Some(leaf.elements(index + 1 - count as usize..index + 1))
            }
        }
    }

    /// Adds an element, which is not there yet.
    pub(super) fn insert(&mut self, code: u64, member: &[u8]) {
        let Some(root) = &mut self.root else {
            self.root = Some(Entry::leaf(Leaf::of(&[(code, member)])));
            return;
        };
        let siblings = root.insert(code, member, true);
        if !siblings.is_empty() {
            let mut entries = Vec::with_capacity(NODE_ENTRIES_MAX);
            entries.push(root.clone());
            entries.extend(siblings);
            self.root = Some(Entry::node(Node { entries }));
        }
    }

    /// Removes an element, which is there.
    pub(super) fn remove(&mut self, code: u64, member: &[u8]) {
        let root = self.root.as_mut().expect("the element is there");
        root.remove(code, member);
        self.drop_levels();
    }

    /// Removes the elements with these ranks.
    pub(super) fn remove_range(&mut self, range: Range<u64>) {
        assert!(range.start <= range.end && range.end <= self.len());
        if let Some(root) = &mut self.root
            && !range.is_empty()
        {
            root.remove_range(&range);
            self.drop_levels();
        }
    }

    /// Bytes on the heap, estimated from some leaves.
    pub(super) fn heap_bytes(&self) -> usize {
        // The entry of a leaf, in a node that is three quarters full.
        const NODE_BYTES: usize = size_of::<Entry>() * 4 / 3;
        self.estimate(false, |leaf| leaf.heap_bytes() + NODE_BYTES)
    }

    /// As [`Tree::heap_bytes`], of what no other tree shares.
    pub(super) fn unshared_bytes(&self) -> usize {
        self.estimate(true, Leaf::heap_bytes)
    }

    /// About how many allocations there are.
    pub(super) fn allocations(&self) -> usize {
        self.estimate(false, |_| 1)
    }

    fn estimate(&self, unshared: bool, measure: impl Fn(&Leaf) -> usize) -> usize {
        let len = self.len();
        let samples = SAMPLES.min(len).max(1);
        let found = (0..samples).filter_map(|it| self.find_leaf(len * it / samples, unshared));
        // Leaves of many elements are met more often: hence the mean per element.
        let shares = found.map(|(leaf, _)| measure(leaf) as u64 * len / leaf.len() as u64);
        (shares.sum::<u64>() / samples) as usize
    }

    /// As [`Tree::leaf_at`]. If `unshared`, only a leaf that is this tree's alone.
    fn find_leaf(&self, mut rank: u64, unshared: bool) -> Option<(&Leaf, usize)> {
        let mut entry = self.root.as_ref().filter(|root| rank < root.count)?;
        loop {
            match &entry.child {
                Child::Leaf(leaf) if unshared && leaf.is_shared() => return None,
                Child::Leaf(leaf) => return Some((leaf, rank as usize)),
                Child::Node(node) if unshared && !Arc::is_unique(node) => return None,
                Child::Node(node) => {
                    let mut entries = node.entries.iter();
                    entry = entries.next().expect("no node is empty");
                    while entry.count <= rank {
                        rank -= entry.count;
                        entry = entries.next().expect("the rank is below the count");
                    }
                }
            }
        }
    }

    fn drop_levels(&mut self) {
        while let Some(root) = &mut self.root {
            match &mut root.child {
                _ if root.count == 0 => self.root = None,
                Child::Node(node) if node.entries.len() == 1 => {
                    let only = Arc::make_mut(node).entries.pop().expect("there is one");
                    self.root = Some(only);
                }
                _ => return,
            }
        }
    }
}

impl Entry {
    /// Moves the leaf with the element of this rank, which is there, and the nodes above it that begin with it. Returns
    /// the rank of the first element behind what was looked at.
    fn relocate(&mut self, rank: u64, relocation: &mut Relocation<'_>) -> u64 {
        let (mut entry, mut start) = (self, 0);
        loop {
            let end = start + entry.count;
            match &mut entry.child {
                Child::Leaf(leaf) => {
                    leaf.relocate(relocation);
                    return end;
                }
                Child::Node(node) => {
                    let Some(own) = Arc::get_mut(node) else { return end };
                    if start == rank && relocation.wants(own.entries.as_ptr()) {
                        let mut entries = Vec::with_capacity(own.entries.capacity());
                        entries.append(&mut own.entries);
                        own.entries = entries;
                    }
                    let below = own.entries.iter_mut().find(|it| {
                        let here = rank < start + it.count;
                        start += if here { 0 } else { it.count };
                        here
                    });
                    entry = below.expect("the entries have what the node counts");
                }
            }
        }
    }

    fn leaf(leaf: Leaf) -> Self {
        let (rank, prefix) = (rank_of(leaf.code(0)), prefix_of(leaf.member(0)));
        Self { count: leaf.len() as u64, rank, prefix, child: Child::Leaf(leaf) }
    }

    fn node(node: Node) -> Self {
        let Entry { rank, prefix, .. } = node.entries[0];
        let count = node.entries.iter().map(|entry| entry.count).sum();
        Self { count, rank, prefix, child: Child::Node(Arc::new(node)) }
    }

    fn first_member(&self) -> &[u8] {
        let mut child = &self.child;
        loop {
            match child {
                Child::Leaf(leaf) => return leaf.member(0),
                Child::Node(node) => child = &node.entries[0].child,
            }
        }
    }

    /// Returns what has to stand behind this one, if it was full. `is_last` if nothing stands behind it now.
    fn insert(&mut self, code: u64, member: &[u8], is_last: bool) -> Vec<Self> {
        match &mut self.child {
            Child::Leaf(leaf) => {
                let index = leaf.position(&Probe::before(code, member));
                let pieces = leaf.insert(index, code, member, is_last);
                *self = Self::leaf(pieces.first);
                pieces.second.into_iter().chain(pieces.third).map(Self::leaf).collect()
            }
            Child::Node(node) => {
                let node = Arc::make_mut(node);
                let at = node.child_at(&Probe::after(code, member));
                let is_last = is_last && at + 1 == node.entries.len();
                let siblings = node.entries[at].insert(code, member, is_last);
                (self.rank, self.prefix) = (node.entries[0].rank, node.entries[0].prefix);
                if siblings.is_empty() {
                    self.count += 1;
                    return siblings;
                }
                for (offset, sibling) in siblings.into_iter().enumerate() {
                    node.entries.insert(at + 1 + offset, sibling);
                }
                let second = node.split_off_surplus(is_last);
                self.count = node.entries.iter().map(|entry| entry.count).sum();
                second.into_iter().collect()
            }
        }
    }

    /// Leaves this one with a count of 0 if it was the only element.
    fn remove(&mut self, code: u64, member: &[u8]) {
        self.count -= 1;
        match &mut self.child {
            Child::Leaf(leaf) => {
                let index = leaf.position(&Probe::before(code, member));
                debug_assert!(leaf.member(index) == member);
                if let Some(rest) = leaf.without(index..index + 1) {
                    *self = Self::leaf(rest);
                }
            }
            Child::Node(node) => {
                let node = Arc::make_mut(node);
                let at = node.child_at(&Probe::after(code, member));
                node.entries[at].remove(code, member);
                if node.entries[at].count == 0 {
                    node.entries.remove(at);
                } else {
                    node.join_thin(at);
                }
                if let Some(first) = node.entries.first() {
                    (self.rank, self.prefix) = (first.rank, first.prefix);
                }
            }
        }
    }

    fn remove_range(&mut self, range: &Range<u64>) {
        self.count -= range.end - range.start;
        if self.count == 0 {
            return;
        }
        match &mut self.child {
            Child::Leaf(leaf) => {
                let rest = leaf.without(range.start as usize..range.end as usize);
                *self = Self::leaf(rest.expect("the count says that something stays"));
            }
            Child::Node(node) => {
                let node = Arc::make_mut(node);
                node.remove_range(range);
                (self.rank, self.prefix) = (node.entries[0].rank, node.entries[0].prefix);
            }
        }
    }

    fn is_thin(&self) -> bool {
        match &self.child {
            Child::Leaf(leaf) => leaf.is_thin(),
            Child::Node(node) => node.entries.len() <= NODE_ENTRIES_MAX / 8,
        }
    }

    /// Takes in what `next` holds if both together are small; false if they are not.
    fn take_over(&mut self, next: &mut Self) -> bool {
        match (&mut self.child, &mut next.child) {
            (Child::Leaf(ours), Child::Leaf(theirs)) if ours.may_join(theirs) => {
                *self = Self::leaf(ours.joined_with(theirs));
                true
            }
            (Child::Node(ours), Child::Node(theirs))
                if ours.entries.len() + theirs.entries.len() <= NODE_ENTRIES_MAX / 2 =>
            {
                Arc::make_mut(ours).entries.append(&mut Arc::make_mut(theirs).entries);
                self.count += next.count;
                true
            }
            _ => false,
        }
    }
}

impl Node {
    /// Which child has the place inside or at one of its ends.
    fn child_at(&self, probe: &Probe<'_>) -> usize {
        let is_behind =
            |entry: &Entry| probe.is_behind(entry.rank, || entry.prefix, || entry.first_member());
        self.entries.partition_point(is_behind).saturating_sub(1)
    }

    /// What is too much for one node, as another. Nodes that are filled at their end stay full.
    fn split_off_surplus(&mut self, is_last: bool) -> Option<Entry> {
        if self.entries.len() <= NODE_ENTRIES_MAX {
            return None;
        }
        let kept = if is_last { NODE_ENTRIES_MAX } else { self.entries.len() / 2 };
        let mut entries = Vec::with_capacity(NODE_ENTRIES_MAX);
        entries.extend(self.entries.drain(kept..));
        Some(Entry::node(Self { entries }))
    }

    /// Joins the child at `at` with a neighbour when removals have left both small.
    fn join_thin(&mut self, at: usize) {
        if !self.entries[at].is_thin() {
            return;
        }
        for left in [at.checked_sub(1), Some(at)].into_iter().flatten() {
            if let [first, second, ..] = &mut self.entries[left..]
                && first.take_over(second)
            {
                self.entries.remove(left + 1);
                return;
            }
        }
    }

    fn remove_range(&mut self, range: &Range<u64>) {
        let mut start = 0;
        self.entries.retain_mut(|entry| {
            let end = start + entry.count;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                entry.remove_range(&(from - start..to - start));
            }
            start = end;
            entry.count != 0
        });
    }
}

#[cfg(test)]
impl Tree {
    /// Panics if a count, a first element, the order, the depth of a leaf or the size of a node is wrong.
    pub(super) fn check(&self) {
        let Some(root) = &self.root else { return };
        root.check();
        if let Child::Node(node) = &root.child {
            assert!(1 < node.entries.len());
        }
    }
}

#[cfg(test)]
impl Entry {
    /// Returns the height.
    fn check(&self) -> usize {
        assert_ne!(self.count, 0);
        match &self.child {
            Child::Leaf(leaf) => {
                assert_eq!(self.count, leaf.len() as u64);
                assert_eq!(self.rank, rank_of(leaf.code(0)));
                assert_eq!(self.prefix, prefix_of(leaf.member(0)));
                let elements: Vec<_> = leaf.elements(0..leaf.len()).collect();
                assert!(elements.is_sorted_by_key(|&(code, member)| (rank_of(code), member)));
                0
            }
            Child::Node(node) => {
                assert!((1..=NODE_ENTRIES_MAX).contains(&node.entries.len()));
                let heights: Vec<usize> = node.entries.iter().map(Self::check).collect();
                assert!(heights.iter().all(|&height| height == heights[0]));
                assert_eq!(self.count, node.entries.iter().map(|entry| entry.count).sum());
                let first = &node.entries[0];
                assert_eq!((self.rank, self.prefix), (first.rank, first.prefix));
                let key = |entry: &Self| (entry.rank, entry.first_member().to_vec());
                assert!(node.entries.is_sorted_by_key(key));
                1 + heights[0]
            }
        }
    }
}
