//! Reads a range of a stream as it was at one instant, slice by slice. Never changes it.

use super::{Direction, Entry, Stream, StreamId};

/// A range of a stream as it was when this was made, whatever happens to the original meanwhile.
#[derive(Clone, Debug)]
pub struct StreamCursor {
    stream: Stream,
    /// The identifiers that are still to come, both included.
    start: StreamId,
    end: StreamId,
    direction: Direction,
    remaining: u64,
}

impl StreamCursor {
    /// The entries from `start` to `end`, at most `count_max`.
    pub fn new(
        stream: &Stream,
        start: StreamId,
        end: StreamId,
        direction: Direction,
        count_max: u64,
    ) -> Self {
        let remaining = stream.count_between(start, end).min(count_max);
        Self { stream: stream.clone(), start, end, direction, remaining }
    }

    /// How many entries are still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Bytes on the heap that the cursor alone keeps, estimated.
    pub fn unshared_bytes(&self) -> usize {
        self.stream.unshared_bytes()
    }

    /// Gives the next entries: as many as `count_max`, fewer if their bytes reach `bytes_max`, but one at least. False
    /// when there are no more.
    pub fn next_slice(
        &mut self,
        count_max: usize,
        bytes_max: usize,
        mut give: impl FnMut(&Entry<'_>),
    ) -> bool {
        let (mut bytes, mut last) = (0, None);
        let count_max = (count_max.max(1) as u64).min(self.remaining) as usize;
        for entry in self.stream.range(self.start, self.end, self.direction).take(count_max) {
            give(&entry);
            self.remaining -= 1;
            (bytes, last) = (bytes + entry.body_bytes(), Some(entry.id));
            if bytes_max <= bytes {
                break;
            }
        }
        let rest = match self.direction {
            Direction::Ascending => last.and_then(StreamId::next),
            Direction::Descending => last.and_then(StreamId::previous),
        };
        match (rest, self.direction) {
            (None, _) => self.remaining = 0,
            (Some(id), Direction::Ascending) => self.start = id,
            (Some(id), Direction::Descending) => self.end = id,
        }
        0 < self.remaining
    }
}
