//! The tool's one place that reads a clock: it measures others, and time cannot be an argument there.

use std::time::{Duration, Instant};

/// Time since its start.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "measuring other programs needs the real clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
