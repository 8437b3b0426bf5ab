//! Holds what is sent and read below a number of bytes per second: `backup-rate-limit`. Counts only; whoever asks sleeps.

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// What may be caught up with of a time in which nothing was sent.
const BURST_NANOS: u64 = 100_000_000;

/// When the next bytes may be sent.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// By the monotonic clock.
    free_at_nanos: u64,
}

impl Throttle {
    /// Counts `bytes` that are sent at `now`. Returns how long to wait before more are. No limit is 0.
    pub(crate) fn take(&mut self, bytes: usize, bytes_per_second: u64, now: u64) -> Duration {
        if bytes_per_second == 0 {
            self.free_at_nanos = 0;
            return Duration::ZERO;
        }
        let cost = bytes as u128 * NANOS_PER_SECOND / u128::from(bytes_per_second);
        let begin = self.free_at_nanos.max(now.saturating_sub(BURST_NANOS));
        self.free_at_nanos = begin.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
        Duration::from_nanos(self.free_at_nanos.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_bytes_as_are_allowed() {
        let mut throttle = Throttle::default();
        let mut now = 1_000_000_000_000;
        let start = now;
        for _ in 0..100 {
            now += throttle.take(1_000_000, 10_000_000, now).as_nanos() as u64;
        }
        let seconds = (now - start) as f64 / 1e9;
        assert!((9.8..=10.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.take(usize::MAX, 0, 5), Duration::ZERO);
        assert!(Duration::ZERO < throttle.take(usize::MAX, 1, 5));
        assert_eq!(throttle.take(usize::MAX, 0, 5), Duration::ZERO);
    }
}
