//! One shard: its part of every database, its watches and its waiters. Never locks anything: it is behind a lock.

use std::sync::Arc;

use rubine_base::random::Random;
use rubine_structures::record::RecordRef;
use rubine_structures::table::{Hints, Table};
use smallvec::SmallVec;

use crate::counts::{COUNTED_DBS, PublishedCounts};
use crate::db_map::DbMap;
use crate::key::{Key, ScanCursor, is_placed_by_slot, table_hash};
use crate::tables::{TableAt, Tables};
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

/// Which tables somebody may have changed since their counts were published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Changed {
    #[default]
    None,
    One {
        db: u32,
        number: u16,
    },
    Several,
}

impl Changed {
    #[inline]
    fn add(&mut self, at: TableAt) {
        let one = Self::One { db: at.db as u32, number: at.number as u16 };
        *self = if *self == Self::None || *self == one { one } else { Self::Several };
    }
}

/// One of the keyspace's shards.
#[derive(Debug)]
pub struct Shard {
    /// By database number; grows when a database is first written. Most servers use the first alone, which then is no
    /// further away than the lock.
    databases: SmallVec<[Tables; 1]>,
    number: u32,
    changed: Changed,
    hints: Hints,
    watches: DbMap<Vec<Watcher>>,
    pub(crate) waiters: Waiters,
    /// Keys that clients keep copies of, by name, whatever their database.
    pub(crate) tracked: Option<Box<TrackedKeys>>,
}

impl Shard {
    pub(crate) fn new(number: usize, hints: Hints) -> Self {
        let (databases, changed, watches, waiters, tracked) = Default::default();
        Self { databases, number: number as u32, changed, hints, watches, waiters, tracked }
    }

    /// Takes the readers of a key that is changed. They have to read it again to be told of the next change.
    #[inline]
    pub(crate) fn take_readers(&mut self, key: Key<'_>, counts: &TrackedCounts) -> Option<Readers> {
        self.tracked.as_mut()?.take(key, counts)
    }

    /// The table in which keys of this hash are, if anything was ever stored in the database.
    #[inline]
    pub fn table(&self, db: usize, table_hash: u64) -> Option<&Table> {
        let tables = self.databases.get(db)?;
        tables.get(tables.number_of(table_hash))
    }

    /// The shard's part of a database: no table, one, or one for each slot.
    #[inline]
    pub fn tables(&self, db: usize) -> impl Iterator<Item = &Table> {
        self.databases.get(db).into_iter().flat_map(Tables::each)
    }

    #[inline]
    pub(crate) fn table_at(&self, at: TableAt) -> Option<&Table> {
        self.databases.get(at.db)?.get(at.number)
    }

    /// The next table for a walk that visits all.
    pub(crate) fn table_after(&self, at: TableAt) -> Option<TableAt> {
        let count = self.databases.get(at.db).map_or(0, Tables::count);
        if at.number + 1 < count {
            Some(TableAt { number: at.number + 1, ..at })
        } else {
            (at.db + 1 < self.databases.len()).then_some(TableAt { db: at.db + 1, number: 0 })
        }
    }

    #[inline]
    pub(crate) fn table_mut(&mut self, db: usize, table_hash: u64) -> &mut Table {
        self.grow(db);
        let number = self.databases[db].number_of(table_hash);
        self.table_at_mut(TableAt { db, number })
    }

    #[inline]
    pub(crate) fn table_at_mut(&mut self, at: TableAt) -> &mut Table {
        self.grow(at.db);
        self.changed.add(at);
        self.databases[at.db].get_mut(self.number as usize, at, &self.hints)
    }

    /// Lets there be a database.
    #[inline]
    fn grow(&mut self, db: usize) {
        while self.databases.len() <= db {
            let tables = Tables::new(self.number as usize, self.databases.len(), &self.hints);
            self.databases.push(tables);
        }
    }

    fn has_tables(&self, db: usize) -> bool {
        self.databases.get(db).is_some_and(|it| it.count() != 0)
    }

    /// Lets there be all tables of a database.
    fn make_tables(&mut self, db: usize) {
        self.grow(db);
        self.databases[db].get_mut(self.number as usize, TableAt { db, number: 0 }, &self.hints);
    }

    /// By database.
    pub(crate) fn databases_mut(&mut self) -> impl Iterator<Item = &mut Tables> {
        self.databases.iter_mut()
    }

    /// Empties a database and hands out what was there, with the numbers of the tables.
    pub(crate) fn take_tables(&mut self, db: usize) -> Vec<(TableAt, Table)> {
        self.changed = Changed::Several;
        let tables = self.databases.get_mut(db).into_iter().flat_map(Tables::each_mut);
        let tables = tables.enumerate().filter(|(_, table)| !table.is_empty());
        tables.map(|(number, table)| (TableAt { db, number }, table.take())).collect()
    }

    pub(crate) fn swap(&mut self, first: usize, second: usize) {
        self.changed = Changed::Several;
        if [first, second].iter().any(|&db| self.has_tables(db)) {
            [first, second].iter().for_each(|&db| self.make_tables(db));
        }
        if let Ok([one, other]) = self.databases.get_disjoint_mut([first, second]) {
            one.swap(other);
        }
    }

    /// Publishes how many keys the tables have, if that may have changed.
    #[inline]
    pub(crate) fn publish_counts(&mut self, counts: &PublishedCounts) {
        let changed = std::mem::take(&mut self.changed);
        if changed == Changed::None {
            return;
        }
        // Most servers use one database alone.
        if let [Tables::One(table)] = &*self.databases {
            counts.set(self.number as usize, 0, table.len(), table.volatile_len());
            return;
        }
        let shard = self.number as usize;
        match changed {
            Changed::One { db, number } if is_placed_by_slot() => {
                let at = TableAt { db: db as usize, number: usize::from(number) };
                self.databases[at.db].publish(shard, at, counts);
            }
            _ => self.publish_all(counts),
        }
    }

    #[cold]
    fn publish_all(&mut self, counts: &PublishedCounts) {
        let shard = self.number as usize;
        for (db, tables) in self.databases.iter_mut().enumerate() {
            match tables {
                Tables::One(table) if db < COUNTED_DBS => {
                    counts.set(shard, db, table.len(), table.volatile_len());
                }
                Tables::One(_) => {}
                Tables::BySlot(_) => {
                    let count = tables.count();
                    (0..count)
                        .for_each(|number| tables.publish(shard, TableAt { db, number }, counts));
                }
            }
        }
        let others = self.databases.get(COUNTED_DBS..).unwrap_or_default();
        if others.iter().any(|it| matches!(it, Tables::One(_))) {
            let tables = || others.iter().flat_map(Tables::each);
            let volatile_len = tables().map(Table::volatile_len).sum();
            let len = tables().map(Table::len).sum();
            counts.set_others(shard, len, volatile_len);
        }
    }

    /// Visits some `count` records of a database from `cursor` on, and none behind slot `last` if there is one. Returns
    /// where to go on, which is elsewhere where there are no more; `None` after the last.
    pub(crate) fn scan(
        &self,
        db: usize,
        mut cursor: ScanCursor,
        last: Option<u16>,
        count: usize,
        mut visit: impl FnMut(RecordRef<'_>),
    ) -> Option<ScanCursor> {
        debug_assert_eq!(cursor.shard(), self.number as usize, "another shard's position");
        let mut seen = 0;
        for number in cursor.table_number()..self.databases.get(db).map_or(0, Tables::count) {
            let table = self.table_at(TableAt { db, number }).filter(|it| !it.is_empty());
            let next = table.and_then(|table| {
                table.scan(cursor.table_hash(), count - seen, |record| {
                    seen += 1;
                    visit(record);
                })
            });
            cursor = cursor.advanced(next)?;
            if count <= seen || last.is_some_and(|last| last < cursor.slot()) {
                return Some(cursor);
            }
        }
        if cursor.shard() == self.number as usize { cursor.at_next_shard() } else { Some(cursor) }
    }

    /// A key of a database chosen at random, each with the same probability.
    pub(crate) fn random(&self, db: usize, random: &mut Random) -> Option<RecordRef<'_>> {
        self.random_table(db, random, Table::len)?.random(random)
    }

    /// One of the tables of a database chosen at random, each as likely as what `weigh` gives for it.
    pub(crate) fn random_table(
        &self,
        db: usize,
        random: &mut Random,
        weigh: impl Fn(&Table) -> usize,
    ) -> Option<&Table> {
        let total: usize = self.tables(db).map(&weigh).sum();
        let mut rank = random.below(total.max(1) as u64) as usize;
        self.tables(db).find(|table| {
            let weight = weigh(table);
            let is_chosen = rank < weight;
            rank = rank.saturating_sub(weight);
            is_chosen
        })
    }

    /// Number of keys in a database.
    pub fn len(&self, db: usize) -> usize {
        self.tables(db).map(Table::len).sum()
    }

    /// Number of keys in a database that have a deadline.
    pub fn volatile_len(&self, db: usize) -> usize {
        self.tables(db).map(Table::volatile_len).sum()
    }

    /// Databases that were ever written.
    pub fn db_count(&self) -> usize {
        self.databases.len()
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

    /// The record of a key, due or not.
    pub(crate) fn find(&self, db: usize, key: &[u8]) -> Option<RecordRef<'_>> {
        let hash = table_hash(key);
        self.table(db, hash)?.find(hash, key)
    }

    /// Whether a key is there and due at `now`.
    pub(crate) fn is_due(&self, db: usize, key: &[u8], now: i64) -> bool {
        let record = self.find(db, key);
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
        let record = self.find(db, key);
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
        let count = self.databases.len().max(other.databases.len());
        (self.changed, other.changed) = (Changed::Several, Changed::Several);
        for db in 0..count {
            let watched = self.watched_keys(db);
            self.break_watches_of_exchange(other, db, &watched, now);
            if self.has_tables(db) || other.has_tables(db) {
                self.make_tables(db);
                other.make_tables(db);
                self.databases[db].swap(&mut other.databases[db]);
            }
            self.waiters.note_swap(db);
        }
    }

    /// A database, or a part with these watched keys, is about to be exchanged with that of another keyspace: as
    /// [`Self::note_exchange`].
    pub(crate) fn break_watches_of_exchange(
        &mut self,
        other: &Self,
        db: usize,
        watched: &[Box<[u8]>],
        now: i64,
    ) {
        for key in watched {
            let is_touched = self.is_alive(db, key, now) || other.is_alive(db, key, now);
            let will_be_due = other.is_due(db, key, now);
            for watcher in self.watches.get_mut(db, key).into_iter().flatten() {
                if is_touched {
                    watcher.watch.mark_broken();
                } else {
                    watcher.was_due = will_be_due;
                }
            }
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
        let exists = self.find(db, key).is_some();
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
