//! Entries that follow one another, in one allocation. Those with the field names of the block's first entry do not
//! repeat them. Never knows the entries of other blocks.
//!
//! ```text
//!  names of the first entry        entry 0                     entry 1, ..
//!  +---------+-------+---------+  +-------+----+-----+------+--------+  +--
//!  | length  | name  | length  |  | flags | ms | seq | body | length |  | flags
//!  | (1..)   |       | ...     |  |  (1)  |    |     |      | before |  |
//!  +---------+-------+---------+  +-------+----+-----+------+--------+  +--
//! ```
//!
//! Numbers are in groups of seven bits, the lowest first; the length before, by which entries are read backwards, has
//! its groups in reverse. `ms` counts from the block's identifier. `seq` does, too, if `ms` is 0, and from 0 otherwise.
//! The body is the values, each after its length; names that differ stand before their values, and the number of
//! fields before all.

use super::id::StreamId;
use crate::list::limit::{LISTPACK_EMPTY_BYTES, listpack_item_bytes};
use crate::relocation::Relocation;

/// The entry was deleted.
const DELETED: u8 = 1 << 0;
/// Its names are those of the block's first entry.
const SAME_NAMES: u8 = 1 << 1;

/// How much one block holds: `stream-node-max-bytes` and `stream-node-max-entries`, of which 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    pub block_bytes: usize,
    pub block_entries: usize,
}

/// Changing a block that somebody else holds copies it, so none gets larger, whatever the limits allow, unless by one
/// large entry.
const BLOCK_BYTES_MAX: usize = 1 << 20;

#[derive(Clone)]
pub struct Block {
    /// That of the first entry, deleted or not.
    id: StreamId,
    /// That of the last entry, deleted or not.
    last_id: StreamId,
    /// Entries that are not deleted.
    live: u32,
    deleted: u32,
    /// How many fields the first entry has.
    name_count: u32,
    /// Where the entries begin.
    entries_start: u32,
    /// Where the first entry that is not deleted may be: all before it are. What is trimmed over and over is found at once.
    live_start: u32,
    /// What names and entries would take in a listpack, which is what the limit of bytes is about.
    listpack_bytes: u32,
    bytes: Vec<u8>,
}

impl Block {
    /// A block of one entry. `fields` are names and values by turns.
    pub fn new<'a>(id: StreamId, fields: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let mut block = Self::with_names(id, fields.clone().step_by(2));
        block.push(id, fields);
        block
    }

    /// A block without entries, which does not go into a stream before it has one.
    pub fn with_names<'a>(id: StreamId, names: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut bytes, mut name_count, mut listpack_bytes) = (Vec::new(), 0, 0);
        for name in names {
            write_item(&mut bytes, name);
            name_count += 1;
            listpack_bytes += listpack_item_bytes(name) as u32;
        }
        let entries_start = bytes.len() as u32;
        let (live, deleted, last_id, live_start) = (0, 0, id, entries_start);
        Self {
            id,
            last_id,
            live,
            deleted,
            name_count,
            entries_start,
            live_start,
            listpack_bytes,
            bytes,
        }
    }

    /// The identifier that those of the entries count from.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The identifier of the last entry, deleted or not.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The identifier of the last entry that is not deleted; the block's own if there is none.
    pub(super) fn last_live_id(&self) -> StreamId {
        self.entries().rev().find(|it| !it.is_deleted).map_or(self.id, |it| it.id)
    }

    /// Entries that are not deleted.
    pub fn live(&self) -> usize {
        self.live as usize
    }

    pub fn deleted(&self) -> usize {
        self.deleted as usize
    }

    /// The field names that entries share.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        Items { bytes: &self.bytes, count: self.name_count as usize }
    }

    /// All entries, deleted or not, from both ends.
    pub fn entries(&self) -> Entries<'_> {
        Entries { block: self, start: self.entries_start as usize, end: self.bytes.len() }
    }

    /// The entries from the first that is not deleted on.
    fn entries_from_live(&self) -> Entries<'_> {
        Entries { start: self.live_start as usize, ..self.entries() }
    }

    /// The identifier of the first entry that is not deleted.
    pub(super) fn first_live_id(&self) -> Option<StreamId> {
        self.entries_from_live().find(|it| !it.is_deleted).map(|it| it.id)
    }

    /// Whether there is no room for an entry of these many bytes.
    pub(super) fn is_full_for(&self, entry_bytes: usize, limits: BlockLimits) -> bool {
        let bytes = if limits.block_bytes == 0 { usize::MAX } else { limits.block_bytes };
        let is_long = bytes.min(BLOCK_BYTES_MAX) <= self.total_listpack_bytes() + entry_bytes;
        let count = self.live() + self.deleted();
        is_long || limits.block_entries != 0 && limits.block_entries <= count
    }

    /// What the block would take as a listpack.
    fn total_listpack_bytes(&self) -> usize {
        let header = [u64::from(self.live), u64::from(self.deleted), u64::from(self.name_count), 0];
        LISTPACK_EMPTY_BYTES
            + header.into_iter().map(listpack_number_bytes).sum::<usize>()
            + self.listpack_bytes as usize
    }

    /// Appends an entry, whose identifier is behind all others. `fields` are names and values by turns.
    pub fn push<'a>(&mut self, id: StreamId, fields: impl Iterator<Item = &'a [u8]> + Clone) {
        assert!(self.live + self.deleted == 0 && self.id <= id || self.last_id < id);
        let count = fields.clone().count() / 2;
        let has_same_names =
            count == self.name_count as usize && self.names().eq(fields.clone().step_by(2));
        let start = self.bytes.len();
        let ms = id.ms - self.id.ms;
        let seq = if ms == 0 { id.seq - self.id.seq } else { id.seq };
        self.bytes.push(if has_same_names { SAME_NAMES } else { 0 });
        write_number(&mut self.bytes, ms);
        write_number(&mut self.bytes, seq);
        let items = if has_same_names { 1 } else { 2 };
        let mut listpack_bytes = 0;
        if !has_same_names {
            write_number(&mut self.bytes, count as u64);
            listpack_bytes += listpack_number_bytes(count as u64);
        }
        for item in fields.skip(2 - items).step_by(3 - items) {
            write_item(&mut self.bytes, item);
            listpack_bytes += listpack_item_bytes(item);
        }
        write_number_backwards(&mut self.bytes, start);
        // Flags, two differences, and how many items precede.
        let seq = id.seq.wrapping_sub(self.id.seq);
        let back = 3 + items * count + usize::from(!has_same_names);
        listpack_bytes += 2
            + listpack_number_bytes(ms)
            + listpack_number_bytes(seq)
            + listpack_number_bytes(back as u64);
        self.listpack_bytes = self.listpack_bytes.saturating_add(listpack_bytes as u32);
        self.last_id = id;
        self.live += 1;
    }

    /// As [`Block::push`], of an entry that is deleted already.
    pub fn push_deleted<'a>(
        &mut self,
        id: StreamId,
        fields: impl Iterator<Item = &'a [u8]> + Clone,
    ) {
        let offset = self.bytes.len();
        self.push(id, fields);
        self.mark(offset);
    }

    /// Moves the bytes of the entries if they are to move.
    pub(super) fn relocate(&mut self, relocation: &mut Relocation<'_>) {
        if relocation.wants(self.bytes.as_ptr()) {
            let mut moved = Vec::with_capacity(self.bytes.capacity());
            moved.append(&mut self.bytes);
            self.bytes = moved;
        }
    }

    /// The block, in whose place nothing of use is left.
    pub(super) fn take(&mut self) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        Self { bytes, ..*self }
    }

    /// Gives back room for further entries.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Marks an entry as deleted; false if it is not there or is already.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let found = self.entries().find(|it| it.id == id).filter(|it| !it.is_deleted);
        let Some(offset) = found.map(|it| it.offset) else { return false };
        self.mark(offset);
        true
    }

    /// Marks the first `count` of the entries that are left as deleted.
    pub(super) fn delete_first(&mut self, count: usize) {
        for _ in 0..count {
            let mut entries = self.entries_from_live();
            let Some(entry) = entries.find(|it| !it.is_deleted) else { return };
            let (offset, behind) = (entry.offset, entries.start);
            self.mark(offset);
            self.live_start = behind as u32;
        }
    }

    /// How many of the entries that are left are before `id`.
    pub(super) fn live_before(&self, id: StreamId) -> usize {
        if self.last_id < id {
            return self.live();
        }
        let before = self.entries_from_live().take_while(|it| it.id < id);
        before.filter(|it| !it.is_deleted).count()
    }

    /// Forgets the deleted entries behind the last that is not. What is counted for the limit of bytes stays counted.
    pub(super) fn forget_deleted_tail(&mut self) {
        let mut entries = self.entries();
        let mut end = self.bytes.len();
        let mut count = 0;
        while let Some(entry) = entries.next_back().filter(|it| it.is_deleted) {
            (end, count) = (entry.offset, count + 1);
        }
        self.last_id = self.last_live_id();
        self.bytes.truncate(end);
        self.live_start = self.live_start.min(end as u32);
        self.deleted -= count;
    }

    /// Bytes on the heap, the block's own structure included.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<usize>() + size_of::<Self>() + self.bytes.capacity()
    }

    fn mark(&mut self, offset: usize) {
        self.bytes[offset] |= DELETED;
        self.live -= 1;
        self.deleted += 1;
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

/// One entry, as it lies in its block.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub id: StreamId,
    pub is_deleted: bool,
    /// Whether the names of its fields are those of its block.
    pub has_block_names: bool,
    field_count: usize,
    /// The names, if they are those of the block.
    names: &'a [u8],
    body: &'a [u8],
    /// Where it begins in the block.
    offset: usize,
}

impl<'a> Entry<'a> {
    /// How many fields it has.
    pub fn field_count(&self) -> usize {
        self.field_count
    }

    /// Names and values.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let shared = if self.has_block_names { self.field_count } else { 0 };
        Fields {
            names: Items { bytes: self.names, count: shared },
            items: Items { bytes: self.body, count: 2 * self.field_count - shared },
            has_block_names: self.has_block_names,
        }
    }

    /// The bytes of its values, and what goes with them.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |it: &[u8]| it.escape_ascii().to_string();
        let fields: Vec<_> = self.fields().map(|it| (text(it.0), text(it.1))).collect();
        write!(f, "{}{} {fields:?}", self.id, if self.is_deleted { " deleted" } else { "" })
    }
}

struct Fields<'a> {
    names: Items<'a>,
    items: Items<'a>,
    has_block_names: bool,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let name = if self.has_block_names { self.names.next() } else { self.items.next() };
        name.zip(self.items.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let per_field = if self.has_block_names { 1 } else { 2 };
        let len = self.items.count / per_field;
        (len, Some(len))
    }
}

impl ExactSizeIterator for Fields<'_> {}

/// Items, each after its length.
#[derive(Clone)]
struct Items<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        let (len, rest) = read_number(self.bytes);
        let (item, rest) = rest.split_at(len as usize);
        self.bytes = rest;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Items<'_> {}

/// The entries of a block from both ends.
#[derive(Clone)]
pub struct Entries<'a> {
    block: &'a Block,
    /// Where the first and behind the last of those that are left is in the block.
    start: usize,
    end: usize,
}

impl<'a> Entries<'a> {
    /// The entry at `offset`, and where its body begins. The body's end is not known yet.
    #[inline]
    fn parse(&self, offset: usize) -> (Entry<'a>, usize) {
        let block = self.block;
        let flags = block.bytes[offset];
        let (ms, rest) = read_number(&block.bytes[offset + 1..]);
        let (seq, mut rest) = read_number(rest);
        let seq = if ms == 0 { block.id.seq + seq } else { seq };
        let has_block_names = flags & SAME_NAMES != 0;
        let mut field_count = block.name_count as usize;
        if !has_block_names {
            let (count, behind) = read_number(rest);
            (field_count, rest) = (count as usize, behind);
        }
        let entry = Entry {
            id: StreamId { ms: block.id.ms + ms, seq },
            is_deleted: flags & DELETED != 0,
            has_block_names,
            field_count,
            names: &block.bytes,
            body: rest,
            offset,
        };
        (entry, block.bytes.len() - rest.len())
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.start == self.end {
            return None;
        }
        let (mut entry, body_start) = self.parse(self.start);
        let mut rest = entry.body;
        let items = if entry.has_block_names { 1 } else { 2 };
        for _ in 0..items * entry.field_count {
            let (len, behind) = read_number(rest);
            rest = &behind[len as usize..];
        }
        let body_end = self.block.bytes.len() - rest.len();
        entry.body = &self.block.bytes[body_start..body_end];
        self.start = body_end + backwards_bytes(body_end - self.start);
        Some(entry)
    }
}

impl DoubleEndedIterator for Entries<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.start == self.end {
            return None;
        }
        let (len, body_end) = read_number_backwards(&self.block.bytes[..self.end]);
        let offset = body_end - len;
        let (mut entry, body_start) = self.parse(offset);
        entry.body = &self.block.bytes[body_start..body_end];
        self.end = offset;
        Some(entry)
    }
}

const GROUP_BITS: u32 = 7;
const GROUP_MASK: u8 = (1 << GROUP_BITS) - 1;
const MORE: u8 = 1 << GROUP_BITS;

fn write_item(bytes: &mut Vec<u8>, item: &[u8]) {
    write_number(bytes, item.len() as u64);
    bytes.extend_from_slice(item);
}

#[inline]
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while u64::from(GROUP_MASK) < number {
        bytes.push(number as u8 & GROUP_MASK | MORE);
        number >>= GROUP_BITS;
    }
    bytes.push(number as u8);
}

#[inline]
fn read_number(bytes: &[u8]) -> (u64, &[u8]) {
    let first = bytes[0];
    if first & MORE == 0 {
        return (u64::from(first), &bytes[1..]);
    }
    let (mut number, mut shift) = (0, 0);
    let mut at = 0;
    loop {
        let group = bytes[at];
        number |= u64::from(group & GROUP_MASK) << shift;
        (at, shift) = (at + 1, shift + GROUP_BITS);
        if group & MORE == 0 {
            return (number, &bytes[at..]);
        }
    }
}

/// How many bytes the length before takes behind an entry of `len` bytes.
#[inline]
fn backwards_bytes(len: usize) -> usize {
    let bits = usize::BITS - (len | 1).leading_zeros();
    bits.div_ceil(GROUP_BITS) as usize
}

/// Writes how many bytes there are since `start`, to be read from behind.
#[inline]
fn write_number_backwards(bytes: &mut Vec<u8>, start: usize) {
    let len = bytes.len() - start;
    for group in (0..backwards_bytes(len)).rev() {
        let is_first = group == backwards_bytes(len) - 1;
        let bits = (len >> (group as u32 * GROUP_BITS)) as u8 & GROUP_MASK;
        bytes.push(if is_first { bits } else { bits | MORE });
    }
}

/// A number that ends where `bytes` end, and where it begins.
#[inline]
fn read_number_backwards(bytes: &[u8]) -> (usize, usize) {
    let (mut number, mut shift, mut at) = (0, 0, bytes.len());
    loop {
        at -= 1;
        number |= usize::from(bytes[at] & GROUP_MASK) << shift;
        shift += GROUP_BITS;
        if bytes[at] & MORE == 0 {
            return (number, at);
        }
    }
}

/// What a number takes in a listpack: its encoding, then the length of that for reading backwards.
fn listpack_number_bytes(number: u64) -> usize {
    let encoded = match number as i64 {
        0..=127 => 1,
        -4096..=4095 => 2,
        -32_768..=32_767 => 3,
        -8_388_608..=8_388_607 => 4,
        -2_147_483_648..=2_147_483_647 => 5,
        _ => 9,
    };
    encoded + 1
}
