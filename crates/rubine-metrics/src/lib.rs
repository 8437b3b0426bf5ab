//! Metrics: what one is, samples of many at one moment, and their text for Prometheus and `OpenMetrics`. Knows no server,
//! measures nothing, reads no clock and does no I/O.

#![forbid(unsafe_code)]

mod exposition;
mod metric;
mod samples;

pub use exposition::{Format, write};
pub use metric::{Kind, Metric};
pub use samples::{Family, Label, Labels, Sample, Samples};
