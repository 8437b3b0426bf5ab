//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. EXEC takes the locks of all queued commands at once, so the transaction is
//! atomic and isolated.

use rubine_commands::{CommandError, CommandResult, Flags, shards_of};
use rubine_keyspace::{Locked, ShardSet};

use crate::client::ClientFlags;
use crate::client::queue::Transaction;
use crate::core::scripts::Ended;
use crate::core::unit::Role;
use crate::core::{ServerCommand, Session};

pub(crate) const COMMANDS: &[ServerCommand] = &[DISCARD, EXEC, MULTI, UNWATCH, WATCH];

/// The flags that all commands of this group share.
const ALWAYS: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST);

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
    session.core.unwatch_all(session.client);
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
    if session.client.watches.is_broken() {
        // What comes cannot make it whole again.
        session.reply.ok();
        return Ok(());
    }
    let shards = shards_of(session.entry.spec, session.args, false);
    let Some(mut locked) = session.lock(&shards) else { return Ok(()) };
    let Session { args, client, core, .. } = session;
    for key in args.from(1) {
        client.watches.add(client.db, key, &mut locked, core.now);
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
        session.core.unwatch_all(session.client);
    }
    session.reply.ok();
    Ok(())
}

const EXEC: ServerCommand = ServerCommand::declare("EXEC", exec)
    .summary("Runs the queued commands as one, unless a watched key was changed.")
    .since("1.2.0")
    .complexity("Depends on the queued commands.")
    .arity(1)
    .flag(Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SKIP_COMMANDLOG))
    .flag(Flags::NEVER_QUEUED.union(Flags::RUNS_QUEUE));

fn exec(session: &mut Session<'_>) -> CommandResult {
    let Some(transaction) = &session.client.transaction else {
        return Err(CommandError::text("ERR EXEC without MULTI"));
    };
    if transaction.is_spoiled() {
        session.client.transaction = None;
        session.core.unwatch_all(session.client);
        return Err(CommandError::text(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    let mut shards = session.client.watches.shards();
    for (entry, args) in transaction.commands() {
        shards.add_all(&shards_of(entry.spec, args, true));
    }
    loop {
        let Some(locked) = session.lock(&shards) else { return Ok(()) };
        if run_queue(session, locked) == Ended::Replied {
            return Ok(());
        }
        // A script of the queue came to a key that it had not declared.
        shards = ShardSet::All;
    }
}

/// Runs what is queued under the locks that are taken. If they do not do, nothing is left of what it did.
fn run_queue(session: &mut Session<'_>, mut locked: Locked<'static>) -> Ended {
    let Session { core, client, reply, .. } = session;
    let is_broken = client.watches.is_broken() || client.watches.have_fallen_due(&locked, core.now);
    if is_broken {
        client.watches.clear(&mut locked);
        client.transaction = None;
        reply.null_array();
        return Ended::Replied;
    }
    let transaction = client.transaction.take().unwrap_or_default();
    core.begin_client_unit(client, reply);
    let (reply_start, db) = (reply.mark(), client.db);
    reply.array(transaction.len());
    let mark = transaction.runs_scripts().then(|| core.begin_undoable());
    let role = if mark.is_some() { Role::Script } else { Role::Transaction };
    for (entry, args) in transaction.commands() {
        if client.flags.contains(ClientFlags::CLOSE_NOW) {
            break;
        }
        core.call_locked(client, role, reply, entry, args, &mut locked);
        if core.scripts.needs_all {
            break;
        }
    }
    if std::mem::take(&mut core.scripts.needs_all) {
        if let Some(mark) = &mark {
            core.undo_to(mark, &mut locked);
        }
        reply.truncate_to(reply_start);
        client.db = db;
        client.transaction = Some(transaction);
        core.keep();
        core.end_unit(locked);
        core.forget_undo();
        return Ended::NeedsAll;
    }
    client.watches.clear(&mut locked);
    core.keep();
    core.end_client_unit(client, locked);
    if mark.is_some() {
        core.forget_undo();
    }
    Ended::Replied
}
