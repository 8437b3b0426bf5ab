//! READONLY, READWRITE and ASKING: what a connection knows of a cluster. Outside a cluster the first two only set the flag
//! that CLIENT LIST shows.

use rubine_commands::{Acl, CommandError, CommandResult, Flags};

use crate::client::ClientFlags;
use crate::core::{ServerCommand, Session};

pub(crate) const COMMANDS: &[ServerCommand] = &[ASKING, READONLY, READWRITE];

/// What a server outside a cluster says to questions about one.
pub(crate) const NO_CLUSTER: CommandError =
    CommandError::text("ERR This instance has cluster support disabled");

const FLAGS: Flags = Flags::FAST.union(Flags::LOADING).union(Flags::STALE);

const ASKING: ServerCommand = ServerCommand::declare("ASKING", asking)
    .summary("Lets the next command of the connection use a slot that is being moved to this node.")
    .since("3.0.0")
    .complexity("O(1)")
    .arity(1)
    .flag(Flags::FAST)
    .also(Acl::CONNECTION);

fn asking(session: &mut Session<'_>) -> CommandResult {
    if !session.core.settings.limits.cluster {
        return Err(NO_CLUSTER);
    }
    session.client.flags |= ClientFlags::ASKING | ClientFlags::ASKS_NEXT;
    session.reply.ok();
    Ok(())
}

const READONLY: ServerCommand = ServerCommand::declare("READONLY", readonly)
    .summary("Lets the connection read from a replica in a cluster.")
    .since("3.0.0")
    .complexity("O(1)")
    .arity(1)
    .flag(FLAGS)
    .also(Acl::CONNECTION);

fn readonly(session: &mut Session<'_>) -> CommandResult {
    session.client.flags |= ClientFlags::READONLY;
    session.reply.ok();
    Ok(())
}

const READWRITE: ServerCommand = ServerCommand::declare("READWRITE", readwrite)
    .summary("Takes back what READONLY has allowed.")
    .since("3.0.0")
    .complexity("O(1)")
    .arity(1)
    .flag(FLAGS)
    .also(Acl::CONNECTION);

fn readwrite(session: &mut Session<'_>) -> CommandResult {
    session.client.flags -= ClientFlags::READONLY;
    session.reply.ok();
    Ok(())
}
