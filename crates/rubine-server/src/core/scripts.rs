//! Scripts and functions as units of work: which shards they hold, what their commands may do, when they begin anew.
//!
//! A script's declared keys are its locks. If it comes to a key whose shard it does not hold, all that it wrote is put
//! back, and it runs again with all shards; that is remembered for the next time (`docs/design/023`).

use std::sync::Arc;

use rubine_base::clock::monotonic_millis;
use rubine_base::hash::HashSet;
use rubine_commands::{Args, CommandError, Flags, shards_of};
use rubine_keyspace::{Locked, ShardSet};
use rubine_resp::writer::Reply;
use rubine_scripting::{
    Call, Called, Host, Interpreter, LogLevel, Outcome, Permission, Prepared, Replication, Request,
    Verdict, text,
};
use rubine_system::process::{self, Whose};
use rubine_system::ticks;

use super::after_run::Ran;
use super::unit::Role;
use super::{Core, Session};
use crate::client::Client;
use crate::command_table::Entry;
use crate::server::{Running, ScriptKind, Wish, interpreter_settings, log_of_script};

/// After this time others may see that a script runs, and end it.
const SEEN_AFTER_MS: u64 = 1;
/// Scripts that are remembered to need all shards; when there are more, none is.
const WIDE_MAX: usize = 4096;

/// What a worker has for running scripts.
#[derive(Default)]
pub(crate) struct ScriptEngine {
    /// Made when first needed; elsewhere while a script runs.
    interpreter: Option<Box<Interpreter>>,
    /// Names of scripts and functions that came to keys which they had not declared.
    wide: HashSet<Box<[u8]>>,
    /// A script of the running transaction needs shards that are not locked.
    pub(crate) needs_all: bool,
}

/// What a script may do, by its flags and by how it is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: ScriptKind,
    pub(crate) is_read_only: bool,
    /// Commands that add data are refused until it has changed something.
    pub(crate) is_out_of_memory: bool,
    /// An error puts back what it wrote.
    pub(crate) is_atomic: bool,
}

/// One script to be run.
pub(crate) struct ScriptRun<'a> {
    pub(crate) prepared: Prepared,
    pub(crate) rules: Rules,
    /// The name by which it is remembered: a digest, or a function's name.
    pub(crate) name: Box<[u8]>,
    pub(crate) command: Args<'a>,
    pub(crate) keys: Request<'a>,
    pub(crate) args: Request<'a>,
}

/// How a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There is a reply, or an error.
    Replied,
    /// It needs shards that are not locked. Nothing is left of what it did.
    NeedsAll,
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

    pub(crate) fn keep_interpreter(&mut self, interpreter: Box<Interpreter>) {
        let stats = self.stats();
        stats.script_bytes.set(interpreter.script_memory() as u64);
        stats.function_bytes.set(interpreter.function_memory() as u64);
        self.scripts.interpreter = Some(interpreter);
    }

    /// Whether a script is known to need more shards than it declares keys of.
    pub(crate) fn is_wide(&self, name: &[u8]) -> bool {
        self.scripts.wide.contains(name)
    }

    /// Runs a script under the locks of its unit, which has begun. What it wrote is put back if it has to run again, if it
    /// is killed so, or if it is atomic and fails.
    pub(crate) fn run_script(
        &mut self,
        client: &mut Client,
        interpreter: &mut Interpreter,
        run: &ScriptRun<'_>,
        reply: &mut Reply<'_>,
        locked: &mut Locked<'static>,
    ) -> Ended {
        let reply_start = reply.mark();
        let (db, start) = (client.db, self.ticks());
        let mark = self.mark();
        let mut host = ScriptHost {
            core: self,
            client,
            locked,
            rules: run.rules,
            command: run.command,
            name: &run.name,
            started_ms: monotonic_millis(),
            running: None,
            has_written: false,
            needs_all: false,
            wish: Wish::GoesOn,
        };
        let call = Call { keys: run.keys, args: run.args, host: &mut host, reply };
        let outcome = interpreter.run(run.prepared, call);
        let (needs_all, wish) = (host.needs_all, host.wish);
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
        // The time of its commands is its own, too.
        self.resume_clock(start);
        if needs_all {
            reply.truncate_to(reply_start);
            if self.scripts.wide.len() == WIDE_MAX {
                self.scripts.wide.clear();
            }
            self.scripts.wide.insert(run.name.clone());
            return Ended::NeedsAll;
        }
        Ended::Replied
    }
}

/// The server as a running script sees it.
struct ScriptHost<'a> {
    core: &'a mut Core,
    client: &'a mut Client,
    locked: &'a mut Locked<'static>,
    rules: Rules,
    command: Args<'a>,
    name: &'a [u8],
    /// Monotonic milliseconds.
    started_ms: u64,
    /// What others know of it, once it has run for a while.
    running: Option<Arc<Running>>,
    has_written: bool,
    /// It came to a key whose shard is not locked.
    needs_all: bool,
    wish: Wish,
}

impl Host for ScriptHost<'_> {
    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Called {
        let args = Args::new(request.buffer, request.ranges);
        let entry = match self.find(args) {
            Ok(entry) => entry,
            Err(refusal) => {
                reply.error(refusal);
                return Called::Replied;
            }
        };
        if let Err(error) = self.check(entry) {
            self.core.count_rejection(entry, &error);
            error.write(reply);
            return Called::Replied;
        }
        if !self.locked.covers_all(&shards_of(entry.spec, args, true)) {
            self.needs_all = true;
            return Called::Stop;
        }
        let dirty_before = self.core.runner.changes.dirty;
        self.core.call_from_script(self.client, reply, entry, args, self.locked);
        if dirty_before < self.core.runner.changes.dirty {
            self.has_written = true;
            if let Some(running) = &self.running {
                running.note_write();
            }
        }
        Called::Replied
    }

    fn poll(&mut self) -> Verdict {
        let age_ms = monotonic_millis().saturating_sub(self.started_ms);
        if age_ms < SEEN_AFTER_MS {
            return Verdict::GoOn;
        }
        let running = self.running.get_or_insert_with(|| {
            let name = match self.rules.kind {
                ScriptKind::Script => Vec::new(),
                ScriptKind::Function => self.name.to_vec(),
            };
            let command = self.command.from(0).map(<[u8]>::to_vec).collect();
            let running = Arc::new(Running::new(self.rules.kind, name, command, self.started_ms));
            if self.has_written {
                running.note_write();
            }
            self.core.server.scripting.enter(Arc::clone(&running));
            running
        });
        self.wish = running.wish();
        if self.wish == Wish::GoesOn { Verdict::GoOn } else { Verdict::Kill }
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        log_of_script(level, text);
    }

    /// There is one user, who may do everything.
    fn check_permission(&mut self, request: Request<'_>) -> Permission {
        let args = Args::new(request.buffer, request.ranges);
        if self.find(args).is_ok() { Permission::Granted } else { Permission::Invalid }
    }

    fn set_replication(&mut self, replication: Replication) {
        self.core.runner.effects.is_journalled =
            replication.to_log && self.core.server.journal.is_active();
    }

    fn cpu_seconds(&mut self) -> f64 {
        let time = process::cpu_time(Whose::Process);
        (time.user_us + time.system_us) as f64 / 1e6
    }

    fn count_error(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.core.count_error(&CommandError::Other(text.into()));
    }
}

impl ScriptHost<'_> {
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
        if entry.spec.flags.contains(Flags::NOSCRIPT) {
            return Err(text::NOT_ALLOWED);
        }
        Ok(entry)
    }

    /// Whether a command may run now.
    fn check(&self, entry: &'static Entry) -> Result<(), CommandError> {
        let flags = entry.spec.flags;
        if flags.contains(Flags::WRITE) && self.rules.is_read_only {
            return Err(CommandError::text(text::READ_ONLY));
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
    /// Runs a command of a script, whose locks are held.
    fn call_from_script(
        &mut self,
        client: &mut Client,
        reply: &mut Reply<'_>,
        entry: &'static Entry,
        args: Args<'_>,
        locked: &mut Locked<'static>,
    ) {
        let reply_start = reply.mark();
        let result = self.run_among_others(client, Role::Script, reply, entry, args, locked);
        self.after_run(Ran { entry, client, args, reply, reply_start, result });
    }

    /// What has passed since `ticks` counts for the command that ends next.
    fn resume_clock(&mut self, ticks: u64) {
        self.ticks = ticks.min(ticks::now());
    }
}

impl Session<'_> {
    /// The libraries have changed: what is saved next has them as they are now, and the log has the command.
    pub(crate) fn note_libraries(&mut self) {
        let Self { core, client, args, locked, .. } = self;
        core.server.keep_libraries();
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
