//! The stream of a master, cut into units: a command, or a transaction, which is never handed out in part. Bytes may arrive in
//! pieces of any size. Runs no command, and keeps no more than the unit that has begun.

use std::ops::Range;

use rubine_journal::ReplicationOffset;
use rubine_resp::parser::{ArgRange, Limits, Parsed, Parser, ProtocolError, Sender};
use thiserror::Error;

/// Whatever a master has accepted once is accepted again.
const LIMITS: Limits = Limits { bulk_bytes_max: i64::MAX, sender: Sender::Primary };

/// From so many bytes on, what was handed out is cut off the buffer before more is read.
const DONE_BYTES_MAX: usize = 64 * 1024;
/// A buffer that was larger is not kept.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Cuts a stream into units.
pub struct StreamReader {
    buffer: Vec<u8>,
    /// Where in the buffer the next unit begins.
    start: usize,
    /// Where in the stream that is.
    offset: ReplicationOffset,
    /// How much of the unit is parsed.
    at: usize,
    parser: Parser,
    in_transaction: bool,
    /// How many arguments belong to commands that are complete.
    args_len: usize,
    args: Vec<ArgRange>,
    commands: Vec<Range<usize>>,
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
            at: 0,
            parser: Parser::new(),
            in_transaction: false,
            args_len: 0,
            args: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Where the unit begins that is handed out next.
    pub fn offset(&self) -> ReplicationOffset {
        self.offset
    }

    /// Where all that was received ends.
    pub fn received(&self) -> ReplicationOffset {
        ReplicationOffset(self.offset.0 + (self.buffer.len() - self.start) as u64)
    }

    /// Bytes that were received and belong to no complete unit yet.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Takes in what has come.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.start = 0;
            self.buffer.clear();
            if KEPT_BYTES_MAX < self.buffer.capacity() {
                self.buffer = Vec::new();
            }
        } else if DONE_BYTES_MAX <= self.start {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next unit, if all of it has come. After an error nothing more can be read.
    pub fn next_unit(&mut self) -> Result<Option<Unit<'_>>, StreamError> {
        if self.at == 0 {
            self.begin_unit();
        }
        loop {
            let bytes = &self.buffer[self.start + self.at..];
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
                (_, true) => return Ok(Some(self.end_unit(true))),
                _ => {
                    self.commands.push(args);
                    if !self.in_transaction {
                        return Ok(Some(self.end_unit(false)));
                    }
                }
            }
        }
    }

    /// Forgets the unit before. An empty line between units says that the master is alive, and counts for nothing.
    fn begin_unit(&mut self) {
        self.args.clear();
        self.args_len = 0;
        self.commands.clear();
        while self.buffer.get(self.start) == Some(&b'\n') {
            self.start += 1;
        }
    }

    fn end_unit(&mut self, is_transaction: bool) -> Unit<'_> {
        let (start, begin, len) = (self.offset, self.start, self.at);
        self.offset.0 += len as u64;
        self.start += len;
        self.at = 0;
        self.in_transaction = false;
        Unit {
            start,
            end: self.offset,
            is_transaction,
            bytes: &self.buffer[begin..begin + len],
            args: &self.args,
            commands: &self.commands,
        }
    }

    fn is_named(&self, args: &Range<usize>, name: &[u8]) -> bool {
        let is_alone = args.len() == 1;
        is_alone && self.args[args.start].of(&self.buffer[self.start..]).eq_ignore_ascii_case(name)
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
            while let Some(unit) = reader.next_unit().unwrap() {
                assert_eq!(unit.bytes.len() as u64, unit.end.0 - unit.start.0);
                let text = |args: &[ArgRange]| {
                    let words = args.iter().map(|it| String::from_utf8_lossy(it.of(unit.bytes)));
                    words.collect::<Vec<_>>().join(" ")
                };
                let commands = unit.commands().map(text).collect();
                found.push((unit.start.0, unit.end.0, unit.is_transaction, commands));
            }
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
