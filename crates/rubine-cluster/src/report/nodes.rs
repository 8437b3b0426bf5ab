//! CLUSTER NODES: nodes as lines of text.

use std::fmt::Write;

use crate::machine::Cluster;
use crate::machine::node::{Key, Node};
use crate::message::NodeFlags;
use crate::operations::OperationError;

/// How whoever asks is connected: what he is shown of nodes is how he can reach them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Viewer {
    pub is_tls: bool,
    pub is_ipv6: bool,
}

/// The words for flags, in the order in which they stand.
const FLAG_NAMES: [(NodeFlags, &str); 8] = [
    (NodeFlags::MYSELF, "myself"),
    (NodeFlags::PRIMARY, "master"),
    (NodeFlags::REPLICA, "slave"),
    (NodeFlags::PFAIL, "fail?"),
    (NodeFlags::FAIL, "fail"),
    (NodeFlags::HANDSHAKE, "handshake"),
    (NodeFlags::NO_ADDRESS, "noaddr"),
    (NodeFlags::NO_FAILOVER, "nofailover"),
];

impl Cluster {
    /// CLUSTER NODES.
    pub fn nodes_text(&self, viewer: Viewer) -> String {
        let mut text = String::new();
        for (key, _) in self.table.iter() {
            self.write_node(key, viewer, &mut text);
            text.push('\n');
        }
        text
    }

    /// CLUSTER REPLICAS: a line for each replica of a primary.
    pub fn replica_lines(
        &self,
        name: &[u8],
        viewer: Viewer,
    ) -> Result<Vec<String>, OperationError> {
        let key = self.find_named(name)?;
        if self.table[key].is_replica() {
            return Err(OperationError::NodeIsNoPrimary);
        }
        let line = |replica: &Key| {
            let mut line = String::new();
            self.write_node(*replica, viewer, &mut line);
            line
        };
        Ok(self.table[key].replicas.iter().map(line).collect())
    }

    /// One line, without its end.
    fn write_node(&self, key: Key, viewer: Viewer, out: &mut String) {
        let node = &self.table[key];
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "{} {}:{}@{}",
            node.id,
            shown_ip(node, viewer),
            shown_port(node, viewer.is_tls),
            node.place.bus_port
        );
        if !node.announced.hostname.is_empty() {
            let _ = write!(out, ",{}", node.announced.hostname);
        }
        out.push(' ');
        write_flags(node.flags, out);
        match node.primary {
            Some(primary) => {
                let _ = write!(out, " {}", self.table[primary].id);
            }
            None => out.push_str(" -"),
        }
        let is_connected = node.link.is_some() || key == self.table.me;
        let _ = write!(
            out,
            " {} {} {} {}",
            node.times.ping_sent,
            node.times.pong_received,
            self.table.epoch(key),
            if is_connected { "connected" } else { "disconnected" }
        );
        for range in node.slots.ranges() {
            let _ = if range.start() == range.end() {
                write!(out, " {}", range.start())
            } else {
                write!(out, " {}-{}", range.start(), range.end())
            };
        }
        if key == self.table.me {
            self.write_open_slots(out);
        }
    }

    /// Slots that are being moved by hand, ascending.
    fn write_open_slots(&self, out: &mut String) {
        let (migrating, importing) = (&self.table.migrating, &self.table.importing);
        let mut slots: Vec<u16> = migrating.keys().chain(importing.keys()).copied().collect();
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            let _ = match (migrating.get(&slot), importing.get(&slot)) {
                (Some(to), _) => write!(out, " [{slot}->-{}]", self.table[*to].id),
                (None, Some(from)) => write!(out, " [{slot}-<-{}]", self.table[*from].id),
                (None, None) => Ok(()),
            };
        }
    }
}

/// The words for what is true of a node.
pub(super) fn write_flags(flags: NodeFlags, out: &mut String) {
    let start = out.len();
    for (flag, name) in FLAG_NAMES {
        if flags.contains(flag) {
            if start < out.len() {
                out.push(',');
            }
            out.push_str(name);
        }
    }
    if start == out.len() {
        out.push_str("noflags");
    }
}

/// The address that a client is told.
pub(super) fn shown_ip(node: &Node, viewer: Viewer) -> String {
    let announced = &node.announced;
    let for_clients = if viewer.is_ipv6 { &announced.client_ipv6 } else { &announced.client_ipv4 };
    if for_clients.is_empty() { node.place.host_text() } else { for_clients.to_string() }
}

/// The port that a client is told.
pub(super) fn shown_port(node: &Node, is_tls: bool) -> u16 {
    let (announced, own) = if is_tls {
        (node.announced.client_tls_port, node.place.tls_port)
    } else {
        (node.announced.client_port, node.place.port)
    };
    if announced == 0 { own } else { announced }
}
