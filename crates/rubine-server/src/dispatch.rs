//! The life of a request, from its name to its reply. Takes locks in one place, before the handler, and gives them back
//! in one place, after its effects are in the journal.

use std::collections::BTreeSet;
use std::sync::Arc;

use rubine_base::random::Random;
use rubine_commands::{
    Args, ClientFacts, Command, CommandError, CommandResult, Context, Effects, Event, EventClass,
    Flags, Scope, shards_of, shown,
};
use rubine_journal::Offset;
use rubine_keyspace::{Access, Changes, DueKeys, Locked, ShardSet, View, ViewOptions};
use rubine_resp::parser::ProtocolError;
use rubine_resp::writer::{Mark, Protocol, Reply};

use crate::admission;
use crate::client::{Client, ClientFlags, ReplyMode};
use crate::command_table::{Entry, Run};
use crate::compute::STEPS_AT_ONCE_MAX;
use crate::cron::tell_due;
use crate::gates;
use crate::latency::Histogram;
use crate::pacing::Window;
use crate::pause::may_change_data;
use crate::persistence::saves;
use crate::pubsub::{self, LocalSubscribers};
use crate::server::Server;
use crate::session::Session;
use crate::settings::Settings;
use crate::stats::WorkerStats;
use crate::sys::ticks;
use crate::transaction::OwnedArgs;

/// What a worker needs to run commands: everything but its clients and its event loop.
pub(crate) struct Core {
    pub(crate) server: &'static Server,
    /// The worker's number.
    pub(crate) index: usize,
    stats: &'static WorkerStats,
    pub(crate) settings: Arc<Settings>,
    /// Unix milliseconds, read once a turn.
    pub(crate) now: i64,
    pub(crate) effects: Effects,
    pub(crate) changes: Changes,
    pub(crate) random: Random,
    access_random: Random,
    /// When clients give up waiting: moment and client.
    pub(crate) deadlines: BTreeSet<(i64, u64)>,
    /// Clients whose commands wait for the end of a pause, in the order of their coming.
    pub(crate) paused: Vec<u64>,
    /// Clients of this worker that listen to channels and patterns.
    pub(crate) subscribers: LocalSubscribers,
    /// Candidates for eviction.
    pub(crate) eviction_pool: crate::eviction::Pool,
    /// Eviction was not done when its time was over.
    pub(crate) must_evict_more: bool,
    /// Memory is used up, evicting did not help, and the command would add to it.
    pub(crate) is_out_of_memory: bool,
    /// When clients were last looked after, Unix milliseconds.
    pub(crate) looked_after_at: i64,
    /// Clients whose replies wait for the disk, or who asked to wait for it: offset and client.
    pub(crate) unsynced: BTreeSet<(Offset, u64)>,
    /// How many clients have had to wait for the disk.
    pub(crate) disk_waits: Window,
    /// The offset at which this worker is woken because the disk has got there.
    pub(crate) parked_at: Option<Offset>,
    /// The append-only file is far behind: commands that write have to wait.
    pub(crate) is_throttled: bool,
    /// When the last command ended, in ticks.
    ticks: u64,
}

/// Whether a client's next request may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    /// It waits, or its connection ends.
    Stop,
}

/// In what setting a data command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// On its own.
    Alone,
    /// For a client that has waited.
    HandOff,
    /// Among others, which nothing may come between.
    Transaction,
}

impl Setting {
    fn facts(self, protocol: Protocol) -> ClientFacts {
        let may_wait = self != Self::Transaction;
        let steps_at_once_max = if self == Self::Alone { STEPS_AT_ONCE_MAX } else { u64::MAX };
        ClientFacts { protocol, may_wait, is_trusted: false, steps_at_once_max }
    }
}

impl Core {
    pub(crate) fn new(server: &'static Server, index: usize) -> Self {
        let seed = rubine_base::random::seed_from_os();
        Self {
            server,
            index,
            stats: &server.stats[index],
            settings: server.settings.load_full(),
            now: rubine_base::clock::unix_millis(),
            effects: Effects::default(),
            changes: Changes::default(),
            random: Random::with_seed(seed),
            access_random: Random::with_seed(seed.wrapping_add(1)),
            deadlines: BTreeSet::new(),
            paused: Vec::new(),
            subscribers: LocalSubscribers::default(),
            eviction_pool: crate::eviction::Pool::default(),
            must_evict_more: false,
            is_out_of_memory: false,
            looked_after_at: 0,
            unsynced: BTreeSet::new(),
            disk_waits: Window::new(ticks::now()),
            parked_at: None,
            is_throttled: false,
            ticks: ticks::now(),
        }
    }

    #[inline]
    pub(crate) fn stats(&self) -> &'static WorkerStats {
        self.stats
    }

    /// Starts to measure: what follows is the time of commands.
    pub(crate) fn start_clock(&mut self) {
        self.ticks = ticks::now();
    }

    /// When the last command ended, in ticks.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Does with a request what is due: runs it, queues it, refuses it or puts it off.
    pub(crate) fn execute(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
        args: Args<'_>,
    ) -> Flow {
        let mark = reply.mark();
        let flow = self.admit(client, reply, entry, args);
        if client.reply_mode != ReplyMode::On {
            suppress(client, reply, mark);
        }
        client.keeps_output = false;
        flow
    }

    /// Tries a request again that had to wait for the end of a pause, a computation or a shipment.
    pub(crate) fn retry_postponed(&mut self, client: &mut Client) {
        let Some(owned) = client.postponed.take() else { return };
        let args = owned.as_args();
        let entry = self.server.commands.find(args.at(0)).map(|it| it.asked_for(args));
        let mut output = std::mem::take(&mut client.output);
        let mut reply = Reply::new(&mut output, client.protocol);
        self.execute(client, &mut reply, entry, args);
        client.output = output;
        if let Some(task) = client.computed.take() {
            // The request was refused, or has to wait for the end of a pause.
            self.server.computations.discard(task);
        }
        // What was sent cannot be taken back: it is settled after a pause.
        let is_paused = client.flags.contains(ClientFlags::PAUSED);
        if let Some(shipment) = client.shipped.take_if(|_| !is_paused) {
            self.server.computations.discard(shipment);
        }
        if !is_paused && !client.flags.contains(ClientFlags::COMPUTING) {
            client.hold = None;
        }
    }

    /// Answers a request that cannot be understood, and ends the connection.
    #[cold]
    pub(crate) fn protocol_error(&mut self, client: &mut Client, error: ProtocolError) {
        let protocol = client.protocol;
        let text = format!("ERR {error}");
        Reply::new(&mut client.output, protocol).error(&text);
        client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
        self.stats().error_replies.add(1);
        tracing::debug!("Protocol error ({error}) from client id={}", client.id);
    }

    fn admit(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
        args: Args<'_>,
    ) -> Flow {
        let Some(entry) = entry else {
            if admission::is_http(args) {
                self.refuse_http(client);
                return Flow::Stop;
            }
            if !client.is_authenticated {
                self.refuse(client, reply, None, &gates::not_authenticated());
                return Flow::Next;
            }
            self.refuse(client, reply, None, &unknown_command(args));
            return Flow::Next;
        };
        let runs_alone = || args.len() == 1 && entry.spec.takes(1);
        if entry.is_container() && !runs_alone() {
            let error = if args.len() < 2 {
                CommandError::Arity(entry.full_name.clone())
            } else {
                unknown_subcommand(entry, args)
            };
            self.refuse(client, reply, Some(entry), &error);
            return Flow::Next;
        }
        client.last_command = entry.number;
        self.stats().last_command.set(entry.number as u64);
        if self.settings.maxmemory != 0 {
            self.look_at_memory(client, entry);
        }
        if !gates::are_open(self, client, entry, args)
            && let Err(error) = gates::check(&gates::Request { core: self, client, entry, args })
        {
            self.refuse(client, reply, Some(entry), &error);
            return Flow::Next;
        }
        let is_queued =
            client.transaction.is_some() && !entry.spec.flags.contains(Flags::NEVER_QUEUED);
        let is_throttled = self.is_throttled && may_change_data(entry, client);
        let is_held = self.server.pause.holds(self.now, entry, client)
            || self.server.migrations.holds(entry, client, args) && !is_queued;
        if is_throttled || is_held {
            client.postponed = Some(OwnedArgs::of(args));
            client.flags |= ClientFlags::PAUSED;
            self.paused.push(client.id);
            self.count_blocked(1);
            return Flow::Stop;
        }
        if is_queued && let Some(transaction) = &mut client.transaction {
            transaction.push(entry, args);
            reply.simple("QUEUED");
            return Flow::Next;
        }
        self.call(client, reply, entry, args);
        let postponed = ClientFlags::PAUSED | ClientFlags::COMPUTING;
        let has_run = client.blocked.is_none() && !client.flags.intersects(postponed);
        client.commands += u64::from(has_run);
        if client.is_held() { Flow::Stop } else { Flow::Next }
    }

    /// Runs a command on its own.
    #[inline]
    fn call(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
    ) {
        match entry.run {
            Run::Data(command) => {
                let shards = match entry.single_key {
                    Some(index)
                        if index < args.len() && matches!(entry.spec.scope, Scope::Keys) =>
                    {
                        ShardSet::of(args.key(index))
                    }
                    _ => shards_of(entry.spec, args, false),
                };
                let mut locked = self.server.keyspace.lock(&shards);
                self.let_hand_offs_pass(&shards, &mut locked);
                self.begin_unit();
                if client.computed.is_some() || client.shipped.is_some() {
                    self.effects.computed = client.computed.take();
                    self.effects.shipped = client.shipped.take();
                }
                let (db, flags) = (client.db, client.flags);
                let counted = (self.changes.hits, self.changes.misses);
                let setting = Setting::Alone;
                let result = self.run_data(command, db, flags, setting, reply, args, &mut locked);
                if !self.effects.has_follow_up() {
                    self.end_client_unit(client, locked);
                } else if !self.follow_up(client, args, locked, counted) {
                    self.start_clock();
                    return;
                }
                self.count(entry, result);
            }
            Run::Session(handler) => {
                let result = self.run_session(handler, client, reply, entry, args, None);
                self.count(entry, result);
            }
            Run::Container => unreachable!("containers are refused before"),
        }
    }

    /// Ends the unit of a command that waits, computes or sends keys, and has that begin. Returns whether the command has
    /// run; otherwise it runs again later. `counted` are the hits and misses before it.
    #[cold]
    fn follow_up(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        mut locked: Locked<'static>,
        counted: (u64, u64),
    ) -> bool {
        if let Some(wait) = self.effects.wait.take() {
            self.start_waiting(client, args, wait, &mut locked);
        }
        let task = self.effects.task.take();
        let shipment = self.effects.shipment.take();
        let may_ship = shipment.as_ref().is_none_or(|it| self.claim_keys(client, it));
        self.end_client_unit(client, locked);
        // What the command had no use for.
        if let Some(task) = self.effects.computed.take() {
            self.server.computations.discard(task);
        }
        if let Some(shipment) = self.effects.shipped.take() {
            self.server.computations.discard(shipment);
        }
        if let Some(task) = task {
            // It has not run yet, so it has not looked anything up either.
            (self.changes.hits, self.changes.misses) = counted;
            self.start_computing(client, args, task);
            return false;
        }
        if let Some(shipment) = shipment {
            if may_ship {
                self.start_shipping(client, args, shipment);
            } else {
                self.server.computations.discard(shipment);
                self.wait_for_movers(client, args);
            }
            return false;
        }
        true
    }

    /// Runs a command of a transaction, whose locks are held.
    pub(crate) fn call_locked(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &mut Locked<'static>,
    ) {
        let result = match entry.run {
            Run::Data(command) => {
                let (db, flags) = (client.db, client.flags);
                loop {
                    let setting = Setting::Transaction;
                    let result = self.run_data(command, db, flags, setting, reply, args, locked);
                    let Some(mut shipment) = self.effects.shipment.take() else { break result };
                    self.ship_in_place(client, &mut shipment);
                    self.effects.shipped = Some(shipment);
                }
            }
            Run::Session(handler) => {
                self.run_session(handler, client, reply, entry, args, Some(locked))
            }
            Run::Container => unreachable!("containers are never queued"),
        };
        client.hold = None;
        client.commands += 1;
        self.count(entry, result);
    }

    fn run_session(
        &mut self,
        handler: crate::session::SessionHandler,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
        locked: Option<&mut Locked<'static>>,
    ) -> CommandResult {
        let mark = reply.mark();
        let own_reply = Reply::reborrow(reply);
        let mut session = Session { args, reply: own_reply, client, core: self, entry, locked };
        let result = handler(&mut session);
        let protocol = session.client.protocol;
        reply.set_protocol(protocol);
        if let Err(error) = &result {
            reply.truncate_to(mark);
            error.write(reply);
        }
        result
    }

    /// Runs a data command with the locks that it needs.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "passing the arguments costs as much as what is done here"
    )]
    #[expect(clippy::too_many_arguments, reason = "the parts of a context, from three owners")]
    pub(crate) fn run_data(
        &mut self,
        command: &Command,
        db: usize,
        flags: ClientFlags,
        setting: Setting,
        reply: &mut Reply<'_>,
        args: Args<'_>,
        locked: &mut Locked<'_>,
    ) -> CommandResult {
        let access = Access::new(self.settings.access, self.now);
        let due_keys = if self.settings.import_mode {
            // Whoever brings the data says when a key goes.
            let is_source = flags.contains(ClientFlags::IMPORT_SOURCE);
            if is_source { DueKeys::Shown } else { DueKeys::Hidden }
        } else if self.server.pause.stops_writes(self.now) {
            DueKeys::Hidden
        } else {
            DueKeys::Removed
        };
        let notes_access = !flags.contains(ClientFlags::NO_TOUCH);
        let options = ViewOptions { notes_access, due_keys };
        let random = &mut self.access_random;
        let keys = View::new(locked, db, self.now, access, options, random, &mut self.changes);
        let protocol = reply.protocol();
        let mut context = Context {
            args,
            keys,
            reply: Reply::reborrow(reply),
            effects: &mut self.effects,
            limits: &self.settings.limits,
            random: &mut self.random,
            client: setting.facts(protocol),
            now: self.now,
        };
        let result = rubine_commands::run(command, &mut context).inspect_err(log_damage);
        for (db, key) in self.changes.missed.drain(..) {
            self.effects.events.push((Event::KEYMISS, db, key));
        }
        if !self.effects.events.is_empty() {
            pubsub::publish_events(self.server, &mut self.effects);
        }
        result
    }

    /// Starts a unit of work: what follows reaches the journal in one piece.
    #[inline]
    pub(crate) fn begin_unit(&mut self) {
        self.effects.is_journalled = self.server.journal.is_active();
        let listened = self.settings.listened;
        self.effects.listened = listened.filter(|_| self.server.pubsub.has_listeners());
        let listened = self.effects.listened.unwrap_or(EventClass::empty());
        self.changes.notes_misses = listened.contains(EventClass::KEY_MISS);
    }

    /// Ends the unit of work of a client: its effects go to the journal while the locks are held, and the client waits for
    /// the disk as it is asked to.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "moving the locks costs as much as what is done here")]
    pub(crate) fn end_client_unit(&mut self, client: &mut Client, locked: Locked<'static>) {
        if let Some(end) = self.write_journal(&locked) {
            client.written_offset = end;
        }
        if self.settings.waits_for_disk {
            let aof = &self.server.aof;
            // Who has walked from shard to shard may have seen anything.
            let seen = if locked.is_empty() { aof.seen_by_walk() } else { aof.seen_by(&locked) };
            client.durable_offset = client.durable_offset.max(seen);
        }
        self.give_back(locked);
    }

    /// Ends a unit of work: its effects go to the journal while the locks are held, then the locks are given back and
    /// whoever waited for what was changed is served.
    #[inline]
    pub(crate) fn end_unit(&mut self, locked: Locked<'static>) {
        self.write_journal(&locked);
        self.give_back(locked);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn give_back(&mut self, locked: Locked<'static>) {
        let is_done = locked.pending_hand_off().is_none()
            && self.changes.found_due.is_empty()
            && !self.changes.was_flushed;
        if !is_done {
            self.give_back_and_settle(locked);
        }
    }

    #[cold]
    fn give_back_and_settle(&mut self, locked: Locked<'static>) {
        let pending = locked.pending_hand_offs();
        drop(locked);
        if std::mem::take(&mut self.changes.was_flushed) {
            saves::note_flush(self.server, self.now);
        }
        if !pending.is_empty() {
            // What was handed in may have fallen due while the unit ran.
            self.now = rubine_base::clock::unix_millis();
        }
        self.complete_hand_offs(pending);
        self.remove_found_due();
    }

    /// Removes the due keys that a walk has met, which held no locks that would have let it.
    #[cold]
    fn remove_found_due(&mut self) {
        let found = std::mem::take(&mut self.changes.found_due);
        let (server, stats, now) = (self.server, self.stats(), self.now);
        let effects = &mut self.effects;
        let is_stopped = || server.pause.stops_writes(now);
        rubine_keyspace::remove_due(&server.keyspace, &found, now, is_stopped, |due| {
            tell_due(server, stats, effects, now, &due);
        });
    }

    /// Appends the effects of the unit to the journal, and returns where they end.
    #[inline]
    pub(crate) fn write_journal(&mut self, locked: &Locked<'_>) -> Option<Offset> {
        if !self.effects.events.is_empty() {
            pubsub::publish_events(self.server, &mut self.effects);
        }
        // Counted while the locks are held: whoever holds all of them knows how many changes an image has.
        self.stats().dirty.add(std::mem::take(&mut self.changes.dirty));
        if self.effects.journal.is_empty() { None } else { Some(self.append_to_journal(locked)) }
    }

    #[inline(never)]
    fn append_to_journal(&mut self, locked: &Locked<'_>) -> Offset {
        self.effects.journal.wrap_in_transaction();
        let second = (self.now / 1000) as u64;
        let end = self.server.journal.append(&mut self.effects.journal, second);
        if self.settings.waits_for_disk {
            self.server.aof.note_change(locked, end);
        }
        end
    }

    /// Replies with a refusal; a transaction that is being queued will not run.
    fn refuse(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: Option<&'static Entry>,
        error: &CommandError,
    ) {
        let runs_queue = entry.is_some_and(|it| it.spec.flags.contains(Flags::RUNS_QUEUE));
        if runs_queue {
            // What is refused so is not run later either.
            client.transaction = None;
            crate::transaction::unwatch_all(self, client);
        } else if let Some(transaction) = &mut client.transaction {
            transaction.spoil();
        }
        if let Some(entry) = entry {
            self.stats().commands[entry.number].rejected_calls.add(1);
        }
        if runs_queue {
            let text = error.to_string();
            let reason = text.strip_prefix("ERR ").unwrap_or(&text);
            let text = format!("EXECABORT Transaction discarded because of: {reason}");
            reply.error(&text);
            self.count_error(&CommandError::Other(text.into()));
        } else {
            error.write(reply);
            self.count_error(error);
        }
    }

    /// Counts a command that ran.
    #[inline]
    fn count(&mut self, entry: &'static Entry, result: CommandResult) {
        let now = ticks::now();
        let stats = &self.stats().commands[entry.number];
        stats.calls.add(1);
        let spent = now.wrapping_sub(self.ticks);
        stats.ticks.add(spent);
        if self.settings.tracks_latency {
            stats.latency.get_or_init(Histogram::default).record(spent);
        }
        self.ticks = now;
        if let Err(error) = result {
            self.count_failure(entry, error);
        }
    }

    /// Counts the failure of a command that is counted itself.
    #[cold]
    #[expect(clippy::needless_pass_by_value, reason = "nobody but this has to drop it")]
    pub(crate) fn count_failure(&mut self, entry: &'static Entry, error: CommandError) {
        self.stats().commands[entry.number].failed_calls.add(1);
        self.count_error(&error);
    }

    /// Counts an error that a command was answered with before or instead of running.
    pub(crate) fn count_rejection(&mut self, entry: &'static Entry, error: &CommandError) {
        self.stats().commands[entry.number].rejected_calls.add(1);
        self.count_error(error);
    }

    fn count_error(&mut self, error: &CommandError) {
        self.stats().error_replies.add(1);
        self.server.errors.count(error);
    }

    /// Adds up what the commands of a turn did.
    pub(crate) fn flush_counts(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        let stats = self.stats();
        stats.timed_waits.set(self.deadlines.len() as u64);
        stats.keyspace_hits.add(changes.hits);
        stats.keyspace_misses.add(changes.misses);
        stats.expired_keys.add(changes.expired_count);
        stats.expired_fields.add(changes.expired_fields);
        self.changes.expired = changes.expired;
    }
}

#[cold]
fn log_damage(error: &CommandError) {
    if let CommandError::DumpData(damage) = error {
        tracing::warn!("A payload cannot be restored: {damage}");
    }
}

/// Takes back what a command replied to a client that wants no replies, for now or at all.
#[cold]
fn suppress(client: &mut Client, reply: &mut Reply<'_>, mark: Mark) {
    let postponed = ClientFlags::PAUSED | ClientFlags::COMPUTING;
    if client.blocked.is_some() || client.flags.intersects(postponed) {
        return;
    }
    if !client.keeps_output {
        reply.truncate_to(mark);
    }
    client.reply_mode = match client.reply_mode {
        ReplyMode::On | ReplyMode::Skip => ReplyMode::On,
        ReplyMode::SkipNext => ReplyMode::Skip,
        ReplyMode::Off => ReplyMode::Off,
    };
}

pub(crate) fn unknown_command(args: Args<'_>) -> CommandError {
    const SHOWN_MAX: usize = 128;
    fn cut(text: &[u8], room: usize) -> &[u8] {
        shown(&text[..text.len().min(room)])
    }
    let mut arguments = Vec::new();
    for argument in args.from(1) {
        if SHOWN_MAX <= arguments.len() {
            break;
        }
        let room = SHOWN_MAX - arguments.len();
        arguments.extend([b"'", cut(argument, room), b"' "].concat());
    }
    let name = cut(args.at(0), SHOWN_MAX);
    CommandError::quoting(&[
        b"ERR unknown command '",
        name,
        b"', with args beginning with: ",
        &arguments,
    ])
}

pub(crate) fn unknown_subcommand(entry: &Entry, args: Args<'_>) -> CommandError {
    const SHOWN_MAX: usize = 128;
    let name = args.at(1);
    let name = shown(&name[..name.len().min(SHOWN_MAX)]);
    let container = entry.spec.name.as_bytes();
    CommandError::quoting(&[b"ERR unknown subcommand '", name, b"'. Try ", container, b" HELP."])
}

/// Protocols by number.
pub(crate) fn protocol_number(protocol: Protocol) -> u32 {
    if protocol == Protocol::Resp3 { 3 } else { 2 }
}
