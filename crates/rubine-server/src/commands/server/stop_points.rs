//! The forms of DEBUG that hold up full syncs for tests: the process stops itself at a point of one, until it is told from
//! outside to go on.

use std::sync::atomic::Ordering;

use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult};

use crate::core::{ServerCommand, Session};
use crate::process::stopping::StopPoint;

pub(super) const DELAY_RDB_CLIENT_FREE_SECONDS: ServerCommand =
    super::form("DELAY-RDB-CLIENT-FREE-SECONDS", set_grace)
        .summary(
            "Sets how long what follows a dump is kept for a replica whose connection for the dump is gone.",
        )
        .syntax("seconds")
        .arity(3);

fn set_grace(session: &mut Session<'_>) -> CommandResult {
    let seconds = parse_i64(session.args.at(2)).and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
    let replicas = &session.core.server.replication.replicas;
    replicas.grace_ms.store(seconds.saturating_mul(1000), Ordering::Relaxed);
    session.reply.ok();
    Ok(())
}

pub(super) const PAUSE_AFTER_FORK: ServerCommand =
    super::form("PAUSE-AFTER-FORK", pause_after_fork)
        .summary(
            "Decides whether the process stops itself when a dump for replicas has left, and as a replica before it asks for \
             the stream beside a dump.",
        )
        .syntax("0|1")
        .arity(3);

fn pause_after_fork(session: &mut Session<'_>) -> CommandResult {
    let stops = parse_i64(session.args.at(2)).unwrap_or(0) != 0;
    let stopping = &session.core.server.process.stopping;
    stopping.set(StopPoint::DumpSent, stops);
    stopping.set(StopPoint::BeforeStream, stops);
    session.reply.ok();
    Ok(())
}

pub(super) const REPL_PAUSE: ServerCommand = super::form("REPL-PAUSE", repl_pause)
    .summary("Has the process stop itself at a point of a full sync.")
    .syntax("<clear | after-fork | before-rdb-channel | on-streaming-repl-buf>")
    .arity(3);

fn repl_pause(session: &mut Session<'_>) -> CommandResult {
    let stopping = &session.core.server.process.stopping;
    match session.args.at(2).to_ascii_lowercase().as_slice() {
        b"clear" => stopping.clear(),
        b"after-fork" => stopping.set(StopPoint::DumpSent, true),
        b"before-rdb-channel" => stopping.set(StopPoint::BeforeDump, true),
        b"on-streaming-repl-buf" => stopping.set(StopPoint::StreamingHeld, true),
        _ => return Err(CommandError::Syntax),
    }
    session.reply.ok();
    Ok(())
}
