//! What happens by the clock, ten times a second: connections, pings, and who has been silent for too long.

use super::migration::ReplicaCensus;
use super::node::Key;
use super::{Cluster, Todo};
use crate::effect::History;
use crate::message::NodeFlags;
use crate::view::State;

/// One node is pinged in so many turns whatever else happens: of so many by chance, the one that was silent for longest.
const RANDOM_PING_TURNS: u64 = 10;
const RANDOM_PING_CHOICES: usize = 5;

impl Cluster {
    /// One turn.
    pub(crate) fn turn(&mut self) {
        self.suspects.clear();
        let mut budget = self.connection_budget();
        for key in self.table.keys() {
            self.check_buffers(key);
            if !self.faults.no_reconnection {
                self.keep_connected(key, &mut budget);
            }
        }
        if !self.faults.no_random_ping && self.turns.count.is_multiple_of(RANDOM_PING_TURNS) {
            self.ping_by_chance();
        }
        let mut census = ReplicaCensus::default();
        for key in self.table.keys() {
            let passing = NodeFlags::MYSELF | NodeFlags::NO_ADDRESS | NodeFlags::HANDSHAKE;
            if !self.table[key].is(passing) {
                self.count_replicas(key, &mut census);
                self.look_after(key);
            }
        }
        self.begin_to_follow();
        self.lift_fence();
        self.end_late_manual_failover();
        if self.table.myself().is_replica() {
            self.go_on_with_manual_failover();
            self.go_on_with_failover();
            if census.suggests_migration() && self.config.allow_replica_migration {
                self.consider_migration(census.most);
            }
        }
        if self.health.state != State::Ok {
            self.todo |= Todo::UPDATE_STATE;
        }
    }

    /// Makes a connection where there is none, and ends handshakes that lead to nothing.
    fn keep_connected(&mut self, key: Key, budget: &mut i64) {
        let node = &self.table[key];
        if node.is(NodeFlags::MYSELF | NodeFlags::NO_ADDRESS) {
            return;
        }
        if node.is_suspected() {
            self.suspects.push(node.id);
        }
        if node.is_in_handshake() && self.is_handshake_over(key) {
            return self.give_up_handshake(key);
        }
        self.ask_for_name(key);
        self.meet_again(key);
        if self.table[key].link.is_none() {
            self.reconnect(key, budget);
        }
    }

    fn ping_by_chance(&mut self) {
        let mut oldest: Option<Key> = None;
        for _ in 0..RANDOM_PING_CHOICES {
            let key = self.table.any(&mut self.random);
            let node = &self.table[key];
            let is_busy = node.link.is_none() || node.times.ping_sent != 0;
            if is_busy || node.is(NodeFlags::MYSELF | NodeFlags::HANDSHAKE) {
                continue;
            }
            let is_older = |it: Key| node.times.pong_received < self.table[it].times.pong_received;
            if oldest.is_none_or(is_older) {
                oldest = Some(key);
            }
        }
        if let Some(key) = oldest {
            self.ping(key);
        }
    }

    /// Pings a node if it is time, and takes note if it is silent.
    fn look_after(&mut self, key: Key) {
        let (now, timeout) = (self.now, self.config.node_timeout);
        let node = &self.table[key];
        let times = node.times;
        let link = node.link.and_then(|it| self.links.get(it));
        // The connection may be broken although nobody has said so.
        let is_dead = link.is_some_and(|it| timeout < now - it.created)
            && times.ping_sent != 0
            && timeout / 2 < now - times.ping_sent
            && timeout / 2 < now - times.data_received;
        if is_dead {
            self.close_link_to(key);
        }
        let interval = match self.config.ping_interval {
            0 => timeout / 2,
            interval => interval,
        };
        let is_linked = self.table[key].link.is_some();
        if is_linked && times.ping_sent == 0 && interval < now - times.pong_received {
            return self.ping(key);
        }
        let waits_for_us = self.table.myself().is_primary() && self.manual.replica == Some(key);
        if waits_for_us && self.manual.is_going_on() && is_linked {
            // It waits for our offset.
            return self.ping(key);
        }
        self.check_silence(key);
    }

    fn check_silence(&mut self, key: Key) {
        let node = &self.table[key];
        let heard = node.times.ping_sent.max(node.times.data_received);
        if node.times.ping_sent != 0
            && self.config.node_timeout < self.now - heard
            && !node.is(NodeFlags::PFAIL | NodeFlags::FAIL)
        {
            self.suspect(key);
        }
    }

    /// Takes note of those who are silent for too long, between two turns.
    pub(crate) fn find_silent(&mut self) {
        if 0 < self.until_suspicion() {
            return;
        }
        for key in self.table.keys() {
            if !self.table[key].is(NodeFlags::MYSELF | NodeFlags::NO_ADDRESS | NodeFlags::HANDSHAKE)
            {
                self.check_silence(key);
            }
        }
    }

    /// A replica whose server follows nobody follows its primary.
    fn begin_to_follow(&mut self) {
        let myself = self.table.myself();
        let Some(primary) = myself.primary.filter(|_| myself.is_replica()) else { return };
        if !self.facts.is_following && !self.table[primary].is(NodeFlags::NO_ADDRESS) {
            self.replicate_from(primary, History::Shared);
        }
    }
}
