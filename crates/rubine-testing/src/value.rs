//! A RESP value as a client reads it, and its decoder. Written apart from `rubine-resp` on purpose: a mistake in the
//! writer must not be hidden by the same mistake in the reader. Serves tests and tools, not speed.

use std::fmt;

/// How deeply a reply may nest before it is taken for garbage.
const DEPTH_MAX: usize = 64;

/// One reply, RESP2 or RESP3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1`, and RESP3's `_`.
    Nil,
    /// `*-1`, which clients of RESP2 tell from `$-1`.
    NilArray,
    Array(Vec<Value>),
    Set(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Push(Vec<Value>),
    /// Attributes, and the value that they are about.
    Attribute(Vec<(Value, Value)>, Box<Value>),
    /// The text as it came, since its form is part of the contract.
    Double(String),
    BigNumber(String),
    Boolean(bool),
    /// With its three letters and colon in front, as on the wire.
    Verbatim(Vec<u8>),
}

/// Bytes that are no RESP.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not RESP at byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Malformed {}

impl Value {
    /// The bytes of a string, whatever kind of string it is.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) | Self::Verbatim(bytes) => Some(bytes),
            Self::Status(text) | Self::Double(text) | Self::BigNumber(text) => {
                Some(text.as_bytes())
            }
            _ => None,
        }
    }

    /// The bytes of a string as text.
    pub fn as_text(&self) -> Option<String> {
        self.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The number of an integer reply.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of an array, a set or a push.
    pub fn as_elements(&self) -> Option<&[Value]> {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => Some(elements),
            _ => None,
        }
    }
}

/// Reads one value from the front of `bytes`: the value and its length, or nothing while it is incomplete.
pub fn decode(bytes: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0) {
        Ok(value) => Ok(Some((value, reader.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed(what)) => Err(Malformed { at: reader.at, what }),
    }
}

/// Encodes a request as clients send it: an array of bulk strings.
pub fn encode_request<A: AsRef<[u8]>>(args: &[A], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

enum Stop {
    Incomplete,
    Malformed(&'static str),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth == DEPTH_MAX {
            return Err(Stop::Malformed("nested too deeply"));
        }
        let line = self.line()?;
        let Some((&kind, rest)) = line.split_first() else {
            return Err(Stop::Malformed("an empty line"));
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(match kind {
            b'+' => Value::Status(text()),
            b'-' => Value::Error(text()),
            b',' => Value::Double(text()),
            b'(' => Value::BigNumber(text()),
            b':' => Value::Integer(text().parse().map_err(|_| Stop::Malformed("not an integer"))?),
            b'#' if rest == b"t" => Value::Boolean(true),
            b'#' if rest == b"f" => Value::Boolean(false),
            b'_' if rest.is_empty() => Value::Nil,
            b'$' => length(rest)?.map_or(Ok(Value::Nil), |len| self.blob(len).map(Value::Bulk))?,
            b'=' => required_length(rest).and_then(|len| self.blob(len)).map(Value::Verbatim)?,
            b'!' => {
                let len = required_length(rest)?;
                Value::Error(String::from_utf8_lossy(&self.blob(len)?).into_owned())
            }
            b'*' => match length(rest)? {
                None => Value::NilArray,
                Some(count) => Value::Array(self.values(count, depth)?),
            },
            b'~' => {
                required_length(rest).and_then(|count| self.values(count, depth)).map(Value::Set)?
            }
            b'>' => required_length(rest)
                .and_then(|count| self.values(count, depth))
                .map(Value::Push)?,
            b'%' => {
                required_length(rest).and_then(|count| self.pairs(count, depth)).map(Value::Map)?
            }
            b'|' => {
                let count = required_length(rest)?;
                let attributes = self.pairs(count, depth)?;
                Value::Attribute(attributes, Box::new(self.value(depth)?))
            }
            _ => return Err(Stop::Malformed("an unknown type")),
        })
    }

    fn line(&mut self) -> Result<Vec<u8>, Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(Stop::Incomplete)?;
        self.at += end + 2;
        Ok(rest[..end].to_vec())
    }

    fn blob(&mut self, len: usize) -> Result<Vec<u8>, Stop> {
        let end = self.at.checked_add(len).ok_or(Stop::Malformed("a length beyond all memory"))?;
        let Some(tail) = self.bytes.get(end..end + 2) else { return Err(Stop::Incomplete) };
        if tail != b"\r\n" {
            return Err(Stop::Malformed("a string that is longer than announced"));
        }
        let blob = self.bytes[self.at..end].to_vec();
        self.at = end + 2;
        Ok(blob)
    }

    // The vectors grow as elements really arrive, so an announced count costs nothing.
    fn values(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, Stop> {
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn pairs(&mut self, count: usize, depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(pairs)
    }
}

fn length(text: &[u8]) -> Result<Option<usize>, Stop> {
    if text == b"-1" {
        return Ok(None);
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or(Stop::Malformed("not a length"))
}

fn required_length(text: &[u8]) -> Result<usize, Stop> {
    length(text)?.ok_or(Stop::Malformed("a negative length"))
}

#[cfg(test)]
mod tests {
    use super::{Value, decode, encode_request};

    #[test]
    fn every_kind_and_every_cut() {
        let wire = b"*9\r\n+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n~1\r\n#t\r\n%1\r\n$1\r\nk\r\n,1.5\r\n>1\r\n=6\r\ntxt:hi\r\n";
        let (value, used) = decode(wire).expect("well formed").expect("complete");
        assert_eq!(used, wire.len());
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let expected = vec![
            Value::Status("OK".into()),
            Value::Error("ERR no".into()),
            Value::Integer(-7),
            bulk("a\r\n"),
            Value::Nil,
            Value::NilArray,
            Value::Set(vec![Value::Boolean(true)]),
            Value::Map(vec![(bulk("k"), Value::Double("1.5".into()))]),
            Value::Push(vec![Value::Verbatim(b"txt:hi".to_vec())]),
        ];
        assert_eq!(value, Value::Array(expected));
        for end in 0..wire.len() {
            assert_eq!(decode(&wire[..end]), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for wire in ["x\r\n", "$x\r\n", "$1\r\nabc\r\n", ":x\r\n", "#x\r\n", "~-1\r\n", "\r\n"] {
            decode(wire.as_bytes()).expect_err(wire);
        }
        assert!(decode("*1\r\n".repeat(100).as_bytes()).is_err(), "bounded depth");
        assert_eq!(decode(b"*99999999999\r\n"), Ok(None), "an announced count allocates nothing");
    }

    #[test]
    fn requests() {
        let mut out = Vec::new();
        encode_request(&["GET", "k"], &mut out);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
