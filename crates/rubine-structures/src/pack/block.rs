//! The bytes of one pack: where its areas are, how they are changed in place, and how a new block is
//! made. Never decides how large a block should be.

use std::mem::size_of;
use std::ops::Range;

use triomphe::{Arc, ThinArc};

use super::code::{Frame, SHORT_MAX, length_width};
use super::iter::Iter;

/// Where a new block keeps its free bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Between data and codes, for items that come in at the back.
    Back,
    /// Mostly outside of both, for items that come in at the front.
    Front,
    /// All outside, for the last ones that come in at the front.
    FrontOnly,
}

/// The items that a change takes away, and where their data is.
pub(super) struct Edit {
    pub(super) items: Range<usize>,
    /// Offsets from the first item's data.
    pub(super) data: Range<usize>,
}

impl Edit {
    pub(super) const AT_FRONT: Self = Self { items: 0..0, data: 0..0 };
}

/// The bounds of the four areas of a block, as offsets into it.
///
/// Invariant: `bounds_bytes <= data_start <= data_end <= codes_start < codes_end <= block.len()`.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) data_start: usize,
    pub(super) data_end: usize,
    pub(super) codes_start: usize,
    pub(super) codes_end: usize,
}

impl Shape {
    #[inline]
    pub(super) fn read(block: &[u8]) -> Self {
        let [data_start, data_end, codes_start, codes_end] = match bounds_bytes(block.len()) {
            BOUNDS_OF_TINY => array::<4>(block).map(usize::from),
            BOUNDS_OF_SMALL => {
                let packed = u64::from_le_bytes(array(block));
                [packed, packed >> 16, packed >> 32, packed >> 48]
                    .map(|bound| bound as usize & usize::from(u16::MAX))
            }
            _ => [0, 8, 16, 24].map(|at| u64::from_le_bytes(array(&block[at..])) as usize),
        };
        Self { data_start, data_end, codes_start, codes_end }
    }

    #[inline]
    pub(super) fn write(self, block: &mut [u8]) {
        let bounds = [self.data_start, self.data_end, self.codes_start, self.codes_end];
        match bounds_bytes(block.len()) {
            BOUNDS_OF_TINY => block[..4].copy_from_slice(&bounds.map(|bound| bound as u8)),
            BOUNDS_OF_SMALL => {
                let packed = bounds.iter().rev().fold(0, |all, &bound| all << 16 | bound as u64);
                block[..8].copy_from_slice(&packed.to_le_bytes());
            }
            _ => {
                for (at, bound) in bounds.into_iter().enumerate() {
                    block[8 * at..8 * at + 8].copy_from_slice(&(bound as u64).to_le_bytes());
                }
            }
        }
    }

    pub(super) fn count(self) -> usize {
        self.codes_end - self.codes_start
    }

    pub(super) fn data_len(self) -> usize {
        self.data_end - self.data_start
    }

    pub(super) fn used(self) -> usize {
        self.data_len() + self.count()
    }

    /// There are no items, or three quarters of a block that is worth it are free.
    #[inline]
    pub(super) fn is_wasteful_in(self, block_len: usize) -> bool {
        const KEPT_ANYWAY: usize = 128;
        let mostly_free = KEPT_ANYWAY < block_len && self.used() < block_len / 4;
        self.count() == 0 || mostly_free
    }

    #[inline]
    pub(super) fn iter(self, block: &[u8]) -> Iter<'_> {
        Iter {
            data: &block[self.data_start..self.data_end],
            codes: &block[self.codes_start..self.codes_end],
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("a block is longer than its bounds")
}

/// The reference count and the length of the block, which are before it in its allocation.
pub(super) const PREFIX: usize = 2 * size_of::<usize>();
const BOUNDS_OF_TINY: usize = 4 * size_of::<u8>();
pub(super) const BOUNDS_OF_SMALL: usize = 4 * size_of::<u16>();
const BOUNDS_OF_LARGE: usize = 4 * size_of::<u64>();

/// How many bytes the bounds take in a block of this length.
#[inline]
pub(super) fn bounds_bytes(block_len: usize) -> usize {
    if u8::try_from(block_len).is_ok() {
        BOUNDS_OF_TINY
    } else if u16::try_from(block_len).is_ok() {
        BOUNDS_OF_SMALL
    } else {
        BOUNDS_OF_LARGE
    }
}

/// The smallest allocation for `used` bytes of data and codes.
pub(super) fn block_bytes(used: usize) -> usize {
    // Rounding up may bring the block into the range of wider bounds.
    let bytes = allocation_class(unrounded_bytes(used));
    let bounds = bounds_bytes(bytes - PREFIX);
    if PREFIX + bounds + used <= bytes { bytes } else { allocation_class(bytes + 1) }
}

pub(super) fn unrounded_bytes(used: usize) -> usize {
    let tiny = BOUNDS_OF_TINY + used;
    PREFIX + used + bounds_bytes(if u8::try_from(tiny).is_ok() { tiny } else { tiny + 4 })
}

/// What the allocator sets aside when asked for `bytes`: sizes 8 apart up to 64, 16 apart up to 128, then four for each
/// doubling.
#[inline]
pub fn allocation_class(bytes: usize) -> usize {
    match bytes {
        0..=64 => bytes.next_multiple_of(8),
        65..=128 => bytes.next_multiple_of(16),
        _ => {
            let doubling = usize::BITS - 1 - (bytes - 1).leading_zeros();
            bytes.next_multiple_of(1 << (doubling - 2))
        }
    }
}

pub(super) fn length_of(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// A block in an allocation of about `bytes`, filled with `data` and `codes`.
pub(super) fn build(bytes: usize, room: Room, data: &[&[u8]], codes: &[&[u8]]) -> ThinArc<(), u8> {
    let block_len = bytes - PREFIX;
    let (data_len, codes_len) = (length_of(data), length_of(codes));
    let bounds = bounds_bytes(block_len);
    let free = block_len - bounds - data_len - codes_len;
    let outer = match room {
        Room::Back => 0,
        Room::Front => free - free / 4,
        Room::FrontOnly => free,
    };
    // Of this the codes get as much as items like these need.
    let last_gap = if outer == 0 { 0 } else { outer * codes_len / (data_len + codes_len) };
    let front_gap = outer - last_gap;
    let data_start = bounds + front_gap;
    let codes_end = block_len - last_gap;
    let shape = Shape {
        data_start,
        data_end: data_start + data_len,
        codes_start: codes_end - codes_len,
        codes_end,
    };
    let mut thin = zeroed(block_len);
    thin.with_arc_mut(|arc| {
        let block = Arc::get_mut(arc).expect("nobody else has seen it yet").slice_mut();
        write_parts(&mut block[shape.data_start..], data);
        write_parts(&mut block[shape.codes_start..], codes);
        shape.write(block);
    });
    thin
}

fn zeroed(len: usize) -> ThinArc<(), u8> {
    static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
    match ZEROS.get(..len) {
        Some(zeros) => ThinArc::from_header_and_slice((), zeros),
        None => ThinArc::from_header_and_iter((), std::iter::repeat_n(0, len)),
    }
}

fn write_parts(mut target: &mut [u8], parts: &[&[u8]]) {
    for part in parts {
        let (here, rest) = target.split_at_mut(part.len());
        here.copy_from_slice(part);
        target = rest;
    }
}

/// Makes the change of [`Pack::splice`] without another block, if the gaps are large enough.
#[inline]
pub(super) fn splice_in_place(block: &mut [u8], edit: &Edit, item: Option<&[u8]>) -> bool {
    let frame = item.map(Frame::of);
    let (data_added, codes_added) = match (&frame, item) {
        (Some(frame), Some(item)) => (item.len() + 2 * length_width(frame.code), 1),
        _ => (0, 0),
    };
    let mut shape = Shape::read(block);
    let (data_removed, codes_removed) = (edit.data.len(), edit.items.len());

    // A push never shifts everything there is to the other end; a new block makes room for many.
    let (is_push_front, is_push_back) = (edit.items.end == 0, edit.items.start == shape.count());
    let fits_back = !is_push_front
        && shape.data_end + data_added + codes_added
            <= shape.codes_start + data_removed + codes_removed;
    let fits_front = !is_push_back
        && bounds_bytes(block.len()) + data_added <= shape.data_start + data_removed
        && shape.codes_end + codes_added <= block.len() + codes_removed;
    let front_is_shorter = edit.data.start < shape.data_len() - edit.data.end;
    let (data_from, data_to) =
        (shape.data_start + edit.data.start, shape.data_start + edit.data.end);
    let (codes_from, codes_to) =
        (shape.codes_end - edit.items.end, shape.codes_end - edit.items.start);

    let data_at = if fits_front && (front_is_shorter || !fits_back) {
        let data_start = shape.data_start + data_removed - data_added;
        let codes_end = shape.codes_end + codes_added - codes_removed;
        block.copy_within(shape.data_start..data_from, data_start);
        block.copy_within(codes_to..shape.codes_end, codes_from + codes_added);
        (shape.data_start, shape.codes_end) = (data_start, codes_end);
        data_start + edit.data.start
    } else if fits_back {
        let codes_start = shape.codes_start + codes_removed - codes_added;
        block.copy_within(data_to..shape.data_end, data_from + data_added);
        block.copy_within(shape.codes_start..codes_from, codes_start);
        shape.data_end = shape.data_end + data_added - data_removed;
        shape.codes_start = codes_start;
        data_from
    } else {
        return false;
    };

    if let (Some(frame), Some(item)) = (frame, item) {
        block[shape.codes_end - 1 - edit.items.start] = frame.code;
        write_item(&mut block[data_at..data_at + data_added], &frame, item);
    }
    shape.write(block);
    true
}

#[inline]
fn write_item(stored: &mut [u8], frame: &Frame, item: &[u8]) {
    if frame.code <= SHORT_MAX {
        stored.copy_from_slice(item);
    } else {
        write_parts(stored, &[frame.length(), item, frame.length()]);
    }
}
