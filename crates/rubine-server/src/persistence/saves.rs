//! Saves to the dump file: one at a time, asked for by SAVE, BGSAVE, a save point or the end of the server, done on
//! threads of their own. Holds no client up but by FLUSHALL, which waits for a file without keys, and takes no lock of
//! a shard but for the moment of the image.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use rubine_base::clock::unix_millis;
use rubine_keyspace::Access;
use rubine_persistence::encryption::Encrypting;

use super::Trouble;
use super::dump_file::{Directory, DumpFile};
use super::libraries::Libraries;
use super::loading::per_second;
use super::pace::Share;
use super::rdb_save::{DumpOptions, SaveError, Work, write_dump};
use super::save_points::Moment;
use crate::process::identity::REDIS_VERSION;
use crate::server::Server;
use crate::settings::Settings;
use rubine_config::Config;
use rubine_system::allocator;

/// What is told of a save: a background save's failure keeps clients from writing, if so configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somebody waits for it.
    Foreground,
    Background,
}

/// How a save has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Saved,
    Failed,
    Cancelled,
}

/// Whether a save has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Started,
    /// Another one goes on.
    Saving,
    /// The append-only file is being rewritten.
    Rewriting,
    /// The system gave no thread or no directory.
    Failed,
}

/// What is done when a save has ended.
pub(crate) type OnEnd = Box<dyn FnOnce(&'static Server, Outcome) + Send>;

/// All that is known of saves.
#[derive(Debug)]
pub(crate) struct Saves {
    state: Mutex<State>,
    /// Signalled when no save goes on any more.
    became_idle: Condvar,
    /// Saves that were begun.
    started: AtomicU64,
    /// Unix seconds; of the start, if nothing was saved since.
    last_saved_at: AtomicI64,
    /// What the counters of changes said when the image was made that was saved last.
    saved_dirty: AtomicU64,
    /// Looked at by the clock without the lock.
    is_busy: AtomicBool,
    is_scheduled: AtomicBool,
    /// Function libraries, which came with a file: they are written back.
    pub(crate) functions: Libraries,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Arc<Job>>,
    /// When a background save was last begun, Unix seconds.
    last_try_at: i64,
    last_failed: bool,
    last_duration_ms: Option<i64>,
    last_copied_bytes: usize,
    last_keys_per_second: u64,
    last_bytes_per_second: u64,
}

/// A save that goes on.
#[derive(Debug)]
pub(crate) struct Job {
    kind: Kind,
    stage: AtomicU8,
    /// Unix milliseconds.
    started_at: i64,
    /// The counters of changes at the moment of the image.
    dirty: AtomicU64,
    work: Work,
}

/// How far a job is. What is being published cannot be cancelled, and the other way round.
const WRITING: u8 = 0;
const PUBLISHING: u8 = 1;
const CANCELLED: u8 = 2;

impl Job {
    fn new(kind: Kind, now: i64) -> Arc<Self> {
        let (stage, dirty) = (AtomicU8::new(WRITING), AtomicU64::new(0));
        Arc::new(Self { kind, stage, started_at: now, dirty, work: Work::default() })
    }

    /// Makes the image of this moment.
    fn take_image(&self, server: &Server) {
        let (image, dirty) =
            server.keyspace.snapshot_with(|| server.total(|stats| stats.dirty.get()));
        self.dirty.store(dirty, Ordering::Relaxed);
        self.work.fill(image);
    }

    fn advance(&self, to: u8) -> bool {
        self.stage.compare_exchange(WRITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn cancel(&self) -> bool {
        let is_cancelled = self.advance(CANCELLED);
        if is_cancelled {
            self.work.cancel();
        }
        is_cancelled
    }

    fn temporary_name(&self) -> String {
        let pid = std::process::id();
        match self.kind {
            Kind::Foreground => foreground_name(),
            // Two may be there at once: one that was cancelled and has yet to notice, and the next.
            Kind::Background => format!("temp-{pid}-{}.rdb", self.started_at),
        }
    }
}

/// What the file is called that SAVE and the end of the server write to, until it is whole.
pub(crate) fn foreground_name() -> String {
    format!("temp-{}.rdb", std::process::id())
}

/// What INFO shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) is_saving_in_background: bool,
    pub(crate) current_seconds: Option<i64>,
    pub(crate) copied_bytes: usize,
    pub(crate) keys_done: u64,
    pub(crate) keys_total: u64,
    pub(crate) keys_per_second: u64,
    pub(crate) bytes_per_second: u64,
    pub(crate) last_failed: bool,
    pub(crate) last_seconds: Option<i64>,
    pub(crate) last_copied_bytes: usize,
    pub(crate) last_keys_per_second: u64,
    pub(crate) last_bytes_per_second: u64,
}

impl Saves {
    pub(crate) fn new(now_seconds: i64) -> Self {
        Self {
            state: Mutex::default(),
            became_idle: Condvar::new(),
            started: AtomicU64::new(0),
            last_saved_at: AtomicI64::new(now_seconds),
            saved_dirty: AtomicU64::new(0),
            is_busy: AtomicBool::new(false),
            is_scheduled: AtomicBool::new(false),
            functions: Libraries::default(),
        }
    }

    /// Whether a save goes on.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    /// Whether a background save waits for its turn.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.is_scheduled.load(Ordering::Relaxed)
    }

    pub(crate) fn schedule(&self) {
        self.is_scheduled.store(true, Ordering::Relaxed);
    }

    /// Forgets that a save was to come. Returns whether one was.
    pub(crate) fn take_schedule(&self) -> bool {
        self.is_scheduled.swap(false, Ordering::Relaxed)
    }

    /// Unix seconds.
    pub(crate) fn last_saved_at(&self) -> i64 {
        self.last_saved_at.load(Ordering::Relaxed)
    }

    /// How many saves were begun.
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn reset_count(&self) {
        self.started.store(0, Ordering::Relaxed);
    }

    /// Changes since the last image that was saved.
    pub(crate) fn unsaved_changes(&self, server: &Server) -> u64 {
        let dirty = server.total(|stats| stats.dirty.get());
        dirty.saturating_sub(self.saved_dirty.load(Ordering::Relaxed))
    }

    /// All data counts as saved: it has just been loaded.
    pub(crate) fn count_as_saved(&self, server: &Server) {
        self.saved_dirty.store(server.total(|stats| stats.dirty.get()), Ordering::Relaxed);
    }

    /// What decides whether a save is due.
    pub(crate) fn moment(&self, server: &Server, now_seconds: i64) -> Moment {
        let state = self.state.lock();
        Moment {
            changes: self.unsaved_changes(server),
            seconds_since_save: now_seconds - self.last_saved_at(),
            seconds_since_try: now_seconds - state.last_try_at,
            last_failed: state.last_failed,
        }
    }

    /// Takes the one place that there is for a save.
    fn reserve(&self, server: &Server, kind: Kind, now: i64) -> Result<Arc<Job>, Start> {
        let rewrite = server.aof.rewrite_status();
        let mut state = self.state.lock();
        if state.running.is_some() {
            return Err(Start::Saving);
        }
        // One that was asked for begins at once: only a save holds it up.
        if kind == Kind::Background && (rewrite.is_running || rewrite.is_requested) {
            return Err(Start::Rewriting);
        }
        if kind == Kind::Background {
            state.last_try_at = now / 1000;
        }
        let job = Job::new(kind, now);
        state.running = Some(Arc::clone(&job));
        self.is_busy.store(true, Ordering::Release);
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(job)
    }

    /// Gives the place back, if the job still has it.
    fn release(&self, job: &Arc<Job>) {
        let mut state = self.state.lock();
        if state.running.as_ref().is_some_and(|it| Arc::ptr_eq(it, job)) {
            state.running = None;
            self.is_busy.store(false, Ordering::Release);
            self.became_idle.notify_all();
        }
    }

    /// Returns when no save goes on.
    fn wait_until_idle(&self) {
        let mut state = self.state.lock();
        self.became_idle.wait_while(&mut state, |it| it.running.is_some());
    }

    /// Ends the save that goes on, if it can still be ended. Its file is removed by its own thread.
    fn cancel_if(&self, is_meant: impl FnOnce(Kind) -> bool) -> bool {
        let running = self.state.lock().running.clone();
        let Some(job) = running.filter(|job| is_meant(job.kind)) else { return false };
        let is_cancelled = job.cancel();
        if is_cancelled {
            self.release(&job);
        }
        is_cancelled
    }

    /// Ends a background save.
    pub(crate) fn cancel_background(&self) -> bool {
        self.cancel_if(|kind| kind == Kind::Background)
    }

    /// Ends whatever save goes on.
    pub(crate) fn cancel_any(&self) -> bool {
        self.cancel_if(|_| true)
    }

    /// What INFO shows.
    pub(crate) fn report(&self, now: i64) -> Report {
        let state = self.state.lock();
        let mut report = Report {
            last_failed: state.last_failed,
            last_seconds: state.last_duration_ms.map(|it| it / 1000),
            last_copied_bytes: state.last_copied_bytes,
            last_keys_per_second: state.last_keys_per_second,
            last_bytes_per_second: state.last_bytes_per_second,
            ..Report::default()
        };
        let running = state.running.clone();
        drop(state);
        if let Some(job) = running {
            let elapsed_ms = now - job.started_at;
            report.is_saving_in_background = job.kind == Kind::Background;
            report.current_seconds =
                (job.kind == Kind::Background).then_some(elapsed_ms.max(0) / 1000);
            report.copied_bytes = job.work.copied_bytes();
            report.keys_done = job.work.keys_done();
            report.keys_total = job.work.keys_total();
            report.keys_per_second = per_second(report.keys_done, elapsed_ms);
            report.bytes_per_second = per_second(job.work.bytes_done(), elapsed_ms);
        }
        report
    }

    /// Notes how a job has ended.
    fn note_end(&self, server: &Server, job: &Job, outcome: Outcome) {
        let now = unix_millis();
        let is_background = job.kind == Kind::Background;
        let mut state = self.state.lock();
        if outcome == Outcome::Saved {
            let elapsed_ms = now - job.started_at;
            state.last_keys_per_second = per_second(job.work.keys_done(), elapsed_ms);
            state.last_bytes_per_second = per_second(job.work.bytes_done(), elapsed_ms);
            self.saved_dirty.store(job.dirty.load(Ordering::Relaxed), Ordering::Relaxed);
            self.last_saved_at.store(now / 1000, Ordering::Relaxed);
        }
        if is_background && outcome != Outcome::Cancelled {
            state.last_duration_ms = Some(now - job.started_at);
            state.last_copied_bytes = job.work.copied_bytes();
        }
        let is_news = outcome == Outcome::Saved || (is_background && outcome == Outcome::Failed);
        if is_news {
            state.last_failed = outcome == Outcome::Failed;
            server.persistence.set_trouble(Trouble::SAVE_FAILED, state.last_failed);
        }
    }
}

/// Begins a save of what the keyspace holds at this moment. `on_end` is called from a thread of the save, or not at all
/// if it does not begin. The caller holds no lock of a shard.
pub(crate) fn start(server: &'static Server, kind: Kind, now: i64, on_end: OnEnd) -> Start {
    let saves = &server.persistence.saves;
    let job = match saves.reserve(server, kind, now) {
        Ok(job) => job,
        Err(refusal) => return refusal,
    };
    job.take_image(server);
    let directory = Directory::current(&server.persistence.disk);
    let running = Arc::clone(&job);
    let run = move || {
        crate::process::affinity::pin(server.config.load().bgsave_cpulist.as_deref());
        let outcome = save(server, &running, directory);
        saves.note_end(server, &running, outcome);
        saves.release(&running);
        log_end(kind, outcome);
        on_end(server, outcome);
    };
    if let Err(error) = std::thread::Builder::new().name("save".to_owned()).spawn(run) {
        tracing::warn!("Can't save: no thread can be started: {error}");
        saves.note_end(server, &job, Outcome::Failed);
        saves.release(&job);
        return Start::Failed;
    }
    if kind == Kind::Background {
        tracing::info!("Background saving started");
    }
    Start::Started
}

/// Saves on the calling thread, whatever else goes on. `DEBUG RELOAD` needs the file before it can do anything.
pub(crate) fn save_here(server: &'static Server) -> Outcome {
    let saves = &server.persistence.saves;
    saves.started.fetch_add(1, Ordering::Relaxed);
    let job = Job::new(Kind::Foreground, unix_millis());
    job.take_image(server);
    let outcome = save(server, &job, Directory::current(&server.persistence.disk));
    saves.note_end(server, &job, outcome);
    outcome
}

/// All keys have been removed: a save that goes on would bring them back, and one is due if any are. When the client hears
/// that they are gone, they are gone from the file, too. All that it has is what others have written since.
pub(crate) fn note_flush(server: &'static Server, now: i64) {
    let saves = &server.persistence.saves;
    if saves.cancel_background() {
        tracing::info!("Background saving was cancelled, since all keys were removed");
    }
    while !server.config.load().save.is_empty() {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let on_end = Box::new(move |_: &'static Server, _| {
            // The receiver waits.
            let _ = sender.send(());
        });
        match start(server, Kind::Foreground, now, on_end) {
            // A save that ends without a word has failed, which is in the log.
            Start::Started => drop(receiver.recv()),
            // One that could not be ended any more has the keys, and a file of its own to put in place first.
            Start::Saving => {
                saves.wait_until_idle();
                continue;
            }
            Start::Rewriting | Start::Failed => {}
        }
        return;
    }
}

fn save(server: &'static Server, job: &Job, directory: io::Result<Directory>) -> Outcome {
    match write_file(server, job, directory) {
        Ok(()) => {
            tracing::info!("DB saved on disk");
            Outcome::Saved
        }
        Err(SaveError::Cancelled) => Outcome::Cancelled,
        Err(error) => {
            tracing::warn!("Can't save the data: {error}");
            Outcome::Failed
        }
    }
}

fn write_file(
    server: &'static Server,
    job: &Job,
    directory: io::Result<Directory>,
) -> Result<(), SaveError> {
    let config = server.config.load();
    let directory = directory.map_err(at("Failed opening the directory"))?;
    let name = job.temporary_name();
    let file = DumpFile::create(&directory, &name, config.rdb_save_incremental_fsync)
        .map_err(at("Failed opening the temp RDB file for saving"))?;
    let options = dump_options(server, &config);
    let mut file = match server.aof.keys() {
        None => write_dump(&job.work, file, &options)?,
        Some(keys) => write_dump(&job.work, Encrypting::new(file, &keys)?, &options)?.finish()?,
    };
    file.sync().map_err(at("Write error while saving DB to the disk (fsync)"))?;
    if !job.advance(PUBLISHING) {
        return Err(SaveError::Cancelled);
    }
    file.publish(&config.dbfilename)
        .map_err(at("Error moving the temp DB file on the final destination"))?;
    Ok(())
}

/// Says what was being done when an error came.
fn at(what: &'static str) -> impl FnOnce(io::Error) -> SaveError {
    move |error| SaveError::Io(io::Error::new(error.kind(), format!("{what}: {error}")))
}

/// How dumps are written under this configuration.
pub(crate) fn dump_options(server: &Server, config: &Config) -> DumpOptions {
    use rubine_config::MaxmemoryPolicy::{AllkeysLfu, AllkeysLru, VolatileLfu, VolatileLru};
    let now = unix_millis();
    // Accesses are worth their bytes only where something is decided by them.
    let is_used =
        matches!(config.maxmemory_policy, AllkeysLfu | AllkeysLru | VolatileLfu | VolatileLru);
    let access = is_used.then(|| Access::new(Settings::of(config).access, now));
    let remarks = vec![
        ("redis-ver", REDIS_VERSION.to_owned()),
        ("rubine-ver", env!("CARGO_PKG_VERSION").to_owned()),
        ("redis-bits", usize::BITS.to_string()),
        ("ctime", (now / 1000).to_string()),
        ("used-mem", allocator::used_memory().to_string()),
        ("aof-base", "0".to_owned()),
    ];
    DumpOptions {
        version: config.rdb_version.version(),
        compresses: config.rdbcompression,
        sums: config.rdbchecksum,
        threads: save_threads(config),
        share: Share::Half,
        key_delay_us: config.rdb_key_save_delay,
        access,
        remarks,
        functions: server.persistence.saves.functions.codes(),
    }
}

/// As many threads as the directive says; without it, half of the processors, since clients have to be served as well.
fn save_threads(config: &Config) -> usize {
    match config.rdb_save_threads {
        0 => std::thread::available_parallelism().map_or(1, |it| it.get().div_ceil(2)),
        count => usize::from(count),
    }
}

fn log_end(kind: Kind, outcome: Outcome) {
    if kind == Kind::Foreground {
        return;
    }
    match outcome {
        Outcome::Saved => tracing::info!("Background saving terminated with success"),
        Outcome::Failed => tracing::warn!("Background saving error"),
        Outcome::Cancelled => tracing::info!("Background saving was cancelled"),
    }
}
