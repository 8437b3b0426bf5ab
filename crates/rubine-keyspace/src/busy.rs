//! Requests that wait for a busy shard beside its lock, in the order of their coming, while their worker serves others.
//! Never blocks a thread.
//!
//! A worker takes locks with a bound ([`Keyspace::try_lock`]). Past it, the request gets a [`Standing`]: its ticket stands
//! in the queue of the shard that was busy, and nothing is held. When a lock is given back, the keyspace tells the worker
//! of the front ticket through [`Tell`], and the worker tries again ([`Keyspace::resume`]).
//!
//! Order is by age: each ticket has a number, and whoever comes back passes where no older ticket stands. A newcomer is
//! younger than all. So the oldest ticket of all waits for nobody but those who hold locks, and they end.
//!
//! **No wake-up is lost.** *The front of a queue is told, or the shard's lock is held, or somebody is about to look.*
//! Whoever makes an untold ticket the front (by standing, leaving, or coming back in vain) writes that down and then looks
//! at the lock; whoever gives the lock back does so and then looks at the queue. With a fence between the two on both
//! sides, one of them sees the other. `fence_after_unlock` says what the fence takes.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::keyspace::{Keyspace, Locked, ShardSet};
use crate::shard::Shard;
use crate::sync::{AtomicU32, Mutex, MutexGuard, fence_after_store, pause};

/// How often a lock that is held is looked at before it counts as busy: some tens of microseconds.
const SPINS_MAX: usize = if cfg!(shuttle) { 1 } else { 600 };
/// Consecutive tickets of one worker that are told together.
const RUN_LEN_MAX: usize = 64;
/// How often a request moves from one shard's queue to another's. After that it keeps its places, so that those who come
/// later stay behind it: a request for many shards would meet another busy one for ever.
const MOVES_MAX: u32 = if cfg!(shuttle) { 1 } else { 8 };

/// The age of whoever comes before all that stand: a client that waits for a key came before them.
pub(crate) const OLDEST: u64 = 0;
/// The age of whoever does not stand yet.
pub(crate) const NEWCOMER: u64 = u64::MAX;

/// A request that waits for a shard: who is to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The worker that owns the client.
    pub worker: usize,
    /// The client's number, or whatever else the worker knows the request by.
    pub client: u64,
}

/// Brings workers the news that requests of theirs may go on.
pub trait Tell: Send + Sync {
    /// The turn of these clients has come, in this order; each tries again by [`Keyspace::resume`]. They may hear it twice,
    /// or when they do not stand any more. No lock of a shard is held.
    fn tell(&self, worker: usize, clients: &[u64]);
}

/// A request's place in the queues of busy shards.
///
/// It ends by [`Keyspace::resume`] with the locks, or by [`Keyspace::withdraw`]: whoever drops it otherwise leaves a ticket
/// behind that all later ones wait for.
#[derive(Debug)]
#[must_use = "a ticket that is never resumed nor withdrawn stops all that stand behind it"]
pub struct Standing {
    ticket: Ticket,
    age: u64,
    /// Where the ticket stands: where it was in vain last, and behind [`MOVES_MAX`] also before.
    shards: SmallVec<[u16; 2]>,
    move_count: u32,
}

impl Standing {
    /// The shards in whose queues the ticket stands.
    pub fn shards(&self) -> impl Iterator<Item = usize> {
        self.shards.iter().map(|&it| usize::from(it))
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let is_over = self.shards.is_empty() || std::thread::panicking();
        debug_assert!(is_over, "a place in a queue was left without a word");
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    age: u64,
    ticket: Ticket,
    /// Its worker was told and has not tried since, or will be told of another shard.
    is_told: bool,
}

/// One shard, its lock, and the queue beside it, on cache lines of their own.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct ShardLock {
    /// How many stand. Changed under the lock of `places`, read without. Beside the lock's own byte, on its cache line.
    count: AtomicU32,
    pub(crate) shard: Mutex<Shard>,
    /// Invariant: by age, ascending. Elsewhere, since it is seldom looked at.
    places: Box<Mutex<VecDeque<Place>>>,
}

/// Before a batch is run, all lines of its shards are asked for: no more than four.
#[cfg(not(shuttle))]
const _: () = assert!(size_of::<ShardLock>() <= 256, "a shard takes more lines than it did");

impl ShardLock {
    pub(crate) fn new(shard: Shard) -> Self {
        let (count, places) = Default::default();
        Self { count, shard: Mutex::new(shard), places }
    }

    /// The lock, if it is free or becomes so in some tens of microseconds, and nobody older stands for it.
    #[inline]
    pub(crate) fn lock_within_bound(&self, age: u64) -> Option<MutexGuard<'_, Shard>> {
        if self.is_awaited() && !self.is_first(age) {
            return None;
        }
        self.shard.try_lock().or_else(|| self.spin())
    }

    #[cold]
    fn spin(&self) -> Option<MutexGuard<'_, Shard>> {
        (0..SPINS_MAX).find_map(|_| {
            pause();
            self.shard.try_lock()
        })
    }

    /// Whether anybody stands.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Whether nobody older than this stands.
    #[cold]
    fn is_first(&self, age: u64) -> bool {
        self.places.lock().front().is_none_or(|front| age <= front.age)
    }

    /// Puts a ticket in its place, or leaves it there. Its worker is to be told, unless that only keeps the place.
    fn stand(&self, age: u64, ticket: Ticket, is_told: bool) {
        let mut places = self.places.lock();
        match places.binary_search_by_key(&age, |it| it.age) {
            Ok(index) => places[index].is_told = is_told,
            Err(index) => places.insert(index, Place { age, ticket, is_told }),
        }
        self.count.store(places.len() as u32, Ordering::Relaxed);
    }

    fn leave(&self, age: u64) {
        let mut places = self.places.lock();
        if let Ok(index) = places.binary_search_by_key(&age, |it| it.age) {
            places.remove(index);
        }
        self.count.store(places.len() as u32, Ordering::Relaxed);
    }

    /// Whose turn it is, now that the lock is free, and has not been told: some tickets of one worker.
    fn take_turn(&self) -> Option<Turn> {
        let mut places = self.places.lock();
        fence_after_store();
        let front = places.front().filter(|it| !it.is_told)?;
        // Whoever holds it looks when he gives it back.
        if self.shard.is_locked() {
            return None;
        }
        let worker = front.ticket.worker;
        let run = places.iter_mut().take_while(|it| it.ticket.worker == worker).take(RUN_LEN_MAX);
        let clients = run.filter_map(|it| {
            (!std::mem::replace(&mut it.is_told, true)).then_some(it.ticket.client)
        });
        Some(Turn { worker, clients: clients.collect() })
    }
}

struct Turn {
    worker: usize,
    clients: SmallVec<[u64; 8]>,
}

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
