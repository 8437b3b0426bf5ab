//! One client: its connection, what it has sent and not yet seen, and what it has told about itself.
//! Never runs a command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bitflags::bitflags;
use parking_lot::Mutex;
use rubine_commands::Nothing;
use rubine_keyspace::Waiter;
use rubine_resp::parser::Parser;
use rubine_resp::writer::{Output, Protocol};

use crate::socket::Socket;
use crate::transaction::Transaction;

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
    /// The queues it stands in; `None` if it waits for something else than keys.
    pub(crate) waiter: Option<Arc<Waiter>>,
    /// When it gives up, Unix milliseconds.
    pub(crate) deadline: Option<i64>,
    pub(crate) on_timeout: TimeoutReply,
}

/// What a client is told when its time is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeoutReply {
    Nothing(Nothing),
    /// A number: WAIT's count of replicas.
    Integer(i64),
    /// Two numbers: WAITAOF's.
    Integers(i64, i64),
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
    pub(crate) watching: AtomicUsize,
    pub(crate) last_command: AtomicUsize,
    pub(crate) query_len: AtomicUsize,
    pub(crate) query_free: AtomicUsize,
    pub(crate) argument_bytes: AtomicUsize,
    pub(crate) output_bytes: AtomicUsize,
    pub(crate) pinned_bytes: AtomicUsize,
    pub(crate) net_input: AtomicU64,
    pub(crate) net_output: AtomicU64,
    pub(crate) commands: AtomicU64,
    /// It was killed; its worker may not know yet.
    pub(crate) is_killed: AtomicBool,
}

/// What a client calls itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientNames {
    pub(crate) name: Vec<u8>,
    pub(crate) library_name: Vec<u8>,
    pub(crate) library_version: Vec<u8>,
    pub(crate) user: Vec<u8>,
}

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
            watching: AtomicUsize::new(0),
            last_command: AtomicUsize::new(NO_COMMAND),
            query_len: AtomicUsize::new(0),
            query_free: AtomicUsize::new(0),
            argument_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            pinned_bytes: AtomicUsize::new(0),
            net_input: AtomicU64::new(0),
            net_output: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            is_killed: AtomicBool::new(false),
        }
    }

    /// The flags as they were last published.
    pub(crate) fn flags(&self) -> ClientFlags {
        ClientFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }
}

/// A client as its worker sees it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) socket: Socket,
    pub(crate) info: Arc<ClientInfo>,
    pub(crate) flags: ClientFlags,
    pub(crate) db: usize,
    pub(crate) protocol: Protocol,
    pub(crate) is_authenticated: bool,
    pub(crate) reply_mode: ReplyMode,
    pub(crate) parser: Parser,
    /// What was received and not yet executed, from `query_start` on.
    pub(crate) query: Vec<u8>,
    pub(crate) query_start: usize,
    /// A request that was taken from the query and waits for the end of a pause.
    pub(crate) postponed: Option<crate::transaction::OwnedArgs>,
    pub(crate) output: Output,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) watches: crate::transaction::Watches,
    pub(crate) blocked: Option<Blocked>,
    /// More may be readable: the last read did not empty the socket.
    pub(crate) is_readable: bool,
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
    pub(crate) net_input: u64,
    pub(crate) net_output: u64,
    pub(crate) commands: u64,
}

impl Client {
    pub(crate) fn new(socket: Socket, info: Arc<ClientInfo>, is_authenticated: bool) -> Self {
        let flags = match socket {
            Socket::Unix(_) => ClientFlags::UNIX_SOCKET,
            Socket::Tcp(_) => ClientFlags::empty(),
        };
        Self {
            id: info.id,
            socket,
            info,
            flags,
            db: 0,
            protocol: Protocol::Resp2,
            is_authenticated,
            reply_mode: ReplyMode::On,
            parser: Parser::new(),
            query: Vec::new(),
            query_start: 0,
            postponed: None,
            output: Output::new(),
            transaction: None,
            watches: crate::transaction::Watches::default(),
            blocked: None,
            is_readable: false,
            is_writable: true,
            may_parse: false,
            read_want: 0,
            turn_requests: 0,
            is_scheduled: false,
            soft_limit_since: None,
            last_command: NO_COMMAND,
            net_input: 0,
            net_output: 0,
            commands: 0,
        }
    }

    /// Whether its next request must not be looked at yet.
    pub(crate) fn is_held(&self) -> bool {
        let holds = ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::CLOSE_NOW | ClientFlags::PAUSED;
        self.blocked.is_some() || self.flags.intersects(holds)
    }

    /// Bytes received and not executed.
    pub(crate) fn query_len(&self) -> usize {
        self.query.len() - self.query_start
    }

    /// Tells others what changed during a turn.
    pub(crate) fn publish(&self, now: i64) {
        let info = &self.info;
        let mut flags = self.flags;
        flags.set(ClientFlags::MULTI, self.transaction.is_some());
        flags.set(ClientFlags::BLOCKED, self.blocked.is_some());
        flags.set(ClientFlags::DIRTY_WATCH, self.watches.is_broken());
        let multi = self.transaction.as_ref().map_or(-1, |it| it.len() as i64);
        info.last_interaction.store(now, Ordering::Relaxed);
        info.flags.store(flags.bits(), Ordering::Relaxed);
        info.db.store(self.db, Ordering::Relaxed);
        let protocol = if self.protocol == Protocol::Resp3 { 3 } else { 2 };
        info.protocol.store(protocol, Ordering::Relaxed);
        info.multi.store(multi, Ordering::Relaxed);
        info.watching.store(self.watches.len(), Ordering::Relaxed);
        info.last_command.store(self.last_command, Ordering::Relaxed);
        info.query_len.store(self.query_len(), Ordering::Relaxed);
        info.query_free.store(self.query.capacity() - self.query.len(), Ordering::Relaxed);
        info.output_bytes.store(self.output.buffered_bytes(), Ordering::Relaxed);
        info.net_input.store(self.net_input, Ordering::Relaxed);
        info.net_output.store(self.net_output, Ordering::Relaxed);
        info.commands.store(self.commands, Ordering::Relaxed);
    }
}
