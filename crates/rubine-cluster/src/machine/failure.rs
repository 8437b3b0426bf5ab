//! Who is taken for failing, by whom, and until when.

use rubine_base::clock::Millis;

use super::node::{Ground, Key, Verdict};
use super::{Cluster, Todo};
use crate::effect::Level;
use crate::id::NodeId;
use crate::message::{Body, NodeFlags};

/// A report counts for so many node timeouts.
const REPORT_VALIDITY_TIMEOUTS: Millis = 2;
/// A primary that is back, and whose slots nobody took, is forgiven after so many.
const FORGIVE_TIMEOUTS: Millis = 2;
/// Reports are dated to whole seconds, rounded up: those of the same second are the same report.
const REPORT_STEP_MS: Millis = 1000;
/// When a node is first found not to answer, so many primaries are told at once rather than with their next ping.
const TOLD_AT_ONCE_MAX: usize = 8;

impl Cluster {
    /// This node has not heard of another for too long.
    pub(crate) fn suspect(&mut self, key: Key) {
        let node = &mut self.table[key];
        let ground =
            Ground::Silent { pinged: node.times.ping_sent, heard: node.times.data_received };
        node.flags |= NodeFlags::PFAIL;
        node.verdict = Some(Verdict { at: self.now, ground });
        let id = node.id;
        self.suspects.push(id);
        self.todo |= Todo::UPDATE_STATE;
        self.is_view_stale = true;
        if self.table.myself().is_voter() {
            self.condemn_if_agreed(key);
        } else {
            let text = format!("NODE {} possibly failing.", self.named(key));
            self.log(Level::Notice, text);
        }
        if self.table[key].is_suspected() {
            self.tell_voters_at_once();
        }
    }

    /// Pings some of those whose word counts, so that they learn whom this node has just found silent.
    fn tell_voters_at_once(&mut self) {
        let is_asked = |(key, node): &(Key, &super::node::Node)| {
            *key != self.table.me
                && node.is_voter()
                && node.is_normal()
                && node.link.is_some()
                && node.times.ping_sent == 0
        };
        let mut voters: Vec<Key> = self.table.iter().filter(is_asked).map(|(key, _)| key).collect();
        for _ in 0..TOLD_AT_ONCE_MAX {
            if voters.is_empty() {
                return;
            }
            let index = self.random.below(voters.len() as u64) as usize;
            let key = voters.swap_remove(index);
            self.ping(key);
        }
    }

    /// Whether a report is new: there was none of this node that counts.
    pub(crate) fn take_report(&mut self, failing: Key, reporter: Key) -> bool {
        if self.table[failing].is_failed() {
            return false;
        }
        let at = (self.now / REPORT_STEP_MS + 1) * REPORT_STEP_MS;
        let id = self.table[reporter].id;
        self.table[failing].reports.insert(id, at).is_none()
    }

    /// A node says that another one works. Returns whether it had said something else before.
    pub(crate) fn withdraw_report(&mut self, node: Key, reporter: Key) -> bool {
        let id = self.table[reporter].id;
        self.table[node].reports.remove(&id).is_some()
    }

    /// How many reports count still.
    pub(crate) fn count_reports(&mut self, key: Key) -> usize {
        let oldest = self.now - self.config.node_timeout.saturating_mul(REPORT_VALIDITY_TIMEOUTS);
        let reports = &mut self.table[key].reports;
        reports.retain(|_, at| oldest < *at);
        reports.len()
    }

    /// Takes a silent node for failed if most primaries do not hear it either, and tells everybody.
    pub(crate) fn condemn_if_agreed(&mut self, key: Key) {
        let node = &self.table[key];
        if !node.is_suspected() || node.is_failed() {
            return;
        }
        let is_our_vote_counted = self.table.myself().is_voter();
        let count = self.count_reports(key) + usize::from(is_our_vote_counted);
        let needed = self.quorum();
        if count < needed {
            return;
        }
        let text = format!("Marking node {} as failing (quorum reached).", self.named(key));
        self.log(Level::Notice, text);
        let reporters = self.table[key].reports.iter().map(|(id, at)| (*id, *at)).collect();
        self.mark_as_failed(key, Ground::Quorum { needed, reporters, is_our_vote_counted });
        self.tell_of_failure(key);
    }

    pub(crate) fn mark_as_failed(&mut self, key: Key, ground: Ground) {
        let now = self.now;
        let node = &mut self.table[key];
        node.flags |= NodeFlags::FAIL;
        node.flags -= NodeFlags::PFAIL;
        node.times.failed = now;
        node.verdict = Some(Verdict { at: now, ground });
        self.lose_primary(key);
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
    }

    pub(crate) fn tell_of_failure(&mut self, key: Key) {
        let id = self.table[key].id;
        self.broadcast(Body::Fail { node: id });
    }

    /// Another node says that there is a quorum.
    pub(crate) fn take_fail(&mut self, sender: Key, failing: NodeId) {
        let Some(key) = self.table.find(failing) else { return };
        if self.table[key].is(NodeFlags::FAIL | NodeFlags::MYSELF) {
            return;
        }
        let text =
            format!("FAIL message received from {} about {}", self.named(sender), self.named(key));
        self.log(Level::Notice, text);
        let by = self.table[sender].id;
        self.mark_as_failed(key, Ground::Told { by });
    }

    /// A node has answered: it is not silent, and perhaps it is not failed any more.
    pub(crate) fn acquit(&mut self, key: Key) {
        let node = &mut self.table[key];
        if node.is_suspected() {
            node.flags -= NodeFlags::PFAIL;
            node.verdict = None;
            self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
        } else if node.is_failed() {
            self.acquit_of_failure(key);
        }
    }

    fn acquit_of_failure(&mut self, key: Key) {
        let node = &self.table[key];
        let forgiven_after = self.config.node_timeout.saturating_mul(FORGIVE_TIMEOUTS);
        let reason = if !node.is_voter() {
            let kind = if node.is_replica() { "replica" } else { "primary without slots" };
            format!("{kind} is reachable again.")
        } else if forgiven_after < self.now - node.times.failed {
            // Nobody will take its slots any more, as it seems.
            "is reachable again and nobody is serving its slots after some time.".to_owned()
        } else {
            return;
        };
        let text = format!("Clear FAIL state for node {}: {reason}", self.named(key));
        self.log(Level::Notice, text);
        let node = &mut self.table[key];
        node.flags -= NodeFlags::FAIL;
        node.verdict = None;
        if self.table.myself().primary == Some(key) {
            self.withdraw_promise();
        }
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
    }

    /// After how many milliseconds a node will have been silent for too long, if it stays silent: the turn comes then.
    pub(crate) fn until_suspicion(&self) -> Millis {
        let pending = self.table.iter().filter(|(_, node)| {
            let odd = NodeFlags::MYSELF
                | NodeFlags::NO_ADDRESS
                | NodeFlags::HANDSHAKE
                | NodeFlags::PFAIL
                | NodeFlags::FAIL;
            node.times.ping_sent != 0 && !node.is(odd)
        });
        let silent_at = pending.map(|(_, node)| {
            node.times.ping_sent.max(node.times.data_received) + self.config.node_timeout + 1
        });
        silent_at.min().map_or(Millis::MAX, |it| it - self.now)
    }
}
