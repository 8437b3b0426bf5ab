//! Requests that wait for a busy shard beside its lock, in the order of their coming, while their worker serves others.
//! Never blocks a thread.
//!
//! A worker takes locks with a bound ([`crate::Keyspace::try_lock`]). Past it, the request gets a [`Standing`]: its ticket stands
//! in the queue of the shard that was busy, and nothing is held. When a lock is given back, the keyspace tells the worker
//! of the front ticket through [`Tell`], and the worker tries again ([`crate::Keyspace::resume`]).
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

use crate::shard::Shard;
use crate::sync::{AtomicU32, Mutex, MutexGuard, fence_after_store, pause};

/// How often a lock that is held is looked at before it counts as busy: some tens of microseconds.
const SPINS_MAX: usize = if cfg!(shuttle) { 1 } else { 600 };
/// Consecutive tickets of one worker that are told together.
const RUN_LEN_MAX: usize = 64;
/// How often a request moves from one shard's queue to another's. After that it keeps its places, so that those who come
/// later stay behind it: a request for many shards would meet another busy one for ever.
pub(crate) const MOVES_MAX: u32 = if cfg!(shuttle) { 1 } else { 8 };

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
    /// The turn of these clients has come, in this order; each tries again by [`crate::Keyspace::resume`]. They may hear it twice,
    /// or when they do not stand any more. No lock of a shard is held.
    fn tell(&self, worker: usize, clients: &[u64]);
}

/// A request's place in the queues of busy shards.
///
/// It ends by [`crate::Keyspace::resume`] with the locks, or by [`crate::Keyspace::withdraw`]: whoever drops it otherwise leaves a ticket
/// behind that all later ones wait for.
#[derive(Debug)]
#[must_use = "a ticket that is never resumed nor withdrawn stops all that stand behind it"]
pub struct Standing {
    pub(crate) ticket: Ticket,
    pub(crate) age: u64,
    /// Where the ticket stands: where it was in vain last, and behind [`MOVES_MAX`] also before.
    pub(crate) shards: SmallVec<[u16; 2]>,
    pub(crate) move_count: u32,
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
    pub(crate) fn stand(&self, age: u64, ticket: Ticket, is_told: bool) {
        let mut places = self.places.lock();
        match places.binary_search_by_key(&age, |it| it.age) {
            Ok(index) => places[index].is_told = is_told,
            Err(index) => places.insert(index, Place { age, ticket, is_told }),
        }
        self.count.store(places.len() as u32, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self, age: u64) {
        let mut places = self.places.lock();
        if let Ok(index) = places.binary_search_by_key(&age, |it| it.age) {
            places.remove(index);
        }
        self.count.store(places.len() as u32, Ordering::Relaxed);
    }

    /// Whose turn it is, now that the lock is free, and has not been told: some tickets of one worker.
    pub(crate) fn take_turn(&self) -> Option<Turn> {
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

/// Whose turn it is.
pub(crate) struct Turn {
    pub(crate) worker: usize,
    pub(crate) clients: SmallVec<[u64; 8]>,
}
