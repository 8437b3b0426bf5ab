//! One client: its connection, what it has sent and not yet seen, and what it has told about itself.
//! Never runs a command.

pub(crate) mod apart;
pub(crate) mod away;
pub(crate) mod identity;
pub(crate) mod inbox;
pub(crate) mod info;
pub(crate) mod line;
pub(crate) mod moving;
pub(crate) mod queue;
pub(crate) mod registry;
pub(crate) mod replica;
pub(crate) mod request;
pub(crate) mod resting;
pub(crate) mod slot;
pub(crate) mod spool;
pub(crate) mod subscriptions;
pub(crate) mod suspension;
pub(crate) mod tracking;
pub(crate) mod watches;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_cluster::id::MigrationId;
use rubine_commands::Flags;
use rubine_journal::Offset;
use rubine_keyspace::Standing;
use rubine_net::socket::Socket;
use rubine_net::tls::stream::TlsStream;
use rubine_resp::parser::Parser;
use rubine_resp::writer::{Output, Protocol};

use self::apart::Apart;
use self::away::ScriptDebug;
use self::identity::Identity;
use self::queue::Transaction;
use self::replica::ReplicaFeed;
use self::subscriptions::{ChannelKind, Subscriptions};
use self::suspension::{Blocked, Brought, Reason, Suspended};
use self::tracking::ClientTracking;
use self::watches::Watches;
use crate::command_table::Entry;
use crate::quotas::Bound;

pub(crate) use self::info::{ClientFlags, ClientInfo, NO_COMMAND};

/// Whether replies are sent: `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    On,
    Off,
    /// The reply of the command that said so, and that of the next, are not sent.
    SkipNext,
    Skip,
}

/// Requests that are read before their time: while earlier ones run, or the client waits.
const READ_AHEAD_BYTES_MAX: usize = 16 * 1024;

/// A client that has left this much unread is not served until it reads. Large, since some clients send a whole
/// pipeline before they read the first reply; they and the server would wait for each other for ever.
const OUTPUT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A client as its worker sees it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) socket: Socket,
    pub(crate) info: Arc<ClientInfo>,
    pub(crate) flags: ClientFlags,
    /// The selected database.
    pub(crate) db: usize,
    pub(crate) protocol: Protocol,
    /// Which user it is.
    pub(crate) identity: Identity,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) sending: Sending,
    pub(crate) disk: Durability,
    pub(crate) traffic: Traffic,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) watches: Watches,
    /// What it listens to, if anything.
    pub(crate) subscriptions: Option<Box<Subscriptions>>,
    /// What it is sent in place of replies, if it is a replica.
    pub(crate) replica: Option<Box<ReplicaFeed>>,
    /// How it is told of changes of keys that it keeps copies of, if it is.
    pub(crate) tracking: Option<Box<ClientTracking>>,
    /// Its request that cannot go on now.
    pub(crate) suspended: Option<Box<Suspended>>,
    /// Its place in the queues of busy shards, while its request waits for one.
    pub(crate) standing: Option<Standing>,
    /// What was done elsewhere for the request that runs next.
    pub(crate) brought: Option<Brought>,
    /// What quotas mean for it, if they are about it.
    pub(crate) bound: Option<Box<Bound>>,
    /// `SCRIPT DEBUG`
    pub(crate) debugging: ScriptDebug,
    /// It is the source of a migration of slots: its worker parts with it when it has its reply.
    pub(crate) migration: Option<MigrationId>,
    /// It stands in the worker's list of clients with work to do.
    pub(crate) is_scheduled: bool,
}

/// What has arrived from a client and has not been run.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that change one by one")]
pub(crate) struct Input {
    pub(crate) parser: Parser,
    /// What was received and not yet executed, from `query_start` on.
    pub(crate) query: Vec<u8>,
    pub(crate) query_start: usize,
    /// Long arguments of the request at `query_start`, which the query is without.
    pub(crate) apart: Apart,
    /// It keeps its query buffer when that is empty: requests tend to arrive in parts.
    pub(crate) keeps_query: bool,
    /// The most that the query buffer has held lately.
    pub(crate) query_peak: usize,
    /// More may be readable: the last read did not empty the socket.
    pub(crate) is_readable: bool,
    /// The other side sends no more: when all is read, there will be no further event to say so.
    pub(crate) is_read_closed: bool,
    /// The query may hold a whole request.
    pub(crate) may_parse: bool,
    /// Bytes that are worth having room for at the next read.
    pub(crate) read_want: usize,
    /// Bytes that a read shall take at once, where that is more than usual.
    pub(crate) read_bytes: usize,
    /// What the name of the request that was parsed last stands for.
    pub(crate) named: Option<&'static Entry>,
    /// Requests that were taken in this turn.
    pub(crate) turn_requests: usize,
    /// Bytes that were read in this turn.
    pub(crate) turn_bytes: usize,
}

impl Input {
    /// Memory of what has arrived, and of what is to come.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.query.capacity() + self.apart.allocated_bytes()
    }

    /// The part of that in which nothing lies that has yet to run.
    fn free_bytes(&self) -> usize {
        let waiting_bytes = self.query.len().saturating_sub(self.query_start);
        self.allocated_bytes() - waiting_bytes - self.apart.byte_count()
    }
}

/// How replies leave.
#[derive(Debug)]
pub(crate) struct Sending {
    /// The socket took all that it was offered.
    pub(crate) is_writable: bool,
    pub(crate) reply_mode: ReplyMode,
    /// What the running command has written is no reply, and sent whatever `reply_mode` says.
    pub(crate) keeps_output: bool,
    /// When the output first exceeded the soft limit, Unix seconds.
    pub(crate) soft_limit_since: Option<i64>,
    /// The most bytes of output that have waited lately.
    pub(crate) reply_peak: usize,
}

/// What a client's replies wait for: that the disk has what they tell of.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    /// Where in the journal the last thing that it wrote ends.
    pub(crate) written_offset: Offset,
    /// Nothing of its output leaves before the journal is on disk up to here.
    pub(crate) durable_offset: Offset,
    /// Saves that have to end before anything of its output leaves: it has removed all keys.
    pub(crate) saves: u32,
    /// Nothing of its output leaves before enough replicas have the journal up to here; 0 if nothing waits.
    pub(crate) quorum_offset: Offset,
    /// Its worker looks after it when they have.
    pub(crate) is_unconfirmed: bool,
    /// Its worker looks after it when the journal is on disk up to `durable_offset`.
    pub(crate) is_unsynced: bool,
    /// In which of its worker's `disk_waits` it was last counted.
    pub(crate) wait_window: u32,
}

/// What a client has done, as far as it is counted.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) last_command: usize,
    /// When something was last received from it or sent to it, Unix milliseconds.
    pub(crate) last_interaction: i64,
    pub(crate) net_input: u64,
    pub(crate) net_output: u64,
    /// Commands that have run to their end.
    pub(crate) commands: u64,
    /// In which window of its worker's `Pacing` something last arrived from it.
    pub(crate) arrival_window: u32,
    /// What its worker has added for it to the memory of its clients.
    pub(crate) counted_bytes: usize,
}

impl Client {
    pub(crate) fn new(socket: Socket, info: Arc<ClientInfo>, identity: Identity) -> Self {
        let flags = match socket {
            Socket::Unix(_) if !info.comes_by_http => ClientFlags::UNIX_SOCKET,
            _ => ClientFlags::empty(),
        };
        Self {
            id: info.id,
            socket,
            flags,
            db: 0,
            protocol: Protocol::Resp2,
            identity,
            input: Input::default(),
            output: Output::new(),
            sending: Sending {
                is_writable: true,
                reply_mode: ReplyMode::On,
                keeps_output: false,
                soft_limit_since: None,
                reply_peak: 0,
            },
            disk: Durability::default(),
            traffic: Traffic {
                last_command: NO_COMMAND,
                last_interaction: info.connected_at,
                net_input: 0,
                net_output: 0,
                commands: 0,
                arrival_window: 0,
                counted_bytes: 0,
            },
            transaction: None,
            watches: Watches::default(),
            subscriptions: None,
            replica: None,
            tracking: None,
            suspended: None,
            standing: None,
            brought: None,
            bound: None,
            debugging: ScriptDebug::Off,
            migration: None,
            is_scheduled: false,
            info,
        }
    }

    /// Why its request cannot go on, if one cannot.
    pub(crate) fn suspension(&self) -> Option<&Reason> {
        let suspended = self.suspended.as_ref()?;
        (!matches!(suspended.reason, Reason::Over)).then_some(&suspended.reason)
    }

    /// Whether what its request needs is done elsewhere.
    pub(crate) fn is_computing(&self) -> bool {
        matches!(self.suspension(), Some(Reason::Computing | Reason::Shipping(_))) || self.is_away()
    }

    /// Whether a script of its request runs on another thread, or has and is to be gone on with: until that is done it is
    /// not closed.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.suspension(), Some(Reason::Scripting(_)))
            || matches!(self.brought, Some(Brought::Ran(..)))
    }

    /// Whether its request holds keys that it moves to another server.
    pub(crate) fn moves_keys(&self) -> bool {
        matches!(self.brought, Some(Brought::Shipped(_, Some(_))))
    }

    /// Marks it to be closed if somebody has killed it. What a script of it has begun ends before that.
    pub(crate) fn notice_kill(&mut self) {
        if self.info.is_killed.load(Ordering::Acquire) && !self.is_away() {
            self.flags |= ClientFlags::CLOSE_NOW;
        }
    }

    /// What it waits for, if it does.
    pub(crate) fn blocked(&self) -> Option<&Blocked> {
        match self.suspension() {
            Some(Reason::Waiting(blocked)) => Some(blocked),
            _ => None,
        }
    }

    pub(crate) fn blocked_mut(&mut self) -> Option<&mut Blocked> {
        match self.suspended.as_mut().map(|it| &mut it.reason) {
            Some(Reason::Waiting(blocked)) => Some(blocked),
            _ => None,
        }
    }

    /// Whether a command has any of `flags`, or runs queued ones of which one has.
    #[inline]
    pub(crate) fn runs_any(&self, entry: &Entry, flags: Flags) -> bool {
        entry.spec.flags.intersects(flags)
            || self.queue_of(entry).is_some_and(|queue| queue.has_any(flags))
    }

    /// Whether a command has all of `flags`, and so have the queued ones that it runs.
    pub(crate) fn runs_only(&self, entry: &Entry, flags: Flags) -> bool {
        entry.spec.flags.contains(flags)
            && self.queue_of(entry).is_none_or(|queue| queue.have_all(flags))
    }

    /// What a command would run of what is queued.
    pub(crate) fn queue_of(&self, entry: &Entry) -> Option<&Transaction> {
        self.transaction.as_ref().filter(|_| entry.spec.flags.contains(Flags::RUNS_QUEUE))
    }

    /// Whether its next request must not be looked at yet.
    pub(crate) fn is_held(&self) -> bool {
        let ends = ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_NOW;
        let waits = self.suspended.is_some() && self.suspension().is_some();
        waits || self.flags.intersects(ends) || self.migration.is_some()
    }

    /// Bytes received and not executed; none while a command runs, since the worker holds the query then.
    pub(crate) fn query_len(&self) -> usize {
        let query_len = self.input.query.len().saturating_sub(self.input.query_start);
        query_len + self.input.apart.byte_count()
    }

    /// Whether more may be read from its socket. While it waits, some is read ahead, so that the end of the connection
    /// is noticed.
    pub(crate) fn has_room_for_requests(&self) -> bool {
        let ends = ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_NOW;
        let waits = self.suspension().is_some_and(Reason::reads_little);
        // What was received and not looked at holds requests that come first.
        let has_backlog =
            (self.input.may_parse || waits) && READ_AHEAD_BYTES_MAX <= self.query_len();
        // A command that has begun, or has its turn soon, runs to its end, though its client be gone: that is noticed
        // afterwards.
        let reason = self.suspended.as_ref().map(|it| &it.reason);
        let is_next = matches!(reason, Some(Reason::BusyShard | Reason::Over));
        let has_begun = self.is_computing() || is_next || self.brought.is_some();
        let stays = !self.flags.intersects(ends) && self.migration.is_none();
        stays && !self.is_stalled() && !has_backlog && !has_begun
    }

    /// Whether it has left so much unread that it may ask for nothing more.
    pub(crate) fn is_stalled(&self) -> bool {
        OUTPUT_BYTES_MAX <= self.output.buffered_bytes()
    }

    /// Bytes that wait to be sent, and those that are kept for their sake.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.output.buffered_bytes() + self.output.pinned_bytes()
    }

    /// Takes in the reply to a command that had to wait, as CLIENT REPLY says.
    pub(crate) fn deliver(&mut self, output: Output) {
        self.traffic.commands += 1;
        match self.sending.reply_mode {
            ReplyMode::On => self.output.append(output),
            ReplyMode::Skip => self.sending.reply_mode = ReplyMode::On,
            ReplyMode::Off | ReplyMode::SkipNext => {}
        }
    }

    /// Tells others what has changed, before the replies that tell of the same are sent.
    pub(crate) fn publish(&self) {
        let info = &self.info;
        let mut flags = self.flags;
        flags.set(ClientFlags::MULTI, self.transaction.is_some());
        let waits = self.suspension().is_some_and(Reason::counts_as_blocked);
        flags.set(ClientFlags::BLOCKED, waits);
        flags.set(ClientFlags::DIRTY_WATCH, self.watches.is_broken());
        let (multi, multi_bytes) = match &self.transaction {
            Some(transaction) => (transaction.len() as i64, transaction.byte_count()),
            None => (-1, 0),
        };
        info.last_interaction.store(self.traffic.last_interaction, Ordering::Relaxed);
        info.flags.store(flags.bits(), Ordering::Relaxed);
        info.db.store(self.db, Ordering::Relaxed);
        info.protocol.store(self.protocol.version() as u32, Ordering::Relaxed);
        info.multi.store(multi, Ordering::Relaxed);
        info.multi_bytes.store(multi_bytes, Ordering::Relaxed);
        info.watching.store(self.watches.len(), Ordering::Relaxed);
        for kind in ChannelKind::ALL {
            let count = self.subscriptions.as_ref().map_or(0, |it| it.len(kind));
            info.subscriptions[kind.index()].store(count, Ordering::Relaxed);
        }
        let redirection = self.tracking.as_ref().map_or(-1, |it| it.redirection as i64);
        info.redirection.store(redirection, Ordering::Relaxed);
        info.last_command.store(self.traffic.last_command, Ordering::Relaxed);
        info.query_len.store(self.query_len(), Ordering::Relaxed);
        info.query_free.store(self.input.free_bytes(), Ordering::Relaxed);
        info.argument_bytes.store(0, Ordering::Relaxed);
        info.net_input.store(self.traffic.net_input, Ordering::Relaxed);
        info.commands.store(self.traffic.commands, Ordering::Relaxed);
    }

    /// Tells others what is left to be sent.
    pub(crate) fn publish_output(&self) {
        let info = &self.info;
        let behind = self.replica.as_ref().map_or(0, |it| it.behind_bytes() as usize);
        let (buffered, pinned) =
            (self.output.buffered_bytes() + behind, self.output.pinned_bytes());
        let allocated = self.output.allocated_bytes();
        let structures = size_of::<Self>() + size_of::<ClientInfo>();
        let multi = info.multi_bytes.load(Ordering::Relaxed);
        let subscriptions = self.subscriptions.as_ref().map_or(0, |it| it.byte_count());
        let tls = self.socket.tls().map_or(0, TlsStream::allocated_bytes);
        let tracking = self.tracking.as_ref().map_or(0, |it| it.byte_count());
        let own = structures + tls + multi + subscriptions + tracking + self.watches.byte_count();
        let total = own + self.input.allocated_bytes() + allocated + pinned;
        info.output_bytes.store(buffered, Ordering::Relaxed);
        info.pinned_bytes.store(pinned, Ordering::Relaxed);
        info.reply_buffer_bytes.store(allocated, Ordering::Relaxed);
        info.reply_peak_bytes.store(self.sending.reply_peak, Ordering::Relaxed);
        info.total_bytes.store(total, Ordering::Relaxed);
        info.net_output.store(self.traffic.net_output, Ordering::Relaxed);
    }
}
