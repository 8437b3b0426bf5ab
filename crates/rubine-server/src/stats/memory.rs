//! What INFO tells of memory over time.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// What memory was before.
#[derive(Debug)]
pub(crate) struct MemoryHistory {
    /// The most that was in use, and when, Unix seconds.
    pub(crate) peak: AtomicUsize,
    pub(crate) last_peak_at: AtomicI64,
    /// Memory in use when the server was ready.
    pub(crate) startup: AtomicUsize,
    /// What the background thread had freed when the counters were last set to 0.
    pub(crate) freed_before: AtomicU64,
    pub(crate) over_limit: OverLimit,
}

impl MemoryHistory {
    /// Of a server that starts now, Unix milliseconds, with so many bytes in use.
    pub(crate) fn new(now: i64, startup_bytes: usize) -> Self {
        Self {
            peak: AtomicUsize::new(0),
            last_peak_at: AtomicI64::new(now / 1000),
            startup: AtomicUsize::new(startup_bytes),
            freed_before: AtomicU64::new(0),
            over_limit: OverLimit::default(),
        }
    }
}

/// The time that memory was above its limit.
#[derive(Debug, Default)]
pub(crate) struct OverLimit {
    /// Unix milliseconds; 0 while it is not.
    since: AtomicI64,
    total_ms: AtomicI64,
}

impl OverLimit {
    /// Notes whether memory is above its limit.
    pub(crate) fn note(&self, is_over: bool, now: i64) {
        if is_over {
            let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        } else if self.since.load(Ordering::Relaxed) != 0 {
            let since = self.since.swap(0, Ordering::Relaxed);
            if since != 0 {
                self.total_ms.fetch_add((now - since).max(0), Ordering::Relaxed);
            }
        }
    }

    /// How long it has been so now.
    pub(crate) fn current_ms(&self, now: i64) -> i64 {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 { 0 } else { (now - since).max(0) }
    }

    /// How long it was so altogether.
    pub(crate) fn total_ms(&self, now: i64) -> i64 {
        self.total_ms.load(Ordering::Relaxed) + self.current_ms(now)
    }

    pub(crate) fn reset(&self) {
        self.total_ms.store(0, Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
    }
}
