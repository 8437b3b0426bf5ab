//! What this node says: the header of every packet, and to whom it goes.

use super::Cluster;
use super::node::Key;
use crate::effect::{Action, Level, LinkId};
use crate::message::{
    Body, ClusterState, Dialect, Header, Message, MessageFlags, NodeFlags, Ping, Relayed,
};
use crate::text::Host;
use crate::view::State;

impl Cluster {
    /// What every packet says of this node.
    fn header(&self, body: &Body) -> Header {
        let myself = self.table.myself();
        let speaks_for = &self.table[self.table.my_primary().unwrap_or(self.table.me)];
        Header {
            sender: myself.id,
            current_epoch: self.current_epoch,
            config_epoch: speaks_for.config_epoch,
            offset: self.facts.offset,
            slots: speaks_for.slots.clone(),
            primary: myself.primary.map(|it| self.table[it].id),
            host: Host::parse(&self.config.announce.ip),
            ports: myself.place.ports(self.config.tls_cluster),
            flags: myself.flags,
            state: match self.health.state {
                State::Ok => ClusterState::Ok,
                State::Fail(_) => ClusterState::Fail,
            },
            message_flags: self.message_flags(body),
            share: myself.share,
        }
    }

    fn message_flags(&self, body: &Body) -> MessageFlags {
        let mut flags = MessageFlags::empty();
        if self.table.myself().is_primary() && self.manual.is_paused() {
            flags |= MessageFlags::PAUSED;
        }
        match body {
            Body::Ping { .. } => flags |= MessageFlags::EXTENSIONS,
            Body::FailoverAuthRequest if self.manual.is_going_on() || self.is_best_replica() => {
                flags |= MessageFlags::FORCE_ACK;
            }
            _ => {}
        }
        flags
    }

    /// Sends to all of these, where there are any.
    fn send_to(&mut self, links: Vec<LinkId>, message: Message) {
        if links.is_empty() {
            return;
        }
        if let Some(count) = self.statistics.sent.get_mut(usize::from(message.kind())) {
            *count += links.len() as u64;
        }
        self.do_it(Action::Send { links, message });
    }

    pub(crate) fn send(&mut self, link: Option<LinkId>, body: Body) {
        let Some(link) = link else { return };
        let header = Box::new(self.header(&body));
        self.send_to(vec![link], Message::Full { header, body });
    }

    /// To all whom there is a connection to.
    pub(crate) fn broadcast(&mut self, body: Body) {
        let others = self
            .table
            .iter()
            .filter(|(_, node)| !node.is(NodeFlags::MYSELF | NodeFlags::HANDSHAKE));
        let links = others.filter_map(|(_, node)| node.link).collect();
        let header = Box::new(self.header(&body));
        self.send_to(links, Message::Full { header, body });
    }

    /// Pings a node on our connection to it.
    pub(crate) fn ping(&mut self, key: Key) {
        let Some(link) = self.table[key].link else { return };
        let times = &mut self.table[key].times;
        if times.ping_sent == 0 {
            times.first_ping_sent = self.now;
        }
        times.ping_sent = self.now;
        self.send_ping(link, Ping::Ping);
    }

    /// Asks a node to take us in, on our connection to it.
    pub(crate) fn meet(&mut self, key: Key) {
        let Some(link) = self.table[key].link else { return };
        self.table[key].times.meet_sent = self.now;
        self.send_ping(link, Ping::Meet);
    }

    /// A ping of some kind, with gossip, on any connection.
    pub(crate) fn send_ping(&mut self, id: LinkId, kind: Ping) {
        self.log_sending(id, kind);
        let Some(link) = self.links.get(id) else { return };
        let node = link.node;
        let takes_extensions = link.takes_extensions
            || node.is_some_and(|it| self.table[it].is(NodeFlags::EXTENSIONS));
        // What it has shown on the connection that it has made to us counts until it answers on this one.
        let inbound = node.and_then(|it| self.table[it].inbound).and_then(|it| self.links.get(it));
        let dialect = match link.dialect {
            Dialect::Common => inbound.map_or(Dialect::Common, |it| it.dialect),
            dialect => dialect,
        };
        let gossip = self.make_gossip(node);
        let mut extensions = if takes_extensions { self.make_extensions() } else { Vec::new() };
        extensions.retain(|it| dialect.has(it));
        self.send(Some(id), Body::Ping { kind, gossip, extensions });
    }

    fn log_sending(&mut self, id: LinkId, kind: Ping) {
        let Some(link) = self.links.get(id) else { return };
        let node = link.node.map(|it| (self.table[it].id.to_string(), it));
        let (id, name) = match node {
            Some((id, key)) => (id, self.table[key].human_name(self.config.tls_cluster)),
            None => ("<unknown>".to_owned(), "<unknown>".to_owned()),
        };
        let direction = if link.is_inbound { "inbound" } else { "outbound" };
        let kind = match kind {
            Ping::Ping => "ping",
            Ping::Pong => "pong",
            Ping::Meet => "meet",
        };
        let text = format!("Sending {kind} packet to node {id} ({name}) on {direction} link");
        self.log(Level::Debug, text);
    }

    /// Tells all others at once what this node is now.
    pub(crate) fn broadcast_pong(&mut self) {
        self.pong(|_| true);
    }

    /// Tells the other replicas of this shard.
    pub(crate) fn pong_replicas(&mut self) {
        let (me, primary) = (self.table.me, self.table.myself().primary);
        self.pong(|it| it == Some(me) || it.is_some() && it == primary);
    }

    fn pong(&mut self, is_meant: impl Fn(Option<Key>) -> bool) {
        let others = self.table.iter().filter(|(_, node)| {
            !node.is(NodeFlags::MYSELF | NodeFlags::HANDSHAKE) && is_meant(node.primary)
        });
        let links: Vec<LinkId> = others.filter_map(|(_, node)| node.link).collect();
        for link in links {
            self.send_ping(link, Ping::Pong);
        }
    }

    /// Passes a message of this node's clients on: to all others, or to those of the shard.
    pub fn publish(&mut self, relayed: Relayed) {
        let is_sharded = matches!(relayed, Relayed::PublishShard { .. });
        let shard = self.table.myself().shard;
        let (mut light, mut full) = (Vec::new(), Vec::new());
        for (_, node) in self.table.iter() {
            let passing = NodeFlags::MYSELF | NodeFlags::HANDSHAKE;
            if node.is(passing) || is_sharded && node.shard != shard {
                continue;
            }
            let Some(id) = node.link else { continue };
            // A packet without a header is only for those who know by now whose connection this is: others end it. One answer
            // does not show that, as whoever does not know us yet answers, too; after so long there have been more.
            let known_from = |created| created + self.config.node_timeout;
            let is_known = self
                .links
                .get(id)
                .is_some_and(|it| known_from(it.created) <= node.times.pong_received);
            let takes_light = node.is(NodeFlags::LIGHT_PUBLISH) && is_known;
            (if takes_light { &mut light } else { &mut full }).push(id);
        }
        if !full.is_empty() {
            let body = Body::Relayed(relayed.clone());
            let header = Box::new(self.header(&body));
            self.send_to(full, Message::Full { header, body });
        }
        self.send_to(light, Message::Light(relayed));
    }

    /// How many bytes of the bus were sent, and of what kind.
    pub fn count_sent_bytes(&mut self, kind: u16, bytes: u64) {
        self.statistics.sent_bytes.count(kind, bytes);
    }
}
