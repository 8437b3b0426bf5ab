//! How far defragmenting memory is, and what INFO tells of it. See `control/defrag.rs`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::Thread;

use rubine_keyspace::DefragStep;

/// How the clock's work and the thread stand, and what INFO tells.
#[derive(Debug, Default)]
pub(crate) struct Defrag {
    pub(crate) thread: OnceLock<Thread>,
    /// The part of a processor that the thread may take now, 0 if it has nothing to do.
    pub(crate) share_percent: AtomicU32,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) key_hits: AtomicU64,
    pub(crate) key_misses: AtomicU64,
    /// Milliseconds for which there was something to do: in all, and since there last was nothing.
    pub(crate) total_ms: AtomicU64,
    pub(crate) current_ms: AtomicU64,
}

impl Defrag {
    /// The part of a processor that is spent on it now, in percent.
    pub(crate) fn running(&self) -> u32 {
        self.share_percent.load(Ordering::Relaxed)
    }

    /// Sets the counters to 0.
    pub(crate) fn reset(&self) {
        for counter in [&self.hits, &self.misses, &self.key_hits, &self.key_misses] {
            counter.store(0, Ordering::Relaxed);
        }
        self.total_ms.store(0, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, step: DefragStep) {
        let counts = [
            (&self.hits, step.moved),
            (&self.misses, step.kept),
            (&self.key_hits, step.moved_keys),
            (&self.key_misses, step.kept_keys),
        ];
        counts.iter().for_each(|(counter, by)| _ = counter.fetch_add(*by, Ordering::Relaxed));
    }
}
