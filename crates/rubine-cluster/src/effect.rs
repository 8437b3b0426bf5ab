//! What happens to the machine, and what it wants to be done. Does none of it.

use std::net::IpAddr;
use std::sync::Arc;

use rubine_base::clock::Millis;

use crate::message::{Body, Message};
use crate::slots::SlotSet;
use crate::text::Host;
use crate::view::View;

/// Names a connection of the bus. Never used twice: the machine names those that it asks for, the driver those that come in,
/// from [`LinkId::FIRST_INBOUND`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    pub const FIRST_INBOUND: Self = Self(1 << 62);
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// A connection that was asked for is there.
    Connected { link: LinkId, local_ip: IpAddr },
    /// Another node has connected. `peer_ip` is where from, `local_ip` our own address as it sees it.
    Accepted { link: LinkId, peer_ip: IpAddr, local_ip: IpAddr },
    /// A connection is gone, or could not be had.
    Closed { link: LinkId, reason: String },
    /// The next message on a connection, and how many bytes it was.
    Received { link: LinkId, message: Message, size: usize },
    /// What a host name stands for, if it does.
    Resolved { host: Arc<str>, ip: Option<IpAddr> },
    /// [`Action::FencePrimary`] is in effect, and this is the offset at which it is.
    Fenced { offset: u64 },
    /// [`Action::PauseWrites`] is in effect: nothing is written any more, and this is the offset at which that is so.
    Paused { offset: u64 },
    /// Whether the configuration is on disk as it was when it was asked for. To be told before anything else of the same
    /// effects is done.
    Saved { is_safe: bool },
}

/// How the server stands, told before a turn and whenever it changes much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// A primary's offset, or how far a replica has come.
    pub offset: u64,
    /// Whether replication from a primary is configured, whether or not it works.
    pub is_following: bool,
    /// When the primary was last heard of by replication, or, if the link is down, when it went down; 0 if never.
    pub primary_heard_at: Millis,
    /// Whether there are no keys at all.
    pub is_empty: bool,
    /// Data is being loaded from disk: no vote is cast, and nobody is accepted by the driver meanwhile.
    pub is_loading: bool,
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// One thing to be done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Connect to the bus of a node. What is sent before the connection is there waits for it.
    Connect {
        link: LinkId,
        to: Host,
        port: u16,
    },
    /// The same message to each of these, encoded once.
    Send {
        links: Vec<LinkId>,
        message: Message,
    },
    /// Nothing more is wanted of it, and no event of it either.
    Close {
        link: LinkId,
    },
    /// Find out what a host name stands for.
    Resolve {
        host: Arc<str>,
    },
    Log {
        level: Level,
        text: String,
    },
    /// Be the replica of a primary. With `History::Foreign` nothing of the own data may be kept.
    Follow {
        primary: Host,
        port: u16,
        history: History,
    },
    /// Be a primary: what is here is the data from now on.
    Promote,
    /// Drop all keys of all databases, as FLUSHALL does.
    DropAllKeys,
    /// Drop the keys of slots that others serve now, and write it to the log. They are not deleted in the eyes of clients.
    DropKeys {
        slots: SlotSet,
    },
    /// Tell [`crate::Cluster::verify_keys`] in which slots there are keys.
    VerifyKeys,
    /// Let no client write, nor keys expire, until then at most. To be answered by [`Event::Paused`].
    PauseWrites {
        until: Millis,
    },
    ResumeWrites,
    /// Acknowledge nothing to the primary, and take nothing of it, while this holds: this replica will tell the others
    /// how far it is, and one of them may be elected on that. To be answered by [`Event::Fenced`].
    FencePrimary {
        is_fenced: bool,
    },
    /// Slots are no longer served by this node or its primary: sharded channels in them have no subscribers any more, and
    /// clients that wait for their keys are redirected.
    ReleaseSlots {
        slots: SlotSet,
    },
    /// Tell the subscribers of a channel on this node.
    Publish {
        channel: Vec<u8>,
        message: Vec<u8>,
        is_sharded: bool,
    },
    /// The configuration cannot be saved, and is set to matter: end the process.
    Exit {
        reason: String,
    },
}

/// Whether a replica's new primary has the history of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The same shard: a partial sync may be tried.
    Shared,
    /// Another shard: only a full sync will do.
    Foreign,
}

/// How the configuration is to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Save {
    /// Written in place of the old one.
    Written,
    /// And synced to disk, with its folder.
    Synced,
}

/// What follows from what has happened, in this order: save, tell [`Event::Saved`], publish the view, do the actions.
#[derive(Debug, Default)]
pub struct Effects {
    pub save: Option<Save>,
    /// What the workers shall see from now on.
    pub view: Option<Arc<View>>,
    pub actions: Vec<Action>,
}

impl Effects {
    /// The configuration could not be saved: what was promised by these effects is not promised. A vote that is not on
    /// disk is none, and neither is an epoch in which votes are asked for.
    pub fn forget_promises(&mut self) {
        self.actions.retain(|action| match action {
            Action::Send { message: Message::Full { body, .. }, .. } => {
                !matches!(body, Body::FailoverAuthRequest | Body::FailoverAuthAck)
            }
            _ => true,
        });
    }
}
