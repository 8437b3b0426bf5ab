//! A shard's part of one database: one table or, where keys are placed by slot, one for each of the shard's slots. Never
//! locks anything: it is behind its shard's lock.

use rubine_structures::table::{Hints, TABLE_BYTES_HOT, Table};

use crate::counts::{PublishedCounts, packed};
use crate::key::{
    LOW_SLOT_BITS, SHARD_COUNT, is_placed_by_slot, slot_databases, table_bits, table_hash,
    table_number, tables_per_db,
};

/// So many databases have hints for prefetching, or fewer.
const HINTED_DBS_MAX: usize = 16;

/// Databases from this on do without hints for prefetching.
pub(crate) fn hinted_dbs() -> usize {
    slot_databases().map_or(HINTED_DBS_MAX, |databases| databases.min(HINTED_DBS_MAX))
}

/// Hints for the tables of all shards.
pub(crate) fn new_hints() -> Hints {
    Hints::new(hinted_dbs() * SHARD_COUNT * tables_per_db())
}

/// The number of a table among the hints: those of one database lie side by side.
#[inline]
pub(crate) fn hint_number(shard: usize, db: usize, table: usize, table_bits: u32) -> usize {
    ((db * SHARD_COUNT + shard) << table_bits) + table
}

/// One of a shard's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableAt {
    pub(crate) db: usize,
    /// Among those of the database.
    pub(crate) number: usize,
}

/// The tables of one database in one shard.
#[derive(Debug)]
pub(crate) enum Tables {
    One(Table),
    /// None before the first is written.
    BySlot(Box<[SlotTable]>),
}

/// The table of one slot.
///
/// Its first line has all that most requests need.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct SlotTable {
    /// The counts that were published of it.
    published: u64,
    table: Table,
}

const _: () = assert!(size_of::<u64>() + TABLE_BYTES_HOT <= 64, "a request needs another line");

impl Tables {
    /// Those of a database that was not written yet.
    pub(crate) fn new(shard: usize, db: usize, hints: &Hints) -> Self {
        if is_placed_by_slot() {
            Self::BySlot(Box::default())
        } else {
            Self::One(new_table(shard, TableAt { db, number: 0 }, hints))
        }
    }

    /// Makes the tables of all slots.
    #[cold]
    #[inline(never)]
    fn make(&mut self, shard: usize, db: usize, hints: &Hints) {
        let new = |number| new_table(shard, TableAt { db, number }, hints);
        let tables: Box<[SlotTable]> = (0..tables_per_db())
            .map(|number| SlotTable { table: new(number), published: 0 })
            .collect();
        tables.iter().for_each(|it| it.table.tell_address());
        *self = Self::BySlot(tables);
    }

    /// The number of the table in which a key with this hash belongs.
    #[inline]
    pub(crate) fn number_of(&self, table_hash: u64) -> usize {
        match self {
            Self::One(_) => 0,
            Self::BySlot(_) => table_number(table_hash, LOW_SLOT_BITS),
        }
    }

    /// How many tables there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::BySlot(tables) => tables.len(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&Table> {
        match self {
            Self::One(table) => Some(table),
            Self::BySlot(tables) => tables.get(number).map(|it| &it.table),
        }
    }

    /// The table, made if it was not there.
    #[inline]
    pub(crate) fn get_mut(&mut self, shard: usize, at: TableAt, hints: &Hints) -> &mut Table {
        if let Self::BySlot(tables) = self
            && tables.is_empty()
        {
            self.make(shard, at.db, hints);
        }
        match self {
            Self::One(table) => table,
            Self::BySlot(tables) => &mut tables[at.number].table,
        }
    }

    #[inline]
    pub(crate) fn each(&self) -> impl Iterator<Item = &Table> {
        let (one, by_slot) = match self {
            Self::One(table) => (Some(table), &[][..]),
            Self::BySlot(tables) => (None, &**tables),
        };
        one.into_iter().chain(by_slot.iter().map(|it| &it.table))
    }

    pub(crate) fn each_mut(&mut self) -> impl Iterator<Item = &mut Table> {
        let (one, by_slot) = match self {
            Self::One(table) => (Some(table), &mut [][..]),
            Self::BySlot(tables) => (None, &mut **tables),
        };
        one.into_iter().chain(by_slot.iter_mut().map(|it| &mut it.table))
    }

    /// Exchanges what two databases hold that have the same tables.
    pub(crate) fn swap(&mut self, other: &mut Self) {
        for (one, other) in self.each_mut().zip(other.each_mut()) {
            if !(one.is_empty() && other.is_empty()) {
                one.swap(other);
            }
        }
    }

    /// Publishes how many keys the table of a slot has.
    pub(crate) fn publish(&mut self, shard: usize, at: TableAt, counts: &PublishedCounts) {
        let Self::BySlot(tables) = self else { return };
        let Some(SlotTable { table, published }) = tables.get_mut(at.number) else { return };
        let now = packed(table.len(), table.volatile_len());
        let before = std::mem::replace(published, now);
        if before != now {
            counts.change_slot(shard, at.db, at.number, before, now);
        }
    }
}

fn new_table(shard: usize, at: TableAt, hints: &Hints) -> Table {
    if at.db < hinted_dbs() {
        let number = hint_number(shard, at.db, at.number, table_bits());
        Table::with_hints(table_hash, hints.clone(), number)
    } else {
        Table::new(table_hash)
    }
}
