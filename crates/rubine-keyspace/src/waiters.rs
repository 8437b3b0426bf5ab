//! Clients that wait for keys. Queues in the shard, first come first served; never runs a command.
//!
//! A key that may now satisfy its first waiter is *ready*. Before anything else runs on a shard with a ready key, the
//! hand-off is completed by whoever came along, so nobody takes an element from an earlier waiter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_base::hash::HashMap;

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
    /// Whether the command runs again whatever becomes of its keys, be it to fail: so for XREADGROUP; a BLPOP waits on if
    /// the key is gone or holds another type.
    pub ends_on_error: bool,
    /// The protocol version of the reply.
    pub protocol: u8,
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
        ends_on_error: bool,
        protocol: u8,
    ) -> Arc<Self> {
        let state = AtomicU8::new(WaiterState::Waiting as u8);
        let serving = Mutex::new(());
        Arc::new(Self { client, worker, db, args, keys, ends_on_error, protocol, state, serving })
    }

    pub fn state(&self) -> WaiterState {
        match self.state.load(Ordering::Acquire) {
            0 => WaiterState::Waiting,
            1 => WaiterState::Served,
            _ => WaiterState::Cancelled,
        }
    }

    /// Keeps [`Self::cancel`] from ending the wait until the guard is dropped.
    pub fn start_serving(&self) -> MutexGuard<'_, ()> {
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
pub struct Ready {
    pub db: usize,
    pub key: Box<[u8]>,
    /// The change of the key that it is about. No two are the same, or whoever was slow to settle a hand-off that others
    /// have completed would settle the next one of that key, too.
    pub generation: u64,
}

type Queue = VecDeque<Arc<Waiter>>;

/// The waiters of one shard.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    queues: HashMap<(usize, Box<[u8]>), Queue>,
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
        let queue = self.queues.entry((db, key.into())).or_default();
        queue.retain(|it| it.state() == WaiterState::Waiting);
        // A command that names a key twice stands in its queue once.
        if !queue.back().is_some_and(|last| Arc::ptr_eq(last, waiter)) {
            queue.push_back(waiter.clone());
        }
    }

    pub(crate) fn remove(&mut self, db: usize, key: &[u8], waiter: &Arc<Waiter>) {
        let id = (db, Box::from(key));
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.retain(|it| !Arc::ptr_eq(it, waiter));
            if queue.is_empty() {
                self.queues.remove(&id);
            }
        }
    }

    /// Notes that `key` changed. Cheap where nobody waits in this shard.
    pub(crate) fn note_change(&mut self, db: usize, key: &[u8]) {
        if let Some(ready) = self.ready.iter_mut().find(|it| it.db == db && *it.key == *key) {
            self.generation += 1;
            ready.generation = self.generation;
        } else if self.queues.contains_key(&(db, Box::from(key))) {
            self.generation += 1;
            self.ready.push_back(Ready { db, key: key.into(), generation: self.generation });
        }
    }

    /// All keys of `db` that somebody waits for become ready: the database was swapped.
    pub(crate) fn note_swap(&mut self, db: usize) {
        let keys: Vec<_> =
            self.queues.keys().filter(|it| it.0 == db).map(|it| it.1.clone()).collect();
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
    }

    /// Whether the hand-off is still due and the key has not changed since `ready` was looked up.
    pub(crate) fn is_current(&self, ready: &Ready) -> bool {
        self.ready.contains(ready)
    }

    pub(crate) fn waiting_on(&self, db: usize, key: &[u8]) -> Vec<Arc<Waiter>> {
        let queue = self.queues.get(&(db, Box::from(key)));
        let waiting = queue.into_iter().flatten();
        waiting.filter(|it| it.state() == WaiterState::Waiting).cloned().collect()
    }

    /// Keys that somebody waits for.
    pub(crate) fn key_count(&self) -> usize {
        self.queues.len()
    }

    /// Keys for which somebody waits whose wait ends when they go.
    pub(crate) fn needed_key_count(&self) -> usize {
        let ends = |it: &Arc<Waiter>| it.ends_on_error && it.state() == WaiterState::Waiting;
        self.queues.values().filter(|queue| queue.iter().any(ends)).count()
    }
}
