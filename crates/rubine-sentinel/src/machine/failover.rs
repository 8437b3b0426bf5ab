//! The failover of a master, state by state. It is led by one Sentinel: that which was elected, or was told to.

use std::cmp::Reverse;
use std::sync::Arc;

use super::core::Core;
use super::down::Asking;
use crate::address::Address;
use crate::effect::{Action, Level};
use crate::flags::Flags;
use crate::instance::{Access, FailoverState, Master, Node, OwnFailover, Replica, described};
use crate::link::Want;

/// So long is waited for news of replicas before one of them is chosen.
const NEWS_MS_MAX: i64 = 500;
/// FAILOVER needs so much time at least.
const COORDINATED_MS_MIN: i64 = 1000;

impl Core {
    /// What is to be done for a master, apart from its connections.
    pub(super) fn step_master(&mut self, master: &mut Master) {
        self.check_objectively_down(master);
        if self.may_start(master) {
            self.start_failover(master);
            self.ask_others(master, Asking::Forced);
        }
        // Each state may lead to the next one at once; what waits for others stays.
        loop {
            let before = master.failover.state;
            if before == FailoverState::UpdateConfig || !self.step_failover(master) {
                break;
            }
            if master.failover.state == before {
                break;
            }
        }
        self.ask_others(master, Asking::Periodic);
    }

    /// Whether a failover should begin.
    fn may_start(&mut self, master: &mut Master) -> bool {
        let flags = master.node.flags;
        if !flags.contains(Flags::O_DOWN) || flags.contains(Flags::FAILOVER_IN_PROGRESS) {
            return false;
        }
        let failover = &mut master.failover;
        let until = failover.started_at + failover.timeout.saturating_mul(2);
        if until <= self.now {
            return true;
        }
        if failover.delay_logged != failover.started_at {
            failover.delay_logged = failover.started_at;
            self.effects.actions.push(Action::LogDelay { until });
        }
        false
    }

    /// Begins a failover, in an epoch of its own.
    pub(crate) fn start_failover(&mut self, master: &mut Master) {
        master.set_failover_state(FailoverState::WaitStart, self.now);
        master.node.flags.insert(Flags::FAILOVER_IN_PROGRESS);
        let epoch = self.epoch.saturating_add(1);
        self.set_epoch(epoch, master);
        master.failover.epoch = epoch;
        self.ask_replicas(master);
        self.tell_master(Level::Warning, "+try-failover", master, "");
        master.failover.started_at = self.now + self.desync();
    }

    /// Goes on with a failover. Returns whether there is one.
    fn step_failover(&mut self, master: &mut Master) -> bool {
        if !master.node.flags.contains(Flags::FAILOVER_IN_PROGRESS) {
            return false;
        }
        let is_coordinated = master.node.flags.contains(Flags::COORD_FAILOVER);
        match master.failover.state {
            FailoverState::WaitStart => self.wait_for_election(master),
            FailoverState::SelectReplica => self.choose_replica(master),
            FailoverState::SendReplicaofNoOne if is_coordinated => self.hand_over(master),
            FailoverState::SendReplicaofNoOne => self.promote(master),
            FailoverState::WaitPromotion => self.wait_for_promotion(master),
            FailoverState::ReconfReplicas => self.reconfigure_next(master),
            FailoverState::None | FailoverState::UpdateConfig => {}
        }
        true
    }

    fn wait_for_election(&mut self, master: &mut Master) {
        let is_leader = self.is_elected(master);
        if !is_leader && !master.node.flags.contains(Flags::FORCE_FAILOVER) {
            let timeout = self.timings.election_timeout.min(master.failover.timeout);
            if timeout < self.now - master.failover.started_at {
                self.tell_master(Level::Warning, "-failover-abort-not-elected", master, "");
                self.abort_failover(master);
            }
            return;
        }
        self.tell_master(Level::Warning, "+elected-leader", master, "");
        if self.crash.election {
            self.crash();
        }
        master.set_failover_state(FailoverState::SelectReplica, self.now);
        self.tell_master(Level::Warning, "+failover-state-select-slave", master, "");
    }

    pub(super) fn crash(&mut self) {
        let text = "Sentinel CRASH because of SENTINEL simulate-failure".to_owned();
        self.log(Level::Warning, text);
        self.effects.actions.push(Action::Crash);
    }

    /// Asks replicas how far they are, now that it matters.
    pub(super) fn ask_replicas(&mut self, master: &Master) {
        for replica in master.replicas.values() {
            let is_asked = self.link(&replica.node).pending.iter().any(|it| it.want == Want::Info);
            if !is_asked && self.is_connected(&replica.node) {
                self.send(&replica.node, Want::Info, &[master.access.command("INFO")]);
            }
        }
    }

    /// Whether a replica may have more to say of where it stands: all were asked when the master was found to be down.
    fn expects_news(&self, master: &Master) -> bool {
        let since = master.node.s_down_since;
        let is_awaited = |it: &Replica| {
            let node = &it.node;
            !node.is_down() && self.is_connected(node) && node.info_at.is_none_or(|at| at < since)
        };
        self.now - master.failover.state_since < NEWS_MS_MAX
            && master.replicas.values().any(is_awaited)
    }

    fn choose_replica(&mut self, master: &mut Master) {
        if self.expects_news(master) {
            return;
        }
        let Some(name) = self.best_replica(master) else {
            self.tell_master(Level::Warning, "-failover-abort-no-good-slave", master, "");
            self.abort_failover(master);
            return;
        };
        let label = master.label(&self.names);
        let replica = master.replicas.get_mut(&name).expect("it was just found");
        self.tell_node(Level::Warning, "+selected-slave", &replica.node, &label, "");
        replica.node.flags.insert(Flags::PROMOTED);
        let text = described(&replica.node, &label, &self.names);
        master.failover.promoted = Some(name);
        master.set_failover_state(FailoverState::SendReplicaofNoOne, self.now);
        self.tell(Level::Notice, "+failover-state-send-slaveof-noone", None, text);
    }

    /// The replica that should become the master: that of the lowest priority, then that which has most of the data, then
    /// that of the smallest run id. None that is down, silent, cut off for too long or not meant to.
    pub(crate) fn best_replica(&mut self, master: &Master) -> Option<Arc<str>> {
        let now = self.now;
        let is_down = master.node.flags.contains(Flags::S_DOWN);
        let down_for = if is_down { now - master.node.s_down_since } else { 0 };
        let link_down_max = down_for.saturating_add(master.node.down_after.saturating_mul(10));
        // Replicas of a master that is down tell of themselves every second.
        let info_age_max =
            if is_down { self.timings.ping_period * 5 } else { self.timings.info_period * 3 };
        let mut best: Option<&Replica> = None;
        for replica in master.replicas.values() {
            let node = &replica.node;
            let is_silent = self.timings.ping_period * 5 < now - self.link(node).available_at;
            let is_fit = !node.is_down()
                && self.is_connected(node)
                && !is_silent
                && replica.priority != 0
                && node.info_at.is_some_and(|it| now - it <= info_age_max)
                && replica.master_link_down_ms <= link_down_max;
            if is_fit && best.is_none_or(|it| rank(replica) < rank(it)) {
                best = Some(replica);
            }
        }
        best.map(|it| Arc::clone(&it.node.place.name))
    }

    /// Has the master hand over to the replica.
    fn hand_over(&mut self, master: &mut Master) {
        let left = master.failover.timeout - (self.now - master.failover.state_since);
        if left < COORDINATED_MS_MIN {
            self.tell_master(Level::Warning, "-failover-abort-master-timeout", master, "");
            self.abort_failover(master);
            return;
        }
        let Some(promoted) = master.promoted().filter(|_| self.is_connected(&master.node)) else {
            return;
        };
        let (host, port) = self.spoken(&promoted.node.address);
        let left = left.to_string();
        let access = &master.access;
        let (client, failover) = (access.command("CLIENT"), access.command("FAILOVER"));
        // Clients stay paused when it is over, since they do not expect to be at a replica: they will be disconnected.
        self.send_unit(
            &master.node,
            access,
            &[
                &[client, b"PAUSE", left.as_bytes(), b"WRITE"],
                &[failover, b"TO", host.as_bytes(), port.as_bytes(), b"TIMEOUT", left.as_bytes()],
            ],
        );
        self.wait_promotion(master);
    }

    /// Has the replica become a master.
    fn promote(&mut self, master: &mut Master) {
        let is_reached = master.promoted().is_some_and(|it| self.is_connected(&it.node));
        if !is_reached {
            if master.failover.timeout < self.now - master.failover.state_since {
                self.tell_master(Level::Warning, "-failover-abort-slave-timeout", master, "");
                self.abort_failover(master);
            }
            return;
        }
        let promoted = master.promoted().expect("it was just reached");
        self.send_replicaof(&promoted.node, &master.access, None);
        // The sooner it is known to be one, the sooner others hear of it.
        self.send(&promoted.node, Want::Info, &[master.access.command("INFO")]);
        self.wait_promotion(master);
    }

    fn wait_promotion(&mut self, master: &mut Master) {
        let label = master.label(&self.names);
        if let Some(promoted) = master.promoted() {
            let text = described(&promoted.node, &label, &self.names);
            self.tell(Level::Notice, "+failover-state-wait-promotion", None, text);
        }
        master.set_failover_state(FailoverState::WaitPromotion, self.now);
    }

    /// That the replica has become a master is seen in its INFO.
    fn wait_for_promotion(&mut self, master: &mut Master) {
        if master.failover.timeout < self.now - master.failover.state_since {
            self.tell_master(Level::Warning, "-failover-abort-slave-timeout", master, "");
            self.abort_failover(master);
        }
    }

    /// Gives up a failover. Only before the replica has said that it is a master now.
    fn abort_failover(&mut self, master: &mut Master) {
        master
            .node
            .flags
            .remove(Flags::FAILOVER_IN_PROGRESS | Flags::FORCE_FAILOVER | Flags::COORD_FAILOVER);
        master.set_failover_state(FailoverState::None, self.now);
        if let Some(name) = master.failover.promoted.take()
            && let Some(replica) = master.replicas.get_mut(&name)
        {
            replica.node.flags.remove(Flags::PROMOTED);
        }
    }

    /// Has replicas follow the new master, a few at a time.
    fn reconfigure_next(&mut self, master: &mut Master) {
        let Some(to) = master.promoted().map(|it| it.node.address.clone()) else { return };
        let label = master.label(&self.names);
        let is_under_way = |it: &&Replica| it.node.flags.intersects(Flags::RECONFIGURING);
        let mut under_way = master.replicas.values().filter(is_under_way).count() as i64;
        let Master { replicas, access, parallel_syncs, .. } = master;
        for replica in replicas.values_mut() {
            if *parallel_syncs <= under_way {
                break;
            }
            if replica.node.flags.intersects(Flags::PROMOTED | Flags::RECONF_DONE) {
                continue;
            }
            let has_failed = replica.node.flags.contains(Flags::RECONF_SENT)
                && self.timings.replica_reconf_timeout < self.now - replica.reconf_sent_at;
            if has_failed {
                // It will be seen to be wrong, and put right, later.
                let node = &mut replica.node;
                self.tell_node(Level::Notice, "-slave-reconf-sent-timeout", node, &label, "");
                node.flags.remove(Flags::RECONF_SENT);
                node.flags.insert(Flags::RECONF_DONE);
            }
            if replica.node.flags.intersects(Flags::RECONFIGURING | Flags::RECONF_DONE)
                || !self.is_connected(&replica.node)
            {
                continue;
            }
            self.send_replicaof(&replica.node, access, Some(&to));
            replica.node.flags.insert(Flags::RECONF_SENT);
            replica.reconf_sent_at = self.now;
            self.tell_node(Level::Notice, "+slave-reconf-sent", &replica.node, &label, "");
            under_way += 1;
        }
        self.find_end(master, &to);
    }

    /// A failover is over when all replicas follow that can be reached, or when it has taken too long.
    fn find_end(&mut self, master: &mut Master, to: &Address) {
        let promoted_is_down =
            master.promoted().is_none_or(|it| it.node.flags.contains(Flags::S_DOWN));
        if promoted_is_down {
            return;
        }
        let done = Flags::PROMOTED | Flags::RECONF_DONE | Flags::S_DOWN;
        let is_ready = master.replicas.values().all(|it| it.node.flags.intersects(done));
        let is_late = master.failover.timeout < self.now - master.failover.state_since;
        if is_late {
            self.tell_master(Level::Warning, "+failover-end-for-timeout", master, "");
        }
        if is_ready || is_late {
            self.tell_master(Level::Warning, "+failover-end", master, "");
            master.set_failover_state(FailoverState::UpdateConfig, self.now);
        }
        if !is_late {
            return;
        }
        let label = master.label(&self.names);
        let Master { replicas, access, .. } = master;
        for replica in replicas.values_mut() {
            let told = Flags::PROMOTED | Flags::RECONF_DONE | Flags::RECONF_SENT;
            if replica.node.flags.intersects(told) || !self.is_connected(&replica.node) {
                continue;
            }
            self.send_replicaof(&replica.node, access, Some(to));
            self.tell_node(Level::Notice, "+slave-reconf-sent-be", &replica.node, &label, "");
            replica.node.flags.insert(Flags::RECONF_SENT);
        }
    }

    /// Has an instance follow a master, or nobody, keep that in its file, and send its clients away, so that they ask for
    /// the master anew. What it does is seen in its INFO.
    pub(super) fn send_replicaof(&mut self, node: &Node, access: &Access, to: Option<&Address>) {
        let (host, port) = match to {
            Some(to) => self.spoken(to),
            None => ("NO".to_owned(), "ONE".to_owned()),
        };
        let client = access.command("CLIENT");
        let abort: &[&[u8]] = &[access.command("FAILOVER"), b"ABORT"];
        let mut unit: Vec<&[&[u8]]> = Vec::new();
        if node.own_failover == OwnFailover::Running {
            // Meanwhile it would refuse the next command.
            unit.push(abort);
        }
        let follow = [access.command("SLAVEOF"), host.as_bytes(), port.as_bytes()];
        let rewrite: [&[u8]; 2] = [access.command("CONFIG"), b"REWRITE"];
        let kill_normal: [&[u8]; 4] = [client, b"KILL", b"TYPE", b"normal"];
        let kill_pubsub: [&[u8]; 4] = [client, b"KILL", b"TYPE", b"pubsub"];
        unit.extend([&follow[..], &rewrite, &kill_normal, &kill_pubsub]);
        self.send_unit(node, access, &unit);
    }

    /// Ends the pause of clients that FAILOVER has left behind, and sends them away.
    pub(super) fn send_clients_away(&mut self, node: &Node, access: &Access) {
        let client = access.command("CLIENT");
        self.send_unit(
            node,
            access,
            &[
                &[access.command("CONFIG"), b"REWRITE"],
                &[client, b"KILL", b"TYPE", b"normal"],
                &[client, b"KILL", b"TYPE", b"pubsub"],
                &[client, b"UNPAUSE"],
            ],
        );
    }

    /// Sends commands that all take place, or none.
    fn send_unit(&mut self, node: &Node, access: &Access, commands: &[&[&[u8]]]) {
        self.send(node, Want::Nothing, &[access.command("MULTI")]);
        for command in commands {
            self.send(node, Want::Nothing, command);
        }
        self.send(node, Want::Nothing, &[access.command("EXEC")]);
    }

    /// A place as other servers are told of it.
    fn spoken(&self, address: &Address) -> (String, String) {
        (self.names.shown(address), address.port.to_string())
    }
}

/// The order in which replicas are taken: the smallest first.
fn rank(replica: &Replica) -> (i64, Reverse<u64>, bool, String) {
    let run_id = replica.node.run_id.as_deref().map(str::to_ascii_lowercase);
    // One that has none is an old server, and comes last.
    (replica.priority, Reverse(replica.offset), run_id.is_none(), run_id.unwrap_or_default())
}
