//! What is said where the dump comes over a second connection, up to where it begins. The stream comes over the first one
//! meanwhile. Decides nothing about what becomes of either.
//!
//! ```text
//! Valkey's way    second: REPLCONF .. rdb-channel 1, SYNC  -> $ENDOFF:offset id database client, $EOF:mark, dump
//!                 first:  REPLCONF set-rdb-client-id client, PSYNC id offset+1 -> +CONTINUE, stream
//! Redis's way     second: REPLCONF .. main-ch-client-id main, PSYNC ? -1 -> +FULLRESYNC id offset, $EOF:mark, dump
//!                 first:  the stream, from that offset on
//! ```

use super::words::{self, Answer, DumpHeader, DumpPlace};
use super::{
    Action, Asked, Beside, Follower, FullSync, LINE_BYTES_MAX, Place, State, Way, command, send,
    tell,
};

/// How far it is that two connections belong together.
#[derive(Debug)]
pub(super) struct Joining {
    asked: Asked,
    way: Way,
    step: Step,
    /// What came over the second connection and was not looked at.
    line: Vec<u8>,
    /// What came of the stream.
    stream: Vec<u8>,
    place: Option<Place>,
    database: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The second connection is on its way.
    Connecting,
    /// It was said on it who we are: so many answers are due, the first of which may be about a password.
    Introducing { due: u8, is_login: bool },
    /// A dump was asked for on it.
    Asking,
    /// It was said on the first one what the second one is called.
    Attaching,
    /// The stream was asked for on the first one.
    GoingOn,
    /// The place of the dump is known, and the stream is on its way.
    AwaitingDump,
}

impl Joining {
    pub(super) fn new(asked: Asked, way: Way) -> Self {
        let (line, stream, place, database) = Default::default();
        Self { asked, way, step: Step::Connecting, line, stream, place, database }
    }

    /// Whether it is known what the dump is of, and the stream comes.
    pub(super) fn has_place(&self) -> bool {
        self.step == Step::AwaitingDump
    }

    /// Whether what comes over the first connection are answers.
    pub(super) fn reads_lines(&self) -> bool {
        self.way == Way::Dual && self.step != Step::AwaitingDump
    }

    fn reads_channel(&self) -> bool {
        matches!(self.step, Step::Introducing { .. } | Step::Asking | Step::AwaitingDump)
    }
}

impl Follower {
    /// Whether what comes over the first connection is to be handed in, or to wait where it is: it may be the stream, which
    /// is kept with a bound.
    pub fn reads_link(&self) -> bool {
        match &self.state {
            State::Joining(joining) => joining.reads_lines(),
            _ => true,
        }
    }

    /// The same for the second one.
    pub fn reads_channel(&self) -> bool {
        matches!(&self.state, State::Joining(joining) if joining.reads_channel())
    }

    pub(super) fn introduce_channel(&mut self, now: u64, actions: &mut Vec<Action>) {
        self.heard_at = now;
        let State::Joining(joining) = &mut self.state else { return };
        let terms = self.terms.as_ref().expect("a connection has terms");
        let mut due = 1;
        let mut bytes = Vec::new();
        if let Some(password) = &terms.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(terms.user.as_deref());
            words.push(password);
            bytes.extend(command(&words));
            due += 1;
        }
        let port = terms.port.to_string();
        let main;
        let mut words: Vec<&[u8]> =
            vec![b"REPLCONF", b"capa", b"eof", b"capa", b"rubine", b"rdb-only", b"1"];
        words.extend([&b"rdb-channel"[..], b"1"]);
        match joining.way {
            Way::Dual => words.extend([&b"version"[..], terms.version.as_bytes()]),
            // Redis knows no such word as the version, and refuses all of them with it.
            Way::Rdb { main: number } => {
                main = number.to_string();
                words.extend([&b"main-ch-client-id"[..], main.as_bytes()]);
            }
        }
        words.extend([&b"listening-port"[..], port.as_bytes()]);
        bytes.extend(command(&words));
        if let Some(ip) = &terms.ip {
            bytes.extend(command(&[b"REPLCONF", b"ip-address", ip.as_bytes()]));
            due += 1;
        }
        joining.step = Step::Introducing { due, is_login: terms.password.is_some() };
        actions.push(Action::SendOnChannel(bytes));
    }

    pub(super) fn receive_on_channel(&mut self, bytes: &[u8], now: u64, actions: &mut Vec<Action>) {
        let State::Joining(joining) = &mut self.state else { return };
        joining.line.extend_from_slice(bytes);
        while let State::Joining(joining) = &mut self.state
            && joining.reads_channel()
        {
            let Some(end) = joining.line.iter().position(|it| *it == b'\n') else {
                if LINE_BYTES_MAX < joining.line.len() {
                    let text = "The primary answers with a line that does not end";
                    self.fail(now, text, actions);
                }
                return;
            };
            let rest = joining.line.split_off(end + 1);
            let line = std::mem::replace(&mut joining.line, rest);
            // An empty one says that the other side lives.
            if !line.trim_ascii_end().is_empty() {
                self.take_line_of_channel(line.trim_ascii_end(), now, actions);
            }
        }
    }

    fn take_line_of_channel(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        let State::Joining(joining) = &mut self.state else { return };
        match joining.step {
            Step::Introducing { due, is_login } => {
                if let Some(error) = line.strip_prefix(b"-") {
                    let what = if is_login { "Unable to AUTH to PRIMARY" } else { "it is refused" };
                    let text = format!(
                        "The dump has no channel of its own: {what}: {}",
                        error.escape_ascii()
                    );
                    return self.fail(now, &text, actions);
                }
                joining.step = Step::Introducing { due: due - 1, is_login: false };
                if due == 1 {
                    joining.step = Step::Asking;
                    let words: &[&[u8]] = match joining.way {
                        Way::Dual => &[b"SYNC"],
                        Way::Rdb { .. } => &[b"PSYNC", b"?", b"-1"],
                    };
                    actions.push(Action::SendOnChannel(command(words)));
                }
            }
            Step::Asking => self.take_place(line, now, actions),
            Step::AwaitingDump => self.take_header_of_channel(line, now, actions),
            Step::Connecting | Step::Attaching | Step::GoingOn => {}
        }
    }

    /// The master says what the dump will be of.
    fn take_place(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        let State::Joining(joining) = &mut self.state else { return };
        match (joining.way, words::dump_place(line), words::answer_to_psync(line)) {
            (Way::Dual, Some(DumpPlace { place, database, channel }), _) => {
                (joining.place, joining.database) = (Some(place), database);
                joining.step = Step::Attaching;
                let channel = channel.to_string();
                send(actions, &[b"REPLCONF", b"set-rdb-client-id", channel.as_bytes()]);
            }
            (Way::Rdb { .. }, _, Answer::FullResync(place)) => {
                joining.place = Some(place);
                joining.step = Step::AwaitingDump;
                tell(actions, "Starting to receive RDB and replication stream in parallel.");
            }
            _ => {
                let text = format!(
                    "The primary does not say what its dump is of: {}",
                    line.escape_ascii()
                );
                self.fail(now, &text, actions);
            }
        }
    }

    /// The first connection hears that the second one is known, and that the stream comes.
    pub(super) fn take_line_of_joined(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        let State::Joining(joining) = &mut self.state else { return };
        match (joining.step, joining.place) {
            _ if line.is_empty() => {}
            (Step::Attaching, Some(Place { id, offset })) if !line.starts_with(b"-") => {
                joining.step = Step::GoingOn;
                let next = (offset.0 + 1).to_string();
                let text = format!(
                    "Trying a partial resynchronization using main channel (request {id}:{next})."
                );
                tell(actions, &text);
                send(actions, &[b"PSYNC", id.as_bytes(), next.as_bytes()]);
            }
            (Step::GoingOn, Some(place)) => match words::answer_to_psync(line) {
                Answer::Continue(id) => {
                    // It may have got another name meanwhile.
                    joining.place = Some(Place { id: id.unwrap_or(place.id), ..place });
                    joining.step = Step::AwaitingDump;
                    joining.stream = std::mem::take(&mut self.line);
                    tell(
                        actions,
                        "PRIMARY <-> REPLICA sync: Primary accepted a Partial Resynchronization, RDB load in background.",
                    );
                    self.receive_on_channel(b"", now, actions);
                }
                _ => self.fail_joining(line, now, actions),
            },
            _ => self.fail_joining(line, now, actions),
        }
    }

    fn fail_joining(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        let text = format!("Aborting dual channel sync: the primary says {}", line.escape_ascii());
        self.fail(now, &text, actions);
    }

    fn take_header_of_channel(&mut self, line: &[u8], now: u64, actions: &mut Vec<Action>) {
        let DumpHeader::Form(form) = words::dump_header(line) else {
            return self.fail_at_header(line, now, actions);
        };
        let loading = State::Loading { knows_offsets: true };
        let State::Joining(joining) = std::mem::replace(&mut self.state, loading) else { return };
        let Joining { asked, way, line: rest, stream, place, database, .. } = *joining;
        let reason = self.reason(asked, place);
        self.begin_load(now);
        let sync = FullSync { place, reason };
        let beside = Some(Beside { way, database, stream });
        actions.push(Action::Load { sync, form, rest, beside });
    }
}
