//! READONLY and READWRITE: whether a connection wants to read from a replica of a cluster. Outside a cluster they only
//! set the flag that CLIENT LIST shows.

use rubine_commands::{Acl, CommandResult, Flags};

use crate::client::ClientFlags;
use crate::core::{ServerCommand, Session};

pub(crate) const COMMANDS: &[ServerCommand] = &[READONLY, READWRITE];

const FLAGS: Flags = Flags::FAST.union(Flags::LOADING).union(Flags::STALE);

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
