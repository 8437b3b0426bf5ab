//! The one place that reads time. Everything else is told what time it is.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds: a duration, or a moment counted from the Unix epoch.
pub type Millis = i64;

/// Microseconds since the Unix epoch. Steps when somebody sets the wall clock.
#[expect(clippy::disallowed_methods, reason = "this function is what the lint points to")]
pub fn unix_micros() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_micros() as i64,
        Err(before) => -(before.duration().as_micros() as i64),
    }
}

/// Milliseconds since the Unix epoch. Steps when somebody sets the wall clock.
pub fn unix_millis() -> Millis {
    unix_micros().div_euclid(1000)
}

/// Nanoseconds since the first call in this process. Never goes back: the clock for measuring durations.
#[expect(clippy::disallowed_methods, reason = "this function is what the lint points to")]
pub fn monotonic_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The same in milliseconds.
pub fn monotonic_millis() -> u64 {
    monotonic_nanos() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::{monotonic_nanos, unix_micros, unix_millis};

    #[test]
    fn clocks_agree_and_go_forward() {
        let (millis, micros) = (unix_millis(), unix_micros());
        assert!(millis * 1000 <= micros);
        assert!(1_600_000_000_000 < millis);
        let earlier = monotonic_nanos();
        assert!(earlier <= monotonic_nanos());
    }
}
