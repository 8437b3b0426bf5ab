//! Clients that wait for keys. Queues in the shard, first come first served; never runs a command.
//!
//! A key that may now satisfy its first waiter is *ready*. Before anything else runs on a shard with a ready key, the
//! hand-off is completed by whoever came along, so nobody takes an element from an earlier waiter.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rubine_structures::value::Type;
use smallvec::SmallVec;

use crate::db_map::DbMap;
use crate::key::Key;
use crate::shard_set::ShardSet;
use crate::sync::{AtomicU8, Mutex, MutexGuard};

/// What has become of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WaiterState {
    Waiting,
    /// Its command ran; the reply is on its way.
    Served,
    /// It timed out, was unblocked or went away.
    Cancelled,
}

/// When it is worth running the command of a waiter again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// When one of its keys holds this. Thus a BLPOP waits on if the key is gone or holds another type, and a BLMOVE whose
    /// destination does fails when its source is a list.
    Type(Type),
    /// Whatever becomes of its keys, be it to fail: so for XREADGROUP.
    AnyChange,
}

impl Awaited {
    fn is_met_by(self, found: Option<Type>) -> bool {
        match self {
            Self::Type(awaited) => found == Some(awaited),
            Self::AnyChange => true,
        }
    }
}

/// A command that waits for one of its keys. Shared by the queues of all these keys and by the client's worker.
#[derive(Debug)]
pub struct Waiter {
    /// The client's number.
    pub client: u64,
    /// The worker that owns the client.
    pub worker: usize,
    pub db: usize,
    /// The command, to be run again.
    pub args: Vec<Box<[u8]>>,
    /// The keys that it waits for: indexes into `args`.
    pub keys: Vec<usize>,
    pub awaited: Awaited,
    /// The protocol version of the reply.
    pub protocol: u8,
    /// Its number in all of its queues, in the order of coming. Written once, while the shards of all of them are locked.
    place: AtomicU64,
    state: AtomicU8,
    /// Held while somebody runs the command, so that the wait cannot end between what it takes and its reply.
    serving: Mutex<()>,
}

impl Waiter {
    pub fn new(
        client: u64,
        worker: usize,
        db: usize,
        args: Vec<Box<[u8]>>,
        keys: Vec<usize>,
        awaited: Awaited,
        protocol: u8,
    ) -> Arc<Self> {
        let state = AtomicU8::new(WaiterState::Waiting as u8);
        let (place, serving) = (AtomicU64::new(0), Mutex::new(()));
        Arc::new(Self { client, worker, db, args, keys, awaited, protocol, place, state, serving })
    }

    /// The shards in whose queues it stands.
    pub fn shards(&self) -> ShardSet {
        let mut shards = ShardSet::default();
        self.keys.iter().for_each(|&index| shards.add(Key::new(&self.args[index])));
        shards
    }

    pub fn state(&self) -> WaiterState {
        match self.state.load(Ordering::Acquire) {
            0 => WaiterState::Waiting,
            1 => WaiterState::Served,
            _ => WaiterState::Cancelled,
        }
    }

    pub(crate) fn place(&self) -> u64 {
        self.place.load(Ordering::Relaxed)
    }

    pub(crate) fn set_place(&self, place: u64) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// Keeps [`Self::cancel`] from ending the wait until the guard is dropped.
    pub(crate) fn start_serving(&self) -> MutexGuard<'_, ()> {
        self.serving.lock()
    }

    /// Ends the wait from anywhere, without a shard's lock; returns whether it still lasted. It is to be taken off the
    /// queues by the worker that owns the client.
    pub fn cancel(&self) -> bool {
        let _serving = self.serving.lock();
        self.end(WaiterState::Cancelled)
    }

    /// Ends the wait, once: whoever gets `true` decides how.
    pub fn end(&self, state: WaiterState) -> bool {
        let waiting = WaiterState::Waiting as u8;
        self.state
            .compare_exchange(waiting, state as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

/// A key on which a hand-off is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) db: usize,
    pub(crate) key: Box<[u8]>,
    /// The change of the key that it is about. No two are the same, or whoever was slow to settle a hand-off that others
    /// have completed would settle the next one of that key, too.
    pub(crate) generation: u64,
}

/// Waiters by place.
type Group = BTreeMap<u64, Arc<Waiter>>;

/// Who waits for a key.
#[derive(Debug, Default)]
struct Queue {
    /// By what they wait for, none empty: those for whom there is nothing are passed by together.
    groups: SmallVec<[(Awaited, Group); 1]>,
}

impl Queue {
    fn add(&mut self, waiter: &Arc<Waiter>) {
        let index = self.groups.iter().position(|it| it.0 == waiter.awaited);
        let index = index.unwrap_or_else(|| {
            self.groups.push((waiter.awaited, Group::new()));
            self.groups.len() - 1
        });
        // A command that names a key twice stands in its queue once.
        self.groups[index].1.insert(waiter.place(), waiter.clone());
    }

    /// Takes out those at the front whose wait was cancelled while their shard was busy.
    fn purge(&mut self) {
        for (_, group) in &mut self.groups {
            while let Some(first) = group.first_entry()
                && first.get().state() == WaiterState::Cancelled
            {
                first.remove();
            }
        }
        self.groups.retain(|it| !it.1.is_empty());
    }

    fn remove(&mut self, waiter: &Waiter) {
        for (_, group) in self.groups.iter_mut().filter(|it| it.0 == waiter.awaited) {
            group.remove(&waiter.place());
        }
        self.groups.retain(|it| !it.1.is_empty());
    }

    /// The first behind `place` that waits for what was found.
    fn next(&self, place: u64, found: Option<Type>) -> Option<&Arc<Waiter>> {
        let groups = self.groups.iter().filter(|it| it.0.is_met_by(found));
        let next = |group: &Group| {
            let behind = (Bound::Excluded(place), Bound::Unbounded);
            group.range(behind).find(|it| it.1.state() == WaiterState::Waiting).map(|it| *it.0)
        };
        let (group, place) =
            groups.filter_map(|it| Some((&it.1, next(&it.1)?))).min_by_key(|it| it.1)?;
        group.get(&place)
    }
}

/// The waiters of one shard.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    queues: DbMap<Queue>,
    ready: VecDeque<Ready>,
    /// Counts the changes of keys that somebody waits for.
    generation: u64,
}

impl Waiters {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn add(&mut self, db: usize, key: &[u8], waiter: &Arc<Waiter>) {
        let queue = self.queues.get_or_add(db, key);
        queue.purge();
        queue.add(waiter);
    }

    pub(crate) fn remove(&mut self, db: usize, key: &[u8], waiter: &Waiter) {
        if let Some(queue) = self.queues.get_mut(db, key) {
            queue.remove(waiter);
            if queue.groups.is_empty() {
                self.queues.remove(db, key);
            }
        }
    }

    /// Notes that `key` changed. Cheap where nobody waits in this shard.
    pub(crate) fn note_change(&mut self, db: usize, key: &[u8]) {
        if let Some(ready) = self.ready.iter_mut().find(|it| it.db == db && *it.key == *key) {
            self.generation += 1;
            ready.generation = self.generation;
        } else if self.queues.get(db, key).is_some() {
            self.generation += 1;
            self.ready.push_back(Ready { db, key: key.into(), generation: self.generation });
        }
    }

    /// All keys of `db` that somebody waits for become ready: the database was swapped.
    pub(crate) fn note_swap(&mut self, db: usize) {
        let keys: Vec<Box<[u8]>> = self.queues.keys(db).map(Box::from).collect();
        for key in keys {
            self.note_change(db, &key);
        }
    }

    pub(crate) fn first_ready(&self) -> Option<Ready> {
        self.ready.front().cloned()
    }

    /// Takes `ready` off the list, unless the key has changed since.
    pub(crate) fn settle(&mut self, ready: &Ready) {
        self.ready.retain(|it| it != ready);
        if let Some(queue) = self.queues.get_mut(ready.db, &ready.key) {
            queue.purge();
            if queue.groups.is_empty() {
                self.queues.remove(ready.db, &ready.key);
            }
        }
    }

    /// Whether the hand-off is still due and the key has not changed since `ready` was looked up.
    pub(crate) fn is_current(&self, ready: &Ready) -> bool {
        self.ready.contains(ready)
    }

    /// The first waiter of a key behind `place` for whom there may be something, if the key holds what was `found`.
    pub(crate) fn next(
        &self,
        ready: &Ready,
        place: u64,
        found: Option<Type>,
    ) -> Option<Arc<Waiter>> {
        self.queues.get(ready.db, &ready.key)?.next(place, found).cloned()
    }

    /// Keys that somebody waits for.
    pub(crate) fn key_count(&self) -> usize {
        self.queues.len()
    }

    /// Keys for which somebody waits whose wait ends when they go.
    pub(crate) fn needed_key_count(&self) -> usize {
        let ends = |it: &Queue| it.groups.iter().any(|it| it.0 == Awaited::AnyChange);
        self.queues.values().filter(|it| ends(it)).count()
    }
}
