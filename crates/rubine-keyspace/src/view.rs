//! What a command sees of the keyspace: keys of locked shards in one database at one instant. Never locks.

use rubine_base::random::Random;
use rubine_structures::record::{Record, RecordRef};
use rubine_structures::table::{RecordMut, Stored, Table};
use rubine_structures::value::Value;

use crate::access::Access;
use crate::key::{Key, SHARD_COUNT, ScanCursor};
use crate::keyspace::{Garbage, Locked, ShardSet};
use crate::shard::Shard;
use crate::snapshot::Snapshot;

/// What happened to keys while a command ran.
#[derive(Debug, Default)]
pub struct Changes {
    /// Number of changes, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    /// Keys that were found due and removed, with their database.
    pub expired: Vec<(usize, Box<[u8]>)>,
    /// Lookups for reading that found a key.
    pub hits: u64,
    /// Lookups for reading that did not.
    pub misses: u64,
}

/// How lookups behave for this client.
#[derive(Clone, Copy, Debug)]
pub struct ViewOptions {
    /// Whether an access is noted in the LRU or LFU bits.
    pub notes_access: bool,
    /// Whether keys that are due are removed; a replica only hides them.
    pub removes_due: bool,
}

/// The keys of the locked shards.
#[derive(Debug)]
pub struct View<'a, 'k> {
    locked: &'a mut Locked<'k>,
    db: usize,
    /// Unix milliseconds: the one instant of the command.
    now: i64,
    access: Access,
    options: ViewOptions,
    random: &'a mut Random,
    changes: &'a mut Changes,
}

impl<'a, 'k> View<'a, 'k> {
    pub fn new(
        locked: &'a mut Locked<'k>,
        db: usize,
        now: i64,
        access: Access,
        options: ViewOptions,
        random: &'a mut Random,
        changes: &'a mut Changes,
    ) -> Self {
        Self { locked, db, now, access, options, random, changes }
    }

    /// The selected database.
    pub fn db(&self) -> usize {
        self.db
    }

    /// The same keys, seen from another database.
    pub fn in_db(&mut self, db: usize) -> View<'_, 'k> {
        View {
            locked: &mut *self.locked,
            db,
            now: self.now,
            access: self.access,
            options: self.options,
            random: &mut *self.random,
            changes: &mut *self.changes,
        }
    }

    /// The instant of the command, Unix milliseconds.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// How access bits are read and written.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Looks a key up for reading: counts hit or miss and notes the access.
    #[inline]
    pub fn find(&mut self, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.remove_if_due(key);
        let table = self.locked.shard(key).table(self.db);
        let record = table.and_then(|table| table.find(key.table_hash(), key.bytes()));
        let now = self.now;
        let record = record.filter(|it| it.deadline().is_none_or(|deadline| now < deadline));
        match record {
            Some(record) => {
                self.changes.hits += 1;
                if self.options.notes_access {
                    record.set_access(self.access.touched(record.access(), self.random));
                }
            }
            None => self.changes.misses += 1,
        }
        record
    }

    /// Looks a key up without any trace: no count, no access.
    #[inline]
    pub fn peek(&mut self, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.remove_if_due(key);
        let now = self.now;
        let record = self.table(key)?.find(key.table_hash(), key.bytes())?;
        record.deadline().is_none_or(|deadline| now < deadline).then_some(record)
    }

    /// Whether the key is there. No trace.
    pub fn contains(&mut self, key: Key<'_>) -> bool {
        self.peek(key).is_some()
    }

    /// Looks a key up for writing: notes the access.
    #[inline]
    pub fn find_mut(&mut self, key: Key<'_>) -> Option<RecordMut<'_>> {
        self.remove_if_due(key);
        let table = self.locked.shard_mut(key).table_mut(self.db);
        let record = table.find_mut(key.table_hash(), key.bytes())?;
        if record.get().deadline().is_some_and(|deadline| deadline <= self.now) {
            return None;
        }
        if self.options.notes_access {
            let bits = record.get().access();
            record.get().set_access(self.access.touched(bits, self.random));
        }
        Some(record)
    }

    /// Stores a value under a key, whatever was there. Returns whether the key is new.
    #[inline]
    pub fn store(&mut self, key: Key<'_>, value: Value<'_>, deadline: Option<i64>) -> bool {
        let initial = self.access.initial();
        self.remove_if_due(key);
        let table = self.locked.shard_mut(key).table_mut(self.db);
        match table.store(key.table_hash(), key.bytes(), value, deadline, initial) {
            Stored::Inserted => true,
            Stored::Replaced(old) => {
                self.locked.keyspace.discard_value(old);
                false
            }
        }
    }

    /// Adds a record whose key is known to be missing.
    pub fn insert(&mut self, key: Key<'_>, record: Record) {
        self.locked.shard_mut(key).table_mut(self.db).insert(key.table_hash(), record);
    }

    /// Takes a key and its record out.
    pub fn take(&mut self, key: Key<'_>) -> Option<Record> {
        self.remove_if_due(key);
        self.take_any(key).filter(|it| it.as_ref().deadline().is_none_or(|at| self.now < at))
    }

    /// Removes a key. Returns whether it was there. What is large is freed in the background.
    pub fn remove(&mut self, key: Key<'_>) -> bool {
        let record = self.take(key);
        let found = record.is_some();
        if let Some(record) = record {
            self.locked.keyspace.discard_record(record);
        }
        found
    }

    /// A key has changed: watches on it break, waiters may be served, the change is counted.
    #[inline]
    pub fn note_change(&mut self, key: Key<'_>) {
        self.changes.dirty += 1;
        self.note_touch(key);
    }

    /// As [`Self::note_change`], for a further key of a change that is counted already.
    #[inline]
    pub fn note_touch(&mut self, key: Key<'_>) {
        self.locked.shard_mut(key).note_change(self.db, key.bytes());
    }

    /// Has a value freed that was taken out of a key, in the background if that takes long.
    pub fn discard(&mut self, value: Value<'static>) {
        self.locked.keyspace.discard_value(Some(value));
    }

    /// Counts changes beyond one a key.
    pub fn add_dirty(&mut self, count: u64) {
        self.changes.dirty += count;
    }

    /// Whether the locks that are held cover a key.
    pub fn covers(&self, key: Key<'_>) -> bool {
        self.locked.covers(key)
    }

    /// Number of keys in the database, shard by shard.
    pub fn len(&self) -> usize {
        let mut len = 0;
        self.for_each_shard(|shard| len += shard.len(self.db));
        len
    }

    /// Whether the database is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys that have a deadline.
    pub fn volatile_len(&self) -> usize {
        let mut len = 0;
        self.for_each_shard(|shard| len += shard.table(self.db).map_or(0, Table::volatile_len));
        len
    }

    /// Looks at every shard: at all under the locks that are held, or at one after the other, each under its own.
    fn for_each_shard(&self, mut look: impl FnMut(&Shard)) {
        if self.locked.is_whole() {
            self.locked.shards().for_each(look);
        } else {
            assert!(self.locked.is_empty(), "a walk takes locks, so it must hold none");
            self.locked.keyspace.for_each_shard(|_, shard| look(shard));
        }
    }

    /// Looks at one shard, as [`Self::for_each_shard`].
    fn with_shard<T>(&self, index: usize, look: impl FnOnce(&Shard) -> T) -> T {
        if self.locked.is_whole() {
            return look(self.locked.shards().nth(index).expect("all shards are locked"));
        }
        assert!(self.locked.is_empty(), "a walk takes locks, so it must hold none");
        let locked = self.locked.keyspace.lock(&ShardSet::of_shard(index));
        look(locked.shards().next().expect("one shard was locked"))
    }

    /// A key chosen at random, due ones not; `None` if there seems to be none. For commands that walk.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        // Tries before the walk through all shards, for databases with few keys.
        const TRIES: usize = 64;
        let now = self.now;
        let is_alive = |deadline: Option<i64>| deadline.is_none_or(|deadline| now < deadline);
        let mut random = self.random.clone();
        self.random.next_u64();
        let mut pick = |index: usize| {
            self.with_shard(index, |shard| {
                let record = shard.table(self.db)?.random(&mut random)?;
                is_alive(record.deadline()).then(|| record.key().to_vec())
            })
        };
        let start = self.now as usize;
        let mut dice = self.random.clone();
        for _ in 0..TRIES {
            if let Some(key) = pick(dice.below(SHARD_COUNT as u64) as usize) {
                return Some(key);
            }
        }
        let mut keys = Vec::new();
        for index in 0..SHARD_COUNT {
            keys.extend(pick((start + index) % SHARD_COUNT));
        }
        let chosen = dice.below(keys.len().max(1) as u64) as usize;
        keys.into_iter().nth(chosen)
    }

    /// Removes a key because it is due or becomes so by a command: listeners and the journal hear of an expiry.
    /// Returns whether it was there.
    pub fn expire_now(&mut self, key: Key<'_>) -> bool {
        let expired_count = self.changes.expired.len();
        self.expire(key);
        expired_count < self.changes.expired.len()
    }

    /// Empties the database, or all of them. All shards are locked. Returns the number of keys that went.
    pub fn clear(&mut self, db: Option<usize>) -> u64 {
        let mut tables = Vec::new();
        for shard in self.locked.shards_mut() {
            let dbs = db.map_or(0..shard.db_count(), |db| db..db + 1);
            for db in dbs {
                for key in shard.watched_keys(db) {
                    let existed = shard.table(db).is_some_and(|table| {
                        table.find(Key::new(&key).table_hash(), &key).is_some()
                    });
                    if existed {
                        shard.note_change(db, &key);
                    }
                }
                shard.waiters.note_swap(db);
                tables.extend(shard.take_table(db));
            }
        }
        let removed = tables.iter().map(Table::len).sum::<usize>() as u64;
        self.locked.keyspace.discard(Garbage::Tables(tables));
        self.changes.dirty += removed;
        removed
    }

    /// Exchanges two databases. All shards are locked.
    pub fn swap_dbs(&mut self, first: usize, second: usize) {
        let now = self.now;
        for shard in self.locked.shards_mut() {
            let exists = |shard: &Shard, db: usize, key: &[u8]| {
                let record =
                    shard.table(db).and_then(|it| it.find(Key::new(key).table_hash(), key));
                record.is_some_and(|it| it.deadline().is_none_or(|deadline| now < deadline))
            };
            for db in [first, second] {
                let touched: Vec<_> = shard
                    .watched_keys(db)
                    .into_iter()
                    .filter(|key| exists(shard, first, key) || exists(shard, second, key))
                    .collect();
                shard.break_watches_of_db(db, |key| touched.iter().any(|it| **it == *key));
            }
            shard.swap(first, second);
            shard.waiters.note_swap(first);
            shard.waiters.note_swap(second);
        }
        self.changes.dirty += 1;
    }

    /// Visits some `count` records from `cursor` on, those that are due not, through as many shards as it takes.
    /// `None` after the last. For commands that walk.
    pub fn scan(
        &self,
        mut cursor: ScanCursor,
        count: usize,
        mut visit: impl FnMut(RecordRef<'_>),
    ) -> Option<ScanCursor> {
        let mut seen = 0;
        loop {
            let next = self.with_shard(cursor.shard(), |shard| {
                let table = shard.table(self.db)?;
                table.scan(cursor.table_hash(), count - seen.min(count), |record| {
                    seen += 1;
                    if record.deadline().is_none_or(|deadline| self.now < deadline) {
                        visit(record);
                    }
                })
            });
            cursor = cursor.advanced(next)?;
            if count <= seen {
                return Some(cursor);
            }
        }
    }

    /// An image of all databases at this instant, for commands that walk.
    pub fn image(&mut self) -> Snapshot {
        if self.locked.is_whole() {
            return Snapshot::of(self.locked.shards_mut());
        }
        assert!(self.locked.is_empty(), "a walk takes locks, so it must hold none");
        self.locked.keyspace.snapshot()
    }

    #[inline]
    fn table(&self, key: Key<'_>) -> Option<&Table> {
        self.locked.shard(key).table(self.db)
    }

    /// Removes a key that is due, on a master. Free where the database has no keys with deadlines.
    #[inline]
    fn remove_if_due(&mut self, key: Key<'_>) {
        let Some(table) = self.table(key) else { return };
        if table.volatile_len() == 0 || !self.options.removes_due {
            return;
        }
        let deadline = table.find(key.table_hash(), key.bytes()).and_then(RecordRef::deadline);
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            self.expire(key);
        }
    }

    #[cold]
    fn expire(&mut self, key: Key<'_>) {
        if let Some(record) = self.take_any(key) {
            self.locked.keyspace.discard_record(record);
            self.locked.shard_mut(key).note_change(self.db, key.bytes());
            self.changes.expired.push((self.db, key.bytes().into()));
        }
    }

    fn take_any(&mut self, key: Key<'_>) -> Option<Record> {
        self.locked.shard_mut(key).table_mut(self.db).remove(key.table_hash(), key.bytes())
    }
}
