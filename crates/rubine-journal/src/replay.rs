//! Splits the log's bytes into commands again, for tests, for replaying them in-process and for
//! readers that filter. Understands SELECT, because the journal writes it, and nothing else.

use rubine_base::number::parse_u64;
use rubine_resp::parser::{ArgRange, Limits, Parsed, Parser, Sender};
use thiserror::Error;

use crate::Offset;

/// Whatever was appended is understood.
const LIMITS: Limits = Limits { bulk_bytes_max: i64::MAX, sender: Sender::Primary };

/// The longest line that announces a count: `*`, the number and the end of the line.
const COUNT_LINE_BYTES_MAX: usize = 1 + 20 + 2;

/// The bytes are not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no command at offset {offset} of the journal")]
pub struct Malformed {
    pub offset: Offset,
}

/// One command of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed<'a> {
    /// Where it begins.
    pub offset: Offset,
    pub database: u32,
    pub arguments: Vec<&'a [u8]>,
}

/// The commands in `bytes`, which stand at `offset`, with `database` selected. Stops before a command
/// that is not complete; [`Replay::position`] says where.
pub struct Replay<'a> {
    bytes: &'a [u8],
    offset: Offset,
    database: u32,
    parser: Parser,
    ranges: Vec<ArgRange>,
}

impl<'a> Replay<'a> {
    pub fn new(bytes: &'a [u8], offset: Offset, database: u32) -> Self {
        Self { bytes, offset, database, parser: Parser::new(), ranges: Vec::new() }
    }

    /// The offset of the first byte that was not replayed.
    pub fn position(&self) -> Offset {
        self.offset
    }

    /// The database that the next command applies to.
    pub fn database(&self) -> u32 {
        self.database
    }
}

impl<'a> Iterator for Replay<'a> {
    type Item = Result<Replayed<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.offset;
            let Ok(arguments) = self.take_command() else {
                self.bytes = &[];
                return Some(Err(Malformed { offset }));
            };
            let arguments = arguments?;
            match arguments[..] {
                [name, database] if name.eq_ignore_ascii_case(b"SELECT") => {
                    let database = parse_u64(database).and_then(|it| u32::try_from(it).ok());
                    let Some(database) = database else {
                        (self.bytes, self.offset) = (&[], offset);
                        return Some(Err(Malformed { offset }));
                    };
                    self.database = database;
                }
                _ => return Some(Ok(Replayed { offset, database: self.database, arguments })),
            }
        }
    }
}

impl<'a> Replay<'a> {
    /// The next command, or `None` if it is not complete. An error says that it is none.
    fn take_command(&mut self) -> Result<Option<Vec<&'a [u8]>>, ()> {
        self.ranges.clear();
        match self.parser.parse_command(self.bytes, &mut self.ranges, &LIMITS) {
            Ok(Parsed::Request { consumed, .. }) => {
                let (bytes, rest) = self.bytes.split_at(consumed);
                self.bytes = rest;
                self.offset += consumed as u64;
                Ok(Some(self.ranges.iter().map(|it| it.of(bytes)).collect()))
            }
            // The parser waits for the end of a line for long; no number is as long.
            Ok(Parsed::Incomplete { .. }) => {
                let head = &self.bytes[..self.bytes.len().min(COUNT_LINE_BYTES_MAX)];
                let may_end = head.len() < COUNT_LINE_BYTES_MAX || head.contains(&b'\n');
                may_end.then_some(None).ok_or(())
            }
            Ok(Parsed::Empty { .. }) | Err(_) => Err(()),
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &str) {
        let bytes = text.replace(' ', "\r\n");
        let mut replay = Replay::new(bytes.as_bytes(), 100, 0);
        let mut seen: Vec<String> = Vec::new();
        for item in &mut replay {
            seen.push(match item {
                Ok(Replayed { offset, database, arguments }) => {
                    let arguments = arguments.iter().map(|bytes| String::from_utf8_lossy(bytes));
                    format!("{offset}@{database} {}", arguments.collect::<Vec<_>>().join(" "))
                }
                Err(Malformed { offset }) => format!("{offset} malformed"),
            });
        }
        assert_eq!(format!("{}; then {}", seen.join(", "), replay.position()), expected);
    }

    #[test]
    fn splits_commands_and_stops_where_one_is_missing() {
        check("", "; then 100");
        check("*1 $4 PING ", "100@0 PING; then 114");
        check("*2 $6 select $1 7 *1 $1 a *1 $1 b ", "123@7 a, 134@7 b; then 145");
        check("*1 $1 a *2 $1 b $3 c", "100@0 a; then 111");
        check("*1 $1 a *1 $1 b", "100@0 a; then 111");
        check("*1 $1 a *1", "100@0 a; then 111");
        check("*1 $1 a +OK ", "100@0 a, 111 malformed; then 111");
        check("*0 *1 $1 a ", "100 malformed; then 100");
        check("*-1 ", "100 malformed; then 100");
        check("*1 $1 abc", "100 malformed; then 100");
        check("*99999999999999999999 ", "100 malformed; then 100");
        check("*1000000000000000000000000", "100 malformed; then 100");
        check("*1000000 $9223372036854775807 a", "; then 100");
        check("*1000000 $18446744073709551615 a", "100 malformed; then 100");
        check("*2 $6 SELECT $1 x ", "100 malformed; then 100");
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(
            prop_oneof![Just(b'*'), Just(b'$'), Just(b'1'), Just(b'\r'), Just(b'\n'), any::<u8>()],
            0..200,
        )) {
            let mut replay = Replay::new(&bytes, 0, 0);
            let count = (&mut replay).count();
            prop_assert!(count <= bytes.len());
            prop_assert!(replay.position() <= bytes.len() as u64);
        }
    }
}
