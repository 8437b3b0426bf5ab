//! Who listens to patterns. Whoever publishes only reads here, so publishers do not wait for each other; where nobody
//! has subscribed to a pattern, they do not even look. Never sends anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use rubine_base::glob;
use rubine_base::hash::HashMap;

use super::{Counts, count_in, count_out};

#[derive(Debug, Default)]
pub(super) struct Patterns {
    listeners: RwLock<Listeners>,
    /// How many patterns there are.
    len: AtomicUsize,
}

#[derive(Debug, Default)]
struct Listeners {
    /// As that of a channel's section.
    version: u64,
    by_pattern: HashMap<Arc<[u8]>, Counts>,
}

impl Patterns {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Adds a client of `worker`; returns the version from which on messages are for it.
    pub(super) fn add(&self, pattern: &[u8], worker: usize) -> u64 {
        let mut listeners = self.listeners.write();
        listeners.version += 1;
        if let Some(counts) = listeners.by_pattern.get_mut(pattern) {
            count_in(counts, worker);
        } else {
            listeners.by_pattern.insert(pattern.into(), vec![(worker, 1)]);
            self.len.fetch_add(1, Ordering::Release);
        }
        listeners.version
    }

    pub(super) fn remove(&self, pattern: &[u8], worker: usize) {
        let mut listeners = self.listeners.write();
        let counts = listeners.by_pattern.get_mut(pattern).expect("somebody listens to it");
        count_out(counts, worker);
        if counts.is_empty() {
            listeners.by_pattern.remove(pattern);
            self.len.fetch_sub(1, Ordering::Release);
        }
    }

    /// Calls `visit` with every pattern that matches `channel`; returns the version.
    pub(super) fn matching(
        &self,
        channel: &[u8],
        mut visit: impl FnMut(&Arc<[u8]>, &Counts),
    ) -> u64 {
        let listeners = self.listeners.read();
        for (pattern, counts) in &listeners.by_pattern {
            if glob::matches(pattern, channel, glob::Case::Sensitive) {
                visit(pattern, counts);
            }
        }
        listeners.version
    }
}
