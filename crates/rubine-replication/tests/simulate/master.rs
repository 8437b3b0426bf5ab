//! What a server does for its replicas: answers them, makes dumps, feeds them; and hands its part over to one of them.

use rubine_journal::{HistoryId, Hold, NotShared, Point, Reader, ReplicaStart, ReplicationOffset};
use rubine_replication::failover::{self, Address, Candidate, Wish};
use rubine_replication::leader::{
    Action, Channels, Form, Introduction, Replica, Request, State, Terms, Transfer, WhyFull,
};
use rubine_replication::stream::StreamReader;

use crate::link::TIMEOUT_MS;
use crate::server::{ConnectionId, Fact, HOST, Out, Port, Server};

const PING_MS: u64 = 2000;
/// So much may be on its way to a replica at a time.
const WINDOW_BYTES: usize = 16 * 1024;

/// A connection that came.
pub(crate) struct Feed {
    words: StreamReader,
    is_replica: bool,
    stage: Stage,
    /// Bytes that have left and not arrived.
    pub(crate) in_flight: usize,
    /// Whoever feeds it has something else to do until then.
    rests_until: u64,
}

enum Stage {
    Waiting,
    Dump {
        rest: Vec<u8>,
        log: Option<Reader>,
    },
    /// All of the dump has left.
    Sent {
        log: Option<Reader>,
    },
    Stream {
        log: Reader,
    },
}

/// A dump whose length is not known yet.
pub(crate) struct DumpInMaking {
    ready_at: u64,
    receivers: Vec<(ConnectionId, Reader)>,
    bytes: Vec<u8>,
}

impl Server {
    pub(crate) fn accept(&mut self, connection: ConnectionId) {
        let words = StreamReader::new(ReplicationOffset(0));
        let feed =
            Feed { words, is_replica: false, stage: Stage::Waiting, in_flight: 0, rests_until: 0 };
        self.feeds.insert(connection, feed);
    }

    /// A connection that came is gone.
    pub(crate) fn leave(&mut self, connection: ConnectionId) {
        self.feeds.remove(&connection);
        let other = self.leader.leave(connection);
        if !self.leader.is_held(connection) {
            self.held.remove(&connection);
        }
        self.acknowledged.forget(connection);
        if let Some(other) = other {
            self.cut(other);
        }
    }

    fn cut(&mut self, connection: ConnectionId) {
        self.leave(connection);
        self.out.push(Out::Close(connection));
    }

    /// Closes the links of all replicas.
    pub(crate) fn cut_replicas(&mut self) {
        let ids: Vec<_> = self.leader.replicas().map(|it| it.0).collect();
        for id in ids {
            self.leader.release(id);
            self.held.remove(&id);
            self.cut(id);
        }
    }

    // What replicas say.

    pub(crate) fn hear(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let mut commands: Vec<Vec<Vec<u8>>> = Vec::new();
        let Some(feed) = self.feeds.get_mut(&connection) else { return };
        feed.words.receive(bytes);
        self.leader.hear(connection, self.now);
        loop {
            match feed.words.next_unit() {
                Ok(None) => break,
                Ok(Some(unit)) => {
                    let args = unit.commands().next().expect("a unit has commands");
                    commands.push(args.iter().map(|it| it.of(unit.bytes).to_vec()).collect());
                }
                Err(error) => {
                    self.out.push(Out::Fault(format!("a replica speaks nonsense: {error}")));
                    return;
                }
            }
        }
        for command in commands {
            self.execute(connection, &command);
        }
    }

    fn execute(&mut self, connection: ConnectionId, command: &[Vec<u8>]) {
        let is_replica = self.feeds.get(&connection).is_some_and(|it| it.is_replica);
        let reply = match command[0].as_slice() {
            b"PING" => "+PONG\r\n".to_owned(),
            b"REPLCONF" if command[1] == b"ACK" => {
                return self.hear_acknowledged(connection, command);
            }
            b"REPLCONF" if !self.knows_other(&command[1..]) => {
                "-ERR Unrecognized RDB client id\r\n".to_owned()
            }
            b"REPLCONF" => {
                let own = self.setup.channels.filter(|_| self.setup.is_diskless);
                let said = self.leader.introduce(connection, HOST, self.now);
                for option in command[1..].chunks(2) {
                    note(said, own, &option[0], &option[1]);
                }
                "+OK\r\n".to_owned()
            }
            b"PSYNC" | b"SYNC" if is_replica => return,
            b"SYNC" => return self.begin_anew(connection, Request::Sync, NotShared::History),
            b"PSYNC" => match self.psync(connection, command) {
                Ok(()) => return,
                Err(text) => format!("-{text}\r\n"),
            },
            other => return self.out.push(Out::Fault(format!("{} is new", other.escape_ascii()))),
        };
        self.send(connection, reply.into_bytes());
    }

    /// Whether the other connection that is named, if one is, waits for this one.
    fn knows_other(&self, options: &[Vec<u8>]) -> bool {
        options.chunks(2).all(|option| {
            let other = std::str::from_utf8(&option[1]).ok().and_then(|it| it.parse().ok());
            match option[0].as_slice() {
                b"set-rdb-client-id" => other.is_some_and(|it| self.leader.is_held(it)),
                b"main-ch-client-id" => other.is_some_and(|it| self.leader.is_awaiting_channel(it)),
                _ => true,
            }
        })
    }

    fn send(&mut self, connection: ConnectionId, bytes: Vec<u8>) {
        let Some(feed) = self.feeds.get_mut(&connection) else { return };
        feed.in_flight += bytes.len();
        self.out.push(Out::Send(connection, bytes));
    }

    fn hear_acknowledged(&mut self, connection: ConnectionId, command: &[Vec<u8>]) {
        let number = |at: usize| {
            let text = command.get(at).and_then(|it| std::str::from_utf8(it).ok());
            text.and_then(|it| it.parse().ok()).map(ReplicationOffset)
        };
        let Some(has) = number(2) else { return };
        if !self.feeds.get(&connection).is_some_and(|it| it.is_replica) {
            return;
        }
        let is_online = self.leader.acknowledge(connection, has, number(4), self.now);
        let mut released = Vec::new();
        if let Some(position) = self.journal.position_of(has) {
            self.acknowledged.acknowledge(connection, position, &mut released);
        }
        self.release(released);
        if is_online && let Some(feed) = self.feeds.get_mut(&connection) {
            feed.begin_stream();
        }
    }

    /// A replica wants what it lacks. An error is the text of the reply.
    fn psync(&mut self, connection: ConnectionId, command: &[Vec<u8>]) -> Result<(), String> {
        if command.get(3).is_some_and(|it| it == b"FAILOVER") {
            self.take_over(&command[1])?;
        }
        if self.failover.phase() != failover::Phase::None {
            return Err("NOMASTERLINK Can't SYNC while failing over".to_owned());
        }
        if !self.is_in_sync() {
            return Err("NOMASTERLINK Can't SYNC while not connected with my master".to_owned());
        }
        let Some(id) = HistoryId::parse(&command[1]).filter(|_| command[1] != b"?") else {
            self.begin_anew(connection, Request::Anew, NotShared::History);
            return Ok(());
        };
        let next: u64 =
            std::str::from_utf8(&command[2]).ok().and_then(|it| it.parse().ok()).unwrap_or(0);
        let Some(offset) = next.checked_sub(1).map(ReplicationOffset) else {
            self.out.push(Out::Fault("offsets count from one".to_owned()));
            return Ok(());
        };
        let dump = self.leader.get(connection).and_then(|it| it.introduction.dump);
        let held = dump.and_then(|it| self.held.remove(&it));
        let is_shared = self.journal.point().history.shares(id, offset);
        if let Some((dump, log)) = dump.zip(held)
            && is_shared
            && log.began().offset == offset
        {
            self.leader.attach(connection, HOST, dump, self.now);
            self.send_stream(connection, log);
            return Ok(());
        }
        let start = ReplicaStart::After { id, offset };
        match self.journal.open_replica_reader(start, self.hold()) {
            Ok(log) => self.let_go_on(connection, offset, log),
            Err(refusal) => {
                if matches!(refusal, NotShared::Range(_)) {
                    self.count(Fact::TooLate);
                }
                self.begin_anew(connection, Request::After { id, offset }, refusal);
            }
        }
        Ok(())
    }

    /// The master asks this server, its replica, to take over.
    fn take_over(&mut self, id: &[u8]) -> Result<(), String> {
        if self.master.is_none() {
            return Err("ERR PSYNC FAILOVER can't be sent to a master.".to_owned());
        }
        if HistoryId::parse(id) != Some(self.journal.point().history.id) {
            return Err("ERR PSYNC FAILOVER replid must match my replid.".to_owned());
        }
        self.promote();
        Ok(())
    }

    fn let_go_on(&mut self, connection: ConnectionId, has: ReplicationOffset, log: Reader) {
        self.leader.go_on(connection, HOST, has, self.now);
        let said = self.leader.get(connection).map(|it| it.introduction.takes_new_history);
        if said != Some(true) {
            self.out.push(Out::Fault("an introduction was forgotten".to_owned()));
        }
        self.send_stream(connection, log);
    }

    fn send_stream(&mut self, connection: ConnectionId, log: Reader) {
        let id = self.journal.point().history.id;
        self.send(connection, format!("+CONTINUE {id}\r\n").into_bytes());
        if let Some(feed) = self.feeds.get_mut(&connection) {
            feed.is_replica = true;
            feed.stage = Stage::Stream { log };
        }
    }

    fn begin_anew(&mut self, connection: ConnectionId, request: Request, refusal: NotShared) {
        self.keep_backlog();
        let why = WhyFull::of(request, refusal, self.journal.point().history.id);
        let said = self.leader.get(connection).map(|it| &it.introduction);
        let channels = said.filter(|it| !it.is_for_dump).and_then(|it| it.takes_channels);
        if let Some(channels) = channels {
            self.leader.send_apart(connection, HOST, why, self.now);
            let reply = match channels {
                Channels::Dual => "+DUALCHANNELSYNC\r\n".to_owned(),
                Channels::Rdb => format!("+RDBCHANNELSYNC {connection}\r\n"),
            };
            return self.send(connection, reply.into_bytes());
        }
        let why = self.leader.why_apart(connection).unwrap_or(why);
        let hold_off = self.leader.begin_anew(connection, HOST, request, self.now);
        let name = self.leader.get(connection).map(Replica::name).unwrap_or_default();
        self.tell(format!("gives {name} everything, in {hold_off} ms: {why}"));
        if let Some(feed) = self.feeds.get_mut(&connection) {
            feed.is_replica = true;
        }
        self.look_at_replicas();
    }

    /// Sees to it that what changes from now on is kept for replicas.
    fn keep_backlog(&mut self) {
        let status = self.journal.status();
        if status.backlog_bytes_max != 0 {
            return;
        }
        // Where a log on disk had the journal kept, replicas may be going on already.
        if self.master.is_none() && !status.is_active {
            let id = self.new_history_id();
            self.journal.rename_history(id);
        }
        self.journal.set_backlog(self.setup.backlog_bytes);
    }

    fn hold(&self) -> Hold {
        match self.setup.hold_bytes {
            0 => Hold::Everything,
            bytes => Hold::UpTo(bytes.max(self.setup.backlog_bytes)),
        }
    }

    // What is due by the clock.

    pub(crate) fn look_at_replicas(&mut self) {
        let terms = Terms {
            is_diskless: self.setup.is_diskless,
            delay_ms: self.setup.delay_ms,
            waiting_max: 0,
            timeout_ms: TIMEOUT_MS,
            grace_ms: TIMEOUT_MS,
            ping_ms: PING_MS,
            backlog_ttl_ms: self.setup.backlog_ttl_ms,
            is_replica: self.master.is_some(),
            is_quiet: self.failover.phase() != failover::Phase::None,
        };
        for action in self.leader.tick(self.now, &terms) {
            match action {
                Action::Ping => {
                    self.journal.tell_replicas(&[b"PING"], self.second());
                }
                Action::KeepAlive(ids) => {
                    ids.into_iter().for_each(|it| self.send(it, b"\n".to_vec()));
                }
                Action::Cut(id) => {
                    self.tell("a replica has been silent for too long".to_owned());
                    self.cut(id);
                }
                Action::GiveUp(id) => {
                    self.tell("nobody came for what follows a dump".to_owned());
                    self.leader.release(id);
                    self.held.remove(&id);
                }
                Action::Begin(transfer) => self.begin_dump(&transfer),
                Action::ForgetBacklog => self.forget_backlog(),
            }
        }
    }

    fn forget_backlog(&mut self) {
        if self.journal.status().backlog_bytes_max == 0 {
            return;
        }
        let id = self.new_history_id();
        self.journal.rename_history(id);
        self.journal.set_backlog(0);
        self.tell("gives its backlog up".to_owned());
    }

    /// The image of a moment, with the logs that go on from it.
    fn begin_dump(&mut self, transfer: &Transfer) {
        let ids = transfer.replicas.iter().copied().filter(|it| self.feeds.contains_key(it));
        let ids: Vec<_> = ids.collect();
        if ids.is_empty() {
            return self.leader.end_transfer();
        }
        let mut database = None;
        let mut receivers = Vec::new();
        for id in ids {
            let log = self.journal.open_replica_reader(ReplicaStart::End, self.hold());
            let log = log.expect("the end is always there");
            database = database.or(log.database_at_start());
            receivers.push((id, log));
            if self.master.is_none() && self.random.below(4) == 0 {
                // What is not data takes no lock.
                self.journal.tell_replicas(&[b"PING"], self.second());
            }
        }
        let bytes = self.data.encode(database.unwrap_or(0));
        let delay = self.random.below(800);
        match transfer.form {
            Form::Marked => {
                let mark = self.new_history_id();
                let mut dump = format!("$EOF:{mark}\r\n").into_bytes();
                dump.extend(bytes);
                dump.extend(mark.as_bytes());
                self.hand_out(receivers, &dump);
                self.transfer_ends_at = Some(self.now + delay);
            }
            Form::Counted => {
                let mut dump = format!("${}\r\n", bytes.len()).into_bytes();
                dump.extend(bytes);
                let ready_at = self.now + delay;
                self.dumps.push(DumpInMaking { ready_at, receivers, bytes: dump });
                self.transfer_ends_at = Some(self.now + 2 * delay);
            }
        }
    }

    fn hand_out(&mut self, receivers: Vec<(ConnectionId, Reader)>, dump: &[u8]) {
        for (id, log) in receivers {
            self.leader.note_sending(id);
            let Some(said) = self.leader.get(id).map(|it| it.introduction.clone()) else {
                continue;
            };
            let Point { history, offset, .. } = *log.began();
            let mut header = format!("+FULLRESYNC {} {}\r\n", history.id, offset.0);
            let mut behind = None;
            match (said.is_for_dump, said.main) {
                (false, _) => behind = Some(log),
                (true, Some(main)) => {
                    if !self.leader.is_awaiting_channel(main) {
                        self.cut(id);
                        continue;
                    }
                    self.leader.begin_beside(main, HOST, Channels::Rdb, id, self.now);
                    if let Some(feed) = self.feeds.get_mut(&main) {
                        feed.is_replica = true;
                        feed.stage = Stage::Stream { log };
                    }
                }
                (true, None) => {
                    let database = log.database_at_start().map_or(-1, i64::from);
                    header = format!("$ENDOFF:{} {} {database} {id}\r\n", offset.0, history.id);
                    self.leader.hold(id);
                    self.held.insert(id, log);
                }
            }
            self.send(id, header.into_bytes());
            if let Some(feed) = self.feeds.get_mut(&id) {
                feed.stage = Stage::Dump { rest: dump.to_vec(), log: behind };
            }
        }
    }

    pub(crate) fn end_dumps(&mut self) {
        let now = self.now;
        for DumpInMaking { receivers, bytes, .. } in
            self.dumps.extract_if(.., |it| it.ready_at <= now).collect::<Vec<_>>()
        {
            self.hand_out(receivers, &bytes);
        }
        if self.transfer_ends_at.is_some_and(|it| it <= now) {
            self.transfer_ends_at = None;
            self.leader.end_transfer();
            self.look_at_replicas();
        }
    }

    // What replicas get.

    pub(crate) fn feed_all(&mut self) {
        for id in self.feeds.keys().copied().collect::<Vec<_>>() {
            if self.random.below(40) == 0 {
                let rests_until = self.now + self.random.below(2000);
                self.feeds.entry(id).and_modify(|it| it.rests_until = rests_until);
            }
            let now = self.now;
            let may_take = |it: &&mut Feed| it.in_flight < WINDOW_BYTES && it.rests_until <= now;
            while let Some(feed) = self.feeds.get_mut(&id).filter(may_take) {
                let Some((bytes, is_end)) = feed.take() else {
                    self.tell("a replica was too far behind".to_owned());
                    self.cut(id);
                    break;
                };
                if is_end
                    && self.leader.note_sent(id, self.now)
                    && let Some(feed) = self.feeds.get_mut(&id)
                {
                    feed.begin_stream();
                }
                if bytes.is_empty() && !is_end {
                    break;
                }
                if !bytes.is_empty() {
                    self.send(id, bytes);
                }
            }
        }
    }

    // Handing over.

    pub(crate) fn begin_failover(&mut self, wish: Wish) {
        let candidates = self.candidates();
        let text = format!("is to hand over: {wish:?}");
        let begun = self.failover.begin(wish, self.master.is_some(), &candidates, self.now);
        match begun {
            Ok(()) => {
                self.tell(text);
                self.is_paused = true;
                self.journal.tell_replicas(&[b"REPLCONF", b"GETACK", b"*"], self.second());
            }
            Err(refusal) => self.tell(format!("{text}: {refusal}")),
        }
    }

    pub(crate) fn abort_failover(&mut self) {
        let has_begun_to_follow = self.failover.phase() == failover::Phase::InProgress;
        if self.failover.abort("Failover manually aborted").is_none() {
            return;
        }
        self.tell("gives handing over up".to_owned());
        if has_begun_to_follow {
            self.promote();
        }
        self.is_paused = false;
    }

    pub(crate) fn look_at_failover(&mut self) {
        if self.failover.phase() != failover::Phase::WaitingForSync {
            return;
        }
        let (candidates, end) = (self.candidates(), self.journal.point().offset);
        match self.failover.tick(&candidates, end, self.now) {
            Some(failover::Action::Follow { target, has_everything }) => {
                if has_everything && let Some(last) = self.data.writes.last() {
                    self.out.push(Out::HandsOverTo(target.port, last.number));
                }
                self.follow(target.port);
            }
            Some(failover::Action::Abort { reason, .. }) => {
                self.tell(reason.to_owned());
                self.is_paused = false;
            }
            None => {}
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |replica: &Replica| Candidate {
            address: Address { host: replica.host().to_owned(), port: replica.introduction.port },
            is_online: replica.state == State::Online,
            has: replica.acknowledged,
        };
        self.leader.replicas().map(|(_, it)| candidate(it)).collect()
    }

    /// Somebody who follows it, as far as it knows.
    pub(crate) fn any_replica(&mut self) -> Option<Port> {
        let ports: Vec<_> = self.leader.replicas().map(|it| it.1.introduction.port).collect();
        (!ports.is_empty()).then(|| ports[self.random.below(ports.len() as u64) as usize])
    }
}

impl Feed {
    /// What can be sent next, and whether that is the end of a dump. `None` if it is not kept any more.
    fn take(&mut self) -> Option<(Vec<u8>, bool)> {
        match &mut self.stage {
            Stage::Waiting | Stage::Sent { .. } => Some((Vec::new(), false)),
            Stage::Dump { rest, .. } => {
                let len = rest.len().min(WINDOW_BYTES / 4);
                let behind = rest.split_off(len);
                let bytes = std::mem::replace(rest, behind);
                let is_end = rest.is_empty();
                if is_end
                    && let Stage::Dump { log, .. } =
                        std::mem::replace(&mut self.stage, Stage::Waiting)
                {
                    self.stage = Stage::Sent { log };
                }
                Some((bytes, is_end))
            }
            Stage::Stream { log } => {
                let mut slices = Vec::new();
                log.read(WINDOW_BYTES, &mut slices).ok()?;
                Some((slices.iter().flat_map(|it| it.iter().copied()).collect(), false))
            }
        }
    }

    /// What follows the dump may be sent.
    fn begin_stream(&mut self) {
        if let Stage::Sent { log: Some(_) } = self.stage
            && let Stage::Sent { log: Some(log) } =
                std::mem::replace(&mut self.stage, Stage::Waiting)
        {
            self.stage = Stage::Stream { log };
        }
    }
}

fn note(said: &mut Introduction, own: Option<Channels>, option: &[u8], value: &[u8]) {
    let number = || std::str::from_utf8(value).ok().and_then(|it| it.parse().ok());
    match option {
        b"rdb-only" => said.wants_dump_only = true,
        b"rdb-channel" => said.is_for_dump = true,
        b"main-ch-client-id" => said.main = number(),
        b"set-rdb-client-id" => said.dump = number(),
        b"listening-port" => {
            said.port = String::from_utf8_lossy(value).parse().unwrap_or_default();
        }
        b"ip-address" => said.address = Some(String::from_utf8_lossy(value).into_owned()),
        b"capa" => {
            said.takes_mark |= value == b"eof";
            said.takes_new_history |= value == b"psync2";
            let asked = match value {
                b"dual-channel" => Some(Channels::Dual),
                b"rdb-channel-repl" => Some(Channels::Rdb),
                _ => None,
            };
            said.takes_channels = said.takes_channels.or(asked.filter(|it| own == Some(*it)));
        }
        b"version" => said.version = Some(0x09_01_02),
        _ => {}
    }
}
