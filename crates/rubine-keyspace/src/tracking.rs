//! Which keys clients keep copies of, and which clients: beside the keys of a shard, under its lock, and by name alone,
//! since copies are known by names without databases. Never tells anybody: it says who is to be told.
//!
//! Readers are numbers, four bytes each, ascending, in the value of a record under the key's name. So what is remembered
//! of a key is one allocation, in a table like that of the keys themselves.

use std::sync::atomic::{AtomicUsize, Ordering};

use rubine_base::random::Random;
use rubine_structures::record::Record;
use rubine_structures::table::Table;
use rubine_structures::value::{Value, ValueRef};

use crate::key::{Key, table_hash};

/// Bytes of a reader's number.
const READER_BYTES: usize = size_of::<u32>();

/// What a unit of work has to note of the keys that it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tracking {
    /// Nobody keeps copies.
    #[default]
    Off,
    /// Those that have readers.
    Read,
    /// All of them.
    Every,
}

/// A key that had readers until it was changed.
#[derive(Debug)]
pub struct Readers(Record);

impl Readers {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.0.as_ref().key()
    }

    /// The numbers of the readers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        numbers(bytes_of(self.0.as_ref().value()))
    }

    fn len(&self) -> usize {
        bytes_of(self.0.as_ref().value()).len() / READER_BYTES
    }
}

/// Copies that are out of date.
#[derive(Debug)]
pub enum Stale {
    /// Those of one key. `by_time` if it went because it was due, and not by what the client asked for.
    Read { readers: Readers, by_time: bool },
    /// As above, of a key without readers.
    Unread { key: Box<[u8]>, by_time: bool },
    /// Those of all keys.
    All,
}

/// How much is remembered, of all shards.
#[derive(Debug, Default)]
pub struct TrackedCounts {
    keys: AtomicUsize,
    items: AtomicUsize,
}

impl TrackedCounts {
    /// Keys that have readers.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Readers of all these keys.
    pub fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    fn remove(&self, keys: usize, items: usize) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
        self.items.fetch_sub(items, Ordering::Relaxed);
    }
}

/// The keys of one shard that have readers.
#[derive(Debug)]
pub(crate) struct TrackedKeys {
    table: Table,
    /// Readers of all keys of the table.
    item_count: usize,
}

impl TrackedKeys {
    pub(crate) fn new() -> Self {
        Self { table: Table::new(table_hash), item_count: 0 }
    }

    /// Adds a reader of a key, if it is not among them.
    pub(crate) fn add(&mut self, key: Key<'_>, reader: u32, counts: &TrackedCounts) {
        let hash = key.table_hash();
        if let Some(mut record) = self.table.find_mut(hash, key.bytes()) {
            let bytes = bytes_of(record.get().value());
            let Err(at) = place_of(bytes, reader) else { return };
            let (before, after) = bytes.split_at(at);
            let more = [before, &reader.to_le_bytes(), after].concat();
            record.set_value(Value::text(&more));
        } else {
            let value = reader.to_le_bytes();
            self.table.insert(hash, Record::new(key.bytes(), Value::text(&value), None, 0));
            counts.keys.fetch_add(1, Ordering::Relaxed);
        }
        self.item_count += 1;
        counts.items.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the readers of a key out.
    pub(crate) fn take(&mut self, key: Key<'_>, counts: &TrackedCounts) -> Option<Readers> {
        let readers = Readers(self.table.remove(key.table_hash(), key.bytes())?);
        self.item_count -= readers.len();
        counts.remove(1, readers.len());
        Some(readers)
    }
}

impl TrackedKeys {
    /// Takes the readers of a key chosen by chance out.
    pub(crate) fn take_any(
        &mut self,
        random: &mut Random,
        counts: &TrackedCounts,
    ) -> Option<Readers> {
        let key = self.table.random(random)?.key().to_vec();
        self.take(Key::new(&key), counts)
    }

    /// Gives up all; the table is for freeing.
    pub(crate) fn into_table(self, counts: &TrackedCounts) -> Table {
        counts.remove(self.table.len(), self.item_count);
        self.table
    }
}

fn bytes_of(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Bytes { bytes, .. } => bytes,
        ValueRef::Shared(bytes) => bytes,
        _ => unreachable!("readers are stored as text"),
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let number = |it: &[u8]| u32::from_le_bytes(it.try_into().expect("chunks have this length"));
    bytes.chunks_exact(READER_BYTES).map(number)
}

/// Where a reader is among others, in bytes, or else belongs.
fn place_of(bytes: &[u8], reader: u32) -> Result<usize, usize> {
    let at = |index: usize| numbers(&bytes[index * READER_BYTES..]).next();
    let (mut low, mut high) = (0, bytes.len() / READER_BYTES);
    while low < high {
        let middle = usize::midpoint(low, high);
        if at(middle) < Some(reader) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let place = low * READER_BYTES;
    if at(low) == Some(reader) { Ok(place) } else { Err(place) }
}
