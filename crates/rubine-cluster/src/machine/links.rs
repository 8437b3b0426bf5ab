//! The connections of the bus: one that this node has made to each other node, and one that this has made to it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rubine_base::clock::Millis;

use super::Cluster;
use super::node::Key;
use super::table::NODES_MAX;
use crate::effect::{Action, Level, LinkId};
use crate::message::{Dialect, NodeFlags};

/// What came in and has not said who it is counts, too.
const LINKS_MAX: usize = 4 * NODES_MAX;
/// A node that cannot be connected to is tried so often in half a node timeout.
const ATTEMPTS_PER_PERIOD: Millis = 10;

#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
    count: u64,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Invariant: that node has this link as its own, in this direction.
    pub(crate) node: Option<Key>,
    pub(crate) is_inbound: bool,
    pub(crate) is_open: bool,
    pub(crate) created: Millis,
    /// The other end has sent extensions, or said that it could.
    pub(crate) takes_extensions: bool,
    /// Which extensions it understands, as far as it has shown.
    pub(crate) dialect: Dialect,
    pub(crate) peer_ip: Option<IpAddr>,
    pub(crate) local_ip: Option<IpAddr>,
    /// How many bytes wait to be sent, as the driver has last told.
    pub(crate) buffered: usize,
}

impl Link {
    /// What it takes: a connection on which nothing waits is not for nothing either.
    fn memory(&self) -> usize {
        size_of::<Self>() + self.buffered
    }
}

impl Links {
    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// Returns whether there was room for it.
    pub(crate) fn accept(
        &mut self,
        id: LinkId,
        peer_ip: IpAddr,
        local_ip: IpAddr,
        now: Millis,
    ) -> bool {
        if LINKS_MAX <= self.links.len() {
            return false;
        }
        let link = Link {
            node: None,
            is_inbound: true,
            is_open: true,
            created: now,
            takes_extensions: false,
            dialect: Dialect::Common,
            // IPv4 addresses are such, also where they came over IPv6.
            peer_ip: Some(peer_ip.to_canonical()),
            local_ip: Some(local_ip.to_canonical()),
            buffered: 0,
        };
        self.links.insert(id, link);
        true
    }

    fn open(&mut self, node: Key, peer_ip: Option<IpAddr>, now: Millis) -> LinkId {
        self.count += 1;
        let id = LinkId(self.count);
        let link = Link {
            node: Some(node),
            is_inbound: false,
            is_open: false,
            created: now,
            takes_extensions: false,
            dialect: Dialect::Common,
            peer_ip,
            local_ip: None,
            buffered: 0,
        };
        self.links.insert(id, link);
        id
    }
}

impl Cluster {
    /// How many bytes wait on a link, for its limit and for CLUSTER LINKS.
    pub fn set_buffered(&mut self, link: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(link) {
            link.buffered = bytes;
        }
    }

    /// Whether a connection is wanted still.
    pub fn has_link(&self, link: LinkId) -> bool {
        self.links.get(link).is_some()
    }

    /// Whether it is known whose connection it is.
    pub fn knows_link(&self, link: LinkId) -> bool {
        let node = self.links.get(link).and_then(|it| it.node);
        node.is_some_and(|it| !self.table[it].is_in_handshake())
    }

    pub(crate) fn connected(&mut self, id: LinkId, local_ip: IpAddr) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.is_open = true;
        link.local_ip = Some(local_ip.to_canonical());
        let Some(key) = link.node else { return };
        self.is_view_stale = true;
        // Whoever did not answer before the connection broke is not forgiven by a new one.
        let waits_since = self.table[key].times.ping_sent;
        if self.table[key].is(NodeFlags::MEET) {
            self.meet(key);
        } else {
            self.ping(key);
        }
        if waits_since != 0 {
            self.table[key].times.ping_sent = waits_since;
        }
    }

    /// A connection is gone, or could not be had.
    pub(crate) fn closed(&mut self, id: LinkId, reason: &str) {
        let Some(link) = self.links.get(id) else { return };
        if let Some(key) = link.node.filter(|_| !link.is_inbound) {
            let node = &self.table[key];
            if !link.is_open {
                let text = format!(
                    "Connection with Node {} at {}:{} failed: {reason}",
                    node.id,
                    node.place.host_text(),
                    node.place.bus_port
                );
                self.log(Level::Verbose, text);
            }
            // It is silent from now on, and not only when it would be asked again.
            let times = &mut self.table[key].times;
            if times.ping_sent == 0 {
                times.ping_sent = self.now;
            }
        }
        self.forget_link(id);
    }

    /// Ends a connection from this side.
    pub(crate) fn close(&mut self, id: LinkId) {
        self.do_it(Action::Close { link: id });
        self.forget_link(id);
    }

    pub(crate) fn close_link_to(&mut self, key: Key) {
        if let Some(id) = self.table[key].link {
            self.close(id);
        }
    }

    fn forget_link(&mut self, id: LinkId) {
        let Some(link) = self.links.links.remove(&id) else { return };
        let Some(key) = link.node else { return };
        let node = &mut self.table[key];
        if node.link == Some(id) {
            node.link = None;
        }
        if node.inbound == Some(id) {
            node.inbound = None;
            node.times.inbound_lost = self.now;
        }
        self.is_view_stale = true;
    }

    /// What has come in on a connection says whose it is.
    pub(crate) fn bind_inbound(&mut self, key: Key, id: LinkId) {
        // The older one is more likely the one that is gone without our having noticed.
        if let Some(old) = self.table[key].inbound.filter(|it| *it != id) {
            self.close(old);
        }
        if let Some(link) = self.links.get_mut(id) {
            link.node = Some(key);
            self.table[key].inbound = Some(id);
        }
    }

    /// Connects to a node that there is no connection to, but not too often.
    pub(crate) fn reconnect(&mut self, key: Key, budget: &mut i64) {
        let node = &self.table[key];
        let period = self.config.node_timeout / 2 / ATTEMPTS_PER_PERIOD;
        let was_just_tried = self.now - node.times.connect_attempted < period;
        if node.inbound.is_none() && was_just_tried && *budget == 0 {
            return;
        }
        let Some(to) = node.place.host.clone() else { return };
        let port = node.place.bus_port;
        *budget -= 1;
        let link = self.links.open(key, to.ip(), self.now);
        let now = self.now;
        let node = &mut self.table[key];
        node.times.connect_attempted = now;
        node.link = Some(link);
        self.do_it(Action::Connect { link, to, port });
    }

    /// How many nodes may be connected to in a turn beside those whose time it is.
    pub(crate) fn connection_budget(&self) -> i64 {
        let period = self.config.node_timeout / 2;
        if period <= 0 {
            return 0;
        }
        self.table.len() as i64 * super::TURN_MS / period * ATTEMPTS_PER_PERIOD
    }

    /// Ends connections on which more waits to be sent than may.
    pub(crate) fn check_buffers(&mut self, key: Key) {
        let limit = self.config.link_sendbuf_limit;
        if limit == 0 {
            return;
        }
        let node = &self.table[key];
        for id in [node.link, node.inbound].into_iter().flatten() {
            let Some(link) = self.links.get(id).filter(|it| limit < it.memory()) else { continue };
            let (direction, bytes) = (if link.is_inbound { "from" } else { "to" }, link.memory());
            let text = format!(
                "Freeing cluster link({direction} node {}, used memory: {bytes}) due to exceeding send \
                 buffer memory limit.",
                self.named(key)
            );
            self.log(Level::Warning, text);
            self.close(id);
            self.statistics.buffer_limit_exceeded += 1;
        }
    }
}
