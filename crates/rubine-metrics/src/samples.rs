//! The values of many metrics at one moment. Never changes a value that was added.

use std::borrow::Cow;

use crate::metric::Metric;

/// One label of a sample.
pub type Label = (&'static str, Cow<'static, str>);

/// The labels of a sample, in the order of their metric's declaration.
pub type Labels = Vec<Label>;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What follows the metric's name: `_bucket`, `_sum` and `_count` of histograms and summaries, else nothing.
    pub suffix: &'static str,
    pub labels: Labels,
    pub value: f64,
}

impl Sample {
    /// The value of a label; nothing if the sample lacks it.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(it, _)| *it == name).map(|(_, value)| value.as_ref())
    }

    /// Whether it has all of these labels, with these values.
    pub fn matches(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.label(name) == Some(value))
    }
}

/// All samples of one metric.
#[derive(Clone, Debug)]
pub struct Family {
    pub metric: &'static Metric,
    pub samples: Vec<Sample>,
}

impl Family {
    /// A family without samples.
    pub fn new(metric: &'static Metric) -> Self {
        Self { metric, samples: Vec::new() }
    }

    /// Adds a value that has no labels.
    pub fn add(&mut self, value: f64) {
        self.add_with([], value);
    }

    /// Adds a value with labels.
    pub fn add_with<const COUNT: usize>(
        &mut self,
        labels: [(&'static str, Cow<'static, str>); COUNT],
        value: f64,
    ) {
        self.add_part("", labels, value);
    }

    /// Adds a part of a histogram or summary.
    pub fn add_part<const COUNT: usize>(
        &mut self,
        suffix: &'static str,
        labels: [(&'static str, Cow<'static, str>); COUNT],
        value: f64,
    ) {
        self.samples.push(Sample { suffix, labels: labels.into(), value });
    }
}

/// The values of many metrics at one moment.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    families: Vec<Family>,
}

impl Samples {
    /// Adds a family, if it has any samples.
    pub fn push(&mut self, family: Family) {
        if !family.samples.is_empty() {
            self.families.push(family);
        }
    }

    /// All metrics that have samples, in the order in which they were added.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Every sample with its metric.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Metric, &Sample)> {
        self.families.iter().flat_map(|family| family.samples.iter().map(|it| (family.metric, it)))
    }

    /// Every sample of a name that has the labels, and perhaps others. `name` includes a suffix.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let families = self
            .families
            .iter()
            .filter_map(move |family| Some((family, name.strip_prefix(family.metric.name)?)));
        families.flat_map(move |(family, suffix)| {
            family.samples.iter().filter(move |it| it.suffix == suffix && it.matches(labels))
        })
    }

    /// The value of the first sample of a name that has the labels. `name` includes a suffix.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.select(name, labels).next().map(|it| it.value)
    }
}

#[cfg(test)]
mod tests {
    use super::{Family, Samples};
    use crate::metric::{Kind, Metric};

    static KEYS: Metric = Metric {
        name: "redis_db_keys",
        kind: Kind::Gauge,
        labels: &["db"],
        help: "Keys in the database.",
    };
    static EXPIRING: Metric = Metric {
        name: "redis_db_keys_expiring",
        kind: Kind::Gauge,
        labels: &["db"],
        help: "Keys with a deadline.",
    };
    static TIMES: Metric =
        Metric { name: "redis_times", kind: Kind::Histogram, labels: &["cmd"], help: "Times." };

    fn samples() -> Samples {
        let mut samples = Samples::default();
        for (metric, factor) in [(&KEYS, 1.0), (&EXPIRING, 10.0)] {
            let mut family = Family::new(metric);
            family.add_with([("db", "db0".into())], factor);
            family.add_with([("db", "db1".into())], 2.0 * factor);
            samples.push(family);
        }
        let mut family = Family::new(&TIMES);
        family.add_part("_bucket", [("cmd", "get".into()), ("le", "1".into())], 3.0);
        family.add_part("_sum", [("cmd", "get".into())], 7.0);
        samples.push(family);
        samples
    }

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let samples = samples();
        let check = |name: &str, labels: &[(&str, &str)], expected: Option<f64>| {
            assert_eq!(samples.get(name, labels), expected, "{name} {labels:?}");
        };
        check("redis_db_keys", &[("db", "db1")], Some(2.0));
        check("redis_db_keys", &[], Some(1.0));
        check("redis_db_keys_expiring", &[("db", "db1")], Some(20.0));
        check("redis_db_keys", &[("db", "db2")], None);
        check("redis_db_keys", &[("cmd", "get")], None);
        check("redis_times_sum", &[("cmd", "get")], Some(7.0));
        check("redis_times_bucket", &[("le", "1")], Some(3.0));
        check("redis_times", &[], None);
        assert_eq!(samples.select("redis_db_keys", &[]).count(), 2);
        assert_eq!(samples.iter().count(), 6);
    }

    #[test]
    fn a_metric_without_samples_is_left_out() {
        let mut samples = Samples::default();
        samples.push(Family::new(&KEYS));
        assert!(samples.families().is_empty());
    }
}
