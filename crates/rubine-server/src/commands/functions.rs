//! FUNCTION: libraries of functions, as they are loaded, listed, dumped and restored.

use std::sync::Arc;

use rubine_base::clock::monotonic_millis;
use rubine_base::glob::{Case, matches};
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_rdb::Version;
use rubine_rdb::dump::{decode_libraries, encode_libraries};
use rubine_resp::writer::Reply;
use rubine_scripting::{Library, Policy, ScriptError};

use super::help;
use super::scripts::{is_flush, kill, refusal};
use crate::command_table::wrong_form;
use crate::core::{ServerCommand, Session};
use crate::server::{LoadingHost, ScriptKind};

pub(super) const FUNCTION: ServerCommand = ServerCommand::container(
    "FUNCTION",
    super::server::never_runs,
    &[DELETE, DUMP, FLUSH, HELP, KILL, LIST, LOAD, RESTORE, STATS],
)
.summary("A container for commands about functions.")
.since("7.0.0")
.complexity("Depends on the subcommand.");

const HELP: ServerCommand = help::HELP.flag(Flags::LOADING.union(Flags::STALE));

/// The flags of what changes libraries.
const CHANGING: Flags = Flags::WRITE.union(Flags::NOSCRIPT);

const LOAD: ServerCommand = ServerCommand::declare("LOAD", load)
    .summary("Takes a library of functions in; returns its name.")
    .syntax("[REPLACE] function-code")
    .since("7.0.0")
    .complexity("Depends on the code.")
    .tips("request_policy:all_shards response_policy:all_succeeded")
    .arity(-3)
    .flag(CHANGING.union(Flags::DENYOOM));

fn load(session: &mut Session<'_>) -> CommandResult {
    let args = session.args;
    let mut policy = Policy::Append;
    for option in args.from(2).take(args.len() - 3) {
        if !option.eq_ignore_ascii_case(b"REPLACE") {
            return Err(CommandError::quoting(&[b"ERR Unknown option given: ", option]));
        }
        policy = Policy::Replace;
    }
    let mut interpreter = session.core.take_interpreter();
    let registry = &session.core.server.scripting.libraries;
    let code = args.at(args.len() - 1);
    let loaded = interpreter.load_library(registry, code, policy, &mut LoadingHost::new());
    session.core.keep_interpreter(interpreter);
    let name = loaded.map_err(|error| loading_refusal(&error))?;
    session.note_libraries(Some(&name));
    session.reply.bulk(&name);
    Ok(())
}

fn loading_refusal(error: &ScriptError) -> CommandError {
    match error {
        ScriptError::Stopped => CommandError::text("ERR FUNCTION LOAD timeout"),
        error => refusal(error),
    }
}

const DELETE: ServerCommand = ServerCommand::declare("DELETE", delete)
    .summary("Forgets a library and its functions.")
    .syntax("library-name")
    .since("7.0.0")
    .complexity("O(1)")
    .tips("request_policy:all_shards response_policy:all_succeeded")
    .arity(3)
    .flag(CHANGING);

fn delete(session: &mut Session<'_>) -> CommandResult {
    let args = session.args;
    let registry = &session.core.server.scripting.libraries;
    let deleted = registry.change(|libraries| libraries.without(args.at(2)));
    deleted.map_err(|error| refusal(&error))?;
    session.note_libraries(Some(args.at(2)));
    session.reply.ok();
    Ok(())
}

const FLUSH: ServerCommand = ServerCommand::declare("FLUSH", flush)
    .summary("Forgets all libraries.")
    .syntax("[ASYNC | SYNC]")
    .since("7.0.0")
    .complexity("O(N) with N the number of functions.")
    .tips("request_policy:all_shards response_policy:all_succeeded")
    .arity(-2)
    .flag(CHANGING);

fn flush(session: &mut Session<'_>) -> CommandResult {
    if 3 < session.args.len() {
        return Err(wrong_form(session.args, "FUNCTION"));
    }
    if !is_flush(session.args) {
        return Err(CommandError::text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    session.core.server.scripting.libraries.flush();
    session.core.drop_flushed_scripts();
    session.note_libraries(None);
    session.reply.ok();
    Ok(())
}

const KILL: ServerCommand = ServerCommand::declare("KILL", |it| kill(it, ScriptKind::Function))
    .summary("Ends the function that runs; with UNDO although it has written, which is put back.")
    .syntax("[UNDO]")
    .since("7.0.0")
    .complexity("O(1)")
    .tips("request_policy:all_shards response_policy:one_succeeded")
    .arity(-2)
    .flag(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY));

const DUMP: ServerCommand = ServerCommand::declare("DUMP", dump)
    .summary("Returns all libraries as bytes that RESTORE takes.")
    .since("7.0.0")
    .complexity("O(N) with N the number of functions.")
    .arity(2)
    .flag(Flags::NOSCRIPT);

fn dump(session: &mut Session<'_>) -> CommandResult {
    let libraries = session.core.server.scripting.libraries.current();
    let codes = libraries.iter().map(|it| it.code.as_slice());
    let version = session.core.settings.limits.rdb_version.unwrap_or(Version::COMMON);
    let payload = encode_libraries(codes, version);
    let payload = payload.map_err(|_| CommandError::text("ERR the libraries cannot be dumped"))?;
    session.reply.bulk(&payload);
    Ok(())
}

const RESTORE: ServerCommand = ServerCommand::declare("RESTORE", restore)
    .summary("Takes in libraries that DUMP has returned.")
    .syntax("serialized-value [FLUSH | APPEND | REPLACE]")
    .since("7.0.0")
    .complexity("O(N) with N the number of functions.")
    .tips("request_policy:all_shards response_policy:all_succeeded")
    .arity(-3)
    .flag(CHANGING.union(Flags::DENYOOM));

fn restore(session: &mut Session<'_>) -> CommandResult {
    let args = session.args;
    if 4 < args.len() {
        return Err(wrong_form(args, "FUNCTION"));
    }
    let policy = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"append") => Policy::Append,
        Some(b"replace") => Policy::Replace,
        Some(b"flush") => Policy::Flush,
        Some(_) => {
            return Err(CommandError::text(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let checks = session.core.settings.limits.dump_checks;
    let codes = decode_libraries(args.at(2), checks)
        .map_err(|error| CommandError::Other(format!("ERR {error}").into()))?;
    let mut interpreter = session.core.take_interpreter();
    let registry = &session.core.server.scripting.libraries;
    let restored = interpreter.restore_libraries(registry, &codes, policy, LoadingHost::new);
    session.core.keep_interpreter(interpreter);
    restored.map_err(|error| loading_refusal(&error))?;
    session.note_libraries(None);
    session.reply.ok();
    Ok(())
}

const LIST: ServerCommand = ServerCommand::declare("LIST", list)
    .summary("Returns the libraries and their functions.")
    .syntax("[LIBRARYNAME library-name-pattern] [WITHCODE]")
    .since("7.0.0")
    .complexity("O(N) with N the number of functions.")
    .tips("nondeterministic_output_order")
    .arity(-2)
    .flag(Flags::NOSCRIPT);

fn list(session: &mut Session<'_>) -> CommandResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut words = session.args.from(2);
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"LIBRARYNAME") {
            let text = "ERR library name argument was not given";
            pattern = Some(words.next().ok_or(CommandError::text(text))?);
        } else {
            return Err(CommandError::quoting(&[b"ERR Unknown argument ", word]));
        }
    }
    let libraries = session.core.server.scripting.libraries.current();
    let is_wanted =
        |it: &&Arc<Library>| pattern.is_none_or(|text| matches(text, &it.name, Case::Insensitive));
    let found: Vec<_> = libraries.iter().filter(is_wanted).collect();
    session.reply.array(found.len());
    for library in found {
        write_library(&mut session.reply, library, with_code);
    }
    Ok(())
}

fn write_library(reply: &mut Reply<'_>, library: &Library, with_code: bool) {
    reply.map(3 + usize::from(with_code));
    reply.bulk(b"library_name");
    reply.bulk(&library.name);
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(&function.name);
        reply.bulk(b"description");
        match &function.description {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        reply.set(function.flags.names().count());
        function.flags.names().for_each(|name| reply.simple(name));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.code);
    }
}

const STATS: ServerCommand = ServerCommand::declare("STATS", stats)
    .summary("Returns what runs, and how many libraries and functions there are.")
    .since("7.0.0")
    .complexity("O(1)")
    .tips("nondeterministic_output request_policy:all_shards response_policy:special")
    .arity(2)
    .flag(Flags::NOSCRIPT.union(Flags::ALLOW_BUSY));

fn stats(session: &mut Session<'_>) -> CommandResult {
    let scripting = &session.core.server.scripting;
    let now_ms = monotonic_millis();
    let reply = &mut session.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    match scripting.longest(now_ms, 0).filter(|it| it.kind == ScriptKind::Function) {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&running.name);
            reply.bulk(b"command");
            reply.array(running.command.len());
            running.command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer(now_ms.saturating_sub(running.started_ms) as i64);
        }
    }
    let libraries = scripting.libraries.current();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries.library_count() as i64);
    reply.bulk(b"functions_count");
    reply.integer(libraries.function_count() as i64);
    Ok(())
}
