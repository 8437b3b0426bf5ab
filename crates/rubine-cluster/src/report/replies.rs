//! CLUSTER SLOTS, SHARDS and LINKS, whose replies have a shape of their own.

use std::collections::BTreeMap;

use rubine_resp::writer::Reply;

use super::nodes::{Viewer, shown_ip, shown_port};
use crate::config::PreferredEndpoint;
use crate::id::ShardId;
use crate::machine::Cluster;
use crate::machine::node::{Key, Node};
use crate::slots::SLOT_COUNT;

/// What stands for a host name where there is none.
const NO_HOSTNAME: &[u8] = b"?";

impl Cluster {
    /// CLUSTER SLOTS: each run of slots with whoever serves it, and with the replicas that can be read from.
    pub fn reply_slots(&self, viewer: Viewer, reply: &mut Reply<'_>) {
        let runs = self.slot_runs();
        reply.array(runs.len());
        for (first, last, owner) in runs {
            let replicas = self.table[owner].replicas.iter().copied();
            let readable: Vec<Key> = replicas.filter(|it| self.is_readable(*it)).collect();
            reply.array(3 + readable.len());
            reply.integer(i64::from(first));
            reply.integer(i64::from(last));
            self.reply_node(owner, viewer, reply);
            for replica in readable {
                self.reply_node(replica, viewer, reply);
            }
        }
    }

    /// Runs of slots that follow each other and have the same owner.
    fn slot_runs(&self) -> Vec<(u16, u16, Key)> {
        let mut runs: Vec<(u16, u16, Key)> = Vec::new();
        for slot in 0..SLOT_COUNT as u16 {
            let Some(owner) = self.table.owner(slot) else { continue };
            match runs.last_mut() {
                Some((_, last, key)) if *key == owner && *last + 1 == slot => *last = slot,
                _ => runs.push((slot, slot, owner)),
            }
        }
        runs
    }

    /// Whether clients can read from a node: it works, and has got something.
    fn is_readable(&self, key: Key) -> bool {
        !self.table[key].is_failed() && self.offset_of(key) != 0
    }

    fn reply_node(&self, key: Key, viewer: Viewer, reply: &mut Reply<'_>) {
        let node = &self.table[key];
        let preferred = self.config.preferred_endpoint;
        reply.array(4);
        match preferred {
            PreferredEndpoint::Unknown => reply.null(),
            PreferredEndpoint::Ip | PreferredEndpoint::Hostname => {
                reply.bulk(&endpoint(node, preferred, viewer));
            }
        }
        reply.integer(i64::from(shown_port(node, viewer.is_tls)));
        reply.bulk(node.id.as_bytes());
        let announced = &node.announced;
        let ip = (preferred != PreferredEndpoint::Ip).then(|| shown_ip(node, viewer));
        let hostname = (preferred != PreferredEndpoint::Hostname && !announced.hostname.is_empty())
            .then(|| announced.hostname.to_string());
        let zone = (!announced.availability_zone.is_empty())
            .then(|| announced.availability_zone.to_string());
        let details = [("ip", ip), ("hostname", hostname), ("availability-zone", zone)];
        reply.map(details.iter().filter(|(_, value)| value.is_some()).count());
        for (name, value) in details {
            if let Some(value) = value {
                reply.bulk(name.as_bytes());
                reply.bulk(value.as_bytes());
            }
        }
    }

    /// CLUSTER SHARDS.
    pub fn reply_shards(&self, viewer: Viewer, reply: &mut Reply<'_>) {
        let mut shards: BTreeMap<ShardId, Vec<&Node>> = BTreeMap::new();
        let mut keys: BTreeMap<ShardId, Vec<Key>> = BTreeMap::new();
        // Of whoever is in a handshake, the shard is not known.
        for (key, node) in self.table.iter().filter(|(_, node)| !node.is_in_handshake()) {
            shards.entry(node.shard).or_default().push(node);
            keys.entry(node.shard).or_default().push(key);
        }
        reply.array(shards.len());
        for (shard, nodes) in &shards {
            reply.map(3);
            reply.bulk(b"slots");
            let ranges: Vec<_> = nodes
                .iter()
                .find(|it| it.slot_count != 0)
                .map(|it| it.slots.ranges().collect())
                .unwrap_or_default();
            reply.array(ranges.len() * 2);
            for range in ranges {
                reply.integer(i64::from(*range.start()));
                reply.integer(i64::from(*range.end()));
            }
            reply.bulk(b"nodes");
            reply.array(nodes.len());
            for key in &keys[shard] {
                self.reply_details(*key, viewer, reply);
            }
            reply.bulk(b"id");
            reply.bulk(shard.as_bytes());
        }
    }

    fn reply_details(&self, key: Key, viewer: Viewer, reply: &mut Reply<'_>) {
        let node = &self.table[key];
        let announced = &node.announced;
        let has = [
            node.place.port != 0,
            node.place.tls_port != 0,
            !announced.hostname.is_empty(),
            !announced.availability_zone.is_empty(),
        ];
        let optional = has.iter().filter(|it| **it).count();
        reply.map(6 + optional);
        let text = |reply: &mut Reply<'_>, name: &str, value: &[u8]| {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        };
        text(reply, "id", node.id.as_bytes());
        if has[0] {
            reply.bulk(b"port");
            reply.integer(i64::from(shown_port(node, false)));
        }
        if has[1] {
            reply.bulk(b"tls-port");
            reply.integer(i64::from(shown_port(node, true)));
        }
        text(reply, "ip", shown_ip(node, viewer).as_bytes());
        text(reply, "endpoint", &endpoint(node, self.config.preferred_endpoint, viewer));
        if has[2] {
            text(reply, "hostname", announced.hostname.as_bytes());
        }
        text(reply, "role", if node.is_replica() { b"replica" } else { b"master" });
        let offset = self.offset_of(key);
        reply.bulk(b"replication-offset");
        reply.integer(i64::try_from(offset).unwrap_or(i64::MAX));
        let health: &[u8] = match () {
            () if node.is_failed() => b"fail",
            () if node.is_replica() && offset == 0 => b"loading",
            () => b"online",
        };
        text(reply, "health", health);
        if has[3] {
            text(reply, "availability-zone", announced.availability_zone.as_bytes());
        }
    }

    /// CLUSTER LINKS: those of which it is known whose they are.
    pub fn reply_links(&self, reply: &mut Reply<'_>) {
        let links: Vec<_> = self
            .table
            .iter()
            .flat_map(|(_, node)| [node.link, node.inbound].map(|link| (node.id, link)))
            .filter_map(|(id, link)| Some((id, self.links.get(link?)?)))
            .collect();
        reply.array(links.len());
        for (id, link) in links {
            reply.map(6);
            reply.bulk(b"direction");
            reply.bulk(if link.is_inbound { b"from" } else { b"to" });
            reply.bulk(b"node");
            reply.bulk(id.as_bytes());
            reply.bulk(b"create-time");
            reply.integer(link.created);
            reply.bulk(b"events");
            let events = match (link.is_open, link.buffered != 0) {
                (true, false) => "r",
                (true, true) => "rw",
                (false, _) => "w",
            };
            reply.bulk(events.as_bytes());
            for name in [&b"send-buffer-allocated"[..], b"send-buffer-used"] {
                reply.bulk(name);
                reply.integer(link.buffered as i64);
            }
        }
    }
}

/// What clients are told to connect to.
fn endpoint(node: &Node, preferred: PreferredEndpoint, viewer: Viewer) -> Vec<u8> {
    match preferred {
        PreferredEndpoint::Ip => shown_ip(node, viewer).into_bytes(),
        PreferredEndpoint::Hostname if node.announced.hostname.is_empty() => NO_HOSTNAME.to_vec(),
        PreferredEndpoint::Hostname => node.announced.hostname.as_bytes().to_vec(),
        PreferredEndpoint::Unknown => Vec::new(),
    }
}
