//! Strings seen as rows of bits: counting them, finding them, combining rows, and integers of any width at any bit.
//! Bit 0 is the highest of the first byte. Knows no key and no command.

mod combine;
mod field;
#[cfg(test)]
mod tests;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

pub use self::combine::{Operation, combine};
pub use self::field::{Field, Overflow};

/// Bits of a byte.
const BYTE_BITS: u64 = 8;

/// Whether bit number `offset` is set. What lies behind the end is not.
#[inline]
pub fn bit(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset / BYTE_BITS).ok().and_then(|index| bytes.get(index));
    byte.is_some_and(|byte| byte & mask_of(offset) != 0)
}

/// Sets or clears bit number `offset`.
///
/// # Panics
/// If it lies behind the end.
#[inline]
pub fn set_bit(bytes: &mut [u8], offset: u64, is_on: bool) {
    let byte = &mut bytes[(offset / BYTE_BITS) as usize];
    if is_on {
        *byte |= mask_of(offset);
    } else {
        *byte &= !mask_of(offset);
    }
}

fn mask_of(offset: u64) -> u8 {
    0x80 >> (offset % BYTE_BITS)
}

/// How many of the bits in a range are set.
///
/// # Panics
/// If the range reaches behind the end.
pub fn count_ones(bytes: &[u8], bits: Range<u64>) -> u64 {
    let Some(parts) = Parts::of(bits) else { return 0 };
    let of_edge = |edge: Option<Edge>| {
        edge.map_or(0, |Edge { index, mask }| u64::from((bytes[index] & mask).count_ones()))
    };
    of_edge(parts.head) + count_in(&bytes[parts.whole]) + of_edge(parts.tail)
}

/// The first bit of a range that is set, or the first that is not.
///
/// # Panics
/// If the range reaches behind the end.
pub fn find(bytes: &[u8], bits: Range<u64>, is_on: bool) -> Option<u64> {
    // What a byte has to be combined with for the bits in demand to be its ones.
    let flip = if is_on { 0 } else { u8::MAX };
    let parts = Parts::of(bits)?;
    let position = |index: usize, mask: u8| {
        let wanted = (bytes[index] ^ flip) & mask;
        let within = u64::from(wanted.leading_zeros());
        (wanted != 0).then_some(index as u64 * BYTE_BITS + within)
    };
    let in_edge = |edge: Option<Edge>| edge.and_then(|Edge { index, mask }| position(index, mask));
    in_edge(parts.head)
        .or_else(|| {
            let from = parts.whole.start;
            let index = first_unlike(&bytes[parts.whole], flip)?;
            position(from + index, u8::MAX)
        })
        .or_else(|| in_edge(parts.tail))
}

/// A range of bits as whole bytes, with a part of one before them and behind them.
struct Parts {
    head: Option<Edge>,
    whole: Range<usize>,
    tail: Option<Edge>,
}

/// A byte of which only the bits of a mask belong to a range.
struct Edge {
    index: usize,
    mask: u8,
}

impl Parts {
    /// `None` for an empty range.
    fn of(bits: Range<u64>) -> Option<Self> {
        if bits.is_empty() {
            return None;
        }
        let (first, behind) = ((bits.start / BYTE_BITS) as usize, (bits.end / BYTE_BITS) as usize);
        let head_mask = u8::MAX >> (bits.start % BYTE_BITS);
        let tail_mask = !(u8::MAX >> (bits.end % BYTE_BITS));
        if first == behind {
            let head = Some(Edge { index: first, mask: head_mask & tail_mask });
            return Some(Self { head, whole: 0..0, tail: None });
        }
        let has_head = head_mask != u8::MAX;
        Some(Self {
            head: has_head.then_some(Edge { index: first, mask: head_mask }),
            whole: first + usize::from(has_head)..behind,
            tail: (tail_mask != 0).then_some(Edge { index: behind, mask: tail_mask }),
        })
    }
}

/// How many bits are set.
fn count_in(bytes: &[u8]) -> u64 {
    // Below this, asking what the processor can do takes as long as counting.
    const SHORT_LEN_MAX: usize = 256;
    struct CountIn<'a>(&'a [u8]);
    impl WithSimd for CountIn<'_> {
        type Output = u64;

        #[inline(always)]
        #[expect(
            clippy::inline_always,
            reason = "compiled for the processor only where it is inlined"
        )]
        fn with_simd<S: Simd>(self, _: S) -> u64 {
            count_words(self.0)
        }
    }
    if bytes.len() <= SHORT_LEN_MAX {
        return count_words(bytes);
    }
    Arch::new().dispatch(CountIn(bytes))
}

/// Written so that the compiler can count many words at once, as far as the processor it compiles for allows.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled for the processor only where it is inlined")]
fn count_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let ones = |word: u64| u64::from(word.count_ones());
    let in_rest: u64 = rest.iter().map(|&byte| u64::from(byte.count_ones())).sum();
    words.iter().map(|&word| ones(u64::from_ne_bytes(word))).sum::<u64>() + in_rest
}

/// The index of the first byte that is not `usual`.
fn first_unlike(bytes: &[u8], usual: u8) -> Option<usize> {
    /// Looked through at once, without asking in between.
    const BLOCK_LEN: usize = 128;
    let is_uniform =
        |block: &[u8; BLOCK_LEN]| block.iter().fold(0, |unlike, byte| unlike | (byte ^ usual)) == 0;
    let (blocks, _) = bytes.as_chunks::<BLOCK_LEN>();
    let skipped = blocks.iter().take_while(|block| is_uniform(block)).count() * BLOCK_LEN;
    let index = bytes[skipped..].iter().position(|&byte| byte != usual)?;
    Some(skipped + index)
}
