//! Commands about the running process: when it is, what part it plays, its end.

use rubine_commands::{Acl, CommandError, CommandResult, Flags};

use crate::commands::replication::replicaof::role_of_replica;
use crate::core::{ServerCommand, Session};
use crate::server::Asker;
use rubine_config::ShutdownOptions;
use rubine_replication::leader::Replica;

pub(super) const TIME: ServerCommand = ServerCommand::declare("TIME", time)
    .summary("Returns the server's clock: seconds and microseconds.")
    .since("2.6.0")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(1)
    .flag(Flags::LOADING.union(Flags::STALE).union(Flags::FAST));

fn time(session: &mut Session<'_>) -> CommandResult {
    const MICROS_PER_SECOND: i64 = 1_000_000;
    let micros = session.core.unix_micros(session.locked.is_some());
    session.reply.array(2);
    session.reply.bulk_integer(micros / MICROS_PER_SECOND);
    session.reply.bulk_integer(micros % MICROS_PER_SECOND);
    Ok(())
}

pub(super) const ROLE: ServerCommand = ServerCommand::declare("ROLE", role)
    .summary("Returns the part that the server plays in replication.")
    .since("2.8.12")
    .complexity("O(1)")
    .arity(1)
    .flag(
        Flags::NOSCRIPT
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::FAST)
            .union(Flags::SENTINEL),
    )
    .also(Acl::ADMIN.union(Acl::DANGEROUS));

fn role(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    if server.replication.following.is_replica() {
        role_of_replica(session);
        return Ok(());
    }
    let replicas: Vec<Replica> = server.replication.replicas.with(|leader| {
        let online = leader.replicas().filter(|(_, it)| it.state.name() == Some("online"));
        online.map(|(_, replica)| replica.clone()).collect()
    });
    session.reply.array(3);
    session.reply.bulk(b"master");
    session.reply.integer(server.journal.point().offset.0 as i64);
    session.reply.array(replicas.len());
    for replica in replicas {
        session.reply.array(3);
        session.reply.bulk(replica.host().as_bytes());
        session.reply.bulk_integer(i64::from(replica.introduction.port));
        session.reply.bulk_integer(replica.acknowledged.0 as i64);
    }
    Ok(())
}

pub(super) const SHUTDOWN: ServerCommand = ServerCommand::declare("SHUTDOWN", shutdown)
    .summary("Ends the server.")
    .syntax("[[NOSAVE | SAVE] [NOW] [FORCE] [SAFE] [FAILOVER] | ABORT]")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(-1)
    .flag(
        Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::NO_MULTI)
            .union(Flags::SENTINEL)
            .union(Flags::ALLOW_BUSY),
    );

fn shutdown(session: &mut Session<'_>) -> CommandResult {
    let (mut options, mut aborts) = (ShutdownOptions::empty(), false);
    for option in session.args.from(1) {
        options |= match option.to_ascii_lowercase().as_slice() {
            b"nosave" => ShutdownOptions::NOSAVE,
            b"save" => ShutdownOptions::SAVE,
            b"now" => ShutdownOptions::NOW,
            b"force" => ShutdownOptions::FORCE,
            b"safe" => ShutdownOptions::SAFE,
            b"failover" => ShutdownOptions::FAILOVER,
            b"abort" => {
                aborts = true;
                ShutdownOptions::empty()
            }
            _ => return Err(CommandError::Syntax),
        };
    }
    let contradicts = options.contains(ShutdownOptions::SAVE | ShutdownOptions::NOSAVE);
    if (aborts && !options.is_empty()) || contradicts {
        return Err(CommandError::Syntax);
    }
    if options.contains(ShutdownOptions::FAILOVER) && session.core.server.cluster.is_none() {
        return Err(CommandError::text("ERR SHUTDOWN FAILOVER is only supported in cluster mode."));
    }
    let server = session.core.server;
    if aborts {
        if !server.shutdown.abort(|| server.persistence.saves.cancel_any()) {
            return Err(CommandError::text("ERR No shutdown in progress."));
        }
        session.reply.ok();
        return Ok(());
    }
    let client = &session.client.info;
    let (id, address) = (client.id, &client.address);
    tracing::warn!("User requested shutdown... (user request from 'id={id} addr={address}')");
    // It is answered only if the server does not end; what it sent behind this waits as long.
    let asker = Asker {
        worker: session.core.index,
        client: session.client.id,
        protocol: session.client.protocol,
    };
    session.core.block_until_answered(session.client);
    crate::control::shutdown::begin(server, options, Some(asker));
    Ok(())
}
