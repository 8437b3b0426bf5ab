//! What others may know of a client: written by its worker, read by CLIENT LIST and whoever limits clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bitflags::bitflags;
use parking_lot::Mutex;
use rubine_acl::DEFAULT_USER;
use rubine_keyspace::Waiter;

use super::inbox::Inbox;
use super::subscriptions::ChannelKind;

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
        /// It said ASKING: its command, or its transaction, may be about a slot that is being moved here.
        const ASKING = 1 << 17;
        /// It has just said so.
        const ASKS_NEXT = 1 << 18;
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
        /// It listens to channels or patterns.
        const PUBSUB = 1 << 11;
        /// It watches what all clients do.
        const MONITOR = 1 << 12;
        /// It brings keys of slots that are moved here.
        const SLOT_IMPORT = 1 << 27;
        /// It is no client, but the link to a node that slots are moved to.
        const SLOT_EXPORT = 1 << 28;
        /// It follows this server.
        const REPLICA = 1 << 13;
        /// It is no client, but the link to the master that this server follows.
        const MASTER = 1 << 16;
        /// Quotas are about it.
        const LIMITED = 1 << 14;
        /// Never published, but found out by whoever looks: quotas have slowed it down just now.
        const SLOWED = 1 << 15;
        /// It keeps copies of keys, and is told when they change: `CLIENT TRACKING`.
        const TRACKING = 1 << 20;
        /// The client that shall be told in its place is gone.
        const TRACKING_BROKEN = 1 << 21;
        /// It is told of all keys with its prefixes.
        const TRACKING_BROADCAST = 1 << 22;
        /// It keeps only what it reads after `CLIENT CACHING YES`.
        const TRACKING_OPTIN = 1 << 23;
        /// It keeps all but what it reads after `CLIENT CACHING NO`.
        const TRACKING_OPTOUT = 1 << 24;
        /// It is not told of its own changes.
        const TRACKING_NOLOOP = 1 << 25;
        /// It has said `CLIENT CACHING`.
        const TRACKING_CACHING = 1 << 26;
        const TRACKING_OPTIONS = Self::TRACKING_BROKEN.bits()
            | Self::TRACKING_BROADCAST.bits()
            | Self::TRACKING_OPTIN.bits()
            | Self::TRACKING_OPTOUT.bits()
            | Self::TRACKING_NOLOOP.bits()
            | Self::TRACKING_CACHING.bits();
        /// Not of the client, but of a run: its user may not read every key, whatever its name.
        const SEES_SOME_KEYS = 1 << 31;
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
    /// It speaks HTTP, with a thread that speaks for it here.
    pub(crate) comes_by_http: bool,
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
    pub(crate) subscriptions: [AtomicUsize; ChannelKind::COUNT],
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
    /// When a quota last made it wait, Unix milliseconds.
    pub(crate) slowed_at: AtomicI64,
    /// It was killed; its worker may not know yet.
    pub(crate) is_killed: AtomicBool,
    /// Its connection is closed.
    pub(crate) is_closed: AtomicBool,
    /// What it waits for.
    pub(crate) waiter: Mutex<Option<Arc<Waiter>>>,
    /// What it is to be told of copies of keys.
    pub(crate) inbox: Inbox,
    /// Its number as a reader of keys, 0 if it has never been one.
    pub(crate) reader: AtomicU32,
    /// The client that is told in its place, 0 for itself, -1 if it is told nothing.
    pub(crate) redirection: AtomicI64,
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
        let names = ClientNames { user: DEFAULT_USER.to_vec(), ..ClientNames::default() };
        Self {
            id,
            worker,
            address: addresses.0,
            local_address: addresses.1,
            fd,
            is_local,
            comes_by_http: false,
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
            slowed_at: AtomicI64::new(0),
            is_killed: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            waiter: Mutex::new(None),
            inbox: Inbox::default(),
            reader: AtomicU32::new(0),
            redirection: AtomicI64::new(-1),
        }
    }

    /// The flags as they were last published.
    pub(crate) fn flags(&self) -> ClientFlags {
        ClientFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// The flags as others are shown them.
    pub(crate) fn flags_at(&self, now: i64) -> ClientFlags {
        /// For so long it shows that a client was slowed down, in milliseconds.
        const SLOWED_MS: i64 = 1000;
        let mut flags = self.flags();
        let slowed_at = self.slowed_at.load(Ordering::Relaxed);
        flags.set(ClientFlags::SLOWED, slowed_at != 0 && now < slowed_at + SLOWED_MS);
        flags
    }

    /// Ends the client's wait; returns whether it was waiting. Its worker has to be told.
    pub(crate) fn cancel_wait(&self) -> bool {
        self.waiter.lock().as_ref().is_some_and(|it| it.cancel())
    }
}

#[cfg(test)]
mod tests {
    use bitflags::Flags;

    use super::ClientFlags;

    #[test]
    fn no_two_flags_are_one() {
        let mut seen = 0;
        for flag in ClientFlags::FLAGS {
            let bits = flag.value().bits();
            if bits.is_power_of_two() {
                assert_eq!(seen & bits, 0, "{}", flag.name());
                seen |= bits;
            }
        }
    }
}
