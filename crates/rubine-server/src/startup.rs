//! From the command line to a running server, and to its end.

mod crash;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Poll, Waker};
use rubine_base::clock::unix_millis;
use rubine_journal::Journal;
use rubine_keyspace::{Discarded, Keyspace, Tell};

use crate::access::{self, AccessControl};
use crate::alerting::Alerting;
use crate::aside::Aside;
use crate::cluster::Cluster;
use crate::commands;
use crate::control::{audit, backup, cluster, sentinel, shutdown, watching};
use crate::core::replaying::runner_of_scripts;
use crate::core::{Core, SessionHandler};
use crate::follow;
use crate::http;
use crate::mailbox::{Mailbox, Message};
use crate::persistence::load::{remove_due, revive_libraries};
use crate::process::affinity;
use crate::process::identity::{new_history_id, new_run_id, version_line};
use crate::process::logging;
use crate::process::oom_score;
use crate::process::oom_score::OomScore;
use crate::process::process_title;
use crate::process::restart::Origin;
use crate::process::stopping::Stopping;
use crate::process::supervision;
use crate::process::watchdog::Watchdog;
use crate::sentinel::Sentinel;
use crate::server::{BUS, Operating, Ports, Server, Stats, Switches, ThisProcess};
use crate::settings::{InForce, Settings};
use crate::stats::WorkerStats;
use crate::stats::gauges::Gauges;
use crate::stats::memory::MemoryHistory;
use crate::tools::{check_system, health_check, restore, restore_backup, test_memory};
use crate::worker::{MAILBOX, Worker};
use rubine_backup::restore::files::obstacle;
use rubine_config::{Config, ConfigSource, ConfigStore, LogLevel, Mode};
use rubine_net::listener;
use rubine_net::tls::Contexts;
use rubine_storage::{Persistence, Trouble, backlog_writer, load, log_load, log_writer};
use rubine_system::collation::collation;
use rubine_system::{allocator, process, ticks, title};

/// At the end of the server, what the log of backups has yet to get is shipped, unless that takes longer.
const BACKUP_WAIT_MAX: Duration = Duration::from_secs(10);

const HELP: &str = "\
Usage: rubine-server [/path/to/rubine.conf] [options] [-]
       rubine-sentinel /path/to/sentinel.conf [options]
       rubine-server - (read the configuration from standard input)
       rubine-server -v or --version
       rubine-server -h or --help
       rubine-server --test-memory <megabytes>
       rubine-server --check-system
       rubine-server --healthcheck [http://host:port/path]

Every directive of the configuration file is an option too, after those of the file:
       rubine-server (run with the defaults)
       rubine-server /etc/redis/redis.conf
       rubine-server --port 7000 --maxmemory 1gb
       rubine-server rubine.conf --loglevel verbose -
       rubine-server sentinel.conf --sentinel
       rubine-server rubine.conf --restore-to 2026-11-21T10:00:00Z [--restore-dir /new/folder]
                     (start with what the append-only file held then, in a new folder)
       rubine-server rubine.conf --restore s3://bucket/prefix[@latest|@ID|@2026-11-30T10:00:00Z] [--restore-dir /folder]
                     (start with a backup, in an empty folder)
";

/// Runs the server that `args` (without the program's name) ask for, until it is shut down. `program`, the name, or an option
/// may say that it is a Sentinel.
pub fn main(program: &[u8], args: &[Vec<u8>]) -> ExitCode {
    match args.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") => return print(&format!("{}\n", version_line())),
        Some(b"-h" | b"--help") => return print(HELP),
        Some(b"--check-system") => {
            let (report, code) = check_system::report();
            print(&report);
            return code;
        }
        Some(b"--test-memory") => return test_memory::main(&args[1..]),
        Some(b"--healthcheck") => return health_check::main(&args[1..]),
        _ => {}
    }
    let origin = Origin::new(program, args);
    let mut args = args.to_vec();
    let backup = match restore_backup::take_request(&mut args) {
        Ok(backup) => backup,
        Err(reason) => return fail(&reason),
    };
    let request = match restore::take_request(&mut args) {
        Ok(request) => request,
        Err(reason) => return fail(&reason),
    };
    let mode = mode_of(program, &args);
    let (mut config, source) = match Config::from_args(&args, mode) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error.to_string()),
    };
    if config.set_proc_title {
        // No other thread has been started so far.
        title::prepare();
    }
    if let Err(reason) = restore_first(backup.as_ref(), request.as_ref(), &mut config) {
        return fail(&reason);
    }
    let logs_to_output = config.logfile.is_empty() && config.loglevel != LogLevel::Nothing;
    let is_sentinel = mode == Mode::Sentinel;
    match serve(config, source, mode) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(delay)) => {
            let error = origin.begin_anew(delay);
            fail(&format!("Can't restart: {error}"))
        }
        Err(reason) if (logs_to_output || is_sentinel) && tracing::dispatcher::has_been_set() => {
            // Whoever sees the one sees the other, so once is enough. What a Sentinel says elsewhere than in its log, as
            // no other one does, the suites take for a crash.
            tracing::warn!("{reason}");
            ExitCode::FAILURE
        }
        Err(reason) => {
            tracing::warn!("{reason}");
            fail(&reason)
        }
    }
}

/// Does what is to be done before the server starts: makes a folder from a backup, or from what the log held once.
fn restore_first(
    backup: Option<&restore_backup::Request>,
    request: Option<&restore::Request>,
    config: &mut Config,
) -> Result<(), String> {
    let told = match (backup, request) {
        (Some(_), Some(_)) => return Err("--restore and --restore-to are two things".to_owned()),
        (Some(backup), None) => restore_backup::restore(backup, config)?,
        (None, Some(request)) => restore::restore(request, config)?,
        // What is not all there is nothing to start from.
        (None, None) => return obstacle(config.dir.as_path()).map_or(Ok(()), Err),
    };
    print(&(told.join("\n") + "\n"));
    Ok(())
}

/// Whether a program of that name, with these options, is a Sentinel.
fn mode_of(program: &[u8], args: &[Vec<u8>]) -> Mode {
    let name = program.rsplit(|it| *it == b'/').next().unwrap_or_default();
    let is_named = [&b"rubine-sentinel"[..], b"redis-sentinel", b"valkey-sentinel"].contains(&name);
    let is_asked_for = args.iter().any(|it| it.eq_ignore_ascii_case(b"--sentinel"));
    if is_named || is_asked_for { Mode::Sentinel } else { Mode::Server }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(reason: &str) -> ExitCode {
    // Nothing is left to be done about a closed standard error.
    let _ = writeln!(std::io::stderr(), "{reason}");
    ExitCode::FAILURE
}

/// Starts everything and waits for the end.
fn serve(mut config: Config, source: ConfigSource, mode: Mode) -> Result<Option<Duration>, String> {
    let directory = config.dir.as_path();
    std::env::set_current_dir(directory)
        .map_err(|error| format!("Can't chdir to '{}': {error}", directory.display()))?;
    let supervision = supervision::begin(config.supervised);
    let is_supervised = matches!(supervision, Ok(Some(_)));
    let is_daemon = config.daemonize && !is_supervised;
    if let Ok(Some(found)) = supervision {
        config.supervised = found;
    }
    if is_daemon {
        process::daemonize().map_err(|error| format!("Can't go to the background: {error}"))?;
    }
    let logger = logging::install(&config)
        .map_err(|error| format!("Can't open the log file '{}': {error}", config.logfile))?;
    if mode == Mode::Sentinel {
        logger.set_role(logging::Role::Sentinel);
    }
    announce(&source);
    if let Err(reason) = supervision {
        tracing::warn!("{reason}");
    }
    tune(&config)?;
    fit_maxclients(&mut config);
    let sentinel = sentinel_of(&config, &source, mode)?;
    let contexts = Contexts::of(&config)?;
    let listeners = listener::open_all(&config)?;
    let cluster = if sentinel.is_some() { None } else { cluster::open(&config)? };
    let modes = Modes { cluster, sentinel };
    let (server, handlers, polls) = build(config, source, Some(logger), listeners, modes)?;
    server.ports.tls.set(contexts.map(Arc::new));
    crash::install(server);
    audit::begin(server)?;
    backup::begin(server)?;
    watching::begin(server)?;
    let config = server.config.load();
    let pid_file = write_pid_file(&config, is_daemon);
    process_title::show(&config, server.config.source());
    install_signals(server)?;
    // Before anything is loaded: whoever asks is told how far that is.
    http::listen(server, &config)?;
    tracing::info!("Server initialized");
    let pin = || affinity::pin(server.config.load().bio_cpulist.as_deref());
    crate::aside::compute::start(&server.aside.computations, &server.workers, pin)?;
    let (workers, writers) = if server.sentinel.is_some() {
        (monitor(server, handlers, polls)?, Vec::new())
    } else {
        load(server, handlers, polls)?
    };
    // A score that the kernel refuses is told in the log, and no reason not to start.
    let _ = server.process.oom_score.apply(&config);
    server.process.watchdog.set(server.worker_stats(), &server.commands, config.watchdog_period);
    tracing::info!("Ready to accept connections {}", where_it_listens(&config));
    supervision::say_ready(config.supervised);
    for worker in workers {
        if worker.join().is_err() {
            return Err("a worker thread ended unexpectedly".to_owned());
        }
    }
    finish(server);
    if writers.into_iter().any(|it| it.join().is_err()) {
        return Err("a thread that writes to the disk ended unexpectedly".to_owned());
    }
    if let Some(path) = pid_file {
        let _ = std::fs::remove_file(path);
    }
    if let Some(path) = &config.unixsocket {
        let _ = std::fs::remove_file(path);
    }
    tracing::warn!("Rubine is now ready to exit, bye bye...");
    Ok(server.shutdown.restart_delay())
}

/// Has all threads come to their end that write, or send, something still.
fn finish(server: &Server) {
    server.aof.finish();
    server.persistence.backlog.finish();
    server.operating.backups.service.finish(BACKUP_WAIT_MAX);
    server.observing.audit.finish();
    server.operating.alerting.finish();
    server.operating.recording.finish();
}

/// What a Sentinel begins with, if this is to be one. It needs a file in which it can keep what it finds out.
fn sentinel_of(
    config: &Config,
    source: &ConfigSource,
    mode: Mode,
) -> Result<Option<Sentinel>, String> {
    if mode != Mode::Sentinel {
        return Ok(None);
    }
    let Some(file) = &source.file else {
        return Err("Sentinel needs config file on disk to save state. Exiting...".to_owned());
    };
    if let Err(error) = rustix::fs::access(file, rustix::fs::Access::WRITE_OK) {
        let file = file.display();
        return Err(format!("Sentinel config file {file} is not writable: {error}. Exiting..."));
    }
    let machine = sentinel::machine(config)?;
    let sentinel = Sentinel::new(machine);
    sentinel.map(Some).map_err(|error| format!("Can't make an event queue: {error}"))
}

/// Begins to serve and to monitor, as a Sentinel.
fn monitor(
    server: &'static Server,
    handlers: &'static [SessionHandler],
    polls: Vec<Poll>,
) -> Result<Vec<JoinHandle<()>>, String> {
    let config = server.config.load();
    let port = if config.port == 0 { config.tls_port } else { config.port };
    tracing::info!("Running mode=sentinel, port={port}.");
    server.persistence.set_trouble(Trouble::LOADING, false);
    sentinel::start(server)?;
    start_workers(server, handlers, polls)
}

/// Threads whose end is waited for.
type Threads = Vec<JoinHandle<()>>;

/// Begins to serve, and loads what is on disk. Returns the threads of the workers, and that of the append-only file.
fn load(
    server: &'static Server,
    handlers: &'static [SessionHandler],
    polls: Vec<Poll>,
) -> Result<(Threads, Threads), String> {
    let _ = server.scripting.logged.set(runner_of_scripts(server, handlers));
    log_load::load_keys(server.storage())?;
    // Clients can connect while data is loaded, and are told so.
    let config = server.config.load();
    let is_log = config.appendonly;
    load::announce(
        server.storage(),
        if is_log { load::log_bytes(&config) } else { load::dump_bytes(&config) },
    );
    follow::prepare(server);
    let workers = start_workers(server, handlers, polls)?;
    if config.appendonly {
        log_load::load_at_start(server.storage())?;
    } else {
        load::at_startup(server.storage())?;
    }
    let backlog_writer = backlog_writer::start(server.storage())?;
    open_to_clients(server, handlers)?;
    let aof_writer = log_writer::start(server.storage())?;
    Ok((workers, vec![aof_writer, backlog_writer]))
}

/// All data is there: serves it, and follows the master that is configured.
fn open_to_clients(
    server: &'static Server,
    handlers: &'static [SessionHandler],
) -> Result<(), String> {
    revive_libraries(server)?;
    remove_due(server);
    server.persistence.set_trouble(Trouble::LOADING, false);
    follow::begin_configured(server, handlers)?;
    cluster::start(server, handlers)
}

/// What is set once and for all: the hash function, where keys are placed, huge pages, the locale.
fn tune(config: &Config) -> Result<(), String> {
    if let Some(seed) = &config.hash_seed {
        rubine_base::hash::seed_global(seed);
    }
    if config.cluster_enabled {
        rubine_keyspace::place_by_slot(config.cluster_databases as usize);
    }
    affinity::check(config);
    if let Some(max) = process::backlog_max().filter(|max| *max < config.tcp_backlog) {
        tracing::warn!(
            "WARNING: The TCP backlog setting of {} cannot be enforced because \
             /proc/sys/net/core/somaxconn is set to the lower value of {max}.",
            config.tcp_backlog
        );
    }
    oom_score::check(config);
    if config.disable_thp
        && process::huge_pages_are_forced()
        && let Err(error) = rustix::thread::disable_transparent_huge_pages(true)
    {
        tracing::warn!(
            "WARNING Transparent Huge Pages are in use, and can't be switched off for this \
             process: {error}. It may take more memory than maxmemory allows for."
        );
    }
    match (collation(&config.locale_collate), config.locale_collate.as_str()) {
        (Ok(_), _) => Ok(()),
        (Err(_), "") => {
            tracing::warn!(
                "Warning: Failed to configure LOCALE derived from the environment variables, \
                 using the default locale 'C'."
            );
            Ok(())
        }
        (Err(_), name) => {
            Err(format!("Failed to configure LOCALE for invalid locale name: '{name}'."))
        }
    }
}

fn announce(source: &ConfigSource) {
    tracing::info!("oO0OoO0OoO0Oo Rubine is starting oO0OoO0OoO0Oo");
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    // Start scripts and test suites look for the process number in this form.
    tracing::info!("Rubine version={version}, bits=64, just started, PID: {pid}");
    if source.file.is_none() {
        tracing::info!("No config file given: the defaults and the command line are in force.");
    } else {
        tracing::info!("Configuration loaded");
    }
    for note in &source.notes {
        tracing::info!("{note}");
    }
}

/// Lowers `maxclients` to what the limit on open files allows.
fn fit_maxclients(config: &mut Config) {
    let wanted = u64::from(config.maxclients) + process::RESERVED_FILES;
    let allowed = process::raise_open_files(wanted);
    if allowed < wanted {
        let fitting = allowed.saturating_sub(process::RESERVED_FILES).max(1);
        tracing::warn!(
            "The limit of {allowed} open files leaves room for {fitting} clients: maxclients is lowered from {}.",
            config.maxclients
        );
        config.maxclients = fitting as u32;
    }
}

fn where_it_listens(config: &Config) -> String {
    let mut places = Vec::new();
    if config.port != 0 {
        places.push("tcp");
    }
    if config.tls_port != 0 {
        places.push("tls");
    }
    if config.unixsocket.is_some() {
        places.push("unix");
    }
    places.join(", ")
}

/// What a server may be beside a server of data, or in its place.
#[derive(Default)]
struct Modes {
    cluster: Option<Cluster>,
    sentinel: Option<Sentinel>,
}

/// Puts the shared parts together. The server lives as long as the process.
fn build(
    mut config: Config,
    source: ConfigSource,
    logger: Option<Arc<logging::Logger>>,
    listeners: Vec<listener::Listener>,
    Modes { cluster, sentinel }: Modes,
) -> Result<(&'static Server, &'static [SessionHandler], Vec<Poll>), String> {
    let table = if sentinel.is_some() { commands::sentinel_table } else { commands::command_table };
    let (commands, handlers) = table(&config.renamed_commands)?;
    let worker_count = worker_count(&mut config, sentinel.is_some());
    let access = AccessControl::new(&commands, &config);
    access::files::load_at_start(&access, &config)?;
    let (polls, workers) = event_queues(worker_count)?;
    let registry = polls[0].registry().try_clone();
    let listening = registry
        .and_then(|registry| listener::Listening::new(registry, listeners))
        .map_err(|error| format!("Can't watch a listening socket: {error}"))?;
    let workers: Arc<[Mailbox]> = workers.into();
    let (keyspace, garbage) = Keyspace::telling(Box::new(TellWorkers(Arc::clone(&workers))));
    free_in_background(garbage, config.bio_cpulist.clone())?;
    let now = unix_millis();
    let server = Server {
        keyspace,
        journal: Journal::new(0, 0),
        aof: rubine_storage::aof::Aof::default(),
        settings: InForce::new(Settings::of(&config)),
        stats: Stats {
            threads: (0..=worker_count + BUS).map(|_| WorkerStats::new(commands.len())).collect(),
            gauges: Gauges::default(),
            memory: MemoryHistory::new(now, allocator::used_memory()),
        },
        commands,
        access,
        quotas: crate::quotas::Quotas::new(&config.quotas, worker_count),
        operating: Operating {
            http: rubine_http::Service::default(),
            alerting: Alerting::new(&config)?,
            recording: crate::recording::Recording::default(),
            backups: crate::server::Backups::default(),
        },
        clients: crate::client::registry::Clients::default(),
        aside: Aside::new(tell_of_free_keys(&workers)),
        workers,
        observing: crate::observing::Observing::default(),
        client_eviction: crate::server::ClientEviction::default(),
        pubsub: crate::pubsub::Registry::default(),
        trackers: crate::tracking::Trackers::new(worker_count),
        pause: crate::pause::Pause::default(),
        scripting: crate::server::Scripting::default(),
        ports: Ports::new(listening),
        switches: Switches::default(),
        replication: crate::replication::Replication::default(),
        persistence: Persistence::new(now),
        shutdown: crate::server::Ending::default(),
        process: this_process(logger, now),
        config: ConfigStore::new(config, source),
        cluster,
        sentinel,
    };
    server.journal.rename_history(new_history_id());
    // Parts of it go by settings, too.
    let settings = Settings::clone(&server.settings.load());
    server.publish(settings);
    Ok((Box::leak(Box::new(server)), handlers.leak(), polls))
}

/// The event queue of each worker, and its mailbox.
fn event_queues(worker_count: usize) -> Result<(Vec<Poll>, Vec<Mailbox>), String> {
    let failed = |error: std::io::Error| format!("Can't make an event queue: {error}");
    let mut polls = Vec::new();
    let mut workers = Vec::new();
    for _ in 0..worker_count {
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), MAILBOX).map_err(failed)?;
        polls.push(poll);
        workers.push(Mailbox::new(waker));
    }
    Ok((polls, workers))
}

/// This run, which began at `now`.
fn this_process(logger: Option<Arc<logging::Logger>>, now: i64) -> ThisProcess {
    ThisProcess {
        logger,
        run_id: new_run_id(),
        started_at: now,
        oom_score: OomScore::default(),
        watchdog: Watchdog::default(),
        stopping: Stopping::default(),
    }
}

/// How many workers there are, as the configuration says from now on. A Sentinel needs no more than one; its configuration
/// stays as it is, since the file that it is written to is for real Sentinels, too.
fn worker_count(config: &mut Config, is_sentinel: bool) -> usize {
    if is_sentinel {
        return 1;
    }
    if config.workers == 0 {
        config.workers = affinity::processor_count(config.server_cpulist.as_deref()) as u16;
    }
    usize::from(config.workers)
}

/// Starts the thread that frees what is large.
fn free_in_background(garbage: Receiver<Discarded>, cpulist: Option<String>) -> Result<(), String> {
    let free = move || {
        affinity::pin(cpulist.as_deref());
        garbage.into_iter().for_each(drop::<Discarded>);
    };
    let started = std::thread::Builder::new().name("free".to_owned()).spawn(free);
    started.map(drop).map_err(|error| format!("Can't start a thread: {error}"))
}

/// Tells workers whose turn it is at a shard that was busy.
struct TellWorkers(Arc<[Mailbox]>);

impl Tell for TellWorkers {
    fn tell(&self, worker: usize, clients: &[u64]) {
        self.0[worker].send(Message::ShardFree { clients: clients.into() });
    }
}

/// Has workers look again at requests that wait for keys which moved.
fn tell_of_free_keys(workers: &Arc<[Mailbox]>) -> impl Fn() + Send + Sync + 'static {
    let workers = Arc::clone(workers);
    move || workers.iter().for_each(|it| it.send(Message::PauseChanged))
}

fn start_workers(
    server: &'static Server,
    handlers: &'static [SessionHandler],
    polls: Vec<Poll>,
) -> Result<Vec<JoinHandle<()>>, String> {
    ticks::per_microsecond();
    let mut threads = Vec::new();
    for (index, poll) in polls.into_iter().enumerate() {
        let core = Core::new(server, handlers, index);
        let mut worker = Worker::new(core, poll);
        let thread = std::thread::Builder::new()
            .name(format!("worker {index}"))
            .spawn(move || {
                affinity::pin(server.config.load().server_cpulist.as_deref());
                worker.run();
            })
            .map_err(|error| format!("Can't start a thread: {error}"))?;
        threads.push(thread);
    }
    Ok(threads)
}

/// SIGTERM and SIGINT shut down in order; a second SIGINT, which is Ctrl-C as a rule, ends the process at once. SIGHUP has
/// log files opened anew: the server outlives the terminal that it was started from.
fn install_signals(server: &'static Server) -> Result<(), String> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(|error| format!("Can't watch signals: {error}"))?;
    let watch = move || {
        for signal in &mut signals {
            if signal == SIGHUP {
                if let Some(logger) = &server.process.logger {
                    logger.reopen();
                }
                server.observing.audit.reopen();
                tracing::info!("Received SIGHUP: log files have been opened anew");
                continue;
            }
            let config = server.config.load();
            let (name, options) = match signal {
                SIGINT => ("SIGINT", config.shutdown_on_sigint),
                _ => ("SIGTERM", config.shutdown_on_sigterm),
            };
            let is_repeated = server.shutdown.ask(options);
            if is_repeated && signal == SIGINT {
                shutdown::end_at_once();
            }
            if server.persistence.is_loading() {
                tracing::warn!("Received shutdown signal during loading, scheduling shutdown.");
            } else {
                tracing::warn!("Received {name} scheduling shutdown...");
            }
            server.wake_all();
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .map_err(|error| format!("Can't start a thread: {error}"))?;
    Ok(())
}

/// Writes the process number where the configuration says, or where a daemon's is expected.
fn write_pid_file(config: &Config, is_daemon: bool) -> Option<String> {
    let default = is_daemon.then(|| "/var/run/rubine.pid".to_owned());
    let path = config.pidfile.clone().filter(|it| !it.is_empty()).or(default)?;
    match std::fs::write(&path, format!("{}\n", std::process::id())) {
        Ok(()) => Some(path),
        Err(error) => {
            tracing::warn!("Can't write the pid file {path}: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests;
