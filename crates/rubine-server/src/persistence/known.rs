//! What the commands of a log or of a master are, by name. Runs none.

use rubine_commands::{Args, CommandError, check_lengths};

use crate::command_table::{Entry, unknown_command, unknown_subcommand};
use crate::server::Server;

/// Finds commands. The next one often is what the one before was.
pub(crate) struct Finder {
    server: &'static Server,
    last: Option<(Vec<u8>, &'static Entry)>,
}

impl Finder {
    pub(crate) fn new(server: &'static Server) -> Self {
        Self { server, last: None }
    }

    /// The command that `args` ask for, or its subcommand. The error says that there is none, or that it takes other arguments.
    pub(crate) fn find(&mut self, args: Args<'_>) -> Result<&'static Entry, CommandError> {
        let name = args.at(0);
        let entry = match &self.last {
            Some((last, entry)) if last == name => *entry,
            _ => self.look_up(args)?,
        };
        let mut found = entry;
        if entry.is_container() && 1 < args.len() {
            let subcommand = entry.subcommand(args.at(1));
            found = subcommand.ok_or_else(|| unknown_subcommand(entry, args))?;
        }
        let takes = found.spec.takes(args.len()) && (!found.is_container() || 1 < args.len());
        if !takes {
            return Err(CommandError::Arity(found.full_name.clone()));
        }
        if !args.are_short() {
            // Other servers have such keys.
            check_lengths(found.spec, found.group, args)?;
        }
        Ok(found)
    }

    fn look_up(&mut self, args: Args<'_>) -> Result<&'static Entry, CommandError> {
        let commands = &self.server.commands;
        // A command that was renamed, here or since a log was written, goes by its first name as well.
        let original = |name: &[u8]| {
            let mut all = commands.all().iter().filter(|it| !it.is_subcommand);
            all.find(|it| it.spec.name.as_bytes().eq_ignore_ascii_case(name)).copied()
        };
        let name = args.at(0);
        let found = commands.find(name).or_else(|| original(name));
        let entry = found.ok_or_else(|| unknown_command(args))?;
        let (last, _) = self.last.get_or_insert_with(|| (Vec::new(), entry));
        last.clear();
        last.extend_from_slice(name);
        self.last.iter_mut().for_each(|it| it.1 = entry);
        Ok(entry)
    }
}
