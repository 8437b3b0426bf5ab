//! Keys with a deadline that clients of a replica have written, where that takes writes: their master knows nothing of them, so
//! the replica says by itself when they go. Touches no key.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rubine_base::hash::HashSet;

/// A key and its database.
pub(crate) type OwnKey = (usize, Box<[u8]>);

#[derive(Default)]
pub(crate) struct OwnKeys {
    keys: Mutex<HashSet<OwnKey>>,
    count: AtomicUsize,
}

impl OwnKeys {
    /// Whether there are any. One load.
    pub(crate) fn are_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, db: usize, key: &[u8]) {
        self.change(|keys| _ = keys.insert((db, key.into())));
    }

    /// The key is the master's, or has no deadline any more.
    pub(crate) fn remove(&self, db: usize, key: &[u8]) {
        self.change(|keys| _ = keys.remove(&(db, key.into())));
    }

    /// The data is another.
    pub(crate) fn clear(&self) {
        self.change(HashSet::clear);
    }

    /// Up to so many of them, in no order.
    pub(crate) fn some(&self, count_max: usize) -> Vec<OwnKey> {
        self.keys.lock().iter().take(count_max).cloned().collect()
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<OwnKey>)) {
        let mut keys = self.keys.lock();
        change(&mut keys);
        self.count.store(keys.len(), Ordering::Relaxed);
    }
}
