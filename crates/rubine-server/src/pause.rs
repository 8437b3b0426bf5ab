//! CLIENT PAUSE, and the pauses before the end and before another takes over: until when which commands wait, by a clock
//! that nobody sets. Never touches a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

use arc_swap::ArcSwapOption;
use rubine_cluster::slots::SlotSet;

/// What a pause puts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Commands that write, or might.
    Writes,
    /// All commands.
    All,
}

/// A pause of clients, in force until its moment.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// Twice the monotonic milliseconds at which it ends, plus one if everything is paused; 0 for no pause. One number, so
    /// that nobody sees half of a change.
    state: AtomicI64,
    /// Bits of [`Hold`]: for these, writes are held back without a time.
    holds: AtomicU8,
    /// Slots that change hands: writes to these are held back without a time.
    held_slots: ArcSwapOption<SlotSet>,
    /// Whether there are any, for those who look before each request.
    holds_slots: AtomicBool,
}

/// For what the server itself holds writes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is about to end: no write comes between its last save and its end.
    Shutdown = 1,
    /// It hands its part over to a replica, which is to have everything.
    Failover = 2,
    /// A replica of its shard is taking its place in the cluster.
    Takeover = 4,
}

/// No pause lasts longer than to here.
const UNTIL_MAX: i64 = i64::MAX / 2;

impl Pause {
    /// Starts a pause, or makes the one in force longer or stricter: it never shortens or loosens one.
    pub(crate) fn start(&self, now: i64, until: i64, kind: Kind) {
        let until = until.min(UNTIL_MAX);
        let is_total = kind == Kind::All;
        let merged = |state| {
            let (total, latest) = match in_force(state, now) {
                Some((was_total, before)) => (was_total || is_total, before.max(until)),
                None => (is_total, until),
            };
            Some(if now < latest { latest * 2 + i64::from(total) } else { 0 })
        };
        // The closure never declines.
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, merged);
    }

    pub(crate) fn end(&self) {
        self.state.store(0, Ordering::Relaxed);
    }

    /// Holds writes back for something that the server does, or no longer.
    pub(crate) fn hold(&self, what: Hold, holds: bool) {
        if holds {
            self.holds.fetch_or(what as u8, Ordering::AcqRel);
        } else {
            self.holds.fetch_and(!(what as u8), Ordering::AcqRel);
        }
    }

    /// Holds writes to some more slots back.
    pub(crate) fn hold_slots(&self, slots: &SlotSet) {
        let held = self.held_slots.load();
        let before = held.iter().flat_map(|it| it.iter());
        self.set_held_slots(Some(before.chain(slots.iter()).collect()));
    }

    /// Holds writes back to these slots, and to no others.
    pub(crate) fn set_held_slots(&self, slots: Option<SlotSet>) {
        let holds = slots.is_some();
        self.held_slots.store(slots.map(Arc::new));
        self.holds_slots.store(holds, Ordering::SeqCst);
    }

    /// Slots to which writes are held back.
    pub(crate) fn held_slots(&self) -> Option<Arc<SlotSet>> {
        self.held_slots.load_full()
    }

    /// Whether there are such slots.
    #[inline]
    pub(crate) fn holds_slots(&self) -> bool {
        self.holds_slots.load(Ordering::Acquire)
    }

    /// Whether the server holds writes back for that.
    pub(crate) fn is_held(&self, what: Hold) -> bool {
        self.holds.load(Ordering::Acquire) & what as u8 != 0
    }

    /// For what the server itself holds writes back, if for anything.
    pub(crate) fn held_for(&self) -> Option<Hold> {
        let holds = self.holds.load(Ordering::Acquire);
        [Hold::Shutdown, Hold::Failover, Hold::Takeover]
            .into_iter()
            .find(|it| holds & *it as u8 != 0)
    }

    /// What waits at `now`, and until when: `(is everything paused, moment)`.
    #[inline]
    pub(crate) fn in_force(&self, now: i64) -> Option<(bool, i64)> {
        let was_asked = self.state.load(Ordering::Relaxed) != 0;
        if was_asked || self.holds.load(Ordering::Acquire) != 0 {
            self.look_whether_in_force(now)
        } else {
            None
        }
    }

    #[cold]
    fn look_whether_in_force(&self, now: i64) -> Option<(bool, i64)> {
        let asked = in_force(self.state.load(Ordering::Relaxed), now);
        if self.holds.load(Ordering::Acquire) != 0 {
            return Some((asked.is_some_and(|(is_total, _)| is_total), UNTIL_MAX));
        }
        asked
    }

    /// Whether no keys may expire or be evicted: the data set shall not change.
    #[inline]
    pub(crate) fn stops_writes(&self, now: i64) -> bool {
        self.in_force(now).is_some()
    }
}

fn in_force(state: i64, now: i64) -> Option<(bool, i64)> {
    let until = state / 2;
    (now < until).then_some((state % 2 == 1, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_becomes_longer_and_stricter_only() {
        use Kind::{All, Writes};
        type Case = (&'static [(i64, Kind)], i64, Option<(bool, i64)>);
        const NOW: i64 = 1_000;
        let cases: [Case; 7] = [
            (&[], NOW, None),
            (&[(2_000, Writes)], NOW, Some((false, 2_000))),
            (&[(2_000, Writes)], 2_000, None),
            (&[(2_000, All), (1_500, Writes)], 1_600, Some((true, 2_000))),
            (&[(1_500, All), (2_000, Writes)], 1_600, Some((true, 2_000))),
            (&[(2_000, Writes), (1_010, Writes)], NOW, Some((false, 2_000))),
            (&[(0, All)], NOW, None),
        ];
        for (starts, at, expected) in cases {
            let pause = Pause::default();
            for &(until, kind) in starts {
                pause.start(NOW, until, kind);
            }
            assert_eq!(pause.in_force(at), expected, "{starts:?} at {at}");
        }
    }

    #[test]
    fn a_pause_that_is_over_counts_for_nothing() {
        let pause = Pause::default();
        pause.start(1_000, 2_000, Kind::All);
        pause.start(2_000, 3_000, Kind::Writes);
        assert_eq!(pause.in_force(2_500), Some((false, 3_000)));
        pause.start(2_500, i64::MAX, Kind::Writes);
        assert_eq!(pause.in_force(i64::MAX / 2 - 1), Some((false, UNTIL_MAX)));
        pause.end();
        assert_eq!(pause.in_force(2_500), None);
    }
}
