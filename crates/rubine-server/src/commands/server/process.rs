//! Commands about the running process: when it is, when it was saved, what part it plays, its end.

use rubine_commands::{Acl, CommandError, CommandResult, Flags};

use crate::client::ClientFlags;
use crate::session::{ServerCommand, Session};

pub(super) const TIME: ServerCommand = ServerCommand::declare("TIME", time)
    .summary("Returns the server's clock: seconds and microseconds.")
    .since("2.6.0")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(1)
    .flag(Flags::LOADING.union(Flags::STALE).union(Flags::FAST));

fn time(session: &mut Session<'_>) -> CommandResult {
    const MICROS_PER_SECOND: i64 = 1_000_000;
    let micros = rubine_base::clock::unix_micros();
    session.reply.array(2);
    session.reply.bulk_integer(micros / MICROS_PER_SECOND);
    session.reply.bulk_integer(micros % MICROS_PER_SECOND);
    Ok(())
}

pub(super) const LASTSAVE: ServerCommand = ServerCommand::declare("LASTSAVE", lastsave)
    .summary("Returns when the data was last saved, or else when the server started.")
    .since("1.0.0")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(1)
    .flag(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
    .also(Acl::ADMIN.union(Acl::DANGEROUS));

fn lastsave(session: &mut Session<'_>) -> CommandResult {
    session.reply.integer(session.core.server.started_at / 1000);
    Ok(())
}

pub(super) const ROLE: ServerCommand = ServerCommand::declare("ROLE", role)
    .summary("Returns the part that the server plays in replication.")
    .since("2.8.12")
    .complexity("O(1)")
    .arity(1)
    .flag(
        Flags::NOSCRIPT
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::FAST)
            .union(Flags::SENTINEL),
    )
    .also(Acl::ADMIN.union(Acl::DANGEROUS));

fn role(session: &mut Session<'_>) -> CommandResult {
    session.reply.array(3);
    session.reply.bulk(b"master");
    session.reply.integer(0);
    session.reply.array(0);
    Ok(())
}

pub(super) const SHUTDOWN: ServerCommand = ServerCommand::declare("SHUTDOWN", shutdown)
    .summary("Ends the server.")
    .syntax("[[NOSAVE | SAVE] [NOW] [FORCE] [SAFE] [FAILOVER] | ABORT]")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(-1)
    .flag(
        Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::NO_MULTI)
            .union(Flags::SENTINEL)
            .union(Flags::ALLOW_BUSY),
    );

fn shutdown(session: &mut Session<'_>) -> CommandResult {
    let (mut saves, mut nosaves, mut others, mut aborts, mut fails_over) =
        (false, false, false, false, false);
    for option in session.args.from(1) {
        match option.to_ascii_lowercase().as_slice() {
            b"nosave" => nosaves = true,
            b"save" => saves = true,
            b"now" | b"force" | b"safe" => others = true,
            b"failover" => fails_over = true,
            b"abort" => aborts = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    if (aborts && (saves || nosaves || others || fails_over)) || (saves && nosaves) {
        return Err(CommandError::Syntax);
    }
    if fails_over {
        return Err(CommandError::text("ERR SHUTDOWN FAILOVER is only supported in cluster mode."));
    }
    if aborts {
        return Err(CommandError::text("ERR No shutdown in progress."));
    }
    if saves {
        tracing::warn!("SHUTDOWN SAVE was asked for, but nothing can be saved to disk yet.");
        return Err(CommandError::text("ERR Errors trying to SHUTDOWN. Check logs."));
    }
    tracing::warn!("User requested shutdown...");
    // What it sent behind this is not run, and the end of the connection is the only answer.
    session.client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
    session.core.server.shut_down();
    Ok(())
}
