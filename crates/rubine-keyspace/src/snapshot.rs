//! An image of all databases at one instant, readable from any thread. Never takes a lock.

use rubine_structures::record::RecordRef;
use rubine_structures::table::TableSnapshot;

use crate::key::{Key, SHARD_COUNT, ScanCursor, table_bits, table_number};
use crate::shard::Shard;
use crate::tables::Tables;

/// All databases as they were at one instant.
///
/// While it lives, writers copy what they change; dropping it frees what was copied for it alone.
#[derive(Debug)]
pub struct Snapshot {
    /// By shard, then by database, then by the table's number.
    shards: Vec<Vec<Box<[Image]>>>,
    /// Slots whose keys are in it though nobody was to see them.
    pub imports: Vec<SlotImport>,
}

/// Slots that are being taken in from another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotImport {
    /// What the migration is called.
    pub name: Vec<u8>,
    /// Firsts and lasts of ranges.
    pub ranges: Vec<(u16, u16)>,
}

/// The image of one table, if that had keys.
type Image = Option<TableSnapshot>;

impl Snapshot {
    pub(crate) fn of<'a>(shards: impl Iterator<Item = &'a mut Shard>) -> Self {
        let shards =
            shards.map(|shard| shard.databases_mut().map(Self::of_tables).collect()).collect();
        Self { shards, imports: Vec::new() }
    }

    /// Adds the tables of an image that lacks what this one has: slots whose keys are kept elsewhere until they are seen.
    pub fn add_hidden(&mut self, hidden: Self, imports: Vec<SlotImport>) {
        self.imports = imports;
        for (shard, others) in self.shards.iter_mut().zip(hidden.shards) {
            if shard.len() < others.len() {
                shard.resize_with(others.len(), Box::default);
            }
            for (images, others) in shard.iter_mut().zip(others) {
                if images.is_empty() {
                    *images = others;
                    continue;
                }
                for (image, other) in images.iter_mut().zip(others) {
                    if other.is_some() {
                        *image = other;
                    }
                }
            }
        }
    }

    fn of_tables(tables: &mut Tables) -> Box<[Image]> {
        tables.each_mut().map(|it| (!it.is_empty()).then(|| it.snapshot())).collect()
    }

    /// The images of all tables of a database.
    fn images(&self, db: usize) -> impl Iterator<Item = &TableSnapshot> {
        self.shards.iter().filter_map(move |databases| databases.get(db)).flatten().flatten()
    }

    /// One of no keys.
    pub(crate) fn empty() -> Self {
        let shards = (0..SHARD_COUNT).map(|_| Vec::new()).collect();
        Self { shards, imports: Vec::new() }
    }

    /// Number of keys in a database, due ones included.
    pub fn len(&self, db: usize) -> usize {
        self.images(db).map(TableSnapshot::len).sum()
    }

    /// Number of keys in a database that have a deadline.
    pub fn volatile_len(&self, db: usize) -> usize {
        self.images(db).map(TableSnapshot::volatile_len).sum()
    }

    pub fn is_empty(&self, db: usize) -> bool {
        self.len(db) == 0
    }

    /// Databases that may have keys.
    pub fn db_count(&self) -> usize {
        self.shards.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Bytes that the databases have replaced and keep for this snapshot and others, about.
    pub fn retained_bytes(&self) -> usize {
        let images = self.shards.iter().flatten().flatten().flatten();
        images.map(TableSnapshot::retained_bytes).sum()
    }

    /// The tables of which it is made, database by database, those without keys left out. Whoever is done with one drops
    /// it, and with it what its shard kept for it, while the others stay as they are.
    pub fn into_tables(self) -> Vec<(usize, TableSnapshot)> {
        let mut tables: Vec<_> = self
            .shards
            .into_iter()
            .flat_map(|databases| databases.into_iter().enumerate())
            .flat_map(|(db, images)| images.into_iter().flatten().map(move |it| (db, it)))
            .collect();
        tables.sort_by_key(|(db, _)| *db);
        tables
    }

    /// The record of `key`.
    pub fn find(&self, db: usize, key: Key<'_>) -> Option<RecordRef<'_>> {
        let images = self.shards[key.shard()].get(db)?;
        let number = table_number(key.table_hash(), table_bits());
        images.get(number)?.as_ref()?.find(key.table_hash(), key.bytes())
    }

    /// Visits some `count` records of `db` from `cursor` on, at most one shard's. `None` after the last.
    pub fn scan<'a>(
        &'a self,
        db: usize,
        cursor: ScanCursor,
        count: usize,
        visit: impl FnMut(RecordRef<'a>),
    ) -> Option<ScanCursor> {
        let images = self.shards[cursor.shard()].get(db);
        let images = images.and_then(|it| it.get(cursor.table_number()..)).unwrap_or_default();
        let mut images = images.iter().enumerate();
        match images.find_map(|(index, image)| Some((index, image.as_ref()?))) {
            Some((index, image)) => {
                let cursor = cursor.passing(index);
                cursor.advanced(image.scan(cursor.table_hash(), count, visit))
            }
            None => cursor.at_next_shard(),
        }
    }
}
