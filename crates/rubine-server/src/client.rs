//! One client: its connection, what it has sent and not yet seen, and what it has told about itself.
//! Never runs a command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bitflags::bitflags;
use parking_lot::Mutex;
use rubine_commands::{Nothing, Shipment, Task};
use rubine_journal::Offset;
use rubine_keyspace::Waiter;
use rubine_resp::parser::Parser;
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::command_table::Entry;
use crate::pubsub;
use crate::transaction::Transaction;
use rubine_net::socket::Socket;

bitflags! {
    /// What kind of client it is and what it has asked for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct ClientFlags: u32 {
        /// Its commands leave the LRU and LFU bits alone.
        const NO_TOUCH = 1 << 0;
        /// It is not evicted when clients take too much memory.
        const NO_EVICT = 1 << 1;
        const UNIX_SOCKET = 1 << 2;
        /// It can be told by a redirection that data moved: `CLIENT CAPA redirect`.
        const CAPA_REDIRECT = 1 << 3;
        const READONLY = 1 << 4;
        /// It said `CLIENT IMPORT-SOURCE ON`.
        const IMPORT_SOURCE = 1 << 5;
        const MULTI = 1 << 6;
        /// A watched key has changed.
        const DIRTY_WATCH = 1 << 7;
        const BLOCKED = 1 << 8;
        /// The connection ends when its replies are sent.
        const CLOSE_AFTER_REPLY = 1 << 9;
        /// The connection ends at once.
        const CLOSE_NOW = 1 << 10;
        /// Its command waits for the end of a pause.
        const PAUSED = 1 << 11;
        /// Its command waits for a computation, or for another server, and will run again.
        const COMPUTING = 1 << 12;
        /// It listens to channels or patterns.
        const PUBSUB = 1 << 13;
    }
}

/// Whether replies are sent: `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    On,
    Off,
    /// The reply of the command that said so, and that of the next, are not sent.
    SkipNext,
    Skip,
}

/// A client that waits.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// Decides how the wait ends. It stands in the queues of its keys, if it has any.
    pub(crate) waiter: Arc<Waiter>,
    /// When it gives up, Unix milliseconds.
    pub(crate) deadline: Option<i64>,
    pub(crate) on_timeout: TimeoutReply,
    /// When its command runs again though no key was changed, and after how many milliseconds once more.
    pub(crate) retry: Option<(i64, i64)>,
}

/// What a client is told when its time is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeoutReply {
    Nothing(Nothing),
    /// A number: WAIT's count of replicas.
    Integer(i64),
    /// WAITAOF's two numbers: whether the disk here has what the client wrote, and how many replicas' disks.
    Durable {
        local: i64,
        /// How many of them it waits for.
        replicas: i64,
    },
}

impl TimeoutReply {
    pub(crate) fn write(self, reply: &mut Reply<'_>) {
        match self {
            Self::Nothing(nothing) => nothing.write(reply),
            Self::Integer(number) => reply.integer(number),
            Self::Durable { local, .. } => {
                reply.array(2);
                reply.integer(local);
                // There are no replicas.
                reply.integer(0);
            }
        }
    }
}

/// What others may know of a client. Written by its worker, read by CLIENT LIST.
#[derive(Debug)]
pub(crate) struct ClientInfo {
    pub(crate) id: u64,
    pub(crate) worker: usize,
    pub(crate) address: String,
    pub(crate) local_address: String,
    pub(crate) fd: i32,
    /// Whether the client comes from this machine.
    pub(crate) is_local: bool,
    /// Unix milliseconds.
    pub(crate) connected_at: i64,
    pub(crate) names: Mutex<ClientNames>,
    pub(crate) last_interaction: AtomicI64,
    pub(crate) db: AtomicUsize,
    pub(crate) flags: AtomicU32,
    pub(crate) protocol: AtomicU32,
    /// Number of queued commands, -1 outside a transaction.
    pub(crate) multi: AtomicI64,
    /// Bytes of the queued commands.
    pub(crate) multi_bytes: AtomicUsize,
    pub(crate) watching: AtomicUsize,
    /// Names that it listens to, of each kind.
    pub(crate) subscriptions: [AtomicUsize; pubsub::Kind::COUNT],
    pub(crate) last_command: AtomicUsize,
    pub(crate) query_len: AtomicUsize,
    pub(crate) query_free: AtomicUsize,
    /// Bytes of the arguments of the command that looks at this.
    pub(crate) argument_bytes: AtomicUsize,
    pub(crate) output_bytes: AtomicUsize,
    pub(crate) pinned_bytes: AtomicUsize,
    /// Memory of the reply buffers, and the most that they have held lately.
    pub(crate) reply_buffer_bytes: AtomicUsize,
    pub(crate) reply_peak_bytes: AtomicUsize,
    /// All memory of the client.
    pub(crate) total_bytes: AtomicUsize,
    pub(crate) net_input: AtomicU64,
    pub(crate) net_output: AtomicU64,
    pub(crate) commands: AtomicU64,
    /// It was killed; its worker may not know yet.
    pub(crate) is_killed: AtomicBool,
    /// Its connection is closed.
    pub(crate) is_closed: AtomicBool,
    /// What it waits for.
    pub(crate) waiter: Mutex<Option<Arc<Waiter>>>,
}

/// What a client calls itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientNames {
    pub(crate) name: Vec<u8>,
    pub(crate) library_name: Vec<u8>,
    pub(crate) library_version: Vec<u8>,
    pub(crate) user: Vec<u8>,
}

/// Requests that are read before their time: while earlier ones run, or the client waits.
const READ_AHEAD_BYTES_MAX: usize = 16 * 1024;

/// A client that has left this much unread is not served until it reads. Large, since some clients send a whole
/// pipeline before they read the first reply; they and the server would wait for each other for ever.
const OUTPUT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// No command has run yet.
pub(crate) const NO_COMMAND: usize = usize::MAX;

impl ClientInfo {
    pub(crate) fn new(
        id: u64,
        worker: usize,
        addresses: (String, String),
        fd: i32,
        is_local: bool,
        now: i64,
    ) -> Self {
        let names = ClientNames { user: b"default".to_vec(), ..ClientNames::default() };
        Self {
            id,
            worker,
            address: addresses.0,
            local_address: addresses.1,
            fd,
            is_local,
            connected_at: now,
            names: Mutex::new(names),
            last_interaction: AtomicI64::new(now),
            db: AtomicUsize::new(0),
            flags: AtomicU32::new(0),
            protocol: AtomicU32::new(2),
            multi: AtomicI64::new(-1),
            multi_bytes: AtomicUsize::new(0),
            watching: AtomicUsize::new(0),
            subscriptions: Default::default(),
            last_command: AtomicUsize::new(NO_COMMAND),
            query_len: AtomicUsize::new(0),
            query_free: AtomicUsize::new(0),
            argument_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            pinned_bytes: AtomicUsize::new(0),
            reply_buffer_bytes: AtomicUsize::new(0),
            reply_peak_bytes: AtomicUsize::new(0),
            total_bytes: AtomicUsize::new(0),
            net_input: AtomicU64::new(0),
            net_output: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            is_killed: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            waiter: Mutex::new(None),
        }
    }

    /// The flags as they were last published.
    pub(crate) fn flags(&self) -> ClientFlags {
        ClientFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Ends the client's wait; returns whether it was waiting. Its worker has to be told.
    pub(crate) fn cancel_wait(&self) -> bool {
        self.waiter.lock().as_ref().is_some_and(|it| it.cancel())
    }
}

/// A client as its worker sees it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that change one by one")]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) socket: Socket,
    pub(crate) info: Arc<ClientInfo>,
    pub(crate) flags: ClientFlags,
    pub(crate) db: usize,
    pub(crate) protocol: Protocol,
    pub(crate) is_authenticated: bool,
    /// It has been authenticated at some time: it is no stranger.
    pub(crate) was_authenticated: bool,
    pub(crate) reply_mode: ReplyMode,
    pub(crate) parser: Parser,
    /// What was received and not yet executed, from `query_start` on.
    pub(crate) query: Vec<u8>,
    pub(crate) query_start: usize,
    /// It keeps its query buffer when that is empty: requests tend to arrive in parts.
    pub(crate) keeps_query: bool,
    /// The most that the query buffer has held lately.
    pub(crate) query_peak: usize,
    /// A request that was taken from the query and waits for the end of a pause, a computation or a shipment.
    pub(crate) postponed: Option<crate::transaction::OwnedArgs>,
    /// What was computed for the request that waits.
    pub(crate) computed: Option<Task>,
    /// What has become of the keys that the request which waits sends to another server.
    pub(crate) shipped: Option<Box<Shipment>>,
    /// Keys that nobody else changes while it moves them.
    pub(crate) hold: Option<crate::migration::Hold>,
    pub(crate) output: Output,
    /// Where in the journal the last thing that it wrote ends.
    pub(crate) written_offset: Offset,
    /// Nothing of its output leaves before the journal is on disk up to here.
    pub(crate) durable_offset: Offset,
    /// Its worker looks after it when the journal is on disk up to `durable_offset`.
    pub(crate) is_unsynced: bool,
    /// In which of its worker's `disk_waits` it was last counted.
    pub(crate) disk_wait_window: u32,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) watches: crate::transaction::Watches,
    pub(crate) blocked: Option<Blocked>,
    /// What it listens to, if anything.
    pub(crate) subscriptions: Option<Box<pubsub::Subscriptions>>,
    /// What the running command has written is no reply, and sent whatever `reply_mode` says.
    pub(crate) keeps_output: bool,
    /// More may be readable: the last read did not empty the socket.
    pub(crate) is_readable: bool,
    /// The other side sends no more: when all is read, there will be no further event to say so.
    pub(crate) is_read_closed: bool,
    /// In which window of its worker's `Pacing` something last arrived from it.
    pub(crate) arrival_window: u32,
    /// The socket took all that it was offered.
    pub(crate) is_writable: bool,
    /// The query may hold a whole request.
    pub(crate) may_parse: bool,
    /// Bytes that are worth having room for at the next read.
    pub(crate) read_want: usize,
    /// Requests that were taken in this turn.
    pub(crate) turn_requests: usize,
    /// It stands in the worker's list of clients with work to do.
    pub(crate) is_scheduled: bool,
    /// When the output first exceeded the soft limit, Unix seconds.
    pub(crate) soft_limit_since: Option<i64>,
    pub(crate) last_command: usize,
    /// What the name of the request that was parsed last stands for.
    pub(crate) named: Option<&'static Entry>,
    /// When something was last received from it or sent to it, Unix milliseconds.
    pub(crate) last_interaction: i64,
    pub(crate) net_input: u64,
    pub(crate) net_output: u64,
    /// Commands that have run to their end.
    pub(crate) commands: u64,
    /// The most bytes of output that have waited lately.
    pub(crate) reply_peak: usize,
    /// What its worker has added for it to the memory of its clients.
    pub(crate) counted_bytes: usize,
}

impl Client {
    pub(crate) fn new(socket: Socket, info: Arc<ClientInfo>, is_authenticated: bool) -> Self {
        let flags = match socket {
            Socket::Unix(_) => ClientFlags::UNIX_SOCKET,
            Socket::Tcp(_) => ClientFlags::empty(),
        };
        Self {
            id: info.id,
            last_interaction: info.connected_at,
            socket,
            info,
            flags,
            db: 0,
            protocol: Protocol::Resp2,
            is_authenticated,
            was_authenticated: is_authenticated,
            reply_mode: ReplyMode::On,
            parser: Parser::new(),
            query: Vec::new(),
            query_start: 0,
            keeps_query: false,
            query_peak: 0,
            postponed: None,
            computed: None,
            shipped: None,
            hold: None,
            output: Output::new(),
            written_offset: 0,
            durable_offset: 0,
            is_unsynced: false,
            disk_wait_window: 0,
            transaction: None,
            watches: crate::transaction::Watches::default(),
            blocked: None,
            subscriptions: None,
            keeps_output: false,
            is_readable: false,
            is_read_closed: false,
            arrival_window: 0,
            is_writable: true,
            may_parse: false,
            read_want: 0,
            turn_requests: 0,
            is_scheduled: false,
            soft_limit_since: None,
            last_command: NO_COMMAND,
            named: None,
            net_input: 0,
            net_output: 0,
            commands: 0,
            reply_peak: 0,
            counted_bytes: 0,
        }
    }

    /// Whether its next request must not be looked at yet.
    pub(crate) fn is_held(&self) -> bool {
        let ends = ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_NOW;
        let holds = ends | ClientFlags::PAUSED | ClientFlags::COMPUTING;
        self.blocked.is_some() || self.flags.intersects(holds)
    }

    /// Bytes received and not executed; none while a command runs, since the worker holds the query then.
    pub(crate) fn query_len(&self) -> usize {
        self.query.len().saturating_sub(self.query_start)
    }

    /// Whether more may be read from its socket. While it waits, some is read ahead, so that the end of the connection
    /// is noticed.
    pub(crate) fn has_room_for_requests(&self) -> bool {
        let ends = ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_NOW;
        let waits = self.blocked.is_some() || self.flags.contains(ClientFlags::PAUSED);
        // What was received and not looked at holds requests that come first.
        let has_backlog = (self.may_parse || waits) && READ_AHEAD_BYTES_MAX <= self.query_len();
        // A command that has begun runs to its end, though its client be gone: that is noticed afterwards.
        let has_result = self.computed.is_some() || self.shipped.is_some();
        let has_begun = self.flags.contains(ClientFlags::COMPUTING) || has_result;
        !self.flags.intersects(ends) && !self.is_stalled() && !has_backlog && !has_begun
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
        self.commands += 1;
        match self.reply_mode {
            ReplyMode::On => self.output.append(output),
            ReplyMode::Skip => self.reply_mode = ReplyMode::On,
            ReplyMode::Off | ReplyMode::SkipNext => {}
        }
    }

    /// Tells others what has changed, before the replies that tell of the same are sent.
    pub(crate) fn publish(&self) {
        let info = &self.info;
        let mut flags = self.flags;
        flags.set(ClientFlags::MULTI, self.transaction.is_some());
        let waits = self.blocked.is_some() || flags.contains(ClientFlags::PAUSED);
        flags.set(ClientFlags::BLOCKED, waits);
        flags.set(ClientFlags::DIRTY_WATCH, self.watches.is_broken());
        let (multi, multi_bytes) = match &self.transaction {
            Some(transaction) => (transaction.len() as i64, transaction.byte_count()),
            None => (-1, 0),
        };
        info.last_interaction.store(self.last_interaction, Ordering::Relaxed);
        info.flags.store(flags.bits(), Ordering::Relaxed);
        info.db.store(self.db, Ordering::Relaxed);
        let protocol = if self.protocol == Protocol::Resp3 { 3 } else { 2 };
        info.protocol.store(protocol, Ordering::Relaxed);
        info.multi.store(multi, Ordering::Relaxed);
        info.multi_bytes.store(multi_bytes, Ordering::Relaxed);
        info.watching.store(self.watches.len(), Ordering::Relaxed);
        for kind in pubsub::Kind::ALL {
            let count = self.subscriptions.as_ref().map_or(0, |it| it.len(kind));
            info.subscriptions[kind.index()].store(count, Ordering::Relaxed);
        }
        info.last_command.store(self.last_command, Ordering::Relaxed);
        info.query_len.store(self.query_len(), Ordering::Relaxed);
        info.query_free.store(self.query.capacity() - self.query.len(), Ordering::Relaxed);
        info.argument_bytes.store(0, Ordering::Relaxed);
        info.net_input.store(self.net_input, Ordering::Relaxed);
        info.commands.store(self.commands, Ordering::Relaxed);
    }

    /// Tells others what is left to be sent.
    pub(crate) fn publish_output(&self) {
        let info = &self.info;
        let (buffered, pinned) = (self.output.buffered_bytes(), self.output.pinned_bytes());
        let allocated = self.output.allocated_bytes();
        let structures = size_of::<Self>() + size_of::<ClientInfo>();
        let multi = info.multi_bytes.load(Ordering::Relaxed);
        let subscriptions = self.subscriptions.as_ref().map_or(0, |it| it.byte_count());
        let own = structures + multi + subscriptions + self.watches.byte_count();
        let total = own + self.query.capacity() + allocated + pinned;
        info.output_bytes.store(buffered, Ordering::Relaxed);
        info.pinned_bytes.store(pinned, Ordering::Relaxed);
        info.reply_buffer_bytes.store(allocated, Ordering::Relaxed);
        info.reply_peak_bytes.store(self.reply_peak, Ordering::Relaxed);
        info.total_bytes.store(total, Ordering::Relaxed);
        info.net_output.store(self.net_output, Ordering::Relaxed);
    }
}
