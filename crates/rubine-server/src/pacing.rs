//! How soon a worker looks for requests again while many clients send them: a little later than it could, so that it
//! finds several at once. Decides, and does not sleep.
//!
//! A worker that sleeps between every two requests has to be woken for each, which costs the sender more than the
//! request costs the worker (`docs/design/014`). Network cards hold back their interrupts for the same reason.

use std::time::Duration;

use rubine_system::ticks;

/// How long events are counted before they are judged.
const WINDOW_US: f64 = 1000.0;
/// The part of the active clients that may come to wait for the next turn.
const WAITING_SHARE: u64 = 8;
/// A turn is put off only if at least so many requests are expected until then.
const ARRIVALS_MIN: u64 = 2;

/// Events of clients, counted for a while. All times are in ticks.
pub(crate) struct Window {
    /// Clients keep the number of the last window in which they were counted.
    number: u32,
    start: u64,
    events: u64,
    clients: u64,
}

/// What a window has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    elapsed: u64,
    events: u64,
    /// Different clients that had an event.
    pub(crate) clients: u64,
}

impl Window {
    pub(crate) fn new(now: u64) -> Self {
        Self { number: 1, start: now, events: 0, clients: 0 }
    }

    /// Counts an event of a client. `seen` is where the client keeps the number of a window.
    pub(crate) fn count(&mut self, seen: &mut u32) {
        self.events += 1;
        if *seen != self.number {
            *seen = self.number;
            self.clients += 1;
        }
    }

    /// What was counted, if the window is over. The next one begins then.
    pub(crate) fn end(&mut self, now: u64) -> Option<Counted> {
        let elapsed = now.wrapping_sub(self.start);
        if elapsed < (WINDOW_US * ticks::per_microsecond()) as u64 {
            return None;
        }
        let counted = Counted { elapsed, events: self.events, clients: self.clients };
        *self = Self { number: self.number.wrapping_add(1), ..Self::new(now) };
        Some(counted)
    }
}

/// When a worker is to look for requests again.
pub(crate) struct Pacing {
    arrivals: Window,
    /// How far turns are to be apart, in ticks, as of the last window. 0 where there is no need for it.
    interval: u64,
}

impl Pacing {
    pub(crate) fn new(now: u64) -> Self {
        Self { arrivals: Window::new(now), interval: 0 }
    }

    /// A turn begins. `interval_max_us` is the longest that turns may be put off, in microseconds.
    pub(crate) fn begin_turn(&mut self, now: u64, interval_max_us: u32) {
        if let Some(counted) = self.arrivals.end(now) {
            let interval_max = (f64::from(interval_max_us) * ticks::per_microsecond()) as u64;
            self.interval = interval(counted, interval_max);
        }
    }

    /// A client has sent something. `seen` is where it keeps the window in which it last did.
    pub(crate) fn note_arrival(&mut self, seen: &mut u32) {
        self.arrivals.count(seen);
    }

    /// How long to leave the clients alone before the next look, if the last one was at `looked_at`.
    pub(crate) fn pause(&self, now: u64, looked_at: u64) -> Option<Duration> {
        let left = self.interval.checked_sub(now.wrapping_sub(looked_at))?;
        let nanos = left as f64 * 1000.0 / ticks::per_microsecond();
        (0 < left).then(|| Duration::from_nanos(nanos as u64))
    }
}

/// The time in which an eighth of the active clients send something, but not above `interval_max`; 0 if that is
/// not worth it. Clients that wait for each other's replies are few, or send again at once: for them it is short.
fn interval(arrived: Counted, interval_max: u64) -> u64 {
    let Counted { elapsed, events, clients } = arrived;
    let share = elapsed.saturating_mul(clients).checked_div(events * WAITING_SHARE).unwrap_or(0);
    let interval = share.min(interval_max);
    let expected = interval.saturating_mul(events) / elapsed.max(1);
    if expected < ARRIVALS_MIN { 0 } else { interval }
}

#[cfg(test)]
mod tests {
    use super::{Counted, Pacing, WINDOW_US, interval};
    use rubine_system::ticks;

    fn interval_of(elapsed: u64, events: u64, clients: u64, interval_max: u64) -> u64 {
        interval(Counted { elapsed, events, clients }, interval_max)
    }

    #[test]
    fn turns_are_put_off_until_an_eighth_of_the_clients_wait() {
        // 100 requests of 50 clients in 1,000: one in 10.
        assert_eq!(interval_of(1000, 100, 50, 500), 62);
        // Not longer than allowed.
        assert_eq!(interval_of(1000, 100, 50, 50), 50);
    }

    #[test]
    fn nobody_waits_where_it_is_not_worth_it() {
        // Few clients that send whenever they have their reply.
        assert_eq!(interval_of(1000, 200, 4, 50), 0);
        // Many, of whom one is expected at most.
        assert_eq!(interval_of(1000, 30, 30, 50), 0);
        // Nothing is known, nobody was there, it is switched off.
        assert_eq!(interval_of(0, 0, 0, 50), 0);
        assert_eq!(interval_of(1000, 0, 0, 50), 0);
        assert_eq!(interval_of(1000, 100, 50, 0), 0);
    }

    #[test]
    fn a_pause_is_what_is_left_of_the_interval() {
        let window = (WINDOW_US * ticks::per_microsecond()) as u64;
        let mut pacing = Pacing::new(0);
        let mut seen = [0; 50];
        for _ in 0..2 {
            seen.iter_mut().for_each(|it| pacing.note_arrival(it));
        }
        assert_eq!(pacing.pause(0, 0), None, "the first window is not over");
        pacing.begin_turn(window, 50);
        let pause = pacing.pause(window, window).expect("there is one");
        assert!((49..=50).contains(&pause.as_micros()), "{pause:?}");
        let late = window + (60.0 * ticks::per_microsecond()) as u64;
        assert_eq!(pacing.pause(late, window), None, "the turn took longer");
        // After a while without anybody the first one is served at once.
        pacing.begin_turn(window * 3, 50);
        assert_eq!(pacing.pause(window * 3, window * 3), None);
    }
}
