//! Where things are in a packet. All numbers have their highest byte first.
//!
//! | at | bytes | in every packet |
//! |---|---|---|
//! | 0 | 4 | `RCmb` |
//! | 4 | 4 | length of the whole packet |
//! | 8 | 2 | version: 1 |
//! | 10 | 2 | first port for clients |
//! | 12 | 2 | kind; its highest bit says that the packet is light |
//! | 14 | 2 | how many entries of gossip |
//!
//! What a light packet carries begins here. A full one goes on:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 16 | 8 | current epoch |
//! | 24 | 8 | configuration epoch |
//! | 32 | 8 | offset |
//! | 40 | 40 | name of the sender |
//! | 80 | 2048 | slots |
//! | 2128 | 40 | name of its primary, or zeros |
//! | 2168 | 46 | announced address, ends with zeros |
//! | 2214 | 2 | how many extensions |
//! | 2216 | 19 | zeros |
//! | 2235 | 11 | nodes of ours only, others have zeros: `R`, what is to be even (0 nothing, 1 slots, 2 memory, 3 load), flags (1 draining, 2 moving slots), and how much it has of it (8) |
//! | 2246 | 2 | second port for clients |
//! | 2248 | 2 | port of the bus |
//! | 2250 | 2 | flags of the node |
//! | 2252 | 1 | state of the cluster |
//! | 2253 | 3 | flags of the packet |
//! | 2256 | | what it carries |
//!
//! An entry of gossip: name (40), ping sent (4), pong received (4), address (46), first port (2), port of the bus (2), flags
//! (2), second port (2), zeros (2). An extension: its length with this header (4), kind (2), zeros (2), content, and zeros up
//! to a multiple of 8.

use crate::id::ID_SIZE;
use crate::slots::SLOT_SET_SIZE;
use crate::text::HOST_SIZE_MAX;

pub(super) const SIGNATURE: &[u8; 4] = b"RCmb";
pub(super) const PROTOCOL_VERSION: u16 = 1;
/// Says in the kind that the packet has no more header than that.
pub(super) const LIGHT_BIT: u16 = 0x8000;
pub(super) const LIGHT_HEADER_SIZE: usize = 16;
pub(super) const HOST_FIELD_SIZE: usize = HOST_SIZE_MAX + 1;
pub(super) const UNUSED_SIZE: usize = 19;
pub(super) const SHARE_SIZE: usize = 3 + 8;
pub(super) const HEADER_SIZE: usize = LIGHT_HEADER_SIZE
    + 3 * 8
    + ID_SIZE
    + SLOT_SET_SIZE
    + ID_SIZE
    + HOST_FIELD_SIZE
    + 2
    + UNUSED_SIZE
    + SHARE_SIZE
    + 3 * 2
    + 4;
pub(super) const GOSSIP_SIZE: usize = ID_SIZE + 2 * 4 + HOST_FIELD_SIZE + 5 * 2;
/// What stands before the bytes that a packet passes on: a header, and their lengths.
pub(super) const RELAYED_ROOM: usize = HEADER_SIZE + 16;
pub(super) const EXTENSION_HEADER_SIZE: usize = 8;

const _: () = assert!(HEADER_SIZE == 2256 && GOSSIP_SIZE == 104);

/// What a share begins with, and its flags.
pub(super) mod share {
    pub(in super::super) const MARK: u8 = b'R';
    pub(in super::super) const DRAINING: u8 = 1;
    pub(in super::super) const MOVES: u8 = 1 << 1;
}

/// The numbers of extensions.
pub(super) mod extension {
    pub(in super::super) const HOSTNAME: u16 = 0;
    pub(in super::super) const HUMAN_NODENAME: u16 = 1;
    pub(in super::super) const FORGOTTEN_NODE: u16 = 2;
    pub(in super::super) const SHARD_ID: u16 = 3;
    pub(in super::super) const CLIENT_IPV4: u16 = 4;
    pub(in super::super) const INTERNAL_SECRET: u16 = 4;
    pub(in super::super) const CLIENT_IPV6: u16 = 5;
    pub(in super::super) const CLIENT_PORT: u16 = 6;
    pub(in super::super) const CLIENT_TLS_PORT: u16 = 7;
    pub(in super::super) const AVAILABILITY_ZONE: u16 = 8;
}

/// The numbers of kinds.
pub(super) mod kind {
    pub(in super::super) const PING: u16 = 0;
    pub(in super::super) const PONG: u16 = 1;
    pub(in super::super) const MEET: u16 = 2;
    pub(in super::super) const FAIL: u16 = 3;
    pub(in super::super) const PUBLISH: u16 = 4;
    pub(in super::super) const FAILOVER_AUTH_REQUEST: u16 = 5;
    pub(in super::super) const FAILOVER_AUTH_ACK: u16 = 6;
    pub(in super::super) const UPDATE: u16 = 7;
    pub(in super::super) const MFSTART: u16 = 8;
    pub(in super::super) const MODULE: u16 = 9;
    pub(in super::super) const PUBLISHSHARD: u16 = 10;
}
