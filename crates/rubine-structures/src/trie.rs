//! The large unordered collection: a map from byte strings to byte strings with optional deadlines, behind large
//! hashes, large sets and the member index of sorted sets. A hash trie whose leaves are packed blocks of
//! some dozens of elements. No operation but dropping it costs time in proportion to its size; it never reads
//! the time and never allocates per element, save for parts of 696 bytes and more.
//!
//! Nodes and leaves are counted: a clone is one more reference to the root, and a writer copies only what
//! it changes on the way to one leaf. Elements are iterated in the order of their hashes, leaf by leaf, and a
//! scan's cursor is a position in that order, which no split or merge can move.

mod leaf;
mod node;

use rubine_base::SharedBytes;
use smallvec::SmallVec;

use crate::relocation::Relocation;
use leaf::NO_DEADLINE;
use node::{Body, Child, Key, POSITION_BITS};

/// How many keys are fetched ahead at a time: what they ask for has room in the first level of the cache.
const PREFETCHED_TOGETHER: usize = 64;

/// How many leaves are looked at to estimate the size of all.
const SAMPLES: u64 = 16;

#[derive(Clone, Default)]
pub struct Trie {
    root: Child,
}

/// What a trie holds under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// The value again, if it is long enough to lie in a buffer of its own, for replies by reference.
    pub shared_value: Option<&'a SharedBytes>,
    /// In milliseconds of the caller's clock.
    pub deadline: Option<i64>,
}

/// What happens to the deadline of an element that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Stays as it is; a new element has none.
    Keep,
    Never,
    At(i64),
}

impl Deadline {
    fn resolve(self, current: Option<i64>) -> Option<i64> {
        match self {
            Self::Keep => current,
            Self::Never => None,
            Self::At(at) => Some(at),
        }
    }

    /// A lower bound of what it makes the deadline of an element.
    fn due(self) -> i64 {
        if let Self::At(at) = self { at } else { NO_DEADLINE }
    }
}

impl Trie {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> u64 {
        self.root.count
    }

    pub fn is_empty(&self) -> bool {
        self.root.count == 0
    }

    /// Whether the other is a handle of the same root: then nothing was changed since one was cloned from the other.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.root.body, &other.root.body) {
            (Body::Leaf(ours), Body::Leaf(theirs)) => std::sync::Arc::ptr_eq(ours, theirs),
            (Body::Node(ours), Body::Node(theirs)) => std::sync::Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    /// Where in the order of iteration an element with this key stands in any trie. Whoever has much to look up or to
    /// change does it in this order, and meets each leaf once.
    pub fn place_of(key: &[u8]) -> u64 {
        Key::new(key).hash
    }

    pub fn get(&self, key: &[u8]) -> Option<Element<'_>> {
        self.root.find(Key::new(key))
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Asks the processor to fetch what looking up `keys` will read. They go down together, a level at a time, so that
    /// they wait for memory once a level and not once a key.
    pub fn prefetch(&self, keys: &[&[u8]]) {
        let mut paths: SmallVec<[_; PREFETCHED_TOGETHER]> = SmallVec::new();
        for keys in keys.chunks(PREFETCHED_TOGETHER) {
            paths.clear();
            paths.extend(keys.iter().map(|key| (Key::new(key), &self.root)));
            Child::prefetch_leaves(&mut paths);
            for (key, child) in &paths {
                child.prefetch_element(*key);
            }
        }
    }

    /// Adds an element or replaces the value of the one with this key. Returns whether it was added.
    pub fn insert(&mut self, key: &[u8], value: &[u8], deadline: Deadline) -> bool {
        let key = Key::new(key);
        self.change(key, deadline.due(), |leaf| {
            leaf::upsert(leaf, key.tag(), key.bytes, value, deadline)
        })
    }

    /// Sets or clears the deadline of an element. Returns whether the element exists.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<i64>) -> bool {
        let key = Key::new(key);
        if self.root.find(key).is_none() {
            return false;
        }
        self.change(key, deadline.unwrap_or(NO_DEADLINE), |leaf| {
            let index = leaf.find(key.tag(), key.bytes).expect("it was found just now");
            leaf::set_deadline(leaf, index, deadline)
        });
        true
    }

    /// Removes the element with this key. Returns whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let key = Key::new(key);
        // Nothing is copied for a new handle where nothing changes.
        let absent = self.root.is_shared() && self.root.find(key).is_none();
        !absent && self.root.remove(0, key)
    }

    /// Moves leaves, and the nodes above them, from the element with rank `position` on, some of them. Returns the rank to
    /// go on from, 0 at the end. What another handle leads to stays.
    pub fn relocate(&mut self, position: u64, relocation: &mut Relocation<'_>) -> u64 {
        const ELEMENTS_AT_ONCE: u64 = 1000;
        let end = self.len().min(position.saturating_add(ELEMENTS_AT_ONCE));
        let mut rank = position;
        while rank < end {
            rank = self.root.relocate(rank, relocation);
        }
        if rank < self.len() { rank } else { 0 }
    }

    /// The element with this rank in the order of iteration.
    pub fn nth(&self, rank: u64) -> Option<Element<'_>> {
        self.root.leaf_of_rank(rank).map(|(leaf, index)| leaf.element(index))
    }

    /// Visits elements from the position `cursor` on, at least `count` if there are so many. Returns the cursor
    /// to go on with, 0 at the end. An element that stays from the first call (with 0) to the last is visited.
    pub fn scan<'t>(&'t self, cursor: u64, count: u64, mut visit: impl FnMut(Element<'t>)) -> u64 {
        let mut position = cursor;
        let mut visited = 0;
        while position >> POSITION_BITS == 0 {
            let (part, covered) = self.root.part_at(position);
            if covered.start < position {
                // Leaves were merged meanwhile: what lies before the cursor was visited already.
                part.for_each(&mut |element| {
                    if position <= Key::new(element.key).position() {
                        visited += 1;
                        visit(element);
                    }
                });
            } else {
                visited += part.count;
                part.for_each(&mut visit);
            }
            position = covered.end;
            if count <= visited && position >> POSITION_BITS == 0 {
                return position;
            }
        }
        0
    }

    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        let mut rank = 0;
        std::iter::from_fn(move || {
            let (leaf, _) = self.root.leaf_of_rank(rank)?;
            rank += leaf.len() as u64;
            Some(leaf.elements())
        })
        .flatten()
    }

    /// A lower bound of the earliest deadline.
    pub fn next_deadline(&self) -> Option<i64> {
        let earliest = self.root.earliest_deadline;
        (earliest != NO_DEADLINE).then_some(earliest)
    }

    /// Whether any element has a deadline: exact, but looks at every leaf where one has or had.
    pub fn has_deadlines(&self) -> bool {
        self.root.has_deadlines()
    }

    /// Removes elements that are due at `now`, and tells of each before it goes. Stops when `limit` elements are
    /// removed or leaves looked at; whether more are due, [`Trie::next_deadline`] tells.
    pub fn expire_due(
        &mut self,
        now: i64,
        limit: usize,
        mut expired: impl FnMut(Element<'_>),
    ) -> u64 {
        let len_before = self.len();
        let mut budget = limit;
        self.root.expire(now, &mut budget, &mut expired);
        len_before - self.len()
    }

    /// An estimate of the bytes on the heap from a sample of leaves.
    pub fn heap_bytes(&self) -> usize {
        self.estimate(|leaf| leaf.heap_bytes() + size_of::<Child>())
    }

    /// As [`Trie::heap_bytes`], of what no other handle shares.
    pub fn unshared_bytes(&self) -> usize {
        let len = self.len();
        let samples = SAMPLES.min(len).max(1);
        let own = (0..samples).filter_map(|i| self.root.own_leaf_of_rank(len * i / samples));
        let share = own.map(|leaf| leaf.heap_bytes() as u64 * len / (leaf.len() as u64).max(1));
        (share.sum::<u64>() / samples) as usize
    }

    /// An estimate of the allocations that go when this goes.
    pub fn drop_cost(&self) -> usize {
        self.estimate(leaf::Leaf::allocations)
    }

    fn estimate(&self, measure: impl Fn(&leaf::Leaf) -> usize) -> usize {
        match &self.root.body {
            Body::Leaf(leaf) => measure(leaf),
            Body::Node(_) => {
                let len = self.len();
                // Large leaves are met more often, in proportion to their count: hence the mean per element.
                let samples =
                    (0..SAMPLES).filter_map(|i| self.root.leaf_of_rank(len * i / SAMPLES));
                let share = samples.map(|(leaf, _)| measure(leaf) as u64 * len / leaf.len() as u64);
                (share.sum::<u64>() / SAMPLES) as usize
            }
        }
    }

    fn change<T>(
        &mut self,
        key: Key<'_>,
        due: i64,
        mut change: impl FnMut(&mut std::sync::Arc<leaf::Leaf>) -> Result<T, leaf::Full>,
    ) -> T {
        loop {
            match self.root.change(0, key, due, &mut change) {
                Ok(outcome) => return outcome,
                Err(leaf::Full) => self.root.wrap(),
            }
        }
    }
}

impl std::fmt::Debug for Trie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Reads a trie as it is now, leaf by leaf, whatever happens to the original meanwhile.
#[derive(Clone, Debug)]
pub struct Walk {
    trie: Trie,
    /// How many elements were visited.
    rank: u64,
}

impl Walk {
    pub fn new(trie: Trie) -> Self {
        Self { trie, rank: 0 }
    }

    /// Visits the elements of the next leaf: a few dozens. Returns whether there were any left.
    pub fn visit_some(&mut self, visit: impl FnMut(Element<'_>)) -> bool {
        let Some((leaf, _)) = self.trie.root.leaf_of_rank(self.rank) else { return false };
        self.rank += leaf.len() as u64;
        leaf.elements().for_each(visit);
        true
    }

    /// Goes back to the first element.
    pub fn restart(&mut self) {
        self.rank = 0;
    }

    /// As [`Trie::unshared_bytes`], of the handle that is read.
    pub fn unshared_bytes(&self) -> usize {
        self.trie.unshared_bytes()
    }

    /// How many elements are still to come.
    pub fn remaining(&self) -> u64 {
        self.trie.len() - self.rank
    }
}

#[cfg(test)]
mod tests;
