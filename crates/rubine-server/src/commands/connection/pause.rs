//! CLIENT PAUSE, UNPAUSE and UNBLOCK: what lets other clients wait, and what ends their waiting.

use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult, Flags};

use crate::core::{ServerCommand, Session};
use crate::mailbox::Message;
use crate::pause::Kind;
use crate::server::{AllDone, Asker};

const FLAGS: Flags = Flags::ADMIN
    .union(Flags::NOSCRIPT)
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::SENTINEL);

pub(super) const PAUSE: ServerCommand = ServerCommand::declare("PAUSE", pause)
    .summary("Puts off all commands, or those that write, for some milliseconds.")
    .syntax("timeout [WRITE | ALL]")
    .since("3.0.0")
    .complexity("O(1)")
    .arity(-3)
    .flag(FLAGS);

fn pause(session: &mut Session<'_>) -> CommandResult {
    let kind = match session.args.get(3) {
        Some(mode) if session.args.len() == 4 => {
            if mode.eq_ignore_ascii_case(b"WRITE") {
                Kind::Writes
            } else if mode.eq_ignore_ascii_case(b"ALL") {
                Kind::All
            } else {
                return Err(CommandError::text("ERR CLIENT PAUSE mode must be WRITE or ALL"));
            }
        }
        _ => Kind::All,
    };
    let now = session.core.now;
    let until = timeout_ms(session.args.at(2), now)?.unwrap_or(0);
    let until = session.core.monotonic_at(until);
    session.core.server.pause.start(session.core.monotonic_ms, until, kind);
    answer_when_seen(session);
    Ok(())
}

/// Answers when all workers have seen a change of the pause: what they ran under the old state has ended then, and what
/// they run under the new one has begun. A transaction holds locks, so it waits for nobody.
fn answer_when_seen(session: &mut Session<'_>) {
    if session.locked.is_some() {
        session.reply.ok();
        return;
    }
    let asker = Asker {
        worker: session.core.index,
        client: session.client.id,
        protocol: session.client.protocol,
    };
    session.core.block_until_answered(session.client);
    AllDone::await_turns(asker, &session.core.server.workers);
}

/// The moment at which a time given in milliseconds is over; `None` for a time of zero.
pub(crate) fn timeout_ms(argument: &[u8], now: i64) -> Result<Option<i64>, CommandError> {
    let Some(timeout) = parse_i64(argument) else {
        return Err(CommandError::text("ERR timeout is not an integer or out of range"));
    };
    match timeout {
        ..0 => Err(CommandError::TimeoutNegative),
        0 => Ok(None),
        1.. => now.checked_add(timeout).map(Some).ok_or(CommandError::TimeoutOutOfRange),
    }
}

pub(super) const UNPAUSE: ServerCommand = ServerCommand::declare("UNPAUSE", unpause)
    .summary("Ends a pause.")
    .since("6.2.0")
    .complexity("O(N) with N the number of paused connections.")
    .arity(2)
    .flag(FLAGS);

fn unpause(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    server.pause.end();
    server.workers.iter().for_each(|it| it.send(Message::PauseChanged));
    answer_when_seen(session);
    Ok(())
}

pub(super) const UNBLOCK: ServerCommand = ServerCommand::declare("UNBLOCK", unblock)
    .summary("Ends a connection's wait as if its time were over, or with an error.")
    .syntax("client-id [TIMEOUT | ERROR]")
    .since("5.0.0")
    .complexity("O(log N) with N the number of connections.")
    .arity(-3)
    .flag(FLAGS);

fn unblock(session: &mut Session<'_>) -> CommandResult {
    let mut with_error = false;
    if session.args.len() == 4 {
        let reason = session.args.at(3);
        with_error = reason.eq_ignore_ascii_case(b"ERROR");
        if !with_error && !reason.eq_ignore_ascii_case(b"TIMEOUT") {
            return Err(CommandError::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    }
    let id = session.args.integer(2)?;
    let target = u64::try_from(id).ok().and_then(|id| session.core.server.clients.get(id));
    let ended = target.filter(|it| it.cancel_wait());
    if let Some(info) = &ended {
        let message = Message::Unblock { client: info.id, with_error };
        session.core.server.workers[info.worker].send(message);
    }
    session.reply.integer(i64::from(ended.is_some()));
    Ok(())
}
