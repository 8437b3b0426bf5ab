//! Sets of slots, as packets carry them. Knows no node.

use std::fmt;
use std::ops::RangeInclusive;

/// How many slots there are.
pub const SLOT_COUNT: usize = 16_384;
const WORD_COUNT: usize = SLOT_COUNT / 64;
/// Bytes of a set in a packet.
pub const SLOT_SET_SIZE: usize = SLOT_COUNT / 8;

/// Which of the slots: a bit for each.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet(Box<[u64; WORD_COUNT]>);

impl SlotSet {
    pub fn new() -> Self {
        Self(Box::new([0; WORD_COUNT]))
    }

    /// All slots.
    pub fn full() -> Self {
        Self(Box::new([u64::MAX; WORD_COUNT]))
    }

    pub fn contains(&self, slot: u16) -> bool {
        let (word, bit) = position(slot);
        self.0.get(word).is_some_and(|it| it & bit != 0)
    }

    /// Returns whether it was missing.
    pub fn insert(&mut self, slot: u16) -> bool {
        let (word, bit) = position(slot);
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Returns whether it was there.
    pub fn remove(&mut self, slot: u16) -> bool {
        let (word, bit) = position(slot);
        let was_there = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        was_there
    }

    pub fn insert_range(&mut self, slots: RangeInclusive<u16>) {
        slots.for_each(|slot| {
            self.insert(slot);
        });
    }

    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|it| it.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|it| *it == 0)
    }

    /// Those that are in it, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some((index * 64) as u16 + bit as u16)
            })
        })
    }

    /// Runs of slots that follow each other, in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> {
        let mut slots = self.iter().peekable();
        std::iter::from_fn(move || {
            let start = slots.next()?;
            let mut end = start;
            while slots.next_if_eq(&(end + 1)).is_some() {
                end += 1;
            }
            Some(start..=end)
        })
    }

    /// As packets carry it: the lowest slot of a byte is its lowest bit.
    pub fn to_bytes(&self) -> [u8; SLOT_SET_SIZE] {
        let mut bytes = [0; SLOT_SET_SIZE];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0.iter()) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8; SLOT_SET_SIZE]) -> Self {
        let mut set = Self::new();
        for (word, from) in set.0.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(from.try_into().expect("a chunk has 8 bytes"));
        }
        set
    }
}

impl Default for SlotSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<T: IntoIterator<Item = u16>>(slots: T) -> Self {
        let mut set = Self::new();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

/// The word of a slot, and its bit there.
fn position(slot: u16) -> (usize, u64) {
    (usize::from(slot) / 64, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_does_what_a_btree_set_does(steps in prop::collection::vec((any::<bool>(), 0..16_384u16), 0..300)) {
            let (mut set, mut model) = (SlotSet::new(), BTreeSet::new());
            for (inserts, slot) in steps {
                if inserts {
                    prop_assert_eq!(set.insert(slot), model.insert(slot));
                } else {
                    prop_assert_eq!(set.remove(slot), model.remove(&slot));
                }
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.ranges().flatten().eq(model.iter().copied()));
            prop_assert_eq!(SlotSet::from_bytes(&set.to_bytes()), set);
        }
    }

    #[test]
    fn runs_are_as_long_as_they_can_be() {
        let set: SlotSet = (0..100).chain(102..=102).chain(16_000..16_384).collect();
        assert_eq!(set.ranges().collect::<Vec<_>>(), [0..=99, 102..=102, 16_000..=16_383]);
        assert_eq!(SlotSet::full().ranges().collect::<Vec<_>>(), [0..=16_383]);
        // The order of bits on the wire.
        assert_eq!(SlotSet::from_iter([9]).to_bytes()[..2], [0, 2]);
    }
}
