//! Handing the master's part over to a replica: FAILOVER. Writes wait from its beginning to its end, whatever that is.

use rubine_base::clock::{monotonic_millis, unix_millis};
use rubine_config::ReplicaOf;
use rubine_keyspace::{Locked, ShardSet};
use rubine_replication::failover::{
    Action, Address, Candidate, Phase, Refusal, Wish, tell_aborted,
};
use rubine_replication::leader::State;

use crate::core::SessionHandler;
use crate::follow;
use crate::pause::Hold;
use crate::process::logging::log;
use crate::server::Server;

/// Begins, if it can.
pub(crate) fn begin(server: &Server, wish: Wish) -> Result<(), Refusal> {
    let is_replica = server.replication.following.is_replica();
    let candidates = candidates(server);
    let mut failover = server.replication.failover.lock();
    failover.begin(wish, is_replica, &candidates, monotonic_millis())?;
    let whom = failover.target().map(|it| format!("{}:{}", it.host, it.port));
    log::notice!("FAILOVER requested to {}.", whom.as_deref().unwrap_or("any replica"));
    server.pause.hold(Hold::Failover, true);
    // Replicas say where they are once a second otherwise.
    let second = (unix_millis() / 1000) as u64;
    server.journal.tell_replicas(&[b"REPLCONF", b"GETACK", b"*"], second);
    Ok(())
}

/// Gives it up. Returns false if there is none. All shards are locked, since this server may be a replica already.
pub(crate) fn abort(server: &'static Server, reason: &'static str, locked: &Locked<'_>) -> bool {
    let mut failover = server.replication.failover.lock();
    let has_begun_to_follow = failover.phase() == Phase::InProgress;
    let Some(Action::Abort { target, reason }) = failover.abort(reason) else { return false };
    drop(failover);
    log::notice!("{}", tell_aborted(target.as_ref(), reason));
    if has_begun_to_follow {
        follow::promote(server, locked);
    }
    server.end_failover();
    true
}

/// Looks how far it is. To be called some times a second.
pub(crate) fn look(server: &'static Server, handlers: &'static [SessionHandler]) {
    if server.replication.failover.lock().phase() != Phase::WaitingForSync {
        return;
    }
    let candidates = candidates(server);
    let end = server.journal.point().offset;
    let action = server.replication.failover.lock().tick(&candidates, end, monotonic_millis());
    match action {
        Some(Action::Follow { target: Address { host, port }, has_everything }) => {
            if has_everything {
                log::notice!("Failover target {host}:{port} is synced, failing over.");
            } else {
                log::notice!("FAILOVER to {host}:{port} time out exceeded, failing over.");
            }
            if let Err(error) = follow::follow(server, handlers, ReplicaOf { host, port }) {
                log::warning!("Nobody can be followed: no thread can be started: {error}");
                abort(server, "No thread can be started", &server.keyspace.lock(&ShardSet::All));
            }
        }
        Some(Action::Abort { target, reason }) => {
            log::notice!("{}", tell_aborted(target.as_ref(), reason));
            server.end_failover();
        }
        None => {}
    }
}

fn candidates(server: &Server) -> Vec<Candidate> {
    server.replication.replicas.with(|leader| {
        let candidate = |replica: &rubine_replication::leader::Replica| Candidate {
            address: Address { host: replica.host().to_owned(), port: replica.introduction.port },
            is_online: replica.state == State::Online,
            has: replica.acknowledged,
        };
        leader.replicas().map(|(_, it)| candidate(it)).collect()
    })
}
