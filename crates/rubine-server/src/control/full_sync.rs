//! What a master does for its replicas by the clock: it pings, cuts who is silent, gives the backlog up, and begins dumps.
//! A dump is made by threads of its own, and taken by the workers whose clients the replicas are.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_base::clock::{monotonic_millis, monotonic_nanos};
use rubine_base::random::{Random, seed_from_os};
use rubine_journal::{HistoryId, Hold, Point, Reader, ReplicaStart};
use rubine_keyspace::ShardSet;
use rubine_rdb::version::Version;
use rubine_replication::failover;
use rubine_replication::leader::{
    Action, Channels, Form, Leader, Reads, Replica, ReplicaId, Terms, Transfer,
};
use rubine_storage::replica_dump::{ReplicaDump, Wanted};
use rubine_storage::{Host as _, Stall};

use crate::client::replica::{ReplicaFeed, Stage};
use crate::client::spool::{MEMORY_BYTES_MAX, Spool, SpoolReader, SpoolWriter};
use crate::mailbox::Message;
use crate::pause;
use crate::process::identity::new_history_id;
use crate::process::logging::log;
use crate::server::Server;
use rubine_config::Config;

/// The first version of Valkey with a format of its own.
const VALKEY_WITH_FORMAT: u32 = 0x09_00_00;

/// What the configuration says about replicas.
fn terms(server: &Server, config: &Config) -> Terms {
    let seconds = |count: u32| u64::from(count) * 1000;
    Terms {
        is_diskless: config.repl_diskless_sync,
        delay_ms: seconds(config.repl_diskless_sync_delay),
        waiting_max: config.repl_diskless_sync_max_replicas as usize,
        timeout_ms: seconds(config.repl_timeout),
        grace_ms: server.replication.replicas.grace_ms.load(Ordering::Relaxed),
        ping_ms: seconds(config.repl_ping_replica_period),
        backlog_ttl_ms: config.repl_backlog_ttl * 1000,
        is_replica: server.replication.following.is_replica(),
        is_quiet: server.replication.failover.lock().phase() != failover::Phase::None,
    }
}

/// Does what is due. To be called some times a second, and when a replica has asked for everything.
pub(crate) fn look(server: &'static Server) {
    let replicas = &server.replication.replicas;
    let config = server.config.load();
    let now = monotonic_millis();
    let actions = replicas.with(|leader| leader.tick(now, &terms(server, &config)));
    count_good(server);
    replicas.measure(&server.journal);
    give_up_overrun(server, &config);
    for action in actions {
        carry_out(server, action);
    }
}

/// Counts the replicas that have been heard of not long ago.
pub(crate) fn count_good(server: &Server) {
    let lag_max = match server.config.load().min_replicas_max_lag {
        0 => u64::MAX,
        seconds => u64::from(seconds),
    };
    server.replication.replicas.count_good(monotonic_millis(), lag_max);
}

fn carry_out(server: &'static Server, action: Action) {
    let tell = |id: ReplicaId, message: Message| {
        if let Some(info) = server.clients.get(id) {
            server.workers[info.worker].send(message);
        }
    };
    match action {
        // A replica that takes over has to come up to where the log ends.
        Action::Ping if server.pause.is_held(pause::Hold::Takeover) => {}
        Action::Ping => {
            let second = (rubine_base::clock::unix_millis() / 1000) as u64;
            server.journal.tell_replicas(&[b"PING"], second);
            server.journal.notify();
        }
        Action::KeepAlive(ids) => {
            ids.into_iter().for_each(|id| tell(id, Message::KeepReplicaAlive { client: id }));
        }
        Action::Cut(id) => {
            let name = server.replication.replicas.with(|it| it.get(id).map(Replica::name));
            log::warning!(
                "Disconnecting timedout replica (streaming sync): {}",
                name.unwrap_or_default()
            );
            server.kill_id(id);
        }
        Action::GiveUp(id) => {
            server.replication.replicas.release(id);
            let seconds = server.replication.replicas.grace_ms.load(Ordering::Relaxed) / 1000;
            log::notice!(
                "Replica main channel failed to establish PSYNC within the grace period ({seconds} seconds). Freeing RDB \
                 client {id}."
            );
        }
        Action::Begin(transfer) => begin(server, transfer),
        Action::ForgetBacklog => forget_backlog(server),
    }
}

/// Of what follows a dump, and nobody has come for yet, no more is kept than for a replica that is behind.
fn give_up_overrun(server: &Server, config: &Config) {
    let Hold::UpTo(bytes_max) = hold(config) else { return };
    for id in server.replication.replicas.overrun(bytes_max) {
        server.replication.replicas.release(id);
        log::warning!(
            "Client id={id} of a dump scheduled to be closed ASAP for overcoming of output buffer limits."
        );
        server.kill_id(id);
    }
}

/// Nobody has come back for the backlog: it goes, and with it the name of the history, of which nothing is kept.
fn forget_backlog(server: &Server) {
    if server.journal.status().backlog_bytes_max == 0 {
        return;
    }
    server.journal.rename_history(new_history_id());
    server.journal.set_backlog(0);
    let seconds = server.config.load().repl_backlog_ttl;
    log::notice!("Replication backlog freed after {seconds} seconds without connected replicas.");
}

/// Sees to it that what changes from now on is kept for replicas.
pub(crate) fn keep_backlog(server: &Server) {
    let status = server.journal.status();
    if status.backlog_bytes_max != 0 {
        return;
    }
    // What came before is not known, unless there was a reason to keep it: nobody may take this history for one that goes on.
    if !server.replication.following.is_replica() && !status.is_active {
        server.journal.rename_history(new_history_id());
    }
    server.journal.set_backlog(backlog_bytes(&server.config.load()));
    let history = server.journal.point().history;
    let previous = history.previous.map_or(HistoryId::NONE, |it| it.id);
    log::notice!(
        "Replication backlog created, my new replication IDs are '{}' and '{previous}'",
        history.id
    );
}

/// How much is kept for replicas.
pub(crate) fn backlog_bytes(config: &Config) -> u64 {
    config.repl_backlog_size.max(1)
}

/// How far a replica may be behind before it is cut.
pub(crate) fn hold(config: &Config) -> Hold {
    match config.client_output_buffer_limit.replica.hard_bytes {
        0 => Hold::Everything,
        bytes => Hold::UpTo(bytes.max(backlog_bytes(config))),
    }
}

/// Makes a dump for these replicas, on a thread of its own.
fn begin(server: &'static Server, transfer: Transfer) {
    let target = match transfer.form {
        Form::Marked => "replicas sockets",
        Form::Counted => "disk",
    };
    let is_apart = |id: &ReplicaId| {
        let replicas = &server.replication.replicas;
        replicas.with(|it| it.get(*id).is_some_and(|it| it.introduction.is_for_dump))
    };
    let using = if transfer.replicas.iter().any(is_apart) { "dual-channel" } else { "normal sync" };
    log::notice!("Starting BGSAVE for SYNC with target: {target} using: {using}");
    let ids = transfer.replicas.clone();
    let run = move || {
        server.pin(server.config.load().bgsave_cpulist.as_deref());
        if let Err(error) = make_dump(server, &transfer) {
            log::warning!("Dump for replicas failed: {error}");
        }
        server.replication.replicas.with(Leader::end_transfer);
        // Others may wait for theirs.
        look(server);
    };
    if let Err(error) = std::thread::Builder::new().name("replica dump".to_owned()).spawn(run) {
        log::warning!("Can't make a dump for replicas: no thread can be started: {error}");
        server.replication.replicas.with(Leader::end_transfer);
        ids.into_iter().for_each(|id| server.kill_id(id));
    }
}

/// One connection that a dump goes over.
struct Receiver {
    id: ReplicaId,
    worker: usize,
    spool: SpoolReader,
    log: Option<Reader>,
    follow_up: FollowUp,
}

/// What becomes of the stream behind a dump.
#[derive(Clone, Copy)]
enum FollowUp {
    /// It follows the dump.
    Behind,
    /// It follows the dump, in the protocol of before PSYNC, which knows no word in front of the dump.
    Unannounced,
    /// It is held until it is asked for on another connection.
    Held,
    /// It begins at once on this other connection.
    Beside(ReplicaId),
    /// It is not wanted.
    None,
}

impl FollowUp {
    fn of(replica: &Replica) -> Self {
        let said = &replica.introduction;
        match (said.is_for_dump, said.main) {
            (true, Some(main)) => Self::Beside(main),
            (true, None) if replica.is_silent => Self::Held,
            _ if replica.is_silent => Self::Unannounced,
            _ if said.wants_dump_only => Self::None,
            _ => Self::Behind,
        }
    }
}

fn make_dump(server: &'static Server, transfer: &Transfer) -> std::io::Result<()> {
    let config = server.config.load();
    let wake = move |worker: usize| server.workers[worker].send(Message::Wake);
    let spool = Spool::new(Box::new(wake), server.aof.keys().is_none(), MEMORY_BYTES_MAX);
    let mut receivers: Vec<Receiver> = Vec::new();
    for &id in &transfer.replicas {
        let follow_up = server.replication.replicas.with(|it| it.get(id).map(FollowUp::of));
        let (Some(info), Some(follow_up)) = (server.clients.get(id), follow_up) else { continue };
        let (worker, log) = (info.worker, None);
        receivers.push(Receiver { id, worker, spool: spool.reader(worker), log, follow_up });
    }
    if receivers.is_empty() {
        return Ok(());
    }
    let (dump, point) = take_image(server, transfer, &mut receivers, hold(&config));
    let dump = Arc::new(dump);
    let abandoned = Arc::clone(&dump);
    spool.when_abandoned(move || abandoned.cancel());
    let mut random = Random::with_seed(seed_from_os());
    let mut bytes = [0; 20];
    random.fill(&mut bytes);
    let mark = HistoryId::from_random(bytes);
    let mut out = SpoolWriter(Arc::clone(&spool));
    if transfer.form == Form::Counted {
        // They are told when the length is known.
        let made = dump.write_aside(server.storage());
        let (len, mut input) = match made {
            Ok(made) => made,
            Err(error) => {
                receivers.into_iter().for_each(|it| server.kill_id(it.id));
                return Err(error);
            }
        };
        hand_out(server, receivers, point);
        write!(out, "${len}\r\n")?;
        let copied = std::io::copy(&mut input, &mut out);
        spool.end(copied.is_ok());
        return copied.map(drop);
    }
    hand_out(server, receivers, point);
    write!(out, "$EOF:{mark}\r\n")?;
    let written = dump.write(out).and_then(|mut out| write!(out, "{mark}"));
    spool.end(written.is_ok());
    written
}

/// The image of a moment, with the logs that go on from it.
fn take_image(
    server: &'static Server,
    transfer: &Transfer,
    receivers: &mut [Receiver],
    hold: Hold,
) -> (ReplicaDump, Point) {
    let mut locked = server.keyspace.lock(&ShardSet::All);
    let start = monotonic_nanos();
    let mut database = None;
    if !transfer.is_dump_only {
        let wants_log = |it: &&mut Receiver| !matches!(it.follow_up, FollowUp::None);
        for receiver in receivers.iter_mut().filter(wants_log) {
            let opened = server.journal.open_replica_reader(ReplicaStart::End, hold);
            let log = opened.expect("the end is always there");
            database = database.or(log.database_at_start());
            receiver.log = Some(log);
        }
    }
    let point = server.journal.point();
    let wanted = Wanted {
        version: version_for(transfer.reads),
        has_data: transfer.content.has_data,
        has_functions: transfer.content.has_functions,
        remarks: vec![
            ("repl-stream-db", database.unwrap_or(0).to_string()),
            ("repl-id", point.history.id.to_string()),
            ("repl-offset", point.offset.0.to_string()),
        ],
    };
    let image = server.storage().image(&mut locked);
    let dump = ReplicaDump::new(server.storage(), image, wanted);
    drop(locked);
    server.note_stall(Stall::Snapshot, monotonic_nanos() - start);
    (dump, point)
}

/// The version of dumps that a replica reads and that says the most; `None`: the newest that the most servers read.
fn version_for(reads: Reads) -> Option<Version> {
    match reads {
        Reads::Newest => None,
        Reads::Valkey(VALKEY_WITH_FORMAT..) => Some(Version::VALKEY_FIELD_DEADLINES),
        Reads::Valkey(_) => Some(Version::COMMON),
        // Redis 7.0, and 5 and 6.
        Reads::Older(1) => Some(Version::Redis(10)),
        Reads::Older(_) => Some(Version::Redis(9)),
    }
}

/// Gives each worker what its replicas are sent.
fn hand_out(server: &Server, receivers: Vec<Receiver>, point: Point) {
    let now = monotonic_millis();
    let replicas = &server.replication.replicas;
    for Receiver { id, worker, spool, log, follow_up } in receivers {
        replicas.with(|it| it.note_sending(id));
        // What is not data, such as a ping, may have come between two of them.
        let Point { history, offset, .. } = log.as_ref().map_or(point, |it| *it.began());
        let mut header = format!("+FULLRESYNC {} {}\r\n", history.id, offset.0);
        let mut behind = None;
        match (follow_up, log) {
            (FollowUp::Held, Some(log)) => {
                let database = log.database_at_start().map_or(-1, i64::from);
                header = format!("$ENDOFF:{} {} {database} {id}\r\n", offset.0, history.id);
                log::notice!("Sending to replica RDB end offset {} and client-id {id}", offset.0);
                replicas.hold(id, log);
            }
            (FollowUp::Beside(main), Some(log)) => begin_beside(server, main, id, log, now),
            (FollowUp::Unannounced, log) => {
                header.clear();
                behind = log;
            }
            (_, log) => behind = log,
        }
        let stage = Stage::Dump { spool, log: behind };
        let feed = Box::new(ReplicaFeed::new(stage, now));
        let header = header.into_bytes();
        server.workers[worker].send(Message::FullSync { client: id, header, feed });
    }
}

/// The stream begins on a replica's first connection, while the dump goes over the second one.
fn begin_beside(server: &Server, main: ReplicaId, dump: ReplicaId, log: Reader, now: u64) {
    let is_awaited = server.replication.replicas.with(|leader| {
        if !leader.is_awaiting_channel(main) {
            return None;
        }
        let host = leader.get(main)?.host.clone();
        leader.begin_beside(main, &host, Channels::Rdb, dump, now);
        leader.get(main).map(Replica::name)
    });
    let (Some(name), Some(info)) = (is_awaited, server.clients.get(main)) else {
        log::warning!(
            "The RDB channel {dump} of a replica is closed: it has no associated main channel"
        );
        return server.kill_id(dump);
    };
    log::notice!("Starting to deliver RDB and replication stream to replica: {name}");
    let feed = Box::new(ReplicaFeed::new(Stage::Stream { log }, now));
    let message = Message::FullSync { client: main, header: Vec::new(), feed };
    server.workers[info.worker].send(message);
}
