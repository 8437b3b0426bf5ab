//! One shard: its part of every database, its watches and its waiters. Never locks anything: it is behind a lock.

use std::sync::Arc;

use rubine_base::hash::HashMap;
use rubine_structures::table::{Hints, Table};

use crate::key::{SHARD_COUNT, table_hash};
use crate::waiters::Waiters;
use crate::watch::Watch;

/// A key and its database.
type DbKey = (usize, Box<[u8]>);

/// Databases from this on do without hints for prefetching.
pub(crate) const HINTED_DBS: usize = 16;

/// The number of a table among the hints: those of one database lie side by side.
#[inline]
pub(crate) fn hint_number(shard: usize, db: usize) -> usize {
    db * SHARD_COUNT + shard
}

/// One of the keyspace's shards.
#[derive(Debug)]
pub struct Shard {
    /// By database number; grows when a database is first written.
    tables: Vec<Table>,
    number: usize,
    hints: Hints,
    watches: HashMap<DbKey, Vec<Arc<Watch>>>,
    pub(crate) waiters: Waiters,
}

impl Shard {
    pub(crate) fn new(number: usize, hints: Hints) -> Self {
        let (tables, watches, waiters) = Default::default();
        Self { tables, number, hints, watches, waiters }
    }

    fn new_table(&self, db: usize) -> Table {
        if db < HINTED_DBS {
            Table::with_hints(table_hash, self.hints.clone(), hint_number(self.number, db))
        } else {
            Table::new(table_hash)
        }
    }

    /// The shard's part of a database, if anything was ever stored there.
    #[inline]
    pub fn table(&self, db: usize) -> Option<&Table> {
        self.tables.get(db)
    }

    #[inline]
    pub(crate) fn table_mut(&mut self, db: usize) -> &mut Table {
        while self.tables.len() <= db {
            let table = self.new_table(self.tables.len());
            self.tables.push(table);
        }
        &mut self.tables[db]
    }

    pub(crate) fn tables_mut(&mut self) -> impl Iterator<Item = (usize, &mut Table)> {
        self.tables.iter_mut().enumerate()
    }

    /// Empties a database and hands out what was there.
    pub(crate) fn take_table(&mut self, db: usize) -> Option<Table> {
        let table = self.tables.get_mut(db).filter(|table| !table.is_empty())?;
        Some(table.take())
    }

    pub(crate) fn swap(&mut self, first: usize, second: usize) {
        self.table_mut(first.max(second));
        if let Ok([one, other]) = self.tables.get_disjoint_mut([first, second]) {
            one.swap(other);
        }
    }

    /// Number of keys in a database.
    pub fn len(&self, db: usize) -> usize {
        self.table(db).map_or(0, Table::len)
    }

    /// Databases that were ever written.
    pub fn db_count(&self) -> usize {
        self.tables.len()
    }

    /// Keys that somebody watches.
    pub fn watched_key_count(&self) -> usize {
        self.watches.len()
    }

    /// Keys that somebody waits for.
    pub fn waited_key_count(&self) -> usize {
        self.waiters.key_count()
    }

    pub(crate) fn watch(&mut self, db: usize, key: &[u8], watch: &Arc<Watch>) {
        let watches = self.watches.entry((db, key.into())).or_default();
        if !watches.iter().any(|it| Arc::ptr_eq(it, watch)) {
            watches.push(watch.clone());
        }
    }

    pub(crate) fn unwatch(&mut self, db: usize, key: &[u8], watch: &Arc<Watch>) {
        let id = (db, Box::from(key));
        if let Some(watches) = self.watches.get_mut(&id) {
            watches.retain(|it| !Arc::ptr_eq(it, watch));
            if watches.is_empty() {
                self.watches.remove(&id);
            }
        }
    }

    /// Whatever hangs on the key of a change: watches break, waiters may be served.
    #[inline]
    pub(crate) fn note_change(&mut self, db: usize, key: &[u8]) {
        if !self.watches.is_empty() {
            self.break_watches(db, key);
        }
        if !self.waiters.is_empty() {
            self.waiters.note_change(db, key);
        }
    }

    /// Breaks the watches on keys of `db` that exist now or did before a flush or swap.
    pub(crate) fn break_watches_of_db(&mut self, db: usize, exists: impl Fn(&[u8]) -> bool) {
        for ((watched_db, key), watches) in &self.watches {
            if *watched_db == db && exists(key) {
                mark_broken(watches);
            }
        }
    }

    pub(crate) fn watched_keys(&self, db: usize) -> Vec<Box<[u8]>> {
        self.watches.keys().filter(|it| it.0 == db).map(|it| it.1.clone()).collect()
    }

    #[cold]
    fn break_watches(&mut self, db: usize, key: &[u8]) {
        if let Some(watches) = self.watches.get(&(db, Box::from(key))) {
            mark_broken(watches);
        }
    }
}

fn mark_broken(watches: &[Arc<Watch>]) {
    for watch in watches {
        watch.mark_broken();
    }
}
