//! All commands by name: the data commands and the server's own, with subcommands under their containers.
//! Never runs one.

use rubine_acl::Access;
use rubine_base::hash::HashMap;
use rubine_commands::{
    Acl, Args, Command, CommandError, FAMILIES, Flags, Group, KeyAccess, KeySpec, Spec, shown,
};

/// Longer names are no commands.
const NAME_LEN_MAX: usize = 32;

/// How a command is run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    Data(&'static Command),
    /// One of the server's own, by the number of its handler.
    Server(usize),
    /// It is only a name in front of subcommands.
    Container,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) spec: &'static Spec,
    pub(crate) group: Group,
    pub(crate) run: Run,
    /// As errors and statistics show it: `get`, `config|set`.
    pub(crate) full_name: String,
    /// It stands behind a container's name.
    pub(crate) is_subcommand: bool,
    /// Where its statistics are.
    pub(crate) number: usize,
    /// The number of its one key argument, for the many commands that have just this, by which their shard is known.
    pub(crate) single_key: Option<usize>,
    /// What a user must be allowed to do with the keys of each of its specifications; nothing where these are no keys.
    key_access: Vec<Option<Access>>,
    /// That of the one key argument, if it is one, unless it depends on the arguments.
    single_key_access: Option<(usize, Access)>,
    acl: Acl,
    /// In order of declaration; empty unless it is a container.
    pub(crate) subcommands: Vec<&'static Entry>,
}

impl Entry {
    fn new(
        (spec, group, run): (&'static Spec, Group, Run),
        full_name: String,
        number: usize,
        subcommands: Vec<&'static Entry>,
    ) -> Self {
        let is_subcommand = full_name.contains('|');
        let acl = match run {
            Run::Container if !spec.counts_as_one => Acl::SLOW,
            Run::Container | Run::Data(_) | Run::Server(_) => spec.acl(group),
        };
        let key_access: Vec<_> = spec.keys().map(|it| needed_access(it.access())).collect();
        let single_key = spec.single_key();
        let single_key_access = single_key.zip(key_access.first().copied().flatten());
        Self {
            spec,
            group,
            run,
            full_name,
            is_subcommand,
            number,
            single_key,
            key_access,
            single_key_access,
            acl,
            subcommands,
        }
    }

    /// The specifications of keys, and what a user must be allowed to do with those, given these arguments.
    pub(crate) fn keys<'a>(
        &'a self,
        args: Args<'a>,
    ) -> impl Iterator<Item = (&'a KeySpec, Access)> {
        self.spec.keys().zip(&self.key_access).filter_map(move |(spec, access)| {
            let access = if self.spec.has_variable_access() {
                needed_access(self.spec.access(spec, args))
            } else {
                *access
            };
            Some((spec, access?))
        })
    }

    /// The number of its one key argument, and what a user must be allowed to do with that, for the many commands that
    /// have just this.
    #[inline]
    pub(crate) fn single_key_access(&self, args: Args<'_>) -> Option<(usize, Access)> {
        let (index, access) = self.single_key_access?;
        if self.spec.has_variable_access() {
            return self.keys(args).next().map(|(_, access)| (index, access));
        }
        Some((index, access))
    }

    /// Whether it has keys, and not only what is hashed as one.
    pub(crate) fn has_keys(&self) -> bool {
        self.key_access.iter().any(Option::is_some)
    }

    /// The subcommand of that name.
    pub(crate) fn subcommand(&self, name: &[u8]) -> Option<&'static Entry> {
        let mut subcommands = self.subcommands.iter();
        subcommands.find(|it| it.spec.name.as_bytes().eq_ignore_ascii_case(name)).copied()
    }

    /// The command that `args` ask for when their name stands for this entry: itself, or a subcommand.
    #[inline]
    pub(crate) fn asked_for(&'static self, args: Args<'_>) -> &'static Self {
        if self.is_container() && 1 < args.len() {
            return self.subcommand(args.at(1)).unwrap_or(self);
        }
        self
    }

    /// Its ACL categories. A name that only stands in front of other commands is in none but that of slow commands.
    pub(crate) fn acl(&self) -> Acl {
        self.acl
    }

    /// Whether it is a subcommand of that container, in lower case.
    pub(crate) fn is_part_of(&self, container: &str) -> bool {
        self.is_subcommand && self.full_name.split('|').next() == Some(container)
    }

    pub(crate) fn is_container(&self) -> bool {
        !self.subcommands.is_empty()
    }

    /// Whether `args` name it, rather than a subcommand that it does not have.
    pub(crate) fn is_command_of(&self, args: Args<'_>) -> bool {
        !self.is_container() || self.spec.counts_as_one || args.len() == 1
    }

    /// Whether there is something to run: not where a container stands alone, or before a name that is none of its own.
    #[inline]
    pub(crate) fn is_runnable(&self, args: Args<'_>) -> bool {
        !self.is_container() || (args.len() == 1 && self.spec.takes(1))
    }
}

/// The commands of a server.
#[derive(Debug)]
pub(crate) struct CommandTable {
    by_name: HashMap<Vec<u8>, &'static Entry>,
    /// Every command and subcommand, by number.
    all: Vec<&'static Entry>,
}

impl CommandTable {
    /// The table of the data commands and of `families`, the server's own, with `renamed` commands: pairs of old name and
    /// new name, where an empty new name removes. `help` is what every container offers that has no HELP of its own.
    /// Returns the handlers of the server's own commands, too. All live as long as the process.
    pub(crate) fn new<H: Copy>(
        families: impl IntoIterator<Item = (Group, &'static [Command<H>])>,
        help: &'static Command<H>,
        renamed: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(Self, Vec<H>), String> {
        let mut builder = Builder { drafts: Vec::new(), needed: Flags::empty() };
        for family in FAMILIES {
            for command in family.commands {
                builder.add(family.group, command, &mut |it| Run::Data(it));
            }
        }
        Self::with_handlers(builder, families, help, renamed)
    }

    /// The table of a Sentinel: of `families`, the commands that one has. Those that come first stand for later ones of the
    /// same name. `help` and `renamed` as above.
    pub(crate) fn of_sentinel<H: Copy>(
        families: impl IntoIterator<Item = (Group, &'static [Command<H>])>,
        help: &'static Command<H>,
        renamed: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(Self, Vec<H>), String> {
        let builder = Builder { drafts: Vec::new(), needed: Flags::SENTINEL };
        Self::with_handlers(builder, families, help, renamed)
    }

    /// Ends a table with the commands that the server runs itself, and gives their handlers in the order of their numbers.
    fn with_handlers<H: Copy>(
        mut builder: Builder,
        families: impl IntoIterator<Item = (Group, &'static [Command<H>])>,
        help: &'static Command<H>,
        renamed: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(Self, Vec<H>), String> {
        let mut handlers = Vec::new();
        let mut number = |it: &'static Command<H>| {
            handlers.push(it.run);
            Run::Server(handlers.len() - 1)
        };
        for (group, commands) in families {
            for command in commands {
                builder.add(group, command, &mut number);
            }
        }
        let help = (&help.spec, number(help));
        let mut table = builder.finish(help);
        for (old, new) in renamed {
            table.rename(old, new)?;
        }
        Ok((table, handlers))
    }

    /// The command of that name, in any case.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<&'static Entry> {
        let mut upper = [0; NAME_LEN_MAX];
        let upper = upper.get_mut(..name.len())?;
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        self.by_name.get(&*upper).copied()
    }

    /// The command or subcommand that goes by its full name, as `get` or `config|set`.
    pub(crate) fn find_full(&self, name: &[u8]) -> Option<&'static Entry> {
        let mut parts = name.splitn(2, |&it| it == b'|');
        let entry = self.find(parts.next()?)?;
        match parts.next() {
            Some(subcommand) => entry.subcommand(subcommand),
            None => Some(entry),
        }
    }

    /// How many commands and subcommands there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Every command and subcommand, by number.
    pub(crate) fn all(&self) -> &[&'static Entry] {
        &self.all
    }

    /// The name under which a command is known to rules about users: of forms of one command, that one's.
    pub(crate) fn name_in_rules(&self, entry: &Entry) -> &str {
        &self.all[entry.number].full_name
    }

    /// The commands without subcommands, in order of name.
    pub(crate) fn top_level(&self) -> Vec<&'static Entry> {
        let mut entries: Vec<_> = self.by_name.values().copied().collect();
        entries.sort_by(|a, b| a.full_name.cmp(&b.full_name));
        entries
    }

    fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), String> {
        let name = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
        let Some(entry) = self.by_name.remove(&old.to_ascii_uppercase()) else {
            return Err(format!("No such command in rename-command: '{}'", name(old)));
        };
        if new.is_empty() {
            return Ok(());
        }
        if self.by_name.insert(new.to_ascii_uppercase(), entry).is_some() {
            return Err(format!("Target command name already exists: '{}'", name(new)));
        }
        Ok(())
    }
}

/// A command before its subcommands are complete: data and server families may both add to a container.
struct Draft {
    spec: &'static Spec,
    group: Group,
    run: Run,
    subcommands: Vec<(&'static Spec, Run)>,
}

struct Builder {
    drafts: Vec<Draft>,
    /// Commands and subcommands without these flags are left out.
    needed: Flags,
}

impl Builder {
    fn add<H: Copy>(
        &mut self,
        group: Group,
        command: &'static Command<H>,
        run: &mut impl FnMut(&'static Command<H>) -> Run,
    ) {
        let is_there = |it: &&'static Command<H>| it.spec.flags.contains(self.needed);
        if !is_there(&command) {
            return;
        }
        let subcommands: Vec<_> =
            command.subcommands.iter().filter(is_there).map(|it| (&it.spec, run(it))).collect();
        let present = self.drafts.iter_mut().find(|it| it.spec.name == command.spec.name);
        if let Some(draft) = present {
            return draft.subcommands.extend(subcommands);
        }
        // One that takes no arguments, as COMMAND does, is a command by itself, too.
        let runs = subcommands.is_empty() || command.spec.takes(1);
        let run = if runs { run(command) } else { Run::Container };
        self.drafts.push(Draft { spec: &command.spec, group, run, subcommands });
    }

    fn finish(self, help: (&'static Spec, Run)) -> CommandTable {
        let mut table = CommandTable { by_name: HashMap::default(), all: Vec::new() };
        for draft in self.drafts {
            let name = draft.spec.name.to_ascii_lowercase();
            let mut drafts = draft.subcommands;
            if !drafts.is_empty() && !drafts.iter().any(|it| it.0.name == help.0.name) {
                drafts.push(help);
            }
            let mut subcommands = Vec::new();
            let counts_as_one = draft.spec.counts_as_one;
            for (spec, run) in drafts {
                let full_name = format!("{name}|{}", spec.name.to_ascii_lowercase());
                // What counts as one has one number: the next, which the name in front will have.
                let number = table.all.len();
                let entry = Entry::new((spec, draft.group, run), full_name, number, Vec::new());
                let entry: &'static Entry = Box::leak(Box::new(entry));
                if !counts_as_one {
                    table.all.push(entry);
                }
                subcommands.push(entry);
            }
            let number = table.all.len();
            let parts = (draft.spec, draft.group, draft.run);
            let entry: &'static Entry =
                Box::leak(Box::new(Entry::new(parts, name, number, subcommands)));
            table.all.push(entry);
            table.by_name.insert(draft.spec.name.as_bytes().to_vec(), entry);
        }
        table
    }
}

/// What a user must be allowed to do with keys of which a command says that.
fn needed_access(access: KeyAccess) -> Option<Access> {
    let changes = KeyAccess::UPDATE | KeyAccess::INSERT | KeyAccess::DELETE;
    let mut needed = Access::empty();
    needed.set(Access::READ, access.contains(KeyAccess::ACCESS));
    needed.set(Access::WRITE, access.intersects(changes));
    (!access.contains(KeyAccess::NOT_KEY)).then_some(needed)
}

pub(crate) fn unknown_command(args: Args<'_>) -> CommandError {
    const SHOWN_MAX: usize = 128;
    fn cut(text: &[u8], room: usize) -> &[u8] {
        shown(&text[..text.len().min(room)])
    }
    let mut arguments = Vec::new();
    for argument in args.from(1) {
        if SHOWN_MAX <= arguments.len() {
            break;
        }
        let room = SHOWN_MAX - arguments.len();
        arguments.extend([b"'", cut(argument, room), b"' "].concat());
    }
    let name = cut(args.at(0), SHOWN_MAX);
    CommandError::quoting(&[
        b"ERR unknown command '",
        name,
        b"', with args beginning with: ",
        &arguments,
    ])
}

/// The error of a subcommand that cannot be called so.
pub(crate) fn wrong_form(args: Args<'_>, container: &str) -> CommandError {
    let (name, container) = (shown_subcommand(args), container.as_bytes());
    let what = b"ERR unknown subcommand or wrong number of arguments for '";
    CommandError::quoting(&[what, name, b"'. Try ", container, b" HELP."])
}

fn shown_subcommand(args: Args<'_>) -> &[u8] {
    const SHOWN_MAX: usize = 128;
    let name = args.at(1);
    shown(&name[..name.len().min(SHOWN_MAX)])
}

pub(crate) fn unknown_subcommand(entry: &Entry, args: Args<'_>) -> CommandError {
    if entry.spec.counts_as_one {
        // With other servers it is an argument.
        return wrong_form(args, entry.spec.name);
    }
    let (name, container) = (shown_subcommand(args), entry.spec.name.as_bytes());
    CommandError::quoting(&[b"ERR unknown subcommand '", name, b"'. Try ", container, b" HELP."])
}
