//! A rewrite of the log: what it is for, how far it is, and whether it is to go on. Writes nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::pace::Share;
use crate::rdb_save::Work;

/// What a rewrite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To make the log shorter.
    Rewrite,
    /// To begin a log.
    Start,
    /// For its own sake: there is no log.
    Detached,
}

/// A rewrite that runs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    /// What it takes while others want processors.
    pub(crate) share: Share,
    pub(crate) started_at: i64,
    is_cancelled: AtomicBool,
    /// How far it is; where the base is a dump, what of the image has yet to be written, too.
    pub(crate) work: Work,
}

impl Job {
    pub(crate) fn new(kind: Kind, share: Share, started_at: i64) -> Self {
        Self {
            kind,
            share,
            started_at,
            is_cancelled: AtomicBool::new(false),
            work: Work::default(),
        }
    }

    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.work.cancel();
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let is_cancelled = self.is_cancelled.load(Ordering::Relaxed);
        if is_cancelled { Err("it was cancelled".to_owned()) } else { Ok(()) }
    }
}
