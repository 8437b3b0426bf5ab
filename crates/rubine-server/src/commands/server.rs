//! Commands about the server as a whole.

use rubine_commands::{CommandError, CommandResult, Flags, Scope};

use crate::session::{ServerCommand, Session};
use crate::sys::allocator;

pub(crate) const COMMANDS: &[ServerCommand] = &[CONFIG, INFO];

const INFO: ServerCommand = ServerCommand::declare("INFO", info)
    .summary("Returns what the server knows of itself.")
    .syntax("[section [section ...]]")
    .complexity("O(1)")
    .arity(-1)
    .flag(Flags::LOADING.union(Flags::STALE).union(Flags::SENTINEL))
    .each_shard();

fn info(session: &mut Session<'_>) -> CommandResult {
    let text = format!("# Memory\r\nused_memory:{}\r\n", allocator::used_memory());
    session.reply.verbatim(*b"txt", text.as_bytes());
    let _ = Scope::All;
    Ok(())
}

const CONFIG: ServerCommand = ServerCommand::container("CONFIG", unreachable, &[CONFIG_GET]);

fn unreachable(_: &mut Session<'_>) -> CommandResult {
    Err(CommandError::Syntax)
}

const CONFIG_GET: ServerCommand = ServerCommand::declare("GET", config_get)
    .summary("Returns directives of the configuration by name or pattern.")
    .syntax("parameter [parameter ...]")
    .complexity("O(N) with N the number of directives.")
    .arity(-3)
    .flag(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE));

fn config_get(session: &mut Session<'_>) -> CommandResult {
    let patterns: Vec<_> = session.args.from(2).collect();
    let found = session.core.server.config.load().get(&patterns);
    session.reply.map(found.len());
    for (name, value) in found {
        session.reply.bulk(&name);
        session.reply.bulk(&value);
    }
    Ok(())
}
