//! The stream of a master, cut into units: a command, or a transaction, which is never handed out in part. Bytes may arrive in
//! pieces of any size. Some units are cut ahead, so that whoever runs them knows what they will need. Runs no command, and
//! keeps no more than these and the unit that has begun.

use std::collections::VecDeque;
use std::ops::Range;

use rubine_journal::ReplicationOffset;
use rubine_resp::parser::{ArgRange, Limits, Parsed, Parser, ProtocolError, Sender};
use thiserror::Error;

/// Whatever a master has accepted once is accepted again.
const LIMITS: Limits = Limits { bulk_bytes_max: i64::MAX, sender: Sender::Primary };

/// How many units are cut at a time.
pub const UNITS_AHEAD: usize = 16;
/// From so many bytes on, what was handed out is cut off the buffer before more is read.
const DONE_BYTES_MAX: usize = 64 * 1024;
/// A buffer that was larger is not kept.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Cuts a stream into units.
///
/// ```text
/// buffer: | handed out | ready | ready | ready | what has begun |
///                      ^start                  ^cut        ^cut + at
/// ```
pub struct StreamReader {
    buffer: Vec<u8>,
    /// Everything before was handed out.
    start: usize,
    /// Where in the stream the unit begins that is handed out next.
    offset: ReplicationOffset,
    /// Where the unit begins that is not complete.
    cut: usize,
    /// How much of it is parsed.
    at: usize,
    /// Bytes from `start` to `cut` that count for nothing.
    empty_lines: usize,
    parser: Parser,
    in_transaction: bool,
    ready: VecDeque<Ready>,
    /// What follows upon them.
    failure: Option<StreamError>,
    /// Of all units that are ready, and of the one that has begun.
    args: Vec<ArgRange>,
    /// By their arguments.
    commands: Vec<Range<usize>>,
    /// How many arguments belong to commands that are complete.
    args_len: usize,
    /// Where the unit that has begun has its own.
    own_args: usize,
    own_commands: usize,
}

/// A unit that is complete, by where it stands in the buffer and its commands among all.
struct Ready {
    bytes: Range<usize>,
    commands: Range<usize>,
    is_transaction: bool,
}

/// What is applied as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    /// Where it begins and ends in the stream.
    pub start: ReplicationOffset,
    pub end: ReplicationOffset,
    pub is_transaction: bool,
    /// As it came, with what begins and ends a transaction.
    pub bytes: &'a [u8],
    args: &'a [ArgRange],
    commands: &'a [Range<usize>],
}

impl<'a> Unit<'a> {
    /// The commands, by where their arguments stand in `bytes`.
    pub fn commands(&self) -> impl ExactSizeIterator<Item = &'a [ArgRange]> {
        let args = self.args;
        self.commands.iter().map(move |range| &args[range.clone()])
    }
}

/// What stands in the place of a command. The stream cannot be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    #[error("a command has no arguments")]
    NoArguments,
    #[error("MULTI within a transaction")]
    NestedMulti,
    #[error("EXEC without MULTI")]
    LoneExec,
}

impl StreamReader {
    /// For a stream whose first byte stands at `offset`.
    pub fn new(offset: ReplicationOffset) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            offset,
            cut: 0,
            at: 0,
            empty_lines: 0,
            parser: Parser::new(),
            in_transaction: false,
            ready: VecDeque::new(),
            failure: None,
            args: Vec::new(),
            commands: Vec::new(),
            args_len: 0,
            own_args: 0,
            own_commands: 0,
        }
    }

    /// Where the unit begins that is handed out next.
    pub fn offset(&self) -> ReplicationOffset {
        self.offset
    }

    /// Where all that was received ends.
    pub fn received(&self) -> ReplicationOffset {
        ReplicationOffset(self.offset.0 + self.pending_bytes() as u64)
    }

    /// Bytes that were received and not handed out.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start - self.empty_lines
    }

    /// Takes in what has come.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() || DONE_BYTES_MAX <= self.start {
            self.drop_handed_out();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next unit, if all of it has come. After an error nothing more can be read.
    pub fn next_unit(&mut self) -> Result<Option<Unit<'_>>, StreamError> {
        self.cut_ahead();
        let Some(Ready { bytes, commands, is_transaction }) = self.ready.pop_front() else {
            return self.failure.map_or(Ok(None), Err);
        };
        self.empty_lines -= bytes.start - self.start;
        self.start = bytes.end;
        let start = self.offset;
        self.offset.0 += bytes.len() as u64;
        Ok(Some(Unit {
            start,
            end: self.offset,
            is_transaction,
            bytes: &self.buffer[bytes],
            args: &self.args,
            commands: &self.commands[commands],
        }))
    }

    /// Cuts some units, if none is ready. Returns whether there are new ones.
    pub fn cut_ahead(&mut self) -> bool {
        if !self.ready.is_empty() || self.failure.is_some() {
            return false;
        }
        self.forget_handed_out();
        while self.ready.len() < UNITS_AHEAD {
            match self.cut_unit() {
                Ok(Some(unit)) => self.ready.push_back(unit),
                Ok(None) => break,
                Err(error) => {
                    self.failure = Some(error);
                    break;
                }
            }
        }
        !self.ready.is_empty()
    }

    /// The first argument of each unit that is ready: most likely its key.
    pub fn keys_ahead(&self) -> impl Iterator<Item = &[u8]> {
        self.ready.iter().filter_map(|unit| {
            let args = self.commands[unit.commands.clone()].first()?.clone();
            Some(self.args[args].get(1)?.of(&self.buffer[unit.bytes.clone()]))
        })
    }

    fn drop_handed_out(&mut self) {
        let done = std::mem::take(&mut self.start);
        self.buffer.drain(..done);
        self.cut -= done;
        for unit in &mut self.ready {
            unit.bytes = unit.bytes.start - done..unit.bytes.end - done;
        }
        if self.buffer.is_empty() && KEPT_BYTES_MAX < self.buffer.capacity() {
            self.buffer = Vec::new();
        }
    }

    /// Keeps the arguments of the unit that has begun only.
    fn forget_handed_out(&mut self) {
        let gone = std::mem::take(&mut self.own_args);
        self.args.drain(..gone);
        self.args_len -= gone;
        self.commands.drain(..std::mem::take(&mut self.own_commands));
        if gone != 0 {
            for args in &mut self.commands {
                *args = args.start - gone..args.end - gone;
            }
        }
    }

    /// The unit that begins at `cut`, if all of it has come.
    fn cut_unit(&mut self) -> Result<Option<Ready>, StreamError> {
        if self.at == 0 {
            self.skip_empty_lines();
        }
        loop {
            let bytes = &self.buffer[self.cut + self.at..];
            // What an incomplete command has left here is parsed again.
            self.args.truncate(self.args_len);
            let consumed = match self.parser.parse_command(bytes, &mut self.args, &LIMITS)? {
                Parsed::Request { consumed, .. } => consumed,
                Parsed::Empty { .. } => return Err(StreamError::NoArguments),
                Parsed::Incomplete { .. } => return Ok(None),
            };
            let args = self.args_len..self.args.len();
            self.args[args.clone()].iter_mut().for_each(|it| it.start += self.at);
            self.at += consumed;
            self.args_len = args.end;
            match (self.is_named(&args, b"MULTI"), self.is_named(&args, b"EXEC")) {
                (true, _) if self.in_transaction => return Err(StreamError::NestedMulti),
                (true, _) => self.in_transaction = true,
                (_, true) if !self.in_transaction => return Err(StreamError::LoneExec),
                (_, true) => return Ok(Some(self.end_unit())),
                _ => {
                    self.commands.push(args);
                    if !self.in_transaction {
                        return Ok(Some(self.end_unit()));
                    }
                }
            }
        }
    }

    /// An empty line between units says that the master is alive.
    fn skip_empty_lines(&mut self) {
        while self.buffer.get(self.cut) == Some(&b'\n') {
            self.cut += 1;
            self.empty_lines += 1;
        }
        if self.ready.is_empty() {
            self.start = self.cut;
            self.empty_lines = 0;
        }
    }

    fn end_unit(&mut self) -> Ready {
        let begin = self.cut;
        self.cut += std::mem::take(&mut self.at);
        self.own_args = self.args_len;
        let commands = self.own_commands..self.commands.len();
        self.own_commands = commands.end;
        let is_transaction = std::mem::take(&mut self.in_transaction);
        Ready { bytes: begin..self.cut, commands, is_transaction }
    }

    fn is_named(&self, args: &Range<usize>, name: &[u8]) -> bool {
        let is_alone = args.len() == 1;
        is_alone && self.args[args.start].of(&self.buffer[self.cut..]).eq_ignore_ascii_case(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n\n\n*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nset\r\n\
        $1\r\nk\r\n$4\r\nEXEC\r\n*2\r\n$3\r\nDEL\r\n$1\r\nx\r\n*1\r\n$4\r\nexec\r\n*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nmulti\r\n";

    fn units_of(pieces: &[&[u8]]) -> Vec<(u64, u64, bool, Vec<String>)> {
        let mut reader = StreamReader::new(ReplicationOffset(100));
        let mut found = Vec::new();
        for piece in pieces {
            reader.receive(piece);
            let mut ahead = Vec::new();
            let mut keys = Vec::new();
            loop {
                if reader.cut_ahead() {
                    ahead.extend(reader.keys_ahead().map(<[u8]>::to_vec));
                }
                let Some(unit) = reader.next_unit().unwrap() else { break };
                let key = unit.commands().next().and_then(|it| Some(it.get(1)?.of(unit.bytes)));
                keys.extend(key.map(<[u8]>::to_vec));
                assert_eq!(unit.bytes.len() as u64, unit.end.0 - unit.start.0);
                let text = |args: &[ArgRange]| {
                    let words = args.iter().map(|it| String::from_utf8_lossy(it.of(unit.bytes)));
                    words.collect::<Vec<_>>().join(" ")
                };
                let commands = unit.commands().map(text).collect();
                found.push((unit.start.0, unit.end.0, unit.is_transaction, commands));
            }
            assert_eq!(ahead, keys);
        }
        assert_eq!(reader.received().0, 100 + STREAM.len() as u64 - 2);
        assert_eq!(reader.pending_bytes(), b"*1\r\n$5\r\nmulti\r\n".len());
        found
    }

    #[test]
    fn a_transaction_is_one_unit_and_empty_lines_are_none() {
        let owned = |commands: &[&str]| commands.iter().map(|&it| it.to_owned()).collect();
        let expected: Vec<(u64, u64, bool, Vec<String>)> = vec![
            (100, 123, false, owned(&["SELECT 3"])),
            (123, 137, false, owned(&["PING"])),
            (137, 216, true, owned(&["set k EXEC", "DEL x"])),
            (216, 230, false, owned(&["PING"])),
        ];
        assert_eq!(units_of(&[STREAM]), expected);
        let single: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(units_of(&single), expected);
    }

    #[test]
    fn what_is_no_command_is_an_error() {
        for (bytes, expected) in [
            (&b"*0\r\n"[..], StreamError::NoArguments),
            (b"*1\r\n$4\r\nEXEC\r\n", StreamError::LoneExec),
            (b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n", StreamError::NestedMulti),
            (b"PING\r\n", StreamError::Protocol(ProtocolError::MultibulkLength)),
        ] {
            let mut reader = StreamReader::new(ReplicationOffset(0));
            reader.receive(bytes);
            assert_eq!(reader.next_unit().unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|it| &STREAM[it[0]..it[1]]).collect();
            prop_assert_eq!(units_of(&pieces), units_of(&[STREAM]));
        }
    }
}
