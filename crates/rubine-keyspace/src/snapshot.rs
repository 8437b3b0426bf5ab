//! An image of all databases at one instant, readable from any thread. Never takes a lock.

use rubine_structures::record::RecordRef;
use rubine_structures::table::TableSnapshot;

use crate::key::{Key, SHARD_COUNT, ScanCursor};
use crate::shard::Shard;

/// All databases as they were at one instant.
///
/// While it lives, writers copy what they change; dropping it frees what was copied for it alone.
#[derive(Debug)]
pub struct Snapshot {
    /// By shard, then by database.
    shards: Vec<Vec<TableSnapshot>>,
}

impl Snapshot {
    pub(crate) fn of<'a>(shards: impl Iterator<Item = &'a mut Shard>) -> Self {
        let shards = shards
            .map(|shard| shard.tables_mut().map(|(_, table)| table.snapshot()).collect())
            .collect();
        Self { shards }
    }

    /// One of no keys.
    pub(crate) fn empty() -> Self {
        Self { shards: (0..SHARD_COUNT).map(|_| Vec::new()).collect() }
    }

    /// Number of keys in a database, due ones included.
    pub fn len(&self, db: usize) -> usize {
        self.shards.iter().filter_map(|tables| tables.get(db)).map(TableSnapshot::len).sum()
    }

    /// Number of keys in a database that have a deadline.
    pub fn volatile_len(&self, db: usize) -> usize {
        let tables = self.shards.iter().filter_map(|tables| tables.get(db));
        tables.map(TableSnapshot::volatile_len).sum()
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
        self.shards.iter().flatten().map(TableSnapshot::retained_bytes).sum()
    }

    /// The tables of which it is made, database by database, those without keys left out. Whoever is done with one drops
    /// it, and with it what its shard kept for it, while the others stay as they are.
    pub fn into_tables(self) -> Vec<(usize, TableSnapshot)> {
        let mut tables: Vec<_> = self
            .shards
            .into_iter()
            .flat_map(|tables| tables.into_iter().enumerate())
            .filter(|(_, table)| !table.is_empty())
            .collect();
        tables.sort_by_key(|(db, _)| *db);
        tables
    }

    /// The record of `key`.
    pub fn find(&self, db: usize, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.shards[key.shard()].get(db)?.find(key.table_hash(), key.bytes())
    }

    /// Visits some `count` records of `db` from `cursor` on, at most one shard's. `None` after the last.
    pub fn scan<'a>(
        &'a self,
        db: usize,
        cursor: ScanCursor,
        count: usize,
        visit: impl FnMut(RecordRef<'a>),
    ) -> Option<ScanCursor> {
        let table = self.shards[cursor.shard()].get(db);
        let next = table.and_then(|table| table.scan(cursor.table_hash(), count, visit));
        cursor.advanced(next)
    }
}
