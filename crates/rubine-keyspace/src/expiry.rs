//! Removes keys and hash fields that are due although nobody asks for them. Never reads a clock: it is told the time
//! and given a number of steps.

use rubine_structures::record::{RecordRef, ValueMut};
use rubine_structures::table::Table;

use crate::key::{Key, SHARD_COUNT};
use crate::keyspace::Keyspace;
use crate::shard::Shard;
use crate::shard_set::ShardSet;
use crate::tables::TableAt;
use crate::tracking::Readers;

/// Fields that one step removes from one hash.
const FIELDS_PER_STEP_MAX: usize = 256;

/// Tables without anything that could be due that one step passes by.
const TABLES_PER_STEP_MAX: usize = 32;

/// Something that fell due and was removed; told while its shard is locked.
#[derive(Debug)]
pub enum Due<'a> {
    Key {
        db: usize,
        key: &'a [u8],
        /// Clients that keep copies of it.
        readers: Option<Readers>,
    },
    /// Fields of a hash. `is_empty` where none is left: the key was removed too.
    Fields {
        db: usize,
        key: &'a [u8],
        fields: &'a [Vec<u8>],
        is_empty: bool,
        /// As above.
        readers: Option<Readers>,
    },
}

/// A walk through some of the shards that goes round and round.
#[derive(Debug)]
pub struct ExpiryCycle {
    /// The shards of this walk: `first`, `first + step`, ...
    first: usize,
    step: usize,
    shard: usize,
    at: TableAt,
    table_hash: u64,
}

/// What one step of a walk did.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpiryStep {
    /// Keys with a deadline in the shard's database where the step was.
    pub volatile_count: usize,
    /// Keys that were looked at, about.
    pub examined_count: usize,
    /// Keys and fields removed.
    pub removed_count: usize,
    /// The walk has come round.
    pub is_round: bool,
    /// A shard on which a hand-off is due now, for the caller to complete: nobody else may come by.
    pub pending: Option<usize>,
}

impl ExpiryCycle {
    /// A walk through the shards `first`, `first + step`, ...
    pub fn new(first: usize, step: usize) -> Self {
        Self { first, step, shard: first, at: TableAt::default(), table_hash: 0 }
    }

    /// Looks through one segment of one table and removes what is due at `now`, unless `is_stopped`: it is asked when
    /// the shard is locked, since whoever held it before may have asked that nothing goes. A shard that is busy is passed
    /// by; the walk comes there again.
    pub fn step(
        &mut self,
        keyspace: &Keyspace,
        now: i64,
        is_stopped: impl Fn() -> bool,
        mut on_due: impl FnMut(Due<'_>),
    ) -> ExpiryStep {
        if SHARD_COUNT <= self.shard {
            self.shard = self.first;
            return ExpiryStep { is_round: true, ..ExpiryStep::default() };
        }
        let Ok(mut locked) = keyspace.try_lock(&ShardSet::of_shard(self.shard)) else {
            self.next_shard();
            return ExpiryStep::default();
        };
        // A hand-off comes first; the walk comes by again.
        let pending = locked.pending_hand_off();
        if pending.is_some() || is_stopped() {
            drop(locked);
            self.next_shard();
            return ExpiryStep { pending, ..ExpiryStep::default() };
        }
        let shard = locked.shards_mut().next().expect("one shard was locked");
        let mut due_keys: Vec<Vec<u8>> = Vec::new();
        let mut due_hashes: Vec<Vec<u8>> = Vec::new();
        let (mut next, mut volatile_count, mut examined_count) = (None, 0, 0);
        self.pass_tables_without_deadlines(shard);
        if let Some(table) = shard.table_at(self.at).filter(|table| table.has_deadlines()) {
            volatile_count = table.volatile_len();
            examined_count = table.segment_len(self.table_hash);
            next = table.due(self.table_hash, now, |record| {
                let is_due = record.deadline().is_some_and(|deadline| deadline <= now);
                if is_due { &mut due_keys } else { &mut due_hashes }.push(record.key().to_vec());
            });
        }
        let db = self.at.db;
        for key in &due_keys {
            expire_key(keyspace, shard, db, key, &mut on_due);
        }
        let mut removed_count = due_keys.len();
        for key in &due_hashes {
            removed_count += expire_fields(keyspace, shard, db, key, now, &mut on_due);
        }
        match next {
            Some(table_hash) => self.table_hash = table_hash,
            None => match shard.table_after(self.at) {
                Some(at) => (self.at, self.table_hash) = (at, 0),
                None => self.next_shard(),
            },
        }
        // Whoever waits for a key may wait for its end.
        let pending = locked.pending_hand_off();
        ExpiryStep { volatile_count, examined_count, removed_count, is_round: false, pending }
    }

    /// Goes on to a table where something may be due, or to the last of some.
    fn pass_tables_without_deadlines(&mut self, shard: &Shard) {
        for _ in 0..TABLES_PER_STEP_MAX {
            if shard.table_at(self.at).is_some_and(Table::has_deadlines) {
                break;
            }
            let Some(at) = shard.table_after(self.at) else { break };
            (self.at, self.table_hash) = (at, 0);
        }
    }

    fn next_shard(&mut self) {
        (self.shard, self.at) = (self.shard + self.step, TableAt::default());
        self.table_hash = 0;
    }
}

/// Removes those of `keys` that are due at `now`, each under its own lock, for a walk that found them and held none.
/// Passes busy shards by: a later walk finds the key again. `is_stopped` is as for `ExpiryCycle::step`. Returns the shards
/// on which a hand-off is due now, for the caller to complete.
pub fn remove_due(
    keyspace: &Keyspace,
    keys: &[(usize, Box<[u8]>)],
    now: i64,
    is_stopped: impl Fn() -> bool,
    mut on_due: impl FnMut(Due<'_>),
) -> Vec<usize> {
    let mut pending = Vec::new();
    for (db, key) in keys {
        let Ok(mut locked) = keyspace.try_lock(&ShardSet::of(Key::new(key))) else { continue };
        // A hand-off comes first; a later walk finds the key again.
        if locked.pending_hand_off().is_some() || is_stopped() {
            pending.extend(locked.pending_hand_off());
            continue;
        }
        let shard = locked.shard_mut(Key::new(key));
        let record = shard.find(*db, key);
        if record.and_then(RecordRef::deadline).is_some_and(|deadline| deadline <= now) {
            expire_key(keyspace, shard, *db, key, &mut on_due);
        }
        pending.extend(locked.pending_hand_off());
    }
    pending
}

fn expire_key(
    keyspace: &Keyspace,
    shard: &mut Shard,
    db: usize,
    key: &[u8],
    on_due: &mut impl FnMut(Due<'_>),
) {
    let hash = Key::new(key).table_hash();
    if let Some(record) = shard.table_mut(db, hash).remove(hash, key) {
        keyspace.discard_record(record);
        shard.note_change(db, key);
        let readers = shard.take_readers(Key::new(key), &keyspace.tracked);
        on_due(Due::Key { db, key, readers });
    }
}

fn expire_fields(
    keyspace: &Keyspace,
    shard: &mut Shard,
    db: usize,
    key: &[u8],
    now: i64,
    on_due: &mut impl FnMut(Due<'_>),
) -> usize {
    let hash = Key::new(key).table_hash();
    let Some(mut record) = shard.table_mut(db, hash).find_mut(hash, key) else { return 0 };
    let ValueMut::Hash(value) = record.value_mut() else { return 0 };
    let mut fields = Vec::new();
    value.expire_due(now, FIELDS_PER_STEP_MAX, |it| fields.push(it.key.to_vec()));
    let is_empty = value.is_empty();
    if let Some(deadline) = value.next_deadline() {
        record.note_inner_deadline(deadline);
    }
    if is_empty && let Some(record) = shard.table_mut(db, hash).remove(hash, key) {
        keyspace.discard_record(record);
    }
    if !fields.is_empty() {
        shard.note_change(db, key);
        let readers = shard.take_readers(Key::new(key), &keyspace.tracked);
        on_due(Due::Fields { db, key, fields: &fields, is_empty, readers });
    }
    fields.len()
}
