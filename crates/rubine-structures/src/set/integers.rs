//! A sorted array of integers in one counted block, each as wide as the widest needs: the form of a small set that
//! holds nothing but integers. Never changes a block that somebody else still holds.

use triomphe::{Arc, ThinArc};

use crate::pack::allocation_class;
use crate::table::prefetch::prefetch_lines;

/// ```text
/// | reference count | head | block length | integers, ascending, little-endian | gap |
/// ```
#[derive(Clone, Default)]
pub(super) struct Integers {
    /// Invariant: a block holds at least one integer.
    block: Option<ThinArc<Head, u8>>,
}

#[derive(Clone, Copy)]
struct Head {
    count: u32,
    /// Bytes of each integer: 2, 4 or 8.
    width: u8,
}

/// The bytes of the allocation before the integers.
const PREFIX: usize = 2 * size_of::<usize>() + size_of::<Head>();

impl Integers {
    pub(super) fn len(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.header.header.count as usize)
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
        let head = block.header.header;
        (index < head.count as usize).then(|| read(&block.slice, head.width, index))
    }

    pub(super) fn contains(&self, integer: i64) -> bool {
        self.find(integer).is_ok()
    }

    /// Adds an integer. Returns whether it is new.
    pub(super) fn insert(&mut self, integer: i64) -> bool {
        let Err(index) = self.find(integer) else { return false };
        let count = self.len();
        let width = width_of(integer).max(self.width());
        let in_place = self.change_in_place(|head, block| {
            let used = count * usize::from(width);
            let room = used + usize::from(width) <= block.len() && head.width == width;
            if room {
                let at = index * usize::from(width);
                block.copy_within(at..used, at + usize::from(width));
                write(block, width, index, integer);
                head.count += 1;
            }
            room
        });
        if !in_place {
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
        let width = usize::from(self.width());
        let in_place = self.change_in_place(|head, block| {
            let sparse = block.len() / 2 > PREFIX + count * width;
            if !sparse && 1 < count {
                block.copy_within((index + 1) * width..count * width, index * width);
                head.count -= 1;
            }
            !sparse && 1 < count
        });
        if !in_place {
            let rest: Vec<_> = self.iter(0).filter(|&other| other != integer).collect();
            *self = Self::build(self.width(), &[&rest]);
        }
        true
    }

    pub(super) fn iter(&self, from: usize) -> impl Iterator<Item = i64> {
        (from..self.len()).filter_map(|index| self.get(index))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.block.as_ref().map_or(0, |block| allocation_class(PREFIX + block.slice.len()))
    }

    fn width(&self) -> u8 {
        self.block.as_ref().map_or(0, |block| block.header.header.width)
    }

    /// The index of an integer, or where it would be.
    fn find(&self, integer: i64) -> Result<usize, usize> {
        let Some(block) = &self.block else { return Err(0) };
        let head = block.header.header;
        let (mut low, mut high) = (0, head.count as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            match read(&block.slice, head.width, middle).cmp(&integer) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Returns what `change` returns, or false where it cannot be called because others hold the block.
    fn change_in_place(&mut self, change: impl FnOnce(&mut Head, &mut [u8]) -> bool) -> bool {
        let Some(block) = &mut self.block else { return false };
        block.with_arc_mut(|arc| {
            let Some(own) = Arc::get_mut(arc) else { return false };
            let mut head = *own.header();
            let changed = change(&mut head, own.slice_mut());
            *own.header_mut() = head;
            changed
        })
    }

    fn build(width: u8, parts: &[&[i64]]) -> Self {
        let count: usize = parts.iter().map(|part| part.len()).sum();
        if count == 0 {
            return Self::default();
        }
        let size = allocation_class(PREFIX + count * usize::from(width)) - PREFIX;
        let mut bytes = vec![0; size];
        for (index, integer) in parts.iter().copied().flatten().enumerate() {
            write(&mut bytes, width, index, *integer);
        }
        let head = Head { count: count as u32, width };
        Self { block: Some(ThinArc::from_header_and_slice(head, &bytes)) }
    }
}

impl std::fmt::Debug for Integers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter(0)).finish()
    }
}

fn width_of(integer: i64) -> u8 {
    if i16::try_from(integer).is_ok() {
        2
    } else if i32::try_from(integer).is_ok() {
        4
    } else {
        8
    }
}

#[inline]
fn read(bytes: &[u8], width: u8, index: usize) -> i64 {
    let at = index * usize::from(width);
    let mut wide = [0; 8];
    // The sign is in the highest byte, hence the shift back from the top.
    wide[8 - usize::from(width)..].copy_from_slice(&bytes[at..at + usize::from(width)]);
    i64::from_le_bytes(wide) >> (64 - 8 * u32::from(width))
}

fn write(bytes: &mut [u8], width: u8, index: usize, integer: i64) {
    let at = index * usize::from(width);
    let narrow = &integer.to_le_bytes()[..usize::from(width)];
    bytes[at..at + usize::from(width)].copy_from_slice(narrow);
}
