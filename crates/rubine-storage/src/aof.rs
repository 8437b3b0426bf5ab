//! The append-only file of a running server: what workers, commands and INFO see of it. One thread of its own writes
//! (`log_writer.rs`), another one rewrites (`log_rewrite.rs`); nobody else touches a file.
//!
//! With `appendfsync always`, no reply leaves before all is on disk that its command wrote or has seen: each shard
//! knows the offset of the journal up to which its keys were changed, a client waits for the highest offset of the
//! shards that its commands had locked, and each worker for the lowest one of its clients.

pub(crate) mod directory;
pub(crate) mod increment;
pub(crate) mod job;
pub(crate) mod order;

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rubine_journal::{Offset, Progress};
use rubine_keyspace::{Locked, SHARD_COUNT};
use rubine_persistence::encryption::KeyRing;

use self::directory::Directory;
use self::job::Job;
use self::order::Order;
use crate::loading::per_second;
use crate::rdb_save::Work;
use rubine_config::Config;

/// Bytes that the file may be behind; then whoever writes has to wait.
const LAG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Each worker waits for one offset.
const WAITING_WORKERS_MAX: usize = 1024;

/// The append-only file of a server.
pub struct Aof {
    /// How far the journal is on disk.
    pub(crate) synced: Progress,
    /// How far it was read to be written.
    pub(crate) read: AtomicU64,
    /// The writer reads no further before it is given another reader: there the next increment begins. It holds this while
    /// it reads.
    pub(crate) read_limit: Mutex<Offset>,
    /// The offset up to which each shard was changed, kept up with while replies wait for the disk.
    shard_ends: Box<[AtomicU64]>,
    /// Something is read from the journal and written.
    pub(crate) is_open: AtomicBool,
    /// What was to be written last could not be.
    error: Mutex<Option<String>>,
    has_error: AtomicBool,
    pub(crate) control: Mutex<Control>,
    pub facts: Facts,
    /// The writer puts off a sync until enough clients wait for it.
    pub gathers: AtomicBool,
    /// What new files are encrypted with, and what older ones may be.
    pub(crate) keys: ArcSwapOption<KeyRing>,
    /// The files. Whoever changes the manifest holds this until it is on disk.
    pub(crate) directory: Mutex<Option<Directory>>,
    pub(crate) orders: Mutex<Vec<Order>>,
    pub(crate) thread: Mutex<Option<Thread>>,
    /// Time that the writer sleeps before each write: `DEBUG AOF-FLUSH-SLEEP`.
    pub flush_sleep_us: AtomicU64,
}

/// What is wanted, and what is done about it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// The configuration says that there is to be a log.
    pub(crate) is_wanted: bool,
    pub(crate) phase: Phase,
    /// Somebody asked for a rewrite.
    pub(crate) is_rewrite_requested: bool,
    /// One runs.
    pub(crate) rewrite: Option<Arc<Job>>,
    /// How many failed, one after the other.
    pub(crate) failures: u32,
    /// No other one is begun by itself before, Unix milliseconds.
    pub(crate) not_before: i64,
    /// Until then, one that begins by itself needs more of a reason: Unix milliseconds.
    pub(crate) rests_until: i64,
    /// The server ends.
    pub(crate) is_finishing: bool,
}

impl Control {
    /// Whether something is to be begun when its time has come, while there is no log.
    pub(crate) fn is_anything_wanted(&self) -> bool {
        self.is_rewrite_requested || self.is_wanted
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Off,
    /// What happens is written, but the base that it needs is not there yet.
    WaitsForBase,
    On,
}

/// Numbers that INFO shows.
#[derive(Debug, Default)]
pub struct Facts {
    /// Bytes of the base.
    pub(crate) base_bytes: AtomicU64,
    /// Bytes of the increments that are not written any more.
    pub(crate) closed_bytes: AtomicU64,
    /// Bytes of the increment that is being written.
    pub(crate) current_bytes: AtomicU64,
    /// Bytes of all files when the last rewrite ended.
    pub rewritten_bytes: AtomicU64,
    pub rewrites: AtomicU64,
    pub last_rewrite_failed: AtomicBool,
    /// Seconds, plus one; 0 for never.
    pub last_rewrite_seconds: AtomicU64,
    pub is_syncing: AtomicBool,
    pub delayed_syncs: AtomicU64,
    pub rewrite_failures: AtomicUsize,
    /// Of the last rewrite that ended well.
    pub rewritten_keys_per_second: AtomicU64,
    pub rewritten_bytes_per_second: AtomicU64,
    pub rewrite_copied_bytes: AtomicUsize,
}

impl Facts {
    pub fn total_bytes(&self) -> u64 {
        let parts = [&self.base_bytes, &self.closed_bytes, &self.current_bytes];
        parts.map(|it| it.load(Ordering::Relaxed)).iter().sum()
    }

    pub(crate) fn note_rates(&self, work: &Work, elapsed_ms: i64) {
        let keys = per_second(work.keys_done(), elapsed_ms);
        self.rewritten_keys_per_second.store(keys, Ordering::Relaxed);
        let bytes = per_second(work.bytes_done(), elapsed_ms);
        self.rewritten_bytes_per_second.store(bytes, Ordering::Relaxed);
        self.rewrite_copied_bytes.store(work.copied_bytes(), Ordering::Relaxed);
    }
}

/// What INFO says of a rewrite.
#[derive(Clone, Copy, Debug, Default)]
pub struct RewriteStatus {
    /// One runs, or is about to.
    pub is_running: bool,
    /// One was asked for and has not begun.
    pub is_requested: bool,
    pub started_at: Option<i64>,
    pub keys_done: u64,
    pub keys_total: u64,
    pub bytes_done: u64,
}

impl Default for Aof {
    fn default() -> Self {
        Self {
            synced: Progress::new(0, WAITING_WORKERS_MAX),
            read: AtomicU64::new(0),
            read_limit: Mutex::new(Offset::MAX),
            shard_ends: (0..SHARD_COUNT).map(|_| AtomicU64::new(0)).collect(),
            is_open: AtomicBool::new(false),
            error: Mutex::new(None),
            has_error: AtomicBool::new(false),
            control: Mutex::new(Control::default()),
            facts: Facts::default(),
            gathers: AtomicBool::new(false),
            keys: ArcSwapOption::empty(),
            directory: Mutex::new(None),
            orders: Mutex::new(Vec::new()),
            thread: Mutex::new(None),
            flush_sleep_us: AtomicU64::new(0),
        }
    }
}

impl Aof {
    /// How far the journal is on disk.
    pub fn synced(&self) -> &Progress {
        &self.synced
    }

    /// Notes that a unit changed keys of the locked shards up to `end`.
    pub fn note_change(&self, locked: &Locked<'_>, end: Offset) {
        for shard in locked.numbers() {
            self.shard_ends[shard].fetch_max(end, Ordering::Relaxed);
        }
    }

    /// The journal begins anew with other data, under all locks: nothing of before is waited for.
    pub fn forget_changes(&self) {
        self.shard_ends.iter().for_each(|it| it.store(0, Ordering::Relaxed));
    }

    /// What must be on disk before anybody is told of the keys in the locked shards.
    pub fn seen_by(&self, locked: &Locked<'_>) -> Offset {
        let ends = locked.numbers().map(|shard| self.shard_ends[shard].load(Ordering::Relaxed));
        ends.max().unwrap_or(0)
    }

    /// What must be on disk before anybody is told of keys that were looked at one shard after the other. While nothing
    /// can be written, that is not waited for: it tells too little of any key.
    pub fn seen_by_walk(&self) -> Offset {
        if self.has_error() {
            return 0;
        }
        self.shard_ends.iter().map(|it| it.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// Whether the file is so far behind that whoever writes has to wait.
    pub fn is_behind(&self, end: Offset) -> bool {
        LAG_BYTES_MAX < self.lag_bytes(end)
    }

    /// Bytes of the journal that have yet to be written.
    pub fn lag_bytes(&self, end: Offset) -> u64 {
        let is_open = self.is_open.load(Ordering::Relaxed);
        if is_open { end.saturating_sub(self.read.load(Ordering::Relaxed)) } else { 0 }
    }

    /// Whether what clients write cannot be written to the file.
    #[inline]
    pub fn has_error(&self) -> bool {
        self.has_error.load(Ordering::Relaxed)
    }

    /// Why nothing can be written, if that is so.
    #[inline]
    pub fn error(&self) -> Option<String> {
        if !self.has_error() {
            return None;
        }
        self.error.lock().clone()
    }

    /// Whether a log was asked for whose base is not there yet: a restart would find nothing of the data in it.
    pub fn waits_for_base(&self) -> bool {
        let control = self.control.lock();
        control.is_wanted && control.phase != Phase::On
    }

    pub fn is_enabled(&self) -> bool {
        self.control.lock().is_wanted
    }

    /// Has the writer read no further than this for a rewrite, unless that is cancelled: then nobody would take the limit
    /// away again. Whoever cancels one does so before it calls [`Self::lift_limit`].
    pub(crate) fn limit_reading(&self, job: &Job, position: Offset) -> Result<(), String> {
        let mut limit = self.read_limit.lock();
        job.check()?;
        *limit = position;
        Ok(())
    }

    pub(crate) fn lift_limit(&self) {
        *self.read_limit.lock() = Offset::MAX;
    }

    /// Takes over what the configuration says: there shall be a log, or none. Returns at once.
    pub fn set_wanted(&self, is_wanted: bool) {
        let mut control = self.control.lock();
        control.is_wanted = is_wanted;
        if !is_wanted {
            control.is_rewrite_requested = false;
        }
        (control.failures, control.not_before) = (0, 0);
        drop(control);
        self.wake_writer();
    }

    pub fn keys(&self) -> Option<Arc<KeyRing>> {
        self.keys.load_full()
    }

    /// Takes other keys into use. The log is rewritten, so that all of it is encrypted with the new one.
    pub fn set_keys(&self, keys: Option<KeyRing>) {
        self.keys.store(keys.map(Arc::new));
        if self.is_enabled() {
            self.request_rewrite();
        }
    }

    /// Asks for a rewrite. False if one runs already.
    pub fn request_rewrite(&self) -> bool {
        let mut control = self.control.lock();
        if control.rewrite.is_some() || control.is_rewrite_requested {
            return false;
        }
        control.is_rewrite_requested = true;
        drop(control);
        self.wake_writer();
        true
    }

    pub fn rewrite_status(&self) -> RewriteStatus {
        let control = self.control.lock();
        let must_begin = control.is_wanted && control.phase == Phase::Off;
        let work = control.rewrite.as_ref().map(|it| &it.work);
        RewriteStatus {
            keys_done: work.map_or(0, Work::keys_done),
            keys_total: work.map_or(0, Work::keys_total),
            bytes_done: work.map_or(0, Work::bytes_done),
            is_running: control.rewrite.is_some() || must_begin,
            is_requested: control.rewrite.is_none() && control.is_rewrite_requested,
            started_at: control.rewrite.as_ref().map(|it| it.started_at),
        }
    }

    /// Bytes that were copied for the sake of the rewrite that runs, about.
    pub fn rewrite_copied_bytes(&self) -> usize {
        let job = self.control.lock().rewrite.clone();
        job.map_or(0, |it| it.work.copied_bytes())
    }

    /// Writes what is left, closes the log and ends the writer.
    pub fn finish(&self) {
        self.control.lock().is_finishing = true;
        self.wake_writer();
    }

    pub fn wake_writer(&self) {
        if let Some(thread) = &*self.thread.lock() {
            thread.unpark();
        }
    }

    /// Gives the writer something to do between two writes.
    pub(crate) fn order(&self, order: Order) {
        self.orders.lock().push(order);
        self.wake_writer();
    }

    pub(crate) fn set_error(&self, error: Option<String>) {
        self.has_error.store(error.is_some(), Ordering::Relaxed);
        *self.error.lock() = error;
    }
}

/// The keys in the file that the configuration names.
pub fn read_keys(config: &Config) -> Result<Option<KeyRing>, String> {
    const BYTES_MAX: u64 = 1024 * 1024;
    let Some(name) = config.encryption_key_file.as_ref().filter(|it| !it.is_empty()) else {
        return Ok(None);
    };
    let fail = |reason: &dyn std::fmt::Display| {
        format!("Can't read the encryption keys in {name}: {reason}")
    };
    let mut text = Vec::new();
    let read = std::fs::File::open(name).and_then(|it| it.take(BYTES_MAX).read_to_end(&mut text));
    read.map_err(|error| fail(&error))?;
    KeyRing::parse(&text).map(Some).map_err(|error| fail(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aof::job::Kind;
    use crate::pace::Share;

    /// A rewrite that was cancelled before it had begun said later how far the writer may read: the log ended there, and
    /// WAITAOF waited for ever.
    #[test]
    fn a_rewrite_that_is_over_stops_no_log() {
        let aof = Aof::default();
        let job = Job::new(Kind::Start, Share::Half, 0);
        assert_eq!(aof.limit_reading(&job, 7), Ok(()));
        assert_eq!(*aof.read_limit.lock(), 7);
        job.cancel();
        aof.lift_limit();
        assert!(aof.limit_reading(&job, 9).is_err());
        assert_eq!(*aof.read_limit.lock(), Offset::MAX);
    }
}
