//! Who follows this server: the state machine behind a lock, with what is asked often beside it as atomics, and who waits for
//! what replicas have.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_journal::{Acknowledgements, Journal, ReplicationOffset};
use rubine_replication::leader::{Leader, ReplicaId, WhyFull};

/// Clients that may wait for replicas at a time.
const WAITING_MAX: usize = 100_000;

pub(crate) struct Replicas {
    leader: Mutex<Leader>,
    /// Connections that are replicas', or have said that they will be.
    known: AtomicUsize,
    /// Replicas that have been heard of not long ago.
    good: AtomicUsize,
    /// What replicas have, in memory and on disk.
    pub(crate) acknowledged: Acknowledgements,
    pub(crate) synced: Acknowledgements,
    pub(crate) full_syncs: AtomicU64,
    pub(crate) partial_syncs: AtomicU64,
    /// Replicas that wanted to go on and could not.
    pub(crate) refused_partial_syncs: AtomicU64,
    /// Who got everything anew last, and why.
    last_full: Mutex<Option<(String, WhyFull)>>,
    /// Bytes of dumps for replicas that wait in memory.
    pub(crate) spooled_bytes: AtomicU64,
}

impl Default for Replicas {
    fn default() -> Self {
        Self {
            leader: Mutex::default(),
            known: AtomicUsize::new(0),
            good: AtomicUsize::new(0),
            acknowledged: Acknowledgements::new(WAITING_MAX),
            synced: Acknowledgements::new(WAITING_MAX),
            full_syncs: AtomicU64::new(0),
            partial_syncs: AtomicU64::new(0),
            refused_partial_syncs: AtomicU64::new(0),
            last_full: Mutex::default(),
            spooled_bytes: AtomicU64::new(0),
        }
    }
}

impl Replicas {
    /// Does something with all that is known of replicas.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Leader) -> T) -> T {
        let mut leader = self.leader.lock();
        let outcome = act(&mut leader);
        self.known.store(leader.len(), Ordering::Release);
        outcome
    }

    /// Replicas, of whatever state. One load.
    /// Replicas that have been heard of not long ago. One load.
    pub(crate) fn good_count(&self) -> usize {
        self.good.load(Ordering::Relaxed)
    }

    pub(crate) fn count_good(&self, now: u64, lag_seconds_max: u64) {
        let good = self.leader.lock().good_count(now, lag_seconds_max);
        self.good.store(good, Ordering::Relaxed);
    }

    /// A replica says what it has. Returns whether it is online by that; who waited for it is put into `released`.
    pub(crate) fn acknowledge(
        &self,
        journal: &Journal,
        id: ReplicaId,
        has: ReplicationOffset,
        synced: Option<ReplicationOffset>,
        now: u64,
        released: &mut Vec<u64>,
    ) -> bool {
        let is_online = self.with(|leader| leader.acknowledge(id, has, synced, now));
        if let Some(position) = journal.position_of(has) {
            self.acknowledged.acknowledge(id, position, released);
        }
        if let Some(position) = synced.and_then(|it| journal.position_of(it)) {
            self.synced.acknowledge(id, position, released);
        }
        is_online
    }

    /// A connection is gone, which may be a replica's.
    pub(crate) fn leave(&self, id: ReplicaId) {
        if self.known.load(Ordering::Acquire) == 0 {
            return;
        }
        self.with(|leader| leader.leave(id));
        self.acknowledged.forget(id);
        self.synced.forget(id);
    }

    /// A replica is to get everything anew.
    pub(crate) fn note_full(&self, name: String, why: WhyFull) {
        self.full_syncs.fetch_add(1, Ordering::Relaxed);
        *self.last_full.lock() = Some((name, why));
    }

    pub(crate) fn last_full(&self) -> Option<(String, WhyFull)> {
        self.last_full.lock().clone()
    }

    pub(crate) fn reset_stats(&self) {
        for counter in [&self.full_syncs, &self.partial_syncs, &self.refused_partial_syncs] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
