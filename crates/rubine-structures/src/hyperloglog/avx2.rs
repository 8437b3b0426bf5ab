//! The loops over all registers, for processors with AVX2: 32 registers at a time, and with shuffles, which no compiler
//! finds by itself. They do what `dense` and `estimate` do on any processor, and nothing else.

#![expect(clippy::inline_always, reason = "compiled for the processor only where inlined")]

use std::arch::x86_64::__m256i;

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::{Packed, REGISTER_COUNT, VALUE_COUNT};

/// What the processor works on at once: as many registers, or the bytes that they are packed in and more.
type Word = [u8; 32];
type Half = [u8; 16];

/// Word in which the registers of a word, and of half a word, are packed.
const WORD_PACKED: usize = 24;
const HALF_PACKED: usize = WORD_PACKED / 2;

/// In a shuffle, this index or a higher one gives a byte of zeros.
const ZERO: u8 = 0x80;

/// Where the bytes of half a word are in those read for it: they are the first, or the last ones. Each three of them, in
/// which four registers are packed, become four.
const FIRST: Half = groups_from(0);
const LAST: Half = groups_from((size_of::<Half>() - HALF_PACKED) as u8);

const fn groups_from(at: u8) -> Half {
    let mut indices = [ZERO; size_of::<Half>()];
    let mut byte = 0;
    while byte < HALF_PACKED {
        indices[byte / 3 * 4 + byte % 3] = at + byte as u8;
        byte += 1;
    }
    indices
}

/// Raises each register to the one stored.
pub(super) fn merge(simd: V3, registers: &mut [u8; REGISTER_COUNT], packed: &Packed) {
    struct Merge<'a>(V3, &'a mut [u8; REGISTER_COUNT], &'a Packed);
    impl NullaryFnOnce for Merge<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            merge_words(self.0, self.1, self.2);
        }
    }
    simd.vectorize(Merge(simd, registers, packed));
}

#[inline(always)]
fn merge_words(simd: V3, registers: &mut [u8; REGISTER_COUNT], packed: &Packed) {
    const BEFORE: usize = size_of::<Half>() - HALF_PACKED;
    let (words, _) = registers.as_chunks_mut::<{ size_of::<Word>() }>();
    let [first, words @ .., last] = words else { unreachable!("there are many words") };
    let half = |at: usize| -> Half {
        packed[at..at + size_of::<Half>()].try_into().expect("the range is that long")
    };
    // One read is enough for a word, with four bytes more on either side; but not at either end.
    merge_word(simd, first, cast([half(0), half(HALF_PACKED)]), [FIRST, FIRST]);
    for (index, word) in words.iter_mut().enumerate() {
        let at = (index + 1) * WORD_PACKED - BEFORE;
        let read = packed[at..at + size_of::<Word>()].try_into();
        merge_word(simd, word, read.expect("the range is that long"), [LAST, FIRST]);
    }
    let at = packed.len() - WORD_PACKED - BEFORE;
    merge_word(simd, last, cast([half(at), half(at + HALF_PACKED)]), [LAST, LAST]);
}

#[inline(always)]
fn merge_word(simd: V3, registers: &mut Word, packed: Word, groups: [Half; 2]) {
    let (avx, avx2) = (simd.avx, simd.avx2);
    // Four registers in the lowest 24 bits of 32, then two in the lowest twelve of each 16, then one in each eight.
    let fours = avx2._mm256_shuffle_epi8(cast(packed), cast(groups));
    let twos = avx2._mm256_blend_epi16::<0b1010_1010>(fours, avx2._mm256_slli_epi32::<4>(fours));
    let even = avx2._mm256_and_si256(twos, avx._mm256_set1_epi16(0x003f));
    let odd = avx2._mm256_slli_epi16::<2>(twos);
    let odd = avx2._mm256_and_si256(odd, avx._mm256_set1_epi16(0x3f00));
    let values = avx2._mm256_or_si256(even, odd);
    *registers = cast(avx2._mm256_max_epu8(cast(*registers), values));
}

/// Stores all registers.
pub(super) fn pack(simd: V3, registers: &[u8; REGISTER_COUNT], packed: &mut Packed) {
    struct Pack<'a>(V3, &'a [u8; REGISTER_COUNT], &'a mut Packed);
    impl NullaryFnOnce for Pack<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let (words, _) = self.1.as_chunks::<{ size_of::<Word>() }>();
            let (groups, _) = self.2.as_chunks_mut::<WORD_PACKED>();
            for (word, packed) in words.iter().zip(groups) {
                packed.copy_from_slice(&pack_word(self.0, *word)[..WORD_PACKED]);
            }
        }
    }
    simd.vectorize(Pack(simd, registers, packed));
}

/// The registers in the first bytes.
#[inline(always)]
fn pack_word(simd: V3, registers: Word) -> Word {
    /// The first three of each four bytes.
    const THREES: Half = [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, ZERO, ZERO, ZERO, ZERO];
    /// The first three of each four groups of four bytes.
    const GROUPS: [u32; 8] = [0, 1, 2, 4, 5, 6, 7, 7];
    let (avx, avx2) = (simd.avx, simd.avx2);
    // Each second one is multiplied by as many powers of two as the one before it has, and added to that.
    let twos = avx2._mm256_maddubs_epi16(cast(registers), avx._mm256_set1_epi16(1 << 6 << 8 | 1));
    let fours = avx2._mm256_madd_epi16(twos, avx._mm256_set1_epi32(1 << 12 << 16 | 1));
    let halves = avx2._mm256_shuffle_epi8(fours, cast([THREES; 2]));
    cast(avx2._mm256_permutevar8x32_epi32(halves, cast(GROUPS)))
}

/// How often each value occurs.
pub(super) fn histogram(simd: V3, registers: &[u8; REGISTER_COUNT]) -> [u32; VALUE_COUNT] {
    struct Histogram<'a>(V3, &'a [u8; REGISTER_COUNT]);
    impl NullaryFnOnce for Histogram<'_> {
        type Output = [u32; VALUE_COUNT];

        #[inline(always)]
        fn call(self) -> Self::Output {
            count_all(self.0, self.1)
        }
    }
    simd.vectorize(Histogram(simd, registers))
}

/// Neighbouring values that are counted at once.
const WINDOW: usize = 16;

/// Words whose counts of one value fit two bits, then four bits, then eight.
const TWO_BITS: usize = 3;
const FOUR_BITS: usize = 5 * TWO_BITS;
const EIGHT_BITS: usize = 17 * FOUR_BITS;

/// So few registers above the windows are counted one by one.
const FEW: u32 = 512;

/// All values but a few are close together: with n elements, only one register in 2^k holds more than log2(n / 16384) + k.
/// So the values from the lowest one on are counted a window at a time, until few are left.
#[inline(always)]
fn count_all(simd: V3, registers: &[u8; REGISTER_COUNT]) -> [u32; VALUE_COUNT] {
    let mut counts = [0; VALUE_COUNT];
    let (words, _) = registers.as_chunks::<{ size_of::<Word>() }>();
    let mut base = lowest(simd, words);
    let mut rest = REGISTER_COUNT as u32;
    while rest > FEW && usize::from(base) < VALUE_COUNT {
        let window = count_window(simd, words, base);
        for (count, found) in counts[usize::from(base)..].iter_mut().zip(window) {
            *count = found;
        }
        rest -= window.iter().sum::<u32>();
        base += WINDOW as u8;
    }
    if rest > 0 {
        let below = simd.avx._mm256_set1_epi8(base as i8 - 1);
        for word in words {
            let are_above = simd.avx2._mm256_cmpgt_epi8(cast(*word), below);
            let mut mask = simd.avx2._mm256_movemask_epi8(are_above) as u32;
            while mask != 0 {
                let value = word[mask.trailing_zeros() as usize % size_of::<Word>()];
                counts[usize::from(value) % VALUE_COUNT] += 1;
                mask &= mask - 1;
            }
        }
    }
    counts
}

#[inline(always)]
fn lowest(simd: V3, words: &[Word]) -> u8 {
    let mut lowest = [simd.avx._mm256_set1_epi8(-1); 4];
    for words in words.as_chunks::<4>().0 {
        for (lowest, word) in lowest.iter_mut().zip(words) {
            *lowest = simd.avx2._mm256_min_epu8(*lowest, cast(*word));
        }
    }
    let lowest: [Word; 4] = cast(lowest);
    lowest.as_flattened().iter().copied().min().unwrap_or(0)
}

/// How often each of the values from `base` on occurs.
#[inline(always)]
fn count_window(simd: V3, words: &[Word], base: u8) -> [u32; WINDOW] {
    /// For each four values a table of what they count as: one, in two bits of their own.
    const TABLES: [[[u8; WINDOW]; 2]; 4] = {
        let mut tables = [[[0; WINDOW]; 2]; 4];
        let mut value = 0;
        while value < WINDOW {
            tables[value / 4][0][value] = 1 << (value % 4 * 2);
            tables[value / 4][1][value] = 1 << (value % 4 * 2);
            value += 1;
        }
        tables
    };
    let (avx, avx2) = (simd.avx, simd.avx2);
    let zero = avx._mm256_setzero_si256();
    let base = avx._mm256_set1_epi8(base as i8);
    let to_zero = avx._mm256_set1_epi8((ZERO - WINDOW as u8) as i8);
    let (two_bits, four_bits) = (avx._mm256_set1_epi8(0x33), avx._mm256_set1_epi8(0x0f));
    // Of an index below `ZERO`, a shuffle takes the lowest four bits. Whatever is not in the window comes to `ZERO` or more.
    let index = |word: &Word| -> __m256i {
        avx2._mm256_adds_epu8(avx2._mm256_sub_epi8(cast(*word), base), to_zero)
    };
    let mut sums = [0; WINDOW];
    for words in words.chunks(EIGHT_BITS) {
        let mut eights = [zero; WINDOW];
        for words in words.chunks(FOUR_BITS) {
            let mut fours = [[zero; 2]; 4];
            let mut add = |indices: &[__m256i]| {
                for (table, fours) in TABLES.iter().zip(&mut fours) {
                    let mut twos = zero;
                    for &index in indices {
                        let ones = avx2._mm256_shuffle_epi8(cast(*table), index);
                        twos = avx2._mm256_add_epi8(twos, ones);
                    }
                    let even = avx2._mm256_and_si256(twos, two_bits);
                    let odd = avx2._mm256_and_si256(avx2._mm256_srli_epi16::<2>(twos), two_bits);
                    *fours =
                        [avx2._mm256_add_epi8(fours[0], even), avx2._mm256_add_epi8(fours[1], odd)];
                }
            };
            let (threes, others) = words.as_chunks::<TWO_BITS>();
            for [a, b, c] in threes {
                add(&[index(a), index(b), index(c)]);
            }
            for other in others {
                add(&[index(other)]);
            }
            for (eights, fours) in eights.as_chunks_mut::<4>().0.iter_mut().zip(fours) {
                for (at, fours) in fours.into_iter().enumerate() {
                    let low = avx2._mm256_and_si256(fours, four_bits);
                    let high = avx2._mm256_and_si256(avx2._mm256_srli_epi16::<4>(fours), four_bits);
                    eights[at] = avx2._mm256_add_epi8(eights[at], low);
                    eights[at + 2] = avx2._mm256_add_epi8(eights[at + 2], high);
                }
            }
        }
        for (sum, eights) in sums.iter_mut().zip(eights) {
            let parts: [u64; 4] = cast(avx2._mm256_sad_epu8(eights, zero));
            *sum += parts.iter().sum::<u64>() as u32;
        }
    }
    sums
}
