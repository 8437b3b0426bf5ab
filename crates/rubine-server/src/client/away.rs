//! A unit of work that goes on on another thread: a script that runs for long, with the locks that it holds. Runs nothing.

use std::sync::Arc;

use mio::net::UnixStream;
use rubine_commands::{Runner, RunnerMark};
use rubine_journal::Offset;
use rubine_keyspace::Locked;
use rubine_net::socket::Socket;
use rubine_resp::writer::{Output, Protocol};

use super::identity::Identity;
use super::queue::Transaction;
use super::slot::RequestSlot;
use super::subscriptions::ChannelKind;
use super::{Client, ClientFlags, ClientInfo};
use crate::observing::monitor::FeedMark;

/// A message that is sent when the unit which it tells of is in the journal.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) kind: ChannelKind,
    pub(crate) channel: Box<[u8]>,
    pub(crate) payload: Box<[u8]>,
    /// What its sender had seen of the journal before.
    pub(crate) seen_before: Offset,
    /// It is a message that replicas get too, rather than an event, which they make themselves.
    pub(crate) is_for_replicas: bool,
}

/// A moment of a unit that can be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitMark {
    pub(crate) runner: RunnerMark,
    pub(crate) deferred_count: usize,
}

/// A unit of work between two commands, on its way from one thread to another.
pub(crate) struct Away {
    /// What it has done so far.
    pub(crate) runner: Runner,
    pub(crate) deferred: Vec<Deferred>,
    pub(crate) locked: Locked<'static>,
    /// Its instant, Unix milliseconds.
    pub(crate) now: i64,
    /// What it has been told the time is, Unix microseconds.
    pub(crate) micros: Option<i64>,
}

/// How a script has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There is a reply, or an error.
    Replied,
    /// It needs shards that are not locked. Nothing is left of what it did.
    NeedsAll,
    /// It needs a shard that others hold just now. Nothing is left of what it did.
    NeedsMore,
    /// It takes too long for a thread that serves clients. Nothing is left of what it did.
    TooLong,
    /// What it is called by stands for another script by now. Nothing has been done.
    Stale,
}

/// What has become of a script on another thread.
pub(crate) struct Ran {
    pub(crate) away: Away,
    pub(crate) ended: Ended,
    pub(crate) reply: Output,
    /// The name by which it is remembered.
    pub(crate) name: Box<[u8]>,
    /// How long it took, in ticks.
    pub(crate) spent_ticks: u64,
    /// The slot of the keys that it has used, if it was to use those of one.
    pub(crate) used: Option<RequestSlot>,
    /// It would not have been too long for a worker.
    pub(crate) was_short: bool,
}

/// Whether a client's scripts are run by the debugger, and what becomes of what they write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ScriptDebug {
    #[default]
    Off,
    Undone,
    Kept,
}

/// How far a transaction is one of whose scripts runs on another thread.
pub(crate) struct Progress {
    pub(crate) transaction: Transaction,
    /// The number of the command that runs.
    pub(crate) at: usize,
    /// What those before it replied.
    pub(crate) replies: Output,
    /// The unit's beginning, and the database and the protocol of then.
    pub(crate) mark: UnitMark,
    pub(crate) db: usize,
    pub(crate) protocol: Protocol,
    /// What MONITOR had been shown then.
    pub(crate) shown: FeedMark,
    /// How long its commands have taken so far, in ticks.
    pub(crate) spent_ticks: u64,
}

/// Leave to run a script on a thread for scripts. Whoever drops it lets the next one have it.
pub(crate) struct Slot(Option<Box<dyn FnOnce() + Send>>);

impl Slot {
    pub(crate) fn new(give_back: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(give_back)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}

/// What of a client concerns the commands that a script runs for it.
#[derive(Clone, Debug)]
pub(crate) struct Likeness {
    info: Arc<ClientInfo>,
    identity: Identity,
    flags: ClientFlags,
    db: usize,
    protocol: Protocol,
    durable_offset: Offset,
}

impl Likeness {
    pub(crate) fn id(&self) -> u64 {
        self.info.id
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }
}

impl Client {
    pub(crate) fn likeness(&self) -> Likeness {
        Likeness {
            info: Arc::clone(&self.info),
            identity: self.identity.clone(),
            flags: self.flags,
            db: self.db,
            protocol: self.protocol,
            durable_offset: self.disk.durable_offset,
        }
    }

    /// A client whose other end is dropped: nothing comes from it, and nothing is sent to it.
    pub(crate) fn without_connection(
        info: Arc<ClientInfo>,
        identity: Identity,
    ) -> std::io::Result<Self> {
        let (nobody, _) = UnixStream::pair()?;
        Ok(Self::new(Socket::Unix(nobody), info, identity))
    }

    /// Stands for another client, on a thread that has none.
    pub(crate) fn take_on(&mut self, likeness: Likeness) {
        let Likeness { info, identity, flags, db, protocol, durable_offset } = likeness;
        self.id = info.id;
        self.info = info;
        self.identity = identity;
        self.flags = flags;
        self.db = db;
        self.protocol = protocol;
        self.disk.durable_offset = durable_offset;
    }
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

opaque!(Away, Ran, Progress, Slot);
