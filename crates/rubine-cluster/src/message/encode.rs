//! From a message to the bytes of its packet. Never fails: what is too much for a packet is cut or refused by whoever makes
//! the message.

use super::layout::{
    EXTENSION_HEADER_SIZE, GOSSIP_SIZE, HEADER_SIZE, HOST_FIELD_SIZE, LIGHT_BIT, LIGHT_HEADER_SIZE,
    PROTOCOL_VERSION, RELAYED_ROOM, SHARE_SIZE, SIGNATURE, UNUSED_SIZE, extension, share,
};
use super::{
    Body, ClusterState, Extension, Gossip, Header, Message, MessageFlags, Metric, Relayed, Share,
};
use crate::id::ID_SIZE;
use crate::text::Host;

/// The most that a packet can carry for others, whose lengths are numbers of 32 bits.
const RELAYED_SIZE_MAX: usize = u32::MAX as usize - RELAYED_ROOM;

impl Relayed {
    /// Whether a packet has room for it.
    pub fn fits(&self) -> bool {
        self.size() <= RELAYED_SIZE_MAX
    }

    /// Bytes of what it says.
    pub fn size(&self) -> usize {
        match self {
            Self::Publish { channel, message } | Self::PublishShard { channel, message } => {
                channel.len().saturating_add(message.len())
            }
            Self::Module { payload, .. } => payload.len(),
        }
    }
}

/// The bytes of a packet.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut packet = Vec::with_capacity(size_hint(message));
    match message {
        Message::Light(relayed) => {
            put_start(&mut packet, 0, relayed.kind() | LIGHT_BIT, 0);
            put_relayed(&mut packet, relayed);
        }
        Message::Full { header, body } => {
            put_header(&mut packet, header, body);
            put_body(&mut packet, body);
        }
    }
    let size =
        u32::try_from(packet.len()).expect("whoever passes something on asks whether it fits");
    packet[4..8].copy_from_slice(&size.to_be_bytes());
    packet
}

fn size_hint(message: &Message) -> usize {
    HEADER_SIZE
        + match message {
            Message::Light(relayed) | Message::Full { body: Body::Relayed(relayed), .. } => {
                match relayed {
                    Relayed::Publish { channel, message }
                    | Relayed::PublishShard { channel, message } => {
                        16 + channel.len() + message.len()
                    }
                    Relayed::Module { payload, .. } => 16 + payload.len(),
                }
            }
            Message::Full { body: Body::Ping { gossip, extensions, .. }, .. } => {
                gossip.len() * GOSSIP_SIZE + extensions.len() * 64
            }
            Message::Full { .. } => HEADER_SIZE,
        }
}

/// What all packets begin with. The length is filled in at the end.
fn put_start(packet: &mut Vec<u8>, port: u16, kind: u16, count: u16) {
    packet.extend_from_slice(SIGNATURE);
    packet.extend_from_slice(&[0; 4]);
    for number in [PROTOCOL_VERSION, port, kind, count] {
        packet.extend_from_slice(&number.to_be_bytes());
    }
    debug_assert_eq!(packet.len(), LIGHT_HEADER_SIZE);
}

fn put_header(packet: &mut Vec<u8>, header: &Header, body: &Body) {
    let (gossip_count, extension_count) = match body {
        Body::Ping { gossip, extensions, .. } => {
            (gossip.len(), extensions.iter().filter(|it| it.is_sent()).count())
        }
        _ => (0, 0),
    };
    let count = |it| u16::try_from(it).expect("a ping has some hundreds of entries at most");
    put_start(packet, header.ports.first, body.kind(), count(gossip_count));
    for number in [header.current_epoch, header.config_epoch, header.offset] {
        packet.extend_from_slice(&number.to_be_bytes());
    }
    packet.extend_from_slice(header.sender.as_bytes());
    packet.extend_from_slice(&header.slots.to_bytes());
    packet.extend_from_slice(header.primary.as_ref().map_or(&[0; ID_SIZE], |it| it.as_bytes()));
    put_host(packet, header.host.as_ref());
    packet.extend_from_slice(&count(extension_count).to_be_bytes());
    packet.extend_from_slice(&[0; UNUSED_SIZE]);
    put_share(packet, header.share);
    for number in [header.ports.second, header.ports.bus, header.flags.bits()] {
        packet.extend_from_slice(&number.to_be_bytes());
    }
    let mut message_flags = header.message_flags;
    if extension_count > 0 {
        message_flags |= MessageFlags::EXTENSIONS;
    }
    let state = match header.state {
        ClusterState::Ok => 0,
        ClusterState::Fail => 1,
    };
    packet.extend_from_slice(&[state, message_flags.bits(), 0, 0]);
    debug_assert_eq!(packet.len(), HEADER_SIZE);
}

/// Nothing is said by zeros, as others do.
fn put_share(packet: &mut Vec<u8>, share: Share) {
    let start = packet.len();
    if share != Share::default() {
        let metric = match share.metric {
            None => 0,
            Some(Metric::Slots) => 1,
            Some(Metric::Memory) => 2,
            Some(Metric::Load) => 3,
        };
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(share.is_draining, share::DRAINING) | flag(share.moves, share::MOVES);
        packet.extend_from_slice(&[share::MARK, metric, flags]);
        packet.extend_from_slice(&share.weight.to_be_bytes());
    }
    packet.resize(start + SHARE_SIZE, 0);
}

fn put_host(packet: &mut Vec<u8>, host: Option<&Host>) {
    let start = packet.len();
    if let Some(host) = host {
        packet.extend_from_slice(host.to_string().as_bytes());
    }
    // The last byte ends the text in the eyes of others.
    debug_assert!(packet.len() < start + HOST_FIELD_SIZE);
    packet.resize(start + HOST_FIELD_SIZE, 0);
}

fn put_body(packet: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Ping { gossip, extensions, .. } => {
            gossip.iter().for_each(|it| put_gossip(packet, it));
            extensions.iter().for_each(|it| put_extension(packet, it));
        }
        Body::Fail { node } => packet.extend_from_slice(node.as_bytes()),
        Body::Relayed(relayed) => put_relayed(packet, relayed),
        Body::Update { config_epoch, node, slots } => {
            packet.extend_from_slice(&config_epoch.to_be_bytes());
            packet.extend_from_slice(node.as_bytes());
            packet.extend_from_slice(&slots.to_bytes());
        }
        Body::FailoverAuthRequest
        | Body::FailoverAuthAck
        | Body::MfStart
        | Body::Unknown { .. } => {}
    }
}

fn put_gossip(packet: &mut Vec<u8>, gossip: &Gossip) {
    packet.extend_from_slice(gossip.node.as_bytes());
    packet.extend_from_slice(&gossip.ping_sent_s.to_be_bytes());
    packet.extend_from_slice(&gossip.pong_received_s.to_be_bytes());
    put_host(packet, gossip.host.as_ref());
    let ports = gossip.ports;
    for number in [ports.first, ports.bus, gossip.flags.bits(), ports.second, 0] {
        packet.extend_from_slice(&number.to_be_bytes());
    }
}

fn put_relayed(packet: &mut Vec<u8>, relayed: &Relayed) {
    match relayed {
        Relayed::Publish { channel, message } | Relayed::PublishShard { channel, message } => {
            for part in [channel, message] {
                packet.extend_from_slice(&(part.len() as u32).to_be_bytes());
            }
            packet.extend_from_slice(channel);
            packet.extend_from_slice(message);
        }
        Relayed::Module { module_id, kind, payload } => {
            // The number of a module goes as it is: it is only compared.
            packet.extend_from_slice(&module_id.to_ne_bytes());
            packet.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            packet.push(*kind);
            packet.extend_from_slice(payload);
        }
    }
}

impl Extension {
    fn is_sent(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}

fn put_extension(packet: &mut Vec<u8>, extension: &Extension) {
    let text = |it: &str| [it.as_bytes(), &[0]].concat();
    let (kind, content) = match extension {
        Extension::Hostname(name) => (extension::HOSTNAME, text(name)),
        Extension::HumanNodename(name) => (extension::HUMAN_NODENAME, text(name)),
        Extension::ForgottenNode { node, ttl_s } => {
            (extension::FORGOTTEN_NODE, [&node.as_bytes()[..], &ttl_s.to_be_bytes()].concat())
        }
        Extension::ShardId(id) => (extension::SHARD_ID, id.as_bytes().to_vec()),
        Extension::ClientIpv4(ip) => (extension::CLIENT_IPV4, text(&ip.to_string())),
        Extension::ClientIpv6(ip) => (extension::CLIENT_IPV6, text(ip)),
        Extension::ClientPort(port) => (extension::CLIENT_PORT, port.to_be_bytes().to_vec()),
        Extension::ClientTlsPort(port) => (extension::CLIENT_TLS_PORT, port.to_be_bytes().to_vec()),
        Extension::AvailabilityZone(name) => (extension::AVAILABILITY_ZONE, text(name)),
        Extension::InternalSecret(secret) => (extension::INTERNAL_SECRET, secret.to_vec()),
        Extension::Unknown { .. } => return,
    };
    let size = EXTENSION_HEADER_SIZE + content.len().next_multiple_of(8);
    let end = packet.len() + size;
    packet.extend_from_slice(&(size as u32).to_be_bytes());
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0; 2]);
    packet.extend_from_slice(&content);
    packet.resize(end, 0);
}
