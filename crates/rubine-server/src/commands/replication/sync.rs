//! PSYNC and SYNC: a connection becomes that of a replica, which gets what it lacks, or everything.

use rubine_base::clock::monotonic_millis;
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_journal::{HistoryId, NotShared, Reader, ReplicaStart, ReplicationOffset};
use rubine_keyspace::ShardSet;
use rubine_replication::failover;
use rubine_replication::leader::{Channels, Content, Replica, ReplicaId, Request, WhyFull};

use super::host;
use crate::client::ClientFlags;
use crate::client::line::short_line;
use crate::client::replica::{ReplicaFeed, Stage};
use crate::control::{catching_up, full_sync};
use crate::core::{ServerCommand, Session};
use crate::follow;
use crate::mailbox::Message;
use crate::process::logging::log;

const FLAGS: Flags =
    Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI);

pub(super) const PSYNC: ServerCommand = ServerCommand::declare("PSYNC", psync)
    .summary("Makes the connection that of a replica, which goes on from what it has if it can.")
    .since("2.8.0")
    .complexity("O(1)")
    .arity(-3)
    .flag(FLAGS);

pub(super) const SYNC: ServerCommand = ServerCommand::declare("SYNC", sync)
    .summary("Makes the connection that of a replica, which gets everything.")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(1)
    .flag(FLAGS);

fn sync(session: &mut Session<'_>) -> CommandResult {
    if session.client.flags.contains(ClientFlags::REPLICA) {
        return Ok(());
    }
    admit(session)?;
    begin_anew(session, Request::Sync, NotShared::History);
    Ok(())
}

fn psync(session: &mut Session<'_>) -> CommandResult {
    if session.client.flags.contains(ClientFlags::REPLICA) {
        return Ok(());
    }
    if session.args.get(3).is_some_and(|it| it.eq_ignore_ascii_case(b"failover"))
        && !take_over(session)?
    {
        return Ok(());
    }
    admit(session)?;
    let id = session.args.at(1);
    let Ok(offset) = session.args.integer(2) else {
        log::warning!("Replica {} asks for synchronization but with a wrong offset", name(session));
        return Err(CommandError::NotInteger);
    };
    // It names the first byte that it lacks, and counts from one.
    let has = u64::try_from(offset).ok().and_then(|it| it.checked_sub(1)).map(ReplicationOffset);
    let id = if id.starts_with(b"?") {
        None
    } else {
        Some(HistoryId::parse(id).unwrap_or(HistoryId::NONE))
    };
    let Some(id) = id else {
        log::notice!("Full resync requested by replica {}", name(session));
        begin_anew(session, Request::Anew, NotShared::History);
        return Ok(());
    };
    let Some(offset) = has else {
        refuse(session, id, ReplicationOffset(0), NotShared::History);
        return Ok(());
    };
    let server = session.core.server;
    if let Some((dump, log)) = held_stream(session, id, offset) {
        attach(session, dump, log);
        return Ok(());
    }
    let start = ReplicaStart::After { id, offset };
    let hold = full_sync::hold(&server.config.load());
    match server.journal.open_replica_reader(start, hold) {
        Ok(reader) => {
            let bytes = reader.lag_bytes();
            log::notice!(
                "Partial resynchronization request from {} accepted. Sending {bytes} bytes of backlog starting from offset {}.",
                name(session),
                offset.0 + 1
            );
            let (client, now) = (&*session.client, monotonic_millis());
            server.replication.replicas.with(|leader| {
                leader.go_on(client.id, host(&client.info), offset, now);
            });
            go_on(session, Stage::Stream { log: reader });
        }
        Err(refusal @ NotShared::Range(_)) => {
            match catching_up::begin(server, session.core.index, id, offset) {
                Some(stage) => catch_up(session, offset, stage),
                None => refuse(session, id, offset, refusal),
            }
        }
        Err(refusal) => refuse(session, id, offset, refusal),
    }
    Ok(())
}

/// A replica gets what it lacks out of files, and then goes on.
fn catch_up(session: &mut Session<'_>, offset: ReplicationOffset, stage: Stage) {
    log::notice!(
        "Partial resynchronization request from {} accepted. Sending the backlog on disk starting from offset {}.",
        name(session),
        offset.0 + 1
    );
    let (client, now) = (&*session.client, monotonic_millis());
    session.core.server.replication.replicas.with(|leader| {
        leader.go_on(client.id, host(&client.info), offset, now);
    });
    go_on(session, stage);
}

/// The master asks this server, its replica, to take over. Returns false if that is put off.
fn take_over(session: &mut Session<'_>) -> Result<bool, CommandError> {
    let server = session.core.server;
    let id = HistoryId::parse(session.args.at(1));
    log::notice!("Failover request received for replid {}.", session.args.at(1).escape_ascii());
    if !server.replication.following.is_replica() {
        return Err(CommandError::text("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if id != Some(server.journal.point().history.id) {
        return Err(CommandError::text("ERR PSYNC FAILOVER replid must match my replid."));
    }
    let Some(locked) = session.lock(&ShardSet::All) else { return Ok(false) };
    follow::promote(server, &locked);
    drop(locked);
    let user = short_line(session.client, &server.config.load());
    log::notice!("PRIMARY MODE enabled (failover request from '{user}')");
    Ok(true)
}

/// Whether a replica may be served now.
fn admit(session: &Session<'_>) -> CommandResult {
    let server = session.core.server;
    if server.replication.failover.lock().phase() != failover::Phase::None {
        return Err(CommandError::text("NOMASTERLINK Can't SYNC while failing over"));
    }
    let following = &server.replication.following;
    if following.is_replica() && !following.is_in_sync() {
        return Err(CommandError::text(
            "NOMASTERLINK Can't SYNC while not connected with my master",
        ));
    }
    if !session.client.output.is_empty() || session.locked.is_some() {
        return Err(CommandError::text("ERR SYNC and PSYNC are invalid with pending output"));
    }
    let id = session.client.id;
    let lacks_mark = server.replication.replicas.with(|leader| {
        let said = leader.get(id).map(|it| &it.introduction);
        said.is_some_and(|it| it.content != Content::default() && !it.takes_mark)
    });
    if lacks_mark {
        return Err(CommandError::text("ERR Filtered replica requires EOF capability"));
    }
    log::notice!("Replica {} asks for synchronization", name(session));
    Ok(())
}

/// The replica as the log names it.
fn name(session: &Session<'_>) -> String {
    let info = &session.client.info;
    session.core.server.replication.replicas.with(|leader| {
        let now = monotonic_millis();
        leader.introduce(info.id, host(info), now);
        leader.get(info.id).map(Replica::name).unwrap_or_default()
    })
}

/// What is held for a replica whose dump goes over another connection, and that connection.
fn held_stream(
    session: &Session<'_>,
    id: HistoryId,
    offset: ReplicationOffset,
) -> Option<(ReplicaId, Reader)> {
    let server = session.core.server;
    let replicas = &server.replication.replicas;
    let dump = replicas.with(|leader| leader.get(session.client.id)?.introduction.dump)?;
    let is_shared = server.journal.point().history.shares(id, offset);
    let log = replicas.take_held(dump, offset).filter(|_| is_shared)?;
    Some((dump, log))
}

/// A replica gets the stream, beside the dump that it gets over another connection.
fn attach(session: &mut Session<'_>, dump: ReplicaId, log: Reader) {
    log::notice!(
        "Partial resynchronization request from {} accepted. Sending {} bytes of backlog starting from offset {}.",
        name(session),
        log.lag_bytes(),
        log.began().offset.0 + 1
    );
    let (client, now) = (&*session.client, monotonic_millis());
    session.core.server.replication.replicas.with(|leader| {
        leader.attach(client.id, host(&client.info), dump, now);
    });
    go_on(session, Stage::Stream { log });
}

/// A replica, of which that is noted, gets what follows what it has.
fn go_on(session: &mut Session<'_>, stage: Stage) {
    let Session { core, client, .. } = session;
    let server = core.server;
    let now = monotonic_millis();
    let replicas = &server.replication.replicas;
    let takes_new = replicas
        .with(|leader| leader.get(client.id).is_some_and(|it| it.introduction.takes_new_history));
    full_sync::keep_backlog(server);
    replicas.partial_syncs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    full_sync::count_good(server);
    let header = match server.journal.point().history.id {
        id if takes_new => format!("+CONTINUE {id}\r\n"),
        _ => "+CONTINUE\r\n".to_owned(),
    };
    let feed = Box::new(ReplicaFeed::new(stage, now));
    become_replica(session);
    let message =
        Message::FullSync { client: session.client.id, header: header.into_bytes(), feed };
    server.workers[session.core.index].send(message);
}

/// A replica cannot go on from what it has.
fn refuse(session: &mut Session<'_>, id: HistoryId, offset: ReplicationOffset, refusal: NotShared) {
    let server = session.core.server;
    let history = server.journal.point().history;
    let previous = history.previous.map_or(HistoryId::NONE, |it| it.id);
    let first = offset.0 + 1;
    match refusal {
        NotShared::History if history.previous.is_some_and(|it| it.id == id) => log::notice!(
            "Partial resynchronization not accepted: Requested offset for second ID was {first}, but I can reply up to {}",
            history.previous.map_or(0, |it| it.until.0 + 1)
        ),
        NotShared::History => log::notice!(
            "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{id}', my replication IDs \
             are '{}' and '{previous}')",
            history.id
        ),
        NotShared::Range(range) => log::notice!(
            "Unable to partial resync with replica {} for lack of backlog (Replica request was {id}:{first}, and I can only \
             reply with the range [{}, {}]).",
            name(session),
            range.oldest + 1,
            range.end + 1
        ),
    }
    let replicas = &server.replication.replicas;
    replicas.refused_partial_syncs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    begin_anew(session, Request::After { id, offset }, refusal);
}

/// A replica is to make a second connection, which it gets everything over.
fn send_apart(session: &mut Session<'_>, channels: Channels, why: WhyFull) {
    log::notice!(
        "Replica {} is capable of {} synchronization, and partial sync isn't possible. Full sync will continue with \
         dedicated RDB channel.",
        name(session),
        match channels {
            Channels::Dual => "dual channel",
            Channels::Rdb => "rdb channel",
        }
    );
    let server = session.core.server;
    let (client, now) = (&*session.client, monotonic_millis());
    server.replication.replicas.with(|leader| {
        leader.send_apart(client.id, host(&client.info), why, now);
    });
    match channels {
        // It is a client like others until it asks to go on from the dump's place.
        Channels::Dual => session.reply.simple("DUALCHANNELSYNC"),
        Channels::Rdb => {
            let client = session.client.id;
            let header = format!("+RDBCHANNELSYNC {client}\r\n").into_bytes();
            let feed = Box::new(ReplicaFeed::new(Stage::Waiting, now));
            become_replica(session);
            let message = Message::FullSync { client, header, feed };
            server.workers[session.core.index].send(message);
        }
    }
}

/// A replica gets everything.
fn begin_anew(session: &mut Session<'_>, request: Request, refusal: NotShared) {
    let server = session.core.server;
    full_sync::keep_backlog(server);
    let why = WhyFull::of(request, refusal, server.journal.point().history.id);
    let id = session.client.id;
    let (channels, why_apart) = server.replication.replicas.with(|leader| {
        let said = leader.get(id).map(|it| &it.introduction);
        let channels = said.filter(|it| !it.is_for_dump).and_then(|it| it.takes_channels);
        (channels, leader.why_apart(id))
    });
    if let Some(channels) = channels.filter(|_| request != Request::Sync) {
        return send_apart(session, channels, why);
    }
    let why = why_apart.unwrap_or(why);
    let name = name(session);
    let client = &mut *session.client;
    let now = monotonic_millis();
    let replicas = &server.replication.replicas;
    let hold_off = replicas.with(|it| it.begin_anew(client.id, host(&client.info), request, now));
    log::notice!("Full synchronization with replica {name}: {why}");
    if hold_off != 0 {
        log::warning!(
            "Replica {name} has asked for everything again and again: it waits for {hold_off} ms first"
        );
    }
    replicas.note_full(name, why);
    let feed = ReplicaFeed::new(Stage::Waiting, now);
    client.replica = Some(Box::new(feed));
    become_replica(session);
    full_sync::look(server);
}

/// From now on, the connection is that of a replica, and nothing that it says is answered.
fn become_replica(session: &mut Session<'_>) {
    let Session { client, .. } = session;
    client.flags |= ClientFlags::REPLICA;
    client.publish();
}
