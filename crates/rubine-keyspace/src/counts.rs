//! How many keys there are, readable without the locks of the shards. Never counts anything: whoever holds a shard's lock
//! writes down what its tables say before giving it back, so the numbers are exact once a writer has its reply.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rubine_base::crc::SLOT_COUNT;

use crate::key::{SHARD_COUNT, tables_per_db};

/// Databases from this on are counted together, and each by itself under the locks.
pub const COUNTED_DBS: usize = 16;

const LEN_BITS: u32 = 32;

/// The counts of one shard, on a cache line pair of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ShardCounts([AtomicU64; COUNTED_DBS]);

/// The counts of all slots in one database, once it has been written.
type SlotCounts = OnceLock<Box<[AtomicU64]>>;

/// The number of keys, and of those with a deadline, by shard and database.
#[derive(Debug)]
pub(crate) struct PublishedCounts {
    by_db: Box<[ShardCounts]>,
    /// By database and slot, where keys are placed by slot.
    by_slot: [SlotCounts; COUNTED_DBS],
    /// Of the databases from [`COUNTED_DBS`] on, by shard.
    others: Box<[AtomicU64]>,
}

impl PublishedCounts {
    pub(crate) fn new() -> Self {
        let by_db = (0..SHARD_COUNT).map(|_| ShardCounts::default()).collect();
        let others = (0..SHARD_COUNT).map(|_| AtomicU64::new(0)).collect();
        Self { by_db, by_slot: Default::default(), others }
    }

    /// One of a shard's slots has other counts than before. The caller holds the shard's lock.
    pub(crate) fn change_slot(&self, shard: usize, db: usize, table: usize, before: u64, now: u64) {
        // Both counts at once: what the sum of one loses to the other by a carry, it gets back by the next.
        let of_shard = self.by_db[shard].0.get(db).unwrap_or(&self.others[shard]);
        let sum = of_shard.load(Ordering::Relaxed).wrapping_add(now.wrapping_sub(before));
        of_shard.store(sum, Ordering::Release);
        if let Some(by_slot) = self.by_slot.get(db) {
            let zeros = || (0..SLOT_COUNT).map(|_| AtomicU64::new(0)).collect();
            by_slot.get_or_init(zeros)[shard * tables_per_db() + table]
                .store(now, Ordering::Release);
        }
    }

    /// Keys of a slot, in one of the first [`COUNTED_DBS`] databases, and those of them that have a deadline.
    pub(crate) fn in_slot(&self, db: usize, slot: u16) -> (usize, usize) {
        let counts = self.by_slot[db].get().map(|it| &it[usize::from(slot)]);
        sum(counts.into_iter())
    }

    /// Keys of a database in one shard.
    pub(crate) fn in_shard(&self, db: usize, shard: usize) -> usize {
        sum(std::iter::once(&self.by_db[shard].0[db])).0
    }

    /// The caller holds the shard's lock.
    #[inline]
    pub(crate) fn set(&self, shard: usize, db: usize, len: usize, volatile_len: usize) {
        publish(&self.by_db[shard].0[db], len, volatile_len);
    }

    /// As [`Self::set`], of all other databases together.
    pub(crate) fn set_others(&self, shard: usize, len: usize, volatile_len: usize) {
        publish(&self.others[shard], len, volatile_len);
    }

    /// Keys of a database, and those of them that have a deadline, over all shards.
    pub(crate) fn sum(&self, db: usize) -> (usize, usize) {
        sum(self.by_db.iter().map(|it| &it.0[db]))
    }

    /// As [`Self::sum`], of the databases from [`COUNTED_DBS`] on.
    pub(crate) fn sum_of_others(&self) -> (usize, usize) {
        sum(self.others.iter())
    }

    /// As [`Self::sum`], of all databases.
    pub(crate) fn total(&self) -> (usize, usize) {
        sum(self.by_db.iter().flat_map(|it| &it.0).chain(&*self.others))
    }
}

/// Both counts in one word.
pub(crate) fn packed(len: usize, volatile_len: usize) -> u64 {
    (volatile_len as u64) << LEN_BITS | len as u64
}

fn publish(published: &AtomicU64, len: usize, volatile_len: usize) {
    let counts = packed(len, volatile_len);
    // A line that somebody may be reading is written to only if it has to be.
    if published.load(Ordering::Relaxed) != counts {
        published.store(counts, Ordering::Release);
    }
}

fn sum<'a>(published: impl Iterator<Item = &'a AtomicU64>) -> (usize, usize) {
    let counts = published.map(|it| it.load(Ordering::Acquire));
    counts.fold((0, 0), |(len, volatile_len), it| {
        let of_shard = (it & ((1 << LEN_BITS) - 1), it >> LEN_BITS);
        (len + of_shard.0 as usize, volatile_len + of_shard.1 as usize)
    })
}

#[cfg(all(test, not(shuttle)))]
mod tests;
