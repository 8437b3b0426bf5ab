//! What nodes say to each other on the bus: the types of its packets. Their bytes are the codec's, and what follows from
//! them is the machine's.

mod decode;
mod encode;
mod layout;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use bitflags::bitflags;

use crate::id::{ID_SIZE, NodeId, ShardId};
use crate::slots::SlotSet;
use crate::text::Host;
use layout::kind;

pub use decode::{BadStream, Bounds, Decoder, Defect, Received};
pub use encode::encode;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Full {
        header: Box<Header>,
        body: Body,
    },
    /// Without a header: who sends it is known by its link. Only for nodes that say [`NodeFlags::LIGHT_PUBLISH`] or
    /// [`NodeFlags::LIGHT_MODULE`].
    Light(Relayed),
}

/// What every full packet says of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub sender: NodeId,
    pub current_epoch: u64,
    /// The sender's own, or that of its primary.
    pub config_epoch: u64,
    /// How far its stream is: what a primary has written, or what a replica has taken in.
    pub offset: u64,
    /// Its own slots, or those of its primary.
    pub slots: SlotSet,
    /// Whose replica it is.
    pub primary: Option<NodeId>,
    /// The address that it announces. Without one, the link's is meant.
    pub host: Option<Host>,
    pub ports: Ports,
    pub flags: NodeFlags,
    /// What it thinks of the cluster.
    pub state: ClusterState,
    pub message_flags: MessageFlags,
    pub share: Share,
}

/// What a node of ours says of its part in sharing slots evenly, in bytes that others leave empty. Others say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// What it wants to be even, if it takes part.
    pub metric: Option<Metric>,
    /// How much of it it has. Slots are known anyway.
    pub weight: u64,
    /// It is to have no slots at all.
    pub is_draining: bool,
    /// It is about to move slots, or does.
    pub moves: bool,
}

/// What is to be even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// How many slots nodes have.
    Slots,
    /// How many bytes their data takes.
    Memory,
    /// How long their commands take.
    Load,
}

/// Where a node listens. Which of the two for clients stands first depends on whether links of the bus have TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// With `tls-cluster` the port for TLS, else the plain one.
    pub first: u16,
    /// The other one, or 0.
    pub second: u16,
    pub bus: u16,
}

impl Ports {
    pub fn new(tcp: u16, tls: u16, bus: u16, tls_cluster: bool) -> Self {
        let (first, second) = if tls_cluster { (tls, tcp) } else { (tcp, tls) };
        Self { first, second, bus }
    }

    /// The plain port, or 0.
    pub fn tcp(self, tls_cluster: bool) -> u16 {
        if tls_cluster { self.second } else { self.first }
    }

    /// The port for TLS, or 0.
    pub fn tls(self, tls_cluster: bool) -> u16 {
        if tls_cluster { self.first } else { self.second }
    }
}

/// What a node thinks of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterState {
    Ok,
    #[default]
    Fail,
}

/// What a packet is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// PING, PONG and MEET, which differ in what is asked for only.
    Ping { kind: Ping, gossip: Vec<Gossip>, extensions: Vec<Extension> },
    /// This node has failed: a majority thinks so.
    Fail { node: NodeId },
    /// What is passed on for others.
    Relayed(Relayed),
    /// May I become the primary?
    FailoverAuthRequest,
    /// Yes, for all that I know.
    FailoverAuthAck,
    /// The slots of a node, for whoever claims them with an older epoch.
    Update { config_epoch: u64, node: NodeId, slots: SlotSet },
    /// Pause your clients, I am about to take over.
    MfStart,
    /// Of a kind that is not known here. Its header counts still.
    Unknown { kind: u16 },
}

/// What a ping asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// Answer.
    Ping,
    /// It is the answer.
    Pong,
    /// Answer, and take me in.
    Meet,
}

/// What a node passes on to the others for its clients and modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relayed {
    Publish {
        channel: Vec<u8>,
        message: Vec<u8>,
    },
    PublishShard {
        channel: Vec<u8>,
        message: Vec<u8>,
    },
    /// Modules are not there, so that it is only counted.
    Module {
        module_id: u64,
        kind: u8,
        payload: Vec<u8>,
    },
}

/// What the sender knows of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    pub node: NodeId,
    /// Since when an answer is due, in seconds since 1970, or 0.
    pub ping_sent_s: u32,
    /// When it answered last.
    pub pong_received_s: u32,
    /// Without one, nothing can be done with the entry but to count failures.
    pub host: Option<Host>,
    pub ports: Ports,
    pub flags: NodeFlags,
}

/// What a ping says beyond the first version of the protocol. Texts of hosts, names and zones are never empty, and hold
/// nothing that separates words (`text.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    Hostname(String),
    HumanNodename(String),
    /// Somebody was asked to forget this node, so nobody takes it in for so long.
    ForgottenNode {
        node: NodeId,
        ttl_s: u64,
    },
    ShardId(ShardId),
    /// Valkey's: what clients are told instead of the addresses that nodes use.
    ClientIpv4(Ipv4Addr),
    /// As it was written, which may be done in several ways.
    ClientIpv6(String),
    ClientPort(u16),
    ClientTlsPort(u16),
    AvailabilityZone(String),
    /// Redis 8's, under the number of [`Self::ClientIpv4`]: the smallest one of the cluster is the one of all.
    InternalSecret([u8; ID_SIZE]),
    /// Not known here, or not readable. It is never sent.
    Unknown {
        kind: u16,
    },
}

bitflags! {
    /// What is true of a node, as packets say it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NodeFlags: u16 {
        const PRIMARY = 1 << 0;
        const REPLICA = 1 << 1;
        /// It does not answer the sender.
        const PFAIL = 1 << 2;
        /// It does not answer most of them.
        const FAIL = 1 << 3;
        const MYSELF = 1 << 4;
        /// Its name is not known yet.
        const HANDSHAKE = 1 << 5;
        const NO_ADDRESS = 1 << 6;
        /// It has to be asked to take us in.
        const MEET = 1 << 7;
        /// Replicas may move to it.
        const MIGRATE_TO = 1 << 8;
        const NO_FAILOVER = 1 << 9;
        /// It reads extensions.
        const EXTENSIONS = 1 << 10;
        /// Valkey's: it takes light packets of PUBLISH and PUBLISHSHARD.
        const LIGHT_PUBLISH = 1 << 11;
        /// Valkey's: it takes light packets of modules, and MEET more than once.
        const LIGHT_MODULE = 1 << 12;
        /// Valkey's: its primary has failed, for all that it knows.
        const MY_PRIMARY_FAIL = 1 << 13;
        const _ = !0;
    }

    /// How a packet is meant.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MessageFlags: u8 {
        /// The sender is a primary whose clients wait for a manual failover.
        const PAUSED = 1 << 0;
        /// Vote for me though my primary is well.
        const FORCE_ACK = 1 << 1;
        /// The sender reads extensions, and may have sent some.
        const EXTENSIONS = 1 << 2;
        const _ = !0;
    }
}

/// The kinds of packets, in the order of their numbers, with the names that INFO counts them by.
pub const KIND_NAMES: [&str; 11] = [
    "ping",
    "pong",
    "meet",
    "fail",
    "publish",
    "auth-req",
    "auth-ack",
    "update",
    "mfstart",
    "module",
    "publishshard",
];

impl Message {
    /// The number of its kind, as it stands in the packet.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Full { body, .. } => body.kind(),
            Self::Light(relayed) => relayed.kind(),
        }
    }
}

impl Body {
    pub fn kind(&self) -> u16 {
        match self {
            Self::Ping { kind: Ping::Ping, .. } => kind::PING,
            Self::Ping { kind: Ping::Pong, .. } => kind::PONG,
            Self::Ping { kind: Ping::Meet, .. } => kind::MEET,
            Self::Fail { .. } => kind::FAIL,
            Self::Relayed(relayed) => relayed.kind(),
            Self::FailoverAuthRequest => kind::FAILOVER_AUTH_REQUEST,
            Self::FailoverAuthAck => kind::FAILOVER_AUTH_ACK,
            Self::Update { .. } => kind::UPDATE,
            Self::MfStart => kind::MFSTART,
            Self::Unknown { kind } => *kind,
        }
    }
}

impl Relayed {
    pub fn kind(&self) -> u16 {
        match self {
            Self::Publish { .. } => kind::PUBLISH,
            Self::Module { .. } => kind::MODULE,
            Self::PublishShard { .. } => kind::PUBLISHSHARD,
        }
    }
}

/// Which extensions a node understands. The number 4 means one thing to Valkey and another to Redis, and each of them would
/// take what is meant for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// What both have, and the older versions of both.
    #[default]
    Common,
    /// Valkey since 8.0, and this server.
    Valkey,
    /// Redis since 8.0.
    Redis,
}

impl Dialect {
    /// What a ping shows of its sender. A node whose first words show nothing yet is spoken to in what is common to all.
    pub fn of(flags: NodeFlags, extensions: &[Extension]) -> Self {
        if extensions.iter().any(|it| matches!(it, Extension::InternalSecret(_))) {
            Self::Redis
        } else if flags.intersects(NodeFlags::LIGHT_PUBLISH | NodeFlags::LIGHT_MODULE) {
            Self::Valkey
        } else {
            Self::Common
        }
    }

    /// Whether a node that speaks it may be sent this extension.
    pub fn has(self, extension: &Extension) -> bool {
        match extension {
            Extension::Hostname(_)
            | Extension::HumanNodename(_)
            | Extension::ForgottenNode { .. }
            | Extension::ShardId(_) => true,
            Extension::ClientIpv4(_)
            | Extension::ClientIpv6(_)
            | Extension::ClientPort(_)
            | Extension::ClientTlsPort(_)
            | Extension::AvailabilityZone(_) => self == Self::Valkey,
            Extension::InternalSecret(_) => self == Self::Redis,
            Extension::Unknown { .. } => false,
        }
    }
}
