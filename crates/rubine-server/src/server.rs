//! What all workers share. Every part is safe to use from any thread.

mod ending;
mod script_threads;
mod scripting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use rubine_base::clock::monotonic_millis;
use rubine_base::crc::SLOT_COUNT;
use rubine_config::{Config, ConfigStore, Listed, RewriteError, RewriteScope};
use rubine_journal::Journal;
use rubine_keyspace::Keyspace;
use rubine_net::listener::Listening;
use rubine_net::tls::{ClientConfig, Tls};
use rubine_replication::failover;
use rubine_storage::Persistence;
use rubine_storage::aof::Aof;

pub(crate) use self::ending::{AllDone, Asker, Ending};
pub(crate) use self::script_threads::{
    Debugged, Given, Job, Rules, SCRIPT_THREADS_MAX, ScriptKind,
};
pub(crate) use self::scripting::{
    LoadingHost, NotKilled, RunLogged, Running, Scripting, Wish, interpreter_settings,
    log_of_script,
};
use crate::access::AccessControl;
use crate::alerting::Alerting;
use crate::aside::Aside;
use crate::client::registry::Clients;
use crate::client::resting::Resting;
use crate::client::{ClientFlags, ClientInfo};
use crate::cluster::Cluster;
use crate::command_table::CommandTable;
use crate::mailbox::{Mailbox, Message};
use crate::observing::Observing;
use crate::pause::{Hold, Pause};
use crate::process::logging::Logger;
use crate::process::oom_score::OomScore;
use crate::process::stopping::Stopping;
use crate::process::watchdog::Watchdog;
use crate::pubsub::Registry;
use crate::quotas::Quotas;
use crate::recording::Recording;
use crate::replication::Replication;
use crate::sentinel::Sentinel;
use crate::settings::{InForce, Settings};
use crate::stats::WorkerStats;
use crate::stats::gauges::Gauges;
use crate::stats::memory::MemoryHistory;
use crate::tracking::Trackers;

/// A running server.
pub(crate) struct Server {
    pub(crate) keyspace: Keyspace,
    pub(crate) journal: Arc<Journal>,
    pub(crate) aof: Aof,
    pub(crate) config: ConfigStore,
    pub(crate) settings: InForce,
    pub(crate) commands: CommandTable,
    /// Users, and what they may do.
    pub(crate) access: AccessControl,
    /// What users, databases and prefixes of keys may take.
    pub(crate) quotas: Quotas,
    pub(crate) operating: Operating,
    pub(crate) clients: Clients,
    pub(crate) workers: Arc<[Mailbox]>,
    pub(crate) stats: Stats,
    pub(crate) observing: Observing,
    pub(crate) client_eviction: ClientEviction,
    /// Who listens to what.
    pub(crate) pubsub: Registry,
    /// Who keeps copies of keys.
    pub(crate) trackers: Trackers,
    pub(crate) pause: Pause,
    pub(crate) scripting: Scripting,
    pub(crate) ports: Ports,
    /// What is done on threads beside the workers.
    pub(crate) aside: Aside,
    pub(crate) process: ThisProcess,
    pub(crate) switches: Switches,
    pub(crate) replication: Replication,
    pub(crate) persistence: Persistence,
    pub(crate) shutdown: Ending,
    /// Its part in a cluster, if it is in one.
    pub(crate) cluster: Option<Cluster>,
    /// What it monitors, if it is a Sentinel and no server of data.
    pub(crate) sentinel: Option<Sentinel>,
}

/// Where the counters of the thread that follows a master are, behind those of the workers.
pub(crate) const FOLLOWER: usize = SCRIPT_THREADS_MAX;
/// Where those of the thread are that speaks with the nodes of a cluster.
pub(crate) const BUS: usize = FOLLOWER + 1;

/// What is counted and measured.
pub(crate) struct Stats {
    /// Of the workers, then of the threads for scripts, then of the thread that follows a master and of the one that speaks
    /// with a cluster.
    pub(crate) threads: Vec<WorkerStats>,
    pub(crate) gauges: Gauges,
    pub(crate) memory: MemoryHistory,
}

/// What the server tells its operators by itself, and keeps for them.
pub(crate) struct Operating {
    /// Metrics, health and the console.
    pub(crate) http: rubine_http::Service,
    pub(crate) alerting: Alerting,
    /// What metrics were.
    pub(crate) recording: Recording,
    pub(crate) backups: Backups,
}

/// What is kept elsewhere, and what somebody else copies there.
#[derive(Default)]
pub(crate) struct Backups {
    pub(crate) service: rubine_backup::service::Service,
    pub(crate) set: rubine_storage::backup_set::BackupSet,
}

/// Where clients come in.
pub(crate) struct Ports {
    pub(crate) listening: Listening,
    pub(crate) tls: Tls,
    pub(crate) tls_reloads: Reloads,
    /// When the log last told of a browser, Unix milliseconds.
    pub(crate) warned_of_http_at: AtomicI64,
    /// When it last told of a client that speaks otherwise than its port.
    pub(crate) warned_of_speech_at: AtomicI64,
}

impl Ports {
    pub(crate) fn new(listening: Listening) -> Self {
        let (tls, tls_reloads) = Default::default();
        let (warned_of_http_at, warned_of_speech_at) = Default::default();
        Self { listening, tls, tls_reloads, warned_of_http_at, warned_of_speech_at }
    }
}

/// When the files that TLS is made from are looked at again.
#[derive(Default)]
pub(crate) struct Reloads {
    /// When they were last looked at, Unix milliseconds.
    pub(crate) looked_at: AtomicI64,
    /// A thread looks at them.
    pub(crate) is_under_way: AtomicBool,
}

/// How the memory of clients is kept small.
#[derive(Default)]
pub(crate) struct ClientEviction {
    pub(crate) resting: Resting,
    /// Held by the worker that evicts clients, so that no two of them choose for the same need.
    pub(crate) turn: Mutex<()>,
}

/// This run of the program, and what watches over it.
pub(crate) struct ThisProcess {
    pub(crate) logger: Option<Arc<Logger>>,
    /// 40 hexadecimal digits that no other run has.
    pub(crate) run_id: String,
    /// Unix milliseconds.
    pub(crate) started_at: i64,
    pub(crate) oom_score: OomScore,
    pub(crate) watchdog: Watchdog,
    pub(crate) stopping: Stopping,
}

/// What DEBUG switches off for tests.
pub(crate) struct Switches {
    /// Whether keys that are due are removed although nobody asks for them: `DEBUG SET-ACTIVE-EXPIRE`.
    pub(crate) expires_actively: AtomicBool,
    /// Whether payloads of RESTORE need a checksum that is right; workers learn it from the settings.
    pub(crate) checks_dump_sums: AtomicBool,
    /// Scripts may call what is denied to them: `DEBUG SET-DISABLE-DENY-SCRIPTS`.
    pub(crate) scripts_may_all: AtomicBool,
    /// Nothing happens by the clock: `DEBUG PAUSE-CRON`.
    pub(crate) is_cron_paused: AtomicBool,
}

impl Default for Switches {
    fn default() -> Self {
        let (expires_actively, checks_dump_sums) = (AtomicBool::new(true), AtomicBool::new(true));
        let (scripts_may_all, is_cron_paused) = Default::default();
        Self { expires_actively, checks_dump_sums, scripts_may_all, is_cron_paused }
    }
}

impl Server {
    /// Takes over new settings; workers notice at their next turn.
    pub(crate) fn publish(&self, mut settings: Settings) {
        let checks_sums = self.switches.checks_dump_sums.load(Ordering::Relaxed);
        settings.limits.dump_checks.checksum = checks_sums;
        settings.limits.slot_owners = self.cluster.as_ref().map(Cluster::slot_owners);
        if let Some(cluster) = &self.cluster {
            cluster.usages().turn(settings.counts_slots, settings.shows_slots);
        }
        self.pubsub.set_bytes_max(settings.pubsub_output_limit.hard_bytes);
        self.observing.latency.set_threshold(settings.latency_ticks);
        self.settings.publish(settings);
        self.wake_all();
    }

    /// What kind of server it is, as HELLO and INFO call it.
    pub(crate) fn mode_name(&self) -> &'static str {
        if self.sentinel.is_some() {
            "sentinel"
        } else if self.config.load().cluster_enabled {
            "cluster"
        } else {
            "standalone"
        }
    }

    /// Whether protected mode is there to keep such a client out.
    pub(crate) fn keeps_out(&self, config: &Config, is_local: bool) -> bool {
        let takes_all = || self.access.users().default_user().takes_any_password();
        config.protected_mode && !is_local && takes_all()
    }

    /// Closes another client's connection. Nobody finds it any more from now on, and none of its commands runs.
    pub(crate) fn kill(&self, info: &ClientInfo) {
        info.is_killed.store(true, Ordering::Release);
        self.clients.remove(info.id);
        info.cancel_wait();
        if info.flags().contains(ClientFlags::MASTER) {
            self.replication.following.wake();
            return;
        }
        self.workers[info.worker].send(Message::Kill { client: info.id });
    }

    /// The same by its number, if it is there still.
    pub(crate) fn kill_id(&self, id: u64) {
        if let Some(info) = self.clients.get(id) {
            self.kill(&info);
        }
    }

    /// What TLS is spoken with towards the nodes that keys move to, if it is.
    pub(crate) fn tls_to_nodes(&self) -> Option<Arc<ClientConfig>> {
        let is_wanted = self.config.load().tls_cluster;
        self.ports.tls.current().as_ref().filter(|_| is_wanted).map(|it| Arc::clone(&it.client))
    }

    /// What TLS is spoken with towards a master, if it is.
    pub(crate) fn tls_to_master(&self) -> Option<Arc<ClientConfig>> {
        let is_wanted = self.config.load().tls_replication;
        self.ports.tls.current().as_ref().filter(|_| is_wanted).map(|it| Arc::clone(&it.client))
    }

    /// Has the function libraries, as they are now, in what is saved next: all, or the one that has changed.
    pub(crate) fn keep_libraries(&self, changed: Option<&[u8]>) {
        let libraries = self.scripting.libraries.current();
        let kept = &self.persistence.saves.functions;
        if let Some(name) = changed {
            match libraries.library(name) {
                Some(library) => kept.insert(name, &library.code),
                None => kept.remove(name),
            }
            return;
        }
        let codes = libraries.iter().map(|it| (it.name.as_slice(), it.code.as_slice()));
        kept.replace(codes);
    }

    /// Closes the links of all replicas: they come back at once, and learn that the history has another name.
    pub(crate) fn cut_replicas(&self) {
        let ids: Vec<_> =
            self.replication.replicas.with(|it| it.replicas().map(|it| it.0).collect());
        for id in ids {
            self.replication.replicas.release(id);
            self.kill_id(id);
        }
    }

    /// Whether this server has given its part up, and the replica that was asked has not answered.
    pub(crate) fn hands_over(&self) -> bool {
        self.pause.held_for() == Some(Hold::Failover)
            && self.replication.failover.lock().phase() == failover::Phase::InProgress
    }

    /// Handing over to a replica has ended, one way or the other: writes wait no longer.
    pub(crate) fn end_failover(&self) {
        self.pause.hold(Hold::Failover, false);
        // Whoever waits for a client's pause as well goes on waiting: here its write would be refused now.
        let is_paused = self.pause.in_force(monotonic_millis() as i64).is_some();
        for worker in self.workers.iter() {
            worker.send(if is_paused { Message::Wake } else { Message::PauseChanged });
        }
    }

    /// Writes what is in force into the file that the server was started with; see [`ConfigStore::rewrite`].
    pub(crate) fn rewrite_config(
        &self,
        scope: RewriteScope,
        sentinel: Option<&[String]>,
    ) -> Result<(), RewriteError> {
        // Where users have a file of their own, they stay there.
        let has_file = !self.config.load().aclfile.is_empty();
        let users = self.access.users();
        let users: Vec<_> = users.iter().filter(|_| !has_file).map(|it| it.words()).collect();
        let line = |quota: &Arc<crate::quotas::Quota>| {
            let mut words = quota.rule.words();
            words.insert(0, b"quota".to_vec());
            words
        };
        let quotas: Vec<_> = self.quotas.table().quotas().iter().map(line).collect();
        let alerts = self.operating.alerting.lines();
        let listed = Listed { users: &users, quotas: &quotas, alerts: &alerts, sentinel };
        self.config.rewrite(scope, listed)
    }

    /// Lets every worker make a turn.
    pub(crate) fn wake_all(&self) {
        for worker in self.workers.iter() {
            worker.send(Message::Wake);
        }
    }

    /// Whether whoever writes has to wait for the append-only file.
    pub(crate) fn is_throttled(&self) -> bool {
        self.aof.is_behind(self.journal.end())
    }

    /// Whether whoever publishes has to wait for the thread of the cluster.
    pub(crate) fn is_relay_behind(&self) -> bool {
        self.cluster.as_ref().is_some_and(|it| it.messages.are_behind())
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
        self.shutdown.is_under_way.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Lets every counter start anew. What workers count at the same moment may be lost.
    pub(crate) fn reset_stats(&self) {
        self.stats.threads.iter().for_each(WorkerStats::reset);
        self.replication.following.link.input_bytes.store(0, Ordering::Relaxed);
        self.persistence.saves.reset_count();
        self.aside.defrag.reset();
        self.replication.replicas.reset_stats();
        if let Some(cluster) = &self.cluster {
            cluster.usages().forget(0..SLOT_COUNT);
            cluster.migrations.reset_stats();
            cluster.ask(|machine, _| machine.reset_statistics());
        }
        self.scripting.scripts.reset_evicted_count();
        self.stats.memory.freed_before.store(self.keyspace.garbage().freed(), Ordering::Relaxed);
        self.stats.memory.over_limit.reset();
        self.stats.gauges.reset_at.store(monotonic_millis() as i64, Ordering::Relaxed);
    }

    /// Bytes that came, from clients, the master and the sources of slots.
    pub(crate) fn net_input_bytes(&self) -> u64 {
        let from_master = self.replication.following.link.input_bytes.load(Ordering::Relaxed);
        self.total(|it| it.input_bytes.get()) + from_master + self.slot_bytes().0
    }

    /// Bytes that went, to clients, replicas and the targets of slots.
    pub(crate) fn net_output_bytes(&self) -> u64 {
        self.total(|it| it.output_bytes.get()) + self.slot_bytes().1
    }

    /// Bytes that came with slots which move here, and went with those that move away.
    pub(crate) fn slot_bytes(&self) -> (u64, u64) {
        let bytes = |it: &AtomicU64| it.load(Ordering::Relaxed);
        let migrations = self.cluster.as_ref().map(|it| &it.migrations);
        migrations.map_or((0, 0), |it| (bytes(&it.import_bytes), bytes(&it.export_bytes)))
    }

    /// Commands that ran, of all workers.
    pub(crate) fn commands_processed(&self) -> u64 {
        let of_worker =
            |stats: &WorkerStats| stats.commands.iter().map(|it| it.calls.get()).sum::<u64>();
        self.stats.threads.iter().map(of_worker).sum()
    }

    /// The counters of the workers.
    pub(crate) fn worker_stats(&self) -> &[WorkerStats] {
        &self.stats.threads[..self.workers.len()]
    }

    /// A counter of all workers, added up.
    pub(crate) fn total(&self, counter: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.stats.threads.iter().map(counter).sum()
    }
}
