//! What rules know of commands: names, numbers and categories. Never looks at arguments.

use rubine_base::hash::HashMap;

/// Where a command stands in its server's table.
pub type CommandNumber = usize;

/// One command or subcommand.
#[derive(Clone, Debug)]
pub struct CommandEntry {
    /// `get`, or `config|get` behind a container.
    pub full_name: Box<str>,
    /// Bit `i` stands for the category of that number.
    pub categories: u64,
    /// Whoever has not logged in may send it, and so no user can be kept from it: AUTH, HELLO, QUIT.
    pub needs_no_login: bool,
}

/// The commands of a server, by the numbers that they have there, and the names of their categories.
///
/// A server that renames commands gives the names of old: rules hold whatever a command is called.
#[derive(Debug)]
pub struct Commands {
    categories: Box<[Box<str>]>,
    entries: Box<[CommandEntry]>,
    by_name: HashMap<Box<[u8]>, CommandNumber>,
    /// By the number of a container.
    subcommands: Box<[Box<[CommandNumber]>]>,
    always_allowed: CommandSet,
}

impl Commands {
    /// The entry at place `i` is the command of number `i`, the name at place `i` that of category `i`.
    pub fn new(categories: &[&str], entries: Vec<CommandEntry>) -> Self {
        assert!(categories.len() <= 64, "categories are bits of a word");
        let lower = |name: &str| name.to_ascii_lowercase().into_bytes().into_boxed_slice();
        let by_name: HashMap<_, _> =
            entries.iter().enumerate().map(|(number, it)| (lower(&it.full_name), number)).collect();
        let mut subcommands = vec![Vec::new(); entries.len()];
        let mut always_allowed = CommandSet::empty(entries.len());
        for (number, entry) in entries.iter().enumerate() {
            let container = entry.full_name.split_once('|');
            if let Some(container) = container.and_then(|(name, _)| by_name.get(&lower(name))) {
                subcommands[*container].push(number);
            }
            if entry.needs_no_login {
                always_allowed.insert(number);
            }
        }
        Self {
            categories: categories.iter().map(|&name| name.into()).collect(),
            entries: entries.into(),
            by_name,
            subcommands: subcommands.into_iter().map(Vec::into_boxed_slice).collect(),
            always_allowed,
        }
    }

    /// How many commands and subcommands there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// As errors and the log name it: `config|get`.
    pub fn full_name(&self, number: CommandNumber) -> &str {
        &self.entries[number].full_name
    }

    /// The names of all categories, in the order of ACL CAT.
    pub fn categories(&self) -> impl ExactSizeIterator<Item = &str> {
        self.categories.iter().map(|name| &**name)
    }

    /// What ACL CAT says about a category: the full names of the commands in it. Nothing if there is no such category.
    pub fn in_category(&self, name: &[u8]) -> Option<impl Iterator<Item = &str>> {
        let numbers = self.numbers_in_category(name)?;
        Some(numbers.map(|number| self.full_name(number)))
    }

    /// The command of that full name, in any case.
    pub(crate) fn find(&self, full_name: &[u8]) -> Option<CommandNumber> {
        self.by_name.get(&*full_name.to_ascii_lowercase()).copied()
    }

    pub(crate) fn numbers_in_category(
        &self,
        name: &[u8],
    ) -> Option<impl Iterator<Item = CommandNumber>> {
        let mut names = self.categories.iter();
        let index = names.position(|it| it.as_bytes().eq_ignore_ascii_case(name))?;
        let entries = self.entries.iter().enumerate();
        Some(
            entries
                .filter(move |(_, it)| it.categories >> index & 1 == 1)
                .map(|(number, _)| number),
        )
    }

    /// The subcommands of a container; none of other commands.
    pub(crate) fn subcommands(&self, number: CommandNumber) -> &[CommandNumber] {
        &self.subcommands[number]
    }

    pub(crate) fn is_subcommand(&self, number: CommandNumber) -> bool {
        self.entries[number].full_name.contains('|')
    }

    pub(crate) fn needs_no_login(&self, number: CommandNumber) -> bool {
        self.entries[number].needs_no_login
    }

    /// The commands that nobody can be kept from.
    pub(crate) fn always_allowed(&self) -> &CommandSet {
        &self.always_allowed
    }
}

/// A set of commands: a bit for each number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandSet {
    words: Box<[u64]>,
}

impl CommandSet {
    fn empty(command_count: usize) -> Self {
        Self { words: vec![0; command_count.div_ceil(64)].into() }
    }

    pub(crate) fn fill(&mut self) {
        self.words.fill(u64::MAX);
    }

    pub(crate) fn insert(&mut self, number: CommandNumber) {
        self.words[number / 64] |= 1 << (number % 64);
    }

    pub(crate) fn remove(&mut self, number: CommandNumber) {
        self.words[number / 64] &= !(1 << (number % 64));
    }

    /// A number that the table does not have is in no set.
    #[inline]
    pub(crate) fn contains(&self, number: CommandNumber) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}
