//! WAIT and WAITAOF: a client waits until replicas, or disks, have what it wrote.

use rubine_base::number::parse_i64;
use rubine_commands::{Acl, CommandError, CommandResult, Flags};

use super::pause::timeout_ms;
use crate::core::replicated::{NO_LOG, WantedDisks};
use crate::core::{ServerCommand, Session};

pub(crate) const COMMANDS: &[ServerCommand] = &[WAIT, WAITAOF];

const WAIT: ServerCommand = ServerCommand::declare("WAIT", wait)
    .summary("Waits until a number of replicas have all that this connection wrote.")
    .syntax("numreplicas timeout")
    .since("3.0.0")
    .complexity("O(1)")
    .tips("request_policy:all_shards response_policy:agg_min")
    .arity(3)
    .flag(Flags::BLOCKING)
    .also(Acl::CONNECTION)
    .except(Acl::KEYSPACE);

fn wait(session: &mut Session<'_>) -> CommandResult {
    if session.core.server.replication.following.is_replica() {
        return Err(CommandError::text(
            "ERR WAIT cannot be used with replica instances. Please also note that if a replica is configured to be \
             writable (which is not the default) writes to replicas are just local and are not propagated.",
        ));
    }
    let wanted = session.args.integer(1)?;
    let timeout = timeout_ms(session.args.at(2), session.core.now)?;
    let may_wait = session.locked.is_none();
    let count = session.core.replicas_with_writes_of(session.client);
    if wanted <= count as i64 || !may_wait {
        session.reply.integer(count as i64);
        return Ok(());
    }
    let Session { core, client, .. } = session;
    core.wait_for_replicas(client, wanted as usize, timeout);
    Ok(())
}

const WAITAOF: ServerCommand = ServerCommand::declare("WAITAOF", waitaof)
    .summary("Waits until what this connection wrote is in the log files here and at replicas.")
    .syntax("numlocal numreplicas timeout")
    .since("7.2.0")
    .complexity("O(1)")
    .tips("request_policy:all_shards response_policy:agg_min")
    .arity(4)
    .flag(Flags::BLOCKING)
    .also(Acl::CONNECTION)
    .except(Acl::KEYSPACE);

fn waitaof(session: &mut Session<'_>) -> CommandResult {
    let local = session.args.integer(1)?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = parse_i64(session.args.at(2)).and_then(|it| usize::try_from(it).ok());
    let replicas = replicas.ok_or(CommandError::NotPositive)?;
    let timeout = timeout_ms(session.args.at(3), session.core.now)?;
    let Session { core, client, .. } = session;
    if core.server.replication.following.is_replica() {
        return Err(CommandError::text(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    if local != 0 && !core.server.aof.is_enabled() {
        return Err(CommandError::text(NO_LOG));
    }
    let is_synced = core.is_on_disk(client.disk.written_offset);
    let count = core.replica_disks_with_writes_of(client);
    let has_all = replicas <= count && (local == 0 || is_synced);
    let may_wait = session.locked.is_none();
    if has_all || !may_wait {
        session.reply.array(2);
        session.reply.integer(i64::from(is_synced));
        session.reply.integer(count as i64);
        return Ok(());
    }
    core.wait_for_disks(client, WantedDisks { wants_local: local != 0, replicas }, timeout);
    Ok(())
}
