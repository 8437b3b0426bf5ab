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
use rubine_resp::command::{INTO_MEMORY, write_command};

use crate::Offset;
use crate::audience::{Audience, Parts, Side};
use crate::history::{History, HistoryId, Origin, Point, ReplicationOffset};

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
    history: History,
    origin: Origin,
    parts: Parts,
    /// The database that a command at `end` would apply to for a replica, if anything says so.
    selected_database: Option<u32>,
    disk_database: DiskDatabase,
    /// A reader began at `end` and has seen no SELECT yet, or the two sides have selected different databases.
    must_select: bool,
    /// Invariant: ascending in both fields.
    marks: VecDeque<Mark>,
    backlog_bytes_max: u64,
    pub(crate) readers: Vec<ReaderEntry>,
    /// What is no longer kept. Freed by whoever comes by without holding a shard lock.
    pub(crate) discarded: Vec<Bytes>,
}

/// The database that a command at `end` would apply to in the log on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DiskDatabase {
    AsReplicas,
    Other(Option<u32>),
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
    pub(crate) side: Side,
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
            history: History::new(HistoryId::NONE),
            origin: Origin::Here,
            parts: Parts::default(),
            selected_database: None,
            disk_database: DiskDatabase::AsReplicas,
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

    /// Whether anyone wants what is only for `side`.
    pub(crate) fn is_wanted_by(&self, side: Side) -> bool {
        let has_reader = self.kept.readers.iter().any(|reader| reader.side == side);
        has_reader || (side == Side::Replicas && 0 < self.kept.backlog_bytes_max)
    }

    pub(crate) fn history(&self) -> &History {
        &self.kept.history
    }

    /// The present moment.
    pub(crate) fn point(&self) -> Point {
        let (position, kept) = (self.end(), &*self.kept);
        Point {
            history: kept.history,
            offset: ReplicationOffset(position - kept.parts.hidden_bytes()),
            position,
            database: kept.selected_database,
            is_complete: self.is_wanted() || kept.origin == Origin::Master,
        }
    }

    /// The replication offset at a position, where it is still known.
    pub(crate) fn offset_at(&self, position: Offset) -> Option<ReplicationOffset> {
        let is_known = self.kept.parts.hidden_bytes() == 0 || self.oldest() <= position;
        let has_been = position <= self.end();
        (is_known && has_been).then(|| self.kept.parts.offset_at(position))
    }

    /// The last position with a replication offset, where it is still known.
    pub(crate) fn position_of(&self, offset: ReplicationOffset) -> Option<Offset> {
        let parts = &self.kept.parts;
        let is_known = parts.hidden_bytes() == 0 || parts.offset_at(self.oldest()) <= offset;
        let has_been = offset <= self.point().offset;
        (is_known && has_been).then(|| parts.position_of(offset))
    }

    pub(crate) fn selected_database(&self, side: Side) -> Option<u32> {
        match (side, self.kept.disk_database) {
            (Side::Disk, DiskDatabase::Other(database)) => database,
            _ => self.kept.selected_database,
        }
    }

    /// What follows is a history of its own.
    pub(crate) fn part_history(&mut self, id: HistoryId, origin: Origin) {
        let until = self.point().offset;
        let kept = &mut *self.kept;
        kept.history.part(id, until);
        kept.origin = origin;
        // What follows is read on by replicas of the old history, which may have seen another SELECT last.
        kept.must_select = true;
    }

    pub(crate) fn follow_history(&mut self) {
        self.kept.origin = Origin::Master;
    }

    pub(crate) fn note_database(&mut self, database: Option<u32>) {
        self.kept.selected_database = database;
        self.kept.must_select = true;
    }

    /// Room in the chunk that is being filled.
    pub(crate) fn spare_bytes(&self) -> u64 {
        (self.open.capacity() - self.open.len()) as u64
    }

    pub(crate) fn rename_history(&mut self, id: HistoryId) {
        self.kept.history = History::new(id);
    }

    /// Forgets all bytes and goes on with another history at `offset`, from where on positions are offsets.
    pub(crate) fn replace_history(
        &mut self,
        history: History,
        offset: ReplicationOffset,
        origin: Origin,
    ) {
        self.restart(offset.0);
        let kept = &mut *self.kept;
        (kept.history, kept.origin) = (history, origin);
        kept.parts.reset();
        kept.selected_database = None;
    }

    /// Makes positions from before now differ from those that come, if what happened since has no offset.
    pub(crate) fn leave_gap(&mut self) {
        let gap = u64::from(self.kept.origin == Origin::Here);
        self.restart(self.end() + gap);
    }

    pub(crate) fn select_before_next(&mut self) {
        self.kept.must_select = true;
    }

    /// Forgets all bytes and goes on at the position `start`. Readers that are open have lost their place.
    pub(crate) fn restart(&mut self, start: Offset) {
        let kept = &mut *self.kept;
        kept.discarded.extend(kept.pieces.drain(..).map(|piece| piece.bytes));
        self.kept.discarded.push(std::mem::take(&mut self.open).freeze());
        self.open_start = start;
        self.kept.parts.forget();
        if self.kept.origin == Origin::Here {
            self.kept.selected_database = None;
        }
        self.kept.disk_database = DiskDatabase::AsReplicas;
        self.kept.marks.clear();
        for reader in &mut self.kept.readers {
            reader.is_cut = true;
        }
    }

    /// Precedes the bytes of a unit for both sides.
    pub(crate) fn begin_unit(&mut self, opening: &[u8], first_database: u32, second: u64) {
        self.mark(second);
        if !opening.is_empty() {
            self.push(opening);
        }
        if self.kept.must_select || self.kept.selected_database != Some(first_database) {
            self.push_select(first_database);
            self.kept.must_select = false;
            self.kept.disk_database = DiskDatabase::AsReplicas;
        }
    }

    /// Follows the bytes of a unit for both sides.
    pub(crate) fn end_unit(&mut self, last_database: u32) {
        let last = Some(last_database);
        // Written only where it differs, so that its cache line stays with every core.
        if self.kept.selected_database != last {
            self.kept.selected_database = last;
        }
    }

    /// Precedes the bytes of a unit for one side; returns where it begins.
    pub(crate) fn begin_part(
        &mut self,
        side: Side,
        opening: &[u8],
        first_database: u32,
        second: u64,
    ) -> Offset {
        self.mark(second);
        let start = self.end();
        if !opening.is_empty() {
            self.push(opening);
        }
        if self.kept.must_select || self.selected_database(side) != Some(first_database) {
            self.push_select(first_database);
        }
        start
    }

    /// Follows the bytes of a unit for one side that begins at `start`, and notes which database it leaves selected.
    pub(crate) fn end_part(&mut self, side: Side, last_database: u32, start: Offset) {
        self.add_part(side, start);
        let last = Some(last_database);
        let (disk, replicas) = match side {
            Side::Disk => (last, self.kept.selected_database),
            Side::Replicas => (self.selected_database(Side::Disk), last),
        };
        self.kept.selected_database = replicas;
        self.kept.disk_database =
            if disk == replicas { DiskDatabase::AsReplicas } else { DiskDatabase::Other(disk) };
        self.kept.must_select |= disk != replicas;
    }

    /// Appends a command for replicas that applies to no database.
    pub(crate) fn append_told(&mut self, bytes: &[u8], second: u64) {
        self.mark(second);
        let start = self.end();
        self.push(bytes);
        self.add_part(Side::Replicas, start);
    }

    /// Says that all from `start` on is for `side` only.
    pub(crate) fn add_part(&mut self, side: Side, start: Offset) {
        let end = self.end();
        self.kept.parts.add(start, end, side);
    }

    /// Appends whole commands of a master's stream unchanged. Before them, the log on disk is told which database is
    /// selected in the stream, if it may not know.
    pub(crate) fn append_master(
        &mut self,
        bytes: &[u8],
        audience: Audience,
        database_after: u32,
        second: u64,
    ) {
        self.mark(second);
        let after = Some(database_after);
        let start = self.end();
        let disk = match audience {
            Audience::Both => {
                self.select_on_disk_as_in_stream(start);
                self.push(bytes);
                after
            }
            Audience::Only(side) => {
                self.push(bytes);
                self.add_part(side, start);
                self.selected_database(Side::Disk)
            }
        };
        self.kept.selected_database = after;
        self.kept.disk_database =
            if disk == after { DiskDatabase::AsReplicas } else { DiskDatabase::Other(disk) };
    }

    fn select_on_disk_as_in_stream(&mut self, start: Offset) {
        let may_differ =
            self.kept.must_select || self.kept.disk_database != DiskDatabase::AsReplicas;
        if may_differ
            && self.is_wanted_by(Side::Disk)
            && let Some(database) = self.kept.selected_database
        {
            self.push_select(database);
            self.add_part(Side::Disk, start);
        }
        self.kept.must_select = false;
    }

    /// Counts bytes that nobody wants.
    pub(crate) fn skip(&mut self, byte_count: u64, database_after: u32) {
        self.restart(self.end() + byte_count);
        self.kept.selected_database = Some(database_after);
    }

    fn push_select(&mut self, database: u32) {
        let mut select = Vec::with_capacity(40);
        write_select(&mut select, database);
        self.push(&select);
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

    /// Puts slices of what is for `side`, from `position` up to `until`, into `out`, at most `bytes_max` bytes, and
    /// returns the position after the last one and what is not for `side` behind it. The range must lie within `oldest`
    /// and `end`.
    pub(crate) fn read(
        &mut self,
        side: Side,
        mut position: Offset,
        until: Offset,
        bytes_max: usize,
        out: &mut Vec<Slice>,
    ) -> Offset {
        assert!(self.oldest() <= position && position <= self.end(), "the caller checks the range");
        let (until, mut bytes_left) = (until.min(self.end()), bytes_max as u64);
        if self.open_start + (COPIED_BYTES_MAX as u64)
            < until.min(position.saturating_add(bytes_left))
        {
            self.seal();
        }
        let kept = &*self.kept;
        let mut parts = kept.parts.behind(position).filter(|part| part.side != side).peekable();
        let piece_end = |piece: &Piece| piece.start + piece.bytes.len() as u64;
        let mut piece_index = kept.pieces.partition_point(|piece| piece_end(piece) <= position);
        let mut mark_index = kept.marks.partition_point(|mark| mark.offset <= position);
        let mut slices_left = SLICES_PER_READ_MAX;
        while position < until {
            if let Some(part) = parts.next_if(|part| part.start <= position) {
                position = part.end.min(until);
                continue;
            }
            if slices_left == 0 || bytes_left == 0 {
                break;
            }
            while kept.pieces.get(piece_index).is_some_and(|piece| piece_end(piece) <= position) {
                piece_index += 1;
            }
            while kept.marks.get(mark_index).is_some_and(|mark| mark.offset <= position) {
                mark_index += 1;
            }
            let mut stop = until.min(position.saturating_add(bytes_left));
            stop = kept.marks.get(mark_index).map_or(stop, |mark| mark.offset.min(stop));
            stop = parts.peek().map_or(stop, |part| part.start.min(stop));
            let bytes = if let Some(piece) = kept.pieces.get(piece_index) {
                let stop = stop.min(piece_end(piece));
                piece.bytes.slice((position - piece.start) as usize..(stop - piece.start) as usize)
            } else {
                let start = (position - self.open_start) as usize;
                Bytes::copy_from_slice(&self.open[start..(stop - self.open_start) as usize])
            };
            let second = mark_index.checked_sub(1).map_or(0, |index| kept.marks[index].second);
            let offset = position;
            position += bytes.len() as u64;
            bytes_left -= bytes.len() as u64;
            slices_left -= 1;
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
        self.kept.parts.trim(oldest);
    }

    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn contents(&mut self) -> Vec<u8> {
        let mut slices = Vec::new();
        let mut position = self.oldest();
        while position < self.end() {
            position = self.read(Side::Disk, position, Offset::MAX, usize::MAX, &mut slices);
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

pub(crate) fn write_select(bytes: &mut Vec<u8>, database: u32) {
    let mut digits = itoa::Buffer::new();
    let words: [&[u8]; 2] = [b"SELECT", digits.format(database).as_bytes()];
    write_command(&words, bytes).expect(INTO_MEMORY);
}

#[cfg(all(test, not(shuttle)))]
mod tests;
