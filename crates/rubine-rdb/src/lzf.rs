//! LZF, the compression of strings in dump files. Never trusts a length, and never allocates much more than the
//! compressed bytes turn out to stand for.
//!
//! ```text
//! 000LLLLL                       L + 1 bytes follow as they are
//! LLLooooo oooooooo              copy L + 2 bytes from o + 1 back; L is 1 to 6
//! 111ooooo LLLLLLLL oooooooo     copy L + 9 bytes from o + 1 back
//! ```

const LITERAL_MAX: usize = 1 << 5;
const DISTANCE_MAX: usize = 1 << 13;
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = (1 << 8) + 8;
/// The first byte of a copy, where the length does not fit it.
const LONG: usize = 7;
const TABLE_BITS: u32 = 14;

/// No three bytes stand for more than this.
const EXPANSION_MAX: u64 = MATCH_MAX as u64;
/// So many times as much as came is allocated before any of it is seen.
const EXPANSION_EXPECTED: usize = 8;

/// Compresses one string after another. What it keeps in between are places, never bytes.
pub(crate) struct Compressor {
    /// Where three bytes with this hash were seen last, counted from the first string on.
    table: Vec<u32>,
    /// Where the next string begins in that count: what is before it belongs to others.
    base: u32,
}

impl Compressor {
    pub(crate) fn new() -> Self {
        Self { table: vec![0; 1 << TABLE_BITS], base: 1 }
    }

    /// Appends `input`, compressed. False, and nothing is appended, if that takes more than `bytes_max` bytes.
    pub(crate) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let base = self.claim(input.len());
        let Some(base) = base else { return false };
        let start = out.len();
        let (mut at, mut literals) = (0, 0);
        while at + MATCH_MIN <= input.len() {
            let slot = &mut self.table[hash(&input[at..])];
            let seen = std::mem::replace(slot, base + at as u32);
            let distance = (base + at as u32).wrapping_sub(seen) as usize;
            let is_match = base <= seen
                && distance <= DISTANCE_MAX
                && input[at - distance..][..MATCH_MIN] == input[at..][..MATCH_MIN];
            if !is_match {
                at += 1;
                continue;
            }
            let len_max = MATCH_MAX.min(input.len() - at);
            let pairs = input[at - distance..].iter().zip(&input[at..][..len_max]);
            let len = pairs.take_while(|(left, right)| left == right).count();
            write_literals(&input[literals..at], out);
            write_copy(distance, len, out);
            if bytes_max < out.len() - start {
                break;
            }
            // The last places of the copy are worth finding again; all of them would cost more than they give.
            let end = at + len;
            for place in (end - 2).max(at + 1)..end {
                if place + MATCH_MIN <= input.len() {
                    self.table[hash(&input[place..])] = base + place as u32;
                }
            }
            (at, literals) = (end, end);
        }
        write_literals(&input[literals..], out);
        let is_short_enough = out.len() - start <= bytes_max;
        if !is_short_enough {
            out.truncate(start);
        }
        is_short_enough
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

fn hash(bytes: &[u8]) -> usize {
    let three = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
    (three.wrapping_mul(0x9e37_79b1) >> (u32::BITS - TABLE_BITS)) as usize
}

fn write_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.chunks(LITERAL_MAX) {
        out.push((piece.len() - 1) as u8);
        out.extend_from_slice(piece);
    }
}

fn write_copy(distance: usize, len: usize, out: &mut Vec<u8>) {
    let (back, code) = (distance - 1, len - 2);
    if code < LONG {
        out.push((code << 5 | back >> 8) as u8);
    } else {
        out.push((LONG << 5 | back >> 8) as u8);
        out.push((code - LONG) as u8);
    }
    out.push(back as u8);
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
        let mut out = Vec::new();
        assert!(Compressor::new().compress(bytes, &mut out, usize::MAX));
        out
    }

    #[test]
    fn repetition_is_short() {
        assert!(compressed(&[b'a'; 1000]).len() < 20);
        assert!(compressed(&b"the same again, ".repeat(100)).len() < 60);
        assert!(compressed(b"").is_empty());
    }

    #[test]
    fn what_does_not_get_short_enough_is_not_there() {
        let mut out = b"before".to_vec();
        assert!(!Compressor::new().compress(b"abcdefghijklmnopqrstuvwxyz", &mut out, 22));
        assert_eq!(out, b"before");
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
            let mut out = Vec::new();
            assert!(compressor.compress(&[b'a'; 40], &mut out, 20));
            assert_eq!(decompress(&out, 40), Some(vec![b'a'; 40]));
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
                let mut out = Vec::new();
                prop_assert!(compressor.compress(&bytes, &mut out, usize::MAX));
                prop_assert_eq!(decompress(&out, bytes.len() as u64), Some(bytes));
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
