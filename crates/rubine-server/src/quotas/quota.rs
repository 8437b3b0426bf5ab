//! One quota at work: its buckets, its counts, and what a client holds of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rubine_config::{QuotaMode, QuotaRule, Rate};
use rubine_system::ticks;
use smallvec::SmallVec;

use super::bucket::{Bucket, Share};

/// What a rate is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ops,
    Input,
    Output,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Ops, Self::Input, Self::Output];
}

/// A worker's shares in the buckets of one quota, by [`Kind`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shares(pub(crate) [Share; Kind::ALL.len()]);

/// A quota, and what is taken of it.
#[derive(Debug)]
pub(crate) struct Quota {
    pub(crate) rule: QuotaRule,
    /// By [`Kind`].
    buckets: [Option<Bucket>; Kind::ALL.len()],
    pub(crate) counts: Counts,
    /// Clients that it is about.
    seats: AtomicU64,
    /// Bytes that its keys take, as they were last measured: by the worker that measures them.
    memory: Box<[AtomicU64]>,
}

/// What has come of a quota, since it is there or was reset.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Commands, bytes of requests, bytes of replies, by [`Kind`].
    pub(crate) taken: [AtomicU64; Kind::ALL.len()],
    /// Commands that had to wait, and for how long altogether.
    pub(crate) delayed: AtomicU64,
    pub(crate) delayed_ms: AtomicU64,
    /// Commands and connections that were refused.
    pub(crate) refused: AtomicU64,
    /// What would have been put off or refused, if the quota were not only observed.
    pub(crate) observed: AtomicU64,
}

impl Counts {
    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        let rest = [&self.delayed, &self.delayed_ms, &self.refused, &self.observed];
        self.taken.iter().chain(rest)
    }
}

/// The time that buckets are told, in microseconds.
pub(crate) fn micros() -> u64 {
    (ticks::now() as f64 / ticks::per_microsecond()) as u64
}

impl Quota {
    pub(crate) fn new(rule: QuotaRule, worker_count: usize) -> Self {
        let now_us = micros();
        let bucket = |rate: Option<Rate>, burst: Option<u64>| {
            let rate = rate?;
            // After a pause, what a second, minute or hour gives may come at once.
            let burst = burst.unwrap_or(rate.count) as f64;
            Some(Bucket::new(rate.per_second(), burst, now_us))
        };
        let buckets =
            [bucket(rule.ops, rule.burst), bucket(rule.input, None), bucket(rule.output, None)];
        let (counts, seats) = Default::default();
        let memory = (0..worker_count).map(|_| AtomicU64::new(0)).collect();
        Self { rule, buckets, counts, seats, memory }
    }

    /// One by another rule, with the counts of this one.
    pub(crate) fn with(&self, rule: QuotaRule) -> Self {
        let quota = Self::new(rule, self.memory.len());
        let old = self.counts.all().chain(&self.memory);
        for (new, old) in quota.counts.all().chain(&quota.memory).zip(old) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        quota
    }

    /// The bucket of a rate, if it is limited.
    pub(crate) fn bucket(&self, kind: Kind) -> Option<&Bucket> {
        self.buckets[kind as usize].as_ref()
    }

    /// Whether it is only watched what it would refuse.
    pub(crate) fn only_observes(&self) -> bool {
        self.rule.mode == QuotaMode::Observe
    }

    /// Whether its keys take more than they may.
    pub(crate) fn is_full(&self) -> bool {
        self.rule.memory.is_some_and(|max| max <= self.memory())
    }

    /// Bytes that its keys take, as they were last measured.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.iter().map(|it| it.load(Ordering::Relaxed)).sum()
    }

    /// A worker has measured what its part of the keys takes.
    pub(crate) fn set_memory(&self, worker: usize, bytes: u64) {
        self.memory[worker].store(bytes, Ordering::Relaxed);
    }

    /// Counts from nothing, with full buckets.
    pub(crate) fn reset(&self) {
        self.counts.all().for_each(|it| it.store(0, Ordering::Relaxed));
        let now_us = micros();
        self.buckets.iter().flatten().for_each(|it| it.fill(now_us));
    }

    /// Clients that it is about.
    pub(crate) fn seat_count(&self) -> u64 {
        self.seats.load(Ordering::Relaxed)
    }
}

/// A client's place among those that a quota is about.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Quota>);

impl Seat {
    /// Takes a place. None, if there are as many as there may be.
    pub(crate) fn take(quota: &Arc<Quota>) -> Option<Self> {
        let before = quota.seats.fetch_add(1, Ordering::Relaxed);
        let seat = Self(Arc::clone(quota));
        if before < quota.rule.clients.unwrap_or(u64::MAX) {
            return Some(seat);
        }
        if quota.only_observes() {
            quota.counts.observed.fetch_add(1, Ordering::Relaxed);
            return Some(seat);
        }
        quota.counts.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Takes a place, for one that is there already.
    pub(crate) fn take_anyway(quota: &Arc<Quota>) -> Self {
        quota.seats.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(quota))
    }

    /// Whether it is one of that quota.
    pub(crate) fn is_of(&self, quota: &Arc<Quota>) -> bool {
        Arc::ptr_eq(&self.0, quota)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.seats.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What quotas mean for one client.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// The number of its user's quota.
    pub(crate) user: Option<usize>,
    pub(crate) seat: Option<Seat>,
    /// What runs next is charged already.
    pub(crate) is_paid: bool,
    /// What the last request has cost is known when the next one comes: its quotas by number, and what the client had been
    /// given and run before.
    pub(crate) open: SmallVec<[usize; 4]>,
    pub(crate) bytes_before: u64,
    pub(crate) commands_before: u64,
    /// Commands of the last request that are paid for.
    pub(crate) commands_paid: u64,
}
