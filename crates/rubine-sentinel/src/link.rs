//! What is known of the connections to one instance: one for commands and, unless it is a Sentinel, one to listen.

use crate::flags::Kind;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use rubine_base::clock::Millis;

/// Names a connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Commands,
    Pubsub,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) id: LinkId,
    pub(crate) since: Millis,
    /// Our own address there, once it is known.
    pub(crate) local_ip: Option<IpAddr>,
}

/// What a reply will be the answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Its effect is seen elsewhere.
    Nothing,
    Pong,
    Info,
    Published,
    MasterState,
}

/// Where an instance stands among all. That it is the same one still is known by its number.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) master: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    pub(crate) number: u64,
}

/// A command that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) place: Place,
    pub(crate) want: Want,
}

/// The connections to an instance, and when they were last heard of. Several masters may have one Sentinel: it has one of
/// these all the same.
#[derive(Debug)]
pub(crate) struct InstanceLink {
    /// How many instances share it.
    pub(crate) ref_count: usize,
    pub(crate) commands: Option<Connection>,
    pub(crate) pubsub: Option<Connection>,
    pub(crate) pending: VecDeque<Pending>,
    /// Replies that come before messages do.
    pub(crate) pubsub_pending: usize,
    pub(crate) pubsub_active_at: Millis,
    /// When it last answered well.
    pub(crate) available_at: Millis,
    /// Since when an answer is missing.
    pub(crate) unanswered_since: Option<Millis>,
    pub(crate) pinged_at: Millis,
    /// When it last answered anything.
    pub(crate) ponged_at: Millis,
    pub(crate) connected_at: Millis,
}

impl InstanceLink {
    pub(crate) fn new(now: Millis) -> Self {
        Self {
            ref_count: 1,
            commands: None,
            pubsub: None,
            pending: VecDeque::new(),
            pubsub_pending: 0,
            pubsub_active_at: 0,
            available_at: now,
            // So that one which never can be connected to is found to be down.
            unanswered_since: Some(now),
            pinged_at: 0,
            ponged_at: now,
            connected_at: 0,
        }
    }

    /// Whether all connections are there that an instance of this kind needs, as far as one knows.
    pub(crate) fn is_connected(&self, kind: Kind) -> bool {
        self.commands.is_some() && (kind == Kind::Sentinel || self.pubsub.is_some())
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len() + self.pubsub_pending
    }

    /// Begins as if nothing had been heard so far.
    pub(crate) fn reset_times(&mut self, now: Millis) {
        self.unanswered_since = Some(now);
        self.pinged_at = 0;
        self.available_at = now;
        self.ponged_at = now;
    }
}
