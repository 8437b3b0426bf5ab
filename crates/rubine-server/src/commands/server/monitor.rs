//! MONITOR: a client watches what all clients do.

use rubine_commands::{CommandError, CommandResult, Flags};

use crate::core::{ServerCommand, Session};

pub(super) const MONITOR: ServerCommand = ServerCommand::declare("MONITOR", monitor)
    .summary("Sends the connection every command that the server runs, as it runs.")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(1)
    .flag(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE));

fn monitor(session: &mut Session<'_>) -> CommandResult {
    if session.locked.is_some() {
        // EXEC owes one reply for each command, and lines are none.
        return Err(CommandError::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // Whoever watches already gets no reply, as in Redis.
    if session.core.start_watching(session.client) {
        session.reply.ok();
    }
    Ok(())
}
