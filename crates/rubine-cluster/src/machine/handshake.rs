//! How nodes get to know each other: MEET, by address, until the other has said its id.

use std::net::IpAddr;

use rubine_base::clock::Millis;

use super::node::{Ground, Key, Node, Place};
use super::{Cluster, Todo};
use crate::effect::{Level, LinkId};
use crate::id::NodeId;
use crate::message::{Gossip, Header, NodeFlags};
use crate::text::Host;

/// A handshake takes a node timeout at most, and at least this.
const HANDSHAKE_MS_MIN: Millis = 1000;

/// What has become of a packet on a connection that this node has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Introduction {
    /// It is from the node to whom the connection belongs.
    Known,
    /// It is from somebody else, and the connection is gone.
    Ended,
}

impl Cluster {
    /// Begins a handshake with whoever is at an address, unless there is one already.
    pub(crate) fn start_handshake(&mut self, ip: IpAddr, port: u16, bus_port: u16) {
        let host = Some(Host::Ip(ip));
        let is_tls = self.config.tls_cluster;
        let is_same = |node: &Node| {
            node.is_in_handshake()
                && node.place.host == host
                && node.place.main_port(is_tls) == port
                && node.place.bus_port == bus_port
        };
        if self.table.iter().any(|(_, node)| is_same(node)) {
            return;
        }
        let mut place = Place { host, bus_port, ..Place::default() };
        *(if is_tls { &mut place.tls_port } else { &mut place.port }) = port;
        self.add_unknown(NodeFlags::HANDSHAKE | NodeFlags::MEET, place);
    }

    /// Takes in a node of which only the address is known.
    fn add_unknown(&mut self, flags: NodeFlags, place: Place) -> Option<Key> {
        let mut node = Node::new(self.new_node_id(), self.new_shard_id(), flags, self.now);
        node.place = place;
        self.table.add(node)
    }

    /// A node that is not known has sent MEET on this connection: it wants us to know it.
    pub(crate) fn take_meet(&mut self, id: LinkId, header: &Header) {
        let Some(link) = self.links.get(id).filter(|it| it.is_inbound) else { return };
        // Another MEET on the same connection, before we could answer the first one.
        if link.node.is_some() {
            return;
        }
        let Some(host) = header.host.clone().or(link.peer_ip.map(Host::Ip)) else { return };
        let mut flags = NodeFlags::HANDSHAKE;
        if link.takes_extensions {
            flags |= NodeFlags::EXTENSIONS;
        }
        let place = self.place_of(header, host);
        if let Some(key) = self.add_unknown(flags, place) {
            self.bind_inbound(key, id);
            self.todo |= Todo::SAVE;
        }
    }

    /// A node that this one was asked to forget has not heard of it, and believes itself to be among us still: it follows one
    /// of us, or tells of one. By itself it shall not come back. One that was reset, and is sent to meet us, may.
    pub(crate) fn is_unaware_of_ban(&mut self, header: &Header, gossip: &[Gossip]) -> bool {
        let follows_us = header.primary.is_some_and(|it| self.table.find(it).is_some());
        let tells_of_us = gossip.iter().any(|it| self.table.find(it.node).is_some());
        self.is_banned(header.sender) && (follows_us || tells_of_us)
    }

    /// A node that is known has sent MEET: it thinks that we do not know it. It will see by our ping that we do.
    pub(crate) fn take_needless_meet(&mut self, sender: Key, id: LinkId) {
        let node = &self.table[sender];
        if node.link.is_none() || node.link == Some(id) || !self.is_handshake_over(sender) {
            return;
        }
        let text = format!(
            "Freeing outbound link to node {} after receiving a MEET packet from this known node",
            self.named(sender)
        );
        self.log(Level::Notice, text);
        self.close_link_to(sender);
    }

    /// Compares who has answered on our connection to a node with that node.
    pub(crate) fn check_introduction(
        &mut self,
        id: LinkId,
        key: Key,
        sender: Option<Key>,
        header: &Header,
    ) -> Introduction {
        if self.table[key].is_in_handshake() {
            if let Some(known) = sender {
                let text = format!(
                    "Handshake: we already know node {}, updating the address if needed.",
                    self.named(known)
                );
                self.log(Level::Verbose, text);
                self.update_address(known, id, header);
                self.forget_node(key);
                return Introduction::Ended;
            }
            self.finish_handshake(key, header);
        } else if self.table[key].id != header.sender {
            self.lose_address(key, id, header.sender);
            return Introduction::Ended;
        }
        Introduction::Known
    }

    fn finish_handshake(&mut self, key: Key, header: &Header) {
        if !self.table.rename(key, header.sender) {
            return;
        }
        let node = &mut self.table[key];
        node.flags -= NodeFlags::HANDSHAKE;
        node.flags |= header.flags & (NodeFlags::PRIMARY | NodeFlags::REPLICA);
        let text = format!("Handshake with node {} completed.", self.named(key));
        self.log(Level::Debug, text);
        self.todo |= Todo::SAVE;
    }

    /// Another node answers where this one was: it was reset, or has moved. It will say where it is.
    fn lose_address(&mut self, key: Key, id: LinkId, other: NodeId) {
        if self.return_to_last_address(key) {
            return;
        }
        let node = &self.table[key];
        let text = format!(
            "PONG contains mismatching sender ID. About node {} added {} ms ago, having flags {}",
            self.named_in_shard(key),
            self.now - node.times.created,
            node.flags.bits()
        );
        self.log(Level::Notice, text);
        let node = &mut self.table[key];
        node.flags |= NodeFlags::NO_ADDRESS;
        node.place = Place::default();
        self.close(id);
        if !self.table[key].is_failed() {
            self.mark_as_failed(key, Ground::Replaced { by: other });
            self.tell_of_failure(key);
        }
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
    }

    pub(crate) fn is_handshake_over(&self, key: Key) -> bool {
        self.handshake_timeout() < self.now - self.table[key].times.created
    }

    fn handshake_timeout(&self) -> Millis {
        self.config.node_timeout.max(HANDSHAKE_MS_MIN)
    }

    pub(crate) fn give_up_handshake(&mut self, key: Key) {
        let place = &self.table[key].place;
        let text = format!("Clusterbus handshake timeout {}:{}", place.host_text(), place.bus_port);
        self.log(Level::Warning, text);
        self.forget_node(key);
    }

    /// A node to whom there is a connection, but none from it, does not know us, as it seems.
    pub(crate) fn meet_again(&mut self, key: Key) {
        let timeout = self.handshake_timeout();
        let node = &self.table[key];
        let is_unknown_there = node.is_normal()
            && node.link.is_some()
            && node.inbound.is_none()
            && timeout < self.now - node.times.inbound_lost
            && timeout < self.now - node.times.meet_sent
            && node.is(NodeFlags::LIGHT_MODULE);
        if !is_unknown_there {
            return;
        }
        self.table[key].flags |= NodeFlags::MEET;
        let text = format!(
            "Sending MEET packet to node {} because there is no inbound link for it",
            self.named(key)
        );
        self.log(Level::Notice, text);
        self.meet(key);
    }

    /// Forgets a node, with all that refers to it.
    pub(crate) fn forget_node(&mut self, key: Key) {
        let node = &self.table[key];
        for id in [node.link, node.inbound].into_iter().flatten() {
            self.close(id);
        }
        if self.manual.replica == Some(key) {
            self.reset_manual_failover();
        }
        let is_lost_primary = self.table.myself().primary == Some(key);
        self.table.remove(key);
        if is_lost_primary {
            self.keep_promise();
        }
        self.is_view_stale = true;
    }
}
