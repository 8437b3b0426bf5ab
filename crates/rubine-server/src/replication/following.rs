//! Whom this server follows, if anybody, and how that goes: what everybody may ask. The link itself, and what it changes, is
//! in `follow`.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use mio::Waker;
use parking_lot::Mutex;
use rubine_config::ReplicaOf;
use rubine_replication::follower::Phase;

use super::own_keys::OwnKeys;

/// What this server is to others.
#[derive(Default)]
pub(crate) struct Following {
    is_replica: AtomicBool,
    /// Counts the orders to follow somebody, or nobody. Whoever does something for a master looks, under the locks of what it
    /// changes, whether the number is still that which it began with; who gives up a master takes all locks after it has
    /// changed the number. So nothing of a master comes after an order to leave it.
    order: AtomicU64,
    /// Nothing of the master is taken for the moment.
    is_fenced: AtomicBool,
    /// Until when the link does nothing, for tests: milliseconds of a clock that never goes back.
    sleeps_until: AtomicU64,
    /// Held while an order is given, so that no two are given at once.
    ordering: Mutex<()>,
    /// The thread of the link, once there is one.
    waker: Mutex<Option<Waker>>,
    pub(crate) link: LinkFacts,
    /// What clients of this replica have written that falls due.
    pub(crate) own_keys: OwnKeys,
    pub(crate) syncs: SyncFacts,
}

/// The link as it is.
pub(crate) struct LinkFacts {
    phase: AtomicU8,
    /// When something was last heard of the master, Unix milliseconds.
    pub(crate) heard_at: AtomicI64,
    /// Since when there is no link that is in order, Unix milliseconds; 0 if there never was one.
    pub(crate) down_since: AtomicI64,
    /// It has been in order since this master is followed: all that the master had was here.
    pub(crate) was_up: AtomicBool,
    /// Bytes that have come from masters since the counters were reset.
    pub(crate) input_bytes: AtomicU64,
    /// The offset up to which the stream was received.
    pub(crate) received: AtomicU64,
    /// When something had last come and all that had come was applied, Unix milliseconds.
    caught_up_at: AtomicI64,
}

/// Syncs, the present one and those before.
#[derive(Default)]
pub(crate) struct SyncFacts {
    /// Bytes of the dump that is being received; 0 if nobody knows.
    pub(crate) total_bytes: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) heard_at: AtomicI64,
    pub(crate) full_count: AtomicU64,
    pub(crate) partial_count: AtomicU64,
    pub(crate) failed_count: AtomicU64,
    /// What has come of the stream while the dump is loaded, and the most that there was of it in this sync or the last one.
    pub(crate) held_bytes: AtomicU64,
    pub(crate) held_bytes_peak: AtomicU64,
    /// What comes is put beside the old data, which answers meanwhile.
    pub(crate) is_swapping: AtomicBool,
    /// Why what the master sent last was not taken, if it was not.
    pub(crate) refusal: Mutex<Option<String>>,
    /// Why the last full sync was needed, in plain words.
    pub(crate) last_reason: Mutex<String>,
}

const PHASES: [Phase; 5] =
    [Phase::Waiting, Phase::Connecting, Phase::Handshake, Phase::Sync, Phase::Connected];

impl Default for LinkFacts {
    fn default() -> Self {
        let (phase, heard_at, down_since, was_up) = Default::default();
        let (input_bytes, received, caught_up_at) = Default::default();
        Self { phase, heard_at, down_since, was_up, input_bytes, received, caught_up_at }
    }
}

impl LinkFacts {
    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Relaxed))]
    }

    /// When the data was last that of the master, as far as is known. Unix milliseconds.
    pub(crate) fn caught_up_at(&self) -> i64 {
        self.caught_up_at.load(Ordering::Relaxed)
    }

    pub(crate) fn note_caught_up(&self, now: i64) {
        self.caught_up_at.store(now, Ordering::Relaxed);
    }

    /// Notes how far the link is. Returns how far it was.
    pub(crate) fn set_phase(&self, phase: Phase, now: i64) -> Phase {
        let before = self.phase();
        let index = PHASES.iter().position(|it| *it == phase).expect("every phase is listed");
        self.phase.store(index as u8, Ordering::Relaxed);
        if phase == Phase::Connected {
            self.was_up.store(true, Ordering::Relaxed);
        }
        if before == Phase::Connected && phase != Phase::Connected {
            self.down_since.store(now, Ordering::Relaxed);
        }
        before
    }
}

impl Following {
    /// Whether this server is a replica. One load.
    #[inline]
    pub(crate) fn is_replica(&self) -> bool {
        self.is_replica.load(Ordering::Relaxed)
    }

    /// Whether the link is in order: what is here is what the master has, or had a moment ago.
    pub(crate) fn is_link_up(&self) -> bool {
        self.link.phase() == Phase::Connected
    }

    /// Whether this server has all that its master has, if it has one, and goes on with it.
    pub(crate) fn is_in_sync(&self) -> bool {
        !self.is_replica() || self.is_link_up()
    }

    /// Lets the link do nothing until then.
    pub(crate) fn sleep_until(&self, moment_ms: u64) {
        self.sleeps_until.fetch_max(moment_ms, Ordering::SeqCst);
    }

    /// Takes nothing of the master from now on, or takes it again.
    pub(crate) fn fence(&self, is_fenced: bool) {
        self.is_fenced.store(is_fenced, Ordering::SeqCst);
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.is_fenced.load(Ordering::SeqCst)
    }

    /// Whether the link does nothing at this moment.
    pub(crate) fn sleeps(&self, now_ms: u64) -> bool {
        self.is_fenced() || now_ms < self.sleeps_until.load(Ordering::SeqCst)
    }

    /// The order that is in force.
    pub(crate) fn order(&self) -> u64 {
        self.order.load(Ordering::SeqCst)
    }

    /// Another master, or none, is to be followed from now on, which `note` writes down: what the link still does for the one
    /// before is over.
    pub(crate) fn change(&self, is_replica: bool, note: impl FnOnce()) {
        let _ordering = self.ordering.lock();
        note();
        self.is_replica.store(is_replica, Ordering::SeqCst);
        self.order.fetch_add(1, Ordering::SeqCst);
    }

    /// The order that is in force, and what belongs to it.
    pub(crate) fn order_with<T>(&self, look: impl FnOnce(bool) -> T) -> (u64, T) {
        let _ordering = self.ordering.lock();
        (self.order(), look(self.is_replica()))
    }

    /// Starts the thread of the link, if there is none. What `start` returns wakes it.
    pub(crate) fn start_once(&self, start: impl FnOnce() -> io::Result<Waker>) -> io::Result<()> {
        let mut waker = self.waker.lock();
        if waker.is_none() {
            *waker = Some(start()?);
        }
        Ok(())
    }

    /// Has the thread of the link look at what is in force.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            // A failing wake-up means that the thread is gone.
            let _ = waker.wake();
        }
    }
}

/// The master in the words of ROLE and INFO.
pub(crate) fn shown(master: Option<&ReplicaOf>) -> (&str, u16) {
    master.map_or(("", 0), |it| (it.host.as_str(), it.port))
}
