//! A node of a cluster: the thread that speaks with the other nodes, lets happen what is due, and does what the state machine
//! wants to be done. Decides nothing itself.

mod balance;
mod effects;
pub(crate) mod migration;
mod names;
mod orders;
mod weights;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use rubine_base::clock::{Millis, monotonic_millis};
use rubine_base::random::{Random, seed_from_os};
use rubine_cluster::id::MigrationId;
use rubine_cluster::message::Received;
use rubine_cluster::migration::Migrations;
use rubine_cluster::slots::SlotSet;
use rubine_cluster::{Cluster as Machine, Event, LinkId, nodes_conf};
use rubine_config::Config;
use rubine_net::listener::{self, FIRST_LISTENER, Listener};
use rubine_storage::disk::Disk;

use self::balance::Balance;
use self::names::Names;
use super::cluster_data;
use crate::cluster::{Bus, Cluster, Job, Links, NodesFile};
use crate::core::SessionHandler;
use crate::core::own_commands::OwnCommands;
use crate::server::{BUS, Server};

const WAKER: Token = Token(usize::MAX);
/// Events that are taken at a time.
const EVENTS: usize = 1024;
/// How long it sleeps at most: the server may end.
const SLEEP_MAX_MS: Millis = 200;
/// What anybody can bring about by connecting is logged that often at most, milliseconds.
const WARNING_PERIOD_MS: Millis = 1000;

/// This node's part in a cluster, if the configuration wants one: what it knew before, and where it listens. An error is
/// what the start ends with.
pub(crate) fn open(config: &Config) -> Result<Option<Cluster>, String> {
    if !config.cluster_enabled {
        return Ok(None);
    }
    let port = cluster_data::bus_port(config);
    check_port(config)?;
    let listeners = listener::open_bus(config, port)?;
    let name = &config.cluster_config_file;
    let mut file = NodesFile::take(name)?;
    let text = file
        .read()
        .map_err(|error| format!("Loading the cluster node config from {name}: {error}"))?;
    let corrupt = |reason: String| {
        format!("Unrecoverable error: corrupted cluster config file \"{name}\": {reason}")
    };
    let saved =
        nodes_conf::parse(&text, config.tls_cluster).map_err(|it| corrupt(it.to_string()))?;
    let ahead = Cluster::clock_from_now();
    let now = monotonic_millis() as Millis + ahead;
    let seed = seed_from_os();
    let settings = settings_of(config, port);
    let machine = match saved {
        None => {
            let machine = Machine::new(settings, seed, now);
            // Nobody hears of its name before it is on disk.
            let text = nodes_conf::write(&machine.saved());
            file.save(&Disk::default(), &text, true).map_err(|reason| {
                format!("Fatal: can't update cluster config file {name}: {reason}")
            })?;
            machine
        }
        Some(saved) => {
            Machine::restore(settings, &saved, seed, now).map_err(|it| corrupt(it.to_string()))?
        }
    };
    let no_queue = |error: io::Error| format!("Can't make an event queue: {error}");
    let poll = Poll::new().map_err(no_queue)?;
    let waker = Waker::new(poll.registry(), WAKER).map_err(no_queue)?;
    let migrations = migration::config_of(config);
    let bus = Bus { poll, listeners, file, port };
    Ok(Some(Cluster::new(machine, migrations, waker, ahead, bus)))
}

fn check_port(config: &Config) -> Result<(), String> {
    const PORT_MAX: u16 = 55_535;
    let base = if config.tls_cluster { config.tls_port } else { config.port };
    if config.cluster_port != 0 || base <= PORT_MAX {
        return Ok(());
    }
    Err("Rubine port number too high. Cluster communication port is 10,000 port numbers higher than your Rubine port. \
         Your Rubine port number must be 55535 or less."
        .to_owned())
}

/// What the directives mean, for a bus that is at `port`, wherever clients are by now.
fn settings_of(config: &Config, port: u16) -> rubine_cluster::Config {
    let mut settings = cluster_data::config_of(config);
    if config.cluster_announce_bus_port == 0 {
        settings.announce.bus_port = port;
    }
    settings
}

/// Has the machine work by another configuration. Whoever is told that it is in force finds that the node says so.
pub(super) fn configure(cluster: &Cluster, config: &Config) {
    let settings = settings_of(config, cluster.bus_port());
    cluster.ask(|machine, now| machine.configure(settings, now));
    cluster.wake();
}

/// Begins to be a node. All data is there.
pub(crate) fn start(
    server: &'static Server,
    handlers: &'static [SessionHandler],
) -> Result<(), String> {
    let Some(cluster) = &server.cluster else { return Ok(()) };
    let bus = cluster.take_bus().expect("it begins once");
    let driver = Driver::new(server, cluster, handlers, bus);
    driver
        .and_then(|it| {
            std::thread::Builder::new().name("cluster".to_owned()).spawn(move || it.run())
        })
        .map(drop)
        .map_err(|error| format!("Can't start the thread of the cluster: {error}"))
}

/// What the thread has to do with.
struct Driver {
    server: &'static Server,
    cluster: &'static Cluster,
    poll: Poll,
    listeners: Vec<Listener>,
    links: Links,
    file: NodesFile,
    own: OwnCommands,
    names: Names,
    /// Orders that wait for replicas.
    waiting: Vec<Job>,
    /// That of this turn.
    config: Arc<Config>,
    /// Until when clients may not write.
    paused_until: Option<Millis>,
    /// When the machine wants its next turn.
    turn_at: Millis,
    warned_at: BTreeMap<&'static str, Millis>,
    /// Migrations for which writes are held, with their slots.
    holding: Vec<(MigrationId, SlotSet)>,
    /// When time passes for migrations.
    migrations_turn_at: Millis,
    balance: Balance,
    /// For names of migrations.
    random: Random,
    /// Of the messages that were dropped, so many are in the log.
    dropped_told: u64,
}

impl Driver {
    fn new(
        server: &'static Server,
        cluster: &'static Cluster,
        handlers: &'static [SessionHandler],
        bus: Bus,
    ) -> io::Result<Self> {
        let Bus { poll, mut listeners, file, port: _ } = bus;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), Token(FIRST_LISTENER + index))?;
        }
        let links = Links::new(poll.registry().try_clone()?);
        let own = OwnCommands::new(server, handlers, server.workers.len() + BUS)?;
        let names = Names::start(cluster)?;
        let config = server.config.load();
        let (waiting, paused_until, warned_at, holding, dropped_told) = Default::default();
        Ok(Self {
            server,
            cluster,
            poll,
            listeners,
            links,
            file,
            own,
            names,
            waiting,
            config,
            paused_until,
            turn_at: 0,
            warned_at,
            holding,
            migrations_turn_at: 0,
            balance: Balance::default(),
            random: Random::with_seed(seed_from_os()),
            dropped_told,
        })
    }

    fn run(mut self) {
        let first = self.cluster.take_first();
        self.tell_facts();
        // What fails here is logged, and told to the machine.
        let _ = self.carry_out(first);
        let _ = self.settle();
        self.cluster.end_reload(&self.server.journal);
        let mut events = Events::with_capacity(EVENTS);
        while !self.server.shutdown.is_under_way.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, Some(self.until_next())) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    tracing::warn!("Can't wait for events of the cluster: {error}");
                    return;
                }
                _ => {}
            }
            self.tell_facts();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(number) if FIRST_LISTENER <= number => {
                        self.accept(number - FIRST_LISTENER);
                    }
                    Token(number) => self.serve(LinkId(number as u64)),
                }
            }
            for link in self.links.take_readable() {
                self.serve(link);
            }
            self.connect_found();
            self.take_orders();
            self.relay_messages();
            self.take_turn();
            self.take_turn_of_balance();
            self.take_turn_of_migrations();
            self.settle_migrations();
        }
    }

    /// How long nothing is to be done.
    fn until_next(&self) -> Duration {
        let can_relay =
            self.cluster.messages.are_waiting() && self.links.have_room(self.cluster.now());
        if self.links.are_readable() || can_relay {
            return Duration::ZERO;
        }
        let migrates = self.cluster.migrations.ask(Migrations::is_busy);
        let sleep_max = if migrates { migration::PERIOD_MS } else { SLEEP_MAX_MS };
        let left = (self.turn_at - self.cluster.now()).clamp(0, sleep_max);
        let left = Duration::from_millis(left as u64);
        if self.waiting.is_empty() { left } else { left.min(cluster_data::CONFIRMATION_POLL) }
    }

    /// Tells the machine how the server stands.
    fn tell_facts(&mut self) {
        let facts = cluster_data::facts(self.server, self.cluster);
        let config = self.server.config.load();
        if !Arc::ptr_eq(&config, &self.config) {
            let of_migrations = migration::config_of(&config);
            self.tell_migrations(|machine, _, _| machine.configure(of_migrations));
            self.config = config;
        }
        self.cluster.machine().set_facts(facts);
    }

    /// Lets happen what is due.
    fn take_turn(&mut self) {
        let now = self.cluster.now();
        if self.paused_until.is_some_and(|it| it <= now) {
            self.resume_writes();
        }
        if now < self.turn_at {
            return;
        }
        let after = self.cluster.machine().tick(now);
        self.turn_at = now + after;
        self.cluster.note_links(self.links.len(), self.links.memory());
        let _ = self.settle();
    }

    /// Takes the connections that have come.
    fn accept(&mut self, index: usize) {
        let keep_alive = Duration::from_secs((self.config.cluster_node_timeout / 1000 * 2).max(1));
        loop {
            let Some(listener) = self.listeners.get(index) else { return };
            let (link, peer) = match listener.accept_node(&self.server.ports.tls) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    // The system has no more of something, and nobody tells when it has.
                    self.warn("accept", &format!("Error accepting cluster node: {error}"));
                    return;
                }
            };
            match self.links.accept(link, peer.ip(), keep_alive) {
                Ok(()) => tracing::debug!("Accepting cluster node connection from {peer}"),
                Err(error) => {
                    self.warn(
                        "accept",
                        &format!("Refusing a cluster node connection from {peer}: {error}"),
                    );
                }
            }
        }
    }

    /// Goes on with a connection: what has come is taken in, packet by packet, since each may change who is known.
    fn serve(&mut self, id: LinkId) {
        let Some(gone_on) = self.links.go_on(id, self.cluster.now()) else { return };
        if let Some(opened) = gone_on.opened {
            self.handle(opened);
        }
        self.cluster.machine().set_buffered(id, gone_on.unsent);
        let relayed_size_max = self.config.proto_max_bulk_len.saturating_mul(2);
        let relayed_size_max = usize::try_from(relayed_size_max).unwrap_or(usize::MAX);
        loop {
            let is_known = self.cluster.machine().knows_link(id);
            match self.links.take(id, is_known, relayed_size_max) {
                Ok(None) => break,
                Ok(Some(received)) => self.receive(id, received),
                Err(reason) => {
                    let text = format!(
                        "Bad packet received on the Cluster bus from {}: {reason}",
                        self.links.peer(id)
                    );
                    self.warn("stream", &text);
                    return self.lose(id, reason);
                }
            }
        }
        if let Some(reason) = gone_on.lost {
            self.lose(id, reason);
        }
    }

    fn receive(&mut self, link: LinkId, received: Received) {
        let kind = received.kind_name();
        match received.content {
            Ok(message) => self.handle(Event::Received { link, message, size: received.size }),
            Err(defect) => {
                self.cluster.machine().count_received(received.kind, received.size);
                let from = self.links.peer(link);
                self.warn(
                    "packet",
                    &format!("Received invalid {kind} packet from {from}: {defect}"),
                );
            }
        }
    }

    /// A connection is of no use any more.
    fn lose(&mut self, link: LinkId, reason: String) {
        self.links.close(link);
        tracing::trace!("A connection of the cluster bus has ended: {reason}");
        self.handle(Event::Closed { link, reason });
    }

    fn handle(&mut self, event: Event) {
        let now = self.cluster.now();
        self.cluster.machine().handle(event, now);
        let _ = self.settle();
    }

    /// Logs what others bring about, but not as often as they like. Returns whether it is in the log.
    fn warn(&mut self, about: &'static str, text: &str) -> bool {
        let now = self.cluster.now();
        let last = self.warned_at.get(about).copied();
        if last.is_some_and(|it| now - it < WARNING_PERIOD_MS) {
            return false;
        }
        self.warned_at.insert(about, now);
        tracing::warn!("{text}");
        true
    }
}
