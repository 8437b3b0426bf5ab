//! What is known of one node. Knows no other node but by its key.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rubine_base::clock::Millis;

use crate::effect::LinkId;
use crate::id::{NodeId, ShardId};
use crate::message::{NodeFlags, Ports, Share};
use crate::slots::SlotSet;
use crate::text::Host;

/// Where a node stands in the table. Valid as long as the node is known; whoever keeps one forgets it with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u16);

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Made up while it is in a handshake.
    pub(crate) id: NodeId,
    pub(crate) shard: ShardId,
    pub(crate) flags: NodeFlags,
    /// The epoch of its slots.
    pub(crate) config_epoch: u64,
    /// Invariant: those of which the table says that this node serves them.
    pub(crate) slots: SlotSet,
    /// Invariant: how many they are.
    pub(crate) slot_count: usize,
    /// Invariant: it has this node among its replicas.
    pub(crate) primary: Option<Key>,
    /// Invariant: in the order of their ids.
    pub(crate) replicas: Vec<Key>,
    pub(crate) place: Place,
    /// Where it was before it was looked for under its host name, until it has answered there.
    pub(crate) last_place: Option<Place>,
    /// Where its name has led, and another node was.
    pub(crate) refused_ip: Option<IpAddr>,
    pub(crate) announced: Announced,
    pub(crate) times: Times,
    pub(crate) offset: u64,
    pub(crate) share: Share,
    /// Whether it moved slots, or wanted to, when it last answered.
    pub(crate) has_answered_moves: bool,
    pub(crate) link: Option<LinkId>,
    pub(crate) inbound: Option<LinkId>,
    /// Who reported it as failing, and when, rounded up to a second.
    pub(crate) reports: BTreeMap<NodeId, Millis>,
    /// Why it is taken for failing, if it is.
    pub(crate) verdict: Option<Verdict>,
}

/// Where a node listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: Option<Host>,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    pub(crate) bus_port: u16,
}

/// What it says of itself beside that. Empty or 0 where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) hostname: Arc<str>,
    pub(crate) human_nodename: Arc<str>,
    pub(crate) client_ipv4: Arc<str>,
    pub(crate) client_ipv6: Arc<str>,
    pub(crate) client_port: u16,
    pub(crate) client_tls_port: u16,
    pub(crate) availability_zone: Arc<str>,
}

/// When what happened; 0 stands for never, and for `ping_sent` that no answer is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) created: Millis,
    pub(crate) ping_sent: Millis,
    /// Of the pings that are not answered, when the first was sent, and when the first of those was that were answered last.
    pub(crate) first_ping_sent: Millis,
    pub(crate) answered_ping_sent: Millis,
    pub(crate) pong_received: Millis,
    pub(crate) data_received: Millis,
    pub(crate) meet_sent: Millis,
    pub(crate) failed: Millis,
    /// Since when it is a primary without a replica that works, though it had some.
    pub(crate) orphaned: Millis,
    pub(crate) connect_attempted: Millis,
    /// When it last had no connection to us any more.
    pub(crate) inbound_lost: Millis,
    /// When its host name was last looked up.
    pub(crate) name_asked: Millis,
}

/// Why a node is taken for failing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) at: Millis,
    pub(crate) ground: Ground,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// It has not answered us: since when the answer is missing, and when anything last came from it.
    Silent { pinged: Millis, heard: Millis },
    /// So many primaries of those that vote said so, too: who, and when.
    Quorum { needed: usize, reporters: Vec<(NodeId, Millis)>, is_our_vote_counted: bool },
    /// Another node told us that there is a quorum.
    Told { by: NodeId },
    /// Another node answers at its address.
    Replaced { by: NodeId },
    /// It had when this process was stopped.
    Remembered,
}

impl Node {
    pub(crate) fn new(id: NodeId, shard: ShardId, flags: NodeFlags, now: Millis) -> Self {
        Self {
            id,
            shard,
            flags,
            config_epoch: 0,
            slots: SlotSet::new(),
            slot_count: 0,
            primary: None,
            replicas: Vec::new(),
            place: Place::default(),
            last_place: None,
            refused_ip: None,
            announced: Announced::default(),
            times: Times { created: now, inbound_lost: now, ..Times::default() },
            offset: 0,
            share: Share::default(),
            has_answered_moves: false,
            link: None,
            inbound: None,
            reports: BTreeMap::new(),
            verdict: None,
        }
    }

    pub(crate) fn is(&self, flags: NodeFlags) -> bool {
        self.flags.intersects(flags)
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.flags.contains(NodeFlags::PRIMARY)
    }

    pub(crate) fn is_replica(&self) -> bool {
        self.flags.contains(NodeFlags::REPLICA)
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.flags.contains(NodeFlags::FAIL)
    }

    pub(crate) fn is_suspected(&self) -> bool {
        self.flags.contains(NodeFlags::PFAIL)
    }

    pub(crate) fn is_in_handshake(&self) -> bool {
        self.flags.contains(NodeFlags::HANDSHAKE)
    }

    /// Only primaries with slots vote.
    pub(crate) fn is_voter(&self) -> bool {
        self.is_primary() && self.slot_count != 0
    }

    /// Neither in a handshake nor failing.
    pub(crate) fn is_normal(&self) -> bool {
        let odd = NodeFlags::HANDSHAKE | NodeFlags::MEET | NodeFlags::PFAIL | NodeFlags::FAIL;
        !self.is(odd)
    }

    /// For the log: the name that people gave it, or else its address.
    pub(crate) fn human_name(&self, is_tls: bool) -> String {
        if !self.announced.human_nodename.is_empty() {
            return self.announced.human_nodename.to_string();
        }
        let port = self.place.main_port(is_tls);
        match &self.place.host {
            Some(Host::Ip(IpAddr::V6(ip))) => format!("[{ip}]:{port}"),
            _ => format!("{}:{port}", self.place.host_text()),
        }
    }
}

impl Place {
    /// Empty if it is not known.
    pub(crate) fn host_text(&self) -> String {
        self.host.as_ref().map(Host::to_string).unwrap_or_default()
    }

    pub(crate) fn ports(&self, is_tls: bool) -> Ports {
        Ports::new(self.port, self.tls_port, self.bus_port, is_tls)
    }

    /// The port that stands in the first place of packets.
    pub(crate) fn main_port(&self, is_tls: bool) -> u16 {
        if is_tls { self.tls_port } else { self.port }
    }
}
