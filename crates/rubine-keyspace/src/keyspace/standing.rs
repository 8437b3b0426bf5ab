//! How a request stands for a busy shard, and comes back: see `busy.rs` for what must hold. Never blocks a thread.

use smallvec::SmallVec;

use super::{Keyspace, Locked};
use crate::busy::{MOVES_MAX, NEWCOMER, ShardLock, Standing, Ticket};
use crate::shard_set::ShardSet;

impl Keyspace {
    /// Takes the locks of `set`, ascending, if each is to be had within some tens of microseconds and nobody stands
    /// for it; else holds none and returns the number of the busy shard. The caller holds no other.
    ///
    /// For requests that can be suspended, with [`Self::stand`], and for walks that may pass a shard by.
    #[inline]
    pub fn try_lock(&self, set: &ShardSet) -> Result<Locked<'_>, usize> {
        self.lock_as(set, NEWCOMER)
    }

    /// Lets a request stand in the queue of a shard that was busy. Its worker is told when it may try again.
    pub fn stand(&self, ticket: Ticket, busy: usize) -> Standing {
        let age = self.next_age();
        let shards = SmallVec::from_slice(&[busy as u16]);
        self.shards[busy].stand(age, ticket, false);
        self.tell_next(&self.shards[busy]);
        Standing { ticket, age, shards, move_count: 0 }
    }

    /// Tries again to take the locks of `set`: past those that are younger. If that fails, the request stands in the queue of
    /// the shard that was busy now.
    pub fn resume(&self, set: &ShardSet, standing: &mut Standing) -> Option<Locked<'_>> {
        // A request may stand for a shard that it does not need itself: what comes before it does.
        self.leave_unless(standing, |shard| set.contains(shard));
        match self.lock_as(set, standing.age) {
            Ok(locked) => {
                // All of them are held: whoever is next is told when they are given back.
                for shard in std::mem::take(&mut standing.shards) {
                    self.shards[usize::from(shard)].leave(standing.age);
                }
                Some(locked)
            }
            Err(busy) => {
                self.stand_again(standing, busy);
                None
            }
        }
    }

    /// A request that came back, and had its locks, cannot go on for another shard: it stands there, as old as it is.
    pub fn stand_again(&self, standing: &mut Standing, busy: usize) {
        if !standing.shards.contains(&(busy as u16)) {
            standing.move_count += 1;
            if standing.move_count <= MOVES_MAX {
                self.leave_unless(standing, |_| false);
            }
            standing.shards.push(busy as u16);
        }
        for shard in standing.shards() {
            self.shards[shard].stand(standing.age, standing.ticket, shard != busy);
        }
        self.tell_next(&self.shards[busy]);
    }

    /// Takes a request out of the queues: its client is gone, or has been refused. Its turn goes to the next.
    pub fn withdraw(&self, mut standing: Standing) {
        self.leave_unless(&mut standing, |_| false);
    }

    fn leave_unless(&self, standing: &mut Standing, stays: impl Fn(u16) -> bool) {
        let age = standing.age;
        standing.shards.retain(|shard| {
            let (stays, index) = (stays(*shard), usize::from(*shard));
            if !stays {
                self.shards[index].leave(age);
                self.tell_next(&self.shards[index]);
            }
            stays
        });
    }

    /// Tells whoever is the first to stand for a shard, if its lock is free. The caller holds no lock.
    #[cold]
    pub(crate) fn tell_next(&self, lock: &ShardLock) {
        if let Some(turn) = lock.take_turn() {
            self.teller().tell(turn.worker, &turn.clients);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
