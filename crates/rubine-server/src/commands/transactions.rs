//! MULTI, EXEC, DISCARD, WATCH, UNWATCH. EXEC takes the locks of all queued commands at once, so the transaction is
//! atomic and isolated.

use rubine_acl::Context;
use rubine_commands::{Args, CommandError, CommandResult, Flags, shards_of};
use rubine_keyspace::{Locked, ShardSet};
use rubine_resp::writer::{Output, Reply};

use crate::client::away::{Ended, Progress, Ran};
use crate::client::queue::Transaction;
use crate::client::request::OwnedArgs;
use crate::client::{Client, ClientFlags};
use crate::command_table::Entry;
use crate::core::after_run::{Caller, RanCommand};
use crate::core::scripts::Obstacle;
use crate::core::unit::Role;
use crate::core::{Core, ServerCommand, Session};

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
    let Session { args, client, core, entry, .. } = session;
    if let Some(error) = core.look_again(client, entry, *args, &locked) {
        return Err(error);
    }
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
    let mut needs_all = false;
    if let Some((ran, Some(progress))) = session.take_ran() {
        if go_on(session, *ran, *progress) {
            return Ok(());
        }
        needs_all = true;
    }
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
    let mut shards = if needs_all { ShardSet::All } else { session.client.watches.shards() };
    for (entry, args) in transaction.commands() {
        shards.add_all(&shards_of(entry.spec, args, true));
    }
    if session.client.transaction.as_ref().is_some_and(Transaction::runs_scripts) {
        shards = shards.several();
    }
    while let Some(locked) = session.lock(&shards)
        && !begin(session, locked)
    {
        // A script of the queue came to a key that it had not declared.
        shards = ShardSet::All;
    }
    Ok(())
}

/// Runs what is queued under the locks that are taken. Returns false if they do not do: then nothing is left of what it did.
fn begin(session: &mut Session<'_>, mut locked: Locked<'static>) -> bool {
    let Session { core, client, reply, entry, args, .. } = session;
    if let Some(error) = core.look_again(client, entry, *args, &locked) {
        client.watches.clear(&mut locked);
        client.transaction = None;
        error.write(reply);
        core.count_rejection(entry, &error);
        return true;
    }
    let is_broken = client.watches.is_broken() || client.watches.have_fallen_due(&locked, core.now);
    if is_broken {
        client.watches.clear(&mut locked);
        client.transaction = None;
        reply.null_array();
        return true;
    }
    let transaction = client.transaction.take().unwrap_or_default();
    core.begin_client_unit(client, reply);
    if transaction.runs_scripts() {
        let (mark, db) = (core.begin_undoable(), client.db);
        let (shown, replies) = (core.shown(), Output::new());
        let protocol = client.protocol;
        let (at, spent_ticks) = (0, 0);
        let progress =
            Progress { transaction, at, replies, mark, db, protocol, shown, spent_ticks };
        return run_with_scripts(session, locked, progress);
    }
    core.begin_several();
    let start = core.ticks();
    reply.array(transaction.len());
    for (entry, args) in transaction.commands() {
        if client.flags.contains(ClientFlags::CLOSE_NOW) {
            break;
        }
        if !may_run(core, client, reply, entry, args) {
            continue;
        }
        core.call_locked(client, Role::Transaction, reply, entry, args, &mut locked);
    }
    client.watches.clear(&mut locked);
    core.end_client_unit(client, locked);
    // The time of its commands is its own, too.
    core.resume_clock(start);
    core.note_slot(transaction.slot());
    true
}

/// Whether the client's user may run a queued command still; otherwise it is told so.
fn may_run(
    core: &mut Core,
    client: &mut Client,
    reply: &mut Reply<'_>,
    entry: &'static Entry,
    args: Args<'_>,
) -> bool {
    let Err(denial) = core.permit(client, entry, args, Context::Multi) else { return true };
    let error = CommandError::Other(format!("NOPERM {}", denial.exec_text()).into());
    error.write(reply);
    core.count_rejection(entry, &error);
    false
}

/// Runs what is queued from where it stands, scripts among it, which may have to begin anew or to run elsewhere. Returns
/// false if the locks do not do: then nothing is left of what it did.
fn run_with_scripts(
    session: &mut Session<'_>,
    mut locked: Locked<'static>,
    mut progress: Progress,
) -> bool {
    let Session { core, client, reply, args: exec, .. } = session;
    let start = core.ticks();
    let mut replies = Reply::new(&mut progress.replies, client.protocol);
    while let Some((entry, args)) = progress.transaction.command(progress.at) {
        if client.flags.contains(ClientFlags::CLOSE_NOW) {
            break;
        }
        if !may_run(core, client, &mut replies, entry, args) {
            progress.at += 1;
            continue;
        }
        core.call_locked(client, Role::Script, &mut replies, entry, args, &mut locked);
        replies.set_protocol(client.protocol);
        match core.scripts.obstacle.take() {
            None => progress.at += 1,
            Some(Obstacle::NeedsAll) => {
                take_back(session, locked, progress);
                return false;
            }
            Some(Obstacle::TooLong(long)) => {
                let Some(slot) = core.take_slot(client) else {
                    take_back(session, locked, progress);
                    session.wait_for_slot();
                    return true;
                };
                let command = OwnedArgs::together(args);
                progress.spent_ticks += core.ticks().saturating_sub(start);
                let progress = Some(Box::new(progress));
                let script = (long, command.as_args());
                core.run_elsewhere(client, *exec, script, progress, locked, slot);
                return true;
            }
        }
    }
    reply.array(progress.transaction.len());
    reply.append(progress.replies);
    client.watches.clear(&mut locked);
    core.keep();
    core.end_client_unit(client, locked);
    core.forget_undo();
    core.resume_clock(start.saturating_sub(progress.spent_ticks));
    core.note_slot(progress.transaction.slot());
    true
}

/// Goes on with a transaction of which a script has run on another thread. Returns false if it has to begin anew.
fn go_on(session: &mut Session<'_>, ran: Ran, mut progress: Progress) -> bool {
    let Ran { away, ended, reply, name, spent_ticks, was_short, .. } = ran;
    let Session { core, client, .. } = session;
    core.note_ended(&name, ended, was_short);
    let locked = core.take_up(away);
    if ended != Ended::Replied {
        take_back(session, locked, progress);
        return false;
    }
    core.resume_clock(core.ticks().saturating_sub(spent_ticks));
    progress.spent_ticks += spent_ticks;
    let mut replies = Reply::new(&mut progress.replies, client.protocol);
    let reply_start = replies.mark();
    replies.append(reply);
    if let Some((entry, args)) = progress.transaction.command(progress.at) {
        let (reply, caller, result) = (&mut replies, Caller::Transaction, Ok(()));
        core.after_run(RanCommand { entry, client, caller, args, reply, reply_start, result });
    }
    progress.at += 1;
    let is_done = run_with_scripts(session, locked, progress);
    session.core.read_time();
    is_done
}

/// Takes all of a transaction back. It is queued as before.
fn take_back(session: &mut Session<'_>, mut locked: Locked<'static>, progress: Progress) {
    let Progress { transaction, mark, db, protocol, shown, .. } = progress;
    let Session { core, client, .. } = session;
    core.undo_to(&mark, &mut locked);
    // No watch was broken when it began, and nobody else has had the locks since.
    client.watches.renew(&mut locked, core.now);
    core.unshow(shown);
    (client.db, client.protocol) = (db, protocol);
    client.transaction = Some(transaction);
    core.keep();
    core.end_unit(locked);
    core.forget_undo();
}
