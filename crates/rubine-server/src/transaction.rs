//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. EXEC takes the locks of all queued commands at once, so the transaction is
//! atomic and isolated.

use std::sync::Arc;

use rubine_commands::{Args, CommandError, CommandResult, Flags, shards_of};
use rubine_keyspace::{Key, ShardSet, Watch};
use rubine_resp::parser::ArgRange;

use crate::client::{Client, ClientFlags};
use crate::command_table::Entry;
use crate::dispatch::Core;
use crate::session::{ServerCommand, Session};

pub(crate) const COMMANDS: &[ServerCommand] = &[DISCARD, EXEC, MULTI, UNWATCH, WATCH];

/// The flags that all commands of this group share.
const ALWAYS: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST);

/// Arguments that outlive the query buffer.
#[derive(Clone, Debug)]
pub(crate) struct OwnedArgs {
    bytes: Box<[u8]>,
    ranges: Box<[ArgRange]>,
}

impl OwnedArgs {
    pub(crate) fn of(args: Args<'_>) -> Self {
        let mut bytes = Vec::with_capacity(args.byte_count());
        let mut ranges = Vec::with_capacity(args.len());
        for argument in args.from(0) {
            ranges.push(ArgRange { start: bytes.len(), len: argument.len() });
            bytes.extend_from_slice(argument);
        }
        Self { bytes: bytes.into(), ranges: ranges.into() }
    }

    pub(crate) fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}

/// The commands that a client has queued.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    queued: Vec<(&'static Entry, OwnedArgs)>,
    /// One of them was refused: EXEC will refuse all.
    is_spoiled: bool,
}

impl Transaction {
    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    pub(crate) fn push(&mut self, entry: &'static Entry, args: Args<'_>) {
        self.queued.push((entry, OwnedArgs::of(args)));
    }

    pub(crate) fn spoil(&mut self) {
        self.is_spoiled = true;
    }

    /// The bytes of all queued arguments.
    pub(crate) fn byte_count(&self) -> usize {
        self.queued.iter().map(|(_, args)| args.bytes.len()).sum()
    }
}

/// Whether a command has any of `flags`, or runs queued ones of which one has.
pub(crate) fn runs_any(entry: &Entry, client: &Client, flags: Flags) -> bool {
    entry.spec.flags.intersects(flags)
        || queue_of(entry, client).any(|queued| queued.spec.flags.intersects(flags))
}

/// Whether a command has all of `flags`, and so have the queued ones that it runs.
pub(crate) fn runs_only(entry: &Entry, client: &Client, flags: Flags) -> bool {
    entry.spec.flags.contains(flags)
        && queue_of(entry, client).all(|queued| queued.spec.flags.contains(flags))
}

/// The queued commands that a command would run.
fn queue_of(entry: &Entry, client: &Client) -> impl Iterator<Item = &'static Entry> {
    let runs_queue = entry.spec.flags.contains(Flags::RUNS_QUEUE);
    let transaction = client.transaction.as_ref().filter(|_| runs_queue);
    transaction.into_iter().flat_map(|it| it.queued.iter().map(|(entry, _)| *entry))
}

/// Calls `visit` with each queued command that a command would run.
pub(crate) fn for_each_queued(
    entry: &Entry,
    client: &Client,
    mut visit: impl FnMut(&Entry, Args<'_>),
) {
    let runs_queue = entry.spec.flags.contains(Flags::RUNS_QUEUE);
    if let Some(transaction) = client.transaction.as_ref().filter(|_| runs_queue) {
        transaction.queued.iter().for_each(|(entry, args)| visit(entry, args.as_args()));
    }
}

/// The keys that a client watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watch: Option<Arc<Watch>>,
    keys: Vec<WatchedKey>,
    /// Memory of `keys` and of what stands for them in their shards, about.
    key_bytes: usize,
}

/// What a watched key takes beyond its name, here and in its shard, about.
const WATCH_BYTES: usize = 128;

#[derive(Debug)]
struct WatchedKey {
    db: usize,
    key: Box<[u8]>,
}

impl Watches {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Memory that the keys take, about.
    pub(crate) fn byte_count(&self) -> usize {
        self.key_bytes
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.watch.as_ref().is_some_and(|it| it.is_broken())
    }

    fn shards(&self) -> ShardSet {
        let mut shards = ShardSet::default();
        self.keys.iter().for_each(|it| shards.add(Key::new(&it.key)));
        shards
    }
}

const MULTI: ServerCommand = ServerCommand::declare("MULTI", multi)
    .summary("Starts to queue commands, which EXEC then runs as one.")
    .since("1.2.0")
    .complexity("O(1)")
    .arity(1)
    .flag(ALWAYS.union(Flags::NO_MULTI).union(Flags::ALLOW_BUSY).union(Flags::NEVER_QUEUED));

fn multi(session: &mut Session<'_>) -> CommandResult {
    session.client.transaction = Some(Transaction::default());
    session.reply.ok();
    Ok(())
}

const DISCARD: ServerCommand = ServerCommand::declare("DISCARD", discard)
    .summary("Drops the queued commands and the watches.")
    .since("2.0.0")
    .complexity("O(N) with N the number of queued commands.")
    .arity(1)
    .flag(ALWAYS.union(Flags::ALLOW_BUSY).union(Flags::NEVER_QUEUED));

fn discard(session: &mut Session<'_>) -> CommandResult {
    if session.client.transaction.take().is_none() {
        return Err(CommandError::text("ERR DISCARD without MULTI"));
    }
    unwatch_all(session.core, session.client);
    session.reply.ok();
    Ok(())
}

const WATCH: ServerCommand = ServerCommand::declare("WATCH", watch)
    .summary("Lets the next EXEC fail if one of the keys is changed before it.")
    .syntax("key [key ...]")
    .since("2.2.0")
    .complexity("O(1) for every key.")
    .arity(-2)
    .flag(ALWAYS.union(Flags::NO_MULTI).union(Flags::ALLOW_BUSY).union(Flags::NEVER_QUEUED))
    .key_range(1, -1, 1, "RO");

fn watch(session: &mut Session<'_>) -> CommandResult {
    let Session { args, client, core, entry, .. } = session;
    if client.watches.is_broken() {
        // What comes cannot make it whole again.
        session.reply.ok();
        return Ok(());
    }
    let watch = client.watches.watch.get_or_insert_with(Watch::new).clone();
    let mut locked = core.lock(&shards_of(entry.spec, *args, false));
    for key in args.from(1) {
        let is_known = client.watches.keys.iter().any(|it| it.db == client.db && *it.key == *key);
        if is_known {
            continue;
        }
        locked.watch(client.db, key, &watch, core.now);
        client.watches.key_bytes += key.len() * 2 + WATCH_BYTES;
        client.watches.keys.push(WatchedKey { db: client.db, key: key.into() });
    }
    session.reply.ok();
    Ok(())
}

const UNWATCH: ServerCommand = ServerCommand::declare("UNWATCH", unwatch)
    .summary("Forgets all watched keys.")
    .since("2.2.0")
    .complexity("O(1)")
    .arity(1)
    .flag(ALWAYS.union(Flags::ALLOW_BUSY));

fn unwatch(session: &mut Session<'_>) -> CommandResult {
    // Inside a transaction the watches have been decided on already.
    if session.locked.is_none() {
        unwatch_all(session.core, session.client);
    }
    session.reply.ok();
    Ok(())
}

/// Forgets all that a client watches.
pub(crate) fn unwatch_all(core: &mut Core, client: &mut Client) {
    let Some(watch) = client.watches.watch.take() else { return };
    let mut locked = core.server.keyspace.lock(&client.watches.shards());
    client.watches.key_bytes = 0;
    for it in client.watches.keys.drain(..) {
        locked.unwatch(it.db, &it.key, &watch);
    }
}

const EXEC: ServerCommand = ServerCommand::declare("EXEC", exec)
    .summary("Runs the queued commands as one, unless a watched key was changed.")
    .since("1.2.0")
    .complexity("Depends on the queued commands.")
    .arity(1)
    .flag(Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SKIP_COMMANDLOG))
    .flag(Flags::NEVER_QUEUED.union(Flags::RUNS_QUEUE));

fn exec(session: &mut Session<'_>) -> CommandResult {
    let Session { core, client, reply, .. } = session;
    let Some(transaction) = client.transaction.take() else {
        return Err(CommandError::text("ERR EXEC without MULTI"));
    };
    if transaction.is_spoiled {
        unwatch_all(core, client);
        return Err(CommandError::text(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    let mut shards = client.watches.shards();
    for (entry, args) in &transaction.queued {
        shards.add_all(&shards_of(entry.spec, args.as_args(), true));
    }
    let mut locked = core.lock(&shards);
    let expired = client.watches.watch.as_ref().is_some_and(|watch| {
        let mut keys = client.watches.keys.iter();
        keys.any(|it| locked.fell_due(it.db, &it.key, watch, core.now))
    });
    let is_broken = client.watches.is_broken() || expired;
    if let Some(watch) = client.watches.watch.take() {
        client.watches.key_bytes = 0;
        for it in client.watches.keys.drain(..) {
            locked.unwatch(it.db, &it.key, &watch);
        }
    }
    if is_broken {
        reply.null_array();
        return Ok(());
    }
    reply.array(transaction.len());
    core.begin_unit();
    for (entry, args) in &transaction.queued {
        if client.flags.contains(ClientFlags::CLOSE_NOW) {
            break;
        }
        core.call_locked(client, reply, entry, args.as_args(), &mut locked);
    }
    core.end_client_unit(client, locked);
    Ok(())
}
