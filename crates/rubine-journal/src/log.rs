//! The bytes of the log and what keeps them: pieces that are finished and one chunk being filled.
//! Lives under the journal's lock and never locks, wakes or frees anything large by itself.
//!
//! ```text
//! discarded | piece | piece | piece | open chunk: filled ...... spare |
//!           ^oldest                 ^open_start  ^end
//! ```
//!
//! A reader that reaches into the open chunk gets a copy if the filled part is short; otherwise the
//! filled part becomes a piece, which costs a reference count, and the spare part goes on being
//! filled. So pieces stay few, and no byte is copied on behalf of a busy reader.

use std::collections::VecDeque;
use std::ops::Deref;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use crate::Offset;
use crate::effects::{Effects, write_select};

/// What is allocated at a time, and the most that one kept byte can pin.
const CHUNK_BYTES: usize = 64 * 1024;

/// Up to this size copying is cheaper than keeping one more piece.
pub(crate) const COPIED_BYTES_MAX: usize = 4 * 1024;

/// So many slices fit one `writev` with what the caller adds, and bound the time under the lock.
pub(crate) const SLICES_PER_READ_MAX: usize = 64;

/// Seconds that are remembered. Older ones are forgotten first.
const MARKS_MAX: usize = 128 * 1024;

/// What a reader may ask the log to keep for it beyond the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Everything it has not read. Its owner watches the lag and slows the writers down.
    Everything,
    /// That many bytes. If it falls further behind it may lose its place.
    UpTo(u64),
}

/// Bytes of the log, by reference.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Where the first byte stands.
    pub offset: Offset,
    /// The unix second in which all of them were appended. Never decreases along the log, though
    /// the clock may. It changes only between units. Zero where it is no longer known.
    pub second: u64,
    pub bytes: Bytes,
}

impl Slice {
    pub fn end(&self) -> Offset {
        self.offset + self.bytes.len() as u64
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What each append writes is together in a few words, so that the lock passes from core to core in
/// one cache line; all else is behind a pointer.
pub(crate) struct Log {
    open: BytesMut,
    open_start: Offset,
    pub(crate) kept: Box<Kept>,
}

/// What an append reads but seldom writes.
pub(crate) struct Kept {
    /// Invariant: ascending and without gaps; the last one ends at `open_start`; none is empty.
    pieces: VecDeque<Piece>,
    /// The database that a command at `end` would apply to, if anything says so.
    selected_database: Option<u32>,
    /// A reader began at `end` and has seen no SELECT yet.
    must_select: bool,
    /// Invariant: ascending in both fields.
    marks: VecDeque<Mark>,
    backlog_bytes_max: u64,
    pub(crate) readers: Vec<ReaderEntry>,
    /// What is no longer kept. Freed by whoever comes by without holding a shard lock.
    pub(crate) discarded: Vec<Bytes>,
}

struct Piece {
    start: Offset,
    bytes: Bytes,
}

/// All from `offset` on was appended in `second`, up to the next mark.
struct Mark {
    offset: Offset,
    second: u64,
}

pub(crate) struct ReaderEntry {
    pub(crate) id: u64,
    pub(crate) position: Offset,
    pub(crate) hold: Hold,
    /// Its place belongs to a history that was given up.
    pub(crate) is_cut: bool,
    /// To be woken when the log reaches the offset.
    pub(crate) sleeper: Option<(Offset, Waker)>,
}

impl Log {
    pub(crate) fn new(start: Offset, backlog_bytes_max: u64) -> Self {
        let kept = Kept {
            pieces: VecDeque::new(),
            selected_database: None,
            must_select: false,
            marks: VecDeque::new(),
            backlog_bytes_max,
            readers: Vec::new(),
            discarded: Vec::new(),
        };
        Self { open: BytesMut::new(), open_start: start, kept: Box::new(kept) }
    }

    pub(crate) fn end(&self) -> Offset {
        self.open_start + self.open.len() as u64
    }

    pub(crate) fn oldest(&self) -> Offset {
        self.kept.pieces.front().map_or(self.open_start, |piece| piece.start)
    }

    pub(crate) fn backlog_bytes_max(&self) -> u64 {
        self.kept.backlog_bytes_max
    }

    pub(crate) fn set_backlog(&mut self, backlog_bytes_max: u64) {
        self.kept.backlog_bytes_max = backlog_bytes_max;
        self.trim();
    }

    /// Whether anyone wants what is appended.
    pub(crate) fn is_wanted(&self) -> bool {
        0 < self.kept.backlog_bytes_max || !self.kept.readers.is_empty()
    }

    pub(crate) fn selected_database(&self) -> Option<u32> {
        self.kept.selected_database
    }

    pub(crate) fn select_before_next(&mut self) {
        self.kept.must_select = true;
    }

    /// Forgets all bytes and goes on at `start`. Readers that are open have lost their place.
    pub(crate) fn restart(&mut self, start: Offset) {
        let kept = &mut *self.kept;
        kept.discarded.extend(kept.pieces.drain(..).map(|piece| piece.bytes));
        self.kept.discarded.push(std::mem::take(&mut self.open).freeze());
        self.open_start = start;
        self.kept.selected_database = None;
        self.kept.marks.clear();
        for reader in &mut self.kept.readers {
            reader.is_cut = true;
        }
    }

    /// Appends one unit; the unit's buffer was given as `large` if it is too long to copy.
    pub(crate) fn append(&mut self, effects: &mut Effects, large: Option<&Bytes>, second: u64) {
        self.mark(second);
        if self.kept.must_select || self.kept.selected_database != Some(effects.first_database()) {
            let mut select = Vec::with_capacity(40);
            write_select(&mut select, effects.first_database());
            self.push(&select);
            self.kept.must_select = false;
        }
        effects.push_to(large, self);
        let last = Some(effects.last_database());
        // Written only where it differs, so that its cache line stays with every core.
        if self.kept.selected_database != last {
            self.kept.selected_database = last;
        }
    }

    /// Appends whole commands of somebody else's history.
    pub(crate) fn append_verbatim(&mut self, bytes: &[u8], database_after: u32, second: u64) {
        self.mark(second);
        self.push(bytes);
        self.kept.selected_database = Some(database_after);
    }

    /// Copies bytes into the open chunk, and into as many new ones as it takes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        loop {
            let spare_bytes = self.open.capacity() - self.open.len();
            if bytes.len() <= spare_bytes {
                self.open.extend_from_slice(bytes);
                return;
            }
            let (fits, rest) = bytes.split_at(spare_bytes);
            self.open.extend_from_slice(fits);
            self.seal();
            self.open = BytesMut::with_capacity(CHUNK_BYTES);
            self.trim();
            bytes = rest;
        }
    }

    /// Takes bytes in by reference.
    pub(crate) fn push_owned(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.seal();
        let start = self.open_start;
        self.open_start += bytes.len() as u64;
        self.kept.pieces.push_back(Piece { start, bytes });
        self.trim();
    }

    /// Puts slices from `position` up to `until` into `out`, at most `bytes_max` bytes, and returns
    /// the offset after the last one. The range must lie within `oldest` and `end`.
    pub(crate) fn read(
        &mut self,
        mut position: Offset,
        until: Offset,
        bytes_max: usize,
        out: &mut Vec<Slice>,
    ) -> Offset {
        assert!(self.oldest() <= position && position <= self.end(), "the caller checks the range");
        let until = until.min(self.end()).min(position.saturating_add(bytes_max as u64));
        if self.open_start + (COPIED_BYTES_MAX as u64) < until {
            self.seal();
        }
        let mut piece_index = self
            .kept
            .pieces
            .partition_point(|piece| piece.start + piece.bytes.len() as u64 <= position);
        let mut mark_index = self.kept.marks.partition_point(|mark| mark.offset <= position);
        for _ in 0..SLICES_PER_READ_MAX {
            if until <= position {
                break;
            }
            let mark = self.kept.marks.get(mark_index);
            let stop = mark.map_or(until, |mark| mark.offset.min(until));
            let bytes = if let Some(piece) = self.kept.pieces.get(piece_index) {
                let stop = stop.min(piece.start + piece.bytes.len() as u64);
                let range = (position - piece.start) as usize..(stop - piece.start) as usize;
                piece_index += usize::from(range.end == piece.bytes.len());
                piece.bytes.slice(range)
            } else {
                let start = (position - self.open_start) as usize;
                Bytes::copy_from_slice(&self.open[start..(stop - self.open_start) as usize])
            };
            let second = mark_index.checked_sub(1).map_or(0, |index| self.kept.marks[index].second);
            let offset = position;
            position += bytes.len() as u64;
            mark_index += usize::from(mark.is_some_and(|mark| mark.offset == position));
            out.push(Slice { offset, second, bytes });
        }
        position
    }

    /// Lets go of the pieces that neither the backlog nor a reader holds.
    pub(crate) fn trim(&mut self) {
        let end = self.end();
        let mut floor = end.saturating_sub(self.kept.backlog_bytes_max);
        for reader in &self.kept.readers {
            let is_held = match reader.hold {
                Hold::Everything => true,
                Hold::UpTo(bytes) => end.saturating_sub(reader.position) <= bytes,
            };
            if is_held && !reader.is_cut {
                floor = floor.min(reader.position);
            }
        }
        let kept = &mut *self.kept;
        while let Some(piece) = kept.pieces.front() {
            if floor < piece.start + piece.bytes.len() as u64 {
                break;
            }
            kept.discarded.extend(kept.pieces.pop_front().map(|piece| piece.bytes));
        }
        let oldest = self.oldest();
        while self.kept.marks.get(1).is_some_and(|mark| mark.offset <= oldest) {
            self.kept.marks.pop_front();
        }
    }

    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn contents(&mut self) -> Vec<u8> {
        let mut slices = Vec::new();
        let mut position = self.oldest();
        while position < self.end() {
            position = self.read(position, Offset::MAX, usize::MAX, &mut slices);
        }
        slices.iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    /// Makes the filled part of the open chunk a piece.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let bytes = self.open.split().freeze();
        let start = self.open_start;
        self.open_start += bytes.len() as u64;
        self.kept.pieces.push_back(Piece { start, bytes });
    }

    fn mark(&mut self, second: u64) {
        if self.kept.marks.back().is_some_and(|mark| second <= mark.second) {
            return;
        }
        if self.kept.marks.len() == MARKS_MAX {
            self.kept.marks.pop_front();
        }
        self.kept.marks.push_back(Mark { offset: self.end(), second });
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
