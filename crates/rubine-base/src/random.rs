//! A small, fast random number generator (xoshiro256++). Not for secrets: its output can be predicted.

use std::hash::{BuildHasher, RandomState};

/// A seeded generator: the same seed gives the same numbers, on every machine.
#[derive(Clone, Debug)]
pub struct Random {
    /// Invariant: never all zero, the one state that xoshiro cannot leave.
    state: [u64; 4],
}

impl Random {
    /// The generator that belongs to `seed`.
    pub fn with_seed(seed: u64) -> Self {
        let mut mixer = seed;
        Self { state: std::array::from_fn(|_| split_mix(&mut mixer)) }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number in `0..bound`, each equally likely (Lemire's method).
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(0 < bound);
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let uneven = bound.wrapping_neg() % bound;
            while (product as u64) < uneven {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// A number in `[0, 1)`, with all 53 bits that an `f64` there can hold.
    #[inline]
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Fills `bytes` with random bits.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(size_of::<u64>()) {
            piece.copy_from_slice(&self.next_u64().to_le_bytes()[..piece.len()]);
        }
    }
}

/// A seed that differs from process to process and from call to call, and that an outsider cannot guess.
pub fn seed_from_os() -> u64 {
    // The standard library keys this hasher from the operating system's entropy.
    RandomState::new().hash_one(())
}

/// `SplitMix64`: spreads any seed, zero too, over the whole state.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Random, seed_from_os};

    #[test]
    fn seed_decides_the_sequence() {
        let draw = |seed| {
            let mut random = Random::with_seed(seed);
            [random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(seed_from_os(), seed_from_os());
    }

    #[test]
    fn below_reaches_every_number_about_equally_often() {
        let mut random = Random::with_seed(1);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_500..10_500).contains(&count)), "{counts:?}");
        assert_eq!(random.below(1), 0);
        assert!((0..1000).all(|_| random.below(u64::MAX) < u64::MAX));
    }

    #[test]
    fn floats_stay_below_one_and_fill_reaches_the_last_byte() {
        let mut random = Random::with_seed(2);
        assert!((0..1000).map(|_| random.next_f64()).all(|float| (0.0..1.0).contains(&float)));
        let mut seen = [0_u8; 11];
        for _ in 0..100 {
            let mut bytes = [0; 11];
            random.fill(&mut bytes);
            seen.iter_mut().zip(bytes).for_each(|(seen, byte)| *seen |= byte);
        }
        assert_eq!(seen, [0xff; 11]);
    }
}
