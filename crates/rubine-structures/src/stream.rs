//! The value of a Redis stream: entries in the order of their identifiers, in blocks behind a counted tree, and the
//! groups that read them. A clone takes constant time and stays as it was. Never reads a clock.

mod block;
mod cursor;
mod group;
mod id;
mod producers;
#[cfg(test)]
mod tests;

use std::ops::Bound;
use std::sync::Arc as StdArc;

use triomphe::Arc;

use crate::ordered_map::{OrderedMap, Weigh};
use crate::relocation::Relocation;

pub use block::{Block, BlockLimits, Entries, Entry};
pub use cursor::StreamCursor;
pub use group::{Consumer, ConsumerId, Group, Pending};
pub use id::{StreamId, StreamIdText, parse_part};
pub use producers::{Producers, Retention};

#[derive(Clone, Debug, Default)]
pub struct Stream {
    body: Arc<Body>,
}

#[derive(Clone, Debug, Default)]
struct Body {
    blocks: OrderedMap<StreamId, Held>,
    /// That of the first entry, 0 if there is none.
    first_id: StreamId,
    /// The highest ever; further entries are behind it.
    last_id: StreamId,
    /// The highest of those that were deleted one by one.
    max_deleted_id: StreamId,
    /// How many entries were ever added.
    entries_added: u64,
    groups: OrderedMap<StdArc<[u8]>, Arc<Group>>,
    /// There from the first time on that one gives its name.
    producers: Option<Arc<Producers>>,
}

/// A block in the tree. Invariant: the count is the block's, and not 0.
#[derive(Clone, Debug)]
struct Held {
    live: u32,
    block: Arc<Block>,
}

impl Weigh for Held {
    fn weight(&self) -> u64 {
        u64::from(self.live)
    }
}

/// From which end entries are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// How far a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// So many entries stay.
    MaxLen(u64),
    /// Those from this one on stay.
    MinId(StreamId),
}

/// What may stay of what a [`Trim`] would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    Exact,
    /// Whole blocks go, and no more than so many entries.
    Blocks {
        count_max: u64,
    },
}

/// What a stream is made of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Those without entries that are left are passed over.
    pub blocks: Vec<Block>,
    pub first_id: StreamId,
    pub last_id: StreamId,
    pub max_deleted_id: StreamId,
    pub entries_added: u64,
    pub groups: Vec<(Vec<u8>, Group)>,
    pub producers: Option<Producers>,
}

impl Stream {
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the other is the same value still, seen through another handle: what a writer changes, it copies first.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.body, &other.body)
    }

    /// A stream of these parts; `None` if blocks are not in order, or reach beyond the last identifier, or if two groups
    /// have one name.
    pub fn from_parts(parts: Parts) -> Option<Self> {
        let Parts { blocks, first_id, last_id, max_deleted_id, entries_added, groups, producers } =
            parts;
        let producers = producers.map(Arc::new);
        let mut body =
            Body { first_id, last_id, max_deleted_id, entries_added, producers, ..Body::default() };
        let mut before = None;
        for block in blocks.into_iter().filter(|it| 0 < it.live()) {
            let is_beyond = last_id < block.last_live_id();
            if before.is_some_and(|it| block.id() <= it) || is_beyond {
                return None;
            }
            before = Some(block.last_id());
            body.blocks.insert(block.id(), Held::of(block));
        }
        for (name, group) in groups {
            if body.groups.insert(name.into(), Arc::new(group)).is_some() {
                return None;
            }
        }
        Some(Self { body: Arc::new(body) })
    }

    /// Moves blocks from the one number `position` on, some of them. Returns the number to go on from, 0 at the end. What
    /// another handle leads to stays.
    pub fn relocate(&mut self, position: u64, relocation: &mut Relocation<'_>) -> u64 {
        const BLOCKS_AT_ONCE: u64 = 64;
        let Some(body) = Arc::get_mut(&mut self.body) else { return 0 };
        let end = (position + BLOCKS_AT_ONCE).min(body.blocks.len() as u64);
        for number in position..end {
            let relocate = |held: &mut Held| relocate_block(&mut held.block, relocation);
            body.blocks.edit_own(number as usize, relocate);
        }
        if end < body.blocks.len() as u64 { end } else { 0 }
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> u64 {
        self.body.blocks.weight()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first entry's identifier, 0 if there is none.
    pub fn first_id(&self) -> StreamId {
        self.body.first_id
    }

    /// The highest identifier ever.
    pub fn last_id(&self) -> StreamId {
        self.body.last_id
    }

    /// The highest identifier of those that were deleted one by one.
    pub fn max_deleted_id(&self) -> StreamId {
        self.body.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn entries_added(&self) -> u64 {
        self.body.entries_added
    }

    pub fn set_last_id(&mut self, id: StreamId) {
        Arc::make_mut(&mut self.body).last_id = id;
    }

    pub fn set_max_deleted_id(&mut self, id: StreamId) {
        Arc::make_mut(&mut self.body).max_deleted_id = id;
    }

    pub fn set_entries_added(&mut self, count: u64) {
        Arc::make_mut(&mut self.body).entries_added = count;
    }

    /// The last entry that is left.
    pub fn last_entry(&self) -> Option<Entry<'_>> {
        self.range(StreamId::MIN, StreamId::MAX, Direction::Descending).next()
    }

    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let (_, held) = self.body.blocks.last_until(&id)?;
        if held.block.last_id() < id {
            return None;
        }
        let found = held.block.entries().find(|it| id <= it.id);
        found.filter(|it| it.id == id && !it.is_deleted)
    }

    pub fn contains(&self, id: StreamId) -> bool {
        self.get(id).is_some()
    }

    /// Entries from `start` to `end`, both included.
    pub fn range(
        &self,
        start: StreamId,
        end: StreamId,
        direction: Direction,
    ) -> impl Iterator<Item = Entry<'_>> {
        let (mut ascending, mut descending) = (None, None);
        let blocks = &self.body.blocks;
        let is_live = |it: &Entry<'_>| !it.is_deleted;
        match direction {
            Direction::Ascending => {
                let first = blocks.last_until(&start).map_or(start, |it| *it.0);
                let blocks = blocks.iter_from(Bound::Included(&first));
                let entries =
                    blocks.flat_map(move |(_, held)| held.block.entries().filter(is_live));
                let entries = entries.skip_while(move |it| it.id < start);
                ascending = Some(entries.take_while(move |it| it.id <= end));
            }
            Direction::Descending => {
                let blocks = blocks.iter_back_from(Bound::Included(&end));
                let entries =
                    blocks.flat_map(move |(_, held)| held.block.entries().rev().filter(is_live));
                let entries = entries.skip_while(move |it| end < it.id);
                descending = Some(entries.take_while(move |it| start <= it.id));
            }
        }
        ascending.into_iter().flatten().chain(descending.into_iter().flatten())
    }

    /// How many entries there are from `start` to `end`, both included.
    pub fn count_between(&self, start: StreamId, end: StreamId) -> u64 {
        if end < start {
            return 0;
        }
        let until = end.next().map_or(self.len(), |behind| self.count_before(behind));
        until - self.count_before(start)
    }

    fn count_before(&self, id: StreamId) -> u64 {
        let Some((first, held)) = self.body.blocks.last_until(&id) else { return 0 };
        self.body.blocks.weight_before(first) + held.block.live_before(id) as u64
    }

    /// How many entries there are in blocks that lie before `id`, all of them.
    fn count_in_blocks_before(&self, id: StreamId) -> u64 {
        let Some((first, held)) = self.body.blocks.last_until(&id) else { return 0 };
        let is_before = held.block.last_id() < id;
        self.body.blocks.weight_before(first) + if is_before { held.weight() } else { 0 }
    }

    /// Adds an entry, whose identifier is behind the last one. `fields` are names and values by turns.
    pub fn append<'a>(
        &mut self,
        id: StreamId,
        fields: impl Iterator<Item = &'a [u8]> + Clone,
        limits: BlockLimits,
    ) {
        let body = Arc::make_mut(&mut self.body);
        assert!(body.last_id < id);
        let entry_bytes = fields.clone().map(<[u8]>::len).sum::<usize>();
        let appended = body.blocks.edit_last(|held| {
            if id <= held.block.last_id() {
                // A deleted entry was higher than all are now: the last identifier was set back.
                Arc::make_mut(&mut held.block).forget_deleted_tail();
            }
            if held.block.is_full_for(entry_bytes, limits) {
                if Arc::is_unique(&held.block) {
                    Arc::make_mut(&mut held.block).shrink_to_fit();
                }
                return false;
            }
            Arc::make_mut(&mut held.block).push(id, fields.clone());
            held.live += 1;
            true
        });
        if appended != Some(true) {
            body.blocks.insert(id, Held::of(Block::new(id, fields)));
        }
        // It may be any number: dump files and XSETID bring it along.
        body.entries_added = body.entries_added.wrapping_add(1);
        body.last_id = id;
        if body.blocks.weight() == 1 {
            body.first_id = id;
        }
    }

    /// Deletes an entry; false if it is not there.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let is_removed = self.remove_as_trimmed(id);
        if is_removed {
            let body = Arc::make_mut(&mut self.body);
            body.max_deleted_id = body.max_deleted_id.max(id);
        }
        is_removed
    }

    /// As [`Stream::remove`], of an entry that counts as trimmed, not as deleted.
    pub fn remove_as_trimmed(&mut self, id: StreamId) -> bool {
        if !self.contains(id) {
            return false;
        }
        let body = Arc::make_mut(&mut self.body);
        let key = *body.blocks.last_until(&id).expect("its block holds the entry").0;
        let rest = body.blocks.edit(&key, |held| {
            Arc::make_mut(&mut held.block).delete(id);
            held.live -= 1;
            held.live
        });
        if rest == Some(0) {
            body.blocks.remove(&key);
        }
        if body.first_id == id {
            body.find_first_id();
        }
        true
    }

    /// Whether what [`Self::trim`] removes are so many blocks that freeing them takes a while.
    pub fn trims_much(&self, trim: Trim, exactness: Exactness) -> bool {
        const BLOCKS_FREED_AT_ONCE: usize = 16;
        let surplus = self.surplus(trim, exactness);
        let first = self.body.blocks.iter().take(BLOCKS_FREED_AT_ONCE);
        let mut before = 0;
        for (_, held) in first {
            before += held.weight();
            if surplus <= before {
                return false;
            }
        }
        BLOCKS_FREED_AT_ONCE < self.block_count()
    }

    /// How many entries are to go, or would be if blocks were not removed as wholes.
    fn surplus(&self, trim: Trim, exactness: Exactness) -> u64 {
        let len = self.len();
        match (trim, exactness) {
            (Trim::MaxLen(max), Exactness::Exact) => len.saturating_sub(max),
            (Trim::MaxLen(max), Exactness::Blocks { count_max }) => {
                len.saturating_sub(max).min(count_max)
            }
            (Trim::MinId(id), Exactness::Exact) => self.count_before(id),
            (Trim::MinId(id), Exactness::Blocks { count_max }) => {
                self.count_in_blocks_before(id).min(count_max)
            }
        }
    }

    /// Removes entries from the front. Says how many. What that frees is freed here, unless another handle holds it: one
    /// cloned before and dropped elsewhere takes the work away.
    pub fn trim(&mut self, trim: Trim, exactness: Exactness) -> u64 {
        let len = self.len();
        let surplus = self.surplus(trim, exactness);
        if surplus == 0 {
            return 0;
        }
        let boundary = self.body.blocks.at_weight(surplus).map(|(key, _, before)| (*key, before));
        let is_exact = exactness == Exactness::Exact;
        if !is_exact && boundary.is_some_and(|(_, before)| before == 0) {
            // Not even the first block may go.
            return 0;
        }
        let body = Arc::make_mut(&mut self.body);
        match boundary {
            None => body.blocks.clear(),
            Some((key, before)) => {
                body.blocks.remove_before(&key);
                if is_exact && before < surplus {
                    let count = (surplus - before) as u32;
                    body.blocks.edit(&key, |held| {
                        Arc::make_mut(&mut held.block).delete_first(count as usize);
                        held.live -= count;
                    });
                }
            }
        }
        body.find_first_id();
        len - self.len()
    }

    /// The blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.body.blocks.iter().map(|(_, held)| &*held.block)
    }

    pub fn block_count(&self) -> usize {
        self.body.blocks.len()
    }

    pub fn group_count(&self) -> usize {
        self.body.groups.len()
    }

    /// The groups by name.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.body.groups.iter().map(|(name, group)| (&**name, &**group))
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.body.groups.get(name).map(|it| &**it)
    }

    /// Changes a group; `None` if there is none of the name.
    pub fn edit_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group) -> R,
    ) -> Option<R> {
        self.body.groups.get(name)?;
        let body = Arc::make_mut(&mut self.body);
        body.groups.edit(name, |it| change(Arc::make_mut(it)))
    }

    /// Whether a group has not read an entry yet, or has it pending.
    pub fn is_referenced(&self, id: StreamId) -> bool {
        self.groups().any(|(_, group)| group.last_id < id || group.pending(id).is_some())
    }

    /// Removes an entry from whatever is pending in any group. Says how often it was.
    pub fn drop_references(&mut self, id: StreamId) -> usize {
        let is_holder = |it: &(&[u8], &Group)| it.1.pending(id).is_some();
        let holders = self.groups().filter(is_holder);
        let names: Vec<Vec<u8>> = holders.map(|it| it.0.to_vec()).collect();
        for name in &names {
            self.edit_group(name, |group| group.acknowledge(id));
        }
        names.len()
    }

    /// Adds a group; false if there is one of the name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        let is_new = self.group(name).is_none();
        if is_new {
            Arc::make_mut(&mut self.body).groups.insert(name.into(), Arc::new(group));
        }
        is_new
    }

    /// Removes a group; false if there is none of the name.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let is_there = self.group(name).is_some();
        if is_there {
            Arc::make_mut(&mut self.body).groups.remove(name);
        }
        is_there
    }

    pub fn producers(&self) -> Option<&Producers> {
        self.body.producers.as_deref()
    }

    /// Changes what is known of producers.
    pub fn edit_producers<R>(&mut self, change: impl FnOnce(&mut Producers) -> R) -> R {
        let producers = &mut Arc::make_mut(&mut self.body).producers;
        change(Arc::make_mut(producers.get_or_insert_default()))
    }

    /// How many entries, from the first ever, are not behind `id`, if that can be told: not if entries were deleted
    /// from among those that matter.
    pub fn entries_until(&self, id: StreamId) -> Option<u64> {
        let Body { first_id, last_id, max_deleted_id, entries_added, .. } = *self.body;
        if entries_added == 0 || self.is_empty() && id <= last_id {
            return Some(entries_added);
        }
        if !id.is_zero() && id < max_deleted_id || last_id < id {
            return None;
        }
        if id == last_id {
            return Some(entries_added);
        }
        let has_gap = !max_deleted_id.is_zero() && first_id <= max_deleted_id;
        if has_gap || first_id < id {
            return None;
        }
        let before = entries_added.wrapping_sub(self.len());
        Some(if id == first_id { before.wrapping_add(1) } else { before })
    }

    /// Whether an entry from `start` on may have been deleted from among others.
    pub fn may_have_gap_from(&self, start: StreamId) -> bool {
        let max_deleted_id = self.body.max_deleted_id;
        !self.is_empty() && !max_deleted_id.is_zero() && start <= max_deleted_id
    }

    /// Bytes on the heap, estimated.
    pub fn heap_bytes(&self) -> usize {
        let groups = self.body.groups.iter();
        let groups = groups.map(|(name, it)| name.len() + size_of::<Group>() + it.heap_bytes());
        size_of::<Body>()
            + self.body.blocks.heap_bytes()
            + self.block_bytes()
            + self.body.groups.heap_bytes()
            + self.producers().map_or(0, Producers::heap_bytes)
            + groups.take(1000).sum::<usize>()
    }

    /// As [`Stream::heap_bytes`], of what no other handle shares.
    pub fn unshared_bytes(&self) -> usize {
        if !Arc::is_unique(&self.body) || self.body.blocks.is_shared() {
            return 0;
        }
        self.body.blocks.heap_bytes() + self.block_bytes()
    }

    /// How many allocations go when the value goes, estimated.
    pub fn drop_cost(&self) -> usize {
        let groups = self.body.groups.iter().map(|(_, it)| 2 + it.allocations());
        let blocks = self.body.blocks.allocations() + 2 * self.body.blocks.len();
        1 + blocks + groups.take(1000).sum::<usize>()
    }

    /// Bytes of the blocks, estimated from some of them.
    fn block_bytes(&self) -> usize {
        const SAMPLES: usize = 16;
        let blocks = &self.body.blocks;
        let (len, weight) = (blocks.len(), blocks.weight());
        if len <= SAMPLES {
            return blocks.iter().map(|it| it.1.block.heap_bytes()).sum();
        }
        let picked = (0..SAMPLES as u64).filter_map(|it| {
            blocks.at_weight(weight * it / SAMPLES as u64).map(|it| it.1.block.heap_bytes())
        });
        picked.sum::<usize>() / SAMPLES * len
    }
}

impl Body {
    fn find_first_id(&mut self) {
        let first = self.blocks.first().and_then(|(_, held)| held.block.first_live_id());
        self.first_id = first.unwrap_or_default();
    }
}

fn relocate_block(block: &mut Arc<Block>, relocation: &mut Relocation<'_>) {
    let Some(own) = Arc::get_mut(block) else { return };
    own.relocate(relocation);
    if relocation.wants(std::ptr::from_ref(own)) {
        let moved = own.take();
        *block = Arc::new(moved);
    }
}

impl Held {
    fn of(block: Block) -> Self {
        Self { live: block.live() as u32, block: Arc::new(block) }
    }
}
