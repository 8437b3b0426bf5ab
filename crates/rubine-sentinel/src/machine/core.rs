//! What all masters share: who we are, the epoch, links, times, and what is to be done.

use crate::flags::Kind;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rubine_base::clock::Millis;
use rubine_base::random::Random;
use rubine_resp::decode::Value;

use super::Identity;
use crate::address::{Address, Names};
use crate::effect::{Action, Effects, Level, Notice};
use crate::instance::{Access, Label, Master, Node, described};
use crate::link::{Channel, Connection, InstanceLink, LinkId, Pending, Want};
use crate::scripts::Scripts;
use crate::timings::Timings;

/// The channel of hello messages.
pub(crate) const HELLO_CHANNEL: &[u8] = b"__sentinel__:hello";

/// Where this Sentinel is to end at once, for a test.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CrashAfter {
    pub(crate) election: bool,
    pub(crate) promotion: bool,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) identity: Identity,
    /// 40 hexadecimal digits.
    pub(crate) my_id: String,
    pub(crate) now: Millis,
    pub(crate) random: Random,
    pub(crate) timings: Timings,
    pub(crate) names: Names,
    /// The latest epoch that anybody has told of.
    pub(crate) epoch: u64,
    pub(crate) announce_ip: Option<String>,
    pub(crate) announce_port: u16,
    pub(crate) denies_scripts_reconfig: bool,
    pub(crate) sentinel_user: Option<String>,
    pub(crate) sentinel_pass: Option<String>,
    /// Since when nothing is done, as the clock cannot be trusted.
    pub(crate) tilt_since: Option<Millis>,
    pub(crate) tilt_count: u64,
    last_turn: Millis,
    pub(crate) crash: CrashAfter,
    /// The configuration could not be written, so votes of ours may not be on disk.
    pub(crate) is_unsaved: bool,
    pub(crate) scripts: Scripts,
    pub(crate) links: BTreeMap<u64, InstanceLink>,
    connections: BTreeMap<LinkId, (u64, Channel)>,
    /// Counts instances, links and connections.
    number: u64,
    pub(crate) effects: Effects,
}

impl Core {
    pub(super) fn new(identity: Identity, now: Millis) -> Self {
        let random = Random::with_seed(identity.seed);
        Self {
            identity,
            my_id: String::new(),
            now,
            random,
            timings: Timings::default(),
            names: Names::default(),
            epoch: 0,
            announce_ip: None,
            announce_port: 0,
            denies_scripts_reconfig: true,
            sentinel_user: None,
            sentinel_pass: None,
            tilt_since: None,
            tilt_count: 0,
            last_turn: now,
            crash: CrashAfter::default(),
            is_unsaved: false,
            scripts: Scripts::default(),
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            number: 0,
            effects: Effects::default(),
        }
    }

    pub(super) fn new_id(&mut self) -> String {
        let mut bytes = [0; 20];
        self.random.fill(&mut bytes);
        bytes.iter().map(|it| format!("{it:02x}")).collect()
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Has the configuration on disk before anything else happens.
    pub(crate) fn save(&mut self) {
        self.effects.saves = true;
    }

    /// Tries again what has failed.
    pub(crate) fn save_again(&mut self) {
        self.effects.saves |= self.is_unsaved;
    }

    pub(crate) fn log(&mut self, level: Level, text: String) {
        self.effects.actions.push(Action::Log { level, text });
    }

    /// Tells of an event, and has the program run that wants to know of what matters.
    pub(crate) fn tell(
        &mut self,
        level: Level,
        channel: &'static str,
        script: Option<&str>,
        text: String,
    ) {
        if level == Level::Warning
            && let Some(script) = script
        {
            self.scripts.add(vec![script.to_owned(), channel.to_owned(), text.clone()]);
        }
        self.effects.actions.push(Action::Tell(Notice { level, channel, text }));
    }

    /// Tells of an event of a master; `rest` follows its description.
    pub(crate) fn tell_master(
        &mut self,
        level: Level,
        channel: &'static str,
        master: &Master,
        rest: &str,
    ) {
        let text = master.described(&self.names) + rest;
        self.tell(level, channel, master.notification_script.as_deref(), text);
    }

    /// Tells of an event of an instance, given the label of its master.
    pub(crate) fn tell_node(
        &mut self,
        level: Level,
        channel: &'static str,
        node: &Node,
        label: &Label,
        rest: &str,
    ) {
        let text = described(node, label, &self.names) + rest;
        self.tell(level, channel, label.script.as_deref(), text);
    }

    pub(crate) fn tell_of_monitor(&mut self, master: &Master) {
        let rest = format!(" quorum {}", master.quorum);
        self.tell_master(Level::Warning, "+monitor", master, &rest);
    }

    /// Notices a clock that has jumped, or a process that stood still: everybody would seem to be down.
    pub(super) fn check_tilt(&mut self) {
        let passed = self.now - self.last_turn;
        self.last_turn = self.now;
        if passed < 0 || self.timings.tilt_trigger < passed {
            self.tilt_since = Some(self.now);
            self.tilt_count += 1;
            let text = "#tilt mode entered".to_owned();
            self.tell(Level::Warning, "+tilt", None, text);
        }
        if self.tilt_since.is_some_and(|it| self.timings.tilt_period <= self.now - it) {
            self.tilt_since = None;
            let text = "#tilt mode exited".to_owned();
            self.tell(Level::Warning, "-tilt", None, text);
        }
    }

    /// A link without connections.
    pub(super) fn new_link(&mut self) -> u64 {
        let key = self.next_number();
        self.links.insert(key, InstanceLink::new(self.now));
        key
    }

    pub(crate) fn link(&mut self, node: &Node) -> &mut InstanceLink {
        self.links.get_mut(&node.link).expect("a node has a link as long as it lives")
    }

    pub(crate) fn is_connected(&self, node: &Node) -> bool {
        self.links.get(&node.link).is_some_and(|it| it.is_connected(node.place.kind))
    }

    /// An instance has gone; the last one that had a link ends it.
    pub(super) fn release_link(&mut self, node: &Node) {
        let Some(link) = self.links.get_mut(&node.link) else { return };
        link.ref_count -= 1;
        if link.ref_count == 0 {
            self.close(node.link, Channel::Commands);
            self.close(node.link, Channel::Pubsub);
            self.links.remove(&node.link);
        }
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, key: u64, channel: Channel, to: SocketAddr) {
        let id = LinkId(self.next_number());
        let connection = Connection { id, since: self.now, local_ip: None };
        let link = self.links.get_mut(&key).expect("who connects has a link");
        match channel {
            Channel::Commands => {
                link.commands = Some(connection);
                link.pending.clear();
            }
            Channel::Pubsub => {
                link.pubsub = Some(connection);
                link.pubsub_pending = 0;
                link.pubsub_active_at = self.now;
            }
        }
        self.connections.insert(id, (key, channel));
        self.effects.actions.push(Action::Connect { link: id, to });
    }

    /// Ends a connection, if it is there.
    pub(crate) fn close(&mut self, key: u64, channel: Channel) {
        if let Some(id) = self.forget(key, channel) {
            self.effects.actions.push(Action::Close { link: id });
        }
    }

    /// Ends both.
    pub(crate) fn close_all(&mut self, node: &Node) {
        self.close(node.link, Channel::Commands);
        self.close(node.link, Channel::Pubsub);
    }

    fn forget(&mut self, key: u64, channel: Channel) -> Option<LinkId> {
        let link = self.links.get_mut(&key)?;
        let id = match channel {
            Channel::Commands => {
                link.pending.clear();
                link.commands.take()
            }
            Channel::Pubsub => {
                link.pubsub_pending = 0;
                link.pubsub.take()
            }
        }?
        .id;
        self.connections.remove(&id);
        Some(id)
    }

    /// Which link a connection belongs to, if it is wanted still.
    pub(super) fn connection(&self, id: LinkId) -> Option<(u64, Channel)> {
        self.connections.get(&id).copied()
    }

    pub(super) fn lost(&mut self, id: LinkId) {
        if let Some((key, channel)) = self.connection(id) {
            self.forget(key, channel);
        }
    }

    pub(super) fn connected(&mut self, id: LinkId, local_ip: IpAddr) {
        let Some((key, channel)) = self.connection(id) else { return };
        let link = self.links.get_mut(&key).expect("a connection has a link");
        let connection = match channel {
            Channel::Commands => link.commands.as_mut(),
            Channel::Pubsub => link.pubsub.as_mut(),
        };
        if let Some(connection) = connection {
            connection.local_ip = Some(local_ip);
        }
    }

    /// Sends a command to an instance, if it has a connection for that. Returns whether it has.
    pub(crate) fn send(&mut self, node: &Node, want: Want, command: &[&[u8]]) -> bool {
        let Some(link) = self.links.get_mut(&node.link) else { return false };
        let Some(Connection { id, .. }) = link.commands else { return false };
        link.pending.push_back(Pending { place: node.place.clone(), want });
        let command = command.iter().map(|it| it.to_vec()).collect();
        self.effects.actions.push(Action::Send { link: id, command });
        true
    }

    /// The same on the connection that listens; its replies are only counted.
    pub(super) fn send_to_listen(&mut self, node: &Node, command: &[&[u8]], is_answered: bool) {
        let Some(link) = self.links.get_mut(&node.link) else { return };
        let Some(Connection { id, .. }) = link.pubsub else { return };
        link.pubsub_pending += usize::from(is_answered);
        let command = command.iter().map(|it| it.to_vec()).collect();
        self.effects.actions.push(Action::Send { link: id, command });
    }

    /// Takes in what came to the connection that listens. Returns the message, if it is one.
    pub(super) fn take_message(&mut self, key: u64, value: Value) -> Option<Vec<u8>> {
        let link = self.links.get_mut(&key)?;
        let (Value::Array(parts) | Value::Push(parts)) = value else {
            if link.pubsub_pending == 0 {
                // We may not listen there: the connection is of no use.
                self.close(key, Channel::Pubsub);
                return None;
            }
            link.pubsub_pending -= 1;
            return None;
        };
        link.pubsub_active_at = self.now;
        match <[Value; 3]>::try_from(parts).ok()? {
            [Value::Bulk(word), Value::Bulk(_), Value::Bulk(text)] if word == b"message" => {
                Some(text)
            }
            _ => None,
        }
    }

    /// Who we say we are to an instance of this kind: a user, if one is needed, and a password.
    pub(super) fn credentials(
        &self,
        kind: Kind,
        access: &Access,
    ) -> Option<(Option<String>, String)> {
        let (user, password) = match kind {
            Kind::Master | Kind::Replica => (&access.user, &access.password),
            Kind::Sentinel if self.sentinel_pass.is_some() => {
                (&self.sentinel_user, &self.sentinel_pass)
            }
            // Where nothing else is said, all Sentinels have one password, in both directions.
            Kind::Sentinel => (&None, &self.identity.password),
        };
        password.clone().map(|it| (user.clone(), it))
    }

    /// Where an instance can be connected to, if that is known.
    pub(super) fn socket_address(address: &Address) -> Option<SocketAddr> {
        // A port of 0 says that the address is known to be wrong.
        address.ip.filter(|_| address.port != 0).map(|ip| SocketAddr::new(ip, address.port))
    }
}
