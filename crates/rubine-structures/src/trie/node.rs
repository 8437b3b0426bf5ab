//! The inner nodes of the trie: which child owns which part of the hash space. Never looks into an element.

use std::sync::Arc;

use rubine_base::hash;

use super::Element;
use super::leaf::{self, Full, Leaf, NO_DEADLINE};
use crate::relocation::Relocation;
use crate::table::prefetch::prefetch;

/// A node consumes this many bits of the hash, from the top.
const LEVEL_BITS: u32 = 8;
const SLOTS: usize = 1 << LEVEL_BITS;

/// Levels that consume the bits of the hash; further down, a second hash tells keys apart.
const FIRST_HASH_LEVELS: u32 = u64::BITS / LEVEL_BITS;
const LEVELS_MAX: u32 = 2 * FIRST_HASH_LEVELS;

/// The levels whose bits are part of a position; keys that agree in them are at one position.
pub(super) const POSITION_LEVELS: u32 = 6;
pub(super) const POSITION_BITS: u32 = POSITION_LEVELS * LEVEL_BITS;

/// Two neighbours with this many elements together become one leaf: half of what one can hold, so
/// that it does not split again at once.
const MERGED_COUNT_MAX: u64 = leaf::ELEMENTS_MAX as u64 / 2;
const MERGED_BYTES_MAX: usize = 2048;

/// A part of the trie with what its parent wants to know without looking into it.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) count: u64,
    /// No element below is due earlier; [`NO_DEADLINE`] where none has a deadline.
    pub(super) earliest_deadline: i64,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Leaf(Arc<Leaf>),
    Node(Arc<Node>),
}

const _: () = assert!(size_of::<Child>() == 4 * size_of::<u64>());

/// Every slot belongs to a child. A leaf owns an aligned power-of-two run of slots, a node one slot.
#[derive(Clone, Debug)]
pub(super) struct Node {
    runs: Runs,
    /// In the order of their slots.
    pub(super) children: Vec<Child>,
}

/// Where in the slots of a node each child begins.
#[derive(Clone, Debug)]
struct Runs {
    starts: [u64; SLOTS / 64],
    /// How many runs start in the words before this one.
    before: [u8; SLOTS / 64],
}

/// A key with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) hash: u64,
}

impl<'a> Key<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, hash: hash_of(bytes) }
    }

    /// The top bits of the hash.
    pub(super) fn position(self) -> u64 {
        self.hash >> (u64::BITS - POSITION_BITS)
    }

    #[inline]
    pub(super) fn tag(self) -> u8 {
        self.hash as u8
    }

    #[inline]
    fn slot(self, level: u32) -> usize {
        let (hash, level) = if level < FIRST_HASH_LEVELS {
            (self.hash, level)
        } else {
            (hash::global().hash_again(self.hash, self.bytes), level - FIRST_HASH_LEVELS)
        };
        (hash >> (u64::BITS - (level + 1) * LEVEL_BITS)) as usize % SLOTS
    }
}

#[cfg(not(test))]
#[inline]
fn hash_of(key: &[u8]) -> u64 {
    hash::global().hash(key)
}

/// In tests, keys can be made to collide.
#[cfg(test)]
fn hash_of(key: &[u8]) -> u64 {
    hash::global().hash(if key.starts_with(b"collide") { b"collide" } else { key })
}

impl Default for Child {
    fn default() -> Self {
        Self { count: 0, earliest_deadline: NO_DEADLINE, body: Body::Leaf(leaf::empty()) }
    }
}

impl Child {
    fn from_leaf(leaf: Arc<Leaf>) -> Self {
        Self {
            count: leaf.len() as u64,
            earliest_deadline: leaf.earliest_deadline(),
            body: Body::Leaf(leaf),
        }
    }

    #[inline]
    pub(super) fn find(&self, key: Key<'_>) -> Option<Element<'_>> {
        let mut child = self;
        let mut level = 0;
        loop {
            match &child.body {
                Body::Leaf(leaf) => {
                    return leaf.find(key.tag(), key.bytes).map(|index| leaf.element(index));
                }
                Body::Node(node) => child = &node.children[node.runs.index_of(key.slot(level))],
            }
            level += 1;
        }
    }

    /// Leads each path on to the child that is or would be the leaf of its key, and asks for the heads of these leaves.
    pub(super) fn prefetch_leaves(paths: &mut [(Key<'_>, &Self)]) {
        let mut level = 0;
        let mut is_done = false;
        while !is_done {
            is_done = true;
            for (key, child) in paths.iter_mut() {
                if let Body::Node(node) = &child.body {
                    *child = &node.children[node.runs.index_of(key.slot(level))];
                    prefetch(std::ptr::from_ref(*child).cast());
                    is_done = false;
                }
            }
            level += 1;
        }
        for (_, child) in paths.iter() {
            if let Body::Leaf(leaf) = &child.body {
                leaf.prefetch_head();
            }
        }
    }

    /// Asks for the element of `key`, if this is its leaf.
    pub(super) fn prefetch_element(&self, key: Key<'_>) {
        if let Body::Leaf(leaf) = &self.body {
            leaf.prefetch_element(key.tag());
        }
    }

    /// Applies `change` to the leaf where `key` belongs. It may set a deadline of `due` or later.
    pub(super) fn change<T>(
        &mut self,
        level: u32,
        key: Key<'_>,
        due: i64,
        change: &mut impl FnMut(&mut Arc<Leaf>) -> Result<T, Full>,
    ) -> Result<T, Full> {
        let outcome = match &mut self.body {
            Body::Leaf(leaf) => {
                let outcome = change(leaf)?;
                self.count = leaf.len() as u64;
                outcome
            }
            Body::Node(node) => {
                let node = Arc::make_mut(node);
                loop {
                    let child = &mut node.children[node.runs.index_of(key.slot(level))];
                    let count_before = child.count;
                    match child.change(level + 1, key, due, change) {
                        Ok(outcome) => {
                            self.count = self.count - count_before + child.count;
                            break outcome;
                        }
                        Err(Full) => node.make_room(level, key.slot(level)),
                    }
                }
            }
        };
        self.earliest_deadline = self.earliest_deadline.min(due);
        Ok(outcome)
    }

    /// Puts a node in the place of a leaf, which becomes its only child.
    pub(super) fn wrap(&mut self) {
        let leaf = Self { body: self.body.clone(), ..*self };
        assert!(matches!(leaf.body, Body::Leaf(_)));
        self.body = Body::Node(Arc::new(Node { runs: Runs::whole(), children: vec![leaf] }));
    }

    /// Removes the element with this key. Returns whether there was one.
    pub(super) fn remove(&mut self, level: u32, key: Key<'_>) -> bool {
        let removed = match &mut self.body {
            Body::Leaf(leaf) => {
                let index = leaf.find(key.tag(), key.bytes);
                if let Some(index) = index {
                    leaf::remove(leaf, index);
                }
                index.is_some()
            }
            Body::Node(node) => {
                let node = Arc::make_mut(node);
                let slot = key.slot(level);
                let child = &mut node.children[node.runs.index_of(slot)];
                let removed = child.remove(level + 1, key);
                if removed && child.count <= MERGED_COUNT_MAX {
                    node.merge_around(slot);
                }
                removed
            }
        };
        if removed {
            self.count -= 1;
            self.settle();
        }
        removed
    }

    /// Whether a change would first have to copy something for a handle.
    pub(super) fn is_shared(&self) -> bool {
        match &self.body {
            Body::Leaf(leaf) => Arc::strong_count(leaf) != 1,
            Body::Node(node) => Arc::strong_count(node) != 1,
        }
    }

    /// Removes elements that are due at `now` until `budget` is spent: one for each leaf looked at, one
    /// for each element removed. Afterwards the earliest deadline is exact unless the budget ran out.
    pub(super) fn expire(
        &mut self,
        now: i64,
        budget: &mut usize,
        expired: &mut impl FnMut(Element<'_>),
    ) {
        if now < self.earliest_deadline {
            return;
        }
        match &mut self.body {
            Body::Leaf(leaf) => {
                let mut index = leaf.len();
                while 0 < index && 0 < *budget {
                    index -= 1;
                    let element = leaf.element(index);
                    if element.deadline.is_some_and(|deadline| deadline <= now) {
                        expired(element);
                        leaf::remove(leaf, index);
                        *budget -= 1;
                    }
                }
                *budget = budget.saturating_sub(1);
                self.count = leaf.len() as u64;
                self.earliest_deadline = leaf.earliest_deadline();
            }
            Body::Node(node) => {
                let node = Arc::make_mut(node);
                let mut slot = 0;
                while slot < SLOTS && 0 < *budget {
                    let run = node.runs.run_of(slot);
                    let child = &mut node.children[run.index];
                    if now < child.earliest_deadline {
                        slot = run.start + run.len;
                    } else {
                        // Afterwards it is looked at again: it may have become one with a neighbour.
                        child.expire(now, budget, expired);
                        node.merge_around(slot);
                    }
                }
                self.count = node.children.iter().map(|child| child.count).sum();
                let earliest = node.children.iter().map(|child| child.earliest_deadline).min();
                self.earliest_deadline = earliest.expect("a node has children");
            }
        }
        self.settle();
    }

    /// The leaf that holds the element of this rank, and its index there.
    pub(super) fn leaf_of_rank(&self, mut rank: u64) -> Option<(&Leaf, usize)> {
        if self.count <= rank {
            return None;
        }
        let mut child = self;
        loop {
            match &child.body {
                Body::Leaf(leaf) => return Some((leaf, rank as usize)),
                Body::Node(node) => {
                    child = node.children.iter().find(|child| {
                        let here = rank < child.count;
                        rank -= if here { 0 } else { child.count };
                        here
                    })?;
                }
            }
        }
    }

    /// The leaf that holds the element of this rank, if no other handle leads to it.
    pub(super) fn own_leaf_of_rank(&self, mut rank: u64) -> Option<&Leaf> {
        let mut child = self;
        while !child.is_shared() {
            match &child.body {
                Body::Leaf(leaf) => return Some(leaf),
                Body::Node(node) => {
                    child = node.children.iter().find(|child| {
                        let here = rank < child.count;
                        rank -= if here { 0 } else { child.count };
                        here
                    })?;
                }
            }
        }
        None
    }

    /// Moves the leaf that holds the element of this rank, which is there, and the nodes above it that begin with it.
    /// Returns the rank of the first element behind what was looked at.
    pub(super) fn relocate(&mut self, rank: u64, relocation: &mut Relocation<'_>) -> u64 {
        let (mut child, mut start) = (self, 0);
        loop {
            let end = start + child.count;
            match &mut child.body {
                Body::Leaf(leaf) => {
                    leaf::relocate(leaf, relocation);
                    return end;
                }
                Body::Node(node) => {
                    let Some(own) = Arc::get_mut(node) else { return end };
                    if start == rank && relocation.wants(std::ptr::from_ref(own)) {
                        let children = std::mem::take(&mut own.children);
                        *node = Arc::new(Node { runs: own.runs.clone(), children });
                    }
                    let own = Arc::get_mut(node).expect("nobody else holds it");
                    if start == rank && relocation.wants(own.children.as_ptr()) {
                        let mut children = Vec::with_capacity(own.children.len());
                        children.append(&mut own.children);
                        own.children = children;
                    }
                    let below = own.children.iter_mut().find(|it| {
                        let here = rank < start + it.count;
                        start += if here { 0 } else { it.count };
                        here
                    });
                    child = below.expect("the children have what the node counts");
                }
            }
        }
    }

    /// The part of the trie that holds all elements of `position`, and the positions it covers.
    pub(super) fn part_at(&self, position: u64) -> (&Self, std::ops::Range<u64>) {
        let mut child = self;
        let mut covered = 0..1 << POSITION_BITS;
        for level in 0..POSITION_LEVELS {
            let Body::Node(node) = &child.body else { break };
            let slot_shift = POSITION_BITS - (level + 1) * LEVEL_BITS;
            let run = node.runs.run_of((position >> slot_shift) as usize % SLOTS);
            child = &node.children[run.index];
            let start = covered.start + ((run.start as u64) << slot_shift);
            covered = start..start + ((run.len as u64) << slot_shift);
        }
        (child, covered)
    }

    /// Whether any element below has a deadline.
    pub(super) fn has_deadlines(&self) -> bool {
        self.earliest_deadline != NO_DEADLINE
            && match &self.body {
                Body::Leaf(leaf) => leaf.earliest_deadline() != NO_DEADLINE,
                Body::Node(node) => node.children.iter().any(Self::has_deadlines),
            }
    }

    pub(super) fn for_each<'c>(&'c self, visit: &mut impl FnMut(Element<'c>)) {
        match &self.body {
            Body::Leaf(leaf) => leaf.elements().for_each(visit),
            Body::Node(node) => node.children.iter().for_each(|child| child.for_each(visit)),
        }
    }

    /// Replaces a node that has become a single leaf by that leaf.
    fn settle(&mut self) {
        if let Body::Node(node) = &self.body
            && let [Self { body: Body::Leaf(leaf), .. }] = node.children.as_slice()
        {
            self.body = Body::Leaf(leaf.clone());
        }
    }
}

impl Node {
    /// Splits the full leaf that owns `slot`, or puts a node in its place.
    fn make_room(&mut self, level: u32, slot: usize) {
        let run = self.runs.run_of(slot);
        let child = &mut self.children[run.index];
        if run.len == 1 {
            assert!(level + 1 < LEVELS_MAX, "two independent hashes of many keys are the same");
            child.wrap();
            return;
        }
        let Body::Leaf(leaf) = &child.body else { unreachable!("only leaves are full") };
        let middle = run.start + run.len / 2;
        let right = leaf.elements().zip(0..).fold(0, |right, (element, index)| {
            let goes_right = middle <= Key::new(element.key).slot(level);
            right | u64::from(goes_right) << index
        });
        let [left, right] = leaf::split(leaf, right).map(Child::from_leaf);
        *child = left;
        if self.children.len() == self.children.capacity() {
            self.children.reserve_exact(1 + self.children.len() / 8);
        }
        self.children.insert(run.index + 1, right);
        self.runs.start(middle);
    }

    /// Merges the leaf that owns `slot` with its neighbours as long as they are sparse.
    fn merge_around(&mut self, slot: usize) {
        let mut run = self.runs.run_of(slot);
        while run.len < SLOTS {
            let other = self.runs.run_of(run.start ^ run.len);
            let (left, right) = (run.index.min(other.index), run.index.max(other.index));
            let [left_child, right_child] = [left, right].map(|index| &self.children[index]);
            if other.len != run.len || MERGED_COUNT_MAX < left_child.count + right_child.count {
                break;
            }
            let (Body::Leaf(left_leaf), Body::Leaf(right_leaf)) =
                (&left_child.body, &right_child.body)
            else {
                break;
            };
            let Some(leaf) = leaf::merge(left_leaf, right_leaf, MERGED_BYTES_MAX) else { break };
            self.children[left] = Child {
                count: left_child.count + right_child.count,
                earliest_deadline: left_child.earliest_deadline.min(right_child.earliest_deadline),
                body: Body::Leaf(leaf),
            };
            self.children.remove(right);
            self.runs.end(run.start.max(other.start));
            run = self.runs.run_of(slot);
        }
        if self.children.len() < self.children.capacity() / 2 {
            self.children.shrink_to_fit();
        }
    }
}

/// Neighbouring slots with one owner.
struct Run {
    /// Of the child in the node.
    index: usize,
    start: usize,
    len: usize,
}

impl Runs {
    /// One run of all slots.
    fn whole() -> Self {
        Self { starts: [1, 0, 0, 0], before: [0, 1, 1, 1] }
    }

    #[inline]
    fn index_of(&self, slot: usize) -> usize {
        let (word, bit) = (slot / 64, slot % 64);
        let up_to_slot = self.starts[word] << (63 - bit);
        usize::from(self.before[word]) + up_to_slot.count_ones() as usize - 1
    }

    fn run_of(&self, slot: usize) -> Run {
        let (word, bit) = (slot / 64, slot % 64);
        let before = |word: usize| {
            let starts = self.starts[word];
            starts.checked_ilog2().map(|bit| word * 64 + bit as usize)
        };
        let after = |word: usize| {
            let starts = self.starts[word];
            (starts != 0).then(|| word * 64 + starts.trailing_zeros() as usize)
        };
        let up_to_slot = self.starts[word] << (63 - bit) >> (63 - bit);
        let beyond_slot = self.starts[word] & !up_to_slot;
        let start = match up_to_slot.checked_ilog2() {
            Some(bit) => word * 64 + bit as usize,
            None => (0..word).rev().find_map(before).expect("a run starts at slot 0"),
        };
        let end = match beyond_slot {
            0 => (word + 1..SLOTS / 64).find_map(after).unwrap_or(SLOTS),
            starts => word * 64 + starts.trailing_zeros() as usize,
        };
        Run { index: self.index_of(slot), start, len: end - start }
    }

    /// Lets a new run start at `slot`.
    fn start(&mut self, slot: usize) {
        self.starts[slot / 64] |= 1 << (slot % 64);
        self.before.iter_mut().skip(slot / 64 + 1).for_each(|before| *before += 1);
    }

    /// Lets the run that starts at `slot` become part of the one before it.
    fn end(&mut self, slot: usize) {
        self.starts[slot / 64] &= !(1 << (slot % 64));
        self.before.iter_mut().skip(slot / 64 + 1).for_each(|before| *before -= 1);
    }
}
