//! What is done with the keys of one hash slot, or of a range of them, where keys are placed by slot. A slot is a table of
//! its own in each database, so none of it looks at the keys of another.

use rubine_structures::record::RecordRef;
use rubine_structures::table::{Table, TableSnapshot};

use crate::counts::COUNTED_DBS;
use crate::key::{Key, SHARD_COUNT, ScanCursor, home_of_slot};
use crate::keyspace::{Garbage, Keyspace, Locked};
use crate::shard::Shard;
use crate::shard_set::ShardSet;
use crate::tables::TableAt;
use crate::tracking::Tracking;
use crate::undo::TakenTable;
use crate::view::View;

impl ShardSet {
    /// The shard of a slot.
    pub fn of_slot(slot: u16) -> Self {
        Self::of_shard(home_of_slot(slot).0)
    }

    /// The shards of some slots.
    pub fn of_slots(slots: impl Iterator<Item = u16>) -> Self {
        let mut shards: Vec<u16> = slots.map(|it| home_of_slot(it).0 as u16).collect();
        shards.sort_unstable();
        shards.dedup();
        match *shards {
            [one] => Self::One(one),
            _ if shards.len() == SHARD_COUNT => Self::All,
            _ => Self::Some(shards.into()),
        }
    }
}

/// One slot of one database as it was at one instant. Readable from any thread while the slot goes on.
#[derive(Debug)]
pub struct SlotImage {
    pub db: usize,
    pub slot: u16,
    image: TableSnapshot,
}

impl SlotImage {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.image.len()
    }

    pub fn is_empty(&self) -> bool {
        self.image.is_empty()
    }

    /// Visits some `count` records from `cursor` on, 0 at first. Returns where to go on, `None` after the last.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        visit: impl FnMut(RecordRef<'a>),
    ) -> Option<u64> {
        self.image.scan(cursor, count, visit)
    }

    /// The table itself.
    pub fn into_table(self) -> TableSnapshot {
        self.image
    }
}

impl Shard {
    fn slot_table(&self, db: usize, slot: u16) -> Option<&Table> {
        self.table_at(TableAt { db, number: home_of_slot(slot).1 })
    }

    /// Number of keys of one of the shard's slots.
    pub fn slot_len(&self, db: usize, slot: u16) -> usize {
        self.slot_table(db, slot).map_or(0, Table::len)
    }
}

impl Shard {
    fn exchange_slot(&mut self, other: &mut Self, slot: u16, now: i64) {
        let number = home_of_slot(slot).1;
        for db in 0..self.db_count().max(other.db_count()) {
            if self.slot_len(db, slot) == 0 && other.slot_len(db, slot) == 0 {
                continue;
            }
            let mut watched = self.watched_keys(db);
            watched.retain(|key| Key::new(key).slot() == slot);
            self.break_watches_of_exchange(other, db, &watched, now);
            let at = TableAt { db, number };
            self.table_at_mut(at).swap(other.table_at_mut(at));
            self.waiters.note_swap(db);
        }
    }
}

impl Keyspace {
    /// Number of keys of a slot in a database. Takes no lock where the database is one of the first 16; of another, it ends
    /// with the number of the shard if that is busy.
    pub fn slot_len(&self, db: usize, slot: u16) -> Result<usize, usize> {
        if db < COUNTED_DBS {
            return Ok(self.published.in_slot(db, slot).0);
        }
        let locked = self.try_lock(&ShardSet::of_slot(slot))?;
        Ok(locked.shards().map(|shard| shard.slot_len(db, slot)).sum())
    }
}

impl Keyspace {
    /// Empties slots of this or another keyspace, whose shards are locked, in all databases. What was there is freed in the
    /// background. Returns which of them had keys, and how many these were.
    pub fn discard_slots_of(&self, locked: &mut Locked<'_>, slots: &[u16]) -> (Vec<u16>, u64) {
        let mut tables = Vec::new();
        let mut emptied = Vec::new();
        for &slot in slots {
            let taken = locked.take_slot(slot);
            if !taken.is_empty() {
                emptied.push(slot);
            }
            tables.extend(taken.into_iter().map(|it| it.table));
        }
        let count = tables.iter().map(|it| it.len() as u64).sum();
        if !tables.is_empty() {
            self.discard(Garbage::Tables(tables));
        }
        (emptied, count)
    }
}

impl View<'_, '_> {
    /// Number of keys of a slot, due ones included, under its shard's lock.
    pub fn slot_len(&self, slot: u16) -> usize {
        self.locked().shard_of_slot(slot).slot_len(self.db(), slot)
    }

    /// Number of keys of a slot in the first 16 databases together, under no lock.
    pub fn slot_len_of_all_dbs(&self, slot: u16) -> usize {
        let published = &self.locked().keyspace.published;
        (0..COUNTED_DBS).map(|db| published.in_slot(db, slot).0).sum()
    }

    /// Visits up to `count` records of a slot, due ones included, under its shard's lock.
    pub fn each_in_slot(&self, slot: u16, count: usize, mut visit: impl FnMut(RecordRef<'_>)) {
        let table = self.locked().shard_of_slot(slot).slot_table(self.db(), slot);
        let (mut cursor, mut left) = (Some(0), count);
        while let Some((table, from)) = table.zip(cursor)
            && 0 < left
        {
            cursor = table.scan(from, left, |record| {
                if 0 < left {
                    left -= 1;
                    visit(record);
                }
            });
        }
    }

    /// An image of a slot at this instant, under its shard's lock; `None` if it has no keys.
    pub fn slot_image(&mut self, slot: u16) -> Option<TableSnapshot> {
        let db = self.db();
        let shard = self.locked_mut().shard_of_slot_mut(slot);
        let is_empty = shard.slot_len(db, slot) == 0;
        let at = TableAt { db, number: home_of_slot(slot).1 };
        (!is_empty).then(|| shard.table_at_mut(at).snapshot())
    }

    /// As [`View::scan`], up to the end of slot `last`.
    pub fn scan_slots(
        &self,
        mut cursor: ScanCursor,
        last: u16,
        count: usize,
        mut visit: impl FnMut(RecordRef<'_>, bool),
    ) -> Option<ScanCursor> {
        let due_until = self.due_until();
        let mut seen = 0;
        while cursor.slot() <= last {
            let next = self.with_shard(cursor.shard(), |shard| {
                let count = count - seen.min(count);
                shard.scan(self.db(), cursor, Some(last), count, |record| {
                    seen += 1;
                    visit(record, record.deadline().is_some_and(|it| it <= due_until));
                })
            })?;
            cursor = next?;
            if count <= seen {
                return (cursor.slot() <= last).then_some(cursor);
            }
        }
        None
    }

    /// Empties a slot in all databases, under its shard's lock, and tells `visit` of every key that went, with its
    /// database, if it `tells`. Takes no longer for many keys than for few, unless somebody wants to be told of each.
    /// Returns how many there were.
    pub fn clear_slot(
        &mut self,
        slot: u16,
        tells: bool,
        mut visit: impl FnMut(usize, &[u8]),
    ) -> u64 {
        let tables = self.locked_mut().take_slot(slot);
        let is_tracked = self.changes().tracking != Tracking::Off;
        for TakenTable { at, table, .. } in tables.iter().filter(|_| tells || is_tracked) {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                cursor = table.scan(from, usize::MAX, |record| {
                    if is_tracked {
                        self.note_stale(Key::new(record.key()), false);
                    }
                    visit(at.db, record.key());
                });
            }
        }
        let removed = tables.iter().map(|it| it.table.len()).sum::<usize>() as u64;
        self.forget_tables(tables);
        self.add_dirty(removed);
        removed
    }
}

impl Locked<'_> {
    fn shard_of_slot(&self, slot: u16) -> &Shard {
        self.shard_numbered(home_of_slot(slot).0)
    }

    fn shard_of_slot_mut(&mut self, slot: u16) -> &mut Shard {
        self.shard_numbered_mut(home_of_slot(slot).0)
    }

    /// An image of some slots at this instant, database by database, those without keys left out. Their shards are locked:
    /// whoever holds the locks can tie it to a place in the journal.
    pub fn snapshot_slots(&mut self, slots: &[u16]) -> Vec<SlotImage> {
        let mut images = Vec::new();
        for &slot in slots {
            let number = home_of_slot(slot).1;
            let shard = self.shard_of_slot_mut(slot);
            for db in 0..shard.db_count() {
                if shard.slot_len(db, slot) != 0 {
                    let image = shard.table_at_mut(TableAt { db, number }).snapshot();
                    images.push(SlotImage { db, slot, image });
                }
            }
        }
        images.sort_by_key(|it| it.db);
        images
    }

    /// Exchanges slots in all databases with those of another keyspace, in one step for everybody. Their shards are locked
    /// in both. Here, the watches on keys break that are, not due, in either, and those who wait for keys look again. There,
    /// nobody watches or waits.
    pub fn exchange_slots(&mut self, other: &mut Locked<'_>, slots: &[u16], now: i64) {
        for &slot in slots {
            let shard = self.shard_of_slot_mut(slot);
            shard.exchange_slot(other.shard_of_slot_mut(slot), slot, now);
        }
    }

    /// Empties a slot in all databases, which breaks the watches on keys that were there, and lets those look again who
    /// wait for keys. Its shard is locked.
    pub(crate) fn take_slot(&mut self, slot: u16) -> Vec<TakenTable> {
        let (number, table) = home_of_slot(slot);
        let shard = self.shard_of_slot_mut(slot);
        let mut tables = Vec::new();
        for db in 0..shard.db_count() {
            if shard.slot_len(db, slot) == 0 {
                continue;
            }
            let mut watched = shard.watched_keys(db);
            watched.retain(|key| Key::new(key).slot() == slot && shard.find(db, key).is_some());
            let at = TableAt { db, number: table };
            let table = shard.table_at_mut(at).take();
            tables.push(TakenTable { shard: number, at, table });
            watched.iter().for_each(|key| shard.break_watches(db, key));
            shard.waiters.note_swap(db);
        }
        tables
    }
}
