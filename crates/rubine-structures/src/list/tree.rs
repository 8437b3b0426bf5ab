//! The chunks of a large list in a balanced tree whose nodes count their items. A node or chunk that
//! somebody else holds is copied before it is changed, and nothing else is.

use std::mem;
use std::ops::Range;

use triomphe::Arc;

use super::End;
use super::limit::ChunkLimit;
use crate::pack::{Growth, Pack};
use crate::relocation::Relocation;

/// Copying a shared node touches every child's count, so nodes are not larger.
const NODE_ENTRIES_MAX: usize = 32;

#[derive(Clone)]
pub(super) struct Tree {
    /// Invariant: with a height above 0 it has at least two entries.
    root: Node,
    /// Levels of nodes below the root. Every chunk is equally deep.
    height: usize,
    len: usize,
    /// How large the items would be as a listpack, kept up to date by pops while one chunk is left.
    pub(super) listpack_bytes: Option<usize>,
}

#[derive(Clone, Default)]
struct Node {
    entries: Vec<Entry>,
}

/// Invariant: `items` is the number of items below, and above 0.
#[derive(Clone)]
struct Entry {
    items: usize,
    child: Child,
}

#[derive(Clone)]
enum Child {
    Chunk(Pack),
    Node(Arc<Node>),
}

impl Tree {
    pub(super) fn of(pack: Pack) -> Self {
        let len = pack.len();
        let mut entries = Vec::new();
        if !pack.is_empty() {
            entries.push(Entry::chunk(pack));
        }
        Self { root: Node { entries }, height: 0, len, listpack_bytes: None }
    }

    /// Moves chunks from the one with item number `position` on, some of them. Returns the number of the item to go on
    /// from, 0 at the end. What another handle leads to stays.
    pub(super) fn relocate(&mut self, position: usize, relocation: &mut Relocation<'_>) -> usize {
        const CHUNKS_AT_ONCE: usize = 64;
        let mut index = position;
        for _ in 0..CHUNKS_AT_ONCE {
            if self.len <= index {
                return 0;
            }
            index = self.root.relocate(index, relocation);
        }
        if index < self.len { index } else { 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The chunk, if there is only one.
    pub(super) fn only_chunk(&self) -> Option<&Pack> {
        match self.root.entries.as_slice() {
            [Entry { child: Child::Chunk(pack), .. }] => Some(pack),
            _ => None,
        }
    }

    pub(super) fn item_at(&self, end: End) -> Option<&[u8]> {
        let mut node = &self.root;
        loop {
            match &node.entries.get(end.index(node.entries.len())?)?.child {
                Child::Chunk(pack) => return end.item(pack),
                Child::Node(below) => node = below,
            }
        }
    }

    /// The chunk that holds the item at `index`, and the item's index in it.
    pub(super) fn chunk_at(&self, mut index: usize) -> (&Pack, usize) {
        assert!(index < self.len);
        let mut node = &self.root;
        loop {
            let (at, local) = node.locate(index);
            index = local;
            match &node.entries[at].child {
                Child::Chunk(pack) => return (pack, local),
                Child::Node(below) => node = below,
            }
        }
    }

    #[inline]
    pub(super) fn push(&mut self, end: End, item: &[u8], limit: ChunkLimit) {
        self.listpack_bytes = None;
        self.len += 1;
        if let Some(sibling) = self.root.push(end, item, limit) {
            self.add_level(end, sibling);
        }
    }

    /// Removes the item at `end`.
    #[inline]
    pub(super) fn drop_item(&mut self, end: End) {
        assert!(0 < self.len);
        self.root.drop_item(end);
        self.len -= 1;
        self.drop_levels();
    }

    /// Hands the chunk of the item at `index` to `change`, with the item's index in it. What `change`
    /// leaves empty is removed, and the packs it returns follow the chunk. How many items there are
    /// is counted afterwards.
    pub(super) fn edit(
        &mut self,
        index: usize,
        limit: ChunkLimit,
        change: impl FnOnce(&mut Pack, usize) -> Vec<Pack>,
    ) {
        assert!(index < self.len);
        self.listpack_bytes = None;
        if let Some(sibling) = self.root.edit(index, limit, change) {
            self.add_level(End::Back, sibling);
        }
        self.len = self.root.items();
        self.drop_levels();
    }

    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.len);
        self.listpack_bytes = None;
        self.root.remove_range(&range);
        self.len -= range.len();
        self.drop_levels();
    }

    /// How many allocations there are, about.
    pub(super) fn allocations(&self) -> usize {
        // Nodes of one level are much alike, so the middle one stands for all.
        let mut node = &self.root;
        let mut total = 2;
        let mut width = 1;
        loop {
            width *= node.entries.len();
            match node.entries.get(node.entries.len() / 2).map(|entry| &entry.child) {
                Some(Child::Node(below)) => {
                    total += 2 * width;
                    node = below;
                }
                _ => return total + width,
            }
        }
    }

    /// What the allocator set aside: exact for few chunks, for many what some of them tell.
    pub(super) fn heap_bytes(&self) -> usize {
        const CHUNKS_LOOKED_AT: usize = 64;
        // The nodes' own bytes and what is free in them, laid on the chunks.
        let bytes_per_chunk = mem::size_of::<Entry>() * 4 / 3;
        let exact = |pack: &Pack| pack.heap_bytes() + bytes_per_chunk;
        let own = mem::size_of::<Self>() + mem::size_of::<usize>();
        if self.height == 0 {
            let chunks = self.root.entries.iter().map(|entry| match &entry.child {
                Child::Chunk(pack) => exact(pack),
                Child::Node(_) => unreachable!("a tree without height has chunks only"),
            });
            return own + chunks.sum::<usize>();
        }
        let per_item = (0..CHUNKS_LOOKED_AT).map(|step| {
            let (pack, _) = self.chunk_at(self.len * (2 * step + 1) / (2 * CHUNKS_LOOKED_AT));
            exact(pack) as f64 / pack.len() as f64
        });
        own + (per_item.sum::<f64>() / CHUNKS_LOOKED_AT as f64 * self.len as f64) as usize
    }

    /// As [`Tree::heap_bytes`], of the chunks that no other tree shares.
    pub(super) fn unshared_bytes(&self) -> usize {
        const CHUNKS_LOOKED_AT: usize = 16;
        let per_item = (0..CHUNKS_LOOKED_AT).map(|step| {
            let index = self.len * (2 * step + 1) / (2 * CHUNKS_LOOKED_AT);
            let pack = self.unshared_chunk_at(index);
            pack.map_or(0.0, |pack| pack.heap_bytes() as f64 / pack.len() as f64)
        });
        (per_item.sum::<f64>() / CHUNKS_LOOKED_AT as f64 * self.len as f64) as usize
    }

    /// The chunk that holds the item at `index`, if it and all nodes above it are this tree's alone.
    fn unshared_chunk_at(&self, mut index: usize) -> Option<&Pack> {
        let mut node = &self.root;
        if self.len <= index {
            return None;
        }
        loop {
            let (at, local) = node.locate(index);
            index = local;
            match &node.entries[at].child {
                Child::Chunk(pack) => return (!pack.is_shared()).then_some(pack),
                Child::Node(below) if Arc::is_unique(below) => node = below,
                Child::Node(_) => return None,
            }
        }
    }

    fn add_level(&mut self, end: End, sibling: Entry) {
        let mut root = Node::with(Entry::node(mem::take(&mut self.root)));
        root.entries.insert(end.place(1), sibling);
        self.root = root;
        self.height += 1;
    }

    fn drop_levels(&mut self) {
        if self.len == 0 {
            self.height = 0;
            self.root = Node::default();
        }
        while 0 < self.height && self.root.entries.len() == 1 {
            let only = self.root.entries.pop().expect("there is one");
            let Child::Node(node) = only.child else { unreachable!("height says nodes") };
            self.root = Arc::try_unwrap(node).unwrap_or_else(|shared| (*shared).clone());
            self.height -= 1;
        }
    }
}

impl Node {
    /// Moves the chunk with this item, which is there. Returns the number of the first item behind what was looked at.
    fn relocate(&mut self, index: usize, relocation: &mut Relocation<'_>) -> usize {
        let (mut node, mut start) = (self, 0);
        loop {
            if start == index && relocation.wants(node.entries.as_ptr()) {
                let mut entries = Vec::with_capacity(node.entries.capacity());
                entries.append(&mut node.entries);
                node.entries = entries;
            }
            let found = node.entries.iter_mut().find(|it| {
                let here = index < start + it.items;
                start += if here { 0 } else { it.items };
                here
            });
            let entry = found.expect("the entries have the items that the node counts");
            let end = start + entry.items;
            match &mut entry.child {
                Child::Chunk(pack) => {
                    pack.relocate(relocation);
                    return end;
                }
                Child::Node(below) => match Arc::get_mut(below) {
                    Some(below) => node = below,
                    None => return end,
                },
            }
        }
    }

    fn with(entry: Entry) -> Self {
        let mut entries = Vec::with_capacity(NODE_ENTRIES_MAX);
        entries.push(entry);
        Self { entries }
    }

    fn items(&self) -> usize {
        self.entries.iter().map(|entry| entry.items).sum()
    }

    /// Which entry holds `index`, and the index in it.
    fn locate(&self, mut index: usize) -> (usize, usize) {
        for (at, entry) in self.entries.iter().enumerate() {
            if index < entry.items {
                return (at, index);
            }
            index -= entry.items;
        }
        unreachable!("the caller's index is below the number of items")
    }

    /// Returns the node that has to stand beside this one, if this one was full.
    fn push(&mut self, end: End, item: &[u8], limit: ChunkLimit) -> Option<Entry> {
        let Some(at) = end.index(self.entries.len()) else {
            return self.add(end, Entry::chunk(Pack::of(item)));
        };
        let entry = &mut self.entries[at];
        match &mut entry.child {
            Child::Chunk(pack) => {
                let pushed = pack.len() < limit.items()
                    && match end {
                        End::Front => pack.push_front_within(item, limit.bytes, Growth::Double),
                        End::Back => pack.push_back_within(item, limit.bytes, Growth::Double),
                    };
                if pushed {
                    entry.items += 1;
                    return None;
                }
                if !pack.is_shared() {
                    pack.shrink_to_fit();
                }
                self.add(end, Entry::chunk(Pack::of(item)))
            }
            Child::Node(node) => {
                let sibling = Arc::make_mut(node).push(end, item, limit);
                match sibling {
                    None => entry.items += 1,
                    Some(sibling) => return self.add(end, sibling),
                }
                None
            }
        }
    }

    /// Adds a child at `end`, or returns it in a node of its own if this one is full: nodes that are
    /// filled from one end become full, not half full.
    fn add(&mut self, end: End, entry: Entry) -> Option<Entry> {
        if self.entries.len() < NODE_ENTRIES_MAX {
            self.entries.insert(end.place(self.entries.len()), entry);
            return None;
        }
        Some(Entry::node(Self::with(entry)))
    }

    fn drop_item(&mut self, end: End) {
        let at = end.index(self.entries.len()).expect("no node is empty");
        let entry = &mut self.entries[at];
        match &mut entry.child {
            Child::Chunk(pack) => {
                end.drop_item(pack);
            }
            Child::Node(node) => Arc::make_mut(node).drop_item(end),
        }
        entry.items -= 1;
        if entry.items == 0 {
            self.entries.remove(at);
        }
    }

    /// Returns the other half of this node, if it became too large.
    fn edit(
        &mut self,
        index: usize,
        limit: ChunkLimit,
        change: impl FnOnce(&mut Pack, usize) -> Vec<Pack>,
    ) -> Option<Entry> {
        let (at, local) = self.locate(index);
        let entry = &mut self.entries[at];
        let added: Vec<Entry> = match &mut entry.child {
            Child::Chunk(pack) => {
                let added = change(pack, local);
                entry.items = pack.len();
                added.into_iter().map(Entry::chunk).collect()
            }
            Child::Node(node) => {
                let node = Arc::make_mut(node);
                let added = node.edit(local, limit, change);
                entry.items = node.items();
                added.into_iter().collect()
            }
        };
        let is_gone = entry.items == 0;
        if is_gone || !added.is_empty() {
            let replaced = at + usize::from(!is_gone)..at + 1;
            self.entries.splice(replaced, added);
        } else {
            self.merge_thin(at, limit);
        }
        if self.entries.len() <= NODE_ENTRIES_MAX {
            return None;
        }
        let half = self.entries.split_off(self.entries.len() / 2);
        Some(Entry::node(Self { entries: half }))
    }

    /// Joins the child at `at` with a neighbour when removals have left both small. A node with few
    /// children is left alone: there is nothing to gain, and a short list shows its chunks in the
    /// name of its encoding.
    fn merge_thin(&mut self, at: usize, limit: ChunkLimit) {
        const FEW_CHILDREN: usize = 4;
        if self.entries.len() <= FEW_CHILDREN || !self.entries[at].is_thin(limit) {
            return;
        }
        for left in [at.checked_sub(1), Some(at)].into_iter().flatten() {
            if let [first, second, ..] = &mut self.entries[left..]
                && first.take_over(second, limit)
            {
                self.entries.remove(left + 1);
                return;
            }
        }
    }

    fn remove_range(&mut self, range: &Range<usize>) {
        let mut start = 0;
        self.entries.retain_mut(|entry| {
            let end = start + entry.items;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to && to - from < entry.items {
                let local = from - start..to - start;
                match &mut entry.child {
                    Child::Chunk(pack) => pack.remove_range(local),
                    Child::Node(node) => Arc::make_mut(node).remove_range(&local),
                }
            }
            start = end;
            entry.items -= to.saturating_sub(from);
            entry.items != 0
        });
    }
}

impl Entry {
    fn chunk(pack: Pack) -> Self {
        Self { items: pack.len(), child: Child::Chunk(pack) }
    }

    fn node(node: Node) -> Self {
        Self { items: node.items(), child: Child::Node(Arc::new(node)) }
    }

    fn is_thin(&self, limit: ChunkLimit) -> bool {
        match &self.child {
            Child::Chunk(pack) => pack.heap_bytes_needed() <= limit.bytes / 8,
            Child::Node(node) => node.entries.len() <= NODE_ENTRIES_MAX / 8,
        }
    }

    /// Appends what `next` holds if both together are small; false if they are not.
    fn take_over(&mut self, next: &mut Self, limit: ChunkLimit) -> bool {
        let small = match (&mut self.child, &mut next.child) {
            (Child::Chunk(ours), Child::Chunk(theirs)) => {
                let bytes = ours.heap_bytes_needed() + theirs.heap_bytes_needed();
                let small = bytes <= limit.bytes / 2 && self.items + next.items <= limit.items();
                if small {
                    ours.append(theirs);
                }
                small
            }
            (Child::Node(ours), Child::Node(theirs)) => {
                let small = ours.entries.len() + theirs.entries.len() <= NODE_ENTRIES_MAX / 2;
                if small {
                    Arc::make_mut(ours).entries.append(&mut Arc::make_mut(theirs).entries);
                }
                small
            }
            _ => unreachable!("chunks of a tree are equally deep"),
        };
        if small {
            self.items += next.items;
        }
        small
    }
}

#[cfg(test)]
impl Tree {
    /// Panics if a count, the depth of a chunk, or the size of a node is wrong.
    pub(super) fn check(&self) {
        assert_eq!(self.root.check(self.height), self.len);
        assert!(self.height == 0 || 1 < self.root.entries.len());
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }
}

#[cfg(test)]
impl Node {
    fn check(&self, height: usize) -> usize {
        assert!(self.entries.len() <= NODE_ENTRIES_MAX);
        for entry in &self.entries {
            assert_ne!(entry.items, 0);
            match &entry.child {
                Child::Chunk(pack) => assert_eq!((height, pack.len()), (0, entry.items)),
                Child::Node(node) => assert_eq!(node.check(height - 1), entry.items),
            }
        }
        self.items()
    }
}
