//! What INFO tells of memory over time.

use std::sync::atomic::{AtomicI64, Ordering};

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
