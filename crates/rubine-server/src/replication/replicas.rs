//! Who follows this server: the state machine behind a lock, with what is asked often beside it as atomics, and who waits for
//! what replicas have.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_base::clock::monotonic_millis;
use rubine_journal::{Acknowledgements, Journal, Progress, Reader, ReplicationOffset};
use rubine_replication::leader::{Leader, Replica, ReplicaId, State, WhyFull};

/// Clients that may wait for replicas at a time.
const WAITING_MAX: usize = 100_000;

pub(crate) struct Replicas {
    leader: Mutex<Leader>,
    /// Connections that are replicas', or have said that they will be.
    known: AtomicUsize,
    /// Replicas that have been heard of not long ago, and how long ago that may be.
    good: AtomicUsize,
    lag_seconds_max: AtomicU64,
    /// What replicas have, in memory and on disk.
    pub(crate) acknowledged: Acknowledgements,
    pub(crate) synced: Acknowledgements,
    /// Up to where as many replicas as `write-quorum` asks for have everything. Tokens are workers' numbers.
    pub(crate) quorum: Progress,
    /// Clients that were cut because too few replicas confirmed what they wrote.
    pub(crate) quorum_timeouts: AtomicU64,
    pub(crate) full_syncs: AtomicU64,
    pub(crate) partial_syncs: AtomicU64,
    /// Replicas that wanted to go on and could not.
    pub(crate) refused_partial_syncs: AtomicU64,
    /// Who got everything anew last, and why.
    last_full: Mutex<Option<(String, WhyFull)>>,
    /// Bytes of the log that are kept beyond the backlog, because somebody is behind.
    behind_bytes: AtomicUsize,
    /// What follows dumps that go over connections of their own, until somebody comes for it.
    held: Mutex<BTreeMap<ReplicaId, Reader>>,
    /// How long that is kept when the dump's connection is gone.
    pub(crate) grace_ms: AtomicU64,
}

/// How long what follows a dump is kept when the dump's connection is gone, unless a test wants something else.
const GRACE_MS: u64 = 60_000;

impl Default for Replicas {
    fn default() -> Self {
        Self {
            leader: Mutex::default(),
            known: AtomicUsize::new(0),
            good: AtomicUsize::new(0),
            lag_seconds_max: AtomicU64::new(0),
            acknowledged: Acknowledgements::new(WAITING_MAX),
            synced: Acknowledgements::new(WAITING_MAX),
            quorum: Progress::new(0, WAITING_MAX),
            quorum_timeouts: AtomicU64::new(0),
            full_syncs: AtomicU64::new(0),
            partial_syncs: AtomicU64::new(0),
            refused_partial_syncs: AtomicU64::new(0),
            last_full: Mutex::default(),
            behind_bytes: AtomicUsize::new(0),
            held: Mutex::default(),
            grace_ms: AtomicU64::new(GRACE_MS),
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

    /// Connections that are replicas', or have said that they will be. One load.
    pub(crate) fn known_count(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    /// Replicas that have been heard of not long ago. One load.
    pub(crate) fn good_count(&self) -> usize {
        self.good.load(Ordering::Relaxed)
    }

    pub(crate) fn count_good(&self, now: u64, lag_seconds_max: u64) {
        self.lag_seconds_max.store(lag_seconds_max, Ordering::Relaxed);
        let good = self.leader.lock().good_count(now, lag_seconds_max);
        self.good.store(good, Ordering::Relaxed);
    }

    /// Takes note of what so many replicas have. Returns the workers that wait for it.
    pub(crate) fn note_quorum(&self, replicas: usize, on_disk: bool) -> Vec<u64> {
        let peers = if on_disk { &self.synced } else { &self.acknowledged };
        let mut released = Vec::new();
        if let Some(offset) = peers.reached_by(replicas) {
            self.quorum.advance(offset, &mut released);
        }
        released
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

    /// Whether a dump is being made for replicas.
    pub(crate) fn makes_dump(&self) -> bool {
        self.leader.lock().is_transferring()
    }

    /// Looks how much of the log is kept because somebody is behind.
    pub(crate) fn measure(&self, journal: &Journal) {
        let status = journal.status();
        let kept = status.buffered_bytes() + status.spare_bytes;
        let behind = kept.saturating_sub(status.backlog_bytes_max);
        self.behind_bytes.store(behind as usize, Ordering::Relaxed);
    }

    /// Bytes of the log that are kept because somebody is behind. They do not count as used: keys that went for their sake
    /// would be written to the log, too. One load.
    pub(crate) fn behind_bytes(&self) -> usize {
        self.behind_bytes.load(Ordering::Relaxed)
    }

    /// Whether a replica that is online lacks something.
    pub(crate) fn are_behind(&self, journal: &Journal) -> bool {
        let end = journal.point().offset;
        let is_behind =
            |replica: &Replica| replica.state == State::Online && replica.acknowledged != end;
        self.with(|leader| leader.replicas().any(|(_, it)| is_behind(it)))
    }

    /// Keeps what follows the dump of this connection until the replica comes for it on another one.
    pub(crate) fn hold(&self, dump: ReplicaId, log: Reader) {
        let mut held = self.held.lock();
        let is_there = self.with(|leader| {
            leader.get(dump)?;
            leader.hold(dump);
            Some(())
        });
        if is_there.is_some() {
            held.insert(dump, log);
        }
    }

    /// What is kept so, if it follows `has`.
    pub(crate) fn take_held(&self, dump: ReplicaId, has: ReplicationOffset) -> Option<Reader> {
        let mut held = self.held.lock();
        let fits = held.get(&dump).is_some_and(|log| log.began().offset == has);
        if fits { held.remove(&dump) } else { None }
    }

    /// Gives up what is kept so of this connection.
    pub(crate) fn release(&self, dump: ReplicaId) {
        self.with(|leader| leader.release(dump));
        self.held.lock().remove(&dump);
    }

    /// Dumps of which more is kept than may be.
    pub(crate) fn overrun(&self, bytes_max: u64) -> Vec<ReplicaId> {
        let held = self.held.lock();
        let too_far = held.iter().filter(|(_, log)| bytes_max < log.lag_bytes());
        too_far.map(|(id, _)| *id).collect()
    }

    /// A connection is gone, which may be a replica's. Returns another one that is of no use by that.
    pub(crate) fn leave(&self, id: ReplicaId) -> Option<ReplicaId> {
        if self.known.load(Ordering::Acquire) == 0 {
            return None;
        }
        let (other, is_held) = self.with(|leader| (leader.leave(id), leader.is_held(id)));
        if !is_held {
            self.held.lock().remove(&id);
        }
        self.count_good(monotonic_millis(), self.lag_seconds_max.load(Ordering::Relaxed));
        self.acknowledged.forget(id);
        self.synced.forget(id);
        other
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
