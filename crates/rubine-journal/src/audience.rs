//! For whom the units of the log are, and what follows from it for offsets. Remembers only the parts that are not for all;
//! never looks at bytes.
//!
//! ```text
//! position           0     10     20     30     40
//! units              | both | disk | both | replicas |
//! log on disk reads    xxxx   xxxx   xxxx
//! replicas read        xxxx          xxxx   xxxx
//! replication offset 0     10     10     20     30
//! ```

use std::collections::VecDeque;

use crate::Offset;
use crate::history::ReplicationOffset;

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Disk,
    Replicas,
}

/// For whom a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    Both,
    Only(Side),
}

impl Audience {
    pub(crate) fn includes(self, side: Side) -> bool {
        self == Self::Both || self == Self::Only(side)
    }
}

/// The parts of the log that are for one side only.
#[derive(Default)]
pub(crate) struct Parts {
    /// Invariant: ascending, none empty, no two of one side without a gap between them.
    list: VecDeque<Part>,
    /// Bytes for the disk only, before the end of the log, since the history began.
    hidden_bytes: u64,
}

#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) side: Side,
    /// Bytes for the disk only, before `start`.
    hidden_before: u64,
}

impl Part {
    fn hidden_after(&self) -> u64 {
        match self.side {
            Side::Disk => self.hidden_before + (self.end - self.start),
            Side::Replicas => self.hidden_before,
        }
    }
}

impl Parts {
    /// Notes that what was pushed last is for `side` only.
    pub(crate) fn add(&mut self, start: Offset, end: Offset, side: Side) {
        if start == end {
            return;
        }
        match self.list.back_mut() {
            Some(last) if last.end == start && last.side == side => last.end = end,
            _ => {
                let hidden_before = self.hidden_bytes;
                self.list.push_back(Part { start, end, side, hidden_before });
            }
        }
        if side == Side::Disk {
            self.hidden_bytes += end - start;
        }
    }

    /// The parts that end behind `position`.
    pub(crate) fn behind(&self, position: Offset) -> impl Iterator<Item = &Part> {
        let first = self.list.partition_point(|part| part.end <= position);
        self.list.range(first..)
    }

    /// Forgets the parts before `oldest`.
    pub(crate) fn trim(&mut self, oldest: Offset) {
        while self.list.front().is_some_and(|part| part.end <= oldest) {
            self.list.pop_front();
        }
    }

    /// Forgets all parts. Offsets go on as they are.
    pub(crate) fn forget(&mut self) {
        self.list.clear();
    }

    /// Offsets are positions again.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The replication offset at a position that the log has.
    pub(crate) fn offset_at(&self, position: Offset) -> ReplicationOffset {
        let index = self.list.partition_point(|part| part.start <= position);
        let hidden = match index.checked_sub(1) {
            Some(before) => {
                let part = self.list[before];
                match part.side {
                    Side::Disk => part.hidden_before + (position.min(part.end) - part.start),
                    Side::Replicas => part.hidden_before,
                }
            }
            None => self.hidden_before_all(),
        };
        ReplicationOffset(position - hidden)
    }

    /// The last position with that offset: what is for the disk only there lies before it.
    pub(crate) fn position_of(&self, offset: ReplicationOffset) -> Offset {
        let index = self.list.partition_point(|part| part.start - part.hidden_before <= offset.0);
        let hidden = match index.checked_sub(1) {
            Some(before) => self.list[before].hidden_after(),
            None => self.hidden_before_all(),
        };
        offset.0 + hidden
    }

    pub(crate) fn hidden_bytes(&self) -> u64 {
        self.hidden_bytes
    }

    fn hidden_before_all(&self) -> u64 {
        self.list.front().map_or(self.hidden_bytes, |part| part.hidden_before)
    }
}
