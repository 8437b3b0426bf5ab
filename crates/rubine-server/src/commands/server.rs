//! Commands about the server as a whole, by topic.

mod acl;
mod aof;
mod command;
mod config;
mod debug;
mod disk_fault;
mod info;
mod lolwut;
mod memory;
mod module;
mod persistence;
mod process;

pub(crate) use info::crash_report as crash_info;
use rubine_commands::{CommandResult, Flags};

use crate::core::{ServerCommand, Session, SessionHandler};

/// All of them, in order of name.
pub(crate) const COMMANDS: &[ServerCommand] = &[
    acl::ACL,
    aof::BGREWRITEAOF,
    persistence::BGSAVE,
    command::COMMAND,
    config::CONFIG,
    debug::DEBUG,
    info::INFO,
    persistence::LASTSAVE,
    lolwut::LOLWUT,
    memory::MEMORY,
    module::MODULE,
    process::ROLE,
    persistence::SAVE,
    process::SHUTDOWN,
    process::TIME,
];

/// The handler of a name that only stands in front of subcommands: dispatch refuses it before.
pub(super) fn never_runs(_: &mut Session<'_>) -> CommandResult {
    unreachable!("containers are refused before")
}

/// A form of DEBUG, which may do harm.
pub(super) const fn form(name: &'static str, run: SessionHandler) -> ServerCommand {
    ServerCommand::declare(name, run).complexity("O(1)").arity(2).flag(
        Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::PROTECTED),
    )
}
