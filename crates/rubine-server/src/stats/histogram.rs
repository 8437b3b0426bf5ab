//! How long commands take, as a histogram each: INFO's latencystats and LATENCY HISTOGRAM. One thread writes,
//! others read.

use super::Counter;

/// Each power of two is divided into so many buckets, as a power of two: what a bucket tells is within 3 %.
const SUB_BITS: u32 = 5;
const SUB_COUNT: usize = 1 << SUB_BITS;
/// Longer times count as this long; in steps of a clock of a few GHz, an hour.
const BITS_MAX: u32 = 44;
const BUCKET_COUNT: usize = (BITS_MAX - SUB_BITS + 1) as usize * SUB_COUNT;

/// Counts times by their size.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Box<[Counter]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKET_COUNT).map(|_| Counter::default()).collect() }
    }
}

impl Histogram {
    /// Counts a time. Only the owning thread calls this.
    #[inline]
    pub(crate) fn record(&self, ticks: u64) {
        self.buckets[bucket_of(ticks)].add(1);
    }

    pub(crate) fn reset(&self) {
        for bucket in &self.buckets {
            bucket.set(0);
        }
    }

    /// Adds the counts to those of other threads.
    pub(crate) fn add_to(&self, sum: &mut Vec<u64>) {
        sum.resize(BUCKET_COUNT, 0);
        for (sum, bucket) in sum.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
    }
}

/// The time that `percent` of the counted ones do not exceed, in clock steps; `None` where nothing was counted.
pub(crate) fn percentile(counts: &[u64], percent: f64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = ((percent / 100.0 * total as f64).ceil() as u64).clamp(1, total);
    let mut seen = 0;
    let bucket = counts.iter().position(|count| {
        seen += count;
        rank <= seen
    });
    bucket.map(highest_of)
}

/// How many of the counted times are at most so many microseconds, at each step where that becomes more. The steps double,
/// and are those of Redis, up to a second; what is longer counts as that.
pub(crate) fn cumulative(counts: &[u64], ticks_per_us: f64) -> Vec<(u64, u64)> {
    /// The first step, in nanoseconds, and how far the last is from it.
    const FIRST_NANOS: u64 = 1032;
    const DOUBLINGS: u32 = 20;
    let (mut steps, mut sum, mut step) = (Vec::new(), 0, 0);
    let mut is_open = false;
    for (bucket, &count) in counts.iter().enumerate().filter(|(_, count)| **count != 0) {
        let nanos = highest_of(bucket) as f64 * 1000.0 / ticks_per_us;
        while step < DOUBLINGS && (FIRST_NANOS << step) as f64 <= nanos {
            if is_open {
                steps.push((((FIRST_NANOS << step) - 1) / 1000, sum));
                is_open = false;
            }
            step += 1;
        }
        sum += count;
        is_open = true;
    }
    if is_open {
        steps.push((((FIRST_NANOS << step) - 1) / 1000, sum));
    }
    steps
}

#[inline]
fn bucket_of(ticks: u64) -> usize {
    let bits = u64::BITS - ticks.leading_zeros();
    if bits <= SUB_BITS {
        return ticks as usize;
    }
    let bits = bits.min(BITS_MAX);
    let shift = bits - SUB_BITS - 1;
    let sub = (ticks >> shift) as usize & (SUB_COUNT - 1);
    (shift as usize + 1) * SUB_COUNT + sub
}

/// The longest time of a bucket.
fn highest_of(bucket: usize) -> u64 {
    if bucket < SUB_COUNT {
        return bucket as u64;
    }
    let shift = bucket / SUB_COUNT - 1;
    let sub = bucket % SUB_COUNT;
    (((SUB_COUNT + sub + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::{BUCKET_COUNT, Histogram, bucket_of, cumulative, highest_of, percentile};

    #[test]
    fn steps_double_and_count_all_below() {
        let histogram = Histogram::default();
        let micros = [0, 0, 1, 3, 30, 32, 500, 501, 1_000_000, 5_000_000];
        micros.iter().for_each(|it| histogram.record(it * 1000));
        let mut counts = Vec::new();
        histogram.add_to(&mut counts);
        let expected = [(1, 3), (4, 4), (33, 6), (528, 8), (1_082_130, 10)];
        assert_eq!(cumulative(&counts, 1000.0), expected);
        assert_eq!(cumulative(&[], 1000.0), []);
    }

    #[test]
    fn every_time_has_a_bucket_that_is_close() {
        let mut last = 0;
        for ticks in (0..100_000).chain((17..44).map(|bits| (1 << bits) + 12_345)) {
            let bucket = bucket_of(ticks);
            assert!(last <= bucket && bucket < BUCKET_COUNT, "{ticks}");
            let highest = highest_of(bucket);
            assert!(ticks <= highest && highest - ticks <= ticks / 32, "{ticks}: {highest}");
            last = bucket;
        }
        assert!(bucket_of(u64::MAX) < BUCKET_COUNT);
    }

    #[test]
    fn percentiles_are_of_all_threads() {
        let (first, second) = (Histogram::default(), Histogram::default());
        (1..=50).for_each(|ticks| first.record(ticks));
        (51..=100).for_each(|ticks| second.record(ticks * 1000));
        let mut sum = Vec::new();
        assert_eq!(percentile(&sum, 50.0), None);
        first.add_to(&mut sum);
        second.add_to(&mut sum);
        let at = |percent| percentile(&sum, percent).expect("something was counted");
        assert_eq!(at(0.0), 1);
        assert!(at(50.0) <= 51, "{}", at(50.0));
        assert!((99_000..=102_500).contains(&at(99.0)), "{}", at(99.0));
        assert!((100_000..=103_500).contains(&at(100.0)), "{}", at(100.0));
    }
}
