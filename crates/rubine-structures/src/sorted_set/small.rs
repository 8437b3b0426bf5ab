//! The small form of a sorted set: members and scores by turns in one packed block, in order. Never decides how
//! large it may become.

use std::ops::Range;

use super::order::{Probe, encode, prefix_of, rank_of};
use crate::pack::Pack;
use crate::relocation::Relocation;

/// A member and its score.
const STRIDE: usize = 2;

#[derive(Clone, Debug, Default)]
pub(super) struct Small {
    pack: Pack,
}

impl Small {
    pub(super) fn of<'a>(elements: impl Iterator<Item = (&'a [u8], f64)>) -> Self {
        let mut pack = Pack::new();
        for (member, score) in elements {
            pack.push_back(member);
            with_item(score, |item| pack.push_back(item));
        }
        Self { pack }
    }

    pub(super) fn pack(&self) -> &Pack {
        &self.pack
    }

    pub(super) fn relocate(&mut self, relocation: &mut Relocation<'_>) {
        self.pack.relocate(relocation);
    }

    pub(super) fn len(&self) -> usize {
        self.pack.len() / STRIDE
    }

    pub(super) fn find(&self, member: &[u8]) -> Option<(usize, f64)> {
        let index = self.pack.find(member, 0, STRIDE)? / STRIDE;
        self.elements(index..index + 1).next().map(|(_, score)| (index, score))
    }

    pub(super) fn position(&self, probe: &Probe<'_>) -> usize {
        let mut elements = self.elements(0..self.len());
        let place = elements.position(|(member, score)| {
            !probe.is_behind(rank_of(encode(score)), || prefix_of(member), || member)
        });
        place.unwrap_or(self.len())
    }

    /// Adds an element, which is not there yet.
    pub(super) fn insert(&mut self, member: &[u8], score: f64) {
        let item = STRIDE * self.position(&Probe::before(encode(score), member));
        self.pack.insert(item, member);
        with_item(score, |text| self.pack.insert(item + 1, text));
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.remove_range(index..index + 1);
    }

    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        self.pack.remove_range(STRIDE * range.start..STRIDE * range.end);
    }

    pub(super) fn elements(
        &self,
        range: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + Clone {
        Elements { items: self.pack.iter_range(STRIDE * range.start..STRIDE * range.end) }
    }
}

#[derive(Clone)]
struct Elements<'a> {
    items: crate::pack::Iter<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.items.next()?, score_of(self.items.next()?)))
    }
}

impl DoubleEndedIterator for Elements<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let score = score_of(self.items.next_back()?);
        Some((self.items.next_back()?, score))
    }
}

/// Hands over a score as an item: an integer of 1, 2 or 4 bytes where it is one, else its bits, but for the lowest bytes
/// as far as these are zero, so that 1.5 takes three. As in the listpacks of Redis, zero loses its sign.
fn with_item(score: f64, take: impl FnOnce(&[u8])) {
    let integer = score as i32;
    if f64::from(integer).to_bits() != (score + 0.0).to_bits() {
        let bytes = score.to_le_bytes();
        let zeros = score.to_bits().trailing_zeros() as usize / 8;
        // The widths of integers are taken.
        let len = match bytes.len() - zeros {
            0..=3 => 3,
            4 => 5,
            len => len,
        };
        take(&bytes[bytes.len() - len..]);
    } else if let Ok(byte) = i8::try_from(integer) {
        take(&byte.to_le_bytes());
    } else if let Ok(short) = i16::try_from(integer) {
        take(&short.to_le_bytes());
    } else {
        take(&integer.to_le_bytes());
    }
}

fn score_of(item: &[u8]) -> f64 {
    match *item {
        [byte] => f64::from(byte as i8),
        [low, high] => f64::from(i16::from_le_bytes([low, high])),
        [a, b, c, d] => f64::from(i32::from_le_bytes([a, b, c, d])),
        _ => {
            let mut bytes = [0; size_of::<f64>()];
            let start = bytes.len() - item.len();
            bytes[start..].copy_from_slice(item);
            f64::from_le_bytes(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{score_of, with_item};

    #[test]
    fn scores_come_back_from_as_few_bytes_as_may_be() {
        let scores = [
            (0.0, 1),
            (-128.0, 1),
            (128.0, 2),
            (40_000.0, 4),
            (1.5, 3),
            (-13.5, 3),
            (f64::INFINITY, 3),
            (f64::NEG_INFINITY, 3),
            (1e10, 5),
            (1_700_000_000_000.0, 6),
            (1_700_000_000_123.0, 7),
            (0.1, 8),
            (f64::MIN_POSITIVE, 3),
            (f64::from_bits(1), 8),
        ];
        for (score, len) in scores {
            with_item(score, |item| {
                assert_eq!(item.len(), len, "{score}");
                assert_eq!(score_of(item).to_bits(), score.to_bits());
            });
        }
    }
}
