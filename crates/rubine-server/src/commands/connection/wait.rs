//! WAIT and WAITAOF: a client waits until others, or the disk, have what it wrote. There is no replica, so whoever asks
//! for one waits until its time is over.

use rubine_base::number::parse_i64;
use rubine_commands::{Acl, CommandError, CommandResult, Flags};

use super::pause::timeout_ms;
use crate::client::suspension::TimeoutReply;
use crate::core::durability::NO_LOG;
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
    let replicas = session.args.integer(1)?;
    let timeout = timeout_ms(session.args.at(2), session.core.now)?;
    let may_wait = session.locked.is_none();
    if replicas <= 0 || !may_wait {
        session.reply.integer(0);
        return Ok(());
    }
    let Session { core, client, .. } = session;
    core.block_without_keys(client, timeout, TimeoutReply::Integer(0));
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
    let replicas = parse_i64(session.args.at(2)).filter(|it| 0 <= *it);
    let replicas = replicas.ok_or(CommandError::NotPositive)?;
    let timeout = timeout_ms(session.args.at(3), session.core.now)?;
    let aof = &session.core.server.aof;
    if local != 0 && !aof.is_enabled() {
        return Err(CommandError::text(NO_LOG));
    }
    let is_synced =
        aof.is_enabled() && session.client.disk.written_offset <= aof.synced().reached();
    let has_all = replicas == 0 && (local == 0 || is_synced);
    let may_wait = session.locked.is_none();
    if has_all || !may_wait {
        session.reply.array(2);
        session.reply.integer(i64::from(is_synced));
        session.reply.integer(0);
        return Ok(());
    }
    let Session { core, client, .. } = session;
    if core.server.aof.is_enabled() {
        core.wait_for_own_writes(client, timeout, replicas);
    } else {
        // Replicas alone are waited for.
        core.block_without_keys(client, timeout, TimeoutReply::Durable { local: 0, replicas });
    }
    Ok(())
}
