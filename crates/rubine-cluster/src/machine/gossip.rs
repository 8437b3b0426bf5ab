//! What nodes tell each other of third ones, and of themselves beyond the header.

use std::collections::BTreeSet;
use std::sync::Arc;

use rubine_base::clock::Millis;

use super::node::{Key, Node, Place};
use super::{Cluster, Todo};
use crate::effect::Level;
use crate::id::NodeId;
use crate::message::{Extension, Gossip, NodeFlags};
use crate::text::Host;

/// At least so many nodes are told of in a ping.
const ENTRIES_MIN: usize = 3;
/// A moment that others tell of may be so far ahead of our clock.
const TOLERANCE_MS: Millis = 500;
/// So many forgotten nodes are remembered, and no more of others' words.
const BANNED_MAX: usize = 10_000;
/// Nobody is kept away for longer on the word of others.
const BAN_MS_MAX: Millis = 365 * 24 * 3600 * 1000;
/// What another node cannot know of a third one, or what is not its to say.
const OWN_FLAGS: NodeFlags = NodeFlags::MYSELF.union(NodeFlags::HANDSHAKE).union(NodeFlags::MEET);

impl Cluster {
    /// What a ping tells of other nodes: some by chance, and all that are silent.
    pub(crate) fn make_gossip(&mut self, receiver: Option<Key>) -> Vec<Gossip> {
        let known = self.table.len();
        let share = known * self.config.message_gossip_perc as usize / 100;
        let wanted = share.max(ENTRIES_MIN).min(known.saturating_sub(2));
        // This node and the receiver may be among them.
        let chosen: Vec<Key> = self.table.some(wanted + 2, &mut self.random).collect();
        let is_told = |key: &Key| {
            let node = &self.table[*key];
            let passing = NodeFlags::PFAIL | NodeFlags::HANDSHAKE | NodeFlags::NO_ADDRESS;
            let is_lost = node.link.is_none() && node.slot_count == 0;
            *key != self.table.me && Some(*key) != receiver && !node.is(passing) && !is_lost
        };
        let some = chosen.into_iter().filter(is_told).take(wanted);
        let suspects = self.suspects.iter().filter_map(|it| self.table.find(*it)).filter(|it| {
            let node = &self.table[*it];
            node.is_suspected() && !node.is(NodeFlags::HANDSHAKE | NodeFlags::NO_ADDRESS)
        });
        some.chain(suspects).map(|it| self.gossip_of(&self.table[it])).collect()
    }

    fn gossip_of(&self, node: &Node) -> Gossip {
        Gossip {
            node: node.id,
            ping_sent_s: (node.times.ping_sent / 1000) as u32,
            pong_received_s: (node.times.pong_received / 1000) as u32,
            host: node.place.host.clone(),
            ports: node.place.ports(self.config.tls_cluster),
            flags: node.flags,
        }
    }

    /// What this node says of itself beyond the header.
    pub(crate) fn make_extensions(&mut self) -> Vec<Extension> {
        let announced = &self.table.myself().announced;
        let mut extensions = Vec::new();
        let text = |it: &Arc<str>| (!it.is_empty()).then(|| it.to_string());
        extensions.extend(text(&announced.hostname).map(Extension::Hostname));
        extensions.extend(text(&announced.human_nodename).map(Extension::HumanNodename));
        extensions.extend(announced.client_ipv4.parse().ok().map(Extension::ClientIpv4));
        extensions.extend(text(&announced.client_ipv6).map(Extension::ClientIpv6));
        let port = |it: u16| (it != 0).then_some(it);
        extensions.extend(port(announced.client_port).map(Extension::ClientPort));
        extensions.extend(port(announced.client_tls_port).map(Extension::ClientTlsPort));
        extensions.extend(text(&announced.availability_zone).map(Extension::AvailabilityZone));
        let forgotten = self.banned.iter().filter(|(_, until)| self.now <= **until);
        extensions.extend(forgotten.map(|(node, until)| Extension::ForgottenNode {
            node: *node,
            ttl_s: ((until - self.now) / 1000) as u64,
        }));
        extensions.push(Extension::ShardId(self.table.myself().shard));
        extensions
    }

    /// Takes in what a node tells of others. Nothing of it is believed of a node that is not known, but reports of nodes
    /// are taken in from it all the same if it has asked to be met: `sender` is who it is, then.
    pub(crate) fn take_gossip(&mut self, sender: Option<Key>, entries: &[Gossip]) {
        let Some(sender) = sender else { return };
        for entry in entries {
            match self.table.find(entry.node) {
                Some(key) if key == self.table.me => {}
                Some(key) => self.take_known(sender, key, entry),
                None => self.take_unknown(entry),
            }
        }
    }

    fn take_known(&mut self, sender: Key, key: Key, entry: &Gossip) {
        let says_failing = entry.flags.intersects(NodeFlags::FAIL | NodeFlags::PFAIL);
        if says_failing {
            if self.table[sender].is_voter() && self.take_report(key, sender) {
                self.log_report(sender, key, "as not reachable");
            }
            self.condemn_if_agreed(key);
        } else if self.withdraw_report(key, sender) {
            self.log_report(sender, key, "is back online");
        }
        let node = &self.table[key];
        if !says_failing
            && node.is_normal()
            && node.times.ping_sent == 0
            && self.count_reports(key) == 0
        {
            let heard = Millis::from(entry.pong_received_s) * 1000;
            let times = &mut self.table[key].times;
            if heard <= self.now + TOLERANCE_MS && times.pong_received < heard {
                times.pong_received = heard;
            }
        }
        if !says_failing {
            self.take_place(key, entry);
        }
    }

    fn log_report(&mut self, sender: Key, key: Key, words: &str) {
        let text =
            format!("Node {} reported node {} {words}.", self.named(sender), self.named(key));
        self.log(Level::Verbose, text);
    }

    /// A node that does not answer us is somewhere else, and answers the one who says so.
    fn take_place(&mut self, key: Key, entry: &Gossip) {
        let node = &self.table[key];
        let is_lost = node.is(NodeFlags::FAIL | NodeFlags::PFAIL);
        if !is_lost || entry.flags.contains(NodeFlags::NO_ADDRESS) {
            return;
        }
        let Some(place) = self.place_in(entry).filter(|it| *it != node.place) else { return };
        self.move_node(key, place);
    }

    fn place_in(&self, entry: &Gossip) -> Option<Place> {
        let host: Host = entry.host.clone()?;
        let is_tls = self.config.tls_cluster;
        let (port, tls_port) = (entry.ports.tcp(is_tls), entry.ports.tls(is_tls));
        Some(Place { host: Some(host), port, tls_port, bus_port: entry.ports.bus })
    }

    /// A node that is not known is taken in, with its id and address, on the word of one that is: without a handshake, as
    /// somebody else may be at that address by now.
    fn take_unknown(&mut self, entry: &Gossip) {
        if entry.flags.contains(NodeFlags::NO_ADDRESS) || self.is_banned(entry.node) {
            return;
        }
        let Some(place) = self.place_in(entry) else { return };
        let mut flags = entry.flags - OWN_FLAGS;
        if flags.contains(NodeFlags::PRIMARY) {
            flags -= NodeFlags::REPLICA;
        }
        let mut node = Node::new(entry.node, self.new_shard_id(), flags, self.now);
        node.place = place;
        self.table.add(node);
        self.is_view_stale = true;
    }

    /// Takes in what a node says of itself beyond the header. What it does not say, it does not announce.
    pub(crate) fn take_extensions(&mut self, sender: Key, extensions: &[Extension]) {
        let mut announced = super::node::Announced::default();
        let mut shard = None;
        let mut forgotten = BTreeSet::new();
        for extension in extensions {
            match extension {
                Extension::Hostname(text) => announced.hostname = text.as_str().into(),
                Extension::HumanNodename(text) => announced.human_nodename = text.as_str().into(),
                Extension::AvailabilityZone(text) => {
                    announced.availability_zone = text.as_str().into();
                }
                Extension::ClientIpv4(ip) => announced.client_ipv4 = ip.to_string().into(),
                Extension::ClientIpv6(ip) => announced.client_ipv6 = ip.as_str().into(),
                Extension::ClientPort(port) => announced.client_port = *port,
                Extension::ClientTlsPort(port) => announced.client_tls_port = *port,
                Extension::ShardId(id) => shard = Some(*id),
                Extension::ForgottenNode { node, ttl_s } => {
                    forgotten.insert((*node, *ttl_s));
                }
                Extension::InternalSecret(_) => {}
                Extension::Unknown { kind } => {
                    self.log(Level::Warning, format!("Received unknown extension type {kind}"));
                }
            }
        }
        if self.table[sender].announced != announced {
            self.table[sender].announced = announced;
            self.todo |= Todo::SAVE;
        }
        // One that says nothing is of an old version: its shard is its primary's.
        let shard = shard.unwrap_or(self.table[self.table.top(sender)].shard);
        self.set_shard(sender, shard);
        for (node, ttl_s) in forgotten {
            self.take_forgotten(node, ttl_s);
        }
    }

    /// Another node was asked to forget one, and so do we.
    fn take_forgotten(&mut self, id: NodeId, ttl_s: u64) {
        let Some(key) = self.table.find(id) else { return };
        if key == self.table.me || self.table.myself().primary == Some(key) {
            return;
        }
        let ttl = Millis::try_from(ttl_s).unwrap_or(Millis::MAX).saturating_mul(1000);
        self.ban(id, ttl.min(BAN_MS_MAX));
        self.forget_node(key);
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
    }

    /// Does not take a node in again for so long.
    pub(crate) fn ban(&mut self, id: NodeId, for_ms: Millis) {
        let now = self.now;
        self.banned.retain(|_, until| now <= *until);
        if self.banned.len() < BANNED_MAX {
            self.banned.insert(id, now.saturating_add(for_ms));
        }
    }

    pub(crate) fn is_banned(&mut self, id: NodeId) -> bool {
        let now = self.now;
        self.banned.retain(|_, until| now <= *until);
        self.banned.contains_key(&id)
    }
}
