//! Elements on their way to be sorted: copied into blocks of text, with as much of what they are sorted by as decides
//! most comparisons. Never looks at a key.

use std::cmp::Ordering;

use rubine_base::number::parse_f64;
use rubine_structures::sorted_set::Direction;

use super::pattern::{Found, until_null};

/// A block of text is closed when it has grown to this.
const BLOCK_BYTES: usize = 128 * 1024;

/// How elements are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As numbers, and by their own text where those are equal.
    Number,
    /// As text up to the first null byte, which is what Redis compares by the rules of the C locale.
    Collated,
    /// As text. Redis does so where the result is stored, so that it is the same wherever it is computed.
    Bytes,
}

/// An element. It is small, so that sorting moves little.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The number, or the beginning of the text, that it is sorted by: where two differ, they decide.
    rank: u64,
    block: u32,
    start: u32,
    len: u32,
    /// Length of the text that it is sorted by, or [`MISSING`].
    key_len: u32,
    /// That text stands behind the element's own, rather than being its beginning.
    has_own_key: bool,
}

/// The key has no value to sort by.
const MISSING: u32 = u32::MAX;

/// The texts of elements.
#[derive(Debug, Default)]
pub(super) struct Texts {
    blocks: Vec<Vec<u8>>,
}

impl Texts {
    /// Adds an element that is sorted by itself. `None` if it is no number though it has to be.
    pub(super) fn add(&mut self, element: &[u8], kind: Kind) -> Option<Entry> {
        let (rank, key) = match kind {
            Kind::Number => (rank_of_number(parse_f64(until_null(element))?), &[][..]),
            Kind::Collated => (rank_of_text(until_null(element)), until_null(element)),
            Kind::Bytes => (rank_of_text(element), element),
        };
        let mut entry = self.place(element);
        (entry.rank, entry.key_len) = (rank, key.len() as u32);
        Some(entry)
    }

    /// Adds an element that is sorted by the value of another key. `None` if that is no number though it has to be.
    pub(super) fn add_by(&mut self, element: &[u8], by: Found<'_>, kind: Kind) -> Option<Entry> {
        let mut digits = itoa::Buffer::new();
        let key = match by {
            Found::Nothing => None,
            Found::Text(text) => Some(text),
            Found::Integer(integer) => Some(digits.format(integer).as_bytes()),
            Found::Shared(value) => Some(value.as_slice()),
        };
        if kind == Kind::Number {
            let number = key.map_or(Some(0.0), |key| parse_f64(until_null(key)))?;
            return Some(Entry { rank: rank_of_number(number), ..self.place(element) });
        }
        let mut entry = self.place(element);
        entry.has_own_key = true;
        let Some(key) = key else { return Some(Entry { key_len: MISSING, ..entry }) };
        let key = if kind == Kind::Collated { until_null(key) } else { key };
        (entry.rank, entry.key_len) = (rank_of_text(key), key.len() as u32);
        self.blocks[entry.block as usize].extend_from_slice(key);
        Some(entry)
    }

    pub(super) fn element(&self, entry: &Entry) -> &[u8] {
        &self.blocks[entry.block as usize][entry.start as usize..][..entry.len as usize]
    }

    pub(super) fn compare(
        &self,
        kind: Kind,
        direction: Direction,
        a: &Entry,
        b: &Entry,
    ) -> Ordering {
        let order = match kind {
            Kind::Number => a.rank.cmp(&b.rank).then_with(|| self.element(a).cmp(self.element(b))),
            Kind::Collated | Kind::Bytes => {
                let has_key = |entry: &Entry| entry.key_len != MISSING;
                (has_key(a).cmp(&has_key(b)))
                    .then(a.rank.cmp(&b.rank))
                    .then_with(|| self.key(a).cmp(self.key(b)))
            }
        };
        if direction == Direction::Descending { order.reverse() } else { order }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum()
    }

    /// Copies an element. Lengths fit into 32 bits because a string has no more than `proto-max-bulk-len`, and a block
    /// is closed long before.
    fn place(&mut self, element: &[u8]) -> Entry {
        if self.blocks.last().is_none_or(|block| BLOCK_BYTES <= block.len()) {
            self.blocks.push(Vec::new());
        }
        let block_index = self.blocks.len() - 1;
        let block = &mut self.blocks[block_index];
        let start = block.len();
        block.extend_from_slice(element);
        Entry {
            rank: 0,
            block: block_index as u32,
            start: start as u32,
            len: element.len() as u32,
            key_len: 0,
            has_own_key: false,
        }
    }

    /// What an entry is sorted by, if that is text.
    fn key(&self, entry: &Entry) -> &[u8] {
        if entry.key_len == MISSING {
            return b"";
        }
        let start = entry.start + if entry.has_own_key { entry.len } else { 0 };
        &self.blocks[entry.block as usize][start as usize..][..entry.key_len as usize]
    }
}

/// A number that has the order of floating-point numbers, none of which is not-a-number.
fn rank_of_number(number: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    // The two zeros are equal.
    let bits = if number == 0.0 { 0 } else { number.to_bits() };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The beginning of a text as a number: where two differ, the texts have their order.
fn rank_of_text(text: &[u8]) -> u64 {
    let mut beginning = [0; 8];
    let len = text.len().min(beginning.len());
    beginning[..len].copy_from_slice(&text[..len]);
    u64::from_be_bytes(beginning)
}
