//! A request that cannot go on now, and what it is put off for. There is one at most of each client, since its requests
//! run one after the other.

use std::sync::Arc;

use rubine_commands::{Nothing, Shipment, Task};
use rubine_journal::{Acknowledgements, Offset};
use rubine_keyspace::Waiter;
use rubine_resp::writer::Reply;

use super::away::{Progress, Ran, Slot};
use super::moving::Hold;
use super::request::OwnedArgs;

/// A request that is put off.
#[derive(Debug)]
pub(crate) struct Suspended {
    /// What is to run when it goes on; nothing where whoever ends the wait runs it, or answers it.
    pub(crate) request: Option<OwnedArgs>,
    pub(crate) reason: Reason,
    /// Since when, in ticks.
    pub(crate) since: u64,
}

/// Why a request cannot go on.
#[derive(Debug)]
pub(crate) enum Reason {
    /// For a pause, a log that is far behind, or a key that another client moves: until none of them holds it.
    Paused,
    /// Until what its quotas allow is enough for it.
    OverQuota,
    /// Until what it needs is computed.
    Computing,
    /// Until its keys have been sent to another server.
    Shipping(Option<Hold>),
    /// Until its script, or one of its transaction, has run on another thread.
    Scripting(Option<Box<Progress>>),
    /// Until one of the threads for scripts is free.
    ScriptThread,
    /// Until it is its turn at a shard that somebody has held for long.
    BusyShard,
    /// Until one of its keys is changed, the disk or others have what it wrote, or its time is over.
    Waiting(Blocked),
    /// It may go on.
    Over,
}

impl Reason {
    /// Whether INFO and CLIENT LIST count the client as blocked: who computes is not.
    pub(crate) fn counts_as_blocked(&self) -> bool {
        matches!(self, Self::Paused | Self::ScriptThread | Self::BusyShard | Self::Waiting(_))
    }

    /// Whether only little is read ahead from a client that waits for it.
    pub(crate) fn reads_little(&self) -> bool {
        self.counts_as_blocked() || matches!(self, Self::OverQuota)
    }

    /// Whether it is about something that others have to do, and may never do.
    pub(crate) fn waits_for_others(&self) -> bool {
        matches!(self, Self::Paused | Self::Waiting(_))
    }
}

/// What has been done for a request elsewhere, for when it runs again.
#[derive(Debug)]
pub(crate) enum Brought {
    Computed(Task),
    /// What has become of the keys that it sends away, and its hold on them.
    Shipped(Box<Shipment>, Option<Hold>),
    /// What its script has done.
    Ran(Box<Ran>, Option<Box<Progress>>),
    /// Leave to run it on a thread for scripts.
    Slot(Slot),
}

/// A client that waits.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// Decides how the wait ends. It stands in the queues of its keys, if it has any.
    pub(crate) waiter: Arc<Waiter>,
    /// When it gives up, in monotonic milliseconds.
    pub(crate) deadline: Option<i64>,
    pub(crate) on_timeout: TimeoutReply,
    /// When its command runs again though no key was changed, in the same, and after how many milliseconds once more.
    pub(crate) retry: Option<(i64, i64)>,
}

/// What a client is told when its time is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeoutReply {
    Nothing(Nothing),
    /// WAIT's number: how many replicas have what the client wrote.
    Replicated {
        acknowledged: &'static Acknowledgements,
        offset: Offset,
    },
    /// WAITAOF's two numbers: whether the disk here has what the client wrote, and how many replicas' disks.
    Durable {
        local: i64,
        wants_local: bool,
        synced: &'static Acknowledgements,
        offset: Offset,
        /// How many of them it waits for.
        replicas: usize,
    },
}

impl TimeoutReply {
    pub(crate) fn write(self, reply: &mut Reply<'_>) {
        match self {
            Self::Nothing(nothing) => nothing.write(reply),
            Self::Replicated { acknowledged, offset } => {
                reply.integer(acknowledged.count(offset) as i64);
            }
            Self::Durable { local, synced, offset, .. } => {
                reply.array(2);
                reply.integer(local);
                reply.integer(synced.count(offset) as i64);
            }
        }
    }
}
