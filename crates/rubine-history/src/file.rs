//! A history as bytes: those of its file (`docs/formats/history.md`). What is read has been walked from end to end.

use std::sync::Arc;

use rubine_base::crc::crc64;

use crate::block::{BLOCK_SLOTS_MAX, Block, Kind};
use crate::{BYTES_MAX, History, NAME_BYTES_MAX, SERIES_MAX, SLOTS_MAX, Series};

const MAGIC: &[u8; 8] = b"RUBHIST1";
const SUM_BYTES: usize = 8;
/// A file is no larger than what is kept in memory, and what stands around it.
const FILE_BYTES_MAX: usize = 2 * BYTES_MAX;

/// Why bytes are no history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// They do not begin as one.
    NoHistory,
    /// They are larger than any.
    TooLarge,
    /// The checksum is wrong: something is changed or missing.
    WrongSum,
    /// What is inside contradicts itself.
    Malformed,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoHistory => "it is no history",
            Self::TooLarge => "it is larger than any history",
            Self::WrongSum => "its checksum is wrong",
            Self::Malformed => "it contradicts itself",
        })
    }
}

impl History {
    /// How many bytes are read of a file at most; one that has more is none.
    pub const FILE_BYTES_MAX: usize = FILE_BYTES_MAX;

    /// The bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.series.len() as u32).to_le_bytes());
        for (name, series) in &self.series {
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend(name.as_bytes());
            let blocks: Vec<Block> = series.blocks().collect();
            bytes.extend((blocks.len() as u32).to_le_bytes());
            for block in blocks {
                bytes.extend(block.start.to_le_bytes());
                bytes.extend((block.slots as u16).to_le_bytes());
                bytes.push(u8::from(block.kind == Kind::Others));
                bytes.extend(block.first.to_le_bytes());
                bytes.extend((block.bytes.len() as u32).to_le_bytes());
                bytes.extend(&block.bytes[..]);
            }
        }
        let sum = crc64(0, &bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// Reads the bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        if FILE_BYTES_MAX < bytes.len() {
            return Err(Damage::TooLarge);
        }
        if !bytes.starts_with(MAGIC) {
            return Err(Damage::NoHistory);
        }
        let split = bytes.len().checked_sub(SUM_BYTES).filter(|it| MAGIC.len() <= *it);
        let (content, sum) = bytes.split_at(split.ok_or(Damage::WrongSum)?);
        if crc64(0, content).to_le_bytes() != sum {
            return Err(Damage::WrongSum);
        }
        let mut reader = Reader(&content[MAGIC.len()..]);
        let history = reader.history().ok_or(Damage::Malformed)?;
        if !reader.0.is_empty() {
            return Err(Damage::Malformed);
        }
        Ok(history)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn history(&mut self) -> Option<History> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        if SERIES_MAX < count {
            return None;
        }
        let mut history = History::default();
        for _ in 0..count {
            let len = usize::from(u16::from_le_bytes(self.array()?));
            let name = std::str::from_utf8(self.take(len)?).ok()?;
            let series = self.series()?;
            if NAME_BYTES_MAX < len || history.series.insert(name.into(), series).is_some() {
                return None;
            }
        }
        Some(history)
    }

    fn series(&mut self) -> Option<Series> {
        let count = u64::from(u32::from_le_bytes(self.array()?));
        // Kinds may change with each value, but there is a value in each block.
        if SLOTS_MAX + BLOCK_SLOTS_MAX < count {
            return None;
        }
        let mut series = Series::default();
        for _ in 0..count {
            let block = self.block()?;
            let is_behind = series.closed.back().is_none_or(|it| it.end() <= block.start);
            if !is_behind || !block.read(|_, _| {}) {
                return None;
            }
            series.add(block);
        }
        Some(series)
    }

    fn block(&mut self) -> Option<Block> {
        let start = u64::from_le_bytes(self.array()?);
        let slots = u64::from(u16::from_le_bytes(self.array()?));
        let kind = match self.array::<1>()? {
            [0] => Kind::Integers,
            [1] => Kind::Others,
            _ => return None,
        };
        let first = u64::from_le_bytes(self.array()?);
        let len = u32::from_le_bytes(self.array()?) as usize;
        let bytes: Arc<[u8]> = self.take(len)?.into();
        let is_possible = (1..=BLOCK_SLOTS_MAX).contains(&slots) && start < u64::MAX / 2;
        is_possible.then_some(Block { start, slots, kind, first, bytes })
    }

    fn array<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        self.take(COUNT)?.try_into().ok()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}
