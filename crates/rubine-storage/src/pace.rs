//! Work beside clients that leaves them room: it rests for a part of each half millisecond while others want processors.
//!
//! Priorities do not do that. A worker that is woken where a busy thread has its turn may wait until the system's next tick,
//! up to 4 ms, whatever the claims of both threads are; what ends such a wait sooner is a processor that has nothing to do
//! and takes the worker over.

use std::time::Duration;

use rubine_base::clock::monotonic_nanos;

use rubine_system::process;

/// All threads rest at the same time, since each could take what another leaves.
const PERIOD_NANOS: u64 = 500_000;
/// How long somebody who has interrupted the thread is expected to come again: some ticks of the system.
const MEMORY_NANOS: u64 = 20_000_000;

/// How much of each period is for the work while others want processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Somebody waits for it to end.
    Half,
    /// The server began it by itself, and nobody does.
    Tenth,
}

impl Share {
    /// From the start of a period; what is left of it is for others.
    fn nanos(self) -> u64 {
        match self {
            Self::Half => PERIOD_NANOS / 2,
            Self::Tenth => PERIOD_NANOS / 10,
        }
    }
}

/// The pace of one thread.
pub struct Pace {
    work_nanos: u64,
    /// How often the thread had to leave its processor to others.
    interruptions: u64,
    /// Until then others are expected to want it again.
    busy_until: u64,
    /// The period for which it was decided whether to rest.
    decided: u64,
}

impl Pace {
    /// That of the calling thread.
    pub fn new(share: Share) -> Self {
        process::sleep_precisely();
        Self::after(process::interruptions(), share)
    }

    fn after(interruptions: u64, share: Share) -> Self {
        Self { work_nanos: share.nanos(), interruptions, busy_until: 0, decided: 0 }
    }

    /// Rests if it is time to. Called every some ten microseconds of work, where the thread holds nothing that anybody
    /// waits for.
    pub fn step(&mut self) {
        if let Some(rest) = self.rest_at(monotonic_nanos(), process::interruptions) {
            std::thread::sleep(rest);
        }
    }

    fn rest_at(&mut self, now: u64, interruptions: impl FnOnce() -> u64) -> Option<Duration> {
        let (period, phase) = (now / PERIOD_NANOS, now % PERIOD_NANOS);
        if phase < self.work_nanos || period == self.decided {
            return None;
        }
        self.decided = period;
        let interruptions = interruptions();
        if interruptions != self.interruptions {
            self.interruptions = interruptions;
            self.busy_until = now + MEMORY_NANOS;
        }
        (now < self.busy_until).then(|| Duration::from_nanos(PERIOD_NANOS - phase))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK_NANOS: u64 = PERIOD_NANOS / 2;
    const PERIODS_REMEMBERED: u64 = MEMORY_NANOS / PERIOD_NANOS;

    /// Whether it rests in each of `count` periods from `first` on, when it was interrupted `interruptions` times so far.
    fn rests(pace: &mut Pace, first: u64, count: u64, interruptions: u64) -> Vec<bool> {
        let decide = |period| pace.rest_at(period * PERIOD_NANOS + WORK_NANOS, || interruptions);
        (first..first + count).map(decide).map(|it| it.is_some()).collect()
    }

    #[test]
    fn who_is_alone_does_not_rest() {
        let mut pace = Pace::after(7, Share::Tenth);
        assert_eq!(rests(&mut pace, 1, 3, 7), [false; 3]);
    }

    #[test]
    fn who_was_interrupted_rests_for_a_while() {
        let mut pace = Pace::after(7, Share::Tenth);
        let remembered = rests(&mut pace, 1, PERIODS_REMEMBERED, 8);
        assert!(remembered.iter().all(|&it| it));
        assert_eq!(rests(&mut pace, 1 + PERIODS_REMEMBERED, 2, 8), [false; 2]);
        assert_eq!(rests(&mut pace, 3 + PERIODS_REMEMBERED, 1, 9), [true]);
    }

    #[test]
    fn a_rest_begins_after_the_work_and_ends_with_its_period() {
        let mut pace = Pace::after(0, Share::Half);
        let start = 10 * PERIOD_NANOS;
        assert_eq!(pace.rest_at(start + WORK_NANOS - 1, || 1), None);
        let late = start + WORK_NANOS + 1_000;
        assert_eq!(
            pace.rest_at(late, || 1),
            Some(Duration::from_nanos(PERIOD_NANOS - WORK_NANOS - 1_000))
        );
        assert_eq!(pace.rest_at(late + 1_000, || 1), None, "once a period");
    }
}
