//! The thread of the link: does what the machine decides, and hands the stream to whatever runs it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use mio::Poll;
use parking_lot::Mutex;
use rubine_base::clock::{monotonic_millis, unix_millis};
use rubine_config::ReplicaOf;
use rubine_journal::{HistoryId, Origin, ReplicationOffset};
use rubine_keyspace::ShardSet;
use rubine_replication::failover;
use rubine_replication::follower::{Action, Event, Phase, Place, Terms, Way};
use rubine_replication::stream::{StreamReader, Unit};
use rubine_resp::command::{INTO_MEMORY, write_command};
use rubine_resp::parser::ArgRange;

use super::apply::Applier;
use super::wire::Wire;
use crate::client::ClientInfo;
use crate::core::SessionHandler;
use crate::mailbox::Message;
use crate::process::identity::VALKEY_VERSION;
use crate::process::stopping::StopPoint;
use crate::server::Server;

/// How often whoever waits for workers looks whether that is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// How long it does nothing at a time where it is to do nothing.
const NAP: Duration = Duration::from_millis(10);
/// What is received beyond that while clients are paused waits at the master.
const PUT_OFF_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How the command begins that asks for a stream or for everything.
const PSYNC: &[u8] = b"*3\r\n$5\r\nPSYNC";

pub(super) struct Driver {
    pub(super) server: &'static Server,
    pub(super) wire: Arc<Mutex<Wire>>,
    pub(super) applier: Applier,
    pub(super) master: Option<ReplicaOf>,
    /// The stream, while it comes.
    stream: Option<StreamReader>,
    chunk: Vec<u8>,
    /// Something was received and not run, since clients were paused.
    is_put_off: bool,
    /// Under this order, the data has been that of the master.
    pub(super) was_in_sync: bool,
    /// The database that is selected in the stream beside a dump, where the master has said so.
    pub(super) database_beside: Option<u32>,
}

impl Driver {
    pub(super) fn new(
        server: &'static Server,
        handlers: &'static [SessionHandler],
        poll: Poll,
    ) -> std::io::Result<Self> {
        let nowhere = (String::new(), String::new());
        let info = Arc::new(ClientInfo::new(0, 0, nowhere, -1, false, unix_millis()));
        let applier = Applier::new(server, handlers, info)?;
        let wire = Arc::new(Mutex::new(Wire::new(server, poll)));
        let (master, stream, chunk, database_beside) = Default::default();
        Ok(Self {
            server,
            wire,
            applier,
            master,
            stream,
            chunk,
            is_put_off: false,
            was_in_sync: false,
            database_beside,
        })
    }

    pub(super) fn run(mut self) {
        while !self.server.shutdown.is_under_way.load(Ordering::Acquire) {
            if self.server.replication.following.sleeps(monotonic_millis()) {
                thread::sleep(NAP);
                continue;
            }
            self.obey();
            if self.master.is_some() {
                self.step();
            }
            self.wire.lock().wait(self.master.is_none());
        }
    }

    /// Looks whether another master, or none, is to be followed.
    fn obey(&mut self) {
        let following = &self.server.replication.following;
        let mut wire = self.wire.lock();
        if following.order() == wire.order {
            return;
        }
        wire.close();
        let config = &self.server.config;
        (wire.order, self.master) = following
            .order_with(|is_replica| config.load().replicaof.clone().filter(|_| is_replica));
        self.applier.obey(wire.order);
        wire.machine =
            rubine_replication::follower::Follower::new(rubine_base::clock::monotonic_millis());
        drop(wire);
        self.end_stream();
        self.was_in_sync = false;
        *following.syncs.refusal.lock() = None;
        following.link.down_since.store(unix_millis(), Ordering::Relaxed);
        following.link.was_up.store(false, Ordering::Relaxed);
        self.note_phase();
        if let Some(ReplicaOf { host, port }) = &self.master {
            tracing::info!("Connecting to PRIMARY {host}:{port}");
            // Nothing of a server that may not take over is applied.
            if !self.server.hands_over() {
                self.end_waits();
            }
        }
    }

    /// Clients that wait for keys end before anything of the master's is applied: they are not to take what it adds.
    fn end_waits(&self) {
        let (sender, answers) = channel();
        for worker in self.server.workers.iter() {
            worker.send(Message::BecameReplica { sender: sender.clone() });
        }
        drop(sender);
        let mut missing = self.server.workers.len();
        while 0 < missing && !self.wire.lock().is_outdated() {
            match answers.recv_timeout(LOOK) {
                Ok(()) => missing -= 1,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// What is due now, and what has come.
    fn step(&mut self) {
        {
            let mut wire = self.wire.lock();
            let timeout = u64::from(self.server.config.load().repl_timeout) * 1000;
            wire.machine.set_timeout(timeout);
        }
        let actions = self.wire.lock().handle(Event::Tick);
        self.perform(actions);
        if self.stream.is_some() && self.applier.is_killed() {
            self.event(Event::Lost("it was killed"));
        }
        let opened = self.wire.lock().open();
        match opened {
            Ok(true) => {
                tracing::info!("PRIMARY <-> REPLICA sync started");
                let terms = Box::new(self.terms());
                self.event(Event::Connected(terms));
            }
            Ok(false) => {}
            Err(error) => self.event(Event::Lost(&error.to_string())),
        }
        self.step_channel();
        let flushed = self.wire.lock().flush();
        if let Err(error) = flushed {
            return self.event(Event::Lost(&error.to_string()));
        }
        self.send_answers();
        if !self.look_at_pause() {
            // It has said enough for now, and is not to be taken for gone.
            self.wire.lock().handle(Event::Heard);
            thread::sleep(LOOK);
            return;
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        let received = self.wire.lock().receive(&mut chunk);
        match received {
            Ok(true) => self.take(&chunk),
            Ok(false) => {}
            Err(error) => self.event(Event::Lost(&shown_loss(&error))),
        }
        self.chunk = chunk;
        self.note_phase();
    }

    /// The same for the second connection, up to where a dump begins to come over it.
    fn step_channel(&mut self) {
        let opened = self.wire.lock().open_channel();
        match opened {
            Ok(true) => self.event(Event::ChannelConnected),
            Ok(false) => {}
            Err(error) => return self.event(Event::ChannelLost(&error.to_string())),
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        let received = self.wire.lock().receive_on_channel(&mut chunk);
        match received {
            Ok(true) => self.event(Event::ChannelReceived(&chunk)),
            Ok(false) => {}
            Err(error) => self.event(Event::ChannelLost(&shown_loss(&error))),
        }
        self.chunk = chunk;
    }

    /// Runs what was put off for a pause that is over. Returns whether more can be received.
    fn look_at_pause(&mut self) -> bool {
        if !self.is_put_off {
            return true;
        }
        if self.is_paused() {
            let pending = self.stream.as_ref().map_or(0, StreamReader::pending_bytes);
            return pending < PUT_OFF_BYTES_MAX;
        }
        self.is_put_off = false;
        self.apply(&[]);
        true
    }

    /// Whether clients are paused, or those that write: the master is one.
    fn is_paused(&self) -> bool {
        self.server.pause.in_force(monotonic_millis() as i64).is_some()
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.stream.is_some() {
            self.wire.lock().handle(Event::Heard);
            self.apply(bytes);
        } else {
            self.event(Event::Received(bytes));
        }
    }

    pub(super) fn event(&mut self, event: Event<'_>) {
        let actions = self.wire.lock().handle(event);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.note_phase();
            match action {
                Action::Tell { is_warning: true, text } => tracing::warn!("{text}"),
                Action::Tell { text, .. } => tracing::info!("{text}"),
                Action::Connect => {
                    let Some(master) = &self.master else { return };
                    let connected = self.wire.lock().connect(master);
                    if let Err(error) = connected {
                        self.event(Event::Lost(&error.to_string()));
                    }
                }
                Action::ConnectChannel => {
                    let Some(master) = &self.master else { return };
                    let connected = self.wire.lock().connect_channel(master);
                    if let Err(error) = connected {
                        self.event(Event::ChannelLost(&error.to_string()));
                    }
                }
                Action::SendOnChannel(bytes) => {
                    if bytes.starts_with(PSYNC) {
                        self.server.process.stopping.at(StopPoint::BeforeDump);
                    }
                    let sent = self.wire.lock().send_on_channel(&bytes);
                    if let Err(error) = sent {
                        self.event(Event::ChannelLost(&error.to_string()));
                    }
                }
                Action::Close => {
                    self.wire.lock().close();
                    self.end_stream();
                }
                Action::Send(bytes) => {
                    if bytes.starts_with(PSYNC) && self.wire.lock().has_channel() {
                        self.server.process.stopping.at(StopPoint::BeforeStream);
                    }
                    self.send(&bytes);
                }
                Action::HandedOver { is_taken } => {
                    if !self.note_handed_over(is_taken) {
                        return;
                    }
                }
                Action::Acknowledge => self.acknowledge(),
                Action::Continue { id, rest } => self.go_on(id, &rest),
                Action::Load { sync, form, rest, beside } => self.sync(&sync, form, rest, beside),
            }
        }
    }

    /// Sends the master what else it is to know, as long as it takes that.
    fn send_answers(&mut self) {
        while self.stream.is_some() && self.wire.lock().is_flushed() {
            let Some(message) = self.server.replication.outbox.take() else { return };
            self.send(&message);
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let sent = self.wire.lock().send(bytes);
        if let Err(error) = sent {
            self.event(Event::Lost(&error.to_string()));
        }
    }

    /// What this server says of itself.
    fn terms(&self) -> Terms {
        let config = self.server.config.load();
        let speaks_tls = config.tls_replication && config.tls_port != 0;
        let own_port = if speaks_tls { config.tls_port } else { config.port };
        let port = match config.replica_announce_port {
            0 => own_port,
            port => port,
        };
        let point = self.server.journal.point();
        let is_known = point.is_complete && point.history.id != HistoryId::NONE;
        let place = Place { id: point.history.id, offset: point.offset };
        Terms {
            user: config.primaryuser.clone().filter(|it| !it.is_empty()),
            password: config.primaryauth.clone().filter(|it| !it.is_empty()),
            port,
            ip: config.replica_announce_ip.clone().filter(|it| !it.is_empty()),
            version: VALKEY_VERSION,
            node_id: self.server.cluster.as_ref().map(|it| it.view().myself().id.to_string()),
            place: if is_known {
                Ok(place)
            } else {
                Err("nothing that this server has is of a history that a master could know")
            },
            hands_over: self.server.replication.failover.lock().phase()
                == failover::Phase::InProgress,
            takes_dual_channel: config.dual_channel_replication_enabled,
            takes_rdb_channel: config.repl_rdb_channel,
        }
    }

    /// The server that was to take over has answered. Returns whether it is followed.
    fn note_handed_over(&self, is_taken: bool) -> bool {
        if is_taken {
            if self.server.replication.failover.lock().note_taken_over() {
                self.end_waits();
                self.server.end_failover();
            }
            return true;
        }
        let reason = "Failover target rejected psync request";
        let action = self.server.replication.failover.lock().abort(reason);
        if let Some(failover::Action::Abort { target, reason }) = action {
            tracing::info!("{}", failover::tell_aborted(target.as_ref(), reason));
            let locked = self.server.keyspace.lock(&ShardSet::All);
            if !self.wire.lock().is_outdated() {
                super::promote(self.server, &locked);
            }
            drop(locked);
            self.server.end_failover();
        }
        false
    }

    /// How far the link is, for those who ask.
    fn note_phase(&self) {
        let following = &self.server.replication.following;
        let phase =
            if self.master.is_some() { self.wire.lock().machine.phase() } else { Phase::Waiting };
        following.link.set_phase(phase, unix_millis());
    }

    /// Goes on with the stream where it was left.
    fn go_on(&mut self, id: Option<HistoryId>, rest: &[u8]) {
        let following = &self.server.replication.following;
        let (offset, database) = {
            let journal = &self.server.journal;
            let locked = self.server.keyspace.lock(&ShardSet::All);
            if self.wire.lock().is_outdated() {
                return;
            }
            let point = journal.point();
            let new = id.unwrap_or(point.history.id);
            if new == point.history.id {
                journal.follow_history();
            } else {
                tracing::info!("Primary replication ID changed to {new}");
                journal.begin_history(new, Origin::Master);
                self.server.cut_replicas();
            }
            drop(locked);
            (point.offset, point.database)
        };
        if let Some(database) = database {
            self.applier.select(database as usize);
        }
        following.syncs.partial_count.fetch_add(1, Ordering::Relaxed);
        self.begin_stream(offset);
        self.apply(rest);
    }

    fn end_stream(&mut self) {
        self.is_put_off = false;
        if self.stream.take().is_some() {
            self.applier.leave();
        }
    }

    pub(super) fn begin_stream(&mut self, offset: ReplicationOffset) {
        let journal = &self.server.journal;
        if journal.status().backlog_bytes_max == 0 {
            // Its own replicas, and those of it as a master to be, go on from there.
            journal.set_backlog(self.server.config.load().repl_backlog_size);
        }
        if let Some(info) = self.wire.lock().as_client() {
            self.applier.take_on(Arc::new(info));
        }
        self.stream = Some(StreamReader::new(offset));
        self.was_in_sync = true;
        *self.server.replication.following.syncs.refusal.lock() = None;
        self.note_phase();
    }

    /// Runs what is complete of the stream.
    pub(super) fn apply(&mut self, bytes: &[u8]) {
        let Some(mut stream) = self.stream.take() else { return };
        if self.applier.is_killed() {
            self.stream = Some(stream);
            return self.event(Event::Lost("it was killed"));
        }
        stream.receive(bytes);
        let following = &self.server.replication.following;
        let link = &following.link;
        link.received.store(stream.received().0, Ordering::Relaxed);
        if self.is_paused() {
            self.is_put_off = true;
            self.stream = Some(stream);
            return;
        }
        let mut asked_at = None;
        let outcome = {
            self.applier.begin(bytes.len());
            let mut outcome = Ok(());
            while outcome.is_ok() {
                if stream.cut_ahead() {
                    self.applier.prefetch(stream.keys_ahead());
                }
                match stream.next_unit() {
                    Ok(None) => break,
                    Ok(Some(unit)) => {
                        if asks_how_far(&unit) {
                            asked_at = Some(unit.start);
                        }
                        match self.applier.apply(&unit) {
                            Ok(true) => {}
                            // It is another's turn, and this stream is over.
                            Ok(false) => {
                                self.applier.leave();
                                return self.applier.end();
                            }
                            Err(reason) => outcome = Err(reason),
                        }
                    }
                    Err(error) => outcome = Err(error.to_string()),
                }
            }
            self.applier.end();
            outcome
        };
        if self.wire.lock().is_drained() {
            link.note_caught_up(unix_millis());
        }
        self.stream = Some(stream);
        if let Some(offset) = asked_at {
            self.acknowledge_at(offset);
        }
        if let Err(reason) = outcome {
            self.event(Event::Broken(&reason));
        }
    }

    /// Runs what came of the stream while the dump was loaded. Returns why the connection has ended meanwhile, if it has.
    pub(super) fn apply_held(&mut self, way: Way) -> Option<String> {
        let (mut total, words) = (0, MessagesOfHeld::of(way));
        tracing::info!("{}", words.begin);
        while self.stream.is_some() {
            let Some(piece) = self.wire.lock().take_held() else { break };
            total += piece.len();
            self.apply(&piece);
            self.server.process.stopping.at(StopPoint::StreamingHeld);
            // A link that has gone is found out afterwards.
            let _ = self.wire.lock().keep_alive();
        }
        let is_whole = self.stream.is_some();
        let loss = self.wire.lock().end_beside();
        if is_whole {
            tracing::info!("{} ({total} bytes in total)", words.done);
        } else {
            tracing::warn!("{}", words.cut);
        }
        loss
    }

    fn acknowledge(&mut self) {
        let offset = self.server.journal.point().offset;
        self.acknowledge_at(offset);
    }

    fn acknowledge_at(&mut self, offset: ReplicationOffset) {
        let (mut digits, mut disk_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", digits.format(offset.0).as_bytes()];
        if let Some(on_disk) = self.on_disk() {
            words.extend([b"FACK", disk_digits.format(on_disk.0).as_bytes()]);
        }
        let mut bytes = Vec::new();
        write_command(&words, &mut bytes).expect(INTO_MEMORY);
        self.send(&bytes);
    }

    /// Up to where the master's stream is on disk here, if there is a log. Without its base, nothing of it could be loaded.
    fn on_disk(&self) -> Option<ReplicationOffset> {
        let aof = &self.server.aof;
        if !aof.is_enabled() || aof.waits_for_base() {
            return None;
        }
        self.server.journal.offset_at(aof.synced().reached())
    }
}

/// What the log says while what came beside a dump is run, as both families put it.
struct MessagesOfHeld {
    begin: &'static str,
    done: &'static str,
    cut: &'static str,
}

impl MessagesOfHeld {
    fn of(way: Way) -> Self {
        match way {
            Way::Dual => Self {
                begin: "Dual channel replication: Streaming the local replication buffer into memory",
                done: "Dual channel replication: Successfully streamed replication data into memory",
                cut: "Dual channel replication: Failed to stream local replication buffer into memory",
            },
            Way::Rdb { .. } => Self {
                begin: "PRIMARY <-> REPLICA sync: Starting to stream replication buffer into the db",
                done: "PRIMARY <-> REPLICA sync: Successfully streamed replication buffer into the db",
                cut: "Master client was freed while streaming accumulated replication data to db.",
            },
        }
    }
}

/// Whether a unit asks how far this replica is.
fn asks_how_far(unit: &Unit<'_>) -> bool {
    let mut commands = unit.commands();
    let Some(args) = commands.next().filter(|_| !unit.is_transaction) else { return false };
    let is = |arg: &ArgRange, word: &[u8]| arg.of(unit.bytes).eq_ignore_ascii_case(word);
    matches!(args, [name, form, ..] if is(name, b"REPLCONF") && is(form, b"GETACK"))
}

fn shown_loss(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        "it was closed by the other side".to_owned()
    } else {
        error.to_string()
    }
}
