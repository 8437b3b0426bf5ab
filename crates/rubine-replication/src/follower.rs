//! A replica's link to its master: from the connection to the stream, and again after every failure. Decides what is said and
//! when; whoever drives it has the socket, reads the dump and applies the stream.
//!
//! ```text
//! Waiting -> Connecting -> Greeting -> Introducing -> Asking -+-----------> Streaming
//!    ^                                                        |                ^
//!    |                                                        +- AwaitingDump  |
//!    |                                                        +- Joining ---+  |
//!    +---------------- any failure                                       Loading
//! ```
//!
//! Where both sides want it, the dump comes over a second connection, beside the stream (`channel.rs`).

mod channel;
mod words;

use std::collections::VecDeque;

use rubine_journal::{HistoryId, ReplicationOffset};
use rubine_resp::command::{INTO_MEMORY, write_command};

use self::channel::Joining;
use self::words::{Answer, DumpHeader, Refusal};

/// A line of a master is not longer.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How often the master is told how far this replica is, and that it lives.
const ACKNOWLEDGE_EVERY_MS: u64 = 1000;
/// How long after a failure the next attempt begins.
const RETRY_MS: u64 = 1000;
/// So many full syncs may follow each other; before each further one, the wait doubles.
const FULL_SYNCS_FREE: u32 = 3;
const RETRY_MS_MAX: u64 = 30_000;
/// A stream that has lasted so long ends the row of full syncs.
const LASTING_STREAM_MS: u64 = 60_000;
/// After so many second connections in a row that came to nothing, one has to do.
const CHANNELS_LOST_MAX: u32 = 3;

/// What is said of this server when it introduces itself, and where it can go on.
#[derive(Clone, Debug)]
pub struct Terms {
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// Where this server's own replicas and clients would connect to.
    pub port: u16,
    pub ip: Option<String>,
    /// The version of Valkey that this server follows: it decides about the version of the dump.
    pub version: &'static str,
    /// Its id in a cluster.
    pub node_id: Option<String>,
    /// What this server has of which history, or why it has to begin anew.
    pub place: Result<Place, &'static str>,
    /// The other side is to take over: it was a replica of this server, which it becomes the master of.
    pub hands_over: bool,
    /// The dump may come over a second connection, in Valkey's way.
    pub takes_dual_channel: bool,
    /// The same in Redis's.
    pub takes_rdb_channel: bool,
}

/// A history and how much of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub id: HistoryId,
    pub offset: ReplicationOffset,
}

/// What happens to the link.
#[derive(Debug)]
pub enum Event<'a> {
    /// Time passes.
    Tick,
    /// The connection that was asked for is there.
    Connected(Box<Terms>),
    /// The connection is gone, or could not be made.
    Lost(&'a str),
    /// Something came before the dump or the stream begins.
    Received(&'a [u8]),
    /// The second connection that was asked for is there.
    ChannelConnected,
    /// It is gone, or could not be made.
    ChannelLost(&'a str),
    /// Something came over it before the dump begins.
    ChannelReceived(&'a [u8]),
    /// Something of the dump or of the stream came.
    Heard,
    /// The dump has been taken in.
    Loaded,
    /// It has not.
    NotLoaded(&'a str),
    /// The stream cannot be gone on with from here: what comes next is a full sync.
    Broken(&'a str),
    /// The master wants to know now how far this replica is.
    AskedHowFar,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Connect,
    /// Make a second connection to the same server, for the dump.
    ConnectChannel,
    /// No connection is of any use any more.
    Close,
    Send(Vec<u8>),
    /// Send this over the second connection.
    SendOnChannel(Vec<u8>),
    /// The master goes on where this replica is; if it has another history by now, it is this. The stream follows.
    Continue {
        id: Option<HistoryId>,
        rest: Vec<u8>,
    },
    /// A dump follows, and the stream behind it, or `beside` it.
    Load {
        sync: FullSync,
        form: DumpForm,
        rest: Vec<u8>,
        beside: Option<Beside>,
    },
    /// The other side has answered that it takes over, or that it does not.
    HandedOver {
        is_taken: bool,
    },
    /// Say how far this replica is.
    Acknowledge,
    Tell {
        is_warning: bool,
        text: String,
    },
}

/// A full sync: what will be there, and why it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullSync {
    /// The history that the data is of and where in it; `None` with a master that knows none.
    pub place: Option<Place>,
    pub reason: String,
}

/// The stream, where the dump comes over a connection of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    pub way: Way,
    /// The database that is selected where it begins, if the master has said so.
    pub database: Option<u32>,
    /// What has come of it already.
    pub stream: Vec<u8>,
}

/// How a master sends dump and stream over two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Valkey's: it names its place on the second connection, and is asked on the first one to go on from there.
    Dual,
    /// Redis's: the stream begins on the first connection by itself, for which the second one gives this number.
    Rdb { main: u64 },
}

/// How the end of a dump is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpForm {
    Length(u64),
    /// These bytes follow it.
    Mark([u8; MARK_BYTES]),
}

pub const MARK_BYTES: usize = 40;

/// How far the link is, as ROLE and INFO tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Waiting,
    Connecting,
    Handshake,
    Sync,
    Connected,
}

/// A replica's link.
#[derive(Debug)]
pub struct Follower {
    state: State,
    /// Milliseconds without a word after which the master is taken for gone.
    timeout_ms: u64,
    /// When something came last.
    heard_at: u64,
    /// When something was last said by the clock.
    said_at: u64,
    /// What came and is no whole line.
    line: Vec<u8>,
    terms: Option<Box<Terms>>,
    /// Full syncs that have followed each other without a stream that lasted.
    full_syncs: u32,
    /// Whether the last sync that was begun has not come to its end.
    was_cut_short: bool,
    /// Why the stream of before is of no use, if so.
    was_broken: Option<String>,
    /// Second connections in a row over which no dump came.
    channels_lost: u32,
}

#[derive(Debug)]
enum State {
    /// Nothing happens until then.
    Waiting {
        until: u64,
    },
    Connecting,
    /// PING was sent.
    Greeting,
    /// What this server is was sent: answers to these are due.
    Introducing {
        due: VecDeque<Introduction>,
    },
    /// PSYNC was sent, or SYNC to a master that knows no other.
    Asking {
        asked: Asked,
    },
    AwaitingDump {
        sync: FullSync,
    },
    /// A second connection is being made, and both are told that they belong together.
    Joining(Box<Joining>),
    Loading {
        knows_offsets: bool,
    },
    Streaming {
        since: u64,
        knows_offsets: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Introduction {
    Auth,
    Port,
    Ip,
    Capabilities,
    Version,
    NodeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    ToGoOn(Place),
    ForAll,
}

impl Follower {
    /// A link that is to be made at once.
    pub fn new(now: u64) -> Self {
        Self {
            state: State::Waiting { until: now },
            timeout_ms: u64::MAX,
            heard_at: now,
            said_at: now,
            line: Vec::new(),
            terms: None,
            full_syncs: 0,
            was_cut_short: false,
            was_broken: None,
            channels_lost: 0,
        }
    }

    /// Milliseconds without a word after which the master is taken for gone.
    pub fn set_timeout(&mut self, timeout_ms: u64) {
        self.timeout_ms = timeout_ms;
    }

    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Waiting { .. } => Phase::Waiting,
            State::Connecting => Phase::Connecting,
            State::Greeting | State::Introducing { .. } | State::Asking { .. } => Phase::Handshake,
            State::Joining(joining) if !joining.has_place() => Phase::Handshake,
            State::Joining(_) | State::AwaitingDump { .. } | State::Loading { .. } => Phase::Sync,
            State::Streaming { .. } => Phase::Connected,
        }
    }

    /// When something was last heard of the master.
    pub fn heard_at(&self) -> u64 {
        self.heard_at
    }

    /// Milliseconds until something is due by the clock.
    pub fn sleep_ms(&self, now: u64) -> u64 {
        let silent_at = self.heard_at.saturating_add(self.timeout_ms);
        let due_at = match self.state {
            State::Waiting { until } => until,
            State::Loading { .. } | State::Streaming { .. } => {
                silent_at.min(self.said_at + ACKNOWLEDGE_EVERY_MS)
            }
            _ => silent_at,
        };
        due_at.saturating_sub(now)
    }

    /// What follows from an event at `now`, in milliseconds of a clock that never goes back.
    pub fn handle(&mut self, event: Event<'_>, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => self.tick(now, &mut actions),
            Event::Connected(terms) => {
                self.heard_at = now;
                self.terms = Some(terms);
                self.line.clear();
                self.state = State::Greeting;
                send(&mut actions, &[b"PING"]);
            }
            Event::Lost(reason) => {
                let text = format!("Connection with the primary lost: {reason}");
                self.fail(now, &text, &mut actions);
            }
            Event::Received(bytes) => {
                self.heard_at = now;
                self.receive(bytes, now, &mut actions);
            }
            Event::ChannelConnected => self.introduce_channel(now, &mut actions),
            Event::ChannelLost(reason) => {
                let text = format!("Connection for the dump of the primary lost: {reason}");
                self.fail(now, &text, &mut actions);
            }
            Event::ChannelReceived(bytes) => {
                self.heard_at = now;
                self.receive_on_channel(bytes, now, &mut actions);
            }
            Event::Heard => self.heard_at = now,
            Event::Loaded => self.end_load(now, &mut actions),
            Event::NotLoaded(reason) => {
                let text = format!("PRIMARY <-> REPLICA sync failed: {reason}");
                self.fail(now, &text, &mut actions);
            }
            Event::Broken(reason) => {
                self.was_broken = Some(format!("the stream cannot be gone on with: {reason}"));
                let text = format!("The stream of the primary cannot be gone on with: {reason}");
                self.fail(now, &text, &mut actions);
            }
            Event::AskedHowFar => actions.push(Action::Acknowledge),
        }
        actions
    }

    fn tick(&mut self, now: u64, actions: &mut Vec<Action>) {
        match &self.state {
            State::Waiting { until } if *until <= now => {
                self.state = State::Connecting;
                self.heard_at = now;
                actions.push(Action::Connect);
            }
            State::Waiting { .. } => {}
            _ if self.timeout_ms <= now.saturating_sub(self.heard_at) => {
                let text = match self.phase() {
                    Phase::Sync => {
                        "Timeout receiving bulk data from PRIMARY... If the problem persists try to set the 'repl-timeout' \
                         parameter to a larger value."
                    }
                    Phase::Connected => "PRIMARY timeout: no data nor PING received...",
                    _ => "Timeout connecting to the PRIMARY...",
                };
                self.fail(now, text, actions);
            }
            State::Loading { .. } | State::Streaming { .. }
                if self.said_at + ACKNOWLEDGE_EVERY_MS <= now =>
            {
                self.said_at = now;
                self.say_alive(actions);
            }
            _ => {}
        }
        if let State::Streaming { since, .. } = self.state
            && LASTING_STREAM_MS <= now.saturating_sub(since)
        {
            self.full_syncs = 0;
        }
    }

    /// What the master hears each second.
    fn say_alive(&self, actions: &mut Vec<Action>) {
        match self.state {
            State::Loading { .. } => actions.push(Action::Send(b"\n".to_vec())),
            State::Streaming { knows_offsets: true, .. } => actions.push(Action::Acknowledge),
            _ => {}
        }
    }

    /// Gives the connection up, and makes another one before long.
    fn fail(&mut self, now: u64, text: &str, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Waiting { .. }) {
            return;
        }
        actions.push(Action::Tell { is_warning: true, text: text.to_owned() });
        actions.push(Action::Close);
        let wait_ms = match self.state {
            // It was good for a while, so the next may be at once.
            State::Streaming { since, .. } if RETRY_MS <= now.saturating_sub(since) => 0,
            _ => RETRY_MS,
        };
        let doublings = self.full_syncs.saturating_sub(FULL_SYNCS_FREE).min(16);
        let wait_ms = if doublings == 0 { wait_ms } else { RETRY_MS << doublings };
        if let State::Joining(_) = self.state {
            self.channels_lost = self.channels_lost.saturating_add(1);
        }
        self.line.clear();
        self.terms = None;
        self.state = State::Waiting { until: now + wait_ms.min(RETRY_MS_MAX) };
    }

    fn receive(&mut self, bytes: &[u8], now: u64, actions: &mut Vec<Action>) {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|it| *it == b'\n') {
            let rest = self.line.split_off(end + 1);
            let line = std::mem::replace(&mut self.line, rest);
            let line = line.trim_ascii_end();
            self.take_line(line, now, actions);
            if !self.reads_lines() {
                self.line.clear();
                return;
            }
        }
        if LINE_BYTES_MAX < self.line.len() {
            self.fail(now, "The primary answers with a line that does not end", actions);
        }
    }

    fn reads_lines(&self) -> bool {
        use State::{Asking, AwaitingDump, Greeting, Introducing, Joining};
        match &self.state {
            Greeting | Introducing { .. } | Asking { .. } | AwaitingDump { .. } => true,
            Joining(joining) => joining.reads_lines(),
            _ => false,
        }
    }

    fn take_line(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::Greeting => self.take_pong(line, now, actions),
            State::Introducing { due } => {
                let Some(introduction) = due.pop_front() else { return };
                let is_last = due.is_empty();
                if self.take_introduced(introduction, line, now, actions) && is_last {
                    self.ask(actions);
                }
            }
            // It says that it is alive while it prepares.
            State::Asking { .. } | State::AwaitingDump { .. } if line.is_empty() => {}
            State::Asking { asked } => {
                let asked = *asked;
                self.take_answer(asked, line, now, actions);
            }
            State::AwaitingDump { .. } => self.take_header(line, now, actions),
            State::Joining(_) => self.take_line_of_joined(line, now, actions),
            _ => {}
        }
    }

    fn take_pong(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        if !words::may_go_on_after_ping(line) {
            let text = format!("Error reply to PING from primary: '{}'", line.escape_ascii());
            return self.fail(now, &text, actions);
        }
        tell(actions, "Primary replied to PING, replication can continue...");
        let terms = self.terms.as_ref().expect("a connection has terms");
        let mut due = VecDeque::new();
        if let Some(password) = &terms.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(terms.user.as_deref());
            words.push(password);
            send(actions, &words);
            due.push_back(Introduction::Auth);
        }
        send(actions, &[b"REPLCONF", b"listening-port", terms.port.to_string().as_bytes()]);
        due.push_back(Introduction::Port);
        if let Some(ip) = &terms.ip {
            send(actions, &[b"REPLCONF", b"ip-address", ip.as_bytes()]);
            due.push_back(Introduction::Ip);
        }
        let mut words: Vec<&[u8]> =
            vec![b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", b"rubine"];
        let may_join = self.channels_lost < CHANNELS_LOST_MAX;
        if terms.takes_dual_channel && may_join {
            words.extend([&b"capa"[..], b"dual-channel"]);
        }
        if terms.takes_rdb_channel && may_join {
            words.extend([&b"capa"[..], b"rdb-channel-repl"]);
        }
        send(actions, &words);
        due.push_back(Introduction::Capabilities);
        send(actions, &[b"REPLCONF", b"version", terms.version.as_bytes()]);
        due.push_back(Introduction::Version);
        if let Some(id) = &terms.node_id {
            send(actions, &[b"REPLCONF", b"set-cluster-node-id", id.as_bytes()]);
            due.push_back(Introduction::NodeId);
        }
        self.state = State::Introducing { due };
    }

    /// Returns whether the handshake goes on: what an old master does not know of REPLCONF it may do without.
    fn take_introduced(
        &mut self,
        introduction: Introduction,
        line: &[u8],
        now: u64,
        actions: &mut Vec<Action>,
    ) -> bool {
        if line.first() != Some(&b'-') {
            return true;
        }
        let shown = line[1..].escape_ascii();
        let what = match introduction {
            Introduction::Auth => {
                let text = format!("Unable to AUTH to PRIMARY: {shown}");
                self.fail(now, &text, actions);
                return false;
            }
            Introduction::Port => "listening-port",
            Introduction::Ip => "ip-address",
            Introduction::Capabilities => "capa",
            Introduction::Version => "version",
            Introduction::NodeId => "set-cluster-node-id",
        };
        let text = format!("(Non critical) Primary does not understand REPLCONF {what}: {shown}");
        tell(actions, &text);
        true
    }

    fn ask(&mut self, actions: &mut Vec<Action>) {
        let terms = self.terms.as_ref().expect("a connection has terms");
        let place = if self.was_broken.is_some() { None } else { terms.place.ok() };
        let asked = if let Some(place) = place {
            let Place { id, offset } = place;
            // PSYNC counts from one.
            let next = offset.0 + 1;
            tell(actions, &format!("Trying a partial resynchronization (request {id}:{next})."));
            let next = next.to_string();
            let mut words: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), next.as_bytes()];
            if terms.hands_over {
                words.push(b"FAILOVER");
            }
            send(actions, &words);
            Asked::ToGoOn(place)
        } else {
            tell(actions, "Partial resynchronization not possible (no cached primary)");
            send(actions, &[b"PSYNC", b"?", b"-1"]);
            Asked::ForAll
        };
        self.state = State::Asking { asked };
    }

    fn take_answer(&mut self, asked: Asked, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        let answer = words::answer_to_psync(line);
        if self.terms.as_ref().is_some_and(|it| it.hands_over) {
            let is_taken = !matches!(answer, Answer::Refused(_));
            actions.push(Action::HandedOver { is_taken });
        }
        match answer {
            Answer::Continue(id) if matches!(asked, Asked::ToGoOn(_)) => {
                tell(actions, "Successful partial resynchronization with primary.");
                self.was_cut_short = false;
                let rest = std::mem::take(&mut self.line);
                (self.said_at, self.state) =
                    (now, State::Streaming { since: now, knows_offsets: true });
                actions.push(Action::Continue { id, rest });
            }
            Answer::Continue(_) => {
                self.fail(now, "The primary goes on where nobody has been", actions);
            }
            Answer::FullResync(place) => {
                let Place { id, offset } = place;
                tell(actions, &format!("Full resync from primary: {id}:{}", offset.0));
                let reason = self.reason(asked, Some(place));
                let sync = FullSync { place: Some(place), reason };
                self.state = State::AwaitingDump { sync };
            }
            Answer::Apart(way) => {
                tell(actions, "PSYNC is not possible, initialize RDB channel.");
                self.state = State::Joining(Box::new(Joining::new(asked, way)));
                actions.push(Action::ConnectChannel);
            }
            Answer::Refused(Refusal::Later) => {
                let shown = line.escape_ascii();
                let text = format!(
                    "Primary is currently unable to PSYNC but should be in the future: {shown}"
                );
                self.fail(now, &text, actions);
            }
            Answer::Refused(Refusal::Denied) => {
                let text = format!("The primary refuses to be followed: {}", line.escape_ascii());
                self.fail(now, &text, actions);
            }
            Answer::Refused(Refusal::Unknown) => {
                let shown = line.escape_ascii();
                tell(
                    actions,
                    &format!(
                        "Primary does not support PSYNC or is in error state (reply: {shown})"
                    ),
                );
                tell(actions, "Retrying with SYNC...");
                send(actions, &[b"SYNC"]);
                let reason = format!("the master knows no partial syncs, it says: {shown}");
                self.state = State::AwaitingDump { sync: FullSync { place: None, reason } };
            }
        }
    }

    /// Why a master sends everything, in plain words.
    fn reason(&mut self, asked: Asked, offered: Option<Place>) -> String {
        if let Some(reason) = self.was_broken.take() {
            return reason;
        }
        let Asked::ToGoOn(Place { id, offset }) = asked else {
            if self.was_cut_short {
                return "the full sync before did not come to its end".to_owned();
            }
            let terms = self.terms.as_ref().and_then(|it| it.place.err());
            return terms.unwrap_or("nothing of the master's data is here").to_owned();
        };
        match offered {
            Some(place) if place.id != id => format!(
                "the master has another history ({}) than this replica ({id}), or left it before offset {}",
                place.id, offset.0
            ),
            Some(place) if place.offset < offset => format!(
                "this replica is ahead of the master: it has {} bytes, the master {}",
                offset.0, place.offset.0
            ),
            Some(place) => format!(
                "the master does not have the {} bytes any more that were missed: its backlog (repl-backlog-size) is too small",
                place.offset.0 - offset.0
            ),
            None => "the master says so".to_owned(),
        }
    }

    fn take_header(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        match words::dump_header(line) {
            DumpHeader::Form(form) => {
                let State::AwaitingDump { sync } = &self.state else { return };
                let (sync, rest) = (sync.clone(), std::mem::take(&mut self.line));
                self.begin_load(now);
                let knows_offsets = sync.place.is_some();
                self.state = State::Loading { knows_offsets };
                actions.push(Action::Load { sync, form, rest, beside: None });
            }
            DumpHeader::Error | DumpHeader::Other => self.fail_at_header(line, now, actions),
        }
    }

    fn begin_load(&mut self, now: u64) {
        self.full_syncs = self.full_syncs.saturating_add(1);
        self.was_cut_short = true;
        self.channels_lost = 0;
        self.said_at = now;
    }

    /// Something else came where a dump should begin.
    fn fail_at_header(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        let text = match line.strip_prefix(b"-") {
            Some(error) => {
                format!("PRIMARY aborted replication with an error: {}", error.escape_ascii())
            }
            None => format!(
                "Bad protocol from PRIMARY, the first byte is not '$' (we received '{}'), are you sure the host and port \
                 are right?",
                line.escape_ascii()
            ),
        };
        self.fail(now, &text, actions);
    }

    fn end_load(&mut self, now: u64, actions: &mut Vec<Action>) {
        let State::Loading { knows_offsets } = self.state else { return };
        self.was_cut_short = false;
        self.was_broken = None;
        (self.heard_at, self.said_at) = (now, now);
        self.state = State::Streaming { since: now, knows_offsets };
        tell(actions, "PRIMARY <-> REPLICA sync: Finished with success");
        if knows_offsets {
            // A master that sent the dump as it was made sends nothing before this.
            actions.push(Action::Acknowledge);
        }
    }
}

fn send(actions: &mut Vec<Action>, words: &[&[u8]]) {
    actions.push(Action::Send(command(words)));
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_command(words, &mut bytes).expect(INTO_MEMORY);
    bytes
}

fn tell(actions: &mut Vec<Action>, text: &str) {
    actions.push(Action::Tell { is_warning: false, text: text.to_owned() });
}

#[cfg(test)]
mod tests;
