//! What is to be done every so many milliseconds, by a clock that somebody may set. Reads no clock itself.

/// Says when a period has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    len_ms: i64,
    /// Unix milliseconds; none before the first.
    began_at: Option<i64>,
}

impl Period {
    /// The first one begins at once.
    pub(super) fn new(len_ms: i64) -> Self {
        Self { len_ms, began_at: None }
    }

    /// Whether a period has begun since this was last asked. When the clock is set back, one begins: nobody waits until it
    /// has caught up.
    pub(super) fn has_begun(&mut self, now: i64) -> bool {
        let is_within = self.began_at.is_some_and(|at| (at..at + self.len_ms).contains(&now));
        if !is_within {
            self.began_at = Some(now);
        }
        !is_within
    }
}

#[cfg(test)]
mod tests {
    use super::Period;

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut period = Period::new(100);
        let cases = [
            (1_000_000, true),
            (1_000_099, false),
            (1_000_100, true),
            // Back by an hour, and on from there.
            (0, true),
            (99, false),
            (100, true),
            // And forth.
            (9_000_000, true),
            (9_000_001, false),
        ];
        for (now, begins) in cases {
            assert_eq!(period.has_begun(now), begins, "at {now}");
        }
    }
}
