//! What the values of series were over time, in steps. Answers from what was there when it was asked, without a lock.

use std::sync::Arc;

use crate::{SLOT_SECONDS, Series};

/// An answer has no more points, over all series.
const POINTS_MAX: u64 = 50_000;
/// And no more series.
const ASKED_MAX: usize = 100;

/// How the values of a step become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    Last,
    Average,
    Min,
    Max,
    /// How much a counter grows in a second; where it falls, it began anew.
    Rate,
}

/// A moment, Unix seconds, and a value.
pub type Point = (u64, f64);

/// A series by its full name, and its points.
pub type Curve = (Arc<str>, Vec<Point>);

/// Series, as they were when they were asked for.
#[derive(Debug)]
pub struct Question {
    series: Vec<(Arc<str>, Series)>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionError {
    /// There is no series of that name.
    NoSeries,
    TooManySeries,
    TooManyPoints,
    /// The end is not after the beginning, or a step is none.
    NoTime,
}

impl std::fmt::Display for QuestionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSeries => write!(f, "there is no history of that metric"),
            Self::TooManySeries => {
                write!(f, "more than {ASKED_MAX} series: name one with its labels")
            }
            Self::TooManyPoints => {
                write!(f, "more than {POINTS_MAX} points: ask for a longer step")
            }
            Self::NoTime => {
                write!(f, "the time is to end after it begins, in steps of 10 s or more")
            }
        }
    }
}

impl Question {
    pub(crate) fn new(series: Vec<(Arc<str>, Series)>) -> Self {
        Self { series }
    }

    /// The points from a moment until another one, both in Unix seconds, one for each step that has values. Steps begin at
    /// multiples of their length, so that they stay where they are as time goes by; a point bears the beginning of its step.
    pub fn answer(
        &self,
        from: u64,
        to: u64,
        step: u64,
        summary: Summary,
    ) -> Result<Vec<Curve>, QuestionError> {
        if self.series.is_empty() {
            return Err(QuestionError::NoSeries);
        }
        if ASKED_MAX < self.series.len() {
            return Err(QuestionError::TooManySeries);
        }
        if to <= from || step < SLOT_SECONDS {
            return Err(QuestionError::NoTime);
        }
        let from = from - from % step;
        let steps = (to - from).div_ceil(step).saturating_mul(self.series.len() as u64);
        if POINTS_MAX < steps {
            return Err(QuestionError::TooManyPoints);
        }
        let points = |series: &Series| {
            let mut steps =
                Steps { from, step, summary, points: Vec::new(), current: None, before: None };
            for block in series.blocks() {
                let begin = block.start() * SLOT_SECONDS;
                let end = block.end() * SLOT_SECONDS;
                // A rate begins with the value before.
                if from.saturating_sub(step) <= end && begin < to {
                    block.read(|slot, value| steps.add(slot * SLOT_SECONDS, value, to));
                }
            }
            steps.finish()
        };
        Ok(self.series.iter().map(|(name, it)| (Arc::clone(name), points(it))).collect())
    }
}

/// Points as they are made.
struct Steps {
    from: u64,
    step: u64,
    summary: Summary,
    points: Vec<Point>,
    current: Option<Step>,
    /// The last value so far, and when it was.
    before: Option<Point>,
}

struct Step {
    index: u64,
    last: f64,
    min: f64,
    max: f64,
    sum: f64,
    count: u64,
    /// Growth, and the time in which it happened.
    grown: f64,
    seconds: u64,
}

impl Steps {
    fn add(&mut self, at: u64, value: f64, to: u64) {
        let before = self.before.replace((at, value));
        if at < self.from || to <= at {
            return;
        }
        let index = (at - self.from) / self.step;
        if self.current.as_ref().is_none_or(|it| it.index != index) {
            self.close();
            self.current = Some(Step::new(index, value));
        }
        let step = self.current.as_mut().expect("it was just made");
        step.last = value;
        step.min = step.min.min(value);
        step.max = step.max.max(value);
        step.sum += value;
        step.count += 1;
        if let Some((then, was)) = before {
            step.grown += if value < was { value } else { value - was };
            step.seconds += at - then;
        }
    }

    fn close(&mut self) {
        let Some(step) = self.current.take() else { return };
        let value = match self.summary {
            Summary::Last => step.last,
            Summary::Average => step.sum / step.count as f64,
            Summary::Min => step.min,
            Summary::Max => step.max,
            Summary::Rate if step.seconds == 0 => return,
            Summary::Rate => step.grown / step.seconds as f64,
        };
        self.points.push((self.from + step.index * self.step, value));
    }

    fn finish(mut self) -> Vec<Point> {
        self.close();
        self.points
    }
}

impl Step {
    fn new(index: u64, value: f64) -> Self {
        Self {
            index,
            last: value,
            min: value,
            max: value,
            sum: 0.0,
            count: 0,
            grown: 0.0,
            seconds: 0,
        }
    }
}
