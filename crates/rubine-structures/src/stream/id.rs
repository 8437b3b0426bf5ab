//! The identifier of an entry: milliseconds and a number among those of one millisecond. Never reads a clock.

use std::fmt;

use rubine_base::number::{parse_i64, parse_u64};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    pub fn is_zero(self) -> bool {
        self == Self::MIN
    }

    /// The one right behind; none behind the last.
    pub fn next(self) -> Option<Self> {
        match (self.ms.checked_add(1), self.seq.checked_add(1)) {
            (_, Some(seq)) => Some(Self { ms: self.ms, seq }),
            (Some(ms), None) => Some(Self { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The one right before; none before the first.
    pub fn previous(self) -> Option<Self> {
        match (self.ms.checked_sub(1), self.seq.checked_sub(1)) {
            (_, Some(seq)) => Some(Self { ms: self.ms, seq }),
            (Some(ms), None) => Some(Self { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// Reads `ms-seq`, or `ms` alone, which then gets `missing_seq`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        let Some(dash) = text.iter().position(|&it| it == b'-') else {
            return Some(Self { ms: parse_part(text)?, seq: missing_seq });
        };
        Some(Self { ms: parse_part(&text[..dash])?, seq: parse_part(&text[dash + 1..])? })
    }

    /// The text `ms-seq`, in place.
    pub fn text(self) -> StreamIdText {
        let mut text = StreamIdText { bytes: [0; StreamIdText::LEN_MAX], len: 0 };
        text.push(itoa::Buffer::new().format(self.ms).as_bytes());
        text.push(b"-");
        text.push(itoa::Buffer::new().format(self.seq).as_bytes());
        text
    }
}

/// Reads one number of an identifier, as Redis reads it: what is no plain number is read as C reads unsigned ones, with
/// blanks and a sign in front.
pub fn parse_part(text: &[u8]) -> Option<u64> {
    let plain = parse_u64(text);
    if plain.is_some() || parse_i64(text).is_some() {
        return plain;
    }
    let is_blank = |it: &&u8| it.is_ascii_whitespace() || **it == b'\x0b';
    let mut digits = &text[text.iter().take_while(is_blank).count()..];
    let sign = digits.first().copied();
    if matches!(sign, Some(b'+' | b'-')) {
        digits = &digits[1..];
    }
    let start = digits.iter().take_while(|it| **it == b'0').count();
    let has_only_zeros = 0 < start && start == digits.len();
    let number = if has_only_zeros { 0 } else { parse_u64(&digits[start..])? };
    Some(if sign == Some(b'-') { number.wrapping_neg() } else { number })
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// An identifier as text.
#[derive(Clone, Copy, Debug)]
pub struct StreamIdText {
    bytes: [u8; Self::LEN_MAX],
    len: u8,
}

impl StreamIdText {
    /// Two numbers of twenty digits.
    const LEN_MAX: usize = 20 + 1 + 20;

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + part.len()].copy_from_slice(part);
        self.len += part.len() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_and_written() {
        let id = |ms, seq| Some(StreamId::new(ms, seq));
        let cases = [
            ("1-2", id(1, 2)),
            ("7", id(7, 9)),
            ("0-0", id(0, 0)),
            ("18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            ("18446744073709551616-0", None),
            ("1-", None),
            ("-1", None),
            ("-", None),
            ("", None),
            ("1-2-3", None),
            ("01-2", id(1, 2)),
            ("1- 2", id(1, 2)),
            ("+1-000", id(1, 0)),
            ("1--2", None),
            ("1--02", id(1, u64::MAX - 1)),
            ("1-+", None),
            ("1-2 ", None),
            ("1-018446744073709551616", None),
        ];
        for (text, expected) in cases {
            assert_eq!(StreamId::parse(text.as_bytes(), 9), expected, "{text}");
        }
        for id in [StreamId::MIN, StreamId::MAX, StreamId::new(12, 345)] {
            assert_eq!(StreamId::parse(id.text().as_bytes(), 0), Some(id));
            assert_eq!(id.text().as_bytes(), id.to_string().as_bytes());
        }
    }

    #[test]
    fn neighbours_are_found_at_every_edge() {
        let last_of_ms = StreamId::new(4, u64::MAX);
        assert_eq!(last_of_ms.next(), Some(StreamId::new(5, 0)));
        assert_eq!(StreamId::new(5, 0).previous(), Some(last_of_ms));
        assert_eq!(StreamId::new(5, 6).next(), Some(StreamId::new(5, 7)));
        assert_eq!(StreamId::new(5, 6).previous(), Some(StreamId::new(5, 5)));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
    }
}
