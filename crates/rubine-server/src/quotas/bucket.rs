//! Token buckets: what may be taken at a rate, by all workers together. Each worker has a share of its own, so that few
//! requests need what is shared. Never reads a clock.

use parking_lot::Mutex;

/// A share is filled with what the rate gives in this time, in seconds.
const SHARE_SECONDS: f64 = 0.001;
/// And with no more than this part of the burst.
const SHARE_OF_BURST: f64 = 1.0 / 16.0;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    /// The most that it holds.
    burst: f64,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    /// Below zero, so much is owed.
    tokens: f64,
    /// When it was worked out, in microseconds.
    at_us: u64,
}

/// What one worker has taken out of a bucket for the requests to come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    tokens: f64,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(per_second: f64, burst: f64, now_us: u64) -> Self {
        let burst = burst.max(1.0);
        Self { per_second, burst, level: Mutex::new(Level { tokens: burst, at_us: now_us }) }
    }

    /// In how many seconds `count` tokens could be taken; 0 for at once. What is more than the bucket holds may be taken
    /// when it is full.
    pub(crate) fn wait(&self, share: &mut Share, count: f64, now_us: u64) -> f64 {
        if count <= share.tokens {
            return 0.0;
        }
        let needed = count.min(self.burst);
        let mut level = self.level.lock();
        self.refill(&mut level, now_us);
        let missing = needed - share.tokens;
        if level.tokens < missing {
            return (missing - level.tokens) / self.per_second;
        }
        let spare = (self.per_second * SHARE_SECONDS).min(self.burst * SHARE_OF_BURST);
        let taken = level.tokens.min(missing + spare);
        level.tokens -= taken;
        share.tokens += taken;
        0.0
    }

    /// Takes tokens, though they be owed.
    pub(crate) fn take(&self, share: &mut Share, count: f64, now_us: u64) {
        share.tokens -= count;
        if share.tokens < 0.0 {
            let mut level = self.level.lock();
            self.refill(&mut level, now_us);
            level.tokens += std::mem::take(&mut share.tokens);
        }
    }

    /// Makes it full.
    pub(crate) fn fill(&self, now_us: u64) {
        *self.level.lock() = Level { tokens: self.burst, at_us: now_us };
    }

    fn refill(&self, level: &mut Level, now_us: u64) {
        // Workers' times may differ a little.
        let elapsed = now_us.saturating_sub(level.at_us) as f64 / 1e6;
        level.tokens = (level.tokens + elapsed * self.per_second).min(self.burst);
        level.at_us = level.at_us.max(now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Share};

    /// What a worker gets that asks all the time for a while, in requests of `count`.
    fn served(bucket: &Bucket, shares: &mut [Share], count: f64, seconds: u64) -> f64 {
        let mut served = 0.0;
        for step in 0..seconds * 10_000 {
            let now_us = step * 100;
            let share = &mut shares[step as usize % 2];
            while bucket.wait(share, count, now_us) <= 0.0 {
                bucket.take(share, count, now_us);
                served += count;
            }
        }
        served
    }

    #[test]
    fn the_rate_holds_for_all_workers_together() {
        for (per_second, burst, count) in
            [(1000.0, 100.0, 1.0), (50_000.0, 50_000.0, 1.0), (1e6, 1e6, 7000.0), (3.0, 3.0, 1.0)]
        {
            let bucket = Bucket::new(per_second, burst, 0);
            let mut shares = [Share::default(); 2];
            let served = served(&bucket, &mut shares, count, 10);
            let expected = burst + 10.0 * per_second;
            let slack = expected / 100.0 + 2.0 * count;
            assert!((served - expected).abs() <= slack, "{per_second}: {served} of {expected}");
        }
    }

    #[test]
    fn what_is_owed_is_paid_before_anything_else() {
        let bucket = Bucket::new(100.0, 100.0, 0);
        let mut share = Share::default();
        // More than the bucket holds, which is full.
        assert!(bucket.wait(&mut share, 300.0, 0) <= 0.0);
        bucket.take(&mut share, 300.0, 0);
        let wait = bucket.wait(&mut share, 1.0, 0);
        assert!((wait - 2.01).abs() < 1e-6, "{wait}");
        assert!(bucket.wait(&mut share, 1.0, 2_020_000) <= 0.0);
        bucket.fill(2_020_000);
        assert!(bucket.wait(&mut share, 100.0, 2_020_000) <= 0.0);
    }
}
