//! One alert of a rule, from when it is first seen until it is forgotten. Tells nobody.

use super::{Moment, State};
use crate::labels::Labels;
use crate::rule::Severity;

/// One alert.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) rule: String,
    pub(super) severity: Severity,
    pub(super) phase: Phase,
    pub(super) value: f64,
    pub(super) annotations: Labels,
    /// Since when its condition has been met, Unix milliseconds.
    pub(super) starts_at: i64,
    /// People have been told that it fires, and not that it has ended.
    pub(super) is_told: bool,
    /// Alertmanagers have been told of it.
    pub(super) is_told_to_managers: bool,
}

/// Where it stands; times are monotonic milliseconds where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The condition is met, but not for long enough.
    Pending {
        since_ms: u64,
    },
    /// `clear_ms`: since when it is not met any more.
    Firing {
        clear_ms: Option<u64>,
    },
    Resolved {
        at_ms: u64,
        at_unix_ms: i64,
    },
}

impl Instance {
    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Pending { .. } => State::Pending,
            Phase::Firing { .. } => State::Firing,
            Phase::Resolved { .. } => State::Resolved,
        }
    }

    pub(super) fn resolve(&mut self, now: Moment) {
        if !matches!(self.phase, Phase::Resolved { .. }) {
            self.phase = Phase::Resolved { at_ms: now.monotonic_ms, at_unix_ms: now.unix_ms };
        }
    }
}
