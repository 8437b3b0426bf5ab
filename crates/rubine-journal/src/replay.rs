//! Splits the log's bytes into commands again, for tests, for replaying them in-process and for
//! readers that filter. Understands SELECT, because the journal writes it, and nothing else.

use thiserror::Error;

use crate::Offset;

/// More arguments than any command of ours has: a count above it is damage.
const ARGUMENT_COUNT_MAX: usize = 1 << 30;

/// The shortest argument, `$0\r\n\r\n`. It bounds what a count can make us allocate.
const ARGUMENT_BYTES_MIN: usize = 6;

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
}

impl<'a> Replay<'a> {
    pub fn new(bytes: &'a [u8], offset: Offset, database: u32) -> Self {
        Self { bytes, offset, database }
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
            let (arguments, rest, selected) = match parse_step(self.bytes) {
                Ok(step) => step,
                Err(Stop::Incomplete) => return None,
                Err(Stop::Malformed) => {
                    self.bytes = &[];
                    return Some(Err(Malformed { offset }));
                }
            };
            self.offset += (self.bytes.len() - rest.len()) as u64;
            self.bytes = rest;
            match selected {
                Some(database) => self.database = database,
                None => return Some(Ok(Replayed { offset, database: self.database, arguments })),
            }
        }
    }
}

enum Stop {
    Incomplete,
    Malformed,
}

/// Parses a command and, if it is a SELECT, its database.
#[expect(clippy::type_complexity, reason = "command, rest and database, for one caller")]
fn parse_step(bytes: &[u8]) -> Result<(Vec<&[u8]>, &[u8], Option<u32>), Stop> {
    let (arguments, rest) = parse_command(bytes)?;
    let selected = match arguments[..] {
        [name, database] if name.eq_ignore_ascii_case(b"SELECT") => {
            let database = parse_digits(database).and_then(|number| u32::try_from(number).ok());
            Some(database.ok_or(Stop::Malformed)?)
        }
        _ => None,
    };
    Ok((arguments, rest, selected))
}

fn parse_command(bytes: &[u8]) -> Result<(Vec<&[u8]>, &[u8]), Stop> {
    let (count, mut rest) = parse_length(bytes, b'*')?;
    if count == 0 || ARGUMENT_COUNT_MAX < count {
        return Err(Stop::Malformed);
    }
    let mut arguments = Vec::with_capacity(count.min(rest.len() / ARGUMENT_BYTES_MIN));
    for _ in 0..count {
        let (length, after) = parse_length(rest, b'$')?;
        let (argument, after) = after.split_at_checked(length).ok_or(Stop::Incomplete)?;
        arguments.push(argument);
        rest = match after {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Err(Stop::Incomplete),
            _ => return Err(Stop::Malformed),
        };
    }
    Ok((arguments, rest))
}

/// Parses a line of `kind` and a number.
fn parse_length(bytes: &[u8], kind: u8) -> Result<(usize, &[u8]), Stop> {
    /// `kind`, the longest number, `\r`.
    const LINE_BYTES_MAX: usize = 1 + 20 + 1;

    let (&first, rest) = bytes.split_first().ok_or(Stop::Incomplete)?;
    if first != kind {
        return Err(Stop::Malformed);
    }
    let head = &rest[..rest.len().min(LINE_BYTES_MAX)];
    let Some(line_end) = head.iter().position(|&byte| byte == b'\n') else {
        let may_continue = rest.len() < LINE_BYTES_MAX;
        return Err(if may_continue { Stop::Incomplete } else { Stop::Malformed });
    };
    let digits = head[..line_end].strip_suffix(b"\r").ok_or(Stop::Malformed)?;
    let length = parse_digits(digits).ok_or(Stop::Malformed)?;
    Ok((length, &rest[line_end + 1..]))
}

fn parse_digits(digits: &[u8]) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok()?;
    is_number.then(|| text.parse().ok()).flatten()
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
        check("*1000000 $18446744073709551615 a", "; then 100");
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
