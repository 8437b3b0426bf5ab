//! HELP of every container, made of the declarations behind it. Never knows a container by name.

use rubine_commands::{CommandError, CommandResult, Flags};

use crate::core::{ServerCommand, Session};

/// The subcommand that every container has.
pub(crate) const HELP: ServerCommand = ServerCommand::declare("HELP", help)
    .summary("Returns what the subcommands do.")
    .since("5.0.0")
    .complexity("O(1)")
    .arity(2)
    .flag(Flags::LOADING.union(Flags::STALE));

pub(crate) fn help(session: &mut Session<'_>) -> CommandResult {
    let container = session.core.server.commands.find(session.args.at(0));
    let container = container.ok_or(CommandError::Syntax)?;
    let name = container.spec.name;
    let mut lines =
        vec![format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for subcommand in &container.subcommands {
        let spec = subcommand.spec;
        let space = if spec.syntax.is_empty() { "" } else { " " };
        lines.push(format!("{}{space}{}", spec.name, spec.syntax));
        lines.push(format!("    {}", spec.summary));
    }
    session.reply.array(lines.len());
    for line in lines {
        session.reply.simple(&line);
    }
    Ok(())
}
