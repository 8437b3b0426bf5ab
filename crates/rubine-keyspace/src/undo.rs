//! What a unit of work found where it changed something, so that all can be as before. Never decides whether it will.

use rubine_base::hash::HashMap;
use rubine_structures::record::{Record, RecordRef};
use rubine_structures::table::Table;

use crate::key::Key;
use crate::keyspace::{Keyspace, Locked};
use crate::tables::TableAt;

/// A log that is longer than this gives its memory back.
const KEPT_STEPS_MAX: usize = 1024;

/// What a unit has changed, in order, by what was there before.
///
/// A record is kept as a counted clone: whoever changes it next copies the piece that changes.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    steps: Vec<Step>,
    /// Steps before this do not speak for what is changed from now on: a mark lies between, or databases were emptied or
    /// exchanged since.
    floor: usize,
    /// The last step for each database and hash of a key. May be out of date, so whoever looks compares.
    places: HashMap<(usize, u64), usize>,
}

#[derive(Debug)]
enum Step {
    /// Under a key was this record.
    Was { db: usize, record: Record },
    /// Under a key was nothing.
    WasMissing { db: usize, key: Box<[u8]> },
    /// These tables were emptied.
    Emptied(Vec<TakenTable>),
    /// Two databases were exchanged.
    Exchanged(usize, usize),
}

impl Step {
    fn is_of(&self, db: usize, key: &[u8]) -> bool {
        match self {
            Self::Was { db: own, record } => *own == db && record.as_ref().key() == key,
            Self::WasMissing { db: own, key: missing } => *own == db && **missing == *key,
            Self::Emptied(_) | Self::Exchanged(..) => false,
        }
    }
}

/// What one shard had of a database that was emptied.
#[derive(Debug)]
pub(crate) struct TakenTable {
    pub(crate) shard: usize,
    pub(crate) at: TableAt,
    pub(crate) table: Table,
}

impl Undo {
    /// How many steps there are. What comes later is told apart from what came before.
    pub(crate) fn mark(&mut self) -> usize {
        self.floor = self.steps.len();
        self.floor
    }

    /// A key is about to be changed.
    pub(crate) fn remember(&mut self, db: usize, key: Key<'_>, found: Option<RecordRef<'_>>) {
        let next = self.steps.len();
        let place = self.places.entry((db, key.table_hash())).or_insert(next);
        let last = self.steps.get(*place).filter(|_| self.floor <= *place);
        if last.is_some_and(|it| it.is_of(db, key.bytes())) {
            return;
        }
        *place = next;
        self.steps.push(match found {
            Some(record) => Step::Was { db, record: duplicate(record) },
            None => Step::WasMissing { db, key: key.bytes().into() },
        });
    }

    /// Databases were emptied.
    pub(crate) fn remember_emptied(&mut self, tables: Vec<TakenTable>) {
        self.steps.push(Step::Emptied(tables));
        self.floor = self.steps.len();
    }

    /// Two databases were exchanged.
    pub(crate) fn remember_exchange(&mut self, first: usize, second: usize) {
        self.steps.push(Step::Exchanged(first, second));
        self.floor = self.steps.len();
    }

    /// Takes back all steps from `mark` on, the last first. Whatever they changed is locked still.
    pub(crate) fn take_back(&mut self, mark: usize, locked: &mut Locked<'_>) {
        while mark < self.steps.len()
            && let Some(step) = self.steps.pop()
        {
            step.take_back(locked);
        }
        self.floor = mark;
    }

    /// What was done stands: forgets all, and has freed elsewhere what takes long to free.
    pub(crate) fn clear(&mut self, keyspace: &Keyspace) {
        let is_long = KEPT_STEPS_MAX < self.steps.len();
        for step in self.steps.drain(..) {
            match step {
                Step::Was { record, .. } => keyspace.discard_record(record),
                Step::Emptied(tables) => {
                    keyspace.discard_tables(tables.into_iter().map(|it| it.table).collect());
                }
                Step::WasMissing { .. } | Step::Exchanged(..) => {}
            }
        }
        self.floor = 0;
        self.places.clear();
        if is_long {
            *self = Self::default();
        }
    }
}

impl Step {
    fn take_back(self, locked: &mut Locked<'_>) {
        match self {
            Self::Was { db, record } => {
                // The key may lie in the very record that is to go into the table.
                let hash = Key::new(record.as_ref().key()).table_hash();
                remove(locked, db, Key::new(record.as_ref().key()));
                let shard = locked.shard_mut(Key::new(record.as_ref().key()));
                shard.table_mut(db, hash).insert(hash, record);
            }
            Self::WasMissing { db, key } => remove(locked, db, Key::new(&key)),
            Self::Emptied(tables) => {
                for TakenTable { shard, at, mut table } in tables {
                    locked.shard_numbered_mut(shard).table_at_mut(at).swap(&mut table);
                    debug_assert!(table.is_empty(), "what came later was taken back before");
                }
            }
            Self::Exchanged(first, second) => {
                for shard in locked.shards_mut() {
                    shard.swap(first, second);
                    shard.forget_that_keys_were_due(first);
                    shard.forget_that_keys_were_due(second);
                }
            }
        }
    }
}

fn remove(locked: &mut Locked<'_>, db: usize, key: Key<'_>) {
    let keyspace = locked.keyspace;
    let table = locked.table_mut(db, key);
    if let Some(record) = table.remove(key.table_hash(), key.bytes()) {
        keyspace.discard_record(record);
    }
}

fn duplicate(record: RecordRef<'_>) -> Record {
    Record::new(record.key(), record.value().to_value(), record.deadline(), record.access())
}
