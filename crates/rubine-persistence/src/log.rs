//! The commands of a log file, one unit after the other: a command, or a transaction, which is never handed out in part.
//! Never runs a command, and never keeps more in memory than the unit at hand.

use std::io::{self, Read};
use std::ops::Range;

use rubine_resp::parser::{ArgRange, Limits, Parsed, Parser, ProtocolError, Sender};
use thiserror::Error;

use crate::place::StreamPlace;
use crate::timestamp;

/// What is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Whatever was accepted once is accepted again.
const LIMITS: Limits = Limits { bulk_bytes_max: i64::MAX, sender: Sender::Primary };

/// Reads a log from `source`.
pub struct LogReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where in the buffer the next unit begins.
    start: usize,
    /// Where in the file that is.
    position: u64,
    /// Nothing comes behind the buffer.
    is_ended: bool,
    parser: Parser,
    /// The last time mark.
    second: Option<u64>,
    /// Where in a history this is, if the last line says so.
    place: Option<StreamPlace>,
    /// Lines read so far.
    lines: u64,
    args: Vec<ArgRange>,
    commands: Vec<Range<usize>>,
}

/// What is applied as a whole.
#[derive(Debug)]
pub struct Unit<'a> {
    /// Where it begins in the file, with the time marks in front of it.
    pub start: u64,
    pub end: u64,
    /// When it was written, Unix seconds, if a mark says so.
    pub second: Option<u64>,
    pub is_transaction: bool,
    bytes: &'a [u8],
    args: &'a [ArgRange],
    commands: &'a [Range<usize>],
}

impl Unit<'_> {
    /// The commands: the bytes in which the arguments stand, and where.
    pub fn commands(&self) -> impl ExactSizeIterator<Item = (&[u8], &[ArgRange])> {
        self.commands.iter().map(|range| (self.bytes, &self.args[range.clone()]))
    }
}

/// Why a log cannot be read to its end.
#[derive(Debug, Error)]
pub enum LogError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file ends within a unit that begins at `valid_up_to`.
    #[error("the file ends within {} that begins at offset {valid_up_to}", if *in_transaction { "a transaction" } else { "a command" })]
    Torn { valid_up_to: u64, in_transaction: bool },
    /// There is no command at `offset`, in a unit that begins at `valid_up_to`.
    #[error("{what} at offset {offset}, line {line}")]
    Malformed { valid_up_to: u64, offset: u64, line: u64, what: What },
}

/// What stands in the place of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum What {
    #[error("no command begins with byte 0x{0:02x}")]
    Byte(u8),
    #[error("a command has no arguments")]
    NoArguments,
    #[error("{0}")]
    Protocol(ProtocolError),
    #[error("an annotation does not end")]
    LongAnnotation,
    #[error("MULTI within a transaction")]
    NestedMulti,
    #[error("EXEC without MULTI")]
    LoneExec,
}

/// Whether a file begins as an RDB file does, which a base may be, or begin with.
pub fn is_rdb(beginning: &[u8]) -> bool {
    beginning.starts_with(b"REDIS0") || beginning.starts_with(b"VALKEY")
}

/// What was found at a place within a unit.
enum Step {
    Annotation { len: usize },
    Command { len: usize, first_arg: usize },
    End,
}

impl<R: Read> LogReader<R> {
    /// Reads from `source`, whose first byte stands at `position` of the file.
    pub fn new(source: R, position: u64) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            position,
            is_ended: false,
            parser: Parser::new(),
            second: None,
            place: None,
            lines: 0,
            args: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Where the next unit begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Lines read so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last time mark, Unix seconds.
    pub fn second(&self) -> Option<u64> {
        self.second
    }

    /// Where in a history what was read up to here belongs, if the last line read says so.
    pub fn place(&self) -> Option<&StreamPlace> {
        self.place.as_ref()
    }

    /// The next unit, or `None` at the end. After an error nothing more can be read.
    pub fn next_unit(&mut self) -> Result<Option<Unit<'_>>, LogError> {
        self.args.clear();
        self.commands.clear();
        let (mut at, mut multi_at) = (0, None);
        loop {
            let (len, first_arg) = match self.step(at, multi_at.is_some())? {
                Step::End if multi_at.is_none() => {
                    self.advance(at);
                    return Ok(None);
                }
                Step::End => return Err(self.torn(true)),
                Step::Annotation { len } => {
                    at += len;
                    continue;
                }
                Step::Command { len, first_arg } => (len, first_arg),
            };
            let args = first_arg..self.args.len();
            let is_multi = self.is_named(args.clone(), b"MULTI");
            let is_exec = self.is_named(args.clone(), b"EXEC");
            match (is_multi, is_exec, multi_at) {
                (true, _, None) => multi_at = Some(at),
                (true, _, Some(_)) => return Err(self.malformed(at, What::NestedMulti)),
                (_, true, None) => return Err(self.malformed(at, What::LoneExec)),
                (_, true, Some(_)) => {}
                _ => self.commands.push(args),
            }
            at += len;
            if !is_multi && (is_exec || multi_at.is_none()) {
                return Ok(Some(self.unit(at, multi_at.is_some())));
            }
        }
    }

    fn unit(&mut self, len: usize, is_transaction: bool) -> Unit<'_> {
        let (start, begin) = (self.position, self.start);
        self.advance(len);
        Unit {
            start,
            end: self.position,
            second: self.second,
            is_transaction,
            bytes: &self.buffer[begin..begin + len],
            args: &self.args,
            commands: &self.commands,
        }
    }

    /// Finds out what stands `at` bytes behind the beginning of the unit.
    fn step(&mut self, at: usize, in_transaction: bool) -> Result<Step, LogError> {
        loop {
            let want = match self.buffer.get(self.start + at) {
                None if self.is_ended => return Ok(Step::End),
                None => 1,
                Some(b'#') => match self.annotation(at)? {
                    Some(len) => return Ok(Step::Annotation { len }),
                    None => 1,
                },
                Some(b'*') => {
                    let first_arg = self.args.len();
                    match self.command(at)? {
                        Parsed::Request { consumed, .. } => {
                            return Ok(Step::Command { len: consumed, first_arg });
                        }
                        Parsed::Empty { .. } => return Err(self.malformed(at, What::NoArguments)),
                        Parsed::Incomplete { want } => want,
                    }
                }
                Some(&other) => return Err(self.malformed(at, What::Byte(other))),
            };
            let has_begun = self.start + at < self.buffer.len();
            if self.is_ended && has_begun {
                return Err(self.torn(in_transaction));
            }
            self.fill(want)?;
        }
    }

    /// Reads the annotation at `at`; `None` if its end is not there yet.
    fn annotation(&mut self, at: usize) -> Result<Option<usize>, LogError> {
        let rest = &self.buffer[self.start + at..];
        let head = &rest[..rest.len().min(timestamp::LINE_BYTES_MAX)];
        let Some(end) = head.iter().position(|it| *it == b'\n') else {
            let is_too_long = timestamp::LINE_BYTES_MAX <= rest.len();
            return if is_too_long {
                Err(self.malformed(at, What::LongAnnotation))
            } else {
                Ok(None)
            };
        };
        let line = head[..end].trim_ascii_end();
        if let Some(second) = timestamp::parse(line) {
            self.second = Some(second);
        }
        self.place = StreamPlace::parse(line);
        self.lines += 1;
        Ok(Some(end + 1))
    }

    /// Parses the command at `at`. Its arguments are counted from the beginning of the unit.
    fn command(&mut self, at: usize) -> Result<Parsed, LogError> {
        let first_arg = self.args.len();
        let bytes = &self.buffer[self.start + at..];
        let parsed = self.parser.parse_command(bytes, &mut self.args, &LIMITS);
        let parsed = parsed.map_err(|error| self.malformed(at, What::Protocol(error)))?;
        if let Parsed::Request { arg_count, .. } = parsed {
            self.place = None;
            self.args[first_arg..].iter_mut().for_each(|it| it.start += at);
            self.lines += 1 + 2 * arg_count as u64;
        }
        Ok(parsed)
    }

    fn is_named(&self, args: Range<usize>, name: &[u8]) -> bool {
        let bytes = &self.buffer[self.start..];
        let is_alone = args.len() == 1;
        is_alone && self.args[args.start].of(bytes).eq_ignore_ascii_case(name)
    }

    fn advance(&mut self, len: usize) {
        self.start += len;
        self.position += len as u64;
    }

    /// Reads more. What was handed out is forgotten first.
    fn fill(&mut self, want: usize) -> Result<(), LogError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let len = self.buffer.len();
        self.buffer.resize(len + want.max(CHUNK_BYTES), 0);
        let count = loop {
            match self.source.read(&mut self.buffer[len..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(len + *count.as_ref().unwrap_or(&0));
        self.is_ended = count? == 0;
        Ok(())
    }

    fn torn(&self, in_transaction: bool) -> LogError {
        LogError::Torn { valid_up_to: self.position, in_transaction }
    }

    fn malformed(&self, at: usize, what: What) -> LogError {
        let offset = self.position + at as u64;
        LogError::Malformed { valid_up_to: self.position, offset, line: self.lines + 1, what }
    }
}

#[cfg(test)]
mod tests;
