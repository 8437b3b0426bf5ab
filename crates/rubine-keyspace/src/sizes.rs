//! How large keys are, by type: what INFO tells, from a bounded number of records. Never changes anything.

use rubine_structures::record::RecordRef;
use rubine_structures::table::Table;
use rubine_structures::value::ValueRef;

use crate::shard::Shard;

/// Sizes are told apart by their powers of two; the first bin is for what is empty.
pub const SIZE_BINS: usize = 61;

/// The types that are counted, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizedType {
    String,
    List,
    Set,
    SortedSet,
    Hash,
}

impl SizedType {
    pub const ALL: [Self; 5] = [Self::String, Self::List, Self::Set, Self::SortedSet, Self::Hash];
}

/// Keys by their size: in the bin 0 the empty ones, in the bin `n` those from 2^(n-1) on to twice that.
pub type SizeBins = [u64; SIZE_BINS];

/// What was seen of one database.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Records that were looked at.
    pub examined: u64,
    /// By type: bytes of strings, elements of everything else.
    pub lengths: [SizeBins; SizedType::ALL.len()],
    /// By type: bytes of memory.
    pub memory: [SizeBins; SizedType::ALL.len()],
}

impl Default for Sizes {
    fn default() -> Self {
        let nothing = [[0; SIZE_BINS]; SizedType::ALL.len()];
        Self { examined: 0, lengths: nothing, memory: nothing }
    }
}

impl Shard {
    /// Looks at some `count` records of a database; at all, if it has fewer.
    pub fn count_sizes(&self, db: usize, count: usize, sizes: &mut Sizes) {
        let mut examined = 0;
        for table in self.tables(db).filter(|it: &&Table| !it.is_empty()) {
            let mut cursor = Some(0);
            while let Some(at) = cursor
                && examined < count
            {
                cursor = table.scan(at, count - examined, |record| {
                    examined += 1;
                    sizes.add(record);
                });
            }
        }
    }
}

impl Sizes {
    fn add(&mut self, record: RecordRef<'_>) {
        self.examined += 1;
        let (sized, len) = match record.value() {
            ValueRef::Int(number) => (SizedType::String, decimal_len(number)),
            ValueRef::Bytes { bytes, .. } => (SizedType::String, bytes.len()),
            ValueRef::Shared(bytes) => (SizedType::String, bytes.len()),
            ValueRef::List(list) => (SizedType::List, list.len()),
            ValueRef::Set(set) => (SizedType::Set, set.len() as usize),
            ValueRef::SortedSet(set) => (SizedType::SortedSet, set.len() as usize),
            ValueRef::Hash(hash) => (SizedType::Hash, hash.len() as usize),
            ValueRef::Stream(_) => return,
        };
        self.lengths[sized as usize][bin(len)] += 1;
        self.memory[sized as usize][bin(record.bytes_with_value())] += 1;
    }
}

fn bin(size: usize) -> usize {
    let bin = size.checked_ilog2().map_or(0, |it| it as usize + 1);
    bin.min(SIZE_BINS - 1)
}

fn decimal_len(number: i64) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().map_or(1, |it| it as usize + 1);
    digits + usize::from(number < 0)
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::{bin, decimal_len};

    #[test]
    fn bins_are_powers_of_two() {
        for (size, expected) in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11)] {
            assert_eq!(bin(size), expected, "{size}");
        }
        assert_eq!(bin(usize::MAX), 60);
    }

    #[test]
    fn numbers_have_the_length_of_their_text() {
        for number in [0, 1, -1, 9, 10, -10, 999, 1000, i64::MAX, i64::MIN] {
            assert_eq!(decimal_len(number), number.to_string().len(), "{number}");
        }
    }
}
