//! When the data is saved although nobody asks: the `save` directive. Pure decisions.

use rubine_config::SavePoint;

/// After a failure, so long passes before the next try.
const RETRY_SECONDS: i64 = 5;

/// What is known when the clock looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) changes: u64,
    pub(crate) seconds_since_save: i64,
    pub(crate) seconds_since_try: i64,
    pub(crate) last_failed: bool,
}

impl Moment {
    /// Whether a try may follow the last one already.
    pub(crate) fn may_try(&self) -> bool {
        !self.last_failed || RETRY_SECONDS < self.seconds_since_try
    }

    /// The first point that is reached.
    pub(crate) fn reached<'a>(&self, points: &'a [SavePoint]) -> Option<&'a SavePoint> {
        points.iter().find(|point| {
            let seconds = i64::try_from(point.seconds).unwrap_or(i64::MAX);
            point.changes <= self.changes && seconds < self.seconds_since_save && self.may_try()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Moment, SavePoint};

    #[test]
    fn points_need_both_changes_and_time() {
        let points =
            [SavePoint { seconds: 3600, changes: 1 }, SavePoint { seconds: 60, changes: 100 }];
        let cases = [
            (0, 10_000, None),
            (1, 3600, None),
            (1, 3601, Some(0)),
            (99, 61, None),
            (100, 60, None),
            (100, 61, Some(1)),
        ];
        for (changes, seconds_since_save, expected) in cases {
            let moment =
                Moment { changes, seconds_since_save, seconds_since_try: 0, last_failed: false };
            let expected = expected.map(|index: usize| &points[index]);
            assert_eq!(moment.reached(&points), expected, "{changes} in {seconds_since_save}");
        }
    }

    #[test]
    fn a_failure_is_not_repeated_at_once() {
        let points = [SavePoint { seconds: 1, changes: 1 }];
        for (seconds_since_try, is_due) in [(0, false), (5, false), (6, true)] {
            let moment =
                Moment { changes: 1, seconds_since_save: 9, seconds_since_try, last_failed: true };
            assert_eq!(moment.reached(&points).is_some(), is_due);
        }
    }
}
