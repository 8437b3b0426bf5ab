//! One shard: its part of every database, its watches and its waiters. Never locks anything: it is behind a lock.

use std::sync::Arc;

use rubine_structures::record::RecordRef;
use rubine_structures::table::{Hints, Table};
use smallvec::SmallVec;

use crate::counts::{COUNTED_DBS, PublishedCounts};
use crate::db_map::DbMap;
use crate::key::{Key, SHARD_COUNT, table_hash};
use crate::tracking::{Readers, TrackedCounts, TrackedKeys};
use crate::waiters::Waiters;
use crate::watch::Watch;

/// A client that watches a key.
#[derive(Debug)]
struct Watcher {
    watch: Arc<Watch>,
    /// The key was due already when the watch began.
    was_due: bool,
}

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
    /// By database number; grows when a database is first written. Most servers use the first alone, which then is no
    /// further away than the lock.
    tables: SmallVec<[Table; 1]>,
    number: u32,
    /// Somebody may have changed a table since its counts were published.
    has_changed: bool,
    hints: Hints,
    watches: DbMap<Vec<Watcher>>,
    pub(crate) waiters: Waiters,
    /// Keys that clients keep copies of, by name, whatever their database.
    pub(crate) tracked: Option<Box<TrackedKeys>>,
}

impl Shard {
    pub(crate) fn new(number: usize, hints: Hints) -> Self {
        let (tables, has_changed, watches, waiters, tracked) = Default::default();
        Self { tables, number: number as u32, has_changed, hints, watches, waiters, tracked }
    }

    fn new_table(&self, db: usize) -> Table {
        if db < HINTED_DBS {
            Table::with_hints(table_hash, self.hints.clone(), hint_number(self.number as usize, db))
        } else {
            Table::new(table_hash)
        }
    }

    /// Takes the readers of a key that is changed. They have to read it again to be told of the next change.
    #[inline]
    pub(crate) fn take_readers(&mut self, key: Key<'_>, counts: &TrackedCounts) -> Option<Readers> {
        self.tracked.as_mut()?.take(key, counts)
    }

    /// The shard's part of a database, if anything was ever stored there.
    #[inline]
    pub fn table(&self, db: usize) -> Option<&Table> {
        self.tables.get(db)
    }

    #[inline]
    pub(crate) fn table_mut(&mut self, db: usize) -> &mut Table {
        self.has_changed = true;
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
        self.has_changed = true;
        let table = self.tables.get_mut(db).filter(|table| !table.is_empty())?;
        Some(table.take())
    }

    pub(crate) fn swap(&mut self, first: usize, second: usize) {
        self.table_mut(first.max(second));
        if let Ok([one, other]) = self.tables.get_disjoint_mut([first, second]) {
            one.swap(other);
        }
    }

    /// Publishes how many keys the tables have, if that may have changed.
    #[inline]
    pub(crate) fn publish_counts(&mut self, counts: &PublishedCounts) {
        if !std::mem::take(&mut self.has_changed) {
            return;
        }
        // Most servers use one database alone.
        if let [table] = &*self.tables {
            counts.set(self.number as usize, 0, table.len(), table.volatile_len());
        } else {
            self.publish_all(counts);
        }
    }

    #[cold]
    fn publish_all(&self, counts: &PublishedCounts) {
        for (db, table) in self.tables.iter().enumerate().take(COUNTED_DBS) {
            counts.set(self.number as usize, db, table.len(), table.volatile_len());
        }
        if COUNTED_DBS < self.tables.len() {
            let others = &self.tables[COUNTED_DBS..];
            let volatile_len = others.iter().map(Table::volatile_len).sum();
            let len = others.iter().map(Table::len).sum();
            counts.set_others(self.number as usize, len, volatile_len);
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

    /// Keys for which somebody waits whose wait ends when they go.
    pub fn needed_key_count(&self) -> usize {
        self.waiters.needed_key_count()
    }

    pub(crate) fn watch(&mut self, db: usize, key: &[u8], watch: &Arc<Watch>, now: i64) {
        let was_due = self.is_due(db, key, now);
        let watchers = self.watches.get_or_add(db, key);
        watchers.retain(|it| !it.watch.is_over());
        if !watchers.iter().any(|it| Arc::ptr_eq(&it.watch, watch)) {
            watchers.push(Watcher { watch: watch.clone(), was_due });
        }
    }

    pub(crate) fn unwatch(&mut self, db: usize, key: &[u8], watch: &Arc<Watch>) {
        self.forget_watchers(db, key, |it| Arc::ptr_eq(it, watch));
    }

    fn forget_watchers(&mut self, db: usize, key: &[u8], go: impl Fn(&Arc<Watch>) -> bool) {
        if let Some(watchers) = self.watches.get_mut(db, key) {
            watchers.retain(|it| !go(&it.watch));
            if watchers.is_empty() {
                self.watches.remove(db, key);
            }
        }
    }

    /// Whether the key has fallen due since `watch` began.
    pub(crate) fn fell_due(&self, db: usize, key: &[u8], watch: &Arc<Watch>, now: i64) -> bool {
        let watchers = self.watches.get(db, key).into_iter().flatten();
        let was_due = watchers.filter(|it| Arc::ptr_eq(&it.watch, watch)).any(|it| it.was_due);
        !was_due && self.is_due(db, key, now)
    }

    /// Whether a key is there and due at `now`.
    pub(crate) fn is_due(&self, db: usize, key: &[u8], now: i64) -> bool {
        let record = self.table(db).and_then(|it| it.find(table_hash(key), key));
        record.and_then(RecordRef::deadline).is_some_and(|deadline| deadline <= now)
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

    fn is_alive(&self, db: usize, key: &[u8], now: i64) -> bool {
        let record = self.table(db).and_then(|it| it.find(table_hash(key), key));
        record.is_some_and(|it| it.deadline().is_none_or(|deadline| now < deadline))
    }

    /// Two databases are about to be exchanged: breaks the watches on keys that are, not due, in either. Of the other
    /// watched keys, those that will be due after the exchange count as due from the beginning.
    pub(crate) fn note_exchange(&mut self, first: usize, second: usize, now: i64) {
        for (db, other) in [(first, second), (second, first)] {
            for key in self.watched_keys(db) {
                let is_touched = [first, second].into_iter().any(|db| self.is_alive(db, &key, now));
                let will_be_due = self.is_due(other, &key, now);
                for watcher in self.watches.get_mut(db, &key).into_iter().flatten() {
                    if is_touched {
                        watcher.watch.mark_broken();
                    } else {
                        watcher.was_due = will_be_due;
                    }
                }
            }
        }
    }

    /// Exchanges all databases with a shard of another keyspace, where nobody watches or waits.
    pub(crate) fn exchange(&mut self, other: &mut Self, now: i64) {
        let count = self.tables.len().max(other.tables.len());
        let Some(last) = count.checked_sub(1) else { return };
        self.table_mut(last);
        other.table_mut(last);
        for db in 0..count {
            for key in self.watched_keys(db) {
                let is_touched = self.is_alive(db, &key, now) || other.is_alive(db, &key, now);
                let will_be_due = other.is_due(db, &key, now);
                for watcher in self.watches.get_mut(db, &key).into_iter().flatten() {
                    if is_touched {
                        watcher.watch.mark_broken();
                    } else {
                        watcher.was_due = will_be_due;
                    }
                }
            }
            self.tables[db].swap(&mut other.tables[db]);
            self.waiters.note_swap(db);
        }
    }

    /// An exchange of databases is taken back: no watch of `db` knows any more whether its key was due when it began. That
    /// those which are due have just become so is the safe side.
    pub(crate) fn forget_that_keys_were_due(&mut self, db: usize) {
        for key in self.watched_keys(db) {
            let watchers = self.watches.get_mut(db, &key).into_iter().flatten();
            watchers.for_each(|it| it.was_due = false);
        }
    }

    pub(crate) fn watched_keys(&self, db: usize) -> Vec<Box<[u8]>> {
        self.watches.keys(db).map(Box::from).collect()
    }

    #[cold]
    pub(crate) fn break_watches(&mut self, db: usize, key: &[u8]) {
        let exists = self.table(db).is_some_and(|it| it.find(table_hash(key), key).is_some());
        for watcher in self.watches.get_mut(db, key).into_iter().flatten() {
            // That a key goes which was due already is no change.
            let is_no_change = std::mem::take(&mut watcher.was_due) && !exists;
            if !is_no_change {
                watcher.watch.mark_broken();
            }
        }
        self.forget_watchers(db, key, |it| it.is_over());
    }
}
