//! A failover that somebody has asked for: the primary stops its clients and says where, the replica comes up to there.

use rubine_base::clock::Millis;

use super::node::Key;
use super::{Cluster, Todo};
use crate::effect::{Action, Level};
use crate::message::Ping;

/// Clients are stopped for so many times the time that the failover may take.
const PAUSE_TIMES: Millis = 2;

/// What a primary or a replica knows of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ManualFailover {
    /// When it is given up; nothing if there is none.
    ends_at: Option<Millis>,
    /// The replica, as its primary sees it.
    pub(crate) replica: Option<Key>,
    /// The primary's clients have stopped, so that its offset is the last one.
    is_paused: bool,
    /// How far the replica has to come, if it was told.
    primary_offset: Option<u64>,
    /// The replica may ask for votes.
    may_start: bool,
}

impl ManualFailover {
    pub(crate) fn is_going_on(&self) -> bool {
        self.ends_at.is_some()
    }

    /// Whether the primary's offset is the one that the replica has to come up to.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_going_on() && self.is_paused
    }

    pub(crate) fn may_start(&self) -> bool {
        self.is_going_on() && self.may_start
    }

    pub(crate) fn waits_for_offset(&self) -> bool {
        self.is_going_on() && !self.may_start && self.primary_offset.is_some()
    }
}

impl Cluster {
    /// A replica of this primary wants its place.
    pub(crate) fn take_manual_failover(&mut self, replica: Key) {
        if self.table[replica].primary != Some(self.table.me) {
            return;
        }
        self.reset_manual_failover();
        let timeout = self.config.manual_failover_timeout;
        self.manual.ends_at = Some(self.now + timeout);
        self.manual.replica = Some(replica);
        self.do_it(Action::PauseWrites { until: self.now + timeout * PAUSE_TIMES });
        let text = format!("Manual failover requested by replica {}.", self.named(replica));
        self.log(Level::Notice, text);
    }

    /// No client of this primary writes any more: the replica is told up to where it has to come.
    pub(crate) fn paused(&mut self, offset: u64) {
        let Some(replica) = self.manual.replica else { return };
        self.facts.offset = offset;
        self.manual.is_paused = true;
        if let Some(link) = self.table[replica].link {
            self.send_ping(link, Ping::Ping);
        }
    }

    /// This replica shall have its primary's place.
    pub(crate) fn begin_manual_failover(&mut self) {
        self.reset_manual_failover();
        self.manual.ends_at = Some(self.now + self.config.manual_failover_timeout);
    }

    /// The primary has stopped its clients, and says how far it is.
    pub(crate) fn take_paused_offset(&mut self, offset: u64) {
        if !self.manual.is_going_on() || self.manual.primary_offset.is_some() {
            return;
        }
        self.manual.primary_offset = Some(offset);
        self.todo |= Todo::MANUAL_FAILOVER;
        let text =
            format!("Received replication offset for paused primary manual failover: {offset}");
        self.log(Level::Notice, text);
    }

    pub(crate) fn go_on_with_manual_failover(&mut self) {
        if self.manual.waits_for_offset() && self.manual.primary_offset == Some(self.facts.offset) {
            self.let_manual_failover_start();
            let text = "All primary replication stream processed, manual failover can start.";
            self.log(Level::Notice, text.to_owned());
            self.todo |= Todo::FAILOVER;
        }
    }

    pub(crate) fn let_manual_failover_start(&mut self) {
        if self.election.at != 0 {
            self.election.forget();
            let text = format!(
                "Failover election in progress for epoch {}, but received a new manual failover. \
                 Resetting the election.",
                self.election.epoch
            );
            self.log(Level::Warning, text);
        }
        self.manual.may_start = true;
    }

    pub(crate) fn end_late_manual_failover(&mut self) {
        if self.manual.ends_at.is_some_and(|it| it < self.now) {
            self.log(Level::Warning, "Manual failover timed out.".to_owned());
            self.reset_manual_failover();
        }
    }

    pub(crate) fn reset_manual_failover(&mut self) {
        if self.manual.replica.is_some() {
            self.do_it(Action::ResumeWrites);
        }
        self.manual = ManualFailover::default();
    }

    /// Until when a manual failover may take, if there is one.
    pub fn manual_failover_ends_at(&self) -> Option<Millis> {
        self.manual.ends_at
    }
}
