//! Where a key belongs: its hash, its shard, its position in the order of SCAN. Never touches a table.

use rubine_base::hash;

const SHARD_BITS: u32 = if cfg!(shuttle) { 2 } else { 9 };

/// Number of shards. A power of two, so that in a cluster each is a range of slots.
pub const SHARD_COUNT: usize = 1 << SHARD_BITS;

/// A key with its hash.
///
/// The placement hash orders all keys: its top bits are the shard, the rest the position in the shard's table.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    bytes: &'a [u8],
    /// The placement hash, rotated so that the shard lies in the low bits and tables see the rest on top.
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
}

/// The hash that tables place a key by.
#[inline]
pub(crate) fn table_hash(bytes: &[u8]) -> u64 {
    hash::global().hash(bytes).rotate_left(SHARD_BITS)
}

/// Where a SCAN goes on: a position in the order of placement hashes, so that it means the same after any growth or
/// shrinking of tables. 0 is the start; the end is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanCursor(u64);

/// Bits of the table hash that a cursor keeps: more than a table's directory and segments tell apart.
const CURSOR_HASH_BITS: u32 = 39;

impl ScanCursor {
    pub const START: Self = Self(0);

    /// The cursor that a client sent back; any number is a position.
    pub fn from_number(number: u64) -> Self {
        Self(number & ((1 << (SHARD_BITS + CURSOR_HASH_BITS)) - 1))
    }

    /// The number that a client gets.
    pub fn number(self) -> u64 {
        self.0
    }

    pub fn new(shard: usize, table_hash: u64) -> Self {
        Self((shard as u64) << CURSOR_HASH_BITS | table_hash >> (64 - CURSOR_HASH_BITS))
    }

    pub fn shard(self) -> usize {
        (self.0 >> CURSOR_HASH_BITS) as usize
    }

    pub fn table_hash(self) -> u64 {
        self.0 << (64 - CURSOR_HASH_BITS)
    }

    /// The cursor after a step in the shard of `self`, which ended at `next`; `None` at the end of all.
    pub fn advanced(self, next: Option<u64>) -> Option<Self> {
        match next {
            Some(table_hash) => Some(Self::new(self.shard(), table_hash)),
            None if self.shard() + 1 < SHARD_COUNT => Some(Self::new(self.shard() + 1, 0)),
            None => None,
        }
    }
}
