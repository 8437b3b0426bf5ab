//! Who is down: in our own eyes, and in those of enough others.

use rubine_resp::decode::Value;

use super::core::Core;
use crate::effect::Level;
use crate::flags::Flags;
use crate::info::Role;
use crate::instance::{FailoverState, Label, Master, Node, Peer};
use crate::link::{Channel, Want};

/// Whether the others are asked although they have just answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    Periodic,
    Forced,
}

impl Core {
    /// Finds out whether an instance is down in our own eyes; `is_unfit` says that it is, although it answers.
    pub(super) fn check_down(&mut self, node: &mut Node, label: &Label, is_unfit: bool) {
        self.renew_idle_links(node);
        let now = self.now;
        let kind = node.place.kind;
        let link = self.link(node);
        let silent_for = match link.unanswered_since {
            Some(since) => now - since,
            None if !link.is_connected(kind) => now - link.available_at,
            None => 0,
        };
        let is_down = node.down_after < silent_for || is_unfit;
        let was_down = node.flags.contains(Flags::S_DOWN);
        if is_down && !was_down {
            self.tell_node(Level::Warning, "+sdown", node, label, "");
            node.flags.insert(Flags::S_DOWN);
            node.s_down_since = now;
        } else if !is_down && was_down {
            self.tell_node(Level::Warning, "-sdown", node, label, "");
            node.flags.remove(Flags::S_DOWN | Flags::SCRIPT_KILL_SENT);
        }
    }

    /// Whether a master that answers is as good as down: it says for long that it is a replica, or was started anew and
    /// does not become well.
    pub(super) fn is_unfit(&self, master: &Master) -> bool {
        let node = &master.node;
        let patience = node.down_after + self.timings.info_period * 2;
        let is_demoted = node.role == Some(Role::Replica) && patience < self.now - node.role_since;
        let is_rebooting = node.flags.contains(Flags::MASTER_REBOOT)
            && master.reboot_down_after < self.now - master.reboot_since;
        is_demoted || is_rebooting
    }

    /// Ends connections that look dead, so that they are made anew.
    fn renew_idle_links(&mut self, node: &Node) {
        let (now, period) = (self.now, self.timings.min_link_reconnect_period);
        let publish_period = self.timings.publish_period;
        let link = self.link(node);
        let half = node.down_after / 2;
        let commands_are_dead = link.commands.is_some_and(|it| period < now - it.since)
            && link.unanswered_since.is_some_and(|it| half < now - it)
            && half < now - link.ponged_at;
        let pubsub_is_dead = link.pubsub.is_some_and(|it| period < now - it.since)
            && publish_period * 3 < now - link.pubsub_active_at;
        if commands_are_dead {
            self.close(node.link, Channel::Commands);
        }
        if pubsub_is_dead {
            self.close(node.link, Channel::Pubsub);
        }
    }

    /// Finds out whether enough Sentinels take a master for down.
    pub(super) fn check_objectively_down(&mut self, master: &mut Master) {
        let is_down_here = master.node.flags.contains(Flags::S_DOWN);
        let agrees = |peer: &&Peer| peer.node.flags.contains(Flags::MASTER_DOWN);
        let count = 1 + master.peers.values().filter(agrees).count();
        let is_down = is_down_here && master.quorum as usize <= count;
        let was_down = master.node.flags.contains(Flags::O_DOWN);
        if is_down && !was_down {
            let rest = format!(" #quorum {count}/{}", master.quorum);
            self.tell_master(Level::Warning, "+odown", master, &rest);
            master.node.flags.insert(Flags::O_DOWN);
            master.node.o_down_since = self.now;
        } else if !is_down && was_down {
            self.tell_master(Level::Warning, "-odown", master, "");
            master.node.flags.remove(Flags::O_DOWN);
        }
    }

    /// Asks the others whether they take a master for down, too, and for their votes while we fail it over.
    pub(crate) fn ask_others(&mut self, master: &mut Master, asking: Asking) {
        if !master.node.flags.contains(Flags::S_DOWN) {
            return;
        }
        let (now, ask_period) = (self.now, self.timings.ask_period);
        let host = self.names.shown(&master.node.address);
        let port = master.node.address.port.to_string();
        let epoch = self.epoch.to_string();
        let wants_vote = master.failover.state != FailoverState::None;
        let id = if wants_vote { self.my_id.clone() } else { "*".to_owned() };
        let Master { peers, access, .. } = master;
        for peer in peers.values_mut() {
            let passed = now - peer.master_state_at;
            // What was said long ago does not count.
            if ask_period * 5 < passed {
                peer.node.flags.remove(Flags::MASTER_DOWN);
                peer.leader = None;
            }
            let is_fresh = asking == Asking::Periodic && passed < ask_period;
            if is_fresh || !self.is_connected(&peer.node) {
                continue;
            }
            if asking == Asking::Periodic && self.has_asked(&peer.node) {
                continue;
            }
            let command = [
                access.command("SENTINEL"),
                b"is-master-down-by-addr",
                host.as_bytes(),
                port.as_bytes(),
                epoch.as_bytes(),
                id.as_bytes(),
            ];
            self.send(&peer.node, Want::MasterState, &command);
        }
    }

    /// Whether an answer is on its way, for which there is no need to ask again.
    fn has_asked(&mut self, node: &Node) -> bool {
        let number = node.place.number;
        let mut pending = self.link(node).pending.iter();
        pending.any(|it| it.want == Want::MasterState && it.place.number == number)
    }

    /// Takes in what another Sentinel says of our master.
    pub(super) fn take_master_state(&mut self, peer: &mut Peer, value: &Value) {
        let Value::Array(parts) = value else { return };
        let [Value::Integer(is_down), Value::Bulk(leader), Value::Integer(epoch)] = &parts[..]
        else {
            return;
        };
        peer.master_state_at = self.now;
        peer.node.flags.set(Flags::MASTER_DOWN, *is_down == 1);
        if leader != b"*" {
            let leader = String::from_utf8_lossy(leader).into_owned();
            let epoch = *epoch as u64;
            if peer.leader_epoch != epoch {
                let text = format!("{} voted for {leader} {epoch}", peer.node.name());
                self.log(Level::Notice, text);
            }
            peer.leader = Some(leader);
            peer.leader_epoch = epoch;
        }
    }
}
