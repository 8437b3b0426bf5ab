//! Watching instances: connections, and what is sent to them by the clock.

use rubine_base::clock::Millis;
use rubine_resp::decode::Value;

use super::core::{Core, HELLO_CHANNEL};
use crate::flags::{Flags, Kind};
use crate::hello::Hello;
use crate::instance::{Access, FailoverState, Master, Node, OwnFailover};
use crate::link::{Channel, Place, Want};

/// More commands do not wait for replies, in a link that is not shared.
const PENDING_MAX: usize = 100;

/// What to do about an instance that has answered PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    Nothing,
    /// A script keeps it busy.
    KillScript,
}

/// How often replicas are asked while they matter.
const URGENT_INFO_PERIOD_MS: Millis = 1000;

impl Core {
    /// A turn for a master and all that belong to it.
    pub(super) fn step_group(&mut self, master: &mut Master) {
        self.watch(master);
        if self.tilt_since.is_some() {
            return;
        }
        let label = master.label(&self.names);
        let is_unfit = self.is_unfit(master);
        let was_down = master.node.flags.contains(Flags::S_DOWN);
        self.check_down(&mut master.node, &label, is_unfit);
        if !was_down && master.node.flags.contains(Flags::S_DOWN) {
            self.ask_replicas(master);
        }
        self.step_master(master);
        for replica in master.replicas.values_mut() {
            self.check_down(&mut replica.node, &label, false);
        }
        for peer in master.peers.values_mut() {
            self.check_down(&mut peer.node, &label, false);
        }
    }

    /// Connects to all of a group, and sends them what is due.
    fn watch(&mut self, master: &mut Master) {
        let flags = master.node.flags;
        let is_urgent = flags.intersects(Flags::O_DOWN | Flags::FAILOVER_IN_PROGRESS);
        // What is published to a master that lets nobody write would wait for the end of the failover.
        let is_mute = flags.contains(Flags::COORD_FAILOVER)
            && master.failover.state <= FailoverState::WaitPromotion;
        let hello = self.hello(master);
        let info_period = self.timings.info_period;
        let Master { node, replicas, peers, access, .. } = master;
        self.reconnect(node, access);
        self.send_periodic(node, access, Some(&hello).filter(|_| !is_mute), info_period);
        for replica in replicas.values_mut() {
            let is_alone = replica.master_link_down_ms != 0;
            let period = if is_urgent || is_alone { URGENT_INFO_PERIOD_MS } else { info_period };
            self.reconnect(&mut replica.node, access);
            self.send_periodic(&mut replica.node, access, Some(&hello), period);
        }
        for peer in peers.values_mut() {
            self.reconnect(&mut peer.node, access);
            self.send_periodic(&mut peer.node, access, Some(&hello), info_period);
        }
    }

    /// Connects where a connection is missing, once in a while.
    fn reconnect(&mut self, node: &mut Node, access: &Access) {
        let kind = node.place.kind;
        let (now, period) = (self.now, self.timings.ping_period);
        let link = self.link(node);
        if link.is_connected(kind) || node.address.port == 0 {
            return;
        }
        if (0..period).contains(&(now - link.connected_at)) {
            return;
        }
        link.connected_at = now;
        let (has_commands, has_pubsub) = (link.commands.is_some(), link.pubsub.is_some());
        if !has_commands {
            // It may have moved to where its name points by now.
            self.names.ask(&node.address.host, now);
        }
        let Some(to) = Self::socket_address(&node.address) else { return };
        if !has_commands {
            self.connect(node.link, Channel::Commands, to);
            self.greet(node, access, Channel::Commands);
            self.ping(node, access);
        }
        if !has_pubsub && kind != Kind::Sentinel {
            self.connect(node.link, Channel::Pubsub, to);
            self.greet(node, access, Channel::Pubsub);
            let word = access.command("SUBSCRIBE");
            self.send_to_listen(node, &[word, HELLO_CHANNEL], false);
        }
    }

    /// Says who we are.
    fn greet(&mut self, node: &Node, access: &Access, channel: Channel) {
        let kind = node.place.kind;
        let credentials = self.credentials(kind, access);
        let role = match channel {
            Channel::Commands => "cmd",
            Channel::Pubsub => "pubsub",
        };
        let name = format!("sentinel-{}-{role}", self.my_id.get(..8).unwrap_or(&self.my_id));
        let mut commands: Vec<Vec<&[u8]>> = Vec::new();
        if let Some((user, password)) = &credentials {
            let mut auth = vec![access.command("AUTH")];
            auth.extend(user.as_deref().map(str::as_bytes));
            auth.push(password.as_bytes());
            commands.push(auth);
        }
        commands.push(vec![access.command("CLIENT"), b"SETNAME", name.as_bytes()]);
        for command in commands {
            match channel {
                Channel::Commands => {
                    self.send(node, Want::Nothing, &command);
                }
                Channel::Pubsub => self.send_to_listen(node, &command, true),
            }
        }
    }

    fn ping(&mut self, node: &Node, access: &Access) {
        if self.send(node, Want::Pong, &[access.command("PING")]) {
            let now = self.now;
            let link = self.link(node);
            link.pinged_at = now;
            link.unanswered_since.get_or_insert(now);
        }
    }

    /// Sends PING, INFO and hello messages where they are due.
    fn send_periodic(
        &mut self,
        node: &mut Node,
        access: &Access,
        hello: Option<&Hello>,
        info_period: Millis,
    ) {
        let kind = node.place.kind;
        let (now, publish_period) = (self.now, self.timings.publish_period);
        let ping_period = node.down_after.min(self.timings.ping_period);
        let link = self.link(node);
        if !link.is_connected(kind) || PENDING_MAX * link.ref_count <= link.pending_count() {
            return;
        }
        let wants_ping =
            ping_period < now - link.ponged_at && ping_period / 2 < now - link.pinged_at;
        let wants_info = kind != Kind::Sentinel
            && node.info_at.is_none_or(|it| info_period < now - it)
            && !link.pending.iter().any(|it| it.want == Want::Info);
        if wants_info {
            self.send(node, Want::Info, &[access.command("INFO")]);
        }
        if wants_ping {
            self.ping(node, access);
        }
        if let Some(hello) = hello
            && publish_period < now - node.published_at
            && node.own_failover != OwnFailover::Running
        {
            self.publish(node, access, hello);
        }
    }

    fn publish(&mut self, node: &Node, access: &Access, hello: &Hello) {
        let waits = self.link(node).pending.iter();
        let waits = waits.filter(|it| it.want == Want::Published);
        if waits.filter(|it| it.place.number == node.place.number).count() != 0 {
            return;
        }
        let host = match &self.announce_ip {
            Some(ip) => ip.clone(),
            None => match self.link(node).commands.and_then(|it| it.local_ip) {
                Some(ip) => ip.to_string(),
                // As soon as the connection is there.
                None => return,
            },
        };
        let text = Hello { host, ..hello.clone() }.text();
        let word = access.command("PUBLISH");
        self.send(node, Want::Published, &[word, HELLO_CHANNEL, text.as_bytes()]);
    }

    /// What we say of a master, but for the address that we say it from.
    fn hello(&self, master: &Master) -> Hello {
        let address = master.current_address();
        let port = if self.announce_port == 0 { self.identity.port } else { self.announce_port };
        Hello {
            host: String::new(),
            port,
            id: self.my_id.clone(),
            epoch: self.epoch,
            master: master.node.name().to_owned(),
            master_host: self.names.shown(address),
            master_port: address.port,
            config_epoch: master.config_epoch,
        }
    }

    pub(super) fn take_pong(&mut self, node: &mut Node, value: &Value) -> Advice {
        let now = self.now;
        let link = self.link(node);
        let mut advice = Advice::Nothing;
        if let Value::Simple(text) | Value::Error(text) = value {
            let is_good = [&b"PONG"[..], b"LOADING", b"MASTERDOWN"];
            if is_good.iter().any(|it| text.starts_with(it)) {
                link.available_at = now;
                link.unanswered_since = None;
                if text.starts_with(b"PONG") {
                    node.flags.remove(Flags::MASTER_REBOOT);
                }
            } else if text.starts_with(b"BUSY")
                && node.flags.contains(Flags::S_DOWN)
                && !node.flags.contains(Flags::SCRIPT_KILL_SENT)
            {
                node.flags.insert(Flags::SCRIPT_KILL_SENT);
                advice = Advice::KillScript;
            }
        }
        link.ponged_at = now;
        advice
    }

    /// Ends the script that makes an instance seem down.
    pub(super) fn kill_script(&mut self, master: &Master, place: &Place) {
        let node = match place.kind {
            Kind::Master => Some(&master.node),
            Kind::Replica => master.replicas.get(&place.name).map(|it| &it.node),
            Kind::Sentinel => None,
        };
        if let Some(node) = node {
            self.send(node, Want::Nothing, &[master.access.command("SCRIPT"), b"KILL"]);
        }
    }
}
