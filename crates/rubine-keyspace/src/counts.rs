//! How many keys there are, readable without the locks of the shards. Never counts anything: whoever holds a shard's lock
//! writes down what its tables say before giving it back, so the numbers are exact once a writer has its reply.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::SHARD_COUNT;

/// Databases from this on are counted together, and each by itself under the locks.
pub const COUNTED_DBS: usize = 16;

const LEN_BITS: u32 = 32;

/// The counts of one shard, on a cache line pair of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ShardCounts([AtomicU64; COUNTED_DBS]);

/// The number of keys, and of those with a deadline, by shard and database.
#[derive(Debug)]
pub(crate) struct PublishedCounts {
    by_db: Box<[ShardCounts]>,
    /// Of the databases from [`COUNTED_DBS`] on, by shard.
    others: Box<[AtomicU64]>,
}

impl PublishedCounts {
    pub(crate) fn new() -> Self {
        let by_db = (0..SHARD_COUNT).map(|_| ShardCounts::default()).collect();
        Self { by_db, others: (0..SHARD_COUNT).map(|_| AtomicU64::new(0)).collect() }
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

fn publish(published: &AtomicU64, len: usize, volatile_len: usize) {
    let counts = (volatile_len as u64) << LEN_BITS | len as u64;
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
