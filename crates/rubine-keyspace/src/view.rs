//! What a command sees of the keyspace: keys of locked shards in one database at one instant. Never locks.

use rubine_base::random::Random;
use rubine_structures::record::{Record, RecordRef};
use rubine_structures::table::{RecordMut, Stored, Table, TableShape};
use rubine_structures::value::Value;

use crate::access::Access;
use crate::changes::Changes;
use crate::counts::COUNTED_DBS;
use crate::key::{Key, SHARD_COUNT, ScanCursor, is_placed_by_slot};
use crate::keyspace::Locked;
use crate::shard::Shard;
use crate::shard_set::ShardSet;
use crate::snapshot::Snapshot;
use crate::tracking::{Stale, Tracking};
use crate::undo::TakenTable;

/// What becomes of keys that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueKeys {
    /// Whoever meets one removes it: a master.
    Removed,
    /// They stay, but clients do not see them: a replica, which waits for its master's DEL.
    Hidden,
    /// They are keys like others: commands of a master, from a log or of an import, which tell by themselves what goes.
    Shown,
}

/// How lookups behave for this client.
#[derive(Clone, Copy, Debug)]
pub struct ViewOptions {
    /// Whether an access is noted in the LRU or LFU bits.
    pub notes_access: bool,
    pub due_keys: DueKeys,
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

    /// Whether a key that is due goes. Otherwise somebody else says when: a master, a log, an import.
    #[inline]
    pub fn removes_due(&self) -> bool {
        self.options.due_keys == DueKeys::Removed
    }

    /// How access bits are read and written.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Keys whose deadline is not after this do not exist for the client.
    #[inline]
    pub fn due_until(&self) -> i64 {
        match self.options.due_keys {
            DueKeys::Removed | DueKeys::Hidden => self.now,
            DueKeys::Shown => i64::MIN,
        }
    }

    /// Looks a key up for reading: counts hit or miss and notes the access.
    #[inline]
    pub fn find(&mut self, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.find_noting(key, self.options.notes_access)
    }

    /// Looks a key up for reading, where the command is not one that counts as an access.
    #[inline]
    pub fn find_untouched(&mut self, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.find_noting(key, false)
    }

    /// Notes an access, even if the client asked that its accesses are not noted. Returns whether the key is there.
    pub fn touch(&mut self, key: Key<'_>) -> bool {
        self.find_noting(key, true).is_some()
    }

    #[inline]
    fn find_noting(&mut self, key: Key<'_>, notes_access: bool) -> Option<RecordRef<'_>> {
        self.remove_if_due(key);
        let due_until = self.due_until();
        let record = self.locked.record_of(self.db, key);
        let record = record.filter(|it| it.deadline().is_none_or(|deadline| due_until < deadline));
        if let Some(record) = record {
            self.changes.hits += 1;
            if notes_access {
                record.set_access(self.access.touched(record.access(), self.random));
            }
        } else {
            self.changes.misses += 1;
            if self.changes.notes_misses {
                self.changes.missed.push((self.db, key.bytes().into()));
            }
        }
        record
    }

    /// Looks a key up without any trace: no count, no access.
    #[inline]
    pub fn peek(&mut self, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.remove_if_due(key);
        let due_until = self.due_until();
        let record = self.locked.record_of(self.db, key)?;
        record.deadline().is_none_or(|deadline| due_until < deadline).then_some(record)
    }

    /// Looks a key up without any trace, and whether it is due or not.
    pub fn peek_even_if_due(&self, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.locked.record_of(self.db, key)
    }

    /// Whether the key is there. No trace.
    pub fn contains(&mut self, key: Key<'_>) -> bool {
        self.peek(key).is_some()
    }

    /// Looks a key up for writing: notes the access.
    #[inline]
    pub fn find_mut(&mut self, key: Key<'_>) -> Option<RecordMut<'_>> {
        self.find_mut_noting(key, self.options.notes_access)
    }

    /// Looks a key up for writing where it may be that nothing is written: notes the access, but counts neither hit nor
    /// miss.
    #[inline]
    pub fn find_to_write(&mut self, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.remove_if_due(key);
        let due_until = self.due_until();
        let record = self.locked.record_of(self.db, key)?;
        if record.deadline().is_some_and(|deadline| deadline <= due_until) {
            return None;
        }
        if self.options.notes_access {
            record.set_access(self.access.touched(record.access(), self.random));
        }
        Some(record)
    }

    /// Looks a key up for writing that the same command has looked up before: its access is noted.
    #[inline]
    pub fn find_mut_again(&mut self, key: Key<'_>) -> Option<RecordMut<'_>> {
        self.find_mut_noting(key, false)
    }

    #[inline]
    fn find_mut_noting(&mut self, key: Key<'_>, notes_access: bool) -> Option<RecordMut<'_>> {
        self.remove_if_due(key);
        self.note_before(key);
        let due_until = self.due_until();
        let table = self.locked.table_mut(self.db, key);
        let record = table.find_mut(key.table_hash(), key.bytes())?;
        if record.get().deadline().is_some_and(|deadline| deadline <= due_until) {
            return None;
        }
        if notes_access {
            let bits = record.get().access();
            record.get().set_access(self.access.touched(bits, self.random));
        }
        Some(record)
    }

    /// Stores a value under a key, whatever was there: an access to that. Returns whether the key is new.
    #[inline]
    pub fn store(&mut self, key: Key<'_>, value: Value<'_>, deadline: Option<i64>) -> bool {
        self.store_noting(key, value, deadline, self.options.notes_access)
    }

    /// As [`Self::store`], for a key that the same command has looked up before: its access is noted.
    #[inline]
    pub fn store_again(&mut self, key: Key<'_>, value: Value<'_>, deadline: Option<i64>) -> bool {
        self.store_noting(key, value, deadline, false)
    }

    #[inline]
    fn store_noting(
        &mut self,
        key: Key<'_>,
        value: Value<'_>,
        deadline: Option<i64>,
        notes_access: bool,
    ) -> bool {
        self.remove_if_due(key);
        self.note_before(key);
        let access = |old: Option<u32>| match old {
            Some(bits) if notes_access => self.access.touched(bits, self.random),
            Some(bits) => bits,
            None => self.access.initial(),
        };
        let table = self.locked.table_mut(self.db, key);
        match table.store(key.table_hash(), key.bytes(), value, deadline, access) {
            Stored::Inserted => true,
            Stored::Replaced(old) => {
                self.locked.keyspace.discard_value(old);
                false
            }
        }
    }

    /// Adds a record whose key is known to be missing.
    pub fn insert(&mut self, key: Key<'_>, record: Record) {
        self.note_before(key);
        self.locked.table_mut(self.db, key).insert(key.table_hash(), record);
    }

    /// Takes a key and its record out.
    pub fn take(&mut self, key: Key<'_>) -> Option<Record> {
        self.remove_if_due(key);
        let is_hidden = self.options.due_keys == DueKeys::Hidden && self.peek(key).is_none();
        if is_hidden { None } else { self.take_any(key) }
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

    /// Something about a key has changed, but not what it holds: waiters may be served, the change is counted, and
    /// watches hold.
    pub fn note_side_change(&mut self, key: Key<'_>) {
        self.changes.dirty += 1;
        self.locked.shard_mut(key).waiters.note_change(self.db, key.bytes());
    }

    /// As [`Self::note_change`], for a further key of a change that is counted already.
    #[inline]
    pub fn note_touch(&mut self, key: Key<'_>) {
        self.locked.shard_mut(key).note_change(self.db, key.bytes());
        if self.changes.tracking != Tracking::Off {
            self.note_stale(key, false);
        }
    }

    /// Copies of a key that clients keep are out of date.
    #[cold]
    pub(crate) fn note_stale(&mut self, key: Key<'_>, by_time: bool) {
        if let Some(readers) = self.locked.take_readers(key) {
            self.changes.stale.push(Stale::Read { readers, by_time });
        } else if self.changes.tracking == Tracking::Every {
            let key = key.bytes().into();
            self.changes.stale.push(Stale::Unread { key, by_time });
        }
    }

    /// All copies are out of date. All shards are locked.
    fn note_all_stale(&mut self) {
        if self.changes.tracking != Tracking::Off {
            self.changes.stale.push(Stale::All);
        } else if self.locked.keyspace.tracked().keys() != 0 {
            // Of those who are no longer told anything.
            self.locked.forget_readers();
        }
    }

    /// Has a value freed that was taken out of a key, in the background if that takes long.
    pub fn discard(&mut self, value: Value<'static>) {
        self.locked.keyspace.discard_value(Some(value));
    }

    /// The number of changes so far.
    #[inline]
    pub fn dirty(&self) -> u64 {
        self.changes.dirty
    }

    /// Whether keys were found due and removed since [`Self::take_expired`] was called last.
    #[inline]
    pub fn has_expired(&self) -> bool {
        !self.changes.expired.is_empty()
    }

    /// The keys that were found due and removed since the last call, with their databases.
    #[inline]
    pub fn take_expired(&mut self) -> Vec<(usize, Box<[u8]>)> {
        std::mem::take(&mut self.changes.expired)
    }

    /// Counts fields that were due and are gone now.
    pub fn add_expired_fields(&mut self, count: u64) {
        self.changes.expired_fields += count;
    }

    /// Counts changes beyond one a key.
    pub fn add_dirty(&mut self, count: u64) {
        self.changes.dirty += count;
    }

    /// Whether the locks that are held cover a key.
    pub fn covers(&self, key: Key<'_>) -> bool {
        self.locked.covers(key)
    }

    /// Number of keys in the database, under all locks or none.
    pub fn len(&self) -> usize {
        if self.reads_published_counts() {
            return self.locked.keyspace.len(self.db);
        }
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
        if self.reads_published_counts() {
            return self.locked.keyspace.key_counts(self.db).1;
        }
        let mut len = 0;
        self.for_each_shard(|shard| len += shard.volatile_len(self.db));
        len
    }

    fn reads_published_counts(&self) -> bool {
        self.locked.is_empty() && self.db < COUNTED_DBS
    }

    /// How full the database's tables are.
    pub fn shape(&self) -> TableShape {
        let mut sum = TableShape::default();
        self.for_each_shard(|shard| {
            for shape in shard.tables(self.db).map(Table::shape) {
                sum.directory_len += shape.directory_len;
                sum.segments += shape.segments;
                sum.slots += shape.slots;
                sum.records += shape.records;
            }
        });
        sum
    }

    /// Looks at every shard: at all under the locks that are held, or at one after the other, each under its own, until one
    /// is busy.
    fn for_each_shard(&self, mut look: impl FnMut(&Shard)) {
        if self.locked.is_whole() {
            self.locked.shards().for_each(look);
        } else {
            assert!(self.locked.is_empty(), "a walk takes locks, so it must hold none");
            let walked = self.locked.keyspace.try_each_shard(|_, shard| look(shard));
            self.note_if_busy(walked);
        }
    }

    /// Looks at one shard, as [`Self::for_each_shard`]; `None` if it is busy.
    pub(crate) fn with_shard<T>(&self, index: usize, look: impl FnOnce(&Shard) -> T) -> Option<T> {
        if self.locked.is_whole() {
            return Some(look(self.locked.shards().nth(index).expect("all shards are locked")));
        }
        assert!(self.locked.is_empty(), "a walk takes locks, so it must hold none");
        let locked = self.locked.keyspace.try_lock(&ShardSet::of_shard(index));
        let locked = self.note_if_busy(locked)?;
        Some(look(locked.shards().next().expect("one shard was locked")))
    }

    fn note_if_busy<T>(&self, taken: Result<T, usize>) -> Option<T> {
        taken.inspect_err(|&busy| self.changes.busy_shard.set(Some(busy))).ok()
    }

    /// Whether a walk has met a busy shard, so that the command only has to end.
    fn is_cut_short(&self) -> bool {
        self.changes.busy_shard.get().is_some()
    }

    /// A key chosen at random, due ones not; `None` if there seems to be none. For commands that walk.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        // Where so many keys in a row are due, one that is not is looked for instead.
        const TRIES: usize = 16;
        for _ in 0..TRIES {
            let index = self.random_shard()?;
            let mut random = self.split_random();
            let due_until = self.due_until();
            let picked = self.with_shard(index, |shard| {
                let record = shard.random(self.db, &mut random)?;
                let is_due = record.deadline().is_some_and(|deadline| deadline <= due_until);
                Some((record.key().to_vec(), is_due))
            })?;
            match picked {
                Some((key, false)) => return Some(key),
                Some((key, true)) => self.found_due(&key),
                None => {}
            }
        }
        self.first_key_after_random_position()
    }

    /// A shard, each as likely as it has keys; `None` if there are no keys, or a shard is busy.
    fn random_shard(&mut self) -> Option<usize> {
        // Shards whose lengths are looked at to guess the length of all.
        const SAMPLES: usize = 16;
        // With so many keys a shard, none has twice the mean: keys are spread by hash.
        const EVEN_LEN_MIN: usize = 64;
        // About every other try succeeds, unless somebody empties the database meanwhile.
        const TRIES_MAX: usize = 128;
        let mut random = self.split_random();
        let len_of = |view: &Self, index: usize| view.with_shard(index, |it| it.len(view.db));
        let any_shard = |random: &mut Random| random.below(SHARD_COUNT as u64) as usize;
        let samples = (0..SAMPLES).map(|_| len_of(self, any_shard(&mut random)));
        // Slots are as uneven as clients make them.
        let are_spread = !is_placed_by_slot();
        let sampled = if are_spread { samples.sum::<Option<usize>>()? } else { 0 };
        if EVEN_LEN_MIN * SAMPLES <= sampled {
            let bound = sampled / SAMPLES * 2;
            for _ in 0..TRIES_MAX {
                let index = any_shard(&mut random);
                let rank = random.below(bound as u64) as usize;
                if rank < len_of(self, index)? {
                    return Some(index);
                }
            }
        }
        let lens = self.shard_lens()?;
        let len: usize = lens.iter().sum();
        let mut rank = random.below(len.max(1) as u64) as usize;
        lens.iter().position(|&it| {
            let is_chosen = rank < it;
            rank = rank.saturating_sub(it);
            is_chosen
        })
    }

    /// How many keys each shard has; `None` if one is busy.
    fn shard_lens(&self) -> Option<[usize; SHARD_COUNT]> {
        if self.reads_published_counts() {
            let keyspace = self.locked.keyspace;
            return Some(std::array::from_fn(|shard| keyspace.published.in_shard(self.db, shard)));
        }
        let (mut lens, mut index) = ([0; SHARD_COUNT], 0);
        self.for_each_shard(|shard| {
            lens[index] = shard.len(self.db);
            index += 1;
        });
        (!self.is_cut_short()).then_some(lens)
    }

    /// A key that is not due, found by a walk through a bounded number of records.
    fn first_key_after_random_position(&mut self) -> Option<Vec<u8>> {
        const RECORDS_MAX: usize = 1 << 16;
        const RECORDS_PER_STEP: usize = 64;
        let start = ScanCursor::at_shard(self.random.below(SHARD_COUNT as u64) as usize);
        let mut seen = 0;
        for mut cursor in [start, ScanCursor::START] {
            loop {
                let mut found = None;
                let next = self.scan(cursor, RECORDS_PER_STEP, |record, is_due| {
                    seen += 1;
                    if !is_due && found.is_none() {
                        found = Some(record.key().to_vec());
                    }
                });
                if found.is_some() || RECORDS_MAX <= seen {
                    return found;
                }
                let Some(next) = next else { break };
                cursor = next;
            }
        }
        None
    }

    /// A random generator to use while `self` is borrowed.
    fn split_random(&mut self) -> Random {
        Random::with_seed(self.random.next_u64())
    }

    /// A walk has found a due key: it goes now, or after the walk if its shard is no longer locked.
    pub fn found_due(&mut self, key: &[u8]) {
        if self.options.due_keys != DueKeys::Removed {
            return;
        }
        if self.locked.is_whole() {
            self.remove_if_due(Key::new(key));
        } else {
            self.changes.found_due.push((self.db, key.into()));
        }
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
        self.changes.was_flushed |= db.is_none();
        self.changes.was_emptied = true;
        self.note_all_stale();
        let tables = self.locked.take_tables(db);
        for shard in self.locked.shards_mut() {
            let dbs = db.map_or(0..shard.db_count(), |db| db..db + 1);
            dbs.for_each(|db| shard.waiters.note_swap(db));
        }
        let removed = tables.iter().map(|it| it.table.len()).sum::<usize>() as u64;
        self.forget_tables(tables);
        self.changes.dirty += removed;
        removed
    }

    /// Has freed what was taken out, unless it may have to come back.
    pub(crate) fn forget_tables(&mut self, tables: Vec<TakenTable>) {
        if let Some(undo) = &mut self.changes.undo {
            undo.remember_emptied(tables);
        } else {
            let tables = tables.into_iter().map(|it| it.table);
            self.locked.keyspace.discard_tables(tables.collect());
        }
    }

    pub(crate) fn locked(&self) -> &Locked<'k> {
        self.locked
    }

    pub(crate) fn locked_mut(&mut self) -> &mut Locked<'k> {
        self.locked
    }

    pub(crate) fn changes(&self) -> &Changes {
        self.changes
    }

    /// Exchanges two databases. All shards are locked.
    pub fn swap_dbs(&mut self, first: usize, second: usize) {
        self.changes.dirty += 1;
        if first == second {
            return;
        }
        if let Some(undo) = &mut self.changes.undo {
            undo.remember_exchange(first, second);
        }
        self.note_all_stale();
        let now = self.now;
        for shard in self.locked.shards_mut() {
            shard.note_exchange(first, second, now);
            shard.swap(first, second);
            shard.waiters.note_swap(first);
            shard.waiters.note_swap(second);
        }
    }

    /// Visits some `count` records from `cursor` on, through as many shards as it takes, with whether they are due:
    /// then a client does not see them. `None` after the last, and where a shard is busy. For commands that walk.
    pub fn scan(
        &self,
        mut cursor: ScanCursor,
        count: usize,
        mut visit: impl FnMut(RecordRef<'_>, bool),
    ) -> Option<ScanCursor> {
        let due_until = self.due_until();
        let mut seen = 0;
        loop {
            let next = self.with_shard(cursor.shard(), |shard| {
                shard.scan(self.db, cursor, None, count - seen.min(count), |record| {
                    seen += 1;
                    visit(record, record.deadline().is_some_and(|it| it <= due_until));
                })
            })?;
            cursor = next?;
            if count <= seen {
                return Some(cursor);
            }
        }
    }

    /// An image of all databases at this instant, for commands that walk; of nothing, if a shard is busy.
    pub fn image(&mut self) -> Snapshot {
        if self.locked.is_whole() {
            return Snapshot::of(self.locked.shards_mut());
        }
        assert!(self.locked.is_empty(), "a walk takes locks, so it must hold none");
        let locked = self.note_if_busy(self.locked.keyspace.try_lock(&ShardSet::All));
        locked.map_or_else(Snapshot::empty, |mut locked| locked.snapshot())
    }

    #[inline]
    fn table(&self, key: Key<'_>) -> Option<&Table> {
        self.locked.shard(key).table(self.db, key.table_hash())
    }

    /// Removes a key that is due, on a master. Free where the database has no keys with deadlines.
    #[inline]
    fn remove_if_due(&mut self, key: Key<'_>) {
        let has_deadlines = self.table(key).is_some_and(|table| table.volatile_len() != 0);
        if has_deadlines && self.removes_due() {
            self.remove_due(key);
        }
    }

    fn remove_due(&mut self, key: Key<'_>) {
        let found = self.locked.record_of(self.db, key);
        let deadline = found.and_then(RecordRef::deadline);
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            self.expire(key);
        }
    }

    #[cold]
    fn expire(&mut self, key: Key<'_>) {
        if let Some(record) = self.take_any(key) {
            self.locked.keyspace.discard_record(record);
            self.locked.shard_mut(key).note_change(self.db, key.bytes());
            if self.changes.tracking != Tracking::Off {
                self.note_stale(key, true);
            }
            self.changes.expired.push((self.db, key.bytes().into()));
            self.changes.expired_count += 1;
        }
    }

    fn take_any(&mut self, key: Key<'_>) -> Option<Record> {
        self.note_before(key);
        self.locked.table_mut(self.db, key).remove(key.table_hash(), key.bytes())
    }

    /// A key is about to be changed, and what was there may have to come back.
    #[inline]
    fn note_before(&mut self, key: Key<'_>) {
        if self.changes.can_undo() {
            self.remember(key);
        }
    }

    #[cold]
    fn remember(&mut self, key: Key<'_>) {
        let found = self.locked.record_of(self.db, key);
        if let Some(undo) = &mut self.changes.undo {
            undo.remember(self.db, key, found);
        }
    }
}

impl Locked<'_> {
    /// Empties the database, or all of them, which breaks the watches on keys that were there. All shards are locked.
    pub(crate) fn take_tables(&mut self, db: Option<usize>) -> Vec<TakenTable> {
        let mut tables = Vec::new();
        for (number, shard) in self.shards_mut().enumerate() {
            let dbs = db.map_or(0..shard.db_count(), |db| db..db + 1);
            for db in dbs {
                let mut watched = shard.watched_keys(db);
                watched.retain(|key| shard.find(db, key).is_some());
                let taken = shard.take_tables(db);
                let taken = taken.into_iter();
                tables.extend(taken.map(|(at, table)| TakenTable { shard: number, at, table }));
                watched.iter().for_each(|key| shard.break_watches(db, key));
            }
        }
        tables
    }

    /// Lets all who wait for keys of the first `databases` look again, since those may have changed or gone without
    /// anybody's saying so.
    pub fn make_all_ready(&mut self, databases: usize) {
        for shard in self.shards_mut() {
            (0..databases).for_each(|db| shard.waiters.note_swap(db));
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
