//! Choosing keys that may go when memory is full, and removing them. Never decides whether they have to.

use rubine_base::random::Random;
use rubine_structures::record::RecordRef;
use rubine_structures::table::Table;

use crate::access::Access;
use crate::key::Key;
use crate::keyspace::Locked;
use crate::shard::Shard;

/// By what keys are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionOrder {
    /// The longest unused goes first.
    Idle,
    /// The least used goes first.
    Frequency,
    /// What falls due first goes first.
    Deadline,
    /// Any.
    Random,
}

/// Which keys go, and by what they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionRule {
    pub order: EvictionOrder,
    /// Only keys that have a deadline go.
    pub only_volatile: bool,
}

/// A key that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The highest goes first.
    pub score: u64,
    pub db: usize,
    pub key: Box<[u8]>,
}

/// Records that are looked at for one candidate before it is searched for.
const LOOKS_PER_CANDIDATE: usize = 2;
/// Segments of one table that are looked into for candidates.
const SEGMENTS_MAX: usize = 64;

impl Shard {
    /// Hands out some `count` candidates of each database, if there are any.
    pub fn sample_for_eviction(
        &self,
        rule: EvictionRule,
        access: Access,
        count: usize,
        random: &mut Random,
        mut visit: impl FnMut(Candidate),
    ) {
        for db in 0..self.db_count() {
            let eligible =
                |it: &Table| if rule.only_volatile { it.volatile_len() } else { it.len() };
            let Some(table) = self.random_table(db, random, eligible) else { continue };
            let mut found = 0;
            let mut cursor = random.next_u64();
            for attempt in 0..SEGMENTS_MAX {
                let look = |record: RecordRef<'_>| {
                    if found < count && rule.allows(record) {
                        found += 1;
                        let score = rule.score(record, access);
                        visit(Candidate { score, db, key: record.key().into() });
                    }
                };
                let next = if attempt == 0 || !rule.only_volatile {
                    table.scan(cursor, count * LOOKS_PER_CANDIDATE, look)
                } else {
                    // Passes by segments where nothing has a deadline, and goes through the others.
                    table.due(cursor, i64::MAX - 1, look)
                };
                if found != 0 {
                    break;
                }
                cursor = next.unwrap_or(0);
            }
        }
    }
}

impl EvictionRule {
    fn allows(self, record: RecordRef<'_>) -> bool {
        !self.only_volatile || record.deadline().is_some()
    }

    fn score(self, record: RecordRef<'_>, access: Access) -> u64 {
        match self.order {
            EvictionOrder::Idle => u64::from(access.idle_seconds(record.access())),
            EvictionOrder::Frequency => {
                u64::from(u8::MAX) - u64::from(access.frequency(record.access()))
            }
            EvictionOrder::Deadline => {
                let deadline = record.deadline().unwrap_or(i64::MAX);
                u64::MAX - u64::try_from(deadline).unwrap_or(0)
            }
            EvictionOrder::Random => 0,
        }
    }
}

impl Locked<'_> {
    /// Removes a key that was chosen some time ago, unless it is gone or may not go any more. Breaks the watches on
    /// it.
    pub fn evict(&mut self, db: usize, key: Key<'_>, rule: EvictionRule) -> bool {
        let keyspace = self.keyspace;
        let shard = self.shard_mut(key);
        let record = shard.find(db, key.bytes());
        if !record.is_some_and(|it| rule.allows(it)) {
            return false;
        }
        let Some(record) =
            shard.table_mut(db, key.table_hash()).remove(key.table_hash(), key.bytes())
        else {
            return false;
        };
        keyspace.discard_record(record);
        shard.note_change(db, key.bytes());
        true
    }
}
