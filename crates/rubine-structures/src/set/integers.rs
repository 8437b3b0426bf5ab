//! A sorted array of integers in one counted block, each as wide as the widest needs: the form of a small set that
//! holds nothing but integers. Never changes a block that somebody else still holds.

use triomphe::{Arc, ThinArc};

use crate::pack::allocation_class;
use crate::relocation::Relocation;
use crate::table::prefetch::prefetch_lines;

/// What is known of the integers lies in the handle, so that the block of a small set has little beside them:
///
/// ```text
/// | reference count | block length | integers, ascending, little-endian | gap |
/// ```
#[derive(Clone)]
pub(super) struct Integers {
    /// Invariant: a block holds at least one integer.
    block: Option<ThinArc<(), u8>>,
    count: u32,
    width: Width,
}

/// Bytes of each integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Width {
    One = 1,
    Two,
    Three,
    Four,
    Five,
    Six,
    Seven,
    Eight,
}

impl Width {
    const ALL: [Self; 8] = [
        Self::One,
        Self::Two,
        Self::Three,
        Self::Four,
        Self::Five,
        Self::Six,
        Self::Seven,
        Self::Eight,
    ];

    /// What `integer` needs.
    fn of(integer: i64) -> Self {
        let magnitude = if integer < 0 { !integer } else { integer };
        // One more than the highest bit, for the sign.
        let bits = i64::BITS - magnitude.leading_zeros() + 1;
        Self::ALL[bits.div_ceil(u8::BITS) as usize - 1]
    }

    fn bytes(self) -> usize {
        self as usize
    }
}

/// The bytes of the allocation before the integers.
const PREFIX: usize = 2 * size_of::<usize>();

impl Default for Integers {
    fn default() -> Self {
        Self { block: None, count: 0, width: Width::One }
    }
}

impl Integers {
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether the other is a handle of the same block.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.block, &other.block) {
            (Some(ours), Some(theirs)) => std::ptr::eq(ours.slice.as_ptr(), theirs.slice.as_ptr()),
            (None, None) => true,
            _ => false,
        }
    }

    /// Asks the processor to fetch the first of the integers.
    #[inline]
    pub(super) fn prefetch(&self) {
        const LINES_FETCHED: usize = 2;
        if let Some(block) = &self.block {
            prefetch_lines(ThinArc::as_ptr(block).cast(), LINES_FETCHED);
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<i64> {
        let block = self.block.as_ref()?;
        (index < self.len()).then(|| read(&block.slice, self.width, index))
    }

    pub(super) fn contains(&self, integer: i64) -> bool {
        self.find(integer).is_ok()
    }

    /// Adds an integer. Returns whether it is new.
    pub(super) fn insert(&mut self, integer: i64) -> bool {
        let Err(index) = self.find(integer) else { return false };
        let count = self.len();
        let width = Width::of(integer).max(self.width);
        let in_place = width == self.width
            && self.change_in_place(|block| {
                let used = count * width.bytes();
                let has_room = used + width.bytes() <= block.len();
                if has_room {
                    let at = index * width.bytes();
                    block.copy_within(at..used, at + width.bytes());
                    write(block, width, index, integer);
                }
                has_room
            });
        if in_place {
            self.count += 1;
        } else {
            let all: Vec<_> = self.iter(0).collect();
            let (below, above) = all.split_at(index);
            *self = Self::build(width, &[below, &[integer], above]);
        }
        true
    }

    /// Removes an integer. Returns whether it was there.
    pub(super) fn remove(&mut self, integer: i64) -> bool {
        let Ok(index) = self.find(integer) else { return false };
        let count = self.len();
        let width = self.width.bytes();
        let in_place = self.change_in_place(|block| {
            let sparse = block.len() / 2 > PREFIX + count * width;
            if !sparse && 1 < count {
                block.copy_within((index + 1) * width..count * width, index * width);
            }
            !sparse && 1 < count
        });
        if in_place {
            self.count -= 1;
        } else {
            let rest: Vec<_> = self.iter(0).filter(|&other| other != integer).collect();
            *self = Self::build(self.width, &[&rest]);
        }
        true
    }

    pub(super) fn iter(&self, from: usize) -> impl Iterator<Item = i64> {
        (from..self.len()).filter_map(|index| self.get(index))
    }

    /// Moves the block if it is to move and nobody else holds it.
    pub(super) fn relocate(&mut self, relocation: &mut Relocation<'_>) {
        if let Some(block) = &mut self.block
            && ThinArc::strong_count(block) == 1
            && relocation.wants(ThinArc::as_ptr(block))
        {
            *block = ThinArc::from_header_and_slice((), &block.slice);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.block.as_ref().map_or(0, |block| allocation_class(PREFIX + block.slice.len()))
    }

    /// The index of an integer, or where it would be.
    fn find(&self, integer: i64) -> Result<usize, usize> {
        let Some(block) = &self.block else { return Err(0) };
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match read(&block.slice, self.width, middle).cmp(&integer) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Returns what `change` returns, or false where it cannot be called because others hold the block.
    fn change_in_place(&mut self, change: impl FnOnce(&mut [u8]) -> bool) -> bool {
        let Some(block) = &mut self.block else { return false };
        block.with_arc_mut(|arc| Arc::get_mut(arc).is_some_and(|own| change(own.slice_mut())))
    }

    fn build(width: Width, parts: &[&[i64]]) -> Self {
        let count: usize = parts.iter().map(|part| part.len()).sum();
        if count == 0 {
            return Self::default();
        }
        let size = allocation_class(PREFIX + count * width.bytes()) - PREFIX;
        let mut bytes = vec![0; size];
        for (index, integer) in parts.iter().copied().flatten().enumerate() {
            write(&mut bytes, width, index, *integer);
        }
        let block = Some(ThinArc::from_header_and_slice((), &bytes));
        Self { block, count: count as u32, width }
    }
}

impl std::fmt::Debug for Integers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter(0)).finish()
    }
}

#[inline]
fn read(bytes: &[u8], width: Width, index: usize) -> i64 {
    let at = index * width.bytes();
    let mut wide = [0; 8];
    // The sign is in the highest byte, hence the shift back from the top.
    wide[8 - width.bytes()..].copy_from_slice(&bytes[at..at + width.bytes()]);
    i64::from_le_bytes(wide) >> (i64::BITS - u8::BITS * width as u32)
}

fn write(bytes: &mut [u8], width: Width, index: usize, integer: i64) {
    let at = index * width.bytes();
    let narrow = &integer.to_le_bytes()[..width.bytes()];
    bytes[at..at + width.bytes()].copy_from_slice(narrow);
}

#[cfg(test)]
mod tests {
    use super::Integers;

    /// The bounds of every width, and beyond.
    #[test]
    fn integers_of_all_widths_come_back() {
        for bits in (7..64).step_by(8) {
            let bound = 1_i64 << bits;
            for integer in [bound.wrapping_sub(1), bound, bound.wrapping_neg(), !bound] {
                let mut integers = Integers::default();
                assert!(
                    integers.insert(integer) && integers.insert(0) && !integers.insert(integer)
                );
                assert!(integers.contains(integer) && integers.contains(0) && integers.len() == 2);
                assert!(integers.remove(0) && integers.get(0) == Some(integer));
            }
        }
    }
}
