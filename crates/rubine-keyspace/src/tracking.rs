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

use crate::key::{Key, SHARD_COUNT, table_hash};
use crate::keyspace::{Keyspace, Locked};
use crate::shard::Shard;
use crate::shard_set::ShardSet;

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
    fn new() -> Self {
        Self { table: Table::new(table_hash), item_count: 0 }
    }

    fn add(&mut self, key: Key<'_>, reader: u32, counts: &TrackedCounts) {
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

    fn take(&mut self, key: Key<'_>, counts: &TrackedCounts) -> Option<Readers> {
        let readers = Readers(self.table.remove(key.table_hash(), key.bytes())?);
        self.item_count -= readers.len();
        counts.remove(1, readers.len());
        Some(readers)
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

impl Shard {
    /// Takes the readers of a key that is changed. They have to read it again to be told of the next change.
    #[inline]
    pub(crate) fn take_readers(&mut self, key: Key<'_>, counts: &TrackedCounts) -> Option<Readers> {
        self.tracked.as_mut()?.take(key, counts)
    }

    fn forget_readers(&mut self, counts: &TrackedCounts) -> Option<Table> {
        let tracked = self.tracked.take()?;
        counts.remove(tracked.table.len(), tracked.item_count);
        Some(tracked.table)
    }
}

impl Locked<'_> {
    /// Remembers that a client reads a key, by the client's number as a reader.
    pub fn add_reader(&mut self, key: Key<'_>, reader: u32) {
        let counts = &self.keyspace.tracked;
        let tracked = &mut self.shard_mut(key).tracked;
        tracked.get_or_insert_with(|| Box::new(TrackedKeys::new())).add(key, reader, counts);
    }

    /// Takes the readers of a key that was changed.
    pub fn take_readers(&mut self, key: Key<'_>) -> Option<Readers> {
        let counts = &self.keyspace.tracked;
        self.shard_mut(key).take_readers(key, counts)
    }

    /// Forgets the readers of all keys of the locked shards.
    pub fn forget_readers(&mut self) {
        let keyspace = self.keyspace;
        let tables = self.shards_mut().filter_map(|it| it.forget_readers(&keyspace.tracked));
        let tables: Vec<Table> = tables.collect();
        keyspace.discard_tables(tables);
    }

    /// The change that readers were taken for is taken back: they are readers still.
    pub(crate) fn put_back(&mut self, readers: &Readers) {
        let key = Key::new(readers.key());
        readers.numbers().for_each(|it| self.add_reader(key, it));
    }
}

impl Keyspace {
    /// How many keys have readers, and how many.
    pub fn tracked(&self) -> &TrackedCounts {
        &self.tracked
    }

    /// Forgets the readers of some keys, chosen by chance, and hands them out while the key's shard is locked. Passes busy
    /// shards by. Returns whether there are more than `keys_max` such keys after `steps`.
    pub fn trim_tracked(
        &self,
        keys_max: usize,
        steps: usize,
        random: &mut Random,
        mut forgotten: impl FnMut(&Readers),
    ) -> bool {
        let first = random.below(SHARD_COUNT as u64) as usize;
        let mut steps = steps;
        // A round without any: those that are left are in busy shards.
        let mut empty_count = 0;
        for index in (0..SHARD_COUNT).cycle().skip(first) {
            if steps == 0 || self.tracked.keys() <= keys_max || empty_count == SHARD_COUNT {
                break;
            }
            empty_count += 1;
            let Ok(mut locked) = self.try_lock(&ShardSet::of_shard(index)) else { continue };
            for shard in locked.shards_mut() {
                let Some(tracked) = &mut shard.tracked else { continue };
                let Some(record) = tracked.table.random(random) else { continue };
                let key = record.key().to_vec();
                if let Some(readers) = tracked.take(Key::new(&key), &self.tracked) {
                    forgotten(&readers);
                    (steps, empty_count) = (steps - 1, 0);
                }
            }
        }
        keys_max < self.tracked.keys()
    }

    /// Forgets all readers, shard by shard, as long as there is `nobody` to be told, which is asked under each lock. Passes
    /// busy shards by.
    pub fn forget_tracked(&self, nobody: impl Fn() -> bool) {
        for index in 0..SHARD_COUNT {
            if let Ok(mut locked) = self.try_lock(&ShardSet::of_shard(index))
                && nobody()
            {
                locked.forget_readers();
            }
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rubine_base::random::Random;

    use super::{Stale, Tracking};
    use crate::{
        Access, AccessPolicy, Changes, DueKeys, Key, Keyspace, ShardSet, View, ViewOptions,
    };
    use rubine_structures::value::Value;

    type Model = BTreeMap<String, BTreeSet<u32>>;

    fn check_counts(keyspace: &Keyspace, model: &Model) {
        let items: usize = model.values().map(BTreeSet::len).sum();
        assert_eq!((keyspace.tracked().keys(), keyspace.tracked().items()), (model.len(), items));
    }

    /// Readers come and go as in a map of sets.
    #[test]
    fn readers_are_as_in_a_model() {
        let keyspace = Keyspace::new().0;
        let mut random = Random::with_seed(5);
        let mut model = Model::new();
        for round in 0..20_000 {
            let name = format!("key:{}", random.below(300));
            let key = Key::new(name.as_bytes());
            let mut locked = keyspace.lock(&ShardSet::of(key));
            if random.below(10) < 8 {
                // Some keys have so many that they do not lie in the record.
                let reader = random.below(if name.ends_with('7') { 600 } else { 8 }) as u32;
                locked.add_reader(key, reader);
                model.entry(name).or_default().insert(reader);
            } else {
                let found = locked.take_readers(key);
                let found: Option<BTreeSet<u32>> = found.map(|it| it.numbers().collect());
                assert_eq!(found, model.remove(&name));
            }
            drop(locked);
            if round % 1000 == 0 {
                check_counts(&keyspace, &model);
            }
        }
        while keyspace.trim_tracked(100, 7, &mut random, |readers| {
            let name = String::from_utf8(readers.key().to_vec()).expect("names are text");
            let found: BTreeSet<u32> = readers.numbers().collect();
            assert_eq!(Some(found), model.remove(&name));
        }) {
            check_counts(&keyspace, &model);
        }
        assert_eq!(model.len(), 100);
        check_counts(&keyspace, &model);
        keyspace.forget_tracked(|| true);
        check_counts(&keyspace, &Model::new());
    }

    /// What is taken back has made no copy stale, and its readers are told of the next change.
    #[test]
    fn changes_that_are_taken_back_keep_their_readers() {
        let keyspace = Keyspace::new().0;
        let (mut changes, mut random) = (Changes::default(), Random::with_seed(1));
        changes.tracking = Tracking::Read;
        let mut locked = keyspace.lock(&ShardSet::All);
        let key = Key::new(b"k");
        let mut write = |locked: &mut crate::Locked<'_>, changes: &mut Changes| {
            let access = Access::new(AccessPolicy::Lru, 1);
            let options = ViewOptions { notes_access: false, due_keys: DueKeys::Removed };
            let mut view = View::new(locked, 0, 1, access, options, &mut random, changes);
            view.store(key, Value::string(b"v"), None);
            view.note_change(key);
        };
        locked.add_reader(key, 3);
        changes.begin_undo();
        let mark = changes.mark();
        write(&mut locked, &mut changes);
        assert_eq!(changes.stale.len(), 1);
        locked.undo_to(&mut changes, &mark);
        assert!(changes.stale.is_empty());
        write(&mut locked, &mut changes);
        let found: Vec<_> = changes.stale.drain(..).collect();
        let [Stale::Read { readers, by_time: false }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(readers.numbers().collect::<Vec<_>>(), [3]);
    }
}
