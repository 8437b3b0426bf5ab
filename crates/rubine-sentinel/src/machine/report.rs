//! What follows from INFO of an instance.

use super::core::Core;
use crate::effect::Level;
use crate::flags::{Flags, Kind};
use crate::info::{Report, Role};
use crate::instance::{FailoverState, Label, Master, Node, OwnFailover, Replica};
use crate::link::Place;

/// Longer INFO is not kept.
const INFO_BYTES_MAX: usize = 256 * 1024;

impl Core {
    /// Takes in the INFO of a master or of a replica.
    pub(super) fn take_info(&mut self, master: &mut Master, place: &Place, info: Vec<u8>) {
        let report = Report::parse(&info);
        let label = master.label(&self.names);
        match place.kind {
            Kind::Master => {
                let has_rebooted = self.take_common(&mut master.node, &report, info, &label);
                if has_rebooted && master.reboot_down_after != 0 {
                    master.node.flags.insert(Flags::MASTER_REBOOT);
                    master.reboot_since = self.now;
                }
                self.take_replicas(master, &report);
                master.follows = report.master_host.clone().zip(report.master_port);
                self.take_role(&mut master.node, &report, &label);
            }
            Kind::Replica => {
                let Some((name, mut replica)) = master.replicas.remove_entry(&place.name) else {
                    return;
                };
                self.take_common(&mut replica.node, &report, info, &label);
                self.take_replica_report(&mut replica, &report);
                if self.take_role(&mut replica.node, &report, &label)
                    && report.role == Some(Role::Replica)
                {
                    replica.master_since = self.now;
                }
                if self.tilt_since.is_none() {
                    match report.role {
                        Some(Role::Master) => self.act_on_master(master, &mut replica),
                        Some(Role::Replica) => self.act_on_replica(master, &mut replica),
                        None => {}
                    }
                }
                master.replicas.insert(name, replica);
            }
            Kind::Sentinel => {}
        }
    }

    /// Takes in what all kinds tell. Returns whether it is another run of the server than before.
    fn take_common(
        &mut self,
        node: &mut Node,
        report: &Report,
        info: Vec<u8>,
        label: &Label,
    ) -> bool {
        node.info = (info.len() <= INFO_BYTES_MAX).then_some(info);
        node.info_at = Some(self.now);
        if let Some(fails_over) = report.fails_over {
            let state = if fails_over { OwnFailover::Running } else { OwnFailover::Idle };
            if node.own_failover != state {
                node.own_failover = state;
                node.own_failover_since = self.now;
            }
        }
        let Some(id) = &report.run_id else { return false };
        let has_rebooted = node.run_id.as_ref().is_some_and(|it| it != id);
        if has_rebooted {
            self.tell_node(Level::Notice, "+reboot", node, label, "");
        }
        node.run_id = Some(id.clone());
        has_rebooted
    }

    /// Adds replicas that a master tells of.
    fn take_replicas(&mut self, master: &mut Master, report: &Report) {
        for (host, port) in &report.replicas {
            let Some(address) = self.names.address(host, *port, self.now) else { continue };
            // One whose name says nothing is added as soon as it does.
            let is_shown = address.ip.is_some() || self.names.announces;
            let name = self.names.shown_with_port(&address);
            if is_shown
                && !master.replicas.contains_key(&*name)
                && self.welcome_replica(master, address)
            {
                self.save();
            }
        }
    }

    fn take_replica_report(&mut self, replica: &mut Replica, report: &Report) {
        replica.master_link_down_ms = report.master_link_down_ms;
        if let Some(host) = &report.master_host
            && !replica.master_host.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(host))
        {
            replica.master_host = Some(host.clone());
            replica.master_since = self.now;
        }
        if let Some(port) = report.master_port
            && replica.master_port != port
        {
            replica.master_port = port;
            replica.master_since = self.now;
        }
        replica.master_link_is_up = report.master_link_is_up.unwrap_or(replica.master_link_is_up);
        replica.priority = report.priority.unwrap_or(replica.priority);
        replica.offset = report.offset.unwrap_or(replica.offset);
        replica.is_announced = report.is_announced.unwrap_or(replica.is_announced);
    }

    /// Notes what an instance says it is. Returns whether that has changed.
    fn take_role(&mut self, node: &mut Node, report: &Report, label: &Label) -> bool {
        if report.role == node.role {
            return false;
        }
        node.role = report.role;
        node.role_since = self.now;
        let expected = match node.place.kind {
            Kind::Master => Some(Role::Master),
            Kind::Replica => Some(Role::Replica),
            Kind::Sentinel => None,
        };
        let channel = if node.role == expected { "+role-change" } else { "-role-change" };
        let role = if node.role == Some(Role::Master) { "master" } else { "slave" };
        let rest = format!(" new reported role is {role}");
        self.tell_node(Level::Verbose, channel, node, label, &rest);
        true
    }

    /// A replica says that it is a master: since we have made it one, or somebody else has.
    fn act_on_master(&mut self, master: &mut Master, replica: &mut Replica) {
        let is_ours = replica.node.flags.contains(Flags::PROMOTED)
            && master.node.flags.contains(Flags::FAILOVER_IN_PROGRESS)
            && master.failover.state == FailoverState::WaitPromotion;
        if is_ours {
            self.promoted(master, replica);
            return;
        }
        // Time for news to arrive of a configuration in which it is the master.
        let patience = self.timings.publish_period * 4;
        let is_wrong = !replica.node.flags.contains(Flags::PROMOTED)
            && self.looks_sane(master)
            && replica.node.was_up_for(patience, self.now)
            && patience < self.now - replica.node.role_since;
        if is_wrong {
            self.set_right(master, replica, "+convert-to-slave");
        }
    }

    /// The replica has become a master: with the epoch in which we were elected this is the configuration, which the
    /// others take over.
    fn promoted(&mut self, master: &mut Master, replica: &mut Replica) {
        let label = master.label(&self.names);
        master.config_epoch = master.failover.epoch;
        master.set_failover_state(FailoverState::ReconfReplicas, self.now);
        self.save();
        self.tell_node(Level::Warning, "+promoted-slave", &replica.node, &label, "");
        if self.crash.promotion {
            self.crash();
        }
        if master.node.flags.contains(Flags::COORD_FAILOVER) {
            self.send_clients_away(&master.node, &master.access);
            self.send_clients_away(&replica.node, &master.access);
        }
        self.tell_master(Level::Warning, "+failover-state-reconf-slaves", master, "");
        let (from, to) = (&master.node.address, &replica.node.address);
        self.run_reconfig_script(master, "leader", (from, to));
        let period = self.timings.publish_period;
        replica.node.publish_soon(period);
        master.publish_soon(period);
    }

    fn act_on_replica(&mut self, master: &mut Master, replica: &mut Replica) {
        let patience = master.failover.timeout;
        let was_up = replica.node.was_up_for(patience, self.now);
        let now = self.now;
        let stands_for = |since| patience < now - since;
        let is_stuck = replica.node.own_failover == OwnFailover::Running
            && stands_for(replica.node.own_failover_since);
        let follows = |core: &mut Self, address: &crate::address::Address| {
            let host = replica.master_host.as_deref().unwrap_or_default();
            replica.master_port == address.port && core.names.means(address, host, now)
        };
        let is_astray = !follows(self, &master.node.address) && stands_for(replica.master_since);
        if (is_stuck || is_astray) && was_up && self.looks_sane(master) {
            self.set_right(master, replica, "+fix-slave-config");
        }
        let Some(promoted) = master.promoted().map(|it| it.node.address.clone()) else { return };
        let label = master.label(&self.names);
        if replica.node.flags.contains(Flags::RECONF_SENT) && follows(self, &promoted) {
            let node = &mut replica.node;
            node.flags.remove(Flags::RECONF_SENT);
            node.flags.insert(Flags::RECONF_INPROG);
            self.tell_node(Level::Notice, "+slave-reconf-inprog", node, &label, "");
        }
        if replica.node.flags.contains(Flags::RECONF_INPROG) && replica.master_link_is_up {
            let node = &mut replica.node;
            node.flags.remove(Flags::RECONF_INPROG);
            node.flags.insert(Flags::RECONF_DONE);
            self.tell_node(Level::Notice, "+slave-reconf-done", node, &label, "");
        }
    }

    /// Has a replica follow our master, if it can be told.
    fn set_right(&mut self, master: &Master, replica: &Replica, channel: &'static str) {
        if self.is_connected(&replica.node) {
            let to = Some(&master.node.address);
            self.send_replicaof(&replica.node, &master.access, to);
            let label = master.label(&self.names);
            self.tell_node(Level::Notice, channel, &replica.node, &label, "");
        }
    }

    /// Whether a master is what we take it for, so that others can be told to follow it.
    fn looks_sane(&self, master: &Master) -> bool {
        let node = &master.node;
        let info_age_max = self.timings.info_period * 2;
        node.role == Some(Role::Master)
            && !node.is_down()
            && node.info_at.is_some_and(|it| self.now - it < info_age_max)
    }
}
