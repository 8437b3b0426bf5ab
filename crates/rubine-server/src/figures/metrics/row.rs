//! A row of the table of metrics. Collects nothing by itself.

use rubine_metrics::{Family, Kind, Metric};

use super::Look;

/// A metric, and where its samples come from.
pub(super) struct Row {
    pub(super) metric: Metric,
    pub(super) value: Value,
}

/// Where samples come from.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// There is one, without labels.
    One(fn(&Look) -> f64),
    /// As before, where the first function says so.
    OneIf(fn(&Look) -> bool, fn(&Look) -> f64),
    /// There are any number of them.
    Many(fn(&Look, &mut Family)),
}

pub(super) const fn gauge(name: &'static str, help: &'static str, value: fn(&Look) -> f64) -> Row {
    one(Kind::Gauge, name, help, value)
}

pub(super) const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&Look) -> f64,
) -> Row {
    one(Kind::Counter, name, help, value)
}

const fn one(kind: Kind, name: &'static str, help: &'static str, value: fn(&Look) -> f64) -> Row {
    Row { metric: Metric { name, kind, labels: &[], help }, value: Value::One(value) }
}

impl Row {
    /// The metric is there only where `is_there` says so.
    pub(super) const fn only_if(self, is_there: fn(&Look) -> bool) -> Self {
        let value = match self.value {
            Value::One(value) => Value::OneIf(is_there, value),
            Value::OneIf(..) | Value::Many(_) => panic!("one condition is enough"),
        };
        Self { value, ..self }
    }
}

/// A metric with any number of samples.
pub(super) const fn family(
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    add: fn(&Look, &mut Family),
) -> Row {
    Row { metric: Metric { name, kind, labels, help }, value: Value::Many(add) }
}

/// 1 for what is so.
pub(super) fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// Seconds, of microseconds.
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Seconds, of steps of the clock that durations are measured with.
pub(super) fn seconds_of_ticks(ticks: u64) -> f64 {
    micros_of_ticks(ticks) / 1e6
}

/// Microseconds, of steps of the clock that durations are measured with.
pub(super) fn micros_of_ticks(ticks: u64) -> f64 {
    ticks as f64 / rubine_system::ticks::per_microsecond()
}
