//! All shards behind their locks, and the one way to take them. Never runs a command.

mod exchange;
mod standing;
mod tracked;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

use rubine_structures::record::{Record, RecordRef};
use rubine_structures::table::{Hint, Hints, Reading, Table, prefetch_whole};
use rubine_structures::value::Value;
use smallvec::SmallVec;

use crate::busy::{NEWCOMER, OLDEST, ShardLock, Tell};
use crate::counts::{COUNTED_DBS, PublishedCounts};
use crate::key::{Key, Place, SHARD_COUNT, table_bits, table_number};
use crate::shard::Shard;
use crate::shard_set::ShardSet;
use crate::snapshot::Snapshot;
use crate::sync::{MutexGuard, fence_after_unlock};
use crate::tables::{hint_number, new_hints};
use crate::tracking::TrackedCounts;
use crate::waiters::{Ready, Waiter};
use crate::watch::Watch;

/// A record or value whose release takes more allocations than this goes to the background thread.
const DROP_COST_MAX: usize = 64;

/// What is freed on the background thread.
#[derive(Debug)]
pub enum Garbage {
    Record(Record),
    Value(Value<'static>),
    Tables(Vec<Table>),
}

/// Counts what is freed on the background thread.
#[derive(Debug, Default)]
pub struct GarbageCounts {
    discarded: AtomicU64,
    freed: AtomicU64,
    pending_bytes: AtomicUsize,
    pending_databases: AtomicUsize,
}

impl GarbageCounts {
    /// How many values have been freed, those of databases that were emptied among them.
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    /// How many wait to be freed.
    pub fn pending(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed).saturating_sub(self.freed())
    }

    /// Bytes of the values that wait, about.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    /// Whether whole databases, of unknown size, wait.
    pub fn has_pending_databases(&self) -> bool {
        self.pending_databases.load(Ordering::Relaxed) != 0
    }
}

/// Something on its way to the background thread, which frees it by dropping this.
#[derive(Debug)]
pub struct Discarded {
    garbage: Option<Garbage>,
    /// How many values it is.
    count: u64,
    bytes: usize,
    counts: Arc<GarbageCounts>,
}

impl Drop for Discarded {
    fn drop(&mut self) {
        let is_database = matches!(self.garbage, Some(Garbage::Tables(_)));
        self.garbage = None;
        self.counts.freed.fetch_add(self.count, Ordering::Relaxed);
        self.counts.pending_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if is_database {
            self.counts.pending_databases.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whom to tell that a busy shard is free.
struct Teller(Box<dyn Tell>);

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

/// For whoever lets no request stand for a shard.
struct Nobody;

impl Tell for Nobody {
    fn tell(&self, _: usize, _: &[u64]) {}
}

/// All data of a server.
#[derive(Debug)]
pub struct Keyspace {
    pub(crate) shards: Box<[ShardLock]>,
    teller: Teller,
    /// The number of the last who came to wait: a request for a busy shard, or a client for a key.
    last_age: AtomicU64,
    /// Where to prefetch, for whoever has not locked yet.
    hints: Hints,
    /// Of the number of tables that a shard has for each database.
    table_bits: u32,
    pub(crate) published: PublishedCounts,
    garbage: mpsc::Sender<Discarded>,
    counts: Arc<GarbageCounts>,
    pub(crate) tracked: TrackedCounts,
}

impl Keyspace {
    /// An empty keyspace, and the queue that a background thread empties: dropping what it receives frees memory.
    /// Requests cannot stand for busy shards: nobody would be told.
    pub fn new() -> (Self, mpsc::Receiver<Discarded>) {
        Self::telling(Box::new(Nobody))
    }

    /// As [`Self::new`], with whom to tell that requests which stand for a busy shard may go on.
    pub fn telling(teller: Box<dyn Tell>) -> (Self, mpsc::Receiver<Discarded>) {
        let (garbage, receiver) = mpsc::channel();
        let hints = new_hints();
        let shards = (0..SHARD_COUNT)
            .map(|number| ShardLock::new(Shard::new(number, hints.clone())))
            .collect();
        let (last_age, counts, tracked) = Default::default();
        let (teller, published) = (Teller(teller), PublishedCounts::new());
        let keyspace = Self {
            shards,
            teller,
            last_age,
            hints,
            table_bits: table_bits(),
            published,
            garbage,
            counts,
            tracked,
        };
        (keyspace, receiver)
    }

    /// Takes the locks of `set`, ascending, and waits for each as long as it takes: for one that is held for long without
    /// holding the others, which clients need. The caller holds no other.
    ///
    /// For threads that may wait. A worker has [`Self::try_lock`].
    #[inline]
    pub fn lock(&self, set: &ShardSet) -> Locked<'_> {
        match set {
            ShardSet::One(shard) => self.one_locked(self.guard(*shard)),
            _ => self.lock_several(set),
        }
    }

    #[inline]
    fn one_locked<'k>(&'k self, guard: Guard<'k>) -> Locked<'k> {
        let release = Release { keyspace: self, lock: &self.shards[usize::from(guard.0)] };
        Locked { guards: Guards::One(OneGuard { guard, release }), keyspace: self }
    }

    fn several_locked<'k>(&'k self, guards: SmallVec<[Guard<'k>; 2]>) -> Locked<'k> {
        Locked { guards: Guards::Many(ManyGuards { guards, keyspace: self }), keyspace: self }
    }

    #[inline(never)]
    fn lock_several(&self, set: &ShardSet) -> Locked<'_> {
        loop {
            // Past all that stand: whoever waits here is no request.
            match self.lock_several_as(set, OLDEST) {
                Ok(locked) => return locked,
                Err(busy) => drop(self.one_locked(self.guard(busy as u16))),
            }
        }
    }

    #[inline]
    fn guard(&self, shard: u16) -> Guard<'_> {
        (shard, self.shards[usize::from(shard)].shard.lock())
    }

    /// Takes the locks of `set`, ascending, each within a bound, and past those that are younger than `age`.
    #[inline]
    pub(crate) fn lock_as(&self, set: &ShardSet, age: u64) -> Result<Locked<'_>, usize> {
        match set {
            ShardSet::One(shard) => {
                let guard = self.shards[usize::from(*shard)].lock_within_bound(age);
                let guard = guard.ok_or(usize::from(*shard))?;
                Ok(self.one_locked((*shard, guard)))
            }
            _ => self.lock_several_as(set, age),
        }
    }

    #[inline(never)]
    fn lock_several_as(&self, set: &ShardSet, age: u64) -> Result<Locked<'_>, usize> {
        let mut guards = SmallVec::new();
        for shard in set.each() {
            if let Some(guard) = self.shards[usize::from(shard)].lock_within_bound(age) {
                guards.push((shard, guard));
                continue;
            }
            drop(self.several_locked(guards));
            return Err(usize::from(shard));
        }
        Ok(self.several_locked(guards))
    }

    /// Gives several locks back, and looks then whether anybody stands for them.
    #[inline(never)]
    fn give_back(&self, mut guards: SmallVec<[Guard<'_>; 2]>) {
        guards.iter_mut().for_each(|(_, shard)| shard.publish_counts(&self.published));
        let numbers: SmallVec<[u16; 8]> = guards.iter().map(|it| it.0).collect();
        drop(guards);
        fence_after_unlock();
        for lock in numbers.into_iter().map(|it| &self.shards[usize::from(it)]) {
            if lock.is_awaited() {
                self.tell_next(lock);
            }
        }
    }

    /// Takes the lock of a shard if it is free now and nobody stands for it.
    #[inline]
    fn lock_if_free(&self, shard: usize) -> Option<Locked<'_>> {
        let lock = &self.shards[shard];
        let guard = if lock.is_awaited() { None } else { lock.shard.try_lock() }?;
        Some(self.one_locked((shard as u16, guard)))
    }

    pub(crate) fn teller(&self) -> &dyn Tell {
        &*self.teller.0
    }

    /// A number that is higher than all before.
    pub(crate) fn next_age(&self) -> u64 {
        self.last_age.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Where a key lies, or would, by which it can be prefetched without any lock.
    #[inline]
    pub fn hint<'r>(&self, reading: &'r Reading, db: usize, place: Place) -> Option<Hint<'r>> {
        // Databases without hints have higher numbers.
        self.hints.look(reading, self.hint_number(db, place), place.table_hash)
    }

    #[inline]
    fn hint_number(&self, db: usize, place: Place) -> usize {
        let table = table_number(place.table_hash, self.table_bits);
        hint_number(place.shard(), db, table, self.table_bits)
    }

    /// Asks the processor to fetch the shard that a key is in, and its table if that lies elsewhere.
    #[inline]
    pub fn prefetch_shard(&self, db: usize, place: Place) {
        prefetch_whole(&self.shards[place.shard()]);
        if self.table_bits != 0 {
            self.hints.prefetch_table(self.hint_number(db, place));
        }
    }

    /// Asks the processor to fetch the home buckets of keys, without any lock.
    pub fn prefetch_buckets(&self, places: &[(usize, Place)]) {
        let reading = Reading::new();
        for &(db, place) in places {
            if let Some(hint) = self.hint(&reading, db, place) {
                hint.prefetch_bucket();
            }
        }
    }

    /// Asks the processor to fetch what looking up `members` of the collection at `key` will read, if that is large.
    /// Takes the lock of its shard if that is free: a hint is not worth waiting for.
    pub fn prefetch_members(&self, db: usize, key: Key<'_>, members: &[&[u8]]) {
        let Some(locked) = self.lock_if_free(key.shard()) else { return };
        if let Some(record) = locked.record_of(db, key) {
            record.value().prefetch(members);
        }
    }

    /// Looks at one shard after the other, each under its own lock, which it waits for.
    pub fn for_each_shard(&self, mut look: impl FnMut(usize, &Shard)) {
        for index in 0..SHARD_COUNT {
            let locked = self.lock(&ShardSet::of_shard(index));
            locked.shards().for_each(|shard| look(index, shard));
        }
    }

    /// Looks at one shard after the other, each under its own lock, and passes those by that are busy. Returns how many
    /// these were.
    pub fn for_each_free_shard(&self, mut look: impl FnMut(usize, &Shard)) -> usize {
        let mut passed_count = 0;
        for index in 0..SHARD_COUNT {
            match self.try_lock(&ShardSet::of_shard(index)) {
                Ok(locked) => locked.shards().for_each(|shard| look(index, shard)),
                Err(_) => passed_count += 1,
            }
        }
        passed_count
    }

    /// As [`Self::for_each_shard`], for walks that need each shard and must not wait: ends with the number of the first that
    /// is busy, for which the request is to stand before it walks again.
    pub fn try_each_shard(&self, mut look: impl FnMut(usize, &Shard)) -> Result<(), usize> {
        for index in 0..SHARD_COUNT {
            let locked = self.try_lock(&ShardSet::of_shard(index))?;
            locked.shards().for_each(|shard| look(index, shard));
        }
        Ok(())
    }

    /// Number of keys in a database. Takes no lock where the database is one of the first 16, or where others have none.
    pub fn len(&self, db: usize) -> usize {
        self.key_counts(db).0
    }

    /// Number of keys in a database, and of those of them that have a deadline. As [`Self::len`].
    pub fn key_counts(&self, db: usize) -> (usize, usize) {
        if db < COUNTED_DBS {
            return self.published.sum(db);
        }
        if self.published.sum_of_others() == (0, 0) {
            return (0, 0);
        }
        let mut counts = (0, 0);
        self.for_each_shard(|_, shard| {
            counts.0 += shard.len(db);
            counts.1 += shard.volatile_len(db);
        });
        counts
    }

    /// Number of keys in all databases, and of those of them that have a deadline. Takes no lock.
    pub fn total_key_counts(&self) -> (usize, usize) {
        self.published.total()
    }

    /// Whether a database has no keys.
    pub fn is_empty(&self, db: usize) -> bool {
        self.len(db) == 0
    }

    /// Takes a waiter whose wait was cancelled out of its queues. Does not wait: it stays where a shard is busy, passed by by
    /// all, until somebody else comes to wait there or the key is changed.
    pub fn abandon_wait(&self, waiter: &Waiter) {
        for &index in &waiter.keys {
            let key = Key::new(&waiter.args[index]);
            if let Ok(mut locked) = self.try_lock(&ShardSet::of(key)) {
                locked.shard_mut(key).waiters.remove(waiter.db, key.bytes(), waiter);
            }
        }
    }

    /// Takes a watch away from the keys that it is registered at. Does not wait: it stays where a shard is busy, and breaks
    /// for nobody, until the key is changed or watched. It is not used again.
    pub fn abandon_watch<'a>(
        &self,
        keys: impl Iterator<Item = (usize, &'a [u8])>,
        watch: &Arc<Watch>,
    ) {
        watch.mark_over();
        for (db, key) in keys {
            if let Ok(mut locked) = self.try_lock(&ShardSet::of(Key::new(key))) {
                locked.unwatch(db, key, watch);
            }
        }
    }

    /// An image of all databases at one instant. Takes all locks for some microseconds.
    pub fn snapshot(&self) -> Snapshot {
        self.lock(&ShardSet::All).snapshot()
    }

    /// Empties all databases, which breaks watches, and forgets who keeps copies of keys: the caller tells them. Waiters hear
    /// of it from whoever fills them again, by [`Locked::make_all_ready`].
    pub fn clear(&self) {
        let mut locked = self.lock(&ShardSet::All);
        let tables = locked.take_tables(None);
        locked.forget_readers();
        drop(locked);
        let tables = tables.into_iter().map(|it| it.table);
        self.discard(Garbage::Tables(tables.collect()));
    }

    /// Adds records of one shard, as a file had them, with their databases and table hashes. Hands those to `refused`
    /// whose key is there already, unless `replaces`.
    ///
    /// Nobody is told: neither watches nor waiters can be there while data is loaded.
    pub fn load(
        &self,
        shard: usize,
        records: impl Iterator<Item = (usize, u64, Record)>,
        replaces: bool,
        mut refused: impl FnMut(usize, Record),
    ) {
        let mut locked = self.lock(&ShardSet::of_shard(shard));
        let shard = locked.shards_mut().next().expect("one shard was locked");
        for (db, hash, record) in records {
            let table = shard.table_mut(db, hash);
            if table.find(hash, record.as_ref().key()).is_some() {
                if !replaces {
                    refused(db, record);
                    continue;
                }
                if let Some(old) = table.remove(hash, record.as_ref().key()) {
                    self.discard_record(old);
                }
            }
            table.insert(hash, record);
        }
    }

    /// What was given to the background thread, and what it has done.
    pub fn garbage(&self) -> &GarbageCounts {
        &self.counts
    }

    /// Has `garbage` freed on the background thread.
    pub(crate) fn discard(&self, garbage: Garbage) {
        let counts = self.counts.clone();
        let count = match &garbage {
            Garbage::Record(_) | Garbage::Value(_) => 1,
            Garbage::Tables(tables) => tables.iter().map(|it| it.len() as u64).sum(),
        };
        counts.discarded.fetch_add(count, Ordering::Relaxed);
        let bytes = match &garbage {
            Garbage::Record(record) => record.as_ref().value().heap_bytes(),
            Garbage::Value(Value::List(list)) => list.heap_bytes(),
            Garbage::Value(Value::Hash(hash)) => hash.heap_bytes(),
            Garbage::Value(_) | Garbage::Tables(_) => 0,
        };
        counts.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        if matches!(garbage, Garbage::Tables(_)) {
            counts.pending_databases.fetch_add(1, Ordering::Relaxed);
        }
        let garbage = Discarded { garbage: Some(garbage), count, bytes, counts };
        // Without a background thread, as in tests, it is freed here.
        let _ = self.garbage.send(garbage);
    }

    /// Has whole databases freed, elsewhere if that takes long.
    pub(crate) fn discard_tables(&self, tables: Vec<Table>) {
        let records: usize = tables.iter().map(Table::len).sum();
        let cost_of = |table: &Table| {
            let mut cost = 0;
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                cursor = table.scan(at, usize::MAX, |it| cost += 1 + it.value().drop_cost());
            }
            cost
        };
        let is_little =
            records <= DROP_COST_MAX && tables.iter().map(cost_of).sum::<usize>() <= DROP_COST_MAX;
        if !is_little {
            self.discard(Garbage::Tables(tables));
        }
    }

    /// Has a record freed, elsewhere if that takes long.
    pub(crate) fn discard_record(&self, record: Record) {
        if DROP_COST_MAX < record.as_ref().value().drop_cost() {
            self.discard(Garbage::Record(record));
        }
    }

    pub(crate) fn discard_value(&self, value: Option<Value<'static>>) {
        let Some(value) = value else { return };
        let cost = match &value {
            Value::List(list) => list.drop_cost(),
            Value::Set(set) => set.drop_cost(),
            Value::Hash(hash) => hash.drop_cost(),
            Value::SortedSet(set) => set.drop_cost(),
            Value::Stream(stream) => stream.drop_cost(),
            Value::Int(_) | Value::Bytes(_) | Value::Raw(_) | Value::Shared(_) => 0,
        };
        if DROP_COST_MAX < cost {
            self.discard(Garbage::Value(value));
        }
    }
}

/// A shard's number and its lock, which is held.
type Guard<'k> = (u16, MutexGuard<'k, Shard>);

/// Guards, ascending by shard number. Most commands need one, and are spared the list.
#[derive(Debug)]
enum Guards<'k> {
    One(OneGuard<'k>),
    Many(ManyGuards<'k>),
}

/// One lock that is held. Its fields are dropped in their order.
#[derive(Debug)]
struct OneGuard<'k> {
    guard: Guard<'k>,
    release: Release<'k>,
}

impl Drop for OneGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.guard.1.publish_counts(&self.release.keyspace.published);
    }
}

/// Looks, when the lock of one shard was given back, whether anybody stands for it.
#[derive(Debug)]
struct Release<'k> {
    keyspace: &'k Keyspace,
    lock: &'k ShardLock,
}

impl Drop for Release<'_> {
    #[inline]
    fn drop(&mut self) {
        fence_after_unlock();
        if self.lock.is_awaited() {
            self.keyspace.tell_next(self.lock);
        }
    }
}

/// Several locks that are held.
#[derive(Debug)]
struct ManyGuards<'k> {
    guards: SmallVec<[Guard<'k>; 2]>,
    keyspace: &'k Keyspace,
}

impl Drop for ManyGuards<'_> {
    #[inline]
    fn drop(&mut self) {
        self.keyspace.give_back(std::mem::take(&mut self.guards));
    }
}

impl<'k> Deref for Guards<'k> {
    type Target = [Guard<'k>];

    #[inline]
    fn deref(&self) -> &[Guard<'k>] {
        match self {
            Self::One(one) => std::slice::from_ref(&one.guard),
            Self::Many(many) => &many.guards,
        }
    }
}

impl DerefMut for Guards<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::One(one) => std::slice::from_mut(&mut one.guard),
            Self::Many(many) => &mut many.guards,
        }
    }
}

const NOT_COVERED: &str = "the lock set covers every key that a command touches";

fn guard_index(guards: &[Guard<'_>], key: Key<'_>) -> usize {
    guards.binary_search_by_key(&(key.shard() as u16), |it| it.0).expect(NOT_COVERED)
}

/// Shards whose locks are held.
#[derive(Debug)]
pub struct Locked<'k> {
    guards: Guards<'k>,
    pub(crate) keyspace: &'k Keyspace,
}

impl Locked<'_> {
    /// The shard of `key`.
    ///
    /// # Panics
    /// If the lock set does not cover the key: the command's declaration is wrong.
    #[inline]
    pub(crate) fn shard(&self, key: Key<'_>) -> &Shard {
        match &self.guards {
            Guards::One(OneGuard { guard: (number, shard), .. }) => {
                assert!(usize::from(*number) == key.shard(), "{NOT_COVERED}");
                shard
            }
            Guards::Many(ManyGuards { guards, .. }) => &guards[guard_index(guards, key)].1,
        }
    }

    /// A locked shard.
    ///
    /// # Panics
    /// If it is not locked.
    pub(crate) fn shard_numbered(&self, number: usize) -> &Shard {
        let found = self.guards.binary_search_by_key(&(number as u16), |it| it.0);
        &self.guards[found.expect(NOT_COVERED)].1
    }

    /// As [`Self::shard_numbered`].
    pub(crate) fn shard_numbered_mut(&mut self, number: usize) -> &mut Shard {
        let found = self.guards.binary_search_by_key(&(number as u16), |it| it.0);
        &mut self.guards[found.expect(NOT_COVERED)].1
    }

    /// The table in which a key belongs.
    #[inline]
    pub(crate) fn table_mut(&mut self, db: usize, key: Key<'_>) -> &mut Table {
        self.shard_mut(key).table_mut(db, key.table_hash())
    }

    #[inline]
    pub(crate) fn shard_mut(&mut self, key: Key<'_>) -> &mut Shard {
        match &mut self.guards {
            Guards::One(OneGuard { guard: (number, shard), .. }) => {
                assert!(usize::from(*number) == key.shard(), "{NOT_COVERED}");
                shard
            }
            Guards::Many(ManyGuards { guards, .. }) => {
                let index = guard_index(guards, key);
                &mut guards[index].1
            }
        }
    }

    /// The record of a key, due or not.
    #[inline]
    pub(crate) fn record_of(&self, db: usize, key: Key<'_>) -> Option<RecordRef<'_>> {
        self.shard(key).table(db, key.table_hash())?.find(key.table_hash(), key.bytes())
    }

    /// Looks a key up without any trace: what is due is not there, but stays.
    pub fn find(&self, db: usize, key: Key<'_>, now: i64) -> Option<RecordRef<'_>> {
        let record = self.record_of(db, key)?;
        record.deadline().is_none_or(|deadline| now < deadline).then_some(record)
    }

    /// Whether the key's shard is among the locked.
    pub fn covers(&self, key: Key<'_>) -> bool {
        self.guards.binary_search_by_key(&(key.shard() as u16), |it| it.0).is_ok()
    }

    /// Whether all shards of a set are among the locked.
    pub fn covers_all(&self, set: &ShardSet) -> bool {
        let has = |shard: &u16| self.guards.binary_search_by_key(shard, |it| it.0).is_ok();
        match set {
            ShardSet::One(shard) => has(shard),
            ShardSet::Some(shards) => shards.iter().all(has),
            ShardSet::All => self.is_whole(),
        }
    }

    /// Whether every shard is locked.
    pub fn is_whole(&self) -> bool {
        self.guards.len() == SHARD_COUNT
    }

    /// Whether no shard is locked.
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// All locked shards.
    pub fn shards_mut(&mut self) -> impl Iterator<Item = &mut Shard> {
        self.guards.iter_mut().map(|(_, shard)| &mut **shard)
    }

    /// All locked shards, to look at.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.guards.iter().map(|(_, shard)| &**shard)
    }

    /// The numbers of the locked shards, ascending.
    #[inline]
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.guards.iter().map(|it| usize::from(it.0))
    }

    /// Takes further locks, if each can be had within a bound, nobody stands for it and no hand-off is due there; else it takes
    /// none of them. For whoever has locked several, see [`ShardSet::several`]. Never waits, so that two who add
    /// each other's do not stop each other: they give up.
    pub fn try_add(&mut self, set: &ShardSet) -> bool {
        let (Guards::Many(held), keyspace) = (&mut self.guards, self.keyspace) else {
            return false;
        };
        if *set == ShardSet::All {
            return false;
        }
        let is_held = |shard: &u16| held.guards.binary_search_by_key(shard, |it| it.0).is_ok();
        let mut added: SmallVec<[Guard<'_>; 2]> = SmallVec::new();
        for shard in set.each().filter(|it| !is_held(it)) {
            let guard = keyspace.shards[usize::from(shard)].lock_within_bound(NEWCOMER);
            let is_free = guard.as_ref().is_some_and(|it| !it.waiters.has_ready());
            added.extend(guard.map(|it| (shard, it)));
            if !is_free {
                drop(keyspace.several_locked(added));
                return false;
            }
        }
        held.guards.extend(added);
        held.guards.sort_unstable_by_key(|it| it.0);
        true
    }

    /// The locked shards.
    pub fn shard_set(&self) -> ShardSet {
        match self.numbers().collect::<SmallVec<[usize; 4]>>().as_slice() {
            &[one] => ShardSet::of_shard(one),
            all if all.len() == SHARD_COUNT => ShardSet::All,
            some => ShardSet::Some(some.iter().map(|&it| it as u16).collect()),
        }
    }

    /// An image of all databases at this instant, which whoever holds all locks can tie to other things: to a place in
    /// the journal, for one.
    ///
    /// # Panics
    /// If a shard is not locked.
    pub fn snapshot(&mut self) -> Snapshot {
        assert!(self.is_whole(), "an image of all shards needs all locks");
        Snapshot::of(self.shards_mut())
    }

    /// All locked shards on which a hand-off is due.
    pub fn pending_hand_offs(&self) -> Vec<usize> {
        let pending = self.guards.iter().filter(|it| it.1.waiters.has_ready());
        pending.map(|it| usize::from(it.0)).collect()
    }

    /// The shard of which a hand-off to a waiter is due: whoever holds the locks gives them back, completes it, and
    /// tries again.
    #[inline]
    pub fn pending_hand_off(&self) -> Option<usize> {
        let due = |guard: &Guard<'_>| {
            let (number, shard) = guard;
            shard.waiters.has_ready().then_some(usize::from(*number))
        };
        match &self.guards {
            Guards::One(one) => due(&one.guard),
            Guards::Many(many) => many.guards.iter().find_map(due),
        }
    }

    /// The first key of a locked shard on which a hand-off is due.
    pub(crate) fn first_hand_off(&self) -> Option<Ready> {
        self.shards().find_map(|shard| shard.waiters.first_ready())
    }

    /// The first waiter behind `place` of a key on which a hand-off is due, for whom there may be something there.
    pub(crate) fn next_waiter(&self, ready: &Ready, place: u64, now: i64) -> Option<Arc<Waiter>> {
        let key = Key::new(&ready.key);
        let found = self.find(ready.db, key, now).map(|it| it.value().type_of());
        self.shard(key).waiters.next(ready, place, found)
    }

    /// Whether a hand-off is still due as it was looked up. If the key has changed since, its first waiter may be one
    /// that could not be served before.
    pub(crate) fn is_current(&self, ready: &Ready) -> bool {
        self.shard(Key::new(&ready.key)).waiters.is_current(ready)
    }

    /// The hand-off is complete: no waiter of the key can be served, unless the key has changed since.
    pub(crate) fn settle_hand_off(&mut self, ready: &Ready) {
        self.shard_mut(Key::new(&ready.key)).waiters.settle(ready);
    }

    /// Lets a waiter queue up at all of its keys.
    pub fn add_waiter(&mut self, waiter: &Arc<Waiter>) {
        waiter.set_place(self.keyspace.next_age());
        for &index in &waiter.keys {
            let key = &waiter.args[index];
            self.shard_mut(Key::new(key)).waiters.add(waiter.db, key, waiter);
        }
    }

    /// Takes a waiter out of all of its queues.
    pub fn remove_waiter(&mut self, waiter: &Waiter) {
        for &index in &waiter.keys {
            let key = &waiter.args[index];
            self.shard_mut(Key::new(key)).waiters.remove(waiter.db, key, waiter);
        }
    }

    /// A hand-off is due on all keys of a waiter, as if they had been changed.
    pub fn make_ready(&mut self, waiter: &Waiter) {
        for &index in &waiter.keys {
            let key = &waiter.args[index];
            self.shard_mut(Key::new(key)).waiters.note_change(waiter.db, key);
        }
    }

    /// Registers `watch` at a key.
    pub fn watch(&mut self, db: usize, key: &[u8], watch: &Arc<Watch>, now: i64) {
        self.shard_mut(Key::new(key)).watch(db, key, watch, now);
    }

    /// Whether a watched key has fallen due since `watch` began: EXEC takes that for a change.
    pub fn fell_due(&self, db: usize, key: &[u8], watch: &Arc<Watch>, now: i64) -> bool {
        self.shard(Key::new(key)).fell_due(db, key, watch, now)
    }

    /// Takes `watch` away from a key.
    pub fn unwatch(&mut self, db: usize, key: &[u8], watch: &Arc<Watch>) {
        self.shard_mut(Key::new(key)).unwatch(db, key, watch);
    }
}
