//! Votes: the state of an election that this node stands in, and whom it votes for itself.

use std::collections::BTreeSet;

use rubine_base::clock::Millis;

use super::node::Key;
use super::{Cluster, Todo};
use crate::effect::Level;
use crate::id::NodeId;
use crate::message::{Body, Header, MessageFlags};

/// An election in which this node stands for its primary's place.
#[derive(Debug, Default)]
pub(crate) struct Election {
    /// When votes are asked for, or were; 0 if there is none.
    pub(crate) at: Millis,
    pub(crate) is_sent: bool,
    /// Invariant: the epoch in which votes were asked for, if they were.
    pub(crate) epoch: u64,
    /// Who voted for this node.
    pub(crate) votes: BTreeSet<NodeId>,
    /// How many replicas of the same primary come before this one.
    pub(crate) rank: usize,
    /// How many other primaries have failed whose replicas come first.
    pub(crate) primary_rank: usize,
    /// Why there is no failover, as it was last logged.
    pub(crate) obstacle: Option<Obstacle>,
    pub(crate) obstacle_logged_at: Millis,
}

/// Why a replica cannot take its primary's place now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    DataAge,
    WaitingDelay,
    Expired,
    WaitingVotes,
    /// What others of the shard have is not known, or it is more: a write that was acknowledged could be lost.
    QuorumOffset,
}

impl Obstacle {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::DataAge => {
                "Disconnected from primary for longer than allowed. \
                 Please check the 'cluster-replica-validity-factor' configuration option."
            }
            Self::WaitingDelay => "Waiting the delay before I can start a new failover.",
            Self::Expired => "Failover attempt expired.",
            Self::WaitingVotes => "Waiting for votes, but majority still not reached.",
            Self::QuorumOffset => {
                "Under 'write-quorum' I may lack a write that was acknowledged: \
                 other replicas of my shard have more, or have not said how far they are."
            }
        }
    }
}

impl Election {
    /// There is none any more.
    pub(crate) fn forget(&mut self) {
        self.at = 0;
    }

    /// When votes will be asked for, if that is to come.
    pub(crate) fn starts_at(&self) -> Option<Millis> {
        (self.at != 0 && !self.is_sent).then_some(self.at)
    }
}

impl Cluster {
    pub(crate) fn is_election_due(&self) -> bool {
        self.election.starts_at().is_some_and(|it| it <= self.now)
    }

    /// Asks everybody for their votes, in a new epoch.
    pub(crate) fn ask_for_votes(&mut self) {
        self.current_epoch = self.current_epoch.saturating_add(1);
        self.election.epoch = self.current_epoch;
        self.election.is_sent = true;
        let text = format!(
            "Starting a failover election for epoch {}, node config epoch is {}",
            self.current_epoch,
            self.table.epoch(self.table.me)
        );
        self.log(Level::Notice, text);
        self.broadcast(Body::FailoverAuthRequest);
        self.todo |= Todo::SAVE_SYNCED | Todo::UPDATE_STATE;
    }

    /// A primary that votes has voted for this node.
    pub(crate) fn take_vote(&mut self, voter: Key, epoch: u64) {
        let node = &self.table[voter];
        if node.is_voter() && self.election.is_sent && self.election.epoch <= epoch {
            self.election.votes.insert(node.id);
            self.todo |= Todo::FAILOVER;
        }
    }

    /// Another primary has claimed an epoch that is as great as that of our election: it cannot be won any more.
    pub(crate) fn give_up_lost_election(&mut self, sender: Key) {
        let epoch = self.table[sender].config_epoch;
        if self.election.at == 0 || !self.election.is_sent || epoch < self.election.epoch {
            return;
        }
        self.election.forget();
        let text = format!(
            "Failover election in progress for epoch {}, but received a claim from node {} with an equal \
             or higher epoch {epoch}. Resetting the election since we cannot win an election in the past.",
            self.election.epoch,
            self.named(sender)
        );
        self.log(Level::Warning, text);
        self.todo |= Todo::FAILOVER;
    }

    /// Votes for a replica that asks for it, if nothing speaks against it.
    pub(crate) fn consider_vote(&mut self, candidate: Key, request: &Header) {
        if !self.table.myself().is_voter() {
            return;
        }
        if let Err(reason) = self.check_candidate(candidate, request) {
            let text = format!("Failover auth denied to {}{reason}", self.named(candidate));
            return self.log(Level::Warning, text);
        }
        let newer = request.slots.iter().find_map(|slot| {
            let owner = self.table.owner(slot)?;
            let epoch = self.table[owner].config_epoch;
            let is_newer = !self.table.is_unclaimed(slot) && request.config_epoch < epoch;
            is_newer.then_some((slot, owner, epoch))
        });
        if let Some((slot, owner, epoch)) = newer {
            let text = format!(
                "Failover auth denied to {}: slot {slot} epoch ({epoch}) > reqConfigEpoch ({})",
                self.named(candidate),
                request.config_epoch
            );
            self.log(Level::Warning, text);
            // With this it can ask again. It would get no vote otherwise, for as long as its primary is down.
            return self.send_update(candidate, owner);
        }
        self.last_vote_epoch = self.current_epoch;
        self.todo |= Todo::SAVE_SYNCED;
        let link = self.table[candidate].link;
        self.send(link, Body::FailoverAuthAck);
        let text = format!(
            "Failover auth granted to {} for epoch {}",
            self.named(candidate),
            self.current_epoch
        );
        self.log(Level::Notice, text);
    }

    /// What speaks against a vote, but for slots: the end of a line of the log.
    fn check_candidate(&self, candidate: Key, request: &Header) -> Result<(), String> {
        let asked = request.current_epoch;
        let node = &self.table[candidate];
        if !self.health.may_vote || self.facts.is_loading {
            return Err(": it is not safe to vote in this moment)".to_owned());
        }
        if asked < self.current_epoch {
            return Err(format!(": reqEpoch ({asked}) < curEpoch({})", self.current_epoch));
        }
        if self.last_vote_epoch == self.current_epoch {
            return Err(format!(": already voted for epoch {}", self.current_epoch));
        }
        if node.is_primary() {
            return Err(format!(" for epoch {asked}: it is a primary node"));
        }
        let Some(primary) = node.primary else {
            return Err(format!(" for epoch {asked}: I don't know its primary"));
        };
        let is_forced = request.message_flags.contains(MessageFlags::FORCE_ACK);
        if !self.table[primary].is_failed() && !is_forced {
            return Err(format!(" for epoch {asked}: its primary is up"));
        }
        Ok(())
    }
}
