//! EVAL, EVALSHA, FCALL and their read-only forms, and SCRIPT.

use rubine_base::number::parse_i64;
use rubine_commands::{Args, CommandError, CommandResult, Flags, shards_of};
use rubine_keyspace::ShardSet;
use rubine_scripting::{Flags as ScriptFlags, Interpreter, Prepared, Request, Sha, Source};

use super::help;
use super::scripts::{is_flush, kill, refusal};
use crate::client::request::OwnedArgs;
use crate::core::eviction::Need;
use crate::core::scripts::{Ended, Rules, ScriptRun};
use crate::core::{ServerCommand, Session};
use crate::server::ScriptKind;

pub(crate) const COMMANDS: &[ServerCommand] =
    &[EVAL, EVALSHA, EVALSHA_RO, EVAL_RO, FCALL, FCALL_RO, super::functions::FUNCTION, SCRIPT];

/// The flags of whatever runs a script.
const RUNNING: Flags = Flags::NOSCRIPT
    .union(Flags::SKIP_MONITOR)
    .union(Flags::MAY_REPLICATE)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::STALE)
    .union(Flags::MOVABLE_KEYS);
/// The flags of whatever runs one that changes nothing.
const READING: Flags = Flags::NOSCRIPT
    .union(Flags::SKIP_MONITOR)
    .union(Flags::NO_MANDATORY_KEYS)
    .union(Flags::STALE)
    .union(Flags::READONLY)
    .union(Flags::MOVABLE_KEYS);

const EVAL: ServerCommand = ServerCommand::declare("EVAL", |it| eval(it, Given::Text, false))
    .summary("Runs a script of Lua.")
    .syntax("script numkeys [key [key ...]] [arg [arg ...]]")
    .since("2.6.0")
    .complexity("Depends on the script.")
    .arity(-3)
    .flag(RUNNING)
    .keys_counted(2, "RW ACCESS UPDATE");

const EVALSHA: ServerCommand = ServerCommand::declare("EVALSHA", |it| eval(it, Given::Sha, false))
    .summary("Runs a script of Lua that the server has, by its SHA1 digest.")
    .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]")
    .since("2.6.0")
    .complexity("Depends on the script.")
    .arity(-3)
    .flag(RUNNING)
    .keys_counted(2, "RW ACCESS UPDATE");

const EVAL_RO: ServerCommand = ServerCommand::declare("EVAL_RO", |it| eval(it, Given::Text, true))
    .summary("Runs a script of Lua that may change nothing.")
    .syntax("script numkeys [key [key ...]] [arg [arg ...]]")
    .since("7.0.0")
    .complexity("Depends on the script.")
    .arity(-3)
    .flag(READING)
    .keys_counted(2, "RO ACCESS");

const EVALSHA_RO: ServerCommand =
    ServerCommand::declare("EVALSHA_RO", |it| eval(it, Given::Sha, true))
        .summary("Runs a script of Lua that the server has and that may change nothing.")
        .syntax("sha1 numkeys [key [key ...]] [arg [arg ...]]")
        .since("7.0.0")
        .complexity("Depends on the script.")
        .arity(-3)
        .flag(READING)
        .keys_counted(2, "RO ACCESS");

const FCALL: ServerCommand = ServerCommand::declare("FCALL", |it| fcall(it, false))
    .summary("Calls a function of a library.")
    .syntax("function numkeys [key [key ...]] [arg [arg ...]]")
    .since("7.0.0")
    .complexity("Depends on the function.")
    .arity(-3)
    .flag(RUNNING)
    .keys_counted(2, "RW ACCESS UPDATE");

const FCALL_RO: ServerCommand = ServerCommand::declare("FCALL_RO", |it| fcall(it, true))
    .summary("Calls a function of a library that may change nothing.")
    .syntax("function numkeys [key [key ...]] [arg [arg ...]]")
    .since("7.0.0")
    .complexity("Depends on the function.")
    .arity(-3)
    .flag(READING)
    .keys_counted(2, "RO ACCESS");

/// By what a script is given.
#[derive(Clone, Copy)]
enum Given {
    Text,
    Sha,
}

fn eval(session: &mut Session<'_>, given: Given, is_read_only: bool) -> CommandResult {
    let key_count = key_count(session.args)?;
    let mut interpreter = session.core.take_interpreter();
    let source = match given {
        Given::Text => Source::Text(session.args.at(1)),
        Given::Sha => Source::Sha(session.args.at(1)),
    };
    let result = interpreter
        .prepare(&session.core.server.scripting.scripts, source)
        .map_err(|error| refusal(&error))
        .and_then(|prepared| {
            let name = Box::from(interpreter.script(prepared).sha.0);
            let kind = ScriptKind::Script;
            run(session, &mut interpreter, prepared, name, kind, is_read_only, key_count)
        });
    session.core.keep_interpreter(interpreter);
    result
}

fn fcall(session: &mut Session<'_>, is_read_only: bool) -> CommandResult {
    let mut interpreter = session.core.take_interpreter();
    let libraries = &session.core.server.scripting.libraries;
    let result = interpreter
        .prepare_function(libraries, session.args.at(1))
        .map_err(|error| refusal(&error))
        .and_then(|prepared| {
            let key_count = key_count(session.args).map_err(|error| match error {
                CommandError::NotInteger => CommandError::text("ERR Bad number of keys provided"),
                error => error,
            })?;
            let name = Box::from(session.args.at(1));
            let kind = ScriptKind::Function;
            run(session, &mut interpreter, prepared, name, kind, is_read_only, key_count)
        });
    session.core.keep_interpreter(interpreter);
    result
}

/// How many of the arguments are keys.
fn key_count(args: Args<'_>) -> Result<usize, CommandError> {
    let count = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    if count < 0 {
        return Err(CommandError::text("ERR Number of keys can't be negative"));
    }
    if args.len() as i64 - 3 < count {
        let text = "ERR Number of keys can't be greater than number of args";
        return Err(CommandError::text(text));
    }
    Ok(count as usize)
}

/// Runs what was prepared, with the locks of its keys or of all.
fn run(
    session: &mut Session<'_>,
    interpreter: &mut Interpreter,
    prepared: Prepared,
    name: Box<[u8]>,
    kind: ScriptKind,
    is_read_only: bool,
    key_count: usize,
) -> CommandResult {
    let rules = rules_of(session, prepared.flags, kind, is_read_only)?;
    let owned;
    let args = if session.args.are_together() {
        session.args
    } else {
        owned = OwnedArgs::of(session.args);
        owned.as_args()
    };
    let keys = args.skip(3).first(key_count);
    let script = ScriptRun {
        prepared,
        rules,
        name,
        command: args,
        keys: request(keys),
        args: request(args.skip(3 + key_count)),
    };
    if session.locked.is_some() {
        let Session { core, client, reply, locked, .. } = session;
        let Some(locked) = locked else { unreachable!("it was looked at") };
        if core.run_script(client, interpreter, &script, reply, locked) == Ended::NeedsAll {
            core.scripts.needs_all = true;
        }
        return Ok(());
    }
    let mut shards = if session.core.is_wide(&script.name) {
        ShardSet::All
    } else {
        shards_of(session.entry.spec, args, false)
    };
    loop {
        let Some(mut locked) = session.lock(&shards) else { return Ok(()) };
        let Session { core, client, reply, .. } = session;
        core.begin_client_unit(client, reply);
        core.begin_undoable();
        let ended = core.run_script(client, interpreter, &script, reply, &mut locked);
        core.keep();
        core.end_client_unit(client, locked);
        core.forget_undo();
        if ended == Ended::Replied {
            return Ok(());
        }
        shards = ShardSet::All;
    }
}

fn request(args: Args<'_>) -> Request<'_> {
    let (buffer, ranges) = args.parts();
    Request { buffer, ranges }
}

/// What a script may do now, or why it may not run.
fn rules_of(
    session: &mut Session<'_>,
    flags: ScriptFlags,
    kind: ScriptKind,
    is_read_only: bool,
) -> Result<Rules, CommandError> {
    let core = &mut *session.core;
    let is_over =
        core.settings.maxmemory != 0 && session.locked.is_none() && !core.make_room(Need::Urgent);
    let is_compatible = flags.contains(ScriptFlags::COMPATIBLE);
    let writes = !flags.contains(ScriptFlags::NO_WRITES);
    if !is_compatible {
        if writes && is_read_only {
            let text = "ERR Can not execute a script with write flag using *_ro command.";
            return Err(CommandError::text(text));
        }
        if writes && let Some(error) = disk_trouble(session) {
            return Err(error);
        }
        if is_over && writes && !flags.contains(ScriptFlags::ALLOW_OOM) {
            return Err(CommandError::text(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            ));
        }
    }
    Ok(Rules {
        kind,
        is_read_only: is_read_only || !writes,
        is_out_of_memory: is_over && !flags.contains(ScriptFlags::ALLOW_OOM),
        is_atomic: flags.contains(ScriptFlags::ATOMIC),
    })
}

/// Why nothing may be written: what is written could not be kept.
fn disk_trouble(session: &Session<'_>) -> Option<CommandError> {
    let core = &session.core;
    if core.failed_save_stops_writes() {
        return Some(CommandError::text(
            "MISCONF Rubine is configured to save RDB snapshots, but it's currently unable to persist to disk. Writable \
             scripts are blocked. Use 'no-writes' flag for read only scripts.",
        ));
    }
    let reason = core.server.aof.error()?;
    let text = format!(
        "MISCONF Rubine is configured to persist data to AOF, but it's currently unable to persist to disk. Writable \
         scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: {reason}"
    );
    Some(CommandError::Other(text.into()))
}

const SCRIPT: ServerCommand = ServerCommand::container(
    "SCRIPT",
    super::server::never_runs,
    &[EXISTS, FLUSH, HELP, KILL, LOAD, SHOW],
)
.summary("A container for commands about scripts.")
.since("2.6.0")
.complexity("Depends on the subcommand.");

const HELP: ServerCommand = help::HELP;

const EXISTS: ServerCommand = ServerCommand::declare("EXISTS", exists)
    .summary("Says which scripts the server has, by their SHA1 digests.")
    .syntax("sha1 [sha1 ...]")
    .since("2.6.0")
    .complexity("O(N) with N the number of digests.")
    .tips("request_policy:all_shards response_policy:agg_logical_and")
    .arity(-3)
    .flag(Flags::NOSCRIPT);

fn exists(session: &mut Session<'_>) -> CommandResult {
    let scripts = &session.core.server.scripting.scripts;
    session.reply.array(session.args.len() - 2);
    for digest in session.args.from(2) {
        let is_there = Sha::parse(digest).is_some_and(|it| scripts.find(it).is_some());
        session.reply.integer(i64::from(is_there));
    }
    Ok(())
}

const FLUSH: ServerCommand = ServerCommand::declare("FLUSH", flush)
    .summary("Forgets all scripts.")
    .syntax("[ASYNC | SYNC]")
    .since("2.6.0")
    .complexity("O(N) with N the number of scripts.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(-2)
    .flag(Flags::NOSCRIPT);

fn flush(session: &mut Session<'_>) -> CommandResult {
    if !is_flush(session.args) {
        let text = "ERR SCRIPT FLUSH only support SYNC|ASYNC option";
        return Err(CommandError::text(text));
    }
    session.core.server.scripting.scripts.flush();
    session.reply.ok();
    Ok(())
}

const KILL: ServerCommand = ServerCommand::declare("KILL", |it| kill(it, ScriptKind::Script))
    .summary("Ends the script that runs; with UNDO although it has written, which is put back.")
    .syntax("[UNDO]")
    .since("2.6.0")
    .complexity("O(1)")
    .tips("request_policy:all_shards response_policy:one_succeeded")
    .arity(-2)
    .flag(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY));

const LOAD: ServerCommand = ServerCommand::declare("LOAD", load)
    .summary("Takes a script in; returns its SHA1 digest.")
    .syntax("script")
    .since("2.6.0")
    .complexity("O(N) with N the length of the script.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(3)
    .flag(Flags::NOSCRIPT.union(Flags::STALE));

fn load(session: &mut Session<'_>) -> CommandResult {
    let mut interpreter = session.core.take_interpreter();
    let scripts = &session.core.server.scripting.scripts;
    let loaded = interpreter.load(scripts, session.args.at(2));
    session.core.keep_interpreter(interpreter);
    let sha = loaded.map_err(|error| refusal(&error))?;
    session.reply.bulk(&sha.to_hex());
    Ok(())
}

const SHOW: ServerCommand = ServerCommand::declare("SHOW", show)
    .summary("Returns a script's text, by its SHA1 digest.")
    .syntax("sha1")
    .since("8.0.0")
    .complexity("O(1)")
    .arity(3)
    .flag(Flags::NOSCRIPT);

fn show(session: &mut Session<'_>) -> CommandResult {
    let scripts = &session.core.server.scripting.scripts;
    let found = Sha::parse(session.args.at(2)).and_then(|it| scripts.find(it));
    let script = found.ok_or(CommandError::text(rubine_scripting::text::NO_SCRIPT))?;
    session.reply.bulk(&script.text);
    Ok(())
}
