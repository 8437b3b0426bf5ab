//! The refusals that stand before every command, in one order: it decides which error a client sees.
//! Changes nothing but the log of what users may not do.

use rubine_acl::Context;
use rubine_commands::{Args, CommandError, Flags, check_lengths};
use rubine_replication::follower::Phase;
use rubine_resp::writer::Protocol;

use super::{Request, busy, delays};
use crate::client::{Client, ClientFlags};
use crate::command_table::{Entry, wrong_form};
use crate::core::Core;
use crate::core::durability::{READ_ONLY, STALE};
use crate::replication::following::shown;

type Gate = fn(Request<'_>) -> Result<(), CommandError>;

/// Every gate, in order.
const GATES: &[Gate] = &[
    authenticated,
    arity,
    fits,
    protected,
    not_in_multi,
    permitted,
    at_home,
    not_redirected,
    has_memory,
    can_be_saved,
    log_is_writable,
    has_replicas,
    not_read_only,
    not_in_subscribe_mode,
    not_stale,
    not_loading,
    busy::not_busy,
];

/// The error that a request is refused with, if any.
#[cold]
pub(super) fn check(request: Request<'_>) -> Result<(), CommandError> {
    GATES.iter().try_for_each(|gate| gate(request))
}

/// Whether nothing is there that any gate looks for, as is the rule: one look in place of one for each of them. `closing`
/// are flags of a client that keep them from being open.
#[inline]
pub(super) fn are_open(
    core: &Core,
    client: &Client,
    entry: &'static Entry,
    args: Args<'_>,
    closing: ClientFlags,
) -> bool {
    entry.spec.takes(args.len())
        && args.are_short()
        && !entry.spec.flags.contains(Flags::PROTECTED)
        && client.transaction.is_none()
        && !core.is_out_of_memory
        && !core.is_script_busy
        && core.settings.good_replicas_min == 0
        && !core.server.aof.has_error()
        && !client.flags.intersects(closing)
        && core.server.persistence.troubles().is_empty()
        && is_taken_by_replica(core, client, entry)
        && core.may(client, entry, args)
        && core.is_at_home(client, entry, args)
}

/// Whether this server is no replica, or one that takes such a command as a rule.
#[inline]
fn is_taken_by_replica(core: &Core, client: &Client, entry: &'static Entry) -> bool {
    let following = &core.server.replication.following;
    !following.is_replica()
        || (!entry.spec.flags.intersects(Flags::WRITE | Flags::RUNS_QUEUE)
            && !client.flags.contains(ClientFlags::CAPA_REDIRECT)
            && core.replica_may_answer())
}

/// No argument is too long for what it becomes.
fn fits(request: Request<'_>) -> Result<(), CommandError> {
    let Request { entry, args, .. } = request;
    if args.are_short() { Ok(()) } else { check_lengths(entry.spec, entry.group, args) }
}

/// The number of arguments is one that the command takes.
fn arity(request: Request<'_>) -> Result<(), CommandError> {
    if request.entry.spec.takes(request.args.len()) {
        return Ok(());
    }
    let Request { core, entry, args, .. } = request;
    // What counts as one has one number.
    let counted = core.server.commands.all()[entry.number];
    if counted.spec.counts_as_one {
        return Err(wrong_form(args, counted.spec.name));
    }
    Err(CommandError::Arity(entry.full_name.clone()))
}

/// The client has told the password, or none is asked for.
fn authenticated(request: Request<'_>) -> Result<(), CommandError> {
    let flags = request.entry.spec.flags;
    if request.client.identity.is_authenticated || flags.contains(Flags::NO_AUTH) {
        return Ok(());
    }
    Err(not_authenticated())
}

pub(super) fn not_authenticated() -> CommandError {
    CommandError::text("NOAUTH Authentication required.")
}

/// A command that could do harm is allowed by the configuration.
fn protected(request: Request<'_>) -> Result<(), CommandError> {
    let flags = request.entry.spec.flags;
    if !flags.contains(Flags::PROTECTED) {
        return Ok(());
    }
    let config = request.core.server.config.load();
    if config.enable_debug_command.allows(request.client.info.is_local) {
        return Ok(());
    }
    Err(CommandError::text(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a \
         local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server.",
    ))
}

/// The command may be queued, if the client is queueing.
fn not_in_multi(request: Request<'_>) -> Result<(), CommandError> {
    let is_barred =
        request.client.transaction.is_some() && request.entry.spec.flags.contains(Flags::NO_MULTI);
    if !is_barred {
        return Ok(());
    }
    let name = &request.entry.full_name;
    let text = format!("ERR Command '{name}' not allowed inside a transaction");
    Err(CommandError::Other(text.into()))
}

/// The client's user may do it.
fn permitted(request: Request<'_>) -> Result<(), CommandError> {
    let Request { core, client, entry, args } = request;
    let user = &client.identity.user;
    user.check(&core.wish(client, entry, args)).map_err(|denial| {
        let context = if client.transaction.is_some() { Context::Multi } else { Context::TopLevel };
        core.note_denial(client, entry, args, denial, context);
        core.no_permission("NOPERM ", denial, client, entry)
    })
}

/// In a cluster, the command's keys belong to this node.
fn at_home(request: Request<'_>) -> Result<(), CommandError> {
    let Request { core, client, entry, args } = request;
    core.look_for_place(client, entry, args).map_or(Ok(()), Err)
}

/// There is room for what the command may add.
fn has_memory(request: Request<'_>) -> Result<(), CommandError> {
    let core = request.core;
    if core.is_out_of_memory && core.settings.maxmemory != 0 {
        return Err(CommandError::text("OOM command not allowed when used memory > 'maxmemory'."));
    }
    Ok(())
}

/// The client is where its command belongs, or cannot be told where that is.
fn not_redirected(request: Request<'_>) -> Result<(), CommandError> {
    let core = request.core;
    if !delays::is_elsewhere(request) || delays::is_handing_over(core) {
        return Ok(());
    }
    let config = core.server.config.load();
    let (host, port) = shown(config.replicaof.as_ref());
    Err(CommandError::Other(format!("REDIRECT {host}:{port}").into()))
}

/// A replica takes no writes but its master's.
fn not_read_only(request: Request<'_>) -> Result<(), CommandError> {
    let refuses = request.core.refuses_writes_of_clients();
    let waits = || delays::is_elsewhere(request) && delays::is_handing_over(request.core);
    if refuses && request.client.runs_any(request.entry, Flags::WRITE) && !waits() {
        return Err(CommandError::text(READ_ONLY));
    }
    Ok(())
}

/// What a replica has is as new as it is asked to be, or the command does not care.
fn not_stale(request: Request<'_>) -> Result<(), CommandError> {
    if request.core.may_answer() || request.client.runs_only(request.entry, Flags::STALE) {
        return Ok(());
    }
    Err(CommandError::text(STALE))
}

/// The client can tell replies from messages: in RESP2, whoever listens may not ask.
fn not_in_subscribe_mode(request: Request<'_>) -> Result<(), CommandError> {
    let Request { client, entry, .. } = request;
    let listens = client.flags.contains(ClientFlags::PUBSUB) && client.protocol == Protocol::Resp2;
    if !listens || entry.spec.flags.contains(Flags::WHILE_SUBSCRIBED) {
        return Ok(());
    }
    let text = format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context",
        entry.full_name
    );
    Err(CommandError::Other(text.into()))
}

/// What the command writes can be kept.
fn log_is_writable(request: Request<'_>) -> Result<(), CommandError> {
    let error = request.core.log_trouble().filter(|_| depends_on_disk(request));
    error.map_or(Ok(()), Err)
}

/// What a command writes can be expected to reach the disk.
fn can_be_saved(request: Request<'_>) -> Result<(), CommandError> {
    let error = request.core.save_trouble().filter(|_| depends_on_disk(request));
    error.map_or(Ok(()), Err)
}

/// Enough replicas get what the command writes.
fn has_replicas(request: Request<'_>) -> Result<(), CommandError> {
    let writes = || request.client.runs_any(request.entry, Flags::WRITE);
    let error = request.core.lack_of_replicas().filter(|_| writes());
    error.map_or(Ok(()), Err)
}

/// The data is complete, or the command does not care.
fn not_loading(request: Request<'_>) -> Result<(), CommandError> {
    if !request.core.server.persistence.is_loading() {
        return Ok(());
    }
    if request.client.runs_only(request.entry, Flags::LOADING) {
        return Ok(());
    }
    // Whoever leaves a master does not wait for what it sends.
    let following = &request.core.server.replication.following;
    if following.link.phase() == Phase::Sync
        && request.client.runs_only(request.entry, Flags::WHILE_SYNCING)
    {
        return Ok(());
    }
    Err(CommandError::text("LOADING Rubine is loading the dataset in memory"))
}

/// Whether a command writes, or asks for somebody who wants to know whether writes are taken.
fn depends_on_disk(request: Request<'_>) -> bool {
    request.entry.spec.flags.contains(Flags::ASKS_FOR_HEALTH)
        || request.client.runs_any(request.entry, Flags::WRITE)
}
