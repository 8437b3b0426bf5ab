//! How a command is declared: one `const`, built by the functions here, right above its handler. From the declaration
//! come the lock set, the refusals, ACL categories, COMMAND's replies and the documentation.

use bitflags::bitflags;

use crate::args::Args;
use crate::context::Context;
use crate::error::CommandResult;

/// The handler of a data command.
pub type Handler = fn(&mut Context<'_, '_>) -> CommandResult;

bitflags! {
    /// What COMMAND INFO calls flags.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        const WRITE = 1 << 0;
        const READONLY = 1 << 1;
        const DENYOOM = 1 << 2;
        const ADMIN = 1 << 3;
        const PUBSUB = 1 << 4;
        const NOSCRIPT = 1 << 5;
        const BLOCKING = 1 << 6;
        const LOADING = 1 << 7;
        const STALE = 1 << 8;
        const SKIP_MONITOR = 1 << 9;
        const SKIP_COMMANDLOG = 1 << 10;
        const ASKING = 1 << 11;
        const FAST = 1 << 12;
        const NO_AUTH = 1 << 13;
        const NO_MULTI = 1 << 14;
        const MAY_REPLICATE = 1 << 15;
        const SENTINEL = 1 << 16;
        const ONLY_SENTINEL = 1 << 17;
        const NO_MANDATORY_KEYS = 1 << 18;
        const PROTECTED = 1 << 19;
        const NO_ASYNC_LOADING = 1 << 20;
        const ALLOW_BUSY = 1 << 21;
        const MOVABLE_KEYS = 1 << 22;
        /// It runs while clients are paused, and does not count as traffic that a pause stops.
        const NEVER_PAUSED = 1 << 23;
        /// A client that listens to channels may send it, whatever its protocol.
        const WHILE_SUBSCRIBED = 1 << 24;
        /// Inside MULTI it runs at once: it ends the queue, or is refused there.
        const NEVER_QUEUED = 1 << 25;
        /// It runs what is queued: what is asked of a command is asked of the queue.
        const RUNS_QUEUE = 1 << 26;
        /// Whoever sends it asks whether the server is well, and shall hear if it takes no writes.
        const ASKS_FOR_HEALTH = 1 << 27;
        /// May run while a replica loads its master's data, which it ends as a rule.
        const WHILE_SYNCING = 1 << 28;
        /// It moves keys between the nodes of a cluster, and so runs wherever they are.
        const MOVES_KEYS = 1 << 29;
    }

    /// ACL categories beyond those that follow from flags and group.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Acl: u32 {
        const KEYSPACE = 1 << 0;
        const READ = 1 << 1;
        const WRITE = 1 << 2;
        const SET = 1 << 3;
        const SORTED_SET = 1 << 4;
        const LIST = 1 << 5;
        const HASH = 1 << 6;
        const STRING = 1 << 7;
        const BITMAP = 1 << 8;
        const HYPERLOGLOG = 1 << 9;
        const GEO = 1 << 10;
        const STREAM = 1 << 11;
        const PUBSUB = 1 << 12;
        const ADMIN = 1 << 13;
        const FAST = 1 << 14;
        const SLOW = 1 << 15;
        const BLOCKING = 1 << 16;
        const DANGEROUS = 1 << 17;
        const CONNECTION = 1 << 18;
        const TRANSACTION = 1 << 19;
        const SCRIPTING = 1 << 20;
    }

    /// What a command does with the keys of one specification, in the words of COMMAND INFO.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct KeyAccess: u16 {
        const RO = 1 << 0;
        const RW = 1 << 1;
        const OW = 1 << 2;
        const RM = 1 << 3;
        const ACCESS = 1 << 4;
        const UPDATE = 1 << 5;
        const INSERT = 1 << 6;
        const DELETE = 1 << 7;
        const NOT_KEY = 1 << 8;
        const INCOMPLETE = 1 << 9;
        const VARIABLE_FLAGS = 1 << 10;
    }
}

/// The group that COMMAND DOCS reports, by which the documentation is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    /// The name in COMMAND DOCS.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Hash => "hash",
            Self::PubSub => "pubsub",
            Self::Transactions => "transactions",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Scripting => "scripting",
            Self::HyperLogLog => "hyperloglog",
            Self::Cluster => "cluster",
            Self::Sentinel => "sentinel",
            Self::Geo => "geo",
            Self::Stream => "stream",
            Self::Bitmap => "bitmap",
        }
    }

    fn acl(self) -> Acl {
        match self {
            Self::Generic => Acl::KEYSPACE,
            Self::String => Acl::STRING,
            Self::List => Acl::LIST,
            Self::Set => Acl::SET,
            Self::SortedSet => Acl::SORTED_SET,
            Self::Hash => Acl::HASH,
            Self::PubSub => Acl::PUBSUB,
            Self::Transactions => Acl::TRANSACTION,
            Self::Connection => Acl::CONNECTION,
            Self::Scripting => Acl::SCRIPTING,
            Self::HyperLogLog => Acl::HYPERLOGLOG,
            Self::Geo => Acl::GEO,
            Self::Stream => Acl::STREAM,
            Self::Bitmap => Acl::BITMAP,
            Self::Server | Self::Cluster | Self::Sentinel => Acl::empty(),
        }
    }
}

/// Calls the function given with the number of each argument that is looked for.
pub type ArgFinder = fn(Args<'_>, &mut dyn FnMut(usize));

/// Calls the function given with the number of each argument that is a key.
pub type KeyFinder = ArgFinder;

/// Where the keys of one specification stand among the arguments.
#[derive(Clone, Copy, Debug)]
pub enum KeyPositions {
    /// `first`, `first + step`, ... up to `last`; a negative `last` counts from the end.
    Range { first: usize, last: isize, step: usize },
    /// Argument `at` says how many keys follow it, `step` arguments apart.
    Counted { at: usize, step: usize },
    /// The first half of what follows the keyword. The same word may be an option's argument, so the keyword is found by
    /// reading all options before it; others are told the keyword, and from where to look for it.
    Streams { keyword: &'static str, from: usize },
    /// Argument `at`, as others are told; code knows when it is none.
    Usually { at: usize, find: KeyFinder },
    /// The argument after a keyword, which is looked for from argument `from` on (counted from the end if negative), and
    /// `more` behind that one, or all if that is -1. Where the keyword may stand several times, or stand for a value,
    /// only code knows which is meant.
    Keyword { keyword: &'static str, from: isize, more: isize, find: KeyFinder },
    /// Code finds them.
    Custom(KeyFinder),
}

/// Keys of a command and what it does with them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    pub positions: KeyPositions,
    /// Flags in the words of COMMAND INFO, as `"RW ACCESS UPDATE"`.
    pub access: &'static str,
}

impl KeySpec {
    /// Calls `visit` with the number of each argument that is a key. Nonsense in the arguments gives fewer keys.
    #[inline]
    pub fn for_each(&self, args: Args<'_>, visit: &mut dyn FnMut(usize)) {
        match self.positions {
            KeyPositions::Range { first, last, step } => {
                let last =
                    if last < 0 { args.len().saturating_add_signed(last) } else { last as usize };
                (first..=last.min(args.len().saturating_sub(1))).step_by(step).for_each(visit);
            }
            KeyPositions::Counted { at, step } => {
                let count = args.get(at).and_then(rubine_base::number::parse_u64).unwrap_or(0);
                let available = args.len().saturating_sub(at + 1) / step;
                if count <= available as u64 {
                    (at + 1..).step_by(step).take(count as usize).for_each(visit);
                }
            }
            KeyPositions::Streams { .. } => {
                if let Some(first) = streams_position(args) {
                    let count = args.len().saturating_sub(first) / 2;
                    (first..first + count).for_each(visit);
                }
            }
            KeyPositions::Usually { find, .. }
            | KeyPositions::Keyword { find, .. }
            | KeyPositions::Custom(find) => find(args, visit),
        }
    }

    /// Whether an argument says how many keys there are. Then there is at least one.
    pub fn is_counted(&self) -> bool {
        matches!(self.positions, KeyPositions::Counted { .. })
    }

    /// The flags.
    pub fn access(&self) -> KeyAccess {
        self.access
            .split_whitespace()
            .map(|name| KeyAccess::from_name(name).expect("a test reads every specification"))
            .collect()
    }
}

/// The number of the first key of a command that has options before `STREAMS`.
pub(crate) fn streams_position(args: Args<'_>) -> Option<usize> {
    let mut at = 1;
    loop {
        let word = args.get(at)?;
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        at += match () {
            () if is("STREAMS") => return Some(at + 1),
            () if is("GROUP") => 3,
            () if is("BLOCK") || is("COUNT") || is("CLAIM") => 2,
            () if is("MAXCOUNT") || is("MAXSIZE") => 2,
            () if is("NOACK") => 1,
            () => return None,
        };
    }
}

/// Which shards a command needs beyond those of its keys.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// Those of its keys.
    Keys,
    /// All if the arguments say so: it has keys then that nobody knows before it runs.
    AllIf(fn(Args<'_>) -> bool),
    /// Those of its keys, in the database that this argument names too.
    All,
    /// It walks through all, one at a time; inside a transaction, all are locked.
    Each,
    /// That of the hash slot whose number this argument is.
    Slot(usize),
}

/// Which databases a command touches beside those of its keys.
#[derive(Clone, Copy, Debug)]
pub enum Databases {
    /// The selected one, if it has keys or is about data.
    Selected,
    /// It calls the function given with the number of each argument that names one, if all of them can be read.
    Named(NumberFinder),
    /// As `Named`, and what it names is the selected one afterwards.
    Selects(NumberFinder),
    /// All.
    All,
}

/// Calls the function given with the numbers of arguments.
pub type NumberFinder = fn(Args<'_>, &mut dyn FnMut(usize));

/// The channels among a command's arguments, of which it sends something to each, or listens to it.
#[derive(Clone, Copy, Debug)]
pub enum Channels {
    /// Those from argument 1 on, so many.
    Names { count_max: usize },
    /// Patterns of them, from argument 1 on.
    Patterns,
}

/// How many key specifications a command may have.
const KEY_SPECS_MAX: usize = 3;

/// Everything that is declared about a command but its handler.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// In capitals; for a subcommand, without its container.
    pub name: &'static str,
    pub summary: &'static str,
    /// The arguments in the notation of the Redis documentation; empty for none.
    pub syntax: &'static str,
    pub since: &'static str,
    pub complexity: &'static str,
    /// Number of arguments with the name, negative for a minimum. Subcommands count the container's name too.
    pub arity: i32,
    pub flags: Flags,
    pub scope: Scope,
    /// Hints for clients that send it to several servers, in COMMAND INFO's words; empty for none.
    pub tips: &'static str,
    /// Its subcommands are forms of one command: in statistics they count as that, and in COMMAND they do not show.
    pub counts_as_one: bool,
    /// Where members of the collection at the one key usually stand, to fetch them ahead: the first, and how far the
    /// next is.
    pub members: Option<(usize, usize)>,
    pub databases: Databases,
    pub channels: Option<Channels>,
    acl: Acl,
    /// Categories that follow from group and flags, but are not its.
    not_acl: Acl,
    keys: [Option<KeySpec>; KEY_SPECS_MAX],
    access_by: Option<fn(Args<'_>) -> KeyAccess>,
    secrets: Option<ArgFinder>,
}

impl Spec {
    /// The key specifications.
    #[inline]
    pub fn keys(&self) -> impl Iterator<Item = &KeySpec> {
        self.keys.iter().flatten()
    }

    /// Calls `visit` with the number of each argument that is a key.
    #[inline]
    pub fn for_each_key(&self, args: Args<'_>, mut visit: impl FnMut(usize)) {
        for spec in self.keys() {
            spec.for_each(args, &mut visit);
        }
    }

    /// What the command does with the keys of one of its specifications, when it has these arguments.
    pub fn access(&self, keys: &KeySpec, args: Args<'_>) -> KeyAccess {
        self.access_by.map_or_else(|| keys.access(), |access_by| access_by(args))
    }

    /// Whether what it does with its keys depends on its arguments.
    pub fn has_variable_access(&self) -> bool {
        self.access_by.is_some()
    }

    /// The one fixed key argument, for the many commands that have just this.
    #[inline]
    pub fn single_key(&self) -> Option<usize> {
        match self.keys {
            [
                Some(KeySpec { positions: KeyPositions::Range { first, last, .. }, .. }),
                None,
                None,
            ] if last == first as isize => Some(first),
            _ => None,
        }
    }

    /// Whether `count` arguments, the name included, are acceptable.
    #[inline]
    pub fn takes(&self, count: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { arity <= count } else { arity == count }
    }

    /// The ACL categories of a command of `group`, mostly derived from its flags.
    pub fn acl(&self, group: Group) -> Acl {
        let mut acl = self.acl | group.acl();
        let flags = self.flags;
        let rules = [
            (Flags::WRITE, Acl::WRITE),
            (Flags::READONLY, Acl::READ),
            (Flags::ADMIN, Acl::ADMIN.union(Acl::DANGEROUS)),
            (Flags::PUBSUB, Acl::PUBSUB),
            (Flags::FAST, Acl::FAST),
            (Flags::BLOCKING, Acl::BLOCKING),
        ];
        for (flag, category) in rules {
            if flags.contains(flag) {
                acl |= category;
            }
        }
        if group == Group::Scripting {
            acl.remove(Acl::READ);
        }
        if !flags.contains(Flags::FAST) {
            acl |= Acl::SLOW;
        }
        acl - self.not_acl
    }

    /// Calls `visit` with the number of each argument that nobody else may see: passwords and the like. Nonsense in the
    /// arguments hides too many rather than too few.
    pub fn for_each_secret(&self, args: Args<'_>, mut visit: impl FnMut(usize)) {
        if let Some(find) = self.secrets {
            find(args, &mut visit);
        }
    }

    /// Whether the positions of the keys depend on the arguments.
    pub fn has_movable_keys(&self) -> bool {
        self.flags.contains(Flags::MOVABLE_KEYS)
            || self.keys().any(|it| !matches!(it.positions, KeyPositions::Range { .. }))
    }
}

/// A command: its declaration and what runs it.
#[derive(Clone, Copy, Debug)]
pub struct Command<H: 'static = Handler> {
    pub spec: Spec,
    pub run: H,
    /// For a container, the commands behind its first argument.
    pub subcommands: &'static [Command<H>],
}

impl Command {
    /// A data command without keys, flags and arguments, to be described by the functions below.
    pub const fn new(name: &'static str, run: Handler) -> Self {
        Self::declare(name, run)
    }
}

impl<H: Copy> Command<H> {
    /// As [`Command::new`], for any kind of handler.
    pub const fn declare(name: &'static str, run: H) -> Self {
        let spec = Spec {
            name,
            summary: "",
            syntax: "",
            since: "1.0.0",
            complexity: "",
            arity: 1,
            flags: Flags::empty(),
            scope: Scope::Keys,
            tips: "",
            counts_as_one: false,
            members: None,
            databases: Databases::Selected,
            channels: None,
            acl: Acl::empty(),
            not_acl: Acl::empty(),
            keys: [None; KEY_SPECS_MAX],
            access_by: None,
            secrets: None,
        };
        Self { spec, run, subcommands: &[] }
    }

    /// A command that is only a name in front of others. `run` handles the bare name and unknown subcommands.
    pub const fn container(name: &'static str, run: H, subcommands: &'static [Self]) -> Self {
        let mut command = Self::declare(name, run);
        command.subcommands = subcommands;
        command.spec.arity = -2;
        command
    }

    /// One sentence on what it does.
    pub const fn summary(mut self, summary: &'static str) -> Self {
        self.spec.summary = summary;
        self
    }

    /// The arguments, as `key value [NX | XX]`. Arity is checked against it by a test.
    pub const fn syntax(mut self, syntax: &'static str) -> Self {
        self.spec.syntax = syntax;
        self
    }

    /// The version of Redis or Valkey that has had it first.
    pub const fn since(mut self, version: &'static str) -> Self {
        self.spec.since = version;
        self
    }

    /// Its cost, as `O(1)`.
    pub const fn complexity(mut self, complexity: &'static str) -> Self {
        self.spec.complexity = complexity;
        self
    }

    /// Hints for clients that send it to several servers, as `"request_policy:all_shards response_policy:agg_sum"`.
    pub const fn tips(mut self, tips: &'static str) -> Self {
        self.spec.tips = tips;
        self
    }

    /// Its subcommands are forms of one command.
    pub const fn counts_as_one(mut self) -> Self {
        self.spec.counts_as_one = true;
        self
    }

    /// Number of arguments with the name, negative for a minimum.
    pub const fn arity(mut self, arity: i32) -> Self {
        self.spec.arity = arity;
        self
    }

    /// It changes data.
    pub const fn writes(self) -> Self {
        self.flag(Flags::WRITE)
    }

    /// It reads data.
    pub const fn reads(self) -> Self {
        self.flag(Flags::READONLY)
    }

    /// It takes constant or logarithmic time.
    pub const fn fast(self) -> Self {
        self.flag(Flags::FAST)
    }

    /// It is refused when memory is full.
    pub const fn denies_oom(self) -> Self {
        self.flag(Flags::DENYOOM)
    }

    /// It may make its client wait.
    pub const fn blocks(self) -> Self {
        self.flag(Flags::BLOCKING)
    }

    /// Any further flags.
    pub const fn flag(mut self, flags: Flags) -> Self {
        self.spec.flags = self.spec.flags.union(flags);
        self
    }

    /// ACL categories that do not follow from flags and group.
    pub const fn also(mut self, acl: Acl) -> Self {
        self.spec.acl = self.spec.acl.union(acl);
        self
    }

    /// ACL categories that it is not in, though group and flags say so.
    pub const fn except(mut self, acl: Acl) -> Self {
        self.spec.not_acl = self.spec.not_acl.union(acl);
        self
    }

    /// Argument 1 is the one key. `access` is in COMMAND INFO's words, as `"RW ACCESS UPDATE"`.
    pub const fn key(self, access: &'static str) -> Self {
        self.key_range(1, 1, 1, access)
    }

    /// Argument number `at` is a key.
    pub const fn key_at(self, at: usize, access: &'static str) -> Self {
        self.key_range(at, at as isize, 1, access)
    }

    /// Arguments `first`, `first + step` ... `last` are keys; a negative `last` counts from the end.
    pub const fn key_range(
        self,
        first: usize,
        last: isize,
        step: usize,
        access: &'static str,
    ) -> Self {
        self.keys(KeySpec { positions: KeyPositions::Range { first, last, step }, access })
    }

    /// Argument `at` says how many keys follow it.
    pub const fn keys_counted(self, at: usize, access: &'static str) -> Self {
        self.keys(KeySpec { positions: KeyPositions::Counted { at, step: 1 }, access })
    }

    /// Adds a key specification.
    pub const fn keys(mut self, spec: KeySpec) -> Self {
        let mut index = 0;
        while self.spec.keys[index].is_some() {
            index += 1;
        }
        self.spec.keys[index] = Some(spec);
        self
    }

    /// What it does with its keys depends on its arguments: `access` says so, instead of the specification.
    pub const fn access_by(mut self, access: fn(Args<'_>) -> KeyAccess) -> Self {
        self.spec.access_by = Some(access);
        self
    }

    /// The arguments that `find` finds are shown to nobody: not by MONITOR, not in the command log.
    pub const fn hides(mut self, find: ArgFinder) -> Self {
        self.spec.secrets = Some(find);
        self
    }

    /// Arguments `first`, `first + step` ... are usually members of the collection at the key: a hint.
    pub const fn members(mut self, first: usize, step: usize) -> Self {
        self.spec.members = Some((first, step));
        self
    }

    /// It touches other databases than the selected one.
    pub const fn databases(mut self, databases: Databases) -> Self {
        self.spec.databases = databases;
        self
    }

    /// It sends something to channels, or listens to them.
    pub const fn channels(mut self, channels: Channels) -> Self {
        self.spec.channels = Some(channels);
        self
    }

    /// It needs every shard, at once.
    pub const fn all_shards(mut self) -> Self {
        self.spec.scope = Scope::All;
        self
    }

    /// It needs every shard, at once, if `condition` holds of its arguments.
    pub const fn all_shards_if(mut self, condition: fn(Args<'_>) -> bool) -> Self {
        self.spec.scope = Scope::AllIf(condition);
        self
    }

    /// It needs the shard of the hash slot whose number argument `at` is.
    pub const fn slot_at(mut self, at: usize) -> Self {
        self.spec.scope = Scope::Slot(at);
        self
    }

    /// It walks through every shard, one at a time.
    pub const fn each_shard(mut self) -> Self {
        self.spec.scope = Scope::Each;
        self
    }
}
