//! Where a key belongs: its hash, its shard, its hash slot, its position in the order of SCAN. Never touches a table.

use std::sync::OnceLock;

use rubine_base::crc::{self, SLOT_COUNT};
use rubine_base::hash;

const SHARD_BITS: u32 = if cfg!(shuttle) { 2 } else { 9 };

/// Number of shards. A power of two, so that in a cluster each is a range of slots.
pub const SHARD_COUNT: usize = 1 << SHARD_BITS;

/// The bits of a slot's number that tell the slots of one shard apart. The others are the shard's number.
pub(crate) const LOW_SLOT_BITS: u32 = SLOT_COUNT.ilog2() - SHARD_BITS;

/// Databases of a server that places keys by slot; nothing while keys are placed by their hash alone.
static SLOT_DATABASES: OnceLock<usize> = OnceLock::new();

/// Has all keys of this process placed by their hash slots, as a node of a cluster needs them, in so many databases. Has
/// to come before any key is placed.
pub fn place_by_slot(databases: usize) {
    let is_first = SLOT_DATABASES.set(databases).is_ok();
    assert!(is_first, "what was placed otherwise could not be found again");
}

/// Whether keys are placed by their hash slots.
#[inline]
pub fn is_placed_by_slot() -> bool {
    SLOT_DATABASES.get().is_some()
}

/// Databases, where keys are placed by slot.
pub(crate) fn slot_databases() -> Option<usize> {
    SLOT_DATABASES.get().copied()
}

/// Tables that a shard has for each database: one, or one for each of its slots.
#[inline]
pub(crate) fn tables_per_db() -> usize {
    1 << table_bits()
}

#[inline]
pub(crate) fn table_bits() -> u32 {
    if is_placed_by_slot() { LOW_SLOT_BITS } else { 0 }
}

/// Which of its shard's tables for a database is that of `table_hash`, where there are 2^`table_bits` of them.
#[inline]
pub(crate) fn table_number(table_hash: u64, table_bits: u32) -> usize {
    (table_hash >> SHARD_BITS) as usize & ((1 << table_bits) - 1)
}

/// The shard that holds a slot, and the number of its table there.
#[inline]
pub(crate) fn home_of_slot(slot: u16) -> (usize, usize) {
    let slot = usize::from(slot);
    (slot >> LOW_SLOT_BITS, slot & ((1 << LOW_SLOT_BITS) - 1))
}

/// A key with its hash.
///
/// The placement hash orders all keys: its top bits are the shard, the rest the position in the shard's table. In a
/// cluster, its top bits are the slot, of which the first are the shard: each slot has a table of its own, in which the
/// rest is the position.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    bytes: &'a [u8],
    /// The placement hash, rotated so that the shard lies in the low bits, above it in a cluster what else tells slots
    /// apart, and tables see the rest on top.
    table_hash: u64,
}

impl<'a> Key<'a> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, table_hash: table_hash(bytes) }
    }

    /// A key that was hashed before.
    #[inline]
    pub fn at(bytes: &'a [u8], place: Place) -> Self {
        debug_assert_eq!(table_hash(bytes), place.table_hash, "the place of another key");
        Self { bytes, table_hash: place.table_hash }
    }

    /// The key's bytes.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The shard that holds the key, in every database.
    #[inline]
    pub fn shard(self) -> usize {
        self.table_hash as usize & (SHARD_COUNT - 1)
    }

    /// The hash that the shard's tables place it by.
    #[inline]
    pub fn table_hash(self) -> u64 {
        self.table_hash
    }

    /// The key's hash slot, where keys are placed by slot.
    #[inline]
    pub fn slot(self) -> u16 {
        self.place().slot()
    }

    /// Where the key belongs, without the key.
    #[inline]
    pub fn place(self) -> Place {
        Place { table_hash: self.table_hash }
    }
}

/// Where a key belongs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    pub(crate) table_hash: u64,
}

impl Place {
    /// The shard that it is in.
    #[inline]
    pub fn shard(self) -> usize {
        self.table_hash as usize & (SHARD_COUNT - 1)
    }

    /// The hash that the shard's tables place it by.
    #[inline]
    pub fn table_hash(self) -> u64 {
        self.table_hash
    }

    /// The hash slot, where keys are placed by slot.
    #[inline]
    pub fn slot(self) -> u16 {
        debug_assert!(is_placed_by_slot(), "nothing says which slot it is in");
        let low = table_number(self.table_hash, LOW_SLOT_BITS);
        (self.shard() << LOW_SLOT_BITS | low) as u16
    }
}

/// The hash that tables place a key by.
#[inline]
pub(crate) fn table_hash(bytes: &[u8]) -> u64 {
    let hash = hash::global().hash(bytes);
    if is_placed_by_slot() {
        place_in_slot(hash, crc::slot_of(bytes))
    } else {
        hash.rotate_left(SHARD_BITS)
    }
}

/// The slot in place of the low bits of `hash`, its bits in the order of a table hash.
#[inline]
fn place_in_slot(hash: u64, slot: u16) -> u64 {
    let (shard, low) = home_of_slot(slot);
    let place = (low << SHARD_BITS | shard) as u64;
    hash & !u64::from(SLOT_COUNT - 1) | place
}

/// Where a SCAN goes on: a position in the order of placement hashes, so that it means the same after any growth or
/// shrinking of tables. 0 is the start; the end is no position.
///
/// Its bits are those of a placement hash: the shard, in a cluster the rest of the slot, then the position in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanCursor(u64);

/// Bits of the table hash that a cursor keeps: more than a table's directory and segments tell apart. With those of the
/// slot they are what a floating point number of 64 bits holds, by which some clients keep cursors.
const CURSOR_HASH_BITS: u32 = 39;

impl ScanCursor {
    pub const START: Self = Self(0);

    /// The cursor that a client sent back; any number is a position.
    pub fn from_number(number: u64) -> Self {
        let bits = SHARD_BITS + table_bits() + CURSOR_HASH_BITS;
        Self(number & ((1 << bits) - 1))
    }

    /// The number that a client gets.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The beginning of a shard.
    pub fn at_shard(shard: usize) -> Self {
        Self::new(shard * tables_per_db(), 0)
    }

    /// The beginning of a slot, where keys are placed by slot.
    pub fn at_slot(slot: u16) -> Self {
        debug_assert!(is_placed_by_slot(), "a slot is no range of positions");
        Self::new(usize::from(slot), 0)
    }

    /// A position in one of all tables of a database, in the order of shards.
    fn new(table: usize, table_hash: u64) -> Self {
        Self((table as u64) << CURSOR_HASH_BITS | table_hash >> (64 - CURSOR_HASH_BITS))
    }

    fn table(self) -> usize {
        (self.0 >> CURSOR_HASH_BITS) as usize
    }

    pub fn shard(self) -> usize {
        self.table() >> table_bits()
    }

    /// The slot, where keys are placed by slot.
    pub fn slot(self) -> u16 {
        debug_assert!(is_placed_by_slot(), "a position is in no slot");
        self.table() as u16
    }

    /// Which of the shard's tables it is in.
    pub(crate) fn table_number(self) -> usize {
        self.table() & (tables_per_db() - 1)
    }

    pub fn table_hash(self) -> u64 {
        self.0 << (64 - CURSOR_HASH_BITS)
    }

    /// The beginning of the next shard; `None` after the last.
    pub(crate) fn at_next_shard(self) -> Option<Self> {
        let shard = self.shard() + 1;
        (shard < SHARD_COUNT).then(|| Self::at_shard(shard))
    }

    /// The cursor when so many tables of its shard were passed by.
    pub(crate) fn passing(self, tables: usize) -> Self {
        if tables == 0 { self } else { Self::new(self.table() + tables, 0) }
    }

    /// The cursor after a step in the table of `self`, which ended at `next`; `None` at the end of all.
    pub(crate) fn advanced(self, next: Option<u64>) -> Option<Self> {
        match next {
            Some(table_hash) => Some(Self::new(self.table(), table_hash)),
            None if self.table() + 1 < SHARD_COUNT * tables_per_db() => {
                Some(Self::new(self.table() + 1, 0))
            }
            None => None,
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use rubine_base::crc::SLOT_COUNT;

    use super::{Place, SHARD_COUNT, home_of_slot, place_in_slot};

    #[test]
    fn a_slot_lies_in_the_shard_of_its_range() {
        for slot in 0..SLOT_COUNT {
            let place = Place { table_hash: place_in_slot(u64::MAX, slot) };
            let slots_per_shard = usize::from(SLOT_COUNT) / SHARD_COUNT;
            assert_eq!(place.shard(), usize::from(slot) / slots_per_shard);
            assert_eq!(home_of_slot(slot), (place.shard(), usize::from(slot) % slots_per_shard));
            assert_eq!(place.table_hash() >> 14, u64::MAX >> 14, "the rest is the hash");
        }
    }
}
