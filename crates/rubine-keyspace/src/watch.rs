//! WATCH: which keys a client wants to know untouched. Never decides what a touched watch means.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::AtomicBool;

/// The watches of one client. Keys that it watches are registered in their shards; whoever changes one marks it.
#[derive(Debug, Default)]
pub struct Watch {
    broken: AtomicBool,
    /// Its client wants to know no more.
    is_over: AtomicBool,
}

impl Watch {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether a watched key was changed. Meaningful while the shards of all watched keys are locked.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_over(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }
}
