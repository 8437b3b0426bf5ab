//! Whether the cluster is well, as far as this node can say: all slots are served, and most primaries are in reach.

use rubine_base::clock::Millis;

use super::{Cluster, Todo};
use crate::effect::Level;
use crate::message::NodeFlags;
use crate::slots::SLOT_COUNT;
use crate::view::{FailReason, State};

/// A primary that comes back from a minority waits so long, so that it is told if it was replaced: as long as the node
/// timeout, within these bounds.
const REJOIN_DELAY_MS_MIN: Millis = 500;
const REJOIN_DELAY_MS_MAX: Millis = 5000;
/// A primary that has just started waits so long before it serves.
const WRITABLE_DELAY_MS: Millis = 2000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Health {
    pub(crate) state: State,
    /// Since when.
    pub(crate) since: Millis,
    /// How many primaries have slots.
    pub(crate) size: usize,
    /// Whether this node may vote: it has not just started.
    pub(crate) may_vote: bool,
    first_looked_at: Option<Millis>,
    /// When this node was last among a minority, or stood still.
    cut_off_at: Millis,
}

impl Health {
    pub(crate) fn new(now: Millis) -> Self {
        Self {
            state: State::Fail(FailReason::Starting),
            since: now,
            size: 0,
            may_vote: false,
            first_looked_at: None,
            cut_off_at: 0,
        }
    }
}

impl Cluster {
    /// Finds out anew whether the cluster is well.
    pub(crate) fn update_state(&mut self) {
        self.todo -= Todo::UPDATE_STATE;
        let now = self.now;
        let is_primary = self.table.myself().is_primary();
        let first_looked_at = *self.health.first_looked_at.get_or_insert(now);
        let is_ok = self.health.state == State::Ok;
        if is_primary && !is_ok && now - first_looked_at < WRITABLE_DELAY_MS {
            self.health.may_vote = false;
            return;
        }
        self.health.may_vote = true;
        let mut state = State::Ok;
        if self.config.require_full_coverage && !self.is_covered() {
            state = State::Fail(FailReason::NotFullCoverage);
        }
        if !self.is_majority_reachable() {
            state = State::Fail(FailReason::MinorityPartition);
            self.health.cut_off_at = now;
        }
        if state == State::Ok && !is_ok && is_primary {
            let delay = self.config.node_timeout.clamp(REJOIN_DELAY_MS_MIN, REJOIN_DELAY_MS_MAX);
            if now - self.health.cut_off_at < delay {
                return;
            }
        }
        self.set_state(state);
    }

    fn set_state(&mut self, state: State) {
        let old = self.health.state;
        if old == state {
            return;
        }
        self.health.state = state;
        self.is_view_stale = true;
        let is_change = (old == State::Ok) != (state == State::Ok);
        if is_change {
            self.health.since = self.now;
            let (level, word) = match state {
                State::Ok => (Level::Notice, "ok"),
                State::Fail(_) => (Level::Warning, "fail"),
            };
            self.log(level, format!("Cluster state changed: {word}"));
        }
        if let State::Fail(reason) = state {
            self.log(Level::Warning, format!("Cluster is currently down: {}", reason.text()));
        }
    }

    /// Whether each slot is served by a node that has not failed.
    fn is_covered(&self) -> bool {
        let working = self.table.iter().filter(|(_, it)| !it.is_failed());
        working.map(|(_, it)| it.slot_count).sum::<usize>() == SLOT_COUNT
    }

    fn is_majority_reachable(&mut self) -> bool {
        let voters = self.table.iter().filter(|(_, it)| it.is_voter());
        let failing = NodeFlags::FAIL | NodeFlags::PFAIL;
        let (mut size, mut reachable) = (0, 0);
        for (_, node) in voters {
            size += 1;
            reachable += usize::from(!node.is(failing));
        }
        self.health.size = size;
        self.quorum() <= reachable
    }

    /// The clock has gone on for longer than others wait, while this process did not: it may have been replaced. Returns
    /// whether that is so.
    pub(crate) fn notice_standstill(&mut self) -> bool {
        let stood_still = self.now - self.turns.last_at;
        let is_alone = self.table.len() == 1;
        if self.turns.last_at == 0 || stood_still <= self.config.node_timeout || is_alone {
            return false;
        }
        let text = format!(
            "This process stood still for {stood_still} milliseconds, and may have been replaced."
        );
        self.log(Level::Warning, text);
        self.forgive_silence(stood_still);
        if self.table.myself().is_voter() {
            self.health.cut_off_at = self.now;
            self.set_state(State::Fail(FailReason::Stalled));
        }
        true
    }

    /// What nobody could answer while this process stood still is asked anew.
    fn forgive_silence(&mut self, stood_still: Millis) {
        for key in self.table.keys() {
            let times = &mut self.table[key].times;
            for moment in [&mut times.ping_sent, &mut times.data_received, &mut times.pong_received]
            {
                if *moment != 0 {
                    *moment += stood_still;
                }
            }
        }
    }
}

impl FailReason {
    /// For the log.
    pub fn text(self) -> &'static str {
        match self {
            Self::Starting => "This node has not found the cluster to be well so far.",
            Self::NotFullCoverage => {
                "At least one hash slot is not served by any available node. \
                 Please check the 'cluster-require-full-coverage' configuration."
            }
            Self::MinorityPartition => "I am part of a minority partition.",
            Self::Stalled => "This process stood still, and waits to hear whether it was replaced.",
        }
    }
}
