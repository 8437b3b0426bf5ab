//! What all workers share. Every part is safe to use from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use rubine_commands::CommandError;
use rubine_journal::Journal;
use rubine_keyspace::Keyspace;

use crate::client::ClientInfo;
use crate::command_table::CommandTable;
use crate::config::ConfigStore;
use crate::listener::Listening;
use crate::logging::Logger;
use crate::mailbox::{Mailbox, Message};
use crate::pause::Pause;
use crate::persistence::Persistence;
use crate::persistence::aof::Aof;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::stats::WorkerStats;

/// Error codes beyond this many are not counted apart: a client could make them up.
const ERROR_CODES_MAX: usize = 128;

/// A running server.
pub(crate) struct Server {
    pub(crate) keyspace: Keyspace,
    pub(crate) journal: Arc<Journal>,
    pub(crate) aof: Aof,
    pub(crate) config: ConfigStore,
    pub(crate) logger: Option<Arc<Logger>>,
    pub(crate) settings: ArcSwap<Settings>,
    /// Counts the changes of `settings`.
    pub(crate) settings_version: AtomicU64,
    pub(crate) commands: CommandTable,
    pub(crate) clients: Clients,
    pub(crate) workers: Vec<Mailbox>,
    pub(crate) stats: Vec<WorkerStats>,
    pub(crate) errors: ErrorStats,
    pub(crate) resting: crate::limits::Resting,
    /// Held by the worker that evicts clients, so that no two of them choose for the same need.
    pub(crate) client_eviction: Mutex<()>,
    /// Who listens to what.
    pub(crate) pubsub: crate::pubsub::Registry,
    pub(crate) pause: Pause,
    pub(crate) computations: crate::compute::Queue,
    pub(crate) defrag: crate::defrag::Defrag,
    pub(crate) migrations: crate::migration::Migrations,
    /// When the log last told of a browser, Unix milliseconds.
    pub(crate) warned_of_http_at: AtomicI64,
    /// 40 hexadecimal digits that no other run has.
    pub(crate) run_id: String,
    /// Unix milliseconds.
    pub(crate) started_at: i64,
    /// Where the server listens, for INFO.
    pub(crate) listening: Listening,
    pub(crate) is_shutting_down: AtomicBool,
    /// Whether keys that are due are removed although nobody asks for them: `DEBUG SET-ACTIVE-EXPIRE`.
    pub(crate) expires_actively: AtomicBool,
    /// Whether payloads of RESTORE need a checksum that is right; workers learn it from the settings.
    pub(crate) checks_dump_sums: AtomicBool,
    pub(crate) peak_memory: AtomicUsize,
    /// Memory in use when the server was ready.
    pub(crate) startup_memory: AtomicUsize,
    pub(crate) last_peak_at: AtomicI64,
    pub(crate) gauges: crate::cron::Gauges,
    /// Names the history of the data: 40 hexadecimal digits.
    pub(crate) replication_id: ArcSwap<String>,
    /// Nothing happens by the clock: `DEBUG PAUSE-CRON`.
    pub(crate) is_cron_paused: AtomicBool,
    /// What the background thread had freed when the counters were last set to 0.
    pub(crate) freed_before: AtomicU64,
    pub(crate) over_memory_limit: OverLimit,
    pub(crate) persistence: Persistence,
    pub(crate) shutdown: Shutdown,
    pub(crate) oom_score: crate::oom_score::OomScore,
    pub(crate) watchdog: crate::watchdog::Watchdog,
}

impl Server {
    /// Takes over new settings; workers notice at their next turn.
    pub(crate) fn publish(&self, mut settings: Settings) {
        let checks_sums = self.checks_dump_sums.load(Ordering::Relaxed);
        settings.limits.dump_checks.checksum = checks_sums;
        self.settings.store(Arc::new(settings));
        self.settings_version.fetch_add(1, Ordering::Release);
        self.wake_all();
    }

    /// Closes another client's connection. Nobody finds it any more from now on, and none of its commands runs.
    pub(crate) fn kill(&self, info: &ClientInfo) {
        info.is_killed.store(true, Ordering::Release);
        self.clients.remove(info.id);
        info.cancel_wait();
        self.workers[info.worker].send(Message::Kill { client: info.id });
    }

    /// Lets every worker make a turn.
    pub(crate) fn wake_all(&self) {
        for worker in &self.workers {
            worker.send(Message::Wake);
        }
    }

    /// Whether whoever writes has to wait for the append-only file.
    pub(crate) fn is_throttled(&self) -> bool {
        self.aof.is_behind(self.journal.end())
    }

    /// Waits until all is on disk that was written so far, but not for ever.
    pub(crate) fn wait_for_disk(&self) {
        const POLLS_MAX: u32 = 5000;
        const POLL: std::time::Duration = std::time::Duration::from_millis(1);
        let end = self.journal.end();
        self.journal.notify();
        for _ in 0..POLLS_MAX {
            if end <= self.aof.synced().reached() || self.aof.error().is_some() {
                return;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks all workers to end. The first one finishes the server.
    pub(crate) fn shut_down(&self) {
        self.is_shutting_down.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Lets every counter start anew. What workers count at the same moment may be lost.
    pub(crate) fn reset_stats(&self) {
        self.stats.iter().for_each(WorkerStats::reset);
        self.errors.clear();
        self.persistence.saves.reset_count();
        self.defrag.reset();
        self.freed_before.store(self.keyspace.garbage().freed(), Ordering::Relaxed);
        self.over_memory_limit.reset();
    }

    /// Commands that ran, of all workers.
    pub(crate) fn commands_processed(&self) -> u64 {
        let of_worker =
            |stats: &WorkerStats| stats.commands.iter().map(|it| it.calls.get()).sum::<u64>();
        self.stats.iter().map(of_worker).sum()
    }

    /// A counter of all workers, added up.
    pub(crate) fn total(&self, counter: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.stats.iter().map(counter).sum()
    }
}

/// The time that memory was above its limit.
#[derive(Debug, Default)]
pub(crate) struct OverLimit {
    /// Unix milliseconds; 0 while it is not.
    since: AtomicI64,
    total_ms: AtomicI64,
}

impl OverLimit {
    /// Notes whether memory is above its limit.
    pub(crate) fn note(&self, is_over: bool, now: i64) {
        if is_over {
            let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        } else if self.since.load(Ordering::Relaxed) != 0 {
            let since = self.since.swap(0, Ordering::Relaxed);
            if since != 0 {
                self.total_ms.fetch_add((now - since).max(0), Ordering::Relaxed);
            }
        }
    }

    /// How long it has been so now.
    pub(crate) fn current_ms(&self, now: i64) -> i64 {
        let since = self.since.load(Ordering::Relaxed);
        if since == 0 { 0 } else { (now - since).max(0) }
    }

    /// How long it was so altogether.
    pub(crate) fn total_ms(&self, now: i64) -> i64 {
        self.total_ms.load(Ordering::Relaxed) + self.current_ms(now)
    }

    fn reset(&self) {
        self.total_ms.store(0, Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
    }
}

/// The connected clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next_id: AtomicU64,
    connected: Mutex<HashMap<u64, Arc<ClientInfo>>>,
    count: AtomicUsize,
}

impl Clients {
    /// A number that no client has had.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn add(&self, info: Arc<ClientInfo>) {
        let mut connected = self.connected.lock();
        connected.insert(info.id, info);
        self.count.store(connected.len(), Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, id: u64) {
        let mut connected = self.connected.lock();
        connected.remove(&id);
        self.count.store(connected.len(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<ClientInfo>> {
        self.connected.lock().get(&id).cloned()
    }

    /// All clients, by number.
    pub(crate) fn list(&self) -> Vec<Arc<ClientInfo>> {
        let mut clients: Vec<_> = self.connected.lock().values().cloned().collect();
        clients.sort_by_key(|it| it.id);
        clients
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// How often each error code was replied.
#[derive(Debug, Default)]
pub(crate) struct ErrorStats {
    counts: Mutex<HashMap<String, u64>>,
}

impl ErrorStats {
    /// Counts an error reply by its code.
    #[cold]
    pub(crate) fn count(&self, error: &CommandError) {
        let text = error.to_string();
        let code = text.split(' ').next().unwrap_or("ERR");
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(code) {
            *count += 1;
        } else if counts.len() < ERROR_CODES_MAX {
            counts.insert(code.to_owned(), 1);
        }
    }

    /// The counts, by code.
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> =
            self.counts.lock().iter().map(|(code, count)| (code.clone(), *count)).collect();
        counts.sort();
        counts
    }

    pub(crate) fn clear(&self) {
        self.counts.lock().clear();
    }
}
