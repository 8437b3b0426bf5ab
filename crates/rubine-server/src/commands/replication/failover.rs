//! FAILOVER: this server hands its part over to one of its replicas.

use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_keyspace::ShardSet;
use rubine_replication::failover::{Address, Phase, Wish};

use crate::control::failover;
use crate::core::{ServerCommand, Session};

pub(super) const FAILOVER: ServerCommand = ServerCommand::declare("FAILOVER", run)
    .summary("Hands the part of the master over to one of its replicas.")
    .syntax("[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]")
    .since("6.2.0")
    .complexity("O(1)")
    .arity(-1)
    .flag(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE));

fn run(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    if server.config.load().cluster_enabled {
        return Err(CommandError::text("ERR FAILOVER not allowed in cluster mode."));
    }
    if session.args.len() == 2 && session.args.at(1).eq_ignore_ascii_case(b"abort") {
        return abort(session);
    }
    let wish = parse(session)?;
    failover::begin(server, wish)
        .map_err(|refusal| CommandError::Other(format!("ERR {refusal}").into()))?;
    session.reply.ok();
    Ok(())
}

fn abort(session: &mut Session<'_>) -> CommandResult {
    const REASON: &str = "Failover manually aborted";
    let server = session.core.server;
    if server.replication.failover.lock().phase() == Phase::None {
        return Err(CommandError::text("ERR No failover in progress."));
    }
    if let Some(locked) = &session.locked {
        failover::abort(server, REASON, locked);
    } else {
        let Some(locked) = session.lock(&ShardSet::All) else { return Ok(()) };
        failover::abort(server, REASON, &locked);
    }
    session.reply.ok();
    Ok(())
}

fn parse(session: &Session<'_>) -> Result<Wish, CommandError> {
    let args = session.args;
    let mut wish = Wish::default();
    let mut at = 1;
    while let Some(option) = args.get(at) {
        let left = args.len() - at - 1;
        if option.eq_ignore_ascii_case(b"timeout") && 1 <= left && wish.timeout_ms.is_none() {
            let timeout = args.integer(at + 1)?;
            let timeout = u64::try_from(timeout).ok().filter(|it| *it != 0);
            wish.timeout_ms = Some(
                timeout.ok_or(CommandError::text("ERR FAILOVER timeout must be greater than 0"))?,
            );
            at += 2;
        } else if option.eq_ignore_ascii_case(b"to") && 2 <= left && wish.target.is_none() {
            let port = args.integer(at + 2)?;
            let host = String::from_utf8_lossy(args.at(at + 1)).into_owned();
            // What is no port is that of no replica.
            wish.target = Some(Address { host, port: u16::try_from(port).unwrap_or_default() });
            at += 3;
        } else if option.eq_ignore_ascii_case(b"force") && !wish.is_forced {
            wish.is_forced = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(wish)
}
