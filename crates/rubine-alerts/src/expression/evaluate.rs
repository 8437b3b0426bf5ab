//! What an expression is worth at a moment. Bounded in series; what it remembers is the windows of the expression.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::window::Window;
use super::{Aggregation, Expression, Node, Operator, Selector, WindowFunction};
use crate::labels::Labels;
use crate::values::Values;

/// No part of an expression has more series than this.
const SERIES_MAX: usize = 2000;

/// A value with its labels.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    labels: Labels,
    value: f64,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// There is no metric of that name.
    NoMetric(String),
    /// A metric has more series than are looked at.
    TooManySeries(String),
}

impl std::fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMetric(name) => write!(f, "there is no metric '{name}'"),
            Self::TooManySeries(name) => {
                write!(f, "more than {SERIES_MAX} series of '{name}' are too many")
            }
        }
    }
}

/// An expression, with what it remembers from one look to the next.
#[derive(Clone, Debug)]
pub struct Evaluator {
    expression: Expression,
    /// The series of each window.
    windows: Vec<BTreeMap<Labels, Window>>,
    /// When it was last evaluated, monotonic milliseconds.
    evaluated_ms: Option<u64>,
}

#[derive(Clone, Debug)]
enum Value {
    Number(f64),
    Series(Vec<Series>),
}

/// A look at the values of one moment.
struct Look<'a> {
    values: &'a dyn Values,
    unix_ms: i64,
    monotonic_ms: u64,
    before_ms: Option<u64>,
    windows: &'a mut [BTreeMap<Labels, Window>],
}

type Evaluated = Result<Value, EvaluationError>;

impl Evaluator {
    /// An expression that nothing is remembered of.
    pub fn new(expression: Expression) -> Self {
        let windows = vec![BTreeMap::new(); expression.window_count];
        Self { expression, windows, evaluated_ms: None }
    }

    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// What the expression is worth now, as labels and value of each series. A comparison keeps those that meet it.
    pub fn evaluate(
        &mut self,
        unix_ms: i64,
        monotonic_ms: u64,
        values: &dyn Values,
    ) -> Result<Vec<(Labels, f64)>, EvaluationError> {
        let before_ms = self.evaluated_ms.replace(monotonic_ms);
        let windows = &mut self.windows;
        let mut look = Look { values, unix_ms, monotonic_ms, before_ms, windows };
        let value = look.evaluate(&self.expression.root)?;
        Ok(value.into_series().into_iter().map(|it| (it.labels, it.value)).collect())
    }
}

impl Value {
    fn into_series(self) -> Vec<Series> {
        match self {
            Self::Number(value) => vec![Series { labels: Labels::new(), value }],
            Self::Series(series) => series,
        }
    }

    fn map(self, of: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Number(value) => Self::Number(of(value)),
            Self::Series(mut series) => {
                series.iter_mut().for_each(|it| it.value = of(it.value));
                Self::Series(series)
            }
        }
    }
}

impl Look<'_> {
    fn evaluate(&mut self, node: &Node) -> Evaluated {
        Ok(match node {
            Node::Number(number) => Value::Number(*number),
            Node::Time => Value::Number(self.unix_ms as f64 / 1000.0),
            Node::Selector(selector) => Value::Series(self.select(selector)?),
            Node::Absent(selector) => {
                let is_absent = match self.select(selector) {
                    Ok(series) => series.is_empty(),
                    Err(EvaluationError::NoMetric(_)) => true,
                    Err(error) => return Err(error),
                };
                let series = Series { labels: Labels::new(), value: 1.0 };
                Value::Series(is_absent.then_some(series).into_iter().collect())
            }
            Node::Window { function, selector, window_ms, index } => {
                self.window(*function, selector, *window_ms, *index)?
            }
            Node::Aggregate { function, by, of } => {
                aggregate(*function, by, self.evaluate(of)?.into_series())
            }
            Node::Negative(of) => self.evaluate(of)?.map(|it| -it),
            Node::Absolute(of) => self.evaluate(of)?.map(f64::abs),
            Node::Binary { operator, left, right } => {
                // Both sides are always looked at, since windows must see every moment.
                let (left, right) = (self.evaluate(left), self.evaluate(right));
                binary(*operator, left?, right?)
            }
        })
    }

    fn select(&self, selector: &Selector) -> Result<Vec<Series>, EvaluationError> {
        let mut series = Vec::new();
        let mut is_too_much = false;
        let is_known = self.values.visit(&selector.metric, &mut |labels, value| {
            let value_of = |name: &str| labels.iter().find(|it| it.0 == name).map_or("", |it| it.1);
            if selector.matchers.iter().all(|it| it.meets(value_of(&it.label))) {
                is_too_much |= SERIES_MAX <= series.len();
                if !is_too_much {
                    let labels = labels.iter().map(|it| (it.0.to_owned(), it.1.to_owned()));
                    series.push(Series { labels: labels.collect(), value });
                }
            }
        });
        match (is_known, is_too_much) {
            (false, _) => Err(EvaluationError::NoMetric(selector.metric.clone())),
            (true, true) => Err(EvaluationError::TooManySeries(selector.metric.clone())),
            (true, false) => Ok(series),
        }
    }

    fn window(
        &mut self,
        function: WindowFunction,
        selector: &Selector,
        window_ms: u64,
        index: usize,
    ) -> Evaluated {
        let selected = self.select(selector)?;
        let (now_ms, before_ms) = (self.monotonic_ms, self.before_ms);
        let windows = &mut self.windows[index];
        let mut series = Vec::with_capacity(selected.len());
        for Series { labels, value } in selected {
            let window = match windows.get_mut(&labels) {
                Some(window) => {
                    window.push(now_ms, window_ms, value);
                    window
                }
                None => windows
                    .entry(labels.clone())
                    .or_insert_with(|| Window::new(now_ms, value, before_ms)),
            };
            let value = window.value(function);
            series.extend(value.map(|value| Series { labels, value }));
        }
        windows.retain(|_, window| now_ms <= window.seen_ms() + window_ms);
        // What comes and goes stays for the length of the window, within the same bound.
        while SERIES_MAX < windows.len() {
            windows.pop_first();
        }
        Ok(Value::Series(series))
    }
}

fn aggregate(function: Aggregation, by: &[String], series: Vec<Series>) -> Value {
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for Series { mut labels, value } in series {
        labels.retain(|name, _| by.contains(name));
        groups.entry(labels).or_default().push(value);
    }
    let one = |values: Vec<f64>| {
        let count = values.len() as f64;
        let values = values.into_iter();
        match function {
            Aggregation::Sum => values.sum(),
            Aggregation::Average => values.sum::<f64>() / count,
            Aggregation::Count => count,
            Aggregation::Min => values.fold(f64::INFINITY, f64::min),
            Aggregation::Max => values.fold(f64::NEG_INFINITY, f64::max),
        }
    };
    let groups = groups.into_iter();
    Value::Series(groups.map(|(labels, values)| Series { labels, value: one(values) }).collect())
}

fn binary(operator: Operator, left: Value, right: Value) -> Value {
    if operator.is_of_sets() {
        return Value::Series(of_sets(operator, left.into_series(), right.into_series()));
    }
    let apply = |left: f64, right: f64| calculate(operator, left, right);
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let value = apply(left, right);
            if operator.is_comparison() {
                let series = value.map(|value| Series { labels: Labels::new(), value });
                return Value::Series(series.into_iter().collect());
            }
            value.map_or(Value::Series(Vec::new()), Value::Number)
        }
        (Value::Series(series), Value::Number(right)) => keep(series, |it| apply(it, right)),
        // A comparison keeps the value of the series, on whichever side it stands.
        (Value::Number(left), Value::Series(series)) => keep(series, |it| {
            let value = apply(left, it);
            if operator.is_comparison() { value.map(|_| it) } else { value }
        }),
        (Value::Series(left), Value::Series(right)) => {
            let pairs = Pairs::new(&right);
            let of_one = left.len() == 1 && left[0].labels.is_empty() && !pairs.is_of_one();
            if of_one {
                let only = left[0].value;
                let value = |it| {
                    let value = apply(only, it);
                    if operator.is_comparison() { value.map(|_| only) } else { value }
                };
                return keep(right, value);
            }
            let values = left.into_iter().filter_map(|it| {
                let value = apply(it.value, pairs.value(&it.labels)?)?;
                Some(Series { labels: it.labels, value })
            });
            Value::Series(values.collect())
        }
    }
}

fn keep(series: Vec<Series>, value: impl Fn(f64) -> Option<f64>) -> Value {
    let kept = series.into_iter().filter_map(|it| {
        let value = value(it.value)?;
        Some(Series { labels: it.labels, value })
    });
    Value::Series(kept.collect())
}

/// Finds the series of the other side: the one with the same labels, or the only one if that has no labels.
struct Pairs<'a> {
    by_labels: BTreeMap<&'a Labels, f64>,
    only: Option<f64>,
}

impl<'a> Pairs<'a> {
    fn new(series: &'a [Series]) -> Self {
        let only = match series {
            [one] if one.labels.is_empty() => Some(one.value),
            _ => None,
        };
        Self { by_labels: series.iter().map(|it| (&it.labels, it.value)).collect(), only }
    }

    fn is_of_one(&self) -> bool {
        self.only.is_some()
    }

    fn value(&self, labels: &Labels) -> Option<f64> {
        self.only.or_else(|| self.by_labels.get(labels).copied())
    }
}

fn of_sets(operator: Operator, mut left: Vec<Series>, right: Vec<Series>) -> Vec<Series> {
    if operator == Operator::Or {
        let there: BTreeSet<Labels> = left.iter().map(|it| it.labels.clone()).collect();
        left.extend(right.into_iter().filter(|it| !there.contains(&it.labels)));
        left.truncate(SERIES_MAX);
        return left;
    }
    let pairs = Pairs::new(&right);
    let of_one = left.len() == 1 && left[0].labels.is_empty();
    let wants_pair = operator == Operator::And;
    left.retain(|it| {
        let has_pair = pairs.value(&it.labels).is_some() || (of_one && !right.is_empty());
        has_pair == wants_pair
    });
    left
}

/// The result of two numbers; nothing for a comparison that is not met, and for a division by nothing: a limit that is not
/// set is no limit that has been exceeded.
fn calculate(operator: Operator, left: f64, right: f64) -> Option<f64> {
    if let Some(is_met) = operator.compares(left, right) {
        return is_met.then_some(left);
    }
    let is_division = matches!(operator, Operator::Divide | Operator::Remainder);
    if is_division && right == 0.0 {
        return None;
    }
    Some(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => left % right,
    })
}
