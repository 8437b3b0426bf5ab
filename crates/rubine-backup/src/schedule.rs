//! When backups are due: `backup-schedule`, by the clock on the wall, and a delay by which servers with one schedule do not
//! begin at once. Reads no clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;

const HOUR_MS: i64 = 3_600_000;
/// Looks of an hour each cover what differs from week to week.
const GAP_HORIZON_MS: i64 = 35 * 24 * HOUR_MS;

/// A schedule of five fields: minute, hour, day of the month, month, day of the week.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule; `None` for an empty one. Hours are those of the system's time zone.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        Self::parse_in(text, TimeZone::system())
    }

    fn parse_in(text: &str, zone: TimeZone) -> Result<Option<Self>, String> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron = parser.parse(text).map_err(|error| format!("is no schedule: {error}"))?;
        Ok(Some(Self { cron, zone }))
    }

    /// When the next backup is due after `now`, both Unix milliseconds; `None` if never again.
    pub fn next(&self, now: i64) -> Option<i64> {
        let now = jiff::Timestamp::from_millisecond(now).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&now, false).ok()?;
        Some(next.timestamp().as_millisecond())
    }

    /// The longest time from one backup to the next within the five weeks after `now`, in milliseconds; `None` if there are no
    /// two. Less by up to an hour where there are several in an hour.
    pub fn longest_gap(&self, now: i64) -> Option<i64> {
        let end = now.saturating_add(GAP_HORIZON_MS);
        let mut from = now;
        let mut longest = None;
        while from < end {
            let Some((first, second)) = self.next(from).and_then(|it| Some((it, self.next(it)?)))
            else {
                break;
            };
            let before = if from == now { 0 } else { first - from };
            longest = longest.max(Some(before.max(second - first)));
            from = first.max(from.saturating_add(HOUR_MS));
        }
        longest
    }
}

/// The delay, in milliseconds, of a backup by at most `jitter_seconds`.
pub fn delay(jitter_seconds: u32, random: u64) -> i64 {
    let bound = u64::from(jitter_seconds) * 1000 + 1;
    (random % bound) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &str, now: &str, expected: &str) {
        let schedule =
            Schedule::parse_in(schedule, TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC));
        let now: jiff::Timestamp = now.parse().unwrap();
        let next = schedule.unwrap().unwrap().next(now.as_millisecond()).unwrap();
        assert_eq!(jiff::Timestamp::from_millisecond(next).unwrap().to_string(), expected);
    }

    #[test]
    fn the_next_one_is_later() {
        check("*/15 * * * *", "2026-11-30T10:00:00Z", "2026-11-30T10:15:00Z");
        check("*/15 * * * *", "2026-11-30T10:14:59.999Z", "2026-11-30T10:15:00Z");
        check("@hourly", "2026-11-30T10:00:00.001Z", "2026-11-30T11:00:00Z");
        check("0 0 29 2 *", "2026-11-30T10:00:00Z", "2028-02-28T23:00:00Z");
    }

    #[test]
    fn the_longest_gap_is_found() {
        let hours = |schedule: &str| {
            let schedule = Schedule::parse_in(schedule, TimeZone::UTC).unwrap().unwrap();
            let monday: jiff::Timestamp = "2026-11-30T10:00:00Z".parse().unwrap();
            schedule.longest_gap(monday.as_millisecond()).map(|it| it as f64 / HOUR_MS as f64)
        };
        assert_eq!(hours("15 3 * * *"), Some(24.0));
        assert_eq!(hours("@hourly"), Some(1.0));
        assert_eq!(hours("0 3 * * 1-5"), Some(72.0));
        assert_eq!(hours("0 0 1 1 *"), Some(366.0 * 24.0));
        assert_eq!(hours("*/15 * * * *"), Some(0.25));
        let mornings = hours("*/15 9-17 * * 1-5").unwrap();
        assert!((62.25..=63.25).contains(&mornings), "{mornings}");
        assert_eq!(hours("0 0 30 2 *"), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["x", "* * *", "61 * * * *", "0 0 0 0 0 0 0 0"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
        assert!(Schedule::parse("").unwrap().is_none());
    }

    #[test]
    fn a_delay_is_bounded() {
        assert_eq!(delay(0, u64::MAX), 0);
        for random in [0, 1, 59_999, 60_000, 60_001, u64::MAX] {
            assert!((0..=60_000).contains(&delay(60, random)));
        }
    }
}
