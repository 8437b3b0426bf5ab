//! Elements on their way to be sorted: copied into blocks of text, with as much of what they are sorted by as decides
//! most comparisons. Never looks at a key.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::sync::Arc;

use rubine_base::number::parse_f64;
use rubine_structures::sorted_set::Direction;

use super::pattern::{Found, until_null};
use rubine_base::collation::Collation;

/// A block of text is closed when it has grown to this.
const BLOCK_BYTES: usize = 128 * 1024;

/// How elements are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As numbers, and by their own text where those are equal.
    Number,
    /// As text up to the first null byte, by the rules of the locale.
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
    /// The rules of the locale, where those and no others decide, nor are the order of bytes. What is compared by them
    /// has a null byte behind it.
    collation: Option<Arc<dyn Collation>>,
}

impl Texts {
    /// No texts yet. With a `collation`, all have to be [`Kind::Collated`].
    pub(super) fn new(collation: Option<Arc<dyn Collation>>) -> Self {
        Self { blocks: Vec::new(), collation }
    }

    /// Adds an element that is sorted by itself. `None` if it is no number though it has to be.
    pub(super) fn add(&mut self, element: &[u8], kind: Kind) -> Option<Entry> {
        let (rank, key) = match kind {
            Kind::Collated if self.collation.is_some() => {
                return Some(self.add_key(element, until_null(element)));
            }
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
        let Some(key) = key else {
            return Some(Entry { key_len: MISSING, has_own_key: true, ..self.place(element) });
        };
        let key = if kind == Kind::Collated { until_null(key) } else { key };
        Some(self.add_key(element, key))
    }

    /// Adds an element with the text that it is sorted by behind it.
    fn add_key(&mut self, element: &[u8], key: &[u8]) -> Entry {
        let mut entry = self.place(element);
        entry.has_own_key = true;
        entry.key_len = key.len() as u32;
        let block = &mut self.blocks[entry.block as usize];
        block.extend_from_slice(key);
        if self.collation.is_some() {
            block.push(0);
        } else {
            entry.rank = rank_of_text(key);
        }
        entry
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
                    .then_with(|| self.compare_texts(a, b))
            }
        };
        if direction == Direction::Descending { order.reverse() } else { order }
    }

    fn compare_texts(&self, a: &Entry, b: &Entry) -> Ordering {
        match &self.collation {
            Some(collation) if a.key_len != MISSING => {
                collation.compare(self.key_with_null(a), self.key_with_null(b))
            }
            _ => self.key(a).cmp(self.key(b)),
        }
    }

    /// Whether some are compared by an order that is not ours.
    pub(super) fn has_collation(&self) -> bool {
        self.collation.is_some()
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

    fn key_with_null(&self, entry: &Entry) -> &CStr {
        let start = entry.start as usize + entry.len as usize;
        let bytes = &self.blocks[entry.block as usize][start..][..=entry.key_len as usize];
        CStr::from_bytes_with_nul(bytes).expect("it ends before the first null byte of its text")
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

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::ffi::CStr;
    use std::sync::Arc;

    use rubine_structures::sorted_set::Direction;

    use super::{Entry, Kind, Texts};
    use crate::sort::pattern::Found;
    use rubine_base::collation::Collation;

    /// Letters in either case are the same.
    #[derive(Debug)]
    struct IgnoringCase;

    impl Collation for IgnoringCase {
        fn compare(&self, a: &CStr, b: &CStr) -> Ordering {
            a.to_bytes().to_ascii_lowercase().cmp(&b.to_bytes().to_ascii_lowercase())
        }
    }

    fn sorted(texts: &Texts, mut entries: Vec<Entry>) -> Vec<&[u8]> {
        entries.sort_by(|a, b| texts.compare(Kind::Collated, Direction::Ascending, a, b));
        entries.iter().map(|entry| texts.element(entry)).collect()
    }

    #[test]
    fn texts_are_compared_as_the_locale_says_up_to_a_null_byte() {
        let mut texts = Texts::new(Some(Arc::new(IgnoringCase)));
        let elements: [&[u8]; 6] = [b"b", b"A", b"a\0z", b"", b"B\0a", b"C"];
        let entries: Option<Vec<_>> =
            elements.into_iter().map(|it| texts.add(it, Kind::Collated)).collect();
        let expected: [&[u8]; 6] = [b"", b"A", b"a\0z", b"b", b"B\0a", b"C"];
        assert_eq!(sorted(&texts, entries.expect("texts need not be numbers")), expected);
    }

    #[test]
    fn what_has_no_value_comes_first() {
        let mut texts = Texts::new(Some(Arc::new(IgnoringCase)));
        let found = [
            (b"1", Found::Text(b"b")),
            (b"2", Found::Nothing),
            (b"3", Found::Text(b"A\0")),
            (b"4", Found::Text(b"")),
            (b"5", Found::Integer(-7)),
        ];
        let entries: Option<Vec<_>> = found
            .into_iter()
            .map(|(element, by)| texts.add_by(element, by, Kind::Collated))
            .collect();
        let order = sorted(&texts, entries.expect("texts need not be numbers")).concat();
        assert_eq!(order, b"24531");
    }
}
