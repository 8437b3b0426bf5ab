//! From the bytes of a connection to messages, as they arrive. A length is checked before it is believed, and memory is taken
//! only for bytes that have arrived.
//!
//! What real nodes do with odd packets is done here too. One whose length or signature is wrong ends the connection, since
//! nobody knows where the next one begins. One whose content is wrong, or whose version is not known, is dropped, and the
//! connection goes on. A kind that is not known says what its header says.

use std::net::Ipv6Addr;

use rubine_base::quote::quote_repr;
use thiserror::Error;

use super::layout::{
    EXTENSION_HEADER_SIZE, GOSSIP_SIZE, HEADER_SIZE, HOST_FIELD_SIZE, LIGHT_BIT, LIGHT_HEADER_SIZE,
    PROTOCOL_VERSION, RELAYED_ROOM, SHARE_SIZE, SIGNATURE, UNUSED_SIZE, extension, kind, share,
};
use super::{
    Body, ClusterState, Extension, Gossip, Header, KIND_NAMES, Message, MessageFlags, Metric,
    NodeFlags, Ping, Ports, Relayed, Share,
};
use crate::id::{ID_SIZE, NodeId, ShardId};
use crate::slots::SlotSet;
use crate::text::{Host, is_host_name, is_label};

/// How long packets may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// All of a packet that passes nothing on.
    pub packet: usize,
    /// What a packet passes on for clients and modules.
    pub relayed: usize,
}

impl Bounds {
    /// Of those whom nobody knows yet: some 2,000 entries of gossip, and nothing that is passed on.
    pub const STRANGER: Self = Self { packet: 256 * 1024, relayed: 0 };

    /// Of nodes of the cluster: some 40,000 entries of gossip.
    pub const fn known(relayed: usize) -> Self {
        Self { packet: 4 * 1024 * 1024, relayed }
    }
}

/// Room that is kept for the next packets of a connection.
const KEPT_SIZE_MAX: usize = 64 * 1024;

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadStream {
    #[error("bad signature: it does not speak the protocol of the cluster bus")]
    Signature,
    #[error("a packet of {size} bytes cannot be")]
    TooShort { size: usize },
    #[error("a packet of {size} bytes is more than the {max} that are taken")]
    TooLong { size: usize, max: usize },
}

/// Why a packet is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Defect {
    #[error("version {0} of the protocol is not known")]
    Version(u16),
    #[error("a packet of this kind needs a full header")]
    Light,
    #[error("it has {size} bytes where {expected} were to be expected")]
    Length { size: usize, expected: usize },
    #[error("an extension of {size} bytes cannot be, with {rest} bytes left")]
    Extension { size: u32, rest: usize },
    #[error("{0} is no name of a node")]
    Name(String),
}

/// A packet as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The number of its kind.
    pub kind: u16,
    pub size: usize,
    pub content: Result<Message, Defect>,
}

impl Received {
    /// The kind in words.
    pub fn kind_name(&self) -> &'static str {
        KIND_NAMES.get(usize::from(self.kind)).copied().unwrap_or("unknown")
    }
}

/// The bytes of a connection that are not taken yet.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the front of it that are done with.
    done: usize,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.done > 0 {
            self.buffer.drain(..self.done);
            self.done = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Memory that it takes.
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next packet, once all of it is there.
    pub fn take(&mut self, bounds: Bounds) -> Result<Option<Received>, BadStream> {
        let rest = &self.buffer[self.done..];
        let Some(start) = rest.first_chunk::<LIGHT_HEADER_SIZE>() else { return Ok(None) };
        let size = packet_size(start, bounds)?;
        let Some(packet) = rest.get(..size) else { return Ok(None) };
        let received = decode(packet);
        self.done += size;
        if self.done == self.buffer.len() {
            self.done = 0;
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_SIZE_MAX);
        }
        Ok(Some(received))
    }
}

/// How long the packet is that begins so.
fn packet_size(start: &[u8; LIGHT_HEADER_SIZE], bounds: Bounds) -> Result<usize, BadStream> {
    let [s0, s1, s2, s3, l0, l1, l2, l3, _, _, _, _, k0, k1, _, _] = *start;
    if [s0, s1, s2, s3] != *SIGNATURE {
        return Err(BadStream::Signature);
    }
    let size = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let kind = Kind::from_field(u16::from_be_bytes([k0, k1]));
    if size < (if kind.is_light { LIGHT_HEADER_SIZE } else { HEADER_SIZE }) {
        return Err(BadStream::TooShort { size });
    }
    let max =
        if kind.is_relayed() { bounds.relayed.saturating_add(RELAYED_ROOM) } else { bounds.packet };
    if max < size {
        return Err(BadStream::TooLong { size, max });
    }
    Ok(size)
}

/// What the field of the kind says.
#[derive(Clone, Copy)]
struct Kind {
    number: u16,
    is_light: bool,
}

impl Kind {
    fn from_field(field: u16) -> Self {
        Self { number: field & !LIGHT_BIT, is_light: field & LIGHT_BIT != 0 }
    }

    fn is_relayed(self) -> bool {
        matches!(self.number, kind::PUBLISH | kind::MODULE | kind::PUBLISHSHARD)
    }
}

/// Reads a whole packet, whose length is known to be what it states, and no less than its header.
fn decode(packet: &[u8]) -> Received {
    let field = u16::from_be_bytes([packet[12], packet[13]]);
    let kind = Kind::from_field(field);
    let content = read_packet(packet, kind);
    Received { kind: kind.number, size: packet.len(), content }
}

fn read_packet(packet: &[u8], kind: Kind) -> Result<Message, Defect> {
    if kind.is_light && !kind.is_relayed() {
        return Err(Defect::Light);
    }
    let mut reader = Reader { rest: packet, size: packet.len() };
    let (_signature, _length): ([u8; 4], [u8; 4]) = (reader.array()?, reader.array()?);
    let version = reader.u16()?;
    if version != PROTOCOL_VERSION {
        return Err(Defect::Version(version));
    }
    let (port, _, gossip_count) = (reader.u16()?, reader.u16()?, reader.u16()?);
    if kind.is_light {
        return read_relayed(kind.number, reader).map(Message::Light);
    }
    let (header, extension_count) = read_header(port, &mut reader)?;
    let body = read_body(kind.number, gossip_count, extension_count, reader)?;
    Ok(Message::Full { header: Box::new(header), body })
}

/// The header, and how many extensions there are.
fn read_header(first_port: u16, reader: &mut Reader<'_>) -> Result<(Header, u16), Defect> {
    let (current_epoch, config_epoch, offset) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let sender = reader.node()?;
    let slots = SlotSet::from_bytes(&reader.array()?);
    let primary = match reader.array()? {
        bytes if bytes == [0; ID_SIZE] => None,
        bytes => Some(node_id(bytes)?),
    };
    let host = reader.host()?;
    let extension_count = reader.u16()?;
    let _unused: [u8; UNUSED_SIZE] = reader.array()?;
    let share = read_share(reader.array()?);
    let (second_port, bus_port) = (reader.u16()?, reader.u16()?);
    let flags = NodeFlags::from_bits_retain(reader.u16()?);
    let [state, message_flags, _, _] = reader.array()?;
    let state = if state == 0 { ClusterState::Ok } else { ClusterState::Fail };
    let message_flags = MessageFlags::from_bits_retain(message_flags);
    let ports = Ports { first: first_port, second: second_port, bus: bus_port };
    let has_extensions = message_flags.contains(MessageFlags::EXTENSIONS);
    let header = Header {
        sender,
        current_epoch,
        config_epoch,
        offset,
        slots,
        primary,
        host,
        ports,
        flags,
        state,
        message_flags,
        share,
    };
    Ok((header, if has_extensions { extension_count } else { 0 }))
}

/// What a node of ours says; nothing of others, whatever they write there one day.
fn read_share(bytes: [u8; SHARE_SIZE]) -> Share {
    let [mark, metric, flags, weight @ ..]: [u8; SHARE_SIZE] = bytes;
    let metric = match metric {
        0 => None,
        1 => Some(Metric::Slots),
        2 => Some(Metric::Memory),
        3 => Some(Metric::Load),
        _ => return Share::default(),
    };
    if mark != share::MARK || flags & !(share::DRAINING | share::MOVES) != 0 {
        return Share::default();
    }
    Share {
        metric,
        weight: u64::from_be_bytes(weight),
        is_draining: flags & share::DRAINING != 0,
        moves: flags & share::MOVES != 0,
    }
}

fn read_body(
    number: u16,
    gossip_count: u16,
    extension_count: u16,
    mut reader: Reader<'_>,
) -> Result<Body, Defect> {
    let body = match number {
        kind::PING => read_ping(Ping::Ping, gossip_count, extension_count, &mut reader)?,
        kind::PONG => read_ping(Ping::Pong, gossip_count, extension_count, &mut reader)?,
        kind::MEET => read_ping(Ping::Meet, gossip_count, extension_count, &mut reader)?,
        kind::FAIL => Body::Fail { node: reader.node()? },
        kind::PUBLISH | kind::MODULE | kind::PUBLISHSHARD => {
            return read_relayed(number, reader).map(Body::Relayed);
        }
        kind::FAILOVER_AUTH_REQUEST => Body::FailoverAuthRequest,
        kind::FAILOVER_AUTH_ACK => Body::FailoverAuthAck,
        kind::UPDATE => Body::Update {
            config_epoch: reader.u64()?,
            node: reader.node()?,
            slots: SlotSet::from_bytes(&reader.array()?),
        },
        kind::MFSTART => Body::MfStart,
        _ => return Ok(Body::Unknown { kind: number }),
    };
    reader.end()?;
    Ok(body)
}

fn read_ping(
    kind: Ping,
    gossip_count: u16,
    extension_count: u16,
    reader: &mut Reader<'_>,
) -> Result<Body, Defect> {
    // Room is made for what can be in the bytes that are there.
    let count = usize::from(gossip_count).min(reader.rest.len() / GOSSIP_SIZE);
    let mut gossip = Vec::with_capacity(count);
    for _ in 0..gossip_count {
        gossip.extend(read_gossip(reader)?);
    }
    let mut extensions = Vec::new();
    for _ in 0..extension_count {
        extensions.push(read_extension(reader)?);
    }
    Ok(Body::Ping { kind, gossip, extensions })
}

/// An entry, unless it is about something that cannot be the name of a node.
fn read_gossip(reader: &mut Reader<'_>) -> Result<Option<Gossip>, Defect> {
    let node = NodeId::parse(&reader.array::<ID_SIZE>()?);
    let (ping_sent_s, pong_received_s) = (reader.u32()?, reader.u32()?);
    let host = reader.host()?;
    let (first, bus) = (reader.u16()?, reader.u16()?);
    let flags = NodeFlags::from_bits_retain(reader.u16()?);
    let (second, _unused) = (reader.u16()?, reader.u16()?);
    let ports = Ports { first, second, bus };
    Ok(node.map(|node| Gossip { node, ping_sent_s, pong_received_s, host, ports, flags }))
}

fn read_relayed(number: u16, mut reader: Reader<'_>) -> Result<Relayed, Defect> {
    let relayed = if number == kind::MODULE {
        // The number of a module goes as it is: it is only compared.
        let module_id = u64::from_ne_bytes(reader.array()?);
        let size = reader.u32()?;
        let [kind] = reader.array()?;
        Relayed::Module { module_id, kind, payload: reader.bytes(size)?.to_vec() }
    } else {
        let (channel_size, message_size) = (reader.u32()?, reader.u32()?);
        let channel = reader.bytes(channel_size)?.to_vec();
        let message = reader.bytes(message_size)?.to_vec();
        match number {
            kind::PUBLISH => Relayed::Publish { channel, message },
            _ => Relayed::PublishShard { channel, message },
        }
    };
    reader.end()?;
    Ok(relayed)
}

fn read_extension(reader: &mut Reader<'_>) -> Result<Extension, Defect> {
    let size = reader.u32()?;
    let (kind, _unused) = (reader.u16()?, reader.u16()?);
    let rest = reader.rest.len() + EXTENSION_HEADER_SIZE;
    let content_size = size.checked_sub(EXTENSION_HEADER_SIZE as u32).filter(|it| it % 8 == 0);
    let content = content_size.and_then(|it| reader.bytes(it).ok());
    let content = content.ok_or(Defect::Extension { size, rest })?;
    Ok(extension(kind, content).unwrap_or(Extension::Unknown { kind }))
}

/// What an extension says, if that can be.
fn extension(kind: u16, content: &[u8]) -> Option<Extension> {
    let mut reader = Reader { rest: content, size: content.len() };
    let filled_text = || text(content).filter(|it| !it.is_empty());
    let label = || filled_text().filter(|it| is_label(it)).map(str::to_owned);
    Some(match kind {
        extension::HOSTNAME => {
            Extension::Hostname(filled_text().filter(|it| is_host_name(it))?.to_owned())
        }
        extension::HUMAN_NODENAME => Extension::HumanNodename(label()?),
        extension::FORGOTTEN_NODE => {
            Extension::ForgottenNode { node: reader.node().ok()?, ttl_s: reader.u64().ok()? }
        }
        extension::SHARD_ID => {
            Extension::ShardId(ShardId::parse(&reader.array::<ID_SIZE>().ok()?)?)
        }
        // An address with its zero never fills so many bytes.
        extension::INTERNAL_SECRET if content.len() == ID_SIZE => {
            Extension::InternalSecret(reader.array().ok()?)
        }
        extension::CLIENT_IPV4 => Extension::ClientIpv4(text(content)?.parse().ok()?),
        extension::CLIENT_IPV6 => {
            let is_address = |it: &&str| it.parse::<Ipv6Addr>().is_ok();
            Extension::ClientIpv6(text(content).filter(is_address)?.to_owned())
        }
        extension::CLIENT_PORT => Extension::ClientPort(reader.u16().ok()?),
        extension::CLIENT_TLS_PORT => Extension::ClientTlsPort(reader.u16().ok()?),
        extension::AVAILABILITY_ZONE => Extension::AvailabilityZone(label()?),
        _ => return None,
    })
}

/// What stands before the first zero.
fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field.split(|it| *it == 0).next()?).ok()
}

fn node_id(bytes: [u8; ID_SIZE]) -> Result<NodeId, Defect> {
    NodeId::parse(&bytes).ok_or_else(|| Defect::Name(quote_repr(&bytes)))
}

/// What is left of a packet, and how long all of it is.
struct Reader<'a> {
    rest: &'a [u8],
    size: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, size: u32) -> Result<&'a [u8], Defect> {
        let size = size as usize;
        let Some((bytes, rest)) = self.rest.split_at_checked(size) else {
            let expected = self.size - self.rest.len() + size;
            return Err(Defect::Length { size: self.size, expected });
        };
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Defect> {
        self.bytes(N as u32).map(|it| it.try_into().expect("it is as long as it was asked for"))
    }

    fn u16(&mut self) -> Result<u16, Defect> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Defect> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Defect> {
        self.array().map(u64::from_be_bytes)
    }

    fn node(&mut self) -> Result<NodeId, Defect> {
        self.array().and_then(node_id)
    }

    /// An address, if one can be made out.
    fn host(&mut self) -> Result<Option<Host>, Defect> {
        self.array::<HOST_FIELD_SIZE>().map(|it| text(&it).and_then(Host::parse))
    }

    /// Nothing may follow.
    fn end(&self) -> Result<(), Defect> {
        let expected = self.size - self.rest.len();
        if expected == self.size {
            Ok(())
        } else {
            Err(Defect::Length { size: self.size, expected })
        }
    }
}
