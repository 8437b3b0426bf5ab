//! Backups of a running server: what is configured, what is asked for, and the threads that do it. One makes, verifies and
//! removes backups, one ships the log, and each question is answered on a thread of its own. Nobody waits for them who does
//! not want to: orders are queued, within a bound, and answers are given to whoever asked.

mod queries;
mod runner;
mod shipping;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rubine_base::clock::unix_millis;

use self::shipping::Shipping;
use crate::catalog::{Catalog, Entry};
use crate::error::BackupError;
use crate::figures::{Figures, TargetState};
use crate::layout::BackupId;
use crate::retention::Plan;
use crate::schedule::Schedule;
use crate::source::Source;
use crate::store::{self, Access, Store};
use crate::target::Target;

/// Orders that may wait.
const ORDERS_MAX: usize = 16;
/// Questions that are answered at the same time.
const QUERIES_MAX: usize = 4;

/// What the directives say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub url: String,
    pub access: Access,
    pub schedule: String,
    pub jitter_seconds: u32,
    /// Good backups that are kept; 0 for all.
    pub retention: u32,
    /// That of zstd; 0 for none.
    pub level: u8,
    /// 0 for no limit.
    pub bytes_per_second: u64,
    pub has_log: bool,
    pub log_interval_seconds: u32,
    /// So far the log may fall behind.
    pub log_buffer_bytes: u64,
    /// What tells this server from others that keep backups in the same place.
    pub owner: String,
}

/// A directive that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub directive: &'static str,
    pub reason: String,
}

/// Options that can be followed.
pub struct Setup {
    pub(crate) options: Options,
    pub(crate) target: Target,
    pub(crate) schedule: Option<Schedule>,
    /// Opened by the first who needs it.
    store: Mutex<Option<Arc<dyn Store>>>,
}

impl Setup {
    /// Looks at what directives say; `None` if there are to be no backups. Asks nobody anything.
    pub fn of(options: Options) -> Result<Option<Self>, Refusal> {
        let refuse = |directive, reason| Refusal { directive, reason };
        let schedule =
            Schedule::parse(&options.schedule).map_err(|it| refuse("backup-schedule", it))?;
        if options.url.is_empty() {
            return Ok(None);
        }
        let target = Target::parse(&options.url).map_err(|it| refuse("backup-url", it))?;
        Ok(Some(Self { options, target, schedule, store: Mutex::new(None) }))
    }

    /// One whose store is already open, for tests.
    #[cfg(test)]
    pub(crate) fn on(store: Arc<dyn Store>, options: Options) -> Self {
        let target = Target::Folder("/test".into());
        let schedule = Schedule::parse(&options.schedule).expect("tests give good ones");
        Self { options, target, schedule, store: Mutex::new(Some(store)) }
    }

    pub(crate) fn store(&self) -> Result<Arc<dyn Store>, BackupError> {
        let mut kept = self.store.lock();
        if let Some(store) = &*kept {
            return Ok(Arc::clone(store));
        }
        let store: Arc<dyn Store> = store::open(&self.target, &self.options.access)?.into();
        Ok(Arc::clone(kept.insert(store)))
    }
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A backup now.
    Now,
    Verify(BackupId),
    /// Removes a backup that is not the last good one.
    Delete(BackupId),
    Prune,
    /// Lets a suspect backup count.
    Accept(BackupId),
    List,
    Info(BackupId),
    /// What pruning would remove.
    PrunePlan,
    /// Writes, reads, lists and removes a probe.
    Test,
}

impl Request {
    /// Whether it changes nothing that is kept.
    fn is_query(&self) -> bool {
        matches!(self, Self::List | Self::Info(_) | Self::PrunePlan | Self::Test)
    }
}

/// What comes of it.
#[derive(Clone, Debug)]
pub enum Answer {
    Done,
    Made(Box<Entry>),
    /// So many keys were read.
    Verified(u64),
    Pruned(Plan),
    Listed(Box<Catalog>),
    Info(Box<Details>),
}

/// A backup, and the log that follows it.
#[derive(Clone, Debug)]
pub struct Details {
    pub entry: Entry,
    pub segments: u64,
    pub segment_bytes: u64,
    /// What can be restored of it: up to the end of this second, Unix time.
    pub covers_until: Option<i64>,
}

/// Told what came of a request.
pub type OnAnswer = Box<dyn FnOnce(Result<Answer, BackupError>) + Send>;

/// Backups of one server.
#[derive(Default)]
pub struct Service {
    pub figures: Figures,
    state: Mutex<State>,
    changed: Condvar,
    bytes_per_second: AtomicU64,
    queries: AtomicUsize,
    shipping: Shipping,
    is_running: AtomicBool,
}

#[derive(Default)]
struct State {
    setup: Option<Arc<Setup>>,
    /// The setup is another one than that which the runner knows.
    is_new: bool,
    orders: VecDeque<(Request, OnAnswer)>,
}

impl Service {
    /// Follows `setup` from now on, or makes no backups any more. The first time, threads are started.
    pub fn set(
        &'static self,
        setup: Option<Setup>,
        source: &'static dyn Source,
    ) -> std::io::Result<()> {
        if setup.is_none() && !self.is_running.load(Ordering::Acquire) {
            return Ok(());
        }
        if !self.is_running.swap(true, Ordering::AcqRel) {
            let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
            spawn("backup log").spawn(move || shipping::run(self, source))?;
            spawn("backup").spawn(move || runner::run(self, source))?;
        }
        let limit = setup.as_ref().map_or(0, |it| it.options.bytes_per_second);
        self.bytes_per_second.store(limit, Ordering::Relaxed);
        let state = if setup.is_some() { TargetState::Checking } else { TargetState::Off };
        self.figures.set_target(state, "");
        let mut kept = self.state.lock();
        kept.setup = setup.map(Arc::new);
        kept.is_new = true;
        self.changed.notify_all();
        Ok(())
    }

    /// Changes nothing but the limit, which counts at once.
    pub fn set_limit(&self, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Asks for something. `on_answer` is called from another thread, or at once where the request is refused.
    pub fn ask(&'static self, source: &'static dyn Source, request: Request, on_answer: OnAnswer) {
        let setup = self.state.lock().setup.clone();
        let Some(setup) = setup else { return on_answer(Err(BackupError::NotConfigured)) };
        if request.is_query() {
            return self.ask_aside(setup, source, request, on_answer);
        }
        let mut state = self.state.lock();
        if ORDERS_MAX <= state.orders.len() {
            drop(state);
            return on_answer(Err(BackupError::Busy("more than can wait")));
        }
        state.orders.push_back((request, on_answer));
        self.changed.notify_all();
    }

    fn ask_aside(
        &'static self,
        setup: Arc<Setup>,
        source: &'static dyn Source,
        request: Request,
        on_answer: OnAnswer,
    ) {
        if QUERIES_MAX <= self.queries.fetch_add(1, Ordering::AcqRel) {
            self.queries.fetch_sub(1, Ordering::AcqRel);
            return on_answer(Err(BackupError::Busy("the answer to as many questions as can be")));
        }
        let on_answer = Arc::new(Mutex::new(Some(on_answer)));
        let of_thread = Arc::clone(&on_answer);
        let run = move || {
            let answer = queries::answer(self, &setup, source, &request);
            self.queries.fetch_sub(1, Ordering::AcqRel);
            if let Some(on_answer) = of_thread.lock().take() {
                on_answer(answer);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("backup query".to_owned()).spawn(run) {
            self.queries.fetch_sub(1, Ordering::AcqRel);
            let on_answer = on_answer.lock().take();
            let error = BackupError::Unfit(format!("no thread can be started: {error}"));
            on_answer.into_iter().for_each(|it| it(Err(error.clone())));
        }
    }

    /// Ships what there is of the log, as long as that takes no longer than `wait_max`. To be called when nothing is written
    /// any more.
    pub fn finish(&self, wait_max: Duration) {
        if self.is_running.load(Ordering::Acquire) {
            self.shipping.finish(wait_max);
        }
    }

    /// What is counted of a catalog that was just read.
    fn note(&self, catalog: &Catalog) {
        let figures = &self.figures;
        figures.kept.store(catalog.good_count() as u64, Ordering::Relaxed);
        if let Some(last) = catalog.last_good() {
            let Entry { manifest, .. } = last;
            figures.note_good(manifest.taken_at_ms, manifest.dump.bytes, manifest.keys);
        }
        let is_stopped = catalog.entries.last().is_some_and(Entry::is_suspect);
        figures.is_pruning_stopped.store(is_stopped.into(), Ordering::Relaxed);
    }
}

/// A name for a probe that no other has.
fn probe_name() -> String {
    format!("probe-{:x}-{:016x}", unix_millis(), rubine_base::random::seed_from_os())
}

#[cfg(test)]
mod tests;
