//! Sentinel mode: a thread that listens to those who are monitored and to the other Sentinels, lets happen what is due, and
//! does what the state machine wants to be done. Decides nothing itself.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use mio::{Events, Poll};
use rubine_base::clock::{monotonic_millis, unix_millis};
use rubine_config::{Config, RewriteScope, SentinelLine, Setter};
use rubine_net::tls::ClientConfig;
use rubine_resp::writer::Reply;
use rubine_sentinel::{
    Action, Event, Handler, Identity, Level, Notice, Outcome, Request, Sentinel, Unsaved,
};

use crate::client::subscriptions::ChannelKind;
use crate::pubsub;
use crate::sentinel::{Driver, link_of};
use crate::server::Server;

/// Events that are taken at a time.
const EVENTS: usize = 256;
/// Rounds of effects of effects: what fails leads to new ones.
const ROUNDS_MAX: usize = 100;

/// The machine as the configuration describes it. An error is what the start ends with.
pub(crate) fn machine(config: &Config) -> Result<Sentinel, String> {
    let port =
        if config.tls_replication && config.tls_port != 0 { config.tls_port } else { config.port };
    let password = config.requirepass.as_ref().map(|it| String::from_utf8_lossy(it).into_owned());
    let log_level = config.get(&[b"loglevel"]).into_iter().next().map(|(_, value)| value);
    let log_level = String::from_utf8_lossy(&log_level.unwrap_or_default()).into_owned();
    let seed = rubine_base::random::seed_from_os();
    let identity = Identity { port, password, log_level, seed };
    let mut machine = Sentinel::new(identity, unix_millis());
    let mut lines: Vec<&SentinelLine> = config.sentinel.iter().collect();
    lines.sort_by_key(|it| Sentinel::config_order(&it.words[0]));
    for SentinelLine { words, line } in lines {
        let words: Vec<_> = words.iter().map(|it| String::from_utf8_lossy(it)).collect();
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        if machine.resolves_names()
            && let Some(host) = Sentinel::hosts_in(&words)
        {
            tell_address(&mut machine, host);
        }
        machine.configure(&words, &is_executable).map_err(|error| {
            rubine_config::ConfigError { line: line.clone(), reason: error.to_string() }.to_string()
        })?;
    }
    Ok(machine)
}

/// Tells the machine at once what a name stands for.
fn tell_address(machine: &mut Sentinel, host: &str) {
    let (host, ip) = (host.to_owned(), address_of(host));
    machine.handle(Event::Resolved { host, ip }, unix_millis());
}

/// What a name stands for; IPv4 is preferred, as the others do.
fn address_of(host: &str) -> Option<IpAddr> {
    let all: Vec<_> = (host, 0).to_socket_addrs().ok()?.map(|it| it.ip()).collect();
    all.iter().find(|it| it.is_ipv4()).or(all.first()).copied()
}

/// Whether there is a program of that name that may be run.
fn is_executable(path: &str) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Begins to monitor.
pub(crate) fn start(server: &'static Server) -> Result<(), String> {
    let sentinel = server.sentinel.as_ref().expect("it is one");
    let (poll, wanted) = sentinel.take_start().expect("it begins once");
    {
        let mut driver = sentinel.driver();
        driver.machine.begin();
        settle(server, &mut driver);
    }
    let started = std::thread::Builder::new()
        .name("sentinel".to_owned())
        .spawn(move || run(server, poll))
        .and_then(|_| {
            let look_up = move || look_up(server, &wanted);
            std::thread::Builder::new().name("names".to_owned()).spawn(look_up)
        });
    started.map(drop).map_err(|error| format!("Can't start a thread: {error}"))
}

fn run(server: &'static Server, mut poll: Poll) {
    let sentinel = server.sentinel.as_ref().expect("it is one");
    let mut events = Events::with_capacity(EVENTS);
    let mut turn_at = monotonic_millis();
    while !server.shutdown.is_under_way.load(Ordering::Acquire) {
        let left = Duration::from_millis(turn_at.saturating_sub(monotonic_millis()));
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::warn!("Can't wait for events: {error}");
                return;
            }
            _ => {}
        }
        let mut driver = sentinel.driver();
        for event in &events {
            let happened = driver.go_on(link_of(event.token()));
            handle(server, &mut driver, happened);
        }
        if turn_at <= monotonic_millis() {
            let ended = driver.ended();
            handle(server, &mut driver, ended);
            let after_ms = driver.machine.tick(unix_millis());
            settle(server, &mut driver);
            turn_at = monotonic_millis() + after_ms as u64;
        }
    }
}

/// Looks names up, which may take long, and tells the machine.
fn look_up(server: &'static Server, wanted: &Receiver<String>) {
    let sentinel = server.sentinel.as_ref().expect("it is one");
    for host in wanted {
        let ip = address_of(&host);
        if ip.is_none() {
            tracing::warn!("Failed to resolve hostname '{host}'");
        }
        let mut driver = sentinel.driver();
        handle(server, &mut driver, vec![Event::Resolved { host, ip }]);
    }
}

/// Has the machine take in what has happened, one after the other, and does what follows.
fn handle(server: &'static Server, driver: &mut Driver, events: Vec<Event>) {
    for event in events {
        driver.machine.handle(event, unix_millis());
        settle(server, driver);
    }
}

/// Runs a subcommand for a client. What is to be replied instead is returned if the configuration could not be saved.
pub(crate) fn execute(
    server: &'static Server,
    handler: Handler,
    args: &[&[u8]],
    reply: Reply<'_>,
) -> Result<Option<Unsaved>, String> {
    let sentinel = server.sentinel.as_ref().expect("only a Sentinel has the command");
    let now = unix_millis();
    let mut driver = sentinel.driver();
    let mut request = Request { args, reply, now, is_executable: &is_executable };
    let outcome = driver.machine.run(handler, &mut request);
    let is_saved = settle(server, &mut driver);
    Ok(match outcome? {
        Outcome::IfSaved(unsaved) if !is_saved => Some(unsaved),
        Outcome::IfSaved(_) | Outcome::Replied => None,
    })
}

/// Finds out what the host of `SENTINEL MONITOR` stands for before the command runs, which needs to know.
pub(crate) fn prepare_monitor(server: &'static Server, args: &[&[u8]]) {
    let sentinel = server.sentinel.as_ref().expect("only a Sentinel has the command");
    let host = sentinel.driver().machine.host_to_monitor(args);
    if let Some(host) = host {
        let (host, ip) = (host.to_owned(), address_of(host));
        handle(server, &mut sentinel.driver(), vec![Event::Resolved { host, ip }]);
    }
}

/// Does what the machine wants to be done, until it wants nothing more. Returns whether all that had to be saved was saved.
fn settle(server: &'static Server, driver: &mut Driver) -> bool {
    let mut is_saved = true;
    for _ in 0..ROUNDS_MAX {
        let mut effects = driver.machine.take_effects();
        // It is among what is saved.
        effects.actions.retain(|action| {
            if let Action::SetLogLevel(level) = action {
                set_log_level(server, level);
            }
            !matches!(action, Action::SetLogLevel(_))
        });
        if effects.saves {
            let is_safe = save(server, driver);
            is_saved &= is_safe;
            driver.machine.handle(Event::Saved { is_safe }, unix_millis());
        }
        if effects.actions.is_empty() {
            break;
        }
        for action in effects.actions {
            act(server, driver, action);
        }
        for event in driver.flush() {
            driver.machine.handle(event, unix_millis());
        }
    }
    is_saved
}

/// Writes the configuration, so that it is there after whatever happens next.
fn save(server: &'static Server, driver: &Driver) -> bool {
    let lines = driver.machine.config_lines();
    match server.rewrite_config(RewriteScope::Changed, Some(&lines)) {
        Ok(()) => {
            tracing::info!("Sentinel new configuration saved on disk");
            true
        }
        Err(error) => {
            tracing::warn!(
                "WARNING: Sentinel was not able to save the new configuration on disk!!!: {error}"
            );
            false
        }
    }
}

fn act(server: &'static Server, driver: &mut Driver, action: Action) {
    let now = unix_millis();
    match action {
        Action::Connect { link, to } => {
            if let Err(error) = driver.connect(link, to, tls(server)) {
                tracing::trace!("Can't connect to {to}: {error}");
                driver.machine.handle(Event::Closed { link }, now);
            }
        }
        Action::Close { link } => driver.close(link),
        Action::Send { link, command } => driver.send(link, &command),
        Action::Tell(notice) => tell(server, &notice),
        Action::Log { level, text } => log(level, &text),
        Action::LogDelay { until } => {
            let until = local_time(until);
            tracing::info!("Next failover delay: I will not start a failover before {until}");
        }
        Action::Resolve { host } => {
            if let Some(sentinel) = &server.sentinel {
                sentinel.look_up(host);
            }
        }
        Action::Run { job, command } => {
            let event = driver.run(job, &command);
            driver.machine.handle(event, now);
        }
        Action::Kill { pid } => driver.kill(pid),
        Action::SetLogLevel(level) => set_log_level(server, &level),
        Action::Crash => std::process::exit(CRASHED),
    }
}

/// The code that a test looks for which has asked for a crash.
const CRASHED: i32 = 99;

/// What is spoken with others, if it is TLS.
fn tls(server: &'static Server) -> Option<Arc<ClientConfig>> {
    let is_wanted = server.config.load().tls_replication;
    server.ports.tls.current().as_ref().filter(|_| is_wanted).map(|it| Arc::clone(&it.client))
}

/// Logs an event, and has all hear of it who listen to its name.
fn tell(server: &'static Server, notice: &Notice) {
    let Notice { level, channel, text } = notice;
    log(*level, &format!("{channel} {text}"));
    if *level == Level::Debug {
        return;
    }
    let notice = pubsub::Notice {
        kind: ChannelKind::Channel,
        channel: channel.as_bytes(),
        payload: text.as_bytes(),
        durable_offset: 0,
    };
    server.pubsub.publish(&server.workers, notice);
}

fn log(level: Level, text: &str) {
    match level {
        Level::Debug => tracing::trace!("{text}"),
        Level::Verbose => tracing::debug!("{text}"),
        Level::Notice => tracing::info!("{text}"),
        Level::Warning => tracing::warn!("{text}"),
    }
}

fn set_log_level(server: &'static Server, level: &str) {
    let setter = Setter { is_local: true, is_loading: false };
    let set = server.config.set(&[b"loglevel", level.as_bytes()], setter, |_, new, _| {
        if let Some(logger) = &server.process.logger {
            logger.apply(new);
        }
        Ok(())
    });
    if let Err(error) = set {
        tracing::warn!("Can't set the log level: {error}");
    }
}

/// As `ctime` writes it.
fn local_time(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at)
        .map(|it| it.to_zoned(jiff::tz::TimeZone::system()))
        .map(|it| it.strftime("%a %b %e %H:%M:%S %Y").to_string())
        .unwrap_or_default()
}
