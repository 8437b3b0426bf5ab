//! COMMAND: what the commands are, made of their declarations. Never knows a command by name.

mod describe;
mod document;
#[cfg(test)]
mod reference;
mod syntax;

use rubine_base::glob::{self, Case};
use rubine_commands::{Acl, Args, CommandError, CommandResult, Flags, KeyAccess};

use crate::command_table::{CommandTable, Entry};
use crate::core::{ServerCommand, Session};

pub(super) const COMMAND: ServerCommand = ServerCommand::container(
    "COMMAND",
    all,
    &[COUNT, DOCS, GETKEYS, GETKEYSANDFLAGS, HELP, INFO, LIST],
)
.summary("Returns what all commands are.")
.since("2.8.13")
.complexity("O(N) with N the number of commands.")
.arity(-1)
.flag(FLAGS)
.also(Acl::CONNECTION)
.tips("nondeterministic_output_order");

const FLAGS: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::SENTINEL);

const fn subcommand(name: &'static str, run: crate::core::SessionHandler) -> ServerCommand {
    ServerCommand::declare(name, run)
        .since("2.8.13")
        .complexity("O(N) with N the number of commands.")
        .flag(FLAGS)
        .also(Acl::CONNECTION)
}

fn all(session: &mut Session<'_>) -> CommandResult {
    let entries = session.core.server.commands.top_level();
    session.reply.array(entries.len());
    for entry in entries {
        describe::describe(entry, &mut session.reply);
    }
    Ok(())
}

const HELP: ServerCommand = crate::commands::help::HELP.also(Acl::CONNECTION);

const COUNT: ServerCommand = subcommand("COUNT", count)
    .summary("Returns how many commands there are.")
    .complexity("O(1)")
    .arity(2);

fn count(session: &mut Session<'_>) -> CommandResult {
    let count = session.core.server.commands.top_level().len();
    session.reply.integer(count as i64);
    Ok(())
}

const INFO: ServerCommand = subcommand("INFO", info)
    .summary("Returns what the commands of these names are, or all.")
    .syntax("[command-name [command-name ...]]")
    .arity(-2)
    .tips("nondeterministic_output_order");

fn info(session: &mut Session<'_>) -> CommandResult {
    if session.args.len() == 2 {
        return all(session);
    }
    session.reply.array(session.args.len() - 2);
    for name in session.args.from(2) {
        match named(&session.core.server.commands, name) {
            Some(entry) => describe::describe(entry, &mut session.reply),
            None => session.reply.null_array(),
        }
    }
    Ok(())
}

const DOCS: ServerCommand = subcommand("DOCS", docs)
    .summary("Returns the documentation of the commands of these names, or of all.")
    .syntax("[command-name [command-name ...]]")
    .since("7.0.0")
    .arity(-2)
    .tips("nondeterministic_output_order");

fn docs(session: &mut Session<'_>) -> CommandResult {
    let table = &session.core.server.commands;
    let entries: Vec<_> = if session.args.len() == 2 {
        table.top_level()
    } else {
        session.args.from(2).filter_map(|name| named(table, name)).collect()
    };
    session.reply.map(entries.len());
    for entry in entries {
        session.reply.bulk(entry.full_name.as_bytes());
        document::document(entry, &mut session.reply);
    }
    Ok(())
}

/// The command of a name as COMMAND LIST shows it: `get`, `config|set`.
fn named(table: &CommandTable, name: &[u8]) -> Option<&'static Entry> {
    let mut parts = name.splitn(2, |it| *it == b'|');
    let entry = table.find(parts.next()?)?;
    match parts.next() {
        Some(subcommand) => entry.subcommand(subcommand),
        None => Some(entry),
    }
}

const LIST: ServerCommand = subcommand("LIST", list)
    .summary("Returns the names of all commands, or of those that pass a filter.")
    .syntax("[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]")
    .since("7.0.0")
    .arity(-2)
    .tips("nondeterministic_output_order");

fn list(session: &mut Session<'_>) -> CommandResult {
    let filter = Filter::parse(session.args)?;
    let entries = session.core.server.commands.all();
    let names: Vec<_> = entries
        .iter()
        .filter(|it| filter.lets_pass(it))
        .map(|it| it.full_name.as_bytes())
        .collect();
    session.reply.array(names.len());
    for name in names {
        session.reply.bulk(name);
    }
    Ok(())
}

/// Which commands COMMAND LIST shows.
enum Filter<'a> {
    All,
    /// Of a module: there are none.
    Nothing,
    Category(Acl),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        match args.len() {
            2 => return Ok(Self::All),
            5 if args.at(2).eq_ignore_ascii_case(b"FILTERBY") => {}
            _ => return Err(CommandError::Syntax),
        }
        let value = args.at(4);
        match args.at(3).to_ascii_lowercase().as_slice() {
            b"module" => Ok(Self::Nothing),
            b"aclcat" => {
                let found = describe::CATEGORIES
                    .iter()
                    .find(|(_, name)| value.eq_ignore_ascii_case(name.as_bytes()));
                Ok(found.map_or(Self::Nothing, |(category, _)| Self::Category(*category)))
            }
            b"pattern" => Ok(Self::Pattern(value)),
            _ => Err(CommandError::Syntax),
        }
    }

    fn lets_pass(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Category(category) => entry.acl().contains(*category),
            Self::Pattern(pattern) => {
                glob::matches(pattern, entry.full_name.as_bytes(), Case::Insensitive)
            }
        }
    }
}

const GETKEYS: ServerCommand = subcommand("GETKEYS", |session| keys(session, Detail::Names))
    .summary("Returns the keys among the arguments of a command.")
    .syntax("command [arg [arg ...]]")
    .complexity("O(N) with N the number of arguments.")
    .arity(-3);

const GETKEYSANDFLAGS: ServerCommand =
    subcommand("GETKEYSANDFLAGS", |session| keys(session, Detail::Flags))
        .summary("Returns the keys among the arguments of a command, and what it does with them.")
        .syntax("command [arg [arg ...]]")
        .since("7.0.0")
        .complexity("O(N) with N the number of arguments.")
        .arity(-3);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Names,
    Flags,
}

fn keys(session: &mut Session<'_>, detail: Detail) -> CommandResult {
    let args = session.args.skip(2);
    let table = &session.core.server.commands;
    let entry = table.find(args.at(0)).and_then(|entry| match args.get(1) {
        Some(name) if entry.is_container() => entry.subcommand(name),
        _ => Some(entry),
    });
    let entry = entry.ok_or(CommandError::text("ERR Invalid command specified"))?;
    let spec = entry.spec;
    if spec.keys().next().is_none() {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    if !spec.takes(args.len()) {
        return Err(CommandError::text("ERR Invalid number of arguments specified for command"));
    }
    let (mut found, mut misses_keys) = (Vec::new(), false);
    for keys in spec.keys() {
        // Keys that are found by code are all found.
        let access = spec.access(keys, args) - KeyAccess::INCOMPLETE;
        let count_before = found.len();
        keys.for_each(args, &mut |index| found.push((index, access)));
        // The key of a result is no use where what is counted cannot be told.
        misses_keys |= keys.is_counted() && found.len() == count_before;
    }
    misses_keys |= found.is_empty();
    if misses_keys && !spec.flags.contains(Flags::NO_MANDATORY_KEYS) {
        return Err(CommandError::text("ERR Invalid arguments specified for command"));
    }
    session.reply.array(found.len());
    for (index, access) in found {
        if detail == Detail::Flags {
            session.reply.array(2);
        }
        session.reply.bulk(args.at(index));
        if detail == Detail::Flags {
            describe::access(access, &mut session.reply);
        }
    }
    Ok(())
}
