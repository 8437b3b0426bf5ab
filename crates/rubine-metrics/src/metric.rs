//! What a metric is, whatever its value. Holds no sample.

/// How the values of a metric are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, but for a start anew.
    Counter,
    /// Cumulative counts by upper bound, in samples `_bucket`, `_sum` and `_count`.
    Histogram,
    /// Quantiles, in samples without a suffix, with `_sum` and `_count`.
    Summary,
}

impl Kind {
    /// The word of a TYPE line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// A metric as it is declared.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// The names of the labels that its samples may have, without `le` and `quantile`.
    pub labels: &'static [&'static str],
    /// One sentence, without a line feed.
    pub help: &'static str,
}
