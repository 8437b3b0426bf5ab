//! The link of a replica, driven as the program drives it.

use rubine_journal::{Audience, History, HistoryId, Origin, ReplicationOffset, Side};
use rubine_replication::failover;
use rubine_replication::follower::{
    Action, Beside, DumpForm, Event, Follower, FullSync, MARK_BYTES, Phase, Place, Terms,
};
use rubine_replication::leader::Channels;
use rubine_replication::stream::{StreamReader, Unit};
use rubine_resp::command::{INTO_MEMORY, write_command};

use crate::data::{Data, Write};
use crate::server::{ConnectionId, Fact, HOST, Out, Port, Server};

/// Who says nothing for so long is taken for gone.
pub(crate) const TIMEOUT_MS: u64 = 6000;

pub(crate) struct Link {
    pub(crate) machine: Follower,
    pub(crate) connection: Option<ConnectionId>,
    /// The second one, for a dump.
    pub(crate) channel: Option<ConnectionId>,
    /// What came over each and is not to be looked at yet.
    unread: Vec<u8>,
    unread_of_channel: Vec<u8>,
    stream: Option<StreamReader>,
    loading: Option<Loading>,
    /// The database that is selected in the stream.
    db: u32,
    /// Something was received and not run, since writes wait.
    is_put_off: bool,
}

/// A dump that comes.
struct Loading {
    sync: FullSync,
    form: DumpForm,
    bytes: Vec<u8>,
    /// The stream so far, and its database, where it comes beside the dump.
    beside: Option<(Vec<u8>, Option<u32>)>,
}

impl Link {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            machine: Follower::new(now),
            connection: None,
            channel: None,
            unread: Vec::new(),
            unread_of_channel: Vec::new(),
            stream: None,
            loading: None,
            db: 0,
            is_put_off: false,
        }
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }
}

impl Server {
    // Orders.

    pub(crate) fn follow(&mut self, master: Port) {
        self.tell(format!("follows {master}"));
        self.master = Some(master);
        self.obey();
        if !self.hands_over() {
            self.end_waits();
        }
    }

    /// Follows nobody any more.
    pub(crate) fn promote(&mut self) {
        if self.master.is_none() {
            return;
        }
        let id = self.new_history_id();
        let parted = self.journal.begin_history(id, Origin::Here);
        self.count(Fact::Promotion);
        self.tell(format!("is a master from {} on, as {id}", parted.offset.0));
        self.cut_replicas();
        self.master = None;
        self.obey();
    }

    fn obey(&mut self) {
        self.close_link();
        let db = self.link.db;
        self.link = Link::new(self.now);
        self.link.db = db;
    }

    fn close_link(&mut self) {
        let Link { connection, channel, .. } = &mut self.link;
        for connection in [connection.take(), channel.take()].into_iter().flatten() {
            self.out.push(Out::Close(connection));
        }
        self.link.unread.clear();
        self.link.unread_of_channel.clear();
        self.link.stream = None;
        self.link.is_put_off = false;
        if self.link.loading.take().is_some() && !self.setup.swaps {
            self.forget_all();
        }
    }

    /// Drops all data. What is there then is of no history.
    fn forget_all(&mut self) {
        self.data = Data::default();
        let nothing = History::new(self.new_history_id());
        self.journal.resume_history(nothing, ReplicationOffset(0), Origin::Here);
    }

    /// Whether what is here is what the master has, if there is one.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.master.is_none() || self.link.machine.phase() == Phase::Connected
    }

    // What happens.

    pub(crate) fn step_link(&mut self) {
        if self.master.is_none() {
            return;
        }
        self.link.machine.set_timeout(TIMEOUT_MS);
        self.link_event(Event::Tick);
        if self.link.is_put_off && !self.is_paused {
            self.link.is_put_off = false;
            self.apply(&[]);
        }
    }

    pub(crate) fn connected(&mut self) {
        let terms = Box::new(self.terms());
        self.link_event(Event::Connected(terms));
    }

    pub(crate) fn channel_connected(&mut self) {
        self.link_event(Event::ChannelConnected);
    }

    /// A connection of the link is gone.
    pub(crate) fn lost(&mut self, at: ConnectionId, reason: &str) {
        if self.link.channel == Some(at) {
            self.link.channel = None;
            if self.link.loading.is_some() {
                return self.link_event(Event::NotLoaded(reason));
            }
            return self.link_event(Event::ChannelLost(reason));
        }
        self.link.connection = None;
        if self.link.loading.is_some() {
            return self.link_event(Event::NotLoaded(reason));
        }
        self.link_event(Event::Lost(reason));
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        if self.link.stream.is_some() {
            self.link.machine.handle(Event::Heard, self.now);
            return self.apply(bytes);
        }
        match &mut self.link.loading {
            Some(Loading { beside: Some((stream, _)), .. }) => stream.extend_from_slice(bytes),
            Some(loading) => {
                loading.bytes.extend_from_slice(bytes);
                self.link.machine.handle(Event::Heard, self.now);
                self.look_at_dump();
            }
            None if self.link.machine.reads_link() => {
                self.link_event(Event::Received(bytes));
                self.look_at_channel();
            }
            None => self.link.unread.extend_from_slice(bytes),
        }
    }

    pub(crate) fn receive_on_channel(&mut self, bytes: &[u8]) {
        self.link.unread_of_channel.extend_from_slice(bytes);
        self.look_at_channel();
    }

    fn look_at_channel(&mut self) {
        if let Some(loading) = &mut self.link.loading {
            loading.bytes.append(&mut self.link.unread_of_channel);
            self.link.machine.handle(Event::Heard, self.now);
            return self.look_at_dump();
        }
        if self.link.machine.reads_channel() && !self.link.unread_of_channel.is_empty() {
            let bytes = std::mem::take(&mut self.link.unread_of_channel);
            self.link_event(Event::ChannelReceived(&bytes));
        }
    }

    fn link_event(&mut self, event: Event<'_>) {
        for action in self.link.machine.handle(event, self.now) {
            match action {
                Action::Tell { text, .. } => self.tell(text),
                Action::Connect => {
                    let Some(master) = self.master else { return };
                    self.out.push(Out::Connect(master));
                }
                Action::ConnectChannel => {
                    let Some(master) = self.master else { return };
                    self.out.push(Out::ConnectChannel(master));
                }
                Action::SendOnChannel(bytes) => {
                    if let Some(channel) = self.link.channel {
                        self.out.push(Out::Send(channel, bytes));
                    }
                }
                Action::Close => self.close_link(),
                Action::Send(bytes) => self.send_to_master(bytes),
                Action::HandedOver { is_taken } => {
                    if !self.note_handed_over(is_taken) {
                        return;
                    }
                }
                Action::Acknowledge => self.acknowledge_at(self.journal.point().offset),
                Action::Continue { id, rest } => self.go_on(id, &rest),
                Action::Load { sync, form, rest, beside } => {
                    self.begin_load(sync, form, rest, beside);
                }
            }
        }
    }

    fn send_to_master(&mut self, bytes: Vec<u8>) {
        if let Some(connection) = self.link.connection {
            self.out.push(Out::Send(connection, bytes));
        }
    }

    fn terms(&self) -> Terms {
        let point = self.journal.point();
        let is_known = point.is_complete && point.history.id != HistoryId::NONE;
        let place = Place { id: point.history.id, offset: point.offset };
        Terms {
            user: None,
            password: None,
            port: self.port,
            ip: Some(HOST.to_owned()),
            version: "9.1.2",
            node_id: None,
            place: if is_known { Ok(place) } else { Err("nothing is known") },
            hands_over: self.hands_over(),
            takes_dual_channel: self.setup.channels == Some(Channels::Dual),
            takes_rdb_channel: self.setup.channels == Some(Channels::Rdb),
        }
    }

    fn acknowledge_at(&mut self, offset: ReplicationOffset) {
        let offset = offset.0.to_string();
        let written = self.disk.as_ref().and_then(|it| it.written(&self.journal));
        let written = written.map(|it| it.0.to_string());
        let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", offset.as_bytes()];
        if let Some(written) = &written {
            words.extend([&b"FACK"[..], written.as_bytes()]);
        }
        let mut bytes = Vec::new();
        write_command(&words, &mut bytes).expect(INTO_MEMORY);
        self.send_to_master(bytes);
    }

    /// The server that was to take over has answered. Returns whether it is followed.
    fn note_handed_over(&mut self, is_taken: bool) -> bool {
        if is_taken {
            if self.failover.note_taken_over() {
                self.tell("has handed over".to_owned());
                self.count(Fact::HandOver);
                self.end_waits();
                self.is_paused = false;
            }
            return true;
        }
        let reason = "Failover target rejected psync request";
        if let Some(failover::Action::Abort { .. }) = self.failover.abort(reason) {
            self.tell(reason.to_owned());
            self.promote();
            self.is_paused = false;
        }
        false
    }

    // The stream.

    fn go_on(&mut self, id: Option<HistoryId>, rest: &[u8]) {
        let point = self.journal.point();
        let new = id.unwrap_or(point.history.id);
        if new == point.history.id {
            self.journal.follow_history();
        } else {
            self.journal.begin_history(new, Origin::Master);
            self.count(Fact::NewName);
            self.cut_replicas();
        }
        if let Some(database) = point.database {
            self.link.db = database;
        }
        self.count(Fact::PartialSync);
        self.begin_stream(point.offset);
        self.apply(rest);
    }

    fn begin_stream(&mut self, offset: ReplicationOffset) {
        if self.journal.status().backlog_bytes_max == 0 {
            self.journal.set_backlog(self.setup.backlog_bytes);
        }
        self.link.stream = Some(StreamReader::new(offset));
    }

    fn apply(&mut self, bytes: &[u8]) {
        let Some(mut stream) = self.link.stream.take() else { return };
        stream.receive(bytes);
        if self.is_paused {
            self.link.is_put_off = true;
            self.link.stream = Some(stream);
            return;
        }
        let mut asked_at = None;
        let outcome = loop {
            match stream.next_unit() {
                Ok(None) => break Ok(()),
                Ok(Some(unit)) => {
                    if is_talk(&unit) && unit.bytes.windows(6).any(|it| it == b"GETACK") {
                        asked_at = Some(unit.start);
                    }
                    if let Err(reason) = self.apply_unit(&unit) {
                        break Err(reason);
                    }
                }
                Err(error) => break Err(error.to_string()),
            }
        };
        self.journal.notify();
        self.link.stream = Some(stream);
        if let Some(offset) = asked_at {
            self.acknowledge_at(offset);
        }
        if let Err(reason) = outcome {
            // Nothing here speaks any other language.
            self.out.push(Out::Fault(format!("the stream is broken: {reason}")));
            self.link_event(Event::Broken(&reason));
        }
    }

    fn apply_unit(&mut self, unit: &Unit<'_>) -> Result<(), String> {
        let mut writes = Vec::new();
        for args in unit.commands() {
            match args[0].of(unit.bytes) {
                b"SELECT" => {
                    let text = String::from_utf8_lossy(args[1].of(unit.bytes));
                    self.link.db = text.parse().map_err(|_| "no database".to_owned())?;
                }
                b"PUT" => {
                    let write = Write::of(args, unit.bytes, self.link.db);
                    writes.push(write.ok_or("a write that is none")?);
                }
                _ => {}
            }
        }
        let audience = if is_talk(unit) { Audience::Only(Side::Replicas) } else { Audience::Both };
        let (start, second) = (unit.start, self.second());
        let appended =
            self.journal.append_master(start, unit.bytes, audience, self.link.db, second);
        appended.map_err(|misplaced| misplaced.to_string())?;
        self.do_writes(&writes);
        Ok(())
    }

    // The dump.

    fn begin_load(
        &mut self,
        sync: FullSync,
        form: DumpForm,
        rest: Vec<u8>,
        beside: Option<Beside>,
    ) {
        self.count(Fact::FullSync);
        let beside = beside.map(|mut it| {
            it.stream.append(&mut self.link.unread);
            (it.stream, it.database)
        });
        if beside.is_some() {
            self.count(Fact::Beside);
        }
        self.tell(format!("needs everything: {}", sync.reason));
        if !self.setup.swaps {
            self.forget_all();
        }
        self.link.loading = Some(Loading { sync, form, bytes: rest, beside });
        self.look_at_dump();
    }

    /// Takes the dump in if it has come whole.
    fn look_at_dump(&mut self) {
        let Some(loading) = &self.link.loading else { return };
        let bytes = &loading.bytes;
        let (data, database, len) = match Data::decode(bytes) {
            Ok(None) => return,
            Ok(Some(found)) => found,
            Err(reason) => return self.out.push(Out::Fault(format!("a dump: {reason}"))),
        };
        let end = match loading.form {
            DumpForm::Length(length) => length as usize,
            DumpForm::Mark(_) => len + MARK_BYTES,
        };
        if bytes.len() < end {
            return;
        }
        let is_right = match loading.form {
            DumpForm::Length(_) => len == end,
            DumpForm::Mark(mark) => bytes[len..end] == mark,
        };
        if !is_right {
            self.out.push(Out::Fault("the dump ends elsewhere".to_owned()));
        }
        let Some(Loading { sync, bytes, beside, .. }) = self.link.loading.take() else { return };
        let Some(Place { id, offset }) = sync.place else { return };
        self.data = data;
        let named = beside.as_ref().and_then(|it| it.1);
        let database = named.unwrap_or(database);
        self.out.push(Out::Holds(self.data.writes.clone()));
        self.journal.adopt_history(id, offset);
        self.journal.note_database(Some(database));
        self.link.db = database;
        self.begin_stream(offset);
        let stream = if let Some((stream, _)) = beside {
            if let Some(channel) = self.link.channel.take() {
                self.out.push(Out::Close(channel));
            }
            self.apply(&stream);
            Vec::new()
        } else {
            bytes[end..].to_vec()
        };
        self.link_event(Event::Loaded);
        self.apply(&stream);
    }
}

/// Whether nothing of a unit is of any use to a log on disk.
fn is_talk(unit: &Unit<'_>) -> bool {
    unit.commands().all(|it| matches!(it[0].of(unit.bytes), b"PING" | b"REPLCONF"))
}
