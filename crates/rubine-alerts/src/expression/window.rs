//! What a series did in a stretch of time that ends now, in a bounded number of steps. Reads no clock.

use std::collections::VecDeque;

use super::WindowFunction;

/// A window is kept in about so many steps, whatever its length. What a counter has grown by is exact all the same.
const STEPS: u64 = 60;

/// The last stretch of one series.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The value that came last.
    last: f64,
    /// When it came, monotonic milliseconds.
    seen_ms: u64,
    /// What the series has grown by since it was first seen; where it fell, it began anew from nothing.
    grown: f64,
    /// The moment before the oldest step, and what it had grown by then.
    base_ms: u64,
    base_grown: f64,
    /// Ascending in time.
    steps: VecDeque<Step>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    from_ms: u64,
    /// When its last value came, and what the series had grown by then.
    to_ms: u64,
    grown: f64,
    min: f64,
    max: f64,
    sum: f64,
    count: u32,
}

impl Window {
    /// A series that is seen for the first time. If it was not there at `absent_ms`, while others were, it was nothing then.
    pub(super) fn new(now_ms: u64, value: f64, absent_ms: Option<u64>) -> Self {
        let grown = if absent_ms.is_some() { value.max(0.0) } else { 0.0 };
        Self {
            last: value,
            seen_ms: now_ms,
            grown,
            base_ms: absent_ms.unwrap_or(now_ms),
            base_grown: 0.0,
            steps: VecDeque::from([Step::new(now_ms, grown, value)]),
        }
    }

    /// Takes in the value of a moment, and lets go of what is older than the window.
    pub(super) fn push(&mut self, now_ms: u64, window_ms: u64, value: f64) {
        self.grown += if value < self.last { value.max(0.0) } else { value - self.last };
        self.last = value;
        self.seen_ms = now_ms;
        let is_same_step =
            self.steps.back().is_some_and(|it| now_ms < it.from_ms + window_ms / STEPS);
        match self.steps.back_mut() {
            Some(step) if is_same_step => step.add(now_ms, self.grown, value),
            _ => self.steps.push_back(Step::new(now_ms, self.grown, value)),
        }
        while let Some(step) = self.steps.front().filter(|it| it.to_ms + window_ms <= now_ms) {
            (self.base_ms, self.base_grown) = (step.to_ms, step.grown);
            self.steps.pop_front();
        }
    }

    pub(super) fn seen_ms(&self) -> u64 {
        self.seen_ms
    }

    /// What a function makes of it; nothing while there are too few values.
    pub(super) fn value(&self, function: WindowFunction) -> Option<f64> {
        let fold = |of: fn(&Step) -> f64, with: fn(f64, f64) -> f64| {
            self.steps.iter().map(of).reduce(with)
        };
        let elapsed_ms = self.seen_ms.saturating_sub(self.base_ms);
        let increase = self.grown - self.base_grown;
        match function {
            WindowFunction::Increase => (elapsed_ms != 0).then_some(increase),
            WindowFunction::Rate => {
                (elapsed_ms != 0).then(|| increase * 1000.0 / elapsed_ms as f64)
            }
            WindowFunction::Min => fold(|it| it.min, f64::min),
            WindowFunction::Max => fold(|it| it.max, f64::max),
            WindowFunction::Average => {
                let count: u32 = self.steps.iter().map(|it| it.count).sum();
                fold(|it| it.sum, |left, right| left + right).map(|it| it / f64::from(count))
            }
        }
    }
}

impl Step {
    fn new(now_ms: u64, grown: f64, value: f64) -> Self {
        Self { from_ms: now_ms, to_ms: now_ms, grown, min: value, max: value, sum: value, count: 1 }
    }

    fn add(&mut self, now_ms: u64, grown: f64, value: f64) {
        (self.to_ms, self.grown) = (now_ms, grown);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.count += 1;
    }
}
