//! Scripts and functions as units of work: which shards they hold, what their commands may do, when they begin anew.
//!
//! A script's declared keys are its locks. If it comes to a key whose shard it does not hold, all that it wrote is put
//! back, and it runs again with all shards; that is remembered for the next time (`docs/design/023`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_acl::Context;
use rubine_base::clock::monotonic_millis;
use rubine_base::hash::HashSet;
use rubine_commands::{Args, CommandError, Flags, Group, check_lengths, shards_of};
use rubine_journal::{Audience, Side};
use rubine_keyspace::{Locked, ShardSet};
use rubine_resp::writer::Reply;
use rubine_scripting::{
    Call, Called, Console, Host, Interpreter, LogLevel, Outcome, Permission, Prepared, Replication,
    Request, ScriptError, ScriptFlags, Sha, Source, Verdict, script_flags, text,
};
use rubine_system::process::{self, Whose};
use rubine_system::ticks;

use super::after_run::{Caller, RanCommand};
use super::durability::READ_ONLY as READ_ONLY_REPLICA;
use super::unit::Role;
use super::{Core, Session};
use crate::client::Client;
use crate::client::away::Ended;
use crate::client::slot::RequestSlot;
use crate::command_table::Entry;
use crate::server::{
    Debugged, Given, Rules, Running, ScriptKind, Scripting, Server, Wish, interpreter_settings,
    log_of_script,
};

/// What takes longer is no work for a thread that serves clients. Others may see that it runs, and end it.
pub(super) const SHORT_MAX_US: f64 = 1000.0;
/// Scripts that are remembered to need all shards, or to take long; when there are more, none is.
const REMEMBERED_MAX: usize = 4096;

/// Scripts that may use keys of several slots.
const CROSSES_SLOTS: ScriptFlags =
    ScriptFlags::COMPATIBLE.union(ScriptFlags::ALLOW_CROSS_SLOT_KEYS);

/// What a worker has for running scripts.
#[derive(Default)]
pub(crate) struct ScriptEngine {
    /// Made when first needed; elsewhere while a script runs.
    interpreter: Option<Box<Interpreter>>,
    /// Names of scripts and functions that came to keys which they had not declared.
    wide: HashSet<Box<[u8]>>,
    /// Of those that took too long for a worker.
    long: HashSet<Box<[u8]>>,
    /// Why a script of the running transaction has not run to its end.
    pub(crate) obstacle: Option<Obstacle>,
}

/// Why a script of a transaction has not run to its end: nothing is left of what it did.
pub(crate) enum Obstacle {
    NeedsAll,
    TooLong(Long),
}

/// A script that is to run on another thread.
pub(crate) struct Long {
    pub(crate) given: Given,
    pub(crate) rules: Rules,
    pub(crate) key_count: usize,
    pub(crate) debugged: Option<Debugged>,
}

/// Where a script runs.
pub(crate) enum Venue<'a> {
    /// On the worker of its client, for as long as that can do without it.
    Worker,
    /// On a thread for scripts.
    Thread,
    /// There, line by line as its client wants it.
    Debugger(&'a mut dyn Console),
}

/// One script to be run.
pub(crate) struct ScriptRun<'a> {
    pub(crate) prepared: Prepared,
    pub(crate) given: Given,
    pub(crate) rules: Rules,
    /// The name by which it is remembered: a digest, or a function's name.
    pub(crate) name: Box<[u8]>,
    pub(crate) command: Args<'a>,
    pub(crate) key_count: usize,
}

/// What a command may do: as it is declared, but for scripts that say of themselves whether they change anything.
pub(crate) fn flags_of(server: &Server, entry: &Entry, args: Args<'_>) -> Flags {
    let declared = entry.spec.flags;
    if entry.group != Group::Scripting || !declared.contains(Flags::MAY_REPLICATE) {
        return declared;
    }
    let Scripting { scripts, libraries, .. } = &server.scripting;
    let name = args.at(1);
    let flags = match entry.spec.name {
        "EVAL" => script_flags(name),
        "EVALSHA" => Sha::parse(name).and_then(|sha| scripts.find(sha)).map(|it| it.flags),
        "FCALL" => libraries.current().function(name).map(|(it, index)| it.functions[index].flags),
        _ => None,
    };
    match flags {
        Some(flags) if flags.contains(ScriptFlags::NO_WRITES) => declared - Flags::MAY_REPLICATE,
        Some(flags) if !flags.contains(ScriptFlags::COMPATIBLE) => declared | Flags::WRITE,
        _ => declared,
    }
}

impl Core {
    /// The worker's interpreter, by the settings that are in force. It is given back by [`Self::keep_interpreter`].
    pub(crate) fn take_interpreter(&mut self) -> Box<Interpreter> {
        let settings = interpreter_settings(&self.server.config.load());
        match self.scripts.interpreter.take() {
            Some(mut interpreter) => {
                interpreter.set_settings(settings);
                interpreter
            }
            None => Box::new(Interpreter::new(settings)),
        }
    }

    pub(crate) fn keep_interpreter(&mut self, mut interpreter: Box<Interpreter>) {
        let stats = self.stats();
        stats.script_bytes.set(interpreter.script_memory() as u64);
        stats.function_bytes.set(interpreter.function_memory() as u64);
        if let Some(retired) = interpreter.take_retired() {
            self.server.aside.computations.discard(retired);
        }
        self.scripts.interpreter = Some(interpreter);
    }

    /// Gives back what scripts and functions had that are flushed, here or by another worker.
    pub(crate) fn drop_flushed_scripts(&mut self) {
        let Some(mut interpreter) = self.scripts.interpreter.take() else { return };
        let Scripting { scripts, libraries, .. } = &self.server.scripting;
        interpreter.follow_flushes(scripts, libraries);
        self.keep_interpreter(interpreter);
    }

    /// Makes a script or function ready to run, as its command names it. Returns it, and the name by which it is remembered.
    pub(crate) fn prepare_script(
        &self,
        interpreter: &mut Interpreter,
        given: Given,
        command: Args<'_>,
    ) -> Result<(Prepared, Box<[u8]>), ScriptError> {
        let Scripting { scripts, libraries, .. } = &self.server.scripting;
        let name = command.at(1);
        let source = match given {
            Given::Text => Source::Text(name),
            Given::Sha => Source::Sha(name),
            Given::Function => {
                return Ok((interpreter.prepare_function(libraries, name)?, name.into()));
            }
        };
        let prepared = interpreter.prepare(scripts, source)?;
        Ok((prepared, Box::from(interpreter.script(prepared).sha.0)))
    }

    /// Whether a script is known to need more shards than it declares keys of.
    pub(crate) fn is_wide(&self, name: &[u8]) -> bool {
        self.scripts.wide.contains(name)
    }

    /// Whether a script is known to take too long for a worker.
    pub(crate) fn is_long(&self, name: &[u8]) -> bool {
        self.scripts.long.contains(name)
    }

    /// Remembers what a run has shown of a script.
    pub(crate) fn note_ended(&mut self, name: &[u8], ended: Ended, was_short: bool) {
        let ScriptEngine { wide, long, .. } = &mut self.scripts;
        if was_short {
            long.remove(name);
        }
        let known = match ended {
            Ended::NeedsAll => wide,
            Ended::TooLong => long,
            Ended::Replied | Ended::NeedsMore | Ended::Stale => return,
        };
        if known.len() == REMEMBERED_MAX {
            known.clear();
        }
        known.insert(name.into());
    }

    /// Runs a script under the locks of its unit, which has begun. What it wrote is put back if it has to run again, if it
    /// is killed so, or if it is atomic and fails.
    pub(crate) fn run_script(
        &mut self,
        client: &mut Client,
        interpreter: &mut Interpreter,
        run: &ScriptRun<'_>,
        setting: Venue<'_>,
        reply: &mut Reply<'_>,
        locked: &mut Locked<'static>,
    ) -> Ended {
        let reply_start = reply.mark();
        let (db, start) = (client.db, self.ticks());
        let (mark, shown) = (self.mark(), self.shown());
        let own_args = run.command.skip(3);
        let is_journalled = self.runner.effects.is_journalled;
        let mut host = ScriptHost {
            core: self,
            client,
            locked,
            rules: run.rules,
            command: run.command,
            name: &run.name,
            may_leave: matches!(setting, Venue::Worker),
            short_until: ticks::now() + (ticks::per_microsecond() * SHORT_MAX_US) as u64,
            started_ms: monotonic_millis(),
            running: None,
            has_written: false,
            slot: RequestSlot::of_keys(own_args.first(run.key_count)),
            is_journalled,
            ended: Ended::Replied,
            wish: Wish::GoesOn,
        };
        let call = Call {
            keys: request(own_args.first(run.key_count)),
            args: request(own_args.skip(run.key_count)),
            host: &mut host,
            reply,
        };
        let outcome = match setting {
            Venue::Worker | Venue::Thread => interpreter.run(run.prepared, call),
            Venue::Debugger(console) => interpreter.debug(run.prepared, call, console),
        };
        let (ended, wish) = (host.ended, host.wish);
        let crosses = run.rules.flags.intersects(CROSSES_SLOTS);
        let slot = if crosses { RequestSlot::Any } else { host.slot };
        if let Some(running) = host.running.take() {
            host.core.server.scripting.leave(&running);
        }
        let is_undone = match outcome {
            Outcome::Stopped => true,
            Outcome::Killed => wish == Wish::Undone,
            Outcome::Failed => run.rules.is_atomic,
            Outcome::Done => false,
        };
        if is_undone {
            self.undo_to(&mark, locked);
        }
        client.db = db;
        // What it has said of who hears of it ends with it.
        self.set_replication(Replication::ALL, is_journalled);
        // The time of its commands is its own, too.
        self.resume_clock(start);
        if ended == Ended::Replied {
            self.note_slot(slot);
        }
        if ended != Ended::Replied {
            self.unshow(shown);
            reply.truncate_to(reply_start);
        } else if reply.is_error_at(reply_start) {
            self.count_failed_script(run.command);
        }
        ended
    }
}

impl Core {
    /// What a script fails with has been counted where it came from, but not that its own command has failed.
    #[cold]
    fn count_failed_script(&mut self, command: Args<'_>) {
        if let Some(entry) = self.server.commands.find(command.at(0)) {
            self.stats().commands[entry.number].failed_calls.add(1);
        }
    }
}

fn request(args: Args<'_>) -> Request<'_> {
    let (buffer, ranges) = args.parts();
    Request { buffer, ranges }
}

/// The server as a running script sees it.
struct ScriptHost<'a> {
    core: &'a mut Core,
    client: &'a mut Client,
    locked: &'a mut Locked<'static>,
    rules: Rules,
    command: Args<'a>,
    name: &'a [u8],
    /// It may run on another thread if it takes long, in ticks.
    may_leave: bool,
    short_until: u64,
    /// Monotonic milliseconds.
    started_ms: u64,
    /// What others know of it, once it has run for a while.
    running: Option<Arc<Running>>,
    has_written: bool,
    /// In a cluster, the slot of all keys so far.
    slot: RequestSlot,
    /// Somebody wants to hear of what it writes.
    is_journalled: bool,
    ended: Ended,
    wish: Wish,
}

impl Host for ScriptHost<'_> {
    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Called {
        let args = Args::new(request.buffer, request.ranges);
        let entry = match self.find(args) {
            Ok(entry) => entry,
            Err(refusal) => {
                self.core.count_error(&CommandError::text(refusal));
                reply.error(refusal);
                return Called::Replied;
            }
        };
        if let Err(error) = self.check(entry, args) {
            self.core.count_rejection(entry, &error);
            error.write(reply);
            return Called::Replied;
        }
        let needed = shards_of(entry.spec, args, true);
        if !self.locked.covers_all(&needed) && !self.add_locks(&needed) {
            return Called::Stop;
        }
        if let Err(error) = self.check_slot(entry, args) {
            self.core.count_rejection(entry, &error);
            error.write(reply);
            return Called::Replied;
        }
        if entry.spec.flags.contains(Flags::WRITE) {
            self.note_write();
        }
        // What the script computed since the last command is its own time.
        self.core.start_clock();
        let role = if self.may_leave { Role::ShortScript } else { Role::Script };
        if !self.core.call_from_script(self.client, role, reply, entry, args, self.locked) {
            self.ended = Ended::TooLong;
            return Called::Stop;
        }
        Called::Replied
    }

    fn poll(&mut self) -> Verdict {
        if ticks::now() < self.short_until {
            return Verdict::GoOn;
        }
        if self.may_leave {
            self.ended = Ended::TooLong;
            return Verdict::Stop;
        }
        let age_ms = monotonic_millis().saturating_sub(self.started_ms);
        let running = Arc::clone(self.running.get_or_insert_with(|| {
            let name = match self.rules.kind {
                ScriptKind::Script => Vec::new(),
                ScriptKind::Function => self.name.to_vec(),
            };
            let command = self.command.from(0).map(<[u8]>::to_vec).collect();
            let shards = self.locked.shard_set();
            let kind = self.rules.kind;
            let running = Arc::new(Running::new(kind, name, command, self.started_ms, shards));
            if self.has_written {
                running.note_write();
            }
            self.core.server.scripting.enter(Arc::clone(&running));
            running
        }));
        let threshold_ms = self.core.settings.busy_reply_ms;
        if threshold_ms != 0 && threshold_ms <= age_ms {
            self.tell_busy(&running, age_ms);
        }
        self.wish = running.wish();
        if self.wish == Wish::GoesOn { Verdict::GoOn } else { Verdict::Kill }
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        log_of_script(level, text);
    }

    fn check_permission(&mut self, request: Request<'_>) -> Permission {
        let args = Args::new(request.buffer, request.ranges);
        let Ok(entry) = self.find(args) else { return Permission::Invalid };
        self.core.follow_user(self.client);
        let wish = self.core.wish(self.client, entry, args);
        let is_granted = self.client.identity.user.check(&wish).is_ok();
        if is_granted { Permission::Granted } else { Permission::Denied }
    }

    fn set_replication(&mut self, replication: Replication) {
        self.core.set_replication(replication, self.is_journalled);
    }

    fn cpu_seconds(&mut self) -> f64 {
        let time = process::cpu_time(Whose::Process);
        (time.user_us + time.system_us) as f64 / 1e6
    }

    fn count_error(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        let stats = self.core.stats();
        stats.error_replies.add(1);
        stats.errors.count_made_up(&CommandError::Other(text.into()));
    }
}

impl ScriptHost<'_> {
    /// Takes the locks of shards that the script has not declared keys of, without waiting. If that cannot be, it has to run
    /// again.
    #[cold]
    fn add_locks(&mut self, needed: &ShardSet) -> bool {
        if !self.locked.try_add(needed) {
            let needs_all = *needed == ShardSet::All;
            self.ended = if needs_all { Ended::NeedsAll } else { Ended::NeedsMore };
            return false;
        }
        if let Some(running) = &self.running {
            running.note_shards(self.locked.shard_set());
        }
        true
    }

    /// In a cluster, the keys of a command belong here, and to the slot of those before, unless the script may use several.
    #[inline]
    fn check_slot(&mut self, entry: &'static Entry, args: Args<'_>) -> Result<(), CommandError> {
        if self.core.view.is_none() {
            return Ok(());
        }
        let slot = self.core.look_within_script(self.client, entry, args, self.locked)?;
        if self.rules.flags.intersects(CROSSES_SLOTS) {
            return Ok(());
        }
        self.slot = self.slot.with(slot);
        if self.slot == RequestSlot::Several {
            let text = "ERR Script attempted to access keys that do not hash to the same slot";
            return Err(CommandError::text(text));
        }
        Ok(())
    }

    /// It may have changed something.
    fn note_write(&mut self) {
        self.has_written = true;
        if let Some(running) = &self.running {
            running.note_write();
        }
    }

    /// Those whose shards it holds need not wait any longer.
    #[cold]
    fn tell_busy(&self, running: &Running, age_ms: u64) {
        let server = self.core.server;
        if server.scripting.note_busy(running) {
            let (what, name) = match running.kind {
                ScriptKind::Script => ("SCRIPT", hex(self.name)),
                ScriptKind::Function => ("FUNCTION", String::from_utf8_lossy(self.name).into()),
            };
            tracing::warn!(
                "Slow script detected: {name} still runs after {age_ms} milliseconds. {what} KILL ends it."
            );
            server.wake_all();
        }
    }

    /// The command that a script asks for, or why there is none.
    fn find(&self, args: Args<'_>) -> Result<&'static Entry, &'static str> {
        let found = self.core.server.commands.find(args.at(0)).map(|it| it.asked_for(args));
        let entry = found.ok_or(text::UNKNOWN_COMMAND)?;
        if !entry.is_runnable(args) {
            return Err(text::UNKNOWN_COMMAND);
        }
        if !entry.spec.takes(args.len()) {
            return Err(text::WRONG_ARITY);
        }
        let allows_all = &self.core.server.switches.scripts_may_all;
        if entry.spec.flags.contains(Flags::NOSCRIPT) && !allows_all.load(Ordering::Relaxed) {
            return Err(text::NOT_ALLOWED);
        }
        Ok(entry)
    }

    /// Whether a command may run now.
    fn check(&mut self, entry: &'static Entry, args: Args<'_>) -> Result<(), CommandError> {
        let flags = entry.spec.flags;
        if !args.are_short() {
            check_lengths(entry.spec, entry.group, args)?;
        }
        if let Err(denial) = self.core.permit(self.client, entry, args, Context::Lua) {
            let start = text::NO_PERMISSION;
            return Err(self.core.no_permission(start, denial, self.client, entry));
        }
        if flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE) && self.rules.is_read_only {
            return Err(CommandError::text(text::READ_ONLY));
        }
        // What a master has run is run.
        if self.client.identity.is_trusted() {
            return Ok(());
        }
        if flags.contains(Flags::WRITE) && self.core.refuses_writes_of_clients() {
            return Err(CommandError::text(READ_ONLY_REPLICA));
        }
        if !flags.contains(Flags::STALE) && !self.core.may_answer() {
            return Err(CommandError::text("ERR Can not execute the command on a stale replica"));
        }
        // A script that has written goes on: it is not to end in the middle.
        if flags.contains(Flags::WRITE)
            && !self.has_written
            && let Some(error) = self.core.trouble_of_writes()
        {
            return Err(error);
        }
        if self.rules.is_out_of_memory && !self.has_written && flags.contains(Flags::DENYOOM) {
            return Err(CommandError::text(
                "OOM command not allowed when used memory > 'maxmemory'.",
            ));
        }
        Ok(())
    }
}

impl Core {
    /// Runs a command of a script, whose locks are held. Returns false if it would take too long: then what it has done is
    /// to be taken back.
    fn call_from_script(
        &mut self,
        client: &mut Client,
        role: Role,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &mut Locked<'static>,
    ) -> bool {
        let reply_start = reply.mark();
        let result = self.run_among_others(client, role, reply, entry, args, locked);
        if let Some(task) = self.runner.effects.task.take() {
            self.server.aside.computations.discard(task);
            return false;
        }
        let caller = Caller::Script;
        self.after_run(RanCommand { entry, client, caller, args, reply, reply_start, result });
        true
    }

    /// Who hears of what comes next in the unit, if anybody wants to.
    fn set_replication(&mut self, replication: Replication, is_active: bool) {
        let effects = &mut self.runner.effects;
        let Replication { to_log, to_replicas } = replication;
        effects.is_journalled = is_active && (to_log || to_replicas);
        effects.is_silenced = is_active && !effects.is_journalled;
        effects.journal.set_audience(match (to_log, to_replicas) {
            (true, false) => Audience::Only(Side::Disk),
            (false, true) => Audience::Only(Side::Replicas),
            _ => Audience::Both,
        });
    }

    /// What has passed since `ticks` counts for the command that ends next.
    pub(crate) fn resume_clock(&mut self, ticks: u64) {
        self.ticks = ticks;
    }
}

impl Session<'_> {
    /// The libraries have changed: what is saved next has them as they are now, and the log has the command. If only one has,
    /// it is named.
    pub(crate) fn note_libraries(&mut self, changed: Option<&[u8]>) {
        let Self { core, client, args, locked, .. } = self;
        core.server.keep_libraries(changed);
        if locked.is_none() {
            core.begin_unit();
        }
        if core.runner.effects.is_journalled {
            let words: Vec<&[u8]> = args.from(0).collect();
            core.runner.effects.journal.command(client.db as u32, &words);
        }
        core.runner.changes.dirty += 1;
        if locked.is_none() {
            let no_shards = core.server.keyspace.lock(&ShardSet::default());
            core.end_client_unit(client, no_shards);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}
