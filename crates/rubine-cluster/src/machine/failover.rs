//! How a replica takes the place of its primary, be it that this has failed, be it that somebody wants it.

use rubine_base::clock::Millis;

use super::election::Obstacle;
use super::node::{Key, Node};
use super::{Cluster, Todo};
use crate::effect::{Action, Level};
use crate::message::NodeFlags;

/// A replica that has nothing yet waits so much longer.
const EMPTY_DELAY_MS: Millis = 500;
const DELAY_MS_MAX: Millis = 500;
/// An election takes no less than this until it is given up.
const ELECTION_MS_MIN: Millis = 2000;
/// The same obstacle is not logged again for so long, and that the data is too old for ten times as long.
const OBSTACLE_LOG_PERIOD_MS: Millis = 1000;

impl Cluster {
    /// Goes on with the failover of this replica's primary, as far as it can go now.
    pub(crate) fn go_on_with_failover(&mut self) {
        self.todo -= Todo::FAILOVER;
        let is_manual = self.manual.may_start();
        let Some(primary) = self.table.myself().primary.filter(|it| {
            let is_wanted = self.table[*it].is_failed() && !self.config.replica_no_failover;
            self.table.myself().is_replica() && (is_wanted || is_manual)
        }) else {
            self.election.obstacle = None;
            return;
        };
        if !is_manual {
            if self.is_data_too_old() {
                return self.log_obstacle(Obstacle::DataAge);
            }
            if !self.has_quorum_offset(primary) {
                return self.log_obstacle(Obstacle::QuorumOffset);
            }
        }
        let timeout = self.config.node_timeout.saturating_mul(2).max(ELECTION_MS_MIN);
        let mut age = self.now.saturating_sub(self.election.at);
        if timeout.saturating_mul(2) < age {
            self.plan_election();
            if self.now < self.election.at {
                return;
            }
            age = 0;
        }
        if !self.election.is_sent && !self.manual.is_going_on() && self.election.at != self.now {
            self.revise_election();
        }
        if self.now < self.election.at {
            self.log_obstacle(Obstacle::WaitingDelay);
        } else if timeout < age {
            self.log_obstacle(Obstacle::Expired);
        } else if !self.election.is_sent {
            self.ask_for_votes();
        } else if self.quorum() <= self.election.votes.len() {
            // What others have may have become more since votes were asked for.
            if is_manual || self.has_quorum_offset(primary) {
                self.win();
            } else {
                self.election.forget();
            }
        } else {
            self.log_obstacle(Obstacle::WaitingVotes);
        }
    }

    fn win(&mut self) {
        self.log(Level::Notice, "Failover election won: I'm the new primary.".to_owned());
        let epoch = self.election.epoch;
        if self.table.myself().config_epoch < epoch {
            self.table.myself_mut().config_epoch = epoch;
            self.todo |= Todo::SAVE_SYNCED | Todo::BROADCAST;
            self.log(
                Level::Notice,
                format!("configEpoch set to {epoch} after successful failover"),
            );
        }
        self.replace_primary();
    }

    /// Takes the place of the primary. The epoch for it is there.
    pub(crate) fn replace_primary(&mut self) {
        let me = self.table.me;
        let Some(primary) = self.table.myself().primary.filter(|_| !self.table[me].is_primary())
        else {
            return;
        };
        let text = format!(
            "Setting myself to primary in shard {} after failover; my old primary is {}",
            self.table[me].shard,
            self.named(primary)
        );
        self.log(Level::Notice, text);
        self.make_primary(me);
        let slots: Vec<u16> = self.table[primary].slots.iter().collect();
        for slot in slots {
            self.table.assign(slot, me);
        }
        self.update_state();
        self.todo |= Todo::SAVE_SYNCED | Todo::BROADCAST;
        self.reset_manual_failover();
        self.do_it(Action::VerifyKeys);
        self.election.forget();
    }

    /// Decides when votes are asked for: the sooner, the more this replica has, and the fewer others have to come first.
    fn plan_election(&mut self) {
        let delay = self.election_delay();
        let chance = if 0 < delay { self.random.below(delay as u64) as Millis } else { 0 };
        self.election.votes.clear();
        self.election.is_sent = false;
        self.election.rank = self.replica_rank();
        self.election.primary_rank = self.failed_primary_rank();
        let ranks = self.election.rank as Millis * 2 + self.election.primary_rank as Millis;
        let empty = if self.facts.offset == 0 { EMPTY_DELAY_MS } else { 0 };
        self.election.at = self.now + delay + chance + ranks * delay + empty;
        if self.manual.is_going_on() {
            self.election.at = self.now;
            self.election.rank = 0;
            self.election.primary_rank = 0;
        } else if self.is_best_replica() {
            self.election.at = self.now;
            let text = "This is the best ranked replica and can initiate the election immediately.";
            self.log(Level::Notice, text.to_owned());
        }
        let text = format!(
            "Start of election delayed for {} milliseconds (rank #{}, primary rank #{}, offset {}).",
            self.election.at - self.now,
            self.election.rank,
            self.election.primary_rank,
            self.facts.offset
        );
        self.log(Level::Notice, text);
        // The others shall know how far this one is.
        self.pong_replicas();
    }

    /// What others have said since may let this replica come later, or at once.
    fn revise_election(&mut self) {
        let delay = self.election_delay();
        let rank = self.replica_rank();
        if rank != self.election.rank {
            let added = (rank as Millis - self.election.rank as Millis) * delay * 2;
            self.election.at += added;
            self.election.rank = rank;
            let text =
                format!("Replica rank updated to #{rank}, added {added} milliseconds of delay.");
            self.log(Level::Notice, text);
        }
        let rank = self.failed_primary_rank();
        if rank != self.election.primary_rank {
            let added = (rank as Millis - self.election.primary_rank as Millis) * delay;
            self.election.at += added;
            self.election.primary_rank = rank;
            let text = format!(
                "Failed primary rank updated to #{rank}, added {added} milliseconds of delay."
            );
            self.log(Level::Notice, text);
        }
        if self.now < self.election.at && self.is_best_replica() {
            self.election.at = self.now;
            let text = "Myself become the best ranked replica, initiate the election immediately.";
            self.log(Level::Notice, text.to_owned());
        }
    }

    fn election_delay(&self) -> Millis {
        (self.config.node_timeout / 30).min(DELAY_MS_MAX)
    }

    /// Whether no replica comes before this one, and all of them take the primary for failed: there is nothing to wait for.
    pub(crate) fn is_best_replica(&self) -> bool {
        let Some(primary) = self.table.myself().primary else { return false };
        !self.manual.is_going_on()
            && self.facts.offset != 0
            && self.election.rank == 0
            && self.election.primary_rank == 0
            && self.table[primary]
                .replicas
                .iter()
                .all(|it| self.table[*it].is(NodeFlags::MY_PRIMARY_FAIL))
    }

    /// How many replicas of the same primary have more, or as much and a smaller id.
    fn replica_rank(&self) -> usize {
        let Some(primary) = self.table.myself().primary else { return 0 };
        let own = (std::cmp::Reverse(self.facts.offset), self.table.myself().id);
        let others = self.table[primary].replicas.iter().filter(|it| **it != self.table.me);
        others
            .map(|it| &self.table[*it])
            .filter(|it| !it.is(NodeFlags::NO_FAILOVER))
            .filter(|it| (std::cmp::Reverse(it.offset), it.id) < own)
            .count()
    }

    /// How many other primaries have failed whose shards come first: replicas that ask for votes at once get too few.
    fn failed_primary_rank(&self) -> usize {
        let factor = Millis::from(self.config.replica_validity_factor);
        let age_max = self.config.node_timeout.saturating_mul(factor);
        let shard = self.table.myself().shard;
        let failed = self.table.iter().map(|it| it.1).filter(|node| {
            let is_too_old = factor != 0 && age_max < self.now - node.times.failed;
            node.is_failed() && node.is_voter() && !node.replicas.is_empty() && !is_too_old
        });
        failed.filter(|it| it.shard < shard).count()
    }

    /// Whether the primary has not been heard of for so long that what is here is too old.
    fn is_data_too_old(&self) -> bool {
        let factor = Millis::from(self.config.replica_validity_factor);
        if factor == 0 {
            return false;
        }
        let mut age = self.now - self.facts.primary_heard_at;
        // That long it may be silent before it is found to have failed.
        if self.config.node_timeout < age {
            age -= self.config.node_timeout;
        }
        let age_max = self.config.node_timeout.saturating_mul(factor);
        let ping = Millis::from(self.config.ping_replica_period) * 1000;
        age_max.saturating_add(ping) < age
    }

    /// Whether this replica has every write that was acknowledged on the word of `write-quorum` replicas. Those who have
    /// said how far they are take nothing more of the primary (`promise.rs`), so that no write is acknowledged behind
    /// their backs. A write is on so many replicas; of these, all but the silent ones are among those who have spoken.
    pub(crate) fn has_quorum_offset(&self, primary: Key) -> bool {
        let quorum = self.config.write_quorum as usize;
        if quorum == 0 {
            return true;
        }
        let shard = self.table.myself().shard;
        // Whoever is of the shard may follow this primary by now, though we have not heard of it: a primary of before, too.
        let may_follow = |key: Key, node: &Node| {
            let is_idle = node.is_primary() && node.slot_count == 0;
            key != primary && node.shard == shard && (node.is_replica() || is_idle)
        };
        let replicas: Vec<Key> =
            self.table.iter().filter(|(key, it)| may_follow(*key, it)).map(|it| it.0).collect();
        let has_spoken = |key: &&Key| {
            let node = &self.table[**key];
            node.primary == Some(primary) && node.is(NodeFlags::MY_PRIMARY_FAIL)
        };
        let mut offsets: Vec<u64> =
            replicas.iter().filter(has_spoken).map(|it| self.offset_of(*it)).collect();
        let silent = replicas.len() - offsets.len();
        if quorum <= silent || !self.table.myself().is(NodeFlags::MY_PRIMARY_FAIL) {
            return false;
        }
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        let index = (quorum - silent).min(offsets.len()) - 1;
        offsets[index] <= self.facts.offset
    }

    fn log_obstacle(&mut self, obstacle: Obstacle) {
        let period = match obstacle {
            Obstacle::DataAge => OBSTACLE_LOG_PERIOD_MS * 10,
            _ => OBSTACLE_LOG_PERIOD_MS,
        };
        let is_same = self.election.obstacle == Some(obstacle);
        if is_same && self.now - self.election.obstacle_logged_at < period {
            return;
        }
        self.election.obstacle = Some(obstacle);
        self.election.obstacle_logged_at = self.now;
        self.log(Level::Notice, format!("Currently unable to failover: {}", obstacle.text()));
        if matches!(obstacle, Obstacle::WaitingVotes | Obstacle::Expired) {
            let text = format!(
                "Needed quorum: {}. Number of votes received so far: {}",
                self.quorum(),
                self.election.votes.len()
            );
            self.log(Level::Notice, text);
        }
    }
}
