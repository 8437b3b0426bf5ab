//! How much several streams together may give to one reply. Never knows what is done with it.

use rubine_structures::stream::{Direction, Entry, Stream, StreamId};

/// What is left to give.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    entries: u64,
    /// Of the reply, about. The first entry is given however large it is.
    bytes: Option<u64>,
    has_given: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { entries: u64::MAX, bytes: None, has_given: false }
    }
}

impl Budget {
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn limit_entries(&mut self, count: u64) {
        self.entries = count;
    }

    pub(super) fn limit_bytes(&mut self, bytes: u64) {
        self.bytes = Some(bytes);
    }

    /// How many entries from `first` on are given, at most `count_max`.
    pub(super) fn admit_from(&mut self, stream: &Stream, first: StreamId, count_max: u64) -> u64 {
        if self.entries == u64::MAX && self.bytes.is_none() {
            return count_max;
        }
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        let range = stream.range(first, StreamId::MAX, Direction::Ascending);
        range.take(count_max).take_while(|entry| self.admits(Some(entry))).count() as u64
    }

    /// Whether one more entry is given; `None` for one of which there is only the identifier.
    pub(super) fn admits(&mut self, entry: Option<&Entry<'_>>) -> bool {
        if self.entries == 0 {
            return false;
        }
        if let Some(left) = self.bytes {
            let bytes = entry.map_or(ID_BYTES, reply_bytes);
            if self.has_given && left < bytes {
                self.entries = 0;
                return false;
            }
            self.bytes = Some(left.saturating_sub(bytes));
        }
        self.has_given = true;
        if self.entries < u64::MAX {
            self.entries -= 1;
        }
        true
    }
}

/// An identifier, and the headers of the arrays around it.
const ID_BYTES: u64 = 32;

/// What an entry takes in a reply, about.
fn reply_bytes(entry: &Entry<'_>) -> u64 {
    /// Marks, lengths and ends of lines of one string.
    const STRING_BYTES: u64 = 8;
    let fields = entry.fields();
    fields.fold(ID_BYTES, |sum, (name, value)| {
        sum + (name.len() + value.len()) as u64 + 2 * STRING_BYTES
    })
}
