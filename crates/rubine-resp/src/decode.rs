//! Replies read back into values, for tests, transcripts and tools. Not for a hot path: an incomplete
//! reply is decoded again from its beginning when more of it has arrived.

use memchr::memchr;
use rubine_base::number::{parse_i64, parse_u64};

/// Deepest nesting that is followed.
pub const DEPTH_MAX: usize = 128;

/// A reply of RESP2 or RESP3. Numbers that are not integers keep their text, so that it can be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    /// An error that may contain line breaks (`!`).
    BulkError(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1` or `_`.
    Null,
    /// `*-1`.
    NullArray,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Attribute(Vec<(Value, Value)>),
    Boolean(bool),
    Double(Vec<u8>),
    BigNumber(Vec<u8>),
    Verbatim {
        format: [u8; 3],
        text: Vec<u8>,
    },
}

/// Bytes that are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A first byte that starts no type of value.
    #[error("no value starts with byte {0:#04x}")]
    UnknownType(u8),
    /// A number, length or word that cannot be read.
    #[error("malformed line after '{}'", char::from(*.0))]
    MalformedLine(u8),
    /// Bytes of a known length that do not end in `\r\n`.
    #[error("a bulk value does not end in CRLF")]
    LineEnd,
    /// More than [`DEPTH_MAX`] levels.
    #[error("a value is nested too deeply")]
    TooDeep,
}

/// Decodes the value at the start of `bytes`; returns it with its length, or `None` if it goes on behind them.
pub fn decode(bytes: &[u8]) -> Result<Option<(Value, usize)>, DecodeError> {
    let mut rest = bytes;
    match take_value(&mut rest, DEPTH_MAX) {
        Ok(value) => Ok(Some((value, bytes.len() - rest.len()))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed(error)) => Err(error),
    }
}

enum Stop {
    Incomplete,
    Malformed(DecodeError),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

fn take_value(rest: &mut &[u8], depth_left: usize) -> Result<Value, Stop> {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return Err(DecodeError::TooDeep.into());
    };
    let line = take_line(rest)?;
    let Some((&kind, text)) = line.split_first() else {
        return Err(DecodeError::UnknownType(b'\r').into());
    };
    let malformed = DecodeError::MalformedLine(kind);
    let count = || parse_u64(text).ok_or(malformed);
    Ok(match kind {
        b'+' => Value::Simple(text.to_vec()),
        b'-' => Value::Error(text.to_vec()),
        b':' => Value::Integer(parse_i64(text).ok_or(malformed)?),
        b'$' if text == b"-1" => Value::Null,
        b'*' if text == b"-1" => Value::NullArray,
        b'_' if text.is_empty() => Value::Null,
        b'$' => Value::Bulk(take_bulk(rest, count()?)?.to_vec()),
        b'!' => Value::BulkError(take_bulk(rest, count()?)?.to_vec()),
        b'=' => match take_bulk(rest, count()?)?.split_first_chunk() {
            Some((&[a, b, c, b':'], text)) => {
                Value::Verbatim { format: [a, b, c], text: text.to_vec() }
            }
            _ => return Err(malformed.into()),
        },
        b'*' => Value::Array(take_values(rest, count()?, depth_left)?),
        b'~' => Value::Set(take_values(rest, count()?, depth_left)?),
        b'>' => Value::Push(take_values(rest, count()?, depth_left)?),
        b'%' => Value::Map(take_pairs(rest, count()?, depth_left)?),
        b'|' => Value::Attribute(take_pairs(rest, count()?, depth_left)?),
        b'#' if text == b"t" => Value::Boolean(true),
        b'#' if text == b"f" => Value::Boolean(false),
        b',' => Value::Double(text.to_vec()),
        b'(' => Value::BigNumber(text.to_vec()),
        b'_' | b'#' => return Err(malformed.into()),
        _ => return Err(DecodeError::UnknownType(kind).into()),
    })
}

/// Takes the bytes before `\r\n`, and that.
fn take_line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Stop> {
    // Simple strings may contain a lone line feed in theory only: the first one ends the line.
    let line_feed = memchr(b'\n', rest).ok_or(Stop::Incomplete)?;
    let line = rest[..line_feed].strip_suffix(b"\r").ok_or(DecodeError::LineEnd)?;
    *rest = &rest[line_feed + 1..];
    Ok(line)
}

fn take_bulk<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], Stop> {
    let len = usize::try_from(len).map_err(|_| Stop::Incomplete)?;
    let (bulk, behind) = rest.split_at_checked(len).ok_or(Stop::Incomplete)?;
    let (line_end, behind) = behind.split_first_chunk().ok_or(Stop::Incomplete)?;
    if line_end != b"\r\n" {
        return Err(DecodeError::LineEnd.into());
    }
    *rest = behind;
    Ok(bulk)
}

fn take_values(rest: &mut &[u8], count: u64, depth_left: usize) -> Result<Vec<Value>, Stop> {
    // Collected one by one: the count alone is no reason to reserve memory.
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(take_value(rest, depth_left)?);
    }
    Ok(values)
}

fn take_pairs(
    rest: &mut &[u8],
    count: u64,
    depth_left: usize,
) -> Result<Vec<(Value, Value)>, Stop> {
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((take_value(rest, depth_left)?, take_value(rest, depth_left)?));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::{DEPTH_MAX, DecodeError, Value, decode};

    fn check(bytes: &[u8], expected: Value) {
        assert_eq!(decode(bytes), Ok(Some((expected, bytes.len()))));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "{}", bytes[..cut].escape_ascii());
        }
    }

    #[test]
    fn every_type() {
        check(b"+OK\r\n", Value::Simple(b"OK".to_vec()));
        check(b"-ERR no\r\n", Value::Error(b"ERR no".to_vec()));
        check(b"!6\r\nERR\r\n!\r\n", Value::BulkError(b"ERR\r\n!".to_vec()));
        check(b":-12\r\n", Value::Integer(-12));
        check(b"$3\r\na\r\n\r\n", Value::Bulk(b"a\r\n".to_vec()));
        check(b"$-1\r\n", Value::Null);
        check(b"_\r\n", Value::Null);
        check(b"*-1\r\n", Value::NullArray);
        check(b"*2\r\n:1\r\n*0\r\n", Value::Array(vec![Value::Integer(1), Value::Array(vec![])]));
        check(
            b"%1\r\n+a\r\n:1\r\n",
            Value::Map(vec![(Value::Simple(b"a".to_vec()), Value::Integer(1))]),
        );
        check(
            b"|1\r\n:1\r\n:2\r\n",
            Value::Attribute(vec![(Value::Integer(1), Value::Integer(2))]),
        );
        check(b"~1\r\n:1\r\n", Value::Set(vec![Value::Integer(1)]));
        check(b">1\r\n:1\r\n", Value::Push(vec![Value::Integer(1)]));
        check(b"#t\r\n", Value::Boolean(true));
        check(b"#f\r\n", Value::Boolean(false));
        check(b",1.5\r\n", Value::Double(b"1.5".to_vec()));
        check(
            b"(123456789012345678901234567890\r\n",
            Value::BigNumber(b"123456789012345678901234567890".to_vec()),
        );
        check(b"=6\r\ntxt:ab\r\n", Value::Verbatim { format: *b"txt", text: b"ab".to_vec() });
    }

    #[test]
    fn malformed_bytes_are_refused() {
        for bytes in [
            &b"x\r\n"[..],
            b"\r\n",
            b":1x\r\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"*-2\r\n",
            b"#x\r\n",
            b"_x\r\n",
            b"=2\r\nab\r\n",
            b"$1\r\nabc",
            b"+OK\n",
        ] {
            assert!(decode(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert_eq!(decode(&b"*1\r\n".repeat(DEPTH_MAX + 1)), Err(DecodeError::TooDeep));
        assert_eq!(decode(b"*18446744073709551615\r\n"), Ok(None));
        assert_eq!(decode(b"$18446744073709551615\r\n"), Ok(None));
    }
}
