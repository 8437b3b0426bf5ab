//! Where nodes are: what they announce, where they connect from, and what their host names stand for.

use std::net::IpAddr;

use rubine_base::clock::Millis;

use super::node::{Key, Place};
use super::{Cluster, Todo};
use crate::effect::{Action, History, Level, LinkId};
use crate::message::{Header, NodeFlags};
use crate::text::Host;

/// A name is looked up no more often than this.
const NAME_PERIOD_MS: Millis = 1000;
/// A node that does not answer for so long is looked for under its name.
const SILENCE_MS: Millis = 1000;

impl Cluster {
    /// Where a packet says that its sender is.
    pub(crate) fn place_of(&self, header: &Header, host: Host) -> Place {
        let is_tls = self.config.tls_cluster;
        Place {
            host: Some(host),
            port: header.ports.tcp(is_tls),
            tls_port: header.ports.tls(is_tls),
            bus_port: header.ports.bus,
        }
    }

    /// Takes in where a node is if it says so on a connection that it has made.
    pub(crate) fn update_address(&mut self, key: Key, id: LinkId, header: &Header) {
        if self.table[key].link == Some(id) {
            return;
        }
        let peer_ip = self.links.get(id).and_then(|it| it.peer_ip);
        let Some(host) = header.host.clone().or(peer_ip.map(Host::Ip)) else { return };
        let place = self.place_of(header, host);
        if place != self.table[key].place {
            self.move_node(key, place);
        }
    }

    /// A node is somewhere else now.
    pub(crate) fn move_node(&mut self, key: Key, place: Place) {
        let node = &mut self.table[key];
        node.place = place;
        node.flags -= NodeFlags::NO_ADDRESS;
        node.last_place = None;
        self.close_link_to(key);
        let node = &self.table[key];
        let text = format!(
            "Address updated for node {}, now {}:{}",
            self.named(key),
            node.place.host_text(),
            node.place.main_port(self.config.tls_cluster)
        );
        self.log(Level::Notice, text);
        let myself = self.table.myself();
        if myself.is_replica() && myself.primary == Some(key) {
            self.replicate_from(key, History::Shared);
        }
        self.todo |= Todo::SAVE | Todo::UPDATE_STATE;
    }

    /// This node learns its own address from those who connect to it: from MEET, and from the first ping after it was
    /// started, since it may have been moved.
    pub(crate) fn learn_own_address(&mut self, id: LinkId, is_meet: bool) {
        if self.is_ip_announced || (self.is_ip_confirmed && !is_meet) {
            return;
        }
        let Some(ip) = self.links.get(id).and_then(|it| it.local_ip) else { return };
        self.is_ip_confirmed = true;
        let host = Some(Host::Ip(ip));
        if self.table.myself().place.host != host {
            let text = format!("IP address for this node updated to {ip}");
            self.table.myself_mut().place.host = host;
            self.log(Level::Notice, text);
            self.todo |= Todo::SAVE;
        }
    }

    /// Looks for a node that does not answer under its host name: it may have come back somewhere else.
    pub(crate) fn ask_for_name(&mut self, key: Key) {
        let (now, timeout) = (self.now, self.config.node_timeout);
        let node = &mut self.table[key];
        let patience = SILENCE_MS.min(timeout / 2);
        let waits_long = node.times.ping_sent != 0 && patience < now - node.times.ping_sent;
        let is_silent = node.link.is_none() || waits_long;
        let is_due = NAME_PERIOD_MS.max(timeout / 10) <= now - node.times.name_asked;
        if node.announced.hostname.is_empty() || node.is_in_handshake() || !is_silent || !is_due {
            return;
        }
        node.times.name_asked = now;
        let host = node.announced.hostname.clone();
        self.do_it(Action::Resolve { host });
    }

    /// A name stands for an address: nodes of that name which do not answer are tried there.
    pub(crate) fn resolved(&mut self, host: &str, ip: Option<IpAddr>) {
        let Some(ip) = ip.map(|it| it.to_canonical()) else { return };
        let host_now = Some(Host::Ip(ip));
        for key in self.table.keys() {
            let node = &self.table[key];
            let passing = NodeFlags::MYSELF | NodeFlags::HANDSHAKE | NodeFlags::NO_ADDRESS;
            let is_it = &*node.announced.hostname == host && !node.is(passing);
            let is_silent = node.link.is_none() || node.times.ping_sent != 0;
            if is_it && is_silent && node.place.host != host_now && node.refused_ip != Some(ip) {
                let place = Place { host: host_now.clone(), ..node.place.clone() };
                let last = node.place.clone();
                self.move_node(key, place);
                self.table[key].last_place = Some(last);
            }
        }
    }

    /// Where a name has led there is another node: back to where this one was. Returns whether that is so.
    pub(crate) fn return_to_last_address(&mut self, key: Key) -> bool {
        let node = &mut self.table[key];
        let Some(place) = node.last_place.take() else { return false };
        node.refused_ip = node.place.host.as_ref().and_then(Host::ip);
        self.move_node(key, place);
        true
    }
}
