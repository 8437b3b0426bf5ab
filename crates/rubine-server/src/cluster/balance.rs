//! How evenly slots are shared, as this node sees it: what it does about it, and what people have asked for. Moves nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rubine_cluster::id::NodeId;

/// What is shown and asked for.
#[derive(Default)]
pub(crate) struct Balancing {
    /// This node is to have no slots at all: CLUSTER DRAIN.
    is_draining: AtomicBool,
    report: Mutex<BalanceReport>,
}

/// What this node does, and has done since it started.
#[derive(Clone, Default)]
pub(crate) struct BalanceReport {
    pub(crate) doing: Doing,
    pub(crate) moves: u64,
    pub(crate) moved_slots: u64,
    pub(crate) failed_moves: u64,
    /// Why the last move failed, or was cancelled.
    pub(crate) last_failure: String,
}

/// What a node does about slots that should be elsewhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It takes no part.
    #[default]
    Off,
    /// Nothing of it should be elsewhere.
    Even,
    /// Something should; why it does not go now.
    Waiting(String),
    Moving {
        slots: usize,
        to: NodeId,
    },
}

impl Doing {
    /// The name in replies.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Even => "even",
            Self::Waiting(_) => "waiting",
            Self::Moving { .. } => "moving",
        }
    }

    /// In words; empty if there is nothing to say.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Off | Self::Even => String::new(),
            Self::Waiting(reason) => reason.clone(),
            Self::Moving { slots, to } => format!("{slots} slots go to {to}"),
        }
    }
}

impl Balancing {
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// The thread of the cluster learns of it within a moment. Returns whether it was so before.
    pub(crate) fn drain(&self, is_draining: bool) -> bool {
        self.is_draining.swap(is_draining, Ordering::Relaxed)
    }

    pub(crate) fn report(&self) -> BalanceReport {
        self.report.lock().clone()
    }

    /// Shows something else from now on.
    pub(crate) fn note(&self, note: impl FnOnce(&mut BalanceReport)) {
        note(&mut self.report.lock());
    }
}
