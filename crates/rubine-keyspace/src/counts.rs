//! How many keys there are, readable without the locks of the shards. Never counts anything: whoever holds a shard's lock
//! writes down what its tables say before giving it back, so the numbers are exact once a writer has its reply.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::SHARD_COUNT;

/// Databases from this on are counted under the locks.
pub const COUNTED_DBS: usize = 16;

const LEN_BITS: u32 = 32;

/// The counts of one shard, on a cache line pair of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct ShardCounts([AtomicU64; COUNTED_DBS]);

/// The number of keys, and of those with a deadline, by shard and database.
#[derive(Debug)]
pub(crate) struct PublishedCounts(Box<[ShardCounts]>);

impl PublishedCounts {
    pub(crate) fn new() -> Self {
        Self((0..SHARD_COUNT).map(|_| ShardCounts::default()).collect())
    }

    /// The caller holds the shard's lock.
    #[inline]
    pub(crate) fn set(&self, shard: usize, db: usize, len: usize, volatile_len: usize) {
        let counts = (volatile_len as u64) << LEN_BITS | len as u64;
        let published = &self.0[shard].0[db];
        // A line that somebody may be reading is written to only if it has to be.
        if published.load(Ordering::Relaxed) != counts {
            published.store(counts, Ordering::Release);
        }
    }

    /// Keys of a database, and those of them that have a deadline, over all shards.
    pub(crate) fn sum(&self, db: usize) -> (usize, usize) {
        let counts = self.0.iter().map(|it| it.0[db].load(Ordering::Acquire));
        counts.fold((0, 0), |(len, volatile_len), it| {
            let of_shard = (it & ((1 << LEN_BITS) - 1), it >> LEN_BITS);
            (len + of_shard.0 as usize, volatile_len + of_shard.1 as usize)
        })
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
