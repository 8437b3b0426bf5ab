//! A list of byte strings: one pack while it is small, a tree of packs when it is large. A clone costs
//! one count and is the list of that instant. Never reads the configuration: limits are arguments.

use std::fmt;
use std::mem;
use std::ops::Range;

use triomphe::Arc;

use self::limit::{LISTPACK_EMPTY_BYTES, listpack_bytes, listpack_item_bytes};
use self::tree::Tree;
use crate::pack::{self, Pack};
use crate::relocation::Relocation;

pub use self::cursor::ListCursor;
pub use self::limit::ChunkLimit;

mod cursor;
pub(crate) mod limit;
#[cfg(test)]
mod tests;
mod tree;

/// Either end of a list, or the direction that starts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head, LEFT.
    Front,
    /// The tail, RIGHT.
    Back,
}

/// What OBJECT ENCODING calls a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListEncoding {
    Listpack,
    Quicklist,
}

#[derive(Clone)]
pub struct List {
    form: Form,
}

#[derive(Clone)]
enum Form {
    Small {
        pack: Pack,
        /// How large the items would be as a listpack, which is what the limit is compared with.
        listpack_bytes: u32,
    },
    Large(Arc<Tree>),
}

impl List {
    pub const fn new() -> Self {
        Self::small(Pack::new(), LISTPACK_EMPTY_BYTES as u32)
    }

    /// Moves a part of what the list owns, from `position` on. Returns the position to go on from, 0 at the end.
    pub fn relocate(&mut self, position: u64, relocation: &mut Relocation<'_>) -> u64 {
        match &mut self.form {
            Form::Small { pack, .. } => {
                pack.relocate(relocation);
                0
            }
            Form::Large(tree) => Arc::get_mut(tree)
                .map_or(0, |tree| tree.relocate(position as usize, relocation) as u64),
        }
    }

    /// Whether the other is the same value still, seen through another handle: what a writer changes, it copies first.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.form, &other.form) {
            (Form::Small { pack: ours, .. }, Form::Small { pack: theirs, .. }) => {
                ours.is_same(theirs)
            }
            (Form::Large(ours), Form::Large(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    pub fn len(&self) -> usize {
        match &self.form {
            Form::Small { pack, .. } => pack.len(),
            Form::Large(tree) => tree.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn encoding(&self) -> ListEncoding {
        match self.form {
            Form::Small { .. } => ListEncoding::Listpack,
            Form::Large(_) => ListEncoding::Quicklist,
        }
    }

    /// Asks the processor to fetch the items of a small list, or the first of them.
    #[inline]
    pub fn prefetch_small(&self) {
        if let Form::Small { pack, .. } = &self.form {
            pack.prefetch();
        }
    }

    /// What the allocator set aside, about. Clones share it.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Small { pack, .. } => pack.heap_bytes(),
            Form::Large(tree) => tree.heap_bytes(),
        }
    }

    /// As [`List::heap_bytes`], of what no other handle shares.
    pub fn unshared_bytes(&self) -> usize {
        match &self.form {
            Form::Small { pack, .. } if pack.is_shared() => 0,
            Form::Small { pack, .. } => pack.heap_bytes(),
            Form::Large(tree) if !Arc::is_unique(tree) => 0,
            Form::Large(tree) => tree.unshared_bytes(),
        }
    }

    /// How many allocations dropping the last handle frees, about.
    pub fn drop_cost(&self) -> usize {
        match &self.form {
            Form::Small { .. } => 1,
            Form::Large(tree) => tree.allocations(),
        }
    }

    pub fn item_at(&self, end: End) -> Option<&[u8]> {
        match &self.form {
            Form::Small { pack, .. } => end.item(pack),
            Form::Large(tree) => tree.item_at(end),
        }
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let in_range = index < self.len();
        in_range.then(|| self.chunk_at(index)).and_then(|(chunk, local)| chunk.get(local))
    }

    /// The pieces that the items are kept in, from head to tail.
    pub fn chunks(&self) -> impl Iterator<Item = &Pack> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let (chunk, _) = (next < self.len()).then(|| self.chunk_at(next))?;
            next += chunk.len();
            Some(chunk)
        })
    }

    /// The items from `index` to the tail.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        Iter { list: self, chunk: pack::Iter::default(), next: index }
    }

    /// The items before `end`, the last one first.
    pub fn iter_back_from(&self, end: usize) -> IterBack<'_> {
        IterBack { list: self, chunk: pack::Iter::default(), end: end.min(self.len()) }
    }

    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// The index in `range` of an item equal to `needle`: the first from `end`.
    pub fn position(&self, needle: &[u8], range: Range<usize>, end: End) -> Option<usize> {
        let mut range = range.start..range.end.min(self.len());
        while range.start < range.end {
            match end {
                End::Front => {
                    let (chunk, local) = self.chunk_at(range.start);
                    if let Some(found) = chunk.find(needle, local, 1) {
                        let index = range.start + found - local;
                        return (index < range.end).then_some(index);
                    }
                    range.start += chunk.len() - local;
                }
                End::Back => {
                    let (chunk, local) = self.chunk_at(range.end - 1);
                    let start = range.end - 1 - local;
                    if let Some(found) = chunk.find_last(needle, local + 1) {
                        return (range.start <= start + found).then_some(start + found);
                    }
                    range.end = start;
                }
            }
        }
        None
    }

    /// Adds one item at `end`.
    #[inline]
    pub fn push(&mut self, end: End, item: &[u8], limit: ChunkLimit) {
        self.grow_for(item.len(), 1, limit);
        self.push_converted(end, item, limit);
    }

    /// Adds the items one after another at `end`, after looking at all of them for the encoding, as
    /// one command does.
    pub fn push_all<'a>(
        &mut self,
        end: End,
        items: impl Iterator<Item = &'a [u8]> + Clone,
        limit: ChunkLimit,
    ) {
        let (mut bytes, mut count) = (0, 0);
        for item in items.clone() {
            (bytes, count) = (bytes + item.len(), count + 1);
        }
        self.grow_for(bytes, count, limit);
        for item in items {
            self.push_converted(end, item, limit);
        }
    }

    /// Becomes a quicklist if so much more would be too much for a listpack. LINSERT asks for that
    /// before it knows whether there is a pivot, and what comes of it is visible.
    pub fn grow_for(&mut self, bytes: usize, items: usize, limit: ChunkLimit) {
        if let Form::Small { pack, listpack_bytes } = &mut self.form
            && limit.is_exceeded_by(*listpack_bytes as usize + bytes, pack.len() + items)
        {
            self.form = Form::Large(Arc::new(Tree::of(mem::take(pack))));
        }
    }

    /// Removes the item at `end`; false if there is none. [`List::item_at`] borrows it before.
    #[inline]
    pub fn drop_item(&mut self, end: End, limit: ChunkLimit) -> bool {
        match &mut self.form {
            Form::Small { pack, listpack_bytes } => {
                let Some(item) = end.item(pack) else { return false };
                *listpack_bytes -= listpack_item_bytes(item) as u32;
                end.drop_item(pack);
            }
            Form::Large(tree) => {
                if tree.len() == 0 {
                    return false;
                }
                let tree = Arc::make_mut(tree);
                if let Some(bytes) = tree.listpack_bytes {
                    let gone = tree.item_at(end).map_or(0, listpack_item_bytes);
                    tree.listpack_bytes = Some(bytes - gone);
                }
                tree.drop_item(end);
                self.shrink(limit);
            }
        }
        true
    }

    /// Puts `item` before the item at `index`, or at the tail if `index` is the length.
    pub fn insert(&mut self, index: usize, item: &[u8], limit: ChunkLimit) {
        assert!(index <= self.len());
        if index == 0 || index == self.len() {
            self.push(if index == 0 { End::Front } else { End::Back }, item, limit);
            return;
        }
        self.grow_for(item.len(), 1, limit);
        match &mut self.form {
            Form::Small { pack, listpack_bytes } => {
                *listpack_bytes += listpack_item_bytes(item) as u32;
                pack.insert(index, item);
            }
            Form::Large(tree) => Arc::make_mut(tree)
                .edit(index, limit, |chunk, local| insert_into_chunk(chunk, local, item, limit)),
        }
    }

    /// Replaces the item at `index`.
    pub fn set(&mut self, index: usize, item: &[u8], limit: ChunkLimit) {
        assert!(index < self.len());
        self.grow_for(item.len(), 1, limit);
        match &mut self.form {
            Form::Small { pack, listpack_bytes } => {
                let gone = pack.get(index).map_or(0, listpack_item_bytes);
                *listpack_bytes += listpack_item_bytes(item) as u32;
                *listpack_bytes -= gone as u32;
                pack.replace(index, item);
            }
            Form::Large(tree) => {
                Arc::make_mut(tree)
                    .edit(index, limit, |chunk, local| replace_in_chunk(chunk, local, item, limit));
                self.shrink(limit);
            }
        }
    }

    pub fn remove(&mut self, index: usize, limit: ChunkLimit) {
        self.remove_range(index..index + 1, limit);
    }

    /// Removes the items `range`. What that frees is freed here, unless another handle holds it: one
    /// cloned before and dropped elsewhere takes the work away.
    pub fn remove_range(&mut self, range: Range<usize>, limit: ChunkLimit) {
        assert!(range.start <= range.end && range.end <= self.len());
        match &mut self.form {
            _ if range.is_empty() => {}
            Form::Small { pack, listpack_bytes } => {
                let gone = pack.iter_range(range.clone()).map(listpack_item_bytes).sum::<usize>();
                *listpack_bytes -= gone as u32;
                pack.remove_range(range);
            }
            Form::Large(tree) => {
                let tree = Arc::make_mut(tree);
                if range.len() == 1 {
                    tree.edit(range.start, limit, |chunk, local| {
                        chunk.remove(local);
                        Vec::new()
                    });
                } else {
                    tree.remove_range(range);
                }
                self.shrink(limit);
            }
        }
    }

    /// Removes items equal to `needle`, no more than `count_max`, the first ones from `end`. Says how
    /// many. Chunks without such an item are not touched.
    pub fn remove_matching(
        &mut self,
        needle: &[u8],
        count_max: usize,
        end: End,
        limit: ChunkLimit,
    ) -> usize {
        let mut removed = 0;
        let mut range = 0..self.len();
        while removed < count_max
            && let Some(index) = self.position(needle, range.clone(), end)
        {
            let here_max = count_max - removed;
            let here = match &mut self.form {
                Form::Small { pack, listpack_bytes } => {
                    let here = remove_from_chunk(pack, index, needle, here_max, end);
                    *listpack_bytes -= (here * listpack_item_bytes(needle)) as u32;
                    return here;
                }
                Form::Large(tree) => {
                    let (chunk, local) = tree.chunk_at(index);
                    let start = index - local;
                    let chunk_len = chunk.len();
                    let mut here = 0;
                    Arc::make_mut(tree).edit(index, limit, |chunk, local| {
                        here = remove_from_chunk(chunk, local, needle, here_max, end);
                        Vec::new()
                    });
                    // What is before, or after, has been looked at.
                    range = match end {
                        End::Front => start + chunk_len - here..range.end - here,
                        End::Back => range.start..start,
                    };
                    here
                }
            };
            removed += here;
        }
        if 0 < removed {
            self.shrink(limit);
        }
        removed
    }

    const fn small(pack: Pack, listpack_bytes: u32) -> Self {
        Self { form: Form::Small { pack, listpack_bytes } }
    }

    /// The chunk that holds the item at `index`, and the item's index in it.
    fn chunk_at(&self, index: usize) -> (&Pack, usize) {
        match &self.form {
            Form::Small { pack, .. } => (pack, index),
            Form::Large(tree) => tree.chunk_at(index),
        }
    }

    /// Takes the item at one end and puts it at the other, or back. Its encoding is looked at when both are done.
    pub fn rotate(&mut self, from: End, to: End, limit: ChunkLimit) {
        let Some(item) = self.item_at(from).map(<[u8]>::to_vec) else { return };
        match &mut self.form {
            Form::Small { .. } => {
                self.drop_item(from, limit);
                self.push(to, &item, limit);
            }
            Form::Large(tree) => {
                if 1 < tree.len() {
                    let tree = Arc::make_mut(tree);
                    if let Some(bytes) = tree.listpack_bytes {
                        tree.listpack_bytes = Some(bytes - listpack_item_bytes(&item));
                    }
                    tree.drop_item(from);
                    tree.push(to, &item, limit);
                }
                self.shrink(limit);
            }
        }
    }

    #[inline]
    fn push_converted(&mut self, end: End, item: &[u8], limit: ChunkLimit) {
        match &mut self.form {
            Form::Small { pack, listpack_bytes } => {
                *listpack_bytes += listpack_item_bytes(item) as u32;
                match end {
                    End::Front => pack.push_front(item),
                    End::Back => pack.push_back(item),
                }
            }
            Form::Large(tree) => Arc::make_mut(tree).push(end, item, limit),
        }
    }

    /// Becomes a listpack again if removals left so little that it will stay one for a while.
    fn shrink(&mut self, limit: ChunkLimit) {
        let Form::Large(tree) = &mut self.form else { return };
        let Some(chunk) = tree.only_chunk() else { return };
        let half = limit.half();
        let stands_alone =
            chunk.len() == 1 && chunk.last().is_some_and(|item| limit.is_large(item.len()));
        if half.items < chunk.len() || stands_alone {
            return;
        }
        let bytes = tree.listpack_bytes.unwrap_or_else(|| listpack_bytes(chunk));
        if bytes <= half.bytes {
            let mut pack = chunk.clone();
            self.form = Form::Large(Arc::new(Tree::of(Pack::new())));
            pack.shrink_to_fit();
            *self = Self::small(pack, bytes as u32);
        } else {
            Arc::make_mut(tree).listpack_bytes = Some(bytes);
        }
    }
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(<[u8]>::escape_ascii)).finish()
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Items from an index to the tail.
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a List,
    chunk: pack::Iter<'a>,
    /// Index of the item after `chunk`.
    next: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(item) = self.chunk.next() {
                return Some(item);
            }
            if self.list.len() <= self.next {
                return None;
            }
            let (chunk, local) = self.list.chunk_at(self.next);
            self.chunk = chunk.iter_from(local);
            self.next += self.chunk.len();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.chunk.len() + self.list.len().saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Items from an index to the head.
#[derive(Clone)]
pub struct IterBack<'a> {
    list: &'a List,
    chunk: pack::Iter<'a>,
    /// Index of the first item of `chunk`.
    end: usize,
}

impl<'a> Iterator for IterBack<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(item) = self.chunk.next_back() {
                return Some(item);
            }
            let last = self.end.checked_sub(1)?;
            let (chunk, local) = self.list.chunk_at(last);
            self.chunk = chunk.iter_range(0..local + 1);
            self.end -= self.chunk.len();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.chunk.len() + self.end;
        (left, Some(left))
    }
}

impl ExactSizeIterator for IterBack<'_> {}

impl End {
    /// The other one.
    pub fn opposite(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }

    fn item(self, pack: &Pack) -> Option<&[u8]> {
        match self {
            Self::Front => pack.first(),
            Self::Back => pack.last(),
        }
    }

    fn drop_item(self, pack: &mut Pack) -> bool {
        match self {
            Self::Front => pack.drop_front(),
            Self::Back => pack.drop_back(),
        }
    }

    /// Which of `count` children is at this end.
    fn index(self, count: usize) -> Option<usize> {
        match self {
            Self::Front => (0 < count).then_some(0),
            Self::Back => count.checked_sub(1),
        }
    }

    /// Where a new one goes beside `count` children.
    fn place(self, count: usize) -> usize {
        match self {
            Self::Front => 0,
            Self::Back => count,
        }
    }
}

/// Puts `item` before the one at `index`. Returns what has to follow the chunk if it had to be split.
fn insert_into_chunk(chunk: &mut Pack, index: usize, item: &[u8], limit: ChunkLimit) -> Vec<Pack> {
    if limit.admits(chunk, item.len()) {
        chunk.insert(index, item);
        return Vec::new();
    }
    let middle = chunk.len() / 2;
    let mut tail = chunk.split_off(middle);
    if index <= middle && limit.admits(chunk, item.len()) {
        chunk.insert(index, item);
        return vec![tail];
    }
    if middle <= index && limit.admits(&tail, item.len()) {
        tail.insert(index - middle, item);
        return vec![tail];
    }
    // Not even half of the items leave room: it gets a chunk of its own.
    let mut following = if index <= middle {
        let rest = chunk.split_off(index);
        vec![Pack::of(item), rest, tail]
    } else {
        let rest = tail.split_off(index - middle);
        vec![tail, Pack::of(item), rest]
    };
    following.retain(|pack| !pack.is_empty());
    following
}

/// Replaces the item at `index`. Returns what has to follow the chunk if it had to be split.
fn replace_in_chunk(chunk: &mut Pack, index: usize, item: &[u8], limit: ChunkLimit) -> Vec<Pack> {
    // A chunk may grow over its limit this way, as it may in Valkey, but not without end.
    const OVER_LIMIT_MAX: usize = 2;
    let bytes = chunk.heap_bytes_needed_with(item.len());
    let fits = !limit.is_large(item.len()) && bytes <= OVER_LIMIT_MAX * limit.bytes;
    if fits || chunk.len() == 1 {
        chunk.replace(index, item);
        return Vec::new();
    }
    chunk.remove(index);
    insert_into_chunk(chunk, index, item, limit)
}

/// Removes up to `count_max` items equal to `needle`, the one at `found` being the first from `end`.
fn remove_from_chunk(
    chunk: &mut Pack,
    found: usize,
    needle: &[u8],
    count_max: usize,
    end: End,
) -> usize {
    if count_max == 1 {
        chunk.remove(found);
        return 1;
    }
    let matching = chunk.iter().filter(|&item| item == needle).count();
    let removed = matching.min(count_max);
    let kept = match end {
        End::Front => removed..matching,
        End::Back => 0..matching - removed,
    };
    let mut seen = 0;
    chunk.retain(|item| {
        if item != needle {
            return true;
        }
        seen += 1;
        kept.contains(&(seen - 1))
    });
    removed
}
