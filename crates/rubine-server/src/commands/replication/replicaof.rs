//! REPLICAOF: whom this server follows.

use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_config::ReplicaOf;
use rubine_keyspace::ShardSet;
use rubine_replication::failover;
use rubine_replication::follower::Phase;

use crate::client::line::short_line;
use crate::core::{ServerCommand, Session};
use crate::follow;
use crate::replication::following::shown;

const CHANGING: Flags =
    Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE).union(Flags::WHILE_SYNCING);

pub(super) const REPLICAOF: ServerCommand = ServerCommand::declare("REPLICAOF", replicaof)
    .summary("Has this server follow another, or nobody.")
    .syntax("host port | NO ONE")
    .since("5.0.0")
    .complexity("O(1)")
    .arity(3)
    .flag(CHANGING)
    .each_shard();

pub(super) const SLAVEOF: ServerCommand = ServerCommand::declare("SLAVEOF", replicaof)
    .summary("Has this server follow another, or nobody.")
    .syntax("host port | NO ONE")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(3)
    .flag(CHANGING)
    .each_shard();

fn replicaof(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    let config = server.config.load();
    if config.cluster_enabled {
        return Err(CommandError::text("ERR REPLICAOF not allowed in cluster mode."));
    }
    if server.replication.failover.lock().phase() != failover::Phase::None {
        return Err(CommandError::text("ERR REPLICAOF not allowed while failing over."));
    }
    let (host, port) = (session.args.at(1), session.args.at(2));
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        let promoted = if let Some(locked) = &session.locked {
            follow::promote(server, locked)
        } else {
            let Some(locked) = session.lock(&ShardSet::All) else { return Ok(()) };
            follow::promote(server, &locked)
        };
        if promoted.is_some() {
            let user = short_line(session.client, &config);
            tracing::info!("PRIMARY MODE enabled (user request from '{user}')");
        }
        session.reply.ok();
        return Ok(());
    }
    let port = parse_i64(port).ok_or(CommandError::text("ERR Invalid master port"))?;
    let port = u16::try_from(port).map_err(|_| CommandError::text("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(host).into_owned();
    let is_same = |it: &ReplicaOf| it.host.eq_ignore_ascii_case(&host) && it.port == port;
    let was_refused = server.replication.following.syncs.refusal.lock().is_some();
    if config.replicaof.as_ref().is_some_and(is_same) && !was_refused {
        tracing::info!(
            "REPLICAOF would result into synchronization with the primary we are already connected with. No operation \
             performed."
        );
        session.reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    let followed =
        follow::follow(server, session.core.handlers, ReplicaOf { host: host.clone(), port });
    if let Err(error) = followed {
        tracing::warn!("No master can be followed: no thread can be started: {error}");
        return Err(CommandError::text("ERR no thread can be started"));
    }
    let user = short_line(session.client, &config);
    tracing::info!("REPLICAOF {host}:{port} enabled (user request from '{user}')");
    session.reply.ok();
    Ok(())
}

/// ROLE's reply of a replica.
pub(crate) fn role_of_replica(session: &mut Session<'_>) {
    let server = session.core.server;
    let config = server.config.load();
    let (host, port) = shown(config.replicaof.as_ref());
    let phase = server.replication.following.link.phase();
    let state = match phase {
        Phase::Waiting => "connect",
        Phase::Connecting => "connecting",
        Phase::Handshake => "handshake",
        Phase::Sync => "sync",
        Phase::Connected => "connected",
    };
    let offset = match phase {
        Phase::Connected => server.journal.point().offset.0 as i64,
        _ => -1,
    };
    session.reply.array(5);
    session.reply.bulk(b"slave");
    session.reply.bulk(host.as_bytes());
    session.reply.integer(i64::from(port));
    session.reply.bulk(state.as_bytes());
    session.reply.integer(offset);
}
