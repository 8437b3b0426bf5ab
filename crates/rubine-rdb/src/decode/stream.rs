//! Streams, of all five generations.
//!
//! ```text
//! | blocks | (identifier as a string of 16 bytes, listpack) .. |
//! | entries | last identifier |
//! | first identifier | highest deleted identifier | entries ever added |                        since 2
//! | groups | (name, last identifier, entries read (since 2), pending, consumers) .. |
//! | seconds | entries at most | producers | (name, messages | (name, identifier) ..) .. |
//!     | messages ever | repeated ones |                                                          since 4
//!
//! pending:   | entries | (identifier (16), delivered at (8), deliveries) .. |
//! consumers: | consumers | (name, seen at (8), active at (8, since 3), entries | identifier (16) ..) .. |
//!            | entries that were given back | identifier (16) .. |                               since 5
//! ```
//!
//! Identifiers are two lengths where their bytes are not told.
//!
//! A block's listpack has the number of entries that are left, of those deleted, of names, the names, and a zero. Then
//! entries: flags, how much milliseconds and number are above those of the block, the values, and how many items that
//! are. If its names are not those of the block, their number is before the values, and each before its value.

use std::borrow::Cow;

use rubine_structures::stream::{Block, Group, Parts, Producers, Retention, Stream, StreamId};

use super::list::within;
use crate::cursor::Cursor;
use crate::error::{Damage, Fault};
use crate::listpack::{Item, Items};

/// Flags of an entry.
pub(crate) const DELETED: i64 = 1 << 0;
pub(crate) const SAME_NAMES: i64 = 1 << 1;
/// Items of an entry beside names, values and their number: flags, and two differences.
pub(crate) const ENTRY_ITEMS: usize = 3;
/// Where it is not known how many entries a group has read, or when a consumer was active.
pub(crate) const UNKNOWN_COUNT: u64 = u64::MAX;
pub(crate) const UNKNOWN_TIME: i64 = -1;

/// A hundred years: more than any server is told to know producers for, and little enough to be counted with.
const RETENTION_SECONDS_MAX: u64 = 100 * 366 * 24 * 60 * 60;

pub(super) fn stream(generation: u8, cursor: &mut Cursor<'_>) -> Result<Stream, Damage> {
    let start = cursor.offset();
    let block_count = cursor.length()?;
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..block_count {
        let place = cursor.offset();
        let id = cursor.string()?;
        let Ok(id) = <[u8; 16]>::try_from(&*id) else {
            return Err(Fault::Stream("a block's identifier").at(place));
        };
        let listpack = cursor.string()?;
        let block = block(id_of(id), &listpack).map_err(of_stream).map_err(within(place))?;
        // Blocks are in order, so that nothing has to be sorted.
        if blocks.last().is_some_and(|last| block.id() <= last.last_id()) {
            return Err(Fault::Stream("blocks are not in order").at(place));
        }
        blocks.push(block);
    }
    let len = cursor.length()?;
    let last_id = id(cursor)?;
    let live: u64 = blocks.iter().map(|block| block.live() as u64).sum();
    if live != len {
        return Err(Fault::Stream("its length is not that of its blocks").at(start));
    }
    let mut parts = Parts { last_id, entries_added: len, ..Parts::default() };
    if 2 <= generation {
        // What the first entry is, the blocks say.
        id(cursor)?;
        parts.max_deleted_id = id(cursor)?;
        parts.entries_added = cursor.length()?;
    }
    let mut entries = blocks.iter().flat_map(Block::entries);
    let first = entries.find(|entry| !entry.is_deleted);
    parts.first_id = first.map(|entry| entry.id).unwrap_or_default();
    parts.blocks = blocks;
    let stream = Stream::from_parts(parts);
    let mut stream =
        stream.ok_or_else(|| Fault::Stream("an entry is behind the last identifier").at(start))?;
    for _ in 0..cursor.length()? {
        add_group(&mut stream, generation, cursor)?;
    }
    if 4 <= generation {
        add_producers(&mut stream, cursor)?;
    }
    Ok(stream)
}

/// Two lengths.
fn id(cursor: &mut Cursor<'_>) -> Result<StreamId, Damage> {
    Ok(StreamId::new(cursor.length()?, cursor.length()?))
}

fn id_of(bytes: [u8; 16]) -> StreamId {
    let (ms, seq) = bytes.split_at(8);
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("half of 16 bytes"));
    StreamId::new(number(ms), number(seq))
}

fn block(id: StreamId, listpack: &[u8]) -> Result<Block, Damage> {
    let mut reader = BlockReader { items: Items::new(listpack)?, names: Vec::new() };
    let live = reader.count()?;
    let deleted = reader.count()?;
    for _ in 0..reader.count()? {
        let name = reader.text()?;
        reader.names.push(name);
    }
    if reader.integer()? != 0 {
        return Err(damage("names without an end"));
    }
    let mut block = Block::with_names(id, reader.names.iter().map(|name| &**name));
    for _ in 0..live.saturating_add(deleted) {
        reader.entry(&mut block)?;
    }
    if reader.items.next()?.is_some() {
        return Err(damage("more entries than a block says"));
    }
    if (block.live() as u64, block.deleted() as u64) != (live, deleted) {
        return Err(damage("a block's number of deleted entries"));
    }
    if block.live() + block.deleted() == 0 {
        return Err(damage("a block without entries"));
    }
    Ok(block)
}

fn damage(what: &'static str) -> Damage {
    Fault::StreamListpack(what).at(0)
}

/// What is wrong with a block's listpack is wrong with a stream.
fn of_stream(damage: Damage) -> Damage {
    match damage.fault {
        Fault::Listpack(what) => Damage { fault: Fault::StreamListpack(what), ..damage },
        _ => damage,
    }
}

/// Reads the listpack of a block.
struct BlockReader<'a> {
    items: Items<'a>,
    names: Vec<Cow<'a, [u8]>>,
}

impl<'a> BlockReader<'a> {
    fn item(&mut self) -> Result<Item<'a>, Damage> {
        self.items.next()?.ok_or_else(|| damage("a block ends too early"))
    }

    fn integer(&mut self) -> Result<i64, Damage> {
        match self.item()? {
            Item::Integer(integer) => Ok(integer),
            Item::Text(_) => Err(damage("text where a number should be")),
        }
    }

    fn count(&mut self) -> Result<u64, Damage> {
        u64::try_from(self.integer()?).map_err(|_| damage("a negative number of something"))
    }

    fn text(&mut self) -> Result<Cow<'a, [u8]>, Damage> {
        Ok(match self.item()? {
            Item::Text(text) => Cow::Borrowed(text),
            integer @ Item::Integer(_) => Cow::Owned(integer.text_in(&mut Vec::new()).to_vec()),
        })
    }

    fn entry(&mut self, block: &mut Block) -> Result<(), Damage> {
        let flags = self.integer()?;
        let (ms, seq) = (self.integer()?, self.integer()?);
        // The number may be below that of the block, where the milliseconds are above.
        let ms = block.id().ms.checked_add_signed(ms);
        let seq = block.id().seq.wrapping_add_signed(seq);
        let id = ms.map(|ms| StreamId::new(ms, seq));
        let is_first = block.live() + block.deleted() == 0;
        let is_in_order = |id: &StreamId| block.last_id() < *id || is_first && block.id() == *id;
        let Some(id) = id.filter(is_in_order) else {
            return Err(damage("entries are not in order"));
        };
        let mut items = ENTRY_ITEMS;
        let mut fields = Vec::new();
        if flags & SAME_NAMES == 0 {
            let count = self.count()?;
            for _ in 0..count.saturating_mul(2) {
                fields.push(self.text()?);
            }
            items += 1 + fields.len();
        } else {
            for index in 0..self.names.len() {
                let value = self.text()?;
                fields.push(self.names[index].clone());
                fields.push(value);
            }
            items += self.names.len();
        }
        if self.integer()? != items as i64 {
            return Err(damage("an entry's number of items"));
        }
        let fields = fields.iter().map(|field| &**field);
        if flags & DELETED == 0 {
            block.push(id, fields);
        } else {
            block.push_deleted(id, fields);
        }
        Ok(())
    }
}

fn add_group(stream: &mut Stream, generation: u8, cursor: &mut Cursor<'_>) -> Result<(), Damage> {
    let start = cursor.offset();
    let name = cursor.string()?;
    let last_id = id(cursor)?;
    let entries_read = if 2 <= generation {
        Some(cursor.length()?).filter(|&count| count != UNKNOWN_COUNT)
    } else {
        stream.entries_until(last_id)
    };
    let mut group = Group::new(last_id, entries_read);
    for _ in 0..cursor.length()? {
        let place = cursor.offset();
        let entry = id_of(cursor.array()?);
        let (delivered_at, delivery_count) = (cursor.i64()?, cursor.length()?);
        if group.pending(entry).is_some() {
            return Err(Fault::Duplicate("pending entry of a group").at(place));
        }
        group.assign(entry, None, delivered_at, delivery_count);
    }
    for _ in 0..cursor.length()? {
        add_consumer(&mut group, generation, cursor)?;
    }
    let given_back = if 5 <= generation { cursor.length()? } else { 0 };
    for _ in 0..given_back {
        let place = cursor.offset();
        let entry = id_of(cursor.array()?);
        if group.pending(entry).is_none_or(|pending| pending.owner().is_some()) {
            return Err(Fault::Stream("an entry that was given back is not pending").at(place));
        }
    }
    let owned: usize = group.consumers().map(|(_, consumer)| consumer.pending_count()).sum();
    if (owned as u64).checked_add(given_back) != Some(group.pending_count() as u64) {
        return Err(Fault::Stream("a pending entry without a consumer").at(start));
    }
    if stream.add_group(&name, group) {
        Ok(())
    } else {
        Err(Fault::Duplicate("group of a stream").at(start))
    }
}

fn add_consumer(group: &mut Group, generation: u8, cursor: &mut Cursor<'_>) -> Result<(), Damage> {
    let start = cursor.offset();
    let name = cursor.string()?;
    let seen_at = cursor.i64()?;
    // Before they were told apart, one was the best guess at the other.
    let active_at = if 3 <= generation { cursor.i64()? } else { seen_at };
    if group.find_consumer(&name).is_some() {
        return Err(Fault::Duplicate("stream consumer").at(start));
    }
    let consumer = group.add_consumer(&name, seen_at);
    if active_at != UNKNOWN_TIME {
        group.note_active(consumer, active_at);
    }
    for _ in 0..cursor.length()? {
        let place = cursor.offset();
        let entry = id_of(cursor.array()?);
        let pending = group.pending(entry).copied();
        if pending.is_some_and(|pending| pending.owner() == Some(consumer)) {
            return Err(Fault::Stream("Duplicated consumer PEL entry").at(place));
        }
        let Some(pending) = pending.filter(|pending| pending.owner().is_none()) else {
            return Err(Fault::Stream("a consumer's entry that its group does not have").at(place));
        };
        group.assign(entry, Some(consumer), pending.delivered_at, pending.delivery_count);
    }
    Ok(())
}

/// What producers sent last, by which messages that are sent again are told. Nothing is too long ago yet: nobody knows
/// here what time it is.
fn add_producers(stream: &mut Stream, cursor: &mut Cursor<'_>) -> Result<(), Damage> {
    const LONG_AGO: u64 = 0;
    let start = cursor.offset();
    let retention = Retention { duration: cursor.length()?, count_max: cursor.length()? };
    if RETENTION_SECONDS_MAX < retention.duration {
        return Err(Fault::Stream("producers that are known for too long").at(start));
    }
    let mut producers = Producers::default();
    producers.set_retention(retention);
    for _ in 0..cursor.length()? {
        let place = cursor.offset();
        let name = cursor.string()?;
        for _ in 0..cursor.length()? {
            let token = cursor.string()?;
            let id = id(cursor)?;
            if producers.find(&name, &token, LONG_AGO).is_some() {
                return Err(Fault::Duplicate("message of a stream's producer").at(place));
            }
            producers.record(&name, &token, id, LONG_AGO);
        }
    }
    producers.added = cursor.length()?;
    producers.duplicates = cursor.length()?;
    let is_used = producers.added != 0 || producers.duplicates != 0;
    if is_used || producers.record_count() != 0 || retention != Retention::default() {
        stream.edit_producers(|it| *it = producers);
    }
    Ok(())
}
