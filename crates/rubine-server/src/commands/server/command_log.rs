//! COMMANDLOG, and SLOWLOG as the old name of a part of it: the last commands that took long, and those whose requests or
//! replies were large.

use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult, Flags};

use crate::command_table::wrong_form;
use crate::core::{ServerCommand, Session};
use crate::observing::command_log::LogKind;

pub(super) const COMMANDLOG: ServerCommand =
    ServerCommand::container("COMMANDLOG", super::never_runs, &[GET, LEN, RESET])
        .summary("A container for commands about slow commands, large requests and large replies.")
        .since("8.1.0")
        .complexity("Depends on the subcommand.");

pub(super) const SLOWLOG: ServerCommand =
    ServerCommand::container("SLOWLOG", super::never_runs, &[SLOW_GET, SLOW_LEN, SLOW_RESET])
        .summary("A container for commands about slow commands.")
        .since("2.2.12")
        .complexity("Depends on the subcommand.");

const FLAGS: Flags = Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE);

/// So many entries SLOWLOG GET returns if it is not told how many.
const SLOW_COUNT: usize = 10;

const GET: ServerCommand = ServerCommand::declare("GET", get)
    .summary("Returns the newest entries of a log: number, time, microseconds or bytes, arguments, client.")
    .syntax("count <slow | large-request | large-reply>")
    .since("8.1.0")
    .complexity("O(N) with N the number of entries returned.")
    .tips("request_policy:all_nodes nondeterministic_output")
    .arity(4)
    .flag(FLAGS);

fn get(session: &mut Session<'_>) -> CommandResult {
    let count = count(session.args.at(2))?;
    let kind = kind(session.args.at(3))?;
    reply_newest(session, kind, count);
    Ok(())
}

const LEN: ServerCommand = ServerCommand::declare("LEN", len)
    .summary("Returns how many entries a log has.")
    .syntax("<slow | large-request | large-reply>")
    .since("8.1.0")
    .complexity("O(1)")
    .tips("request_policy:all_nodes response_policy:agg_sum nondeterministic_output")
    .arity(3)
    .flag(FLAGS);

fn len(session: &mut Session<'_>) -> CommandResult {
    let kind = kind(session.args.at(2))?;
    reply_len(session, kind);
    Ok(())
}

const RESET: ServerCommand = ServerCommand::declare("RESET", reset)
    .summary("Forgets all entries of a log.")
    .syntax("<slow | large-request | large-reply>")
    .since("8.1.0")
    .complexity("O(N) with N the number of entries.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(3)
    .flag(FLAGS);

fn reset(session: &mut Session<'_>) -> CommandResult {
    let kind = kind(session.args.at(2))?;
    clear(session, kind);
    Ok(())
}

const SLOW_GET: ServerCommand = ServerCommand::declare("GET", slow_get)
    .summary("Returns the newest entries of the log of slow commands.")
    .syntax("[count]")
    .since("2.2.12")
    .complexity("O(N) with N the number of entries returned.")
    .tips("request_policy:all_nodes nondeterministic_output")
    .arity(-2)
    .flag(FLAGS);

fn slow_get(session: &mut Session<'_>) -> CommandResult {
    let count = match session.args.len() {
        2 => SLOW_COUNT,
        3 => count(session.args.at(2))?,
        _ => return Err(wrong_form(session.args, "SLOWLOG")),
    };
    reply_newest(session, LogKind::Slow, count);
    Ok(())
}

const SLOW_LEN: ServerCommand = ServerCommand::declare("LEN", slow_len)
    .summary("Returns how many entries the log of slow commands has.")
    .since("2.2.12")
    .complexity("O(1)")
    .tips("request_policy:all_nodes response_policy:agg_sum nondeterministic_output")
    .arity(2)
    .flag(FLAGS);

fn slow_len(session: &mut Session<'_>) -> CommandResult {
    reply_len(session, LogKind::Slow);
    Ok(())
}

const SLOW_RESET: ServerCommand = ServerCommand::declare("RESET", slow_reset)
    .summary("Forgets all entries of the log of slow commands.")
    .since("2.2.12")
    .complexity("O(N) with N the number of entries.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(2)
    .flag(FLAGS);

fn slow_reset(session: &mut Session<'_>) -> CommandResult {
    clear(session, LogKind::Slow);
    Ok(())
}

fn kind(name: &[u8]) -> Result<LogKind, CommandError> {
    LogKind::named(name).ok_or_else(|| {
        CommandError::text(
            "ERR type should be one of the following: slow, large-request, large-reply",
        )
    })
}

/// How many entries are wanted: -1 is for all.
fn count(text: &[u8]) -> Result<usize, CommandError> {
    match parse_i64(text) {
        Some(-1) => Ok(usize::MAX),
        Some(count @ 0..) => Ok(count as usize),
        _ => Err(CommandError::text("ERR count should be greater than or equal to -1")),
    }
}

fn reply_newest(session: &mut Session<'_>, kind: LogKind, count: usize) {
    session.core.log_waited();
    let entries = session.core.server.observing.logs.of(kind).newest(count);
    let reply = &mut session.reply;
    reply.array(entries.len());
    for entry in entries {
        let command = &entry.command;
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(command.at);
        reply.integer(entry.value as i64);
        reply.array(command.args.len());
        command.args.iter().for_each(|it| reply.bulk(it));
        reply.bulk(command.address.as_bytes());
        reply.bulk(&command.client_name);
    }
}

fn reply_len(session: &mut Session<'_>, kind: LogKind) {
    session.core.log_waited();
    let len = session.core.server.observing.logs.of(kind).len();
    session.reply.integer(len as i64);
}

fn clear(session: &mut Session<'_>, kind: LogKind) {
    session.core.log_waited();
    session.core.server.observing.logs.of(kind).clear();
    session.reply.ok();
}
