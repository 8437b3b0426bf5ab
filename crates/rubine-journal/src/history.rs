//! Which history an offset belongs to. Two logs with one id agree byte by byte up to any offset that both have; a log that
//! goes on without its master gets an id of its own, and remembers where the two part. Never makes up an id: whoever begins
//! a history brings one.
//!
//! ```text
//! previous.id  0 ............. previous.until
//! id           0 ............. previous.until ............. end
//! ```

use std::fmt;

use crate::Offset;

/// A place in what replicas get, counted in bytes since the history began. It is the position in the log without what
/// only the log on disk gets before it. The first byte stands at 0: PSYNC counts from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicationOffset(pub u64);

/// Names a history, in 40 characters, as Redis's replication ids do.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HistoryId([u8; HistoryId::BYTES]);

impl HistoryId {
    pub const BYTES: usize = 40;

    /// No history. It is never that of two logs.
    pub const NONE: Self = Self([b'0'; Self::BYTES]);

    /// The name that twenty random bytes give.
    pub fn from_random(random: [u8; 20]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let nibble = |at: usize| (random[at / 2] >> (4 * (1 - at % 2))) & 15;
        Self(std::array::from_fn(|at| DIGITS[usize::from(nibble(at))]))
    }

    /// Reads the name that a master, a replica or a file gives.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes: [u8; Self::BYTES] = text.try_into().ok()?;
        bytes.iter().all(u8::is_ascii_graphic).then_some(Self(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for HistoryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The history of a log, and the one that it was until it went its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    pub id: HistoryId,
    pub previous: Option<Previous>,
}

/// A history that this log shares up to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    pub id: HistoryId,
    /// The offset after the last byte that is the same in both. Redis's `second_repl_offset` is one more.
    pub until: ReplicationOffset,
}

impl History {
    pub fn new(id: HistoryId) -> Self {
        Self { id, previous: None }
    }

    /// Whether everything before `offset` of the history `id` is the same here, so that one who has that can go on with
    /// what follows here.
    pub fn shares(&self, id: HistoryId, offset: ReplicationOffset) -> bool {
        let was_shared = |it: Previous| it.id == id && offset <= it.until;
        id != HistoryId::NONE && (self.id == id || self.previous.is_some_and(was_shared))
    }

    /// What follows `until` is a history of its own.
    pub(crate) fn part(&mut self, id: HistoryId, until: ReplicationOffset) {
        let is_known = self.id != HistoryId::NONE;
        let previous = is_known.then_some(Previous { id: self.id, until });
        *self = Self { id, previous };
    }
}

/// Who says what the history consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Clients of this server.
    Here,
    /// A master, whose offsets are those of this log. What clients of this server change is not part of it.
    Master,
}

/// A moment of the log: whatever is asked for together has to be of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub history: History,
    /// The end of what replicas get.
    pub offset: ReplicationOffset,
    /// The end of the log.
    pub position: Offset,
    /// The database that is selected there in what replicas get, if anything says so.
    pub database: Option<u32>,
    /// Whether all changes up to now have an offset. If not, the offset says nothing about the data: it must not be
    /// written into a dump.
    pub is_complete: bool,
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn names_are_40_characters() {
        let id = HistoryId::from_random(*b"\x00\x01\xfe0123456789abcdefg");
        assert_eq!(id.to_string(), "0001fe3031323334353637383961626364656667");
        assert_eq!(HistoryId::parse(id.as_bytes()), Some(id));
        for text in [&b""[..], &[b'a'; 39], &[b'a'; 41], &[b' '; 40]] {
            assert_eq!(HistoryId::parse(text), None);
        }
    }

    #[test]
    fn a_shared_history_ends_where_they_part() {
        let [old, new, other] = [1, 2, 3].map(|it| HistoryId::from_random([it; 20]));
        let mut history = History::new(HistoryId::NONE);
        history.part(old, ReplicationOffset(50));
        assert_eq!(history, History::new(old), "there was none before");
        history.part(new, ReplicationOffset(100));
        for (id, offset, expected) in [
            (old, 100, true),
            (old, 101, false),
            (new, 101, true),
            (other, 0, false),
            (HistoryId::NONE, 0, false),
        ] {
            assert_eq!(history.shares(id, ReplicationOffset(offset)), expected, "{id} {offset}");
        }
        history.part(other, ReplicationOffset(120));
        assert!(!history.shares(old, ReplicationOffset(10)), "only one is remembered");
    }
}
