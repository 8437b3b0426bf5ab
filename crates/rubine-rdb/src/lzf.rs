//! LZF, the compression of strings in dump files. Never trusts a length, and never allocates much more than the
//! compressed bytes turn out to stand for.
//!
//! ```text
//! 000LLLLL                       L + 1 bytes follow as they are
//! LLLooooo oooooooo              copy L + 2 bytes from o + 1 back; L is 1 to 6
//! 111ooooo LLLLLLLL oooooooo     copy L + 9 bytes from o + 1 back
//! ```

use std::ops::Range;

const LITERAL_MAX: usize = 1 << 5;
const DISTANCE_MAX: usize = 1 << 13;
const MATCH_MAX: usize = (1 << 8) + 8;
/// The first byte of a copy, where the length does not fit it.
const LONG: usize = 7;
/// Log2 of the places that are remembered of a string, and of a short one: so few that they stay close to the processor.
const TABLE_BITS: u32 = 14;
const TABLE_BITS_OF_SHORT: u32 = 12;
const SHORT_MAX: usize = 1 << (TABLE_BITS_OF_SHORT - 1);

/// No three bytes stand for more than this.
const EXPANSION_MAX: u64 = MATCH_MAX as u64;
/// So many times as much as came is allocated before any of it is seen.
const EXPANSION_EXPECTED: usize = 8;

/// Compresses one string after another. What it keeps of one for the next are places, never bytes.
pub(crate) struct Compressor {
    /// Where three bytes with this hash were seen last, counted from the first string on.
    table: Box<[u32; 1 << TABLE_BITS]>,
    /// Where the next string begins in that count: what is before it belongs to others.
    base: u32,
    output: Output,
}

impl Compressor {
    pub(crate) fn new() -> Self {
        let table = vec![0; 1 << TABLE_BITS].try_into().expect("it has that length");
        Self { table, base: 1, output: Output::default() }
    }

    /// `input`, compressed. `None` if that takes more than `bytes_max` bytes.
    pub(crate) fn compress(&mut self, input: &[u8], bytes_max: usize) -> Option<&[u8]> {
        let base = self.claim(input.len())?;
        let Self { table, output, .. } = self;
        let bits = if input.len() <= SHORT_MAX { TABLE_BITS_OF_SHORT } else { TABLE_BITS };
        let slot_of = |four: u32| (hash(four) >> (u32::BITS - bits)) as usize;
        output.len = 0;
        let (mut at, mut literals) = (0, 0);
        // Four bytes are read at once where three are looked at.
        while let Some(four) = four_at(input, at) {
            let place = base + at as u32;
            let seen = std::mem::replace(&mut table[slot_of(four)], place);
            let distance = place.wrapping_sub(seen) as usize;
            let is_match = base <= seen
                && distance <= DISTANCE_MAX
                && four_at(input, at - distance).is_some_and(|it| is_same_three(it, four));
            if !is_match {
                at += 1;
                continue;
            }
            let len_max = MATCH_MAX.min(input.len() - at);
            let len = common_len(&input[at - distance..][..len_max], &input[at..][..len_max]);
            output.literals(input, literals..at);
            output.copy(distance, len);
            if bytes_max < output.len {
                return None;
            }
            // The last places of the copy are worth finding again; all of them would cost more than they give.
            let end = at + len;
            for place in end - 2..end {
                if let Some(four) = four_at(input, place) {
                    table[slot_of(four)] = base + place as u32;
                }
            }
            (at, literals) = (end, end);
        }
        // What is left takes its own length at least.
        if bytes_max < output.len + (input.len() - literals) {
            return None;
        }
        output.literals(input, literals..input.len());
        (output.len <= bytes_max).then(|| &output.bytes[..output.len])
    }

    /// Makes room in the count for so many places. Returns the first.
    fn claim(&mut self, len: usize) -> Option<u32> {
        let len = u32::try_from(len).ok()?;
        if self.base.checked_add(len).is_none() {
            self.table.fill(0);
            self.base = 1;
        }
        let base = self.base;
        self.base = base.checked_add(len)?;
        Some(base)
    }
}

/// The four bytes at `at`, if there are as many.
#[inline]
fn four_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|four| u32::from_le_bytes(four.try_into().expect("four bytes")))
}

fn is_same_three(left: u32, right: u32) -> bool {
    (left ^ right) << 8 == 0
}

/// Of the first three of four bytes. The high bits are the good ones.
#[inline]
fn hash(four: u32) -> u32 {
    (four << 8).wrapping_mul(0x9e37_79b1)
}

/// How many bytes two strings of one length have in common.
#[inline]
fn common_len(left: &[u8], right: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let (left_words, left_rest) = left.as_chunks::<WORD>();
    let (right_words, right_rest) = right.as_chunks::<WORD>();
    for (index, (left, right)) in left_words.iter().zip(right_words).enumerate() {
        let difference = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if difference != 0 {
            return index * WORD + (difference.trailing_zeros() / u8::BITS) as usize;
        }
    }
    let rest = left_rest.iter().zip(right_rest).take_while(|(left, right)| left == right).count();
    left_words.len() * WORD + rest
}

/// What is being written. The bytes behind the end are there already, so that a few can be written at once.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    len: usize,
}

impl Output {
    fn literals(&mut self, input: &[u8], mut range: Range<usize>) {
        const FEW: usize = LITERAL_MAX / 2;
        while !range.is_empty() {
            let count = range.len().min(LITERAL_MAX);
            self.reserve(1 + LITERAL_MAX);
            self.bytes[self.len] = (count - 1) as u8;
            let out = &mut self.bytes[self.len + 1..][..LITERAL_MAX];
            // A fixed number of bytes is copied at once, and those that are too many are overwritten.
            match input.get(range.start..range.start + FEW) {
                Some(few) if count <= FEW => out[..FEW].copy_from_slice(few),
                _ => out[..count].copy_from_slice(&input[range.start..][..count]),
            }
            self.len += 1 + count;
            range.start += count;
        }
    }

    fn copy(&mut self, distance: usize, len: usize) {
        const COPY_MAX: usize = 3;
        let (back, code) = (distance - 1, len - 2);
        self.reserve(COPY_MAX);
        let out = &mut self.bytes[self.len..][..COPY_MAX];
        if code < LONG {
            out[0] = (code << 5 | back >> 8) as u8;
            out[1] = back as u8;
            self.len += 2;
        } else {
            out[0] = (LONG << 5 | back >> 8) as u8;
            out[1] = (code - LONG) as u8;
            out[2] = back as u8;
            self.len += 3;
        }
    }

    /// Makes sure that so many bytes are there behind the end.
    #[inline]
    fn reserve(&mut self, count: usize) {
        if self.bytes.len() < self.len + count {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        const GROWTH_MIN: usize = 4 * 1024;
        self.bytes.resize(self.bytes.len() * 2 + GROWTH_MIN, 0);
    }
}

/// The `len` bytes that `input` stands for; `None` if it stands for anything else.
pub(crate) fn decompress(mut input: &[u8], len: u64) -> Option<Vec<u8>> {
    if (input.len() as u64).saturating_mul(EXPANSION_MAX) < len {
        return None;
    }
    let len = usize::try_from(len).ok()?;
    let mut out = Vec::with_capacity(len.min(input.len() * EXPANSION_EXPECTED));
    while let Some((&control, rest)) = input.split_first() {
        let control = usize::from(control);
        input = rest;
        if control < LITERAL_MAX {
            let (literals, rest) = input.split_at_checked(control + 1)?;
            input = rest;
            out.extend_from_slice(literals);
        } else {
            let mut code = control >> 5;
            if code == LONG {
                let (&more, rest) = input.split_first()?;
                input = rest;
                code += usize::from(more);
            }
            let (&low, rest) = input.split_first()?;
            input = rest;
            let distance = ((control & 0x1f) << 8 | usize::from(low)) + 1;
            copy_back(&mut out, distance, code + 2)?;
        }
        if len < out.len() {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Repeats `len` bytes from `distance` before the end. They may be among those that are being written.
fn copy_back(out: &mut Vec<u8>, distance: usize, len: usize) -> Option<()> {
    let start = out.len().checked_sub(distance)?;
    if len <= distance {
        out.extend_from_within(start..start + len);
    } else {
        for at in start..start + len {
            out.push(out[at]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Compressor, decompress};

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        Compressor::new().compress(bytes, usize::MAX).unwrap().to_vec()
    }

    #[test]
    fn repetition_is_short() {
        assert!(compressed(&[b'a'; 1000]).len() < 20);
        assert!(compressed(&b"the same again, ".repeat(100)).len() < 60);
        assert!(compressed(b"").is_empty());
    }

    #[test]
    fn what_does_not_get_short_enough_is_not_there() {
        let mut compressor = Compressor::new();
        for text in [&b"abcdefghijklmnopqrstuvwxyz"[..], b"aaaaaaabcdefghijklmnopqrstuvwxyz"] {
            let len = compressor.compress(text, usize::MAX).unwrap().len();
            assert!(compressor.compress(text, len - 1).is_none());
            assert!(compressor.compress(text, len).is_some());
        }
    }

    #[test]
    fn nothing_wrong_is_taken() {
        // A literal without its bytes, a copy from before the start, one byte too few, one too many.
        for (input, len) in
            [(&b"\x05abc"[..], 6), (b"\x00a\x20\x01", 4), (b"\x00a", 2), (b"\x01ab", 1)]
        {
            assert_eq!(decompress(input, len), None);
        }
        // A length that no such input can have is refused before anything is allocated.
        assert_eq!(decompress(b"\x00a", u64::MAX), None);
        assert_eq!(decompress(b"\x00a\x20\x00", 4), Some(b"aaaa".to_vec()));
        assert_eq!(decompress(b"", 0), Some(Vec::new()));
    }

    #[test]
    fn places_are_counted_anew_before_they_overflow() {
        let mut compressor = Compressor { base: u32::MAX - 50, ..Compressor::new() };
        for _ in 0..3 {
            let out = compressor.compress(&[b'a'; 40], 20).unwrap();
            assert_eq!(decompress(out, 40), Some(vec![b'a'; 40]));
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(
            strings in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..100),
                    prop::collection::vec(0..3_u8, 0..3000),
                    (prop::collection::vec(any::<u8>(), 1..40), 1..400_usize)
                        .prop_map(|(bytes, times)| bytes.repeat(times)),
                ],
                1..5,
            )
        ) {
            let mut compressor = Compressor::new();
            for bytes in strings {
                let out = compressor.compress(&bytes, usize::MAX).unwrap();
                prop_assert_eq!(decompress(out, bytes.len() as u64), Some(bytes));
            }
        }

        #[test]
        fn nothing_makes_it_panic(input: Vec<u8>, len in 0..5000_u64) {
            if let Some(out) = decompress(&input, len) {
                prop_assert_eq!(out.len() as u64, len);
            }
        }
    }
}
