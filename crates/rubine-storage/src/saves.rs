//! What is known of saves to the dump file: the one that goes on, how the last has ended, what was saved then. Writes
//! nothing itself.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};
use rubine_base::clock::unix_millis;
use rubine_journal::Point;
use rubine_keyspace::Snapshot;

use crate::aof::RewriteStatus;
use crate::libraries::Libraries;
use crate::loading::per_second;
use crate::rdb_save::Work;
use crate::save_points::Moment;

/// What is told of a save: a background save's failure keeps clients from writing, if so configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody waits for it.
    Foreground,
    Background,
}

/// How a save has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Saved,
    Failed,
    Cancelled,
}

/// Whether a save has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Started,
    /// Another one goes on.
    Saving,
    /// The append-only file is being rewritten.
    Rewriting,
    /// The system gave no thread or no directory.
    Failed,
}

/// All that is known of saves.
#[derive(Debug)]
pub struct Saves {
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
    pub functions: Libraries,
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
    pub(crate) kind: Kind,
    stage: AtomicU8,
    /// Unix milliseconds.
    started_at: i64,
    /// The counters of changes at the moment of the image.
    dirty: AtomicU64,
    /// The moment of the image in the journal.
    point: OnceLock<Point>,
    pub(crate) work: Work,
}

/// How far a job is. What is being published cannot be cancelled, and the other way round.
const WRITING: u8 = 0;
const PUBLISHING: u8 = 1;
const CANCELLED: u8 = 2;

impl Job {
    pub(crate) fn new(kind: Kind, now: i64) -> Arc<Self> {
        let (stage, dirty) = (AtomicU8::new(WRITING), AtomicU64::new(0));
        let point = OnceLock::new();
        Arc::new(Self { kind, stage, started_at: now, dirty, point, work: Work::default() })
    }

    /// Takes in what is to be written, what the counters of changes said at that moment, and which moment it was.
    pub(crate) fn fill(&self, image: Snapshot, dirty: u64, point: Point) {
        self.dirty.store(dirty, Ordering::Relaxed);
        self.point.get_or_init(|| point);
        self.work.fill(image);
    }

    /// The moment of the image, once it was taken.
    pub(crate) fn point(&self) -> Option<&Point> {
        self.point.get()
    }

    /// Gives the file its name from now on: it cannot be cancelled any more. False if it was.
    pub(crate) fn begin_publishing(&self) -> bool {
        self.advance(PUBLISHING)
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

    pub(crate) fn temporary_name(&self) -> String {
        let pid = std::process::id();
        match self.kind {
            Kind::Foreground => foreground_name(),
            // Two may be there at once: one that was cancelled and has yet to notice, and the next.
            Kind::Background => format!("temp-{pid}-{}.rdb", self.started_at),
        }
    }
}

/// What the file is called that SAVE and the end of the server write to, until it is whole.
pub fn foreground_name() -> String {
    format!("temp-{}.rdb", std::process::id())
}

/// What INFO shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub is_saving_in_background: bool,
    pub current_seconds: Option<i64>,
    pub copied_bytes: usize,
    pub keys_done: u64,
    pub keys_total: u64,
    pub keys_per_second: u64,
    pub bytes_per_second: u64,
    pub last_failed: bool,
    pub last_seconds: Option<i64>,
    pub last_copied_bytes: usize,
    pub last_keys_per_second: u64,
    pub last_bytes_per_second: u64,
}

impl Saves {
    pub fn new(now_seconds: i64) -> Self {
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
    pub fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    /// Whether a background save waits for its turn.
    pub fn is_scheduled(&self) -> bool {
        self.is_scheduled.load(Ordering::Relaxed)
    }

    pub fn schedule(&self) {
        self.is_scheduled.store(true, Ordering::Relaxed);
    }

    /// Forgets that a save was to come. Returns whether one was.
    pub fn take_schedule(&self) -> bool {
        self.is_scheduled.swap(false, Ordering::Relaxed)
    }

    /// Unix seconds.
    pub fn last_saved_at(&self) -> i64 {
        self.last_saved_at.load(Ordering::Relaxed)
    }

    /// How many saves were begun.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub fn reset_count(&self) {
        self.started.store(0, Ordering::Relaxed);
    }

    /// What the counters of changes said when the image was made that was saved last.
    pub(crate) fn saved_changes(&self) -> u64 {
        self.saved_dirty.load(Ordering::Relaxed)
    }

    /// All data counts as saved after so many changes: it has just been loaded.
    pub(crate) fn count_as_saved(&self, dirty: u64) {
        self.saved_dirty.store(dirty, Ordering::Relaxed);
    }

    /// What decides whether a save is due, after so many changes that are not saved.
    pub(crate) fn moment(&self, changes: u64, now_seconds: i64) -> Moment {
        let mut state = self.state.lock();
        // Whoever looks may have read the clock a moment before a save ended.
        if now_seconds + 1 < self.last_saved_at().max(state.last_try_at) {
            // The clock was set back: nothing has happened in the future.
            self.last_saved_at.fetch_min(now_seconds, Ordering::Relaxed);
            state.last_try_at = state.last_try_at.min(now_seconds);
        }
        Moment {
            changes,
            seconds_since_save: now_seconds - self.last_saved_at(),
            seconds_since_try: now_seconds - state.last_try_at,
            last_failed: state.last_failed,
        }
    }

    /// Counts a save that takes no place.
    pub(crate) fn count_start(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the one place that there is for a save.
    pub(crate) fn reserve(
        &self,
        kind: Kind,
        now: i64,
        rewrite: RewriteStatus,
    ) -> Result<Arc<Job>, Start> {
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
        self.count_start();
        Ok(job)
    }

    /// Gives the place back, if the job still has it.
    pub(crate) fn release(&self, job: &Arc<Job>) {
        let mut state = self.state.lock();
        if state.running.as_ref().is_some_and(|it| Arc::ptr_eq(it, job)) {
            state.running = None;
            self.is_busy.store(false, Ordering::Release);
            self.became_idle.notify_all();
        }
    }

    /// Returns when no save goes on.
    pub(crate) fn wait_until_idle(&self) {
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
    pub fn cancel_background(&self) -> bool {
        self.cancel_if(|kind| kind == Kind::Background)
    }

    /// Ends whatever save goes on.
    pub fn cancel_any(&self) -> bool {
        self.cancel_if(|_| true)
    }

    /// What INFO shows.
    pub fn report(&self, now: i64) -> Report {
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

    /// Notes how a job has ended. `on_news` is told whether it has failed, if that is what counts from now on.
    pub(crate) fn note_end(&self, job: &Job, outcome: Outcome, on_news: impl FnOnce(bool)) {
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
            on_news(state.last_failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Saves;

    #[test]
    fn a_clock_that_is_set_back_starts_anew() {
        let saves = Saves::new(10_000);
        assert_eq!(saves.moment(1, 10_060).seconds_since_save, 60);
        assert_eq!(saves.moment(1, 9_999).seconds_since_save, -1);
        assert_eq!(saves.last_saved_at(), 10_000);
        // Back by more than an hour.
        assert_eq!(saves.moment(1, 5_000).seconds_since_save, 0);
        assert_eq!(saves.moment(1, 5_060).seconds_since_save, 60);
        assert_eq!(saves.last_saved_at(), 5_000);
    }
}
