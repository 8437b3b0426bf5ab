//! What a worker runs commands with, and what the handlers of the server's own commands see of it. Knows no event loop.

pub(crate) mod after_run;
mod auditing;
pub(crate) mod certificates;
pub(crate) mod charging;
mod client_memory;
mod debugging;
pub(crate) mod due;
pub(crate) mod durability;
pub(crate) mod eviction;
pub(crate) mod hand_offs;
pub(crate) mod limiting;
pub(crate) mod membership;
pub(crate) mod observe;
pub(crate) mod own_commands;
pub(crate) mod permission;
pub(crate) mod quorum;
mod releasing;
pub(crate) mod replaying;
pub(crate) mod replicated;
pub(crate) mod routing;
pub(crate) mod script_threads;
pub(crate) mod scripts;
pub(crate) mod subscribing;
pub(crate) mod suspending;
pub(crate) mod tracking;
pub(crate) mod unit;
pub(crate) mod waiting;
pub(crate) mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rubine_cluster::View;
use rubine_commands::{Args, Command, CommandResult, Group, Runner};
use rubine_journal::Offset;
use rubine_keyspace::{Locked, OwedHandOffs};
use rubine_resp::writer::Reply;
use rubine_system::allocator::Estimate;
use rubine_system::ticks;

use self::unit::Role;
use crate::client::Client;
use crate::client::away::Deferred;
use crate::client::suspension::Reason;
use crate::command_table::{Entry, Run};
use crate::observing::audit::Audited;
use crate::observing::hot_keys::Tracking;
use crate::pacing::Window;
use crate::pubsub::LocalSubscribers;
use crate::server::Server;
use crate::settings::Settings;
use crate::stats::WorkerStats;
use crate::tracking::Outbox;

/// After a command that ended so long after the time was read, it is read again.
const NOW_MAX_US: f64 = 1000.0;

/// What a worker needs to run commands: everything but its clients and its event loop.
#[expect(clippy::struct_excessive_bools, reason = "facts that change one by one")]
pub(crate) struct Core {
    pub(crate) server: &'static Server,
    /// The worker's number.
    pub(crate) index: usize,
    stats: &'static WorkerStats,
    /// The handlers of the server's own commands, by their numbers.
    pub(crate) handlers: &'static [SessionHandler],
    pub(crate) settings: Arc<Settings>,
    /// What this node knows of its cluster, if it is in one.
    pub(crate) view: Option<Arc<View>>,
    /// From what on a command is looked at after it has run.
    notable: observe::Notable,
    /// What belongs in the command log when the command that runs is over.
    later: Vec<observe::Later>,
    /// What is written down in the audit log, if anything is.
    audited: Option<Arc<Audited>>,
    /// Where keys are counted, while somebody wants to know which take most.
    hot_keys: Option<Arc<Tracking>>,
    /// What requests take, charged to slots.
    charging: charging::Charging,
    /// What MONITOR shows.
    pub(crate) watch: watching::Watch,
    /// Unix milliseconds, read once a turn, and again after a command that took long.
    pub(crate) now: i64,
    /// Milliseconds by a clock that nobody sets, read with `now`: for waiting and pauses.
    pub(crate) monotonic_ms: i64,
    /// Runs data commands, and holds what they have done until it is carried out.
    pub(crate) runner: Runner,
    /// When clients give up waiting, by `monotonic_ms`: moment and client.
    pub(crate) deadlines: BTreeSet<(i64, u64)>,
    /// Clients whose requests wait until a pause is over, in the order of their coming.
    pub(crate) paused: Vec<u64>,
    /// What a unit tells listeners once it is in the journal, where nobody may hear of it before it is on disk.
    pub(crate) deferred: Vec<Deferred>,
    /// Clients of this worker that listen to channels and patterns.
    pub(crate) subscribers: LocalSubscribers,
    /// Memory in use, as far as is known.
    pub(crate) memory: Estimate,
    /// Candidates for eviction.
    pub(crate) eviction_pool: eviction::Pool,
    /// Eviction was not done when its time was over.
    pub(crate) must_evict_more: bool,
    /// Clients that wait for keys have to look again, and have not been told.
    pub(crate) must_wake_waiters: bool,
    /// Memory is used up, evicting did not help, and the command would add to it.
    pub(crate) is_out_of_memory: bool,
    /// Clients whose replies wait for the disk, or who asked to wait for it: offset and client.
    pub(crate) unsynced: BTreeSet<(Offset, u64)>,
    /// Clients that wait until the log has a base, and so is one that could be loaded.
    pub(crate) without_base: BTreeSet<u64>,
    /// Clients whose replies wait for replicas: offset and client, and since when, milliseconds of the monotonic clock.
    pub(crate) unconfirmed: BTreeMap<(Offset, u64), i64>,
    /// Somebody waits for replicas who did not when they were last asked.
    must_ask_replicas: bool,
    /// How many clients have had to wait for the disk.
    pub(crate) disk_waits: Window,
    /// The offset at which this worker is woken because the disk has got there.
    pub(crate) parked_at: Option<Offset>,
    /// The append-only file is far behind: commands that write have to wait.
    pub(crate) is_throttled: bool,
    /// Messages for the other nodes of a cluster wait, and are many: commands that publish have to wait.
    pub(crate) is_relay_behind: bool,
    /// A script has run for longer than others wait for it.
    pub(crate) is_script_busy: bool,
    /// What a unit of several commands has been told the time is, Unix microseconds.
    unit_micros: Option<i64>,
    /// When `now` was read, in ticks, and after how many it is out of date.
    now_ticks: u64,
    now_ticks_max: u64,
    /// When the last command ended, in ticks.
    ticks: u64,
    pub(crate) scripts: scripts::ScriptEngine,
    /// What users, databases and prefixes of keys may take.
    pub(crate) quotas: limiting::LocalQuotas,
    /// What is told to clients that keep copies of keys.
    pub(crate) outbox: Outbox,
    /// How often in a row it was not enough what was forgotten of who reads keys.
    trim_rounds: usize,
    /// What the unit does may be taken back.
    is_undoable: bool,
    /// Hand-offs that this worker has to complete when busy shards are free.
    owed_hand_offs: OwedHandOffs,
    /// How long has been waited for locks since then, and worked for clients that waited, in ticks.
    lock_ticks: u64,
}

/// The handler of a server command.
pub(crate) type SessionHandler = for<'a> fn(&mut Session<'a>) -> CommandResult;

/// The declaration of a server command.
pub(crate) type ServerCommand = Command<SessionHandler>;

/// The server commands of one group.
pub(crate) struct ServerFamily {
    pub(crate) group: Group,
    pub(crate) commands: &'static [ServerCommand],
}

/// What a handler of the server's own commands works with: the client, the server, the worker it runs on. It has no keys.
pub(crate) struct Session<'a> {
    pub(crate) args: Args<'a>,
    pub(crate) reply: Reply<'a>,
    pub(crate) client: &'a mut Client,
    pub(crate) core: &'a mut Core,
    /// The command that runs.
    pub(crate) entry: &'static Entry,
    /// The shards that are locked around it, inside a transaction.
    pub(crate) locked: Option<&'a mut Locked<'static>>,
}

impl Core {
    pub(crate) fn new(
        server: &'static Server,
        handlers: &'static [SessionHandler],
        index: usize,
    ) -> Self {
        let seed = rubine_base::random::seed_from_os();
        let settings = server.settings.load_full();
        let mut core = Self {
            server,
            index,
            stats: &server.stats.threads[index],
            handlers,
            notable: observe::Notable::of(&settings),
            later: Vec::new(),
            audited: server.observing.audit.audited(),
            hot_keys: None,
            charging: charging::Charging::of(server, index),
            watch: watching::Watch::default(),
            settings,
            view: routing::first_view(server),
            now: rubine_base::clock::unix_millis(),
            monotonic_ms: rubine_base::clock::monotonic_millis() as i64,
            runner: Runner::new(seed),
            deadlines: BTreeSet::new(),
            paused: Vec::new(),
            deferred: Vec::new(),
            subscribers: LocalSubscribers::default(),
            memory: Estimate::default(),
            eviction_pool: eviction::Pool::default(),
            must_evict_more: false,
            must_wake_waiters: false,
            is_out_of_memory: false,
            unsynced: BTreeSet::new(),
            without_base: BTreeSet::new(),
            unconfirmed: BTreeMap::new(),
            must_ask_replicas: false,
            disk_waits: Window::new(ticks::now()),
            parked_at: None,
            is_throttled: false,
            is_relay_behind: false,
            is_script_busy: false,
            unit_micros: None,
            now_ticks: ticks::now(),
            now_ticks_max: (ticks::per_microsecond() * NOW_MAX_US) as u64,
            ticks: ticks::now(),
            scripts: scripts::ScriptEngine::default(),
            quotas: limiting::LocalQuotas::new(&server.quotas),
            outbox: Outbox::new(Some(index)),
            trim_rounds: 0,
            is_undoable: false,
            owed_hand_offs: OwedHandOffs::default(),
            lock_ticks: 0,
        };
        core.refresh_notable();
        core
    }

    #[inline]
    pub(crate) fn stats(&self) -> &'static WorkerStats {
        self.stats
    }

    /// The time, in Unix microseconds. Within a unit of several commands it stands still.
    pub(crate) fn unix_micros(&mut self, is_within_unit: bool) -> i64 {
        let read = rubine_base::clock::unix_micros;
        if is_within_unit { *self.unit_micros.get_or_insert_with(read) } else { read() }
    }

    /// Whether this is the core of a worker, with clients that wait for it.
    pub(crate) fn is_worker(&self) -> bool {
        self.index < self.server.workers.len()
    }

    /// Reads the time, at the beginning of a turn.
    pub(crate) fn read_time(&mut self) {
        self.now = rubine_base::clock::unix_millis();
        self.monotonic_ms = rubine_base::clock::monotonic_millis() as i64;
        self.now_ticks = ticks::now();
    }

    /// What will be `moment` of the wall clock unless somebody sets it, by `monotonic_ms`.
    pub(crate) fn monotonic_at(&self, moment: i64) -> i64 {
        moment.saturating_sub(self.now).saturating_add(self.monotonic_ms)
    }

    /// Reads the time again if a command has taken long: what a later one gives a deadline would be due too early.
    #[inline]
    pub(crate) fn catch_up(&mut self) {
        if self.now_ticks_max < self.ticks.saturating_sub(self.now_ticks) {
            self.read_time();
        }
    }

    /// Starts to measure: what follows is the time of commands.
    pub(crate) fn start_clock(&mut self) {
        self.ticks = ticks::now();
        self.lock_ticks = 0;
    }

    /// When the last command ended, in ticks.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Runs a command of the server's own. On an error, the reply is the error.
    pub(crate) fn run_session(
        &mut self,
        handler: SessionHandler,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
        locked: Option<&mut Locked<'static>>,
    ) -> CommandResult {
        let shown = self.shown();
        if self.watch.is_on() {
            self.show_before(client, entry, args);
        }
        let mark = reply.mark();
        let own_reply = Reply::reborrow(reply);
        let mut session = Session { args, reply: own_reply, client, core: self, entry, locked };
        let result = handler(&mut session);
        let protocol = session.client.protocol;
        if session.core.audited.is_some() {
            session.core.look_at_next(entry);
        }
        if matches!(session.client.suspension(), Some(Reason::BusyShard | Reason::ScriptThread)) {
            // It begins anew.
            self.unshow(shown);
        }
        reply.set_protocol(protocol);
        if let Err(error) = &result {
            reply.truncate_to(mark);
            error.write(reply);
        }
        result
    }

    /// Runs a command under locks that are held around it: one of a transaction or of a script, which nothing may come
    /// between.
    pub(crate) fn run_among_others(
        &mut self,
        client: &mut Client,
        role: Role,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &mut Locked<'static>,
    ) -> CommandResult {
        match entry.run {
            Run::Data(command) => {
                let (db, flags) = (client.db, self.flags_for(client, entry, args));
                loop {
                    let result = self.run_data(command, db, flags, role, reply, args, locked);
                    self.remember_read(client, entry, args, locked);
                    let Some(mut shipment) = self.runner.effects.shipment.take() else {
                        return result;
                    };
                    self.ship_in_place(client, &mut shipment);
                    self.runner.effects.shipped = Some(shipment);
                }
            }
            Run::Server(number) => {
                let handler = self.handlers[number];
                self.run_session(handler, client, reply, entry, args, Some(locked))
            }
            Run::Container => unreachable!("containers are refused before"),
        }
    }
}
