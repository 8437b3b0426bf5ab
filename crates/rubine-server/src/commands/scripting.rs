//! EVAL, EVALSHA, FCALL and their read-only forms, and SCRIPT.

use rubine_base::number::parse_i64;
use rubine_commands::{Args, CommandError, CommandResult, Flags, shards_of};
use rubine_keyspace::ShardSet;
use rubine_scripting::{Interpreter, ScriptFlags, Sha};

use super::help;
use super::scripts::{is_flush, kill, refusal};
use crate::client::ClientFlags;
use crate::client::away::{Ended, Ran, ScriptDebug};
use crate::client::request::OwnedArgs;
use crate::client::suspension::Brought;
use crate::command_table::wrong_form;
use crate::core::durability::{READ_ONLY, STALE};
use crate::core::eviction::Need;
use crate::core::scripts::{Long, Obstacle, ScriptRun, Venue};
use crate::core::{ServerCommand, Session};
use crate::server::{Given, Rules, ScriptKind};

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

fn eval(session: &mut Session<'_>, given: Given, is_read_only: bool) -> CommandResult {
    if given == Given::Sha && session.client.debugging != ScriptDebug::Off {
        return Err(CommandError::text("ERR Please use EVAL instead of EVALSHA for debugging"));
    }
    let key_count = key_count(session.args)?;
    run(session, given, is_read_only, |_| Ok(key_count))
}

fn fcall(session: &mut Session<'_>, is_read_only: bool) -> CommandResult {
    // Whether there is such a function comes first.
    run(session, Given::Function, is_read_only, |args| {
        key_count(args).map_err(|error| match error {
            CommandError::NotInteger => CommandError::text("ERR Bad number of keys provided"),
            error => error,
        })
    })
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

/// Runs a script, or goes on with one that has run on another thread.
fn run(
    session: &mut Session<'_>,
    given: Given,
    is_read_only: bool,
    key_count: impl FnOnce(Args<'_>) -> Result<usize, CommandError>,
) -> CommandResult {
    if session.locked.is_none()
        && let Some((ran, _)) = session.take_ran()
        && finish(session, ran) == Ended::Replied
    {
        return Ok(());
    }
    let mut interpreter = session.core.take_interpreter();
    let owned;
    let args = if session.args.are_together() {
        session.args
    } else {
        owned = OwnedArgs::together(session.args);
        owned.as_args()
    };
    let prepared = session.core.prepare_script(&mut interpreter, given, args);
    let result = prepared.map_err(|error| refusal(&error)).and_then(|(prepared, name)| {
        let key_count = key_count(args)?;
        let kind = if given == Given::Function { ScriptKind::Function } else { ScriptKind::Script };
        let rules = rules_of(session, prepared.flags, kind, is_read_only)?;
        let script = ScriptRun { prepared, given, rules, name, command: args, key_count };
        run_prepared(session, &mut interpreter, &script)
    });
    session.core.keep_interpreter(interpreter);
    result
}

/// Runs what was prepared, with the locks of its keys or of all, here or on another thread.
fn run_prepared(
    session: &mut Session<'_>,
    interpreter: &mut Interpreter,
    script: &ScriptRun<'_>,
) -> CommandResult {
    let long = |debugged| Long {
        given: script.given,
        rules: script.rules,
        key_count: script.key_count,
        debugged,
    };
    let is_long = session.core.is_long(&script.name);
    if session.locked.is_some() {
        run_within(session, interpreter, script, is_long, long(None));
        return Ok(());
    }
    let mut debugged = session.debugged();
    let mut slot = None;
    if is_long || debugged.is_some() {
        let Some(taken) = session.take_slot() else { return Ok(()) };
        slot = Some(taken);
    }
    let mut shards = if session.core.is_wide(&script.name) {
        ShardSet::All
    } else {
        shards_of(session.entry.spec, script.command, false).several()
    };
    loop {
        let Some(mut locked) = session.lock(&shards) else {
            // Whoever comes back brings it along.
            session.client.brought = slot.map(Brought::Slot);
            return Ok(());
        };
        let Session { core, client, reply, args, entry, .. } = session;
        if let Some(error) = core.look_again(client, entry, *args, &locked) {
            return Err(error);
        }
        core.begin_client_unit(client, reply);
        core.begin_undoable();
        if let Some(slot) = slot.take() {
            let long = long(debugged.take());
            core.run_elsewhere(client, *args, (long, script.command), None, locked, slot);
            return Ok(());
        }
        let setting = Venue::Worker;
        let ended = core.run_script(client, interpreter, script, setting, reply, &mut locked);
        core.note_ended(&script.name, ended, false);
        if ended == Ended::TooLong
            && let Some(slot) = core.take_slot(client)
        {
            core.run_elsewhere(client, *args, (long(None), script.command), None, locked, slot);
            return Ok(());
        }
        core.keep();
        core.end_client_unit(client, locked);
        core.forget_undo();
        match ended {
            Ended::Replied => return Ok(()),
            Ended::TooLong => {
                session.wait_for_slot();
                return Ok(());
            }
            Ended::NeedsAll | Ended::NeedsMore | Ended::Stale => shards = ShardSet::All,
        }
    }
}

/// Runs what was prepared under the locks of the transaction that it is in.
fn run_within(
    session: &mut Session<'_>,
    interpreter: &mut Interpreter,
    script: &ScriptRun<'_>,
    is_long: bool,
    long: Long,
) {
    let Session { core, client, reply, locked, .. } = session;
    let Some(locked) = locked else { return };
    let is_worker = core.is_worker();
    let setting = if is_worker { Venue::Worker } else { Venue::Thread };
    let ended = if is_long && is_worker {
        Ended::TooLong
    } else {
        core.run_script(client, interpreter, script, setting, reply, locked)
    };
    core.note_ended(&script.name, ended, false);
    core.scripts.obstacle = match ended {
        Ended::NeedsAll | Ended::NeedsMore => Some(Obstacle::NeedsAll),
        Ended::TooLong => Some(Obstacle::TooLong(long)),
        Ended::Replied | Ended::Stale => None,
    };
}

/// Ends the unit of a script that has run on another thread. Nothing is left of it if there is no reply.
fn finish(session: &mut Session<'_>, ran: Box<Ran>) -> Ended {
    let Ran { away, ended, reply, name, spent_ticks, used, was_short } = *ran;
    let Session { core, client, .. } = session;
    core.note_ended(&name, ended, was_short);
    let locked = core.take_up(away);
    if ended == Ended::Replied {
        core.resume_clock(core.ticks().saturating_sub(spent_ticks));
        used.into_iter().for_each(|it| core.note_slot(it));
        if client.debugging != ScriptDebug::Off {
            // Which tells the client that the session is over.
            client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
        }
        session.reply.append(reply);
    }
    core.keep();
    core.end_client_unit(client, locked);
    core.forget_undo();
    core.read_time();
    ended
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
        if flags.contains(ScriptFlags::NO_CLUSTER) && core.view.is_some() {
            let text = "ERR Can not run script on cluster, 'no-cluster' flag is set.";
            return Err(CommandError::text(text));
        }
        if writes && is_read_only {
            let text = "ERR Can not execute a script with write flag using *_ro command.";
            return Err(CommandError::text(text));
        }
        if writes && let Some(error) = disk_trouble(session).or(session.core.lack_of_replicas()) {
            return Err(error);
        }
        if writes && session.core.refuses_writes_of_clients() {
            return Err(CommandError::text(READ_ONLY));
        }
        if is_over && writes && !flags.contains(ScriptFlags::ALLOW_OOM) {
            return Err(CommandError::text(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
            ));
        }
    }
    let may_be_stale = !is_compatible && flags.contains(ScriptFlags::ALLOW_STALE);
    if !may_be_stale && !session.core.may_answer() {
        return Err(CommandError::text(STALE));
    }
    Ok(Rules {
        kind,
        flags,
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
    &[DEBUG, EXISTS, FLUSH, HELP, KILL, LOAD, SHOW],
)
.summary("A container for commands about scripts.")
.since("2.6.0")
.complexity("Depends on the subcommand.");

const HELP: ServerCommand = help::HELP;

const DEBUG: ServerCommand = ServerCommand::declare("DEBUG", debug)
    .summary("Has the client's next script run line by line, as `valkey-cli --ldb` wants it.")
    .syntax("YES | SYNC | NO [engine]")
    .since("3.2.0")
    .complexity("O(1)")
    .arity(-3)
    .flag(Flags::NOSCRIPT);

fn debug(session: &mut Session<'_>) -> CommandResult {
    if !session.reply.is_empty() {
        return Err(CommandError::text("ERR SCRIPT DEBUG must be called outside a pipeline"));
    }
    match session.args.get(3) {
        Some(_) if 4 < session.args.len() => return Err(wrong_form(session.args, "SCRIPT")),
        Some(engine) if !engine.eq_ignore_ascii_case(b"lua") => {
            return Err(CommandError::quoting(&[
                b"ERR No scripting engine found with name '",
                engine,
                b"' to enable debug",
            ]));
        }
        _ => {}
    }
    session.client.debugging = match session.args.at(2).to_ascii_lowercase().as_slice() {
        b"no" => ScriptDebug::Off,
        b"yes" => ScriptDebug::Undone,
        b"sync" => ScriptDebug::Kept,
        _ => return Err(CommandError::text("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    };
    session.reply.ok();
    Ok(())
}

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
    session.core.drop_flushed_scripts();
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
