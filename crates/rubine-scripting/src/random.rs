//! The random numbers of scripts: from a seed, a sequence that is the same on every machine. Not for anything else.

/// The generator that POSIX calls `lrand48`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random48(u64);

impl Default for Random48 {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl Random48 {
    /// Numbers are below this, but for one in two thousand million.
    pub(crate) const MAX: i32 = i32::MAX;

    const FACTOR: u64 = 0x5_deec_e66d;
    const SUMMAND: u64 = 0xb;
    const SEED_LOW: u64 = 0x330e;
    const MASK: u64 = (1 << 48) - 1;

    pub(crate) fn seeded(seed: i32) -> Self {
        Self((u64::from(seed as u32) << 16) | Self::SEED_LOW)
    }

    /// The next number, of 31 bits.
    pub(crate) fn draw(&mut self) -> i32 {
        self.0 = self.0.wrapping_mul(Self::FACTOR).wrapping_add(Self::SUMMAND) & Self::MASK;
        (self.0 >> 17) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::Random48;

    #[test]
    fn numbers_are_those_of_lrand48() {
        let mut random = Random48::seeded(0);
        let drawn: Vec<i32> = (0..4).map(|_| random.draw()).collect();
        assert_eq!(drawn, [366_850_414, 1_610_402_240, 206_956_554, 1_869_309_841]);
    }
}
