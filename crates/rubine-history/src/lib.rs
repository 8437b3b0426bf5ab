//! The last day of metrics, a value every ten seconds, in a bounded piece of memory: compressed columns, questions about
//! them, and their file as bytes. Knows no metric, reads no clock and does no I/O.

#![forbid(unsafe_code)]

mod block;
mod file;
mod question;
mod varint;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use self::block::{BLOCK_SLOTS_MAX, Block, OpenBlock};

pub use file::Damage;
pub use question::{Curve, Point, Question, QuestionError, Summary};

/// Seconds from one value to the next.
pub const SLOT_SECONDS: u64 = 10;
/// A day.
pub const SLOTS_MAX: u64 = 86_400 / SLOT_SECONDS;
/// All of it takes no more.
pub const BYTES_MAX: usize = 16 << 20;
/// Series that are kept; further ones are not.
pub const SERIES_MAX: usize = 2000;
/// Names longer than this are not kept.
const NAME_BYTES_MAX: usize = 512;
/// What a series and a block take beside their bytes, about.
const SERIES_BYTES: usize = 256;
const BLOCK_BYTES: usize = 80;

/// Values of many series over time.
#[derive(Clone, Debug, Default)]
pub struct History {
    series: BTreeMap<Arc<str>, Series>,
    /// Series that there was no room for at the last moment.
    refused: usize,
}

/// The values of one series.
#[derive(Clone, Debug, Default)]
struct Series {
    /// Ascending, without overlaps.
    closed: VecDeque<Block>,
    /// What those take.
    closed_bytes: usize,
    /// The one that grows.
    open: Option<OpenBlock>,
}

/// A series as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: Arc<str>,
    /// The first and the last moment that have a value, in Unix seconds.
    pub first: u64,
    pub last: u64,
    pub bytes: usize,
}

impl History {
    /// Keeps the values of a moment, by the full names of their series. A moment that is not later than the last one is passed over: the
    /// clock was set.
    pub fn record<'a>(&mut self, unix_seconds: u64, values: impl Iterator<Item = (&'a str, f64)>) {
        let slot = unix_seconds / SLOT_SECONDS;
        self.refused = 0;
        for (name, value) in values {
            if !value.is_finite() || NAME_BYTES_MAX < name.len() {
                continue;
            }
            if let Some(series) = self.series.get_mut(name) {
                series.push(slot, value);
            } else if self.series.len() < SERIES_MAX {
                let mut series = Series::default();
                series.push(slot, value);
                self.series.insert(name.into(), series);
            } else {
                self.refused += 1;
            }
        }
        self.forget(slot);
    }

    /// What all of it takes, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.series.iter().map(|(name, it)| name.len() + it.bytes()).sum()
    }

    /// How many series there are, and how many there was no room for.
    pub fn series_count(&self) -> (usize, usize) {
        (self.series.len(), self.refused)
    }

    /// Every series.
    pub fn list(&self) -> Vec<Listed> {
        let listed = |(name, it): (&Arc<str>, &Series)| {
            let (first, last) = it.range()?;
            let seconds = |slot: u64| slot * SLOT_SECONDS;
            let (first, last) = (seconds(first), seconds(last));
            Some(Listed { name: Arc::clone(name), first, last, bytes: it.bytes() })
        };
        self.series.iter().filter_map(listed).collect()
    }

    /// A question about a series of that full name, or about all series of a metric, that can be answered without this.
    pub fn ask(&self, name: &str) -> Question {
        let is_it = |it: &str| {
            it.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let series = self.series.range::<str, _>((Bound::Included(name), Bound::Unbounded));
        let series = series.take_while(|it| it.0.starts_with(name));
        let series = series.filter(|it| is_it(it.0));
        Question::new(series.map(|(name, it)| (Arc::clone(name), it.clone())).collect())
    }

    /// Lets go of what is older than a day, and of more if all of it takes too much.
    fn forget(&mut self, now: u64) {
        let mut kept = SLOTS_MAX;
        loop {
            let oldest = now.saturating_sub(kept);
            self.series.retain(|_, it| it.forget(oldest));
            if self.bytes() <= BYTES_MAX || kept == 0 {
                return;
            }
            kept = kept.saturating_sub(BLOCK_SLOTS_MAX);
        }
    }
}

impl Series {
    fn push(&mut self, slot: u64, value: f64) {
        if let Some(open) = &mut self.open {
            if slot < open.end() || open.push(slot, value) {
                return;
            }
            let full = self.open.take().expect("it was just there");
            self.add(full.close());
        }
        if self.closed.back().is_none_or(|it| it.end() <= slot) {
            self.open = Some(OpenBlock::new(slot, value));
        }
    }

    /// Adds a block behind all others.
    fn add(&mut self, block: Block) {
        self.closed_bytes += BLOCK_BYTES + block.len();
        self.closed.push_back(block);
    }

    /// Lets go of blocks that are over by a moment. Returns whether anything is left.
    fn forget(&mut self, oldest: u64) -> bool {
        while self.closed.front().is_some_and(|it| it.end() <= oldest) {
            let gone = self.closed.pop_front().expect("it was just there");
            self.closed_bytes -= BLOCK_BYTES + gone.len();
        }
        if self.open.as_ref().is_some_and(|it| it.end() <= oldest) {
            self.open = None;
        }
        !self.closed.is_empty() || self.open.is_some()
    }

    fn bytes(&self) -> usize {
        SERIES_BYTES + self.closed_bytes + self.open.as_ref().map_or(0, OpenBlock::len)
    }

    /// The first and the last slot.
    fn range(&self) -> Option<(u64, u64)> {
        let first = self.closed.front().map(Block::start);
        let first = first.or(self.open.as_ref().map(OpenBlock::start))?;
        let end = self.open.as_ref().map(OpenBlock::end);
        let end = end.or(self.closed.back().map(Block::end))?;
        Some((first, end - 1))
    }

    /// Every block, the open one as it is.
    fn blocks(&self) -> impl Iterator<Item = Block> {
        self.closed.iter().cloned().chain(self.open.clone().map(OpenBlock::close))
    }
}

#[cfg(test)]
mod tests;
