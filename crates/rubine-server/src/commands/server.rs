//! Commands about the server as a whole, by topic.

mod acl;
mod alert;
mod aof;
mod backup;
mod cluster_faults;
mod command;
mod command_log;
mod config;
mod debug;
mod disk_fault;
mod history;
mod hot_keys;
mod info;
mod latency;
mod lolwut;
mod memory;
mod module;
mod monitor;
mod persistence;
mod process;
mod quota;
mod stop_points;

pub(crate) use info::crash_report as crash_info;
use rubine_commands::{CommandResult, Flags};

use crate::core::{ServerCommand, Session, SessionHandler};

/// All of them, in order of name.
pub(crate) const COMMANDS: &[ServerCommand] = &[
    acl::ACL,
    alert::ALERT,
    backup::BACKUP,
    aof::BGREWRITEAOF,
    persistence::BGSAVE,
    command::COMMAND,
    command_log::COMMANDLOG,
    config::CONFIG,
    debug::DEBUG,
    history::HISTORY,
    hot_keys::HOTKEYS,
    info::INFO,
    persistence::LASTSAVE,
    latency::LATENCY,
    lolwut::LOLWUT,
    memory::MEMORY,
    module::MODULE,
    monitor::MONITOR,
    quota::QUOTA,
    process::ROLE,
    persistence::SAVE,
    process::SHUTDOWN,
    command_log::SLOWLOG,
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
