//! From registers to an estimate, after Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches",
//! arXiv:1702.01284. Every operation is in Redis's order, so that the digits are the same.

use super::{REGISTER_COUNT, RUN_BITS, VALUE_COUNT};
#[cfg(target_arch = "x86_64")]
use super::{avx2, dense};

/// How often each value occurs among the registers.
#[derive(Debug, PartialEq)]
pub(super) struct Histogram([u32; VALUE_COUNT]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; VALUE_COUNT])
    }
}

impl Histogram {
    pub(super) fn of(registers: &[u8; REGISTER_COUNT]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = dense::wide() {
            return Self(avx2::histogram(simd, registers));
        }
        Self::of_each(registers)
    }

    fn of_each(registers: &[u8; REGISTER_COUNT]) -> Self {
        // Neighbours are counted apart: most of them are equal, and the processor would wait for one count to be written
        // before it could read it again.
        const LANES: usize = 8;
        let mut lanes = [[0_u32; VALUE_COUNT]; LANES];
        let (groups, _) = registers.as_chunks::<LANES>();
        for group in groups {
            for (lane, &value) in lanes.iter_mut().zip(group) {
                lane[usize::from(value) % VALUE_COUNT] += 1;
            }
        }
        let mut sum = Self::default();
        for lane in lanes {
            sum.0.iter_mut().zip(lane).for_each(|(sum, count)| *sum += count);
        }
        sum
    }

    pub(super) fn add(&mut self, value: u8, count: usize) {
        self.0[usize::from(value) % VALUE_COUNT] += count as u32;
    }

    pub(super) fn estimate(&self) -> u64 {
        /// 0.5 / ln(2).
        const ALPHA: f64 = 0.721_347_520_444_481_7;
        const COUNT: f64 = REGISTER_COUNT as f64;
        let count_of = |value: u32| f64::from(self.0[value as usize]);
        let mut sum = COUNT * tau((COUNT - count_of(RUN_BITS + 1)) / COUNT);
        for value in (1..=RUN_BITS).rev() {
            sum += count_of(value);
            sum *= 0.5;
        }
        sum += COUNT * sigma(count_of(0) / COUNT);
        let estimate = (ALPHA * COUNT * COUNT / sum).round();
        // Registers that no elements can lead to may say that there were infinitely many. Redis leaves it to the processor
        // what integer that is.
        if estimate < i64::MAX as f64 { estimate as u64 } else { i64::MIN as u64 }
    }
}

#[expect(clippy::float_cmp, reason = "it ends when nothing changes any more, to the last bit")]
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

#[expect(clippy::float_cmp, reason = "it ends when nothing changes any more, to the last bit")]
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
