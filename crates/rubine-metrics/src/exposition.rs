//! Samples as text that Prometheus reads, in its own format and in that of `OpenMetrics`. Never leaves anything out.

use std::fmt::Write;

use crate::metric::Kind;
use crate::samples::{Family, Sample, Samples};

/// The format of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Version 0.0.4 of Prometheus's.
    Prometheus,
    /// Version 1.0.0 of `OpenMetrics`.
    OpenMetrics,
}

impl Format {
    /// The format that an HTTP client asks for by its `Accept`: `OpenMetrics` where it is named before plain text, or with
    /// more weight.
    pub fn of_accept(accept: &str) -> Self {
        let weight_of = |media: &str| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_meant = parts.next().is_some_and(|it| it.eq_ignore_ascii_case(media));
                let weight = parts.find_map(|it| it.strip_prefix("q="));
                is_meant.then(|| weight.and_then(|it| it.parse::<f64>().ok()).unwrap_or(1.0))
            });
            ranges.fold(0.0, f64::max)
        };
        let open = weight_of("application/openmetrics-text");
        let is_meant = 0.0 < open && weight_of("text/plain") <= open;
        if is_meant { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes all samples.
pub fn write(samples: &Samples, format: Format) -> String {
    /// About as much as one line of a sample takes.
    const LINE_BYTES: usize = 80;
    let mut text = String::with_capacity(samples.iter().count() * LINE_BYTES);
    for family in samples.families() {
        // Writing to a string does not fail.
        let _ = write_family(&mut text, family, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(text: &mut String, family: &Family, format: Format) -> std::fmt::Result {
    let metric = family.metric;
    let is_open_counter = format == Format::OpenMetrics && metric.kind == Kind::Counter;
    // OpenMetrics has `_total` as the suffix of every counter's samples, and no part of its name.
    let name = match metric.name.strip_suffix("_total") {
        Some(stem) if is_open_counter => stem,
        _ => metric.name,
    };
    let kind = match format {
        // A counter that lacks the suffix is none there; its samples keep the name that dashboards ask for.
        Format::OpenMetrics if is_open_counter && name == metric.name => "unknown",
        _ => metric.kind.name(),
    };
    write!(text, "# HELP {name} ")?;
    escape(text, metric.help, format == Format::OpenMetrics);
    write!(text, "\n# TYPE {name} {kind}\n")?;
    family.samples.iter().try_for_each(|sample| write_sample(text, metric.name, sample))
}

fn write_sample(text: &mut String, name: &str, sample: &Sample) -> std::fmt::Result {
    text.push_str(name);
    text.push_str(sample.suffix);
    for (index, (label, value)) in sample.labels.iter().enumerate() {
        text.push(if index == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        escape(text, value, true);
        text.push('"');
    }
    if !sample.labels.is_empty() {
        text.push('}');
    }
    text.push(' ');
    write_number(text, sample.value)?;
    text.push('\n');
    Ok(())
}

fn escape(text: &mut String, value: &str, escapes_quotes: bool) {
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if escapes_quotes => text.push_str("\\\""),
            _ => text.push(char),
        }
    }
}

fn write_number(text: &mut String, value: f64) -> std::fmt::Result {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value < 0.0 { "-Inf" } else { "+Inf" });
    } else {
        // The shortest digits that read back as the same number, never an exponent.
        write!(text, "{value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Format, write};
    use crate::metric::{Kind, Metric};
    use crate::samples::{Family, Samples};

    static PLAIN: Metric =
        Metric { name: "a_gauge", kind: Kind::Gauge, labels: &["l"], help: "It \"says\" a\\b." };
    static TOTAL: Metric =
        Metric { name: "b_total", kind: Kind::Counter, labels: &[], help: "All." };
    static ODD: Metric =
        Metric { name: "c_processed", kind: Kind::Counter, labels: &[], help: "Odd." };
    static TIMES: Metric =
        Metric { name: "d_usec", kind: Kind::Histogram, labels: &["cmd"], help: "Times." };

    fn samples() -> Samples {
        let mut samples = Samples::default();
        let mut plain = Family::new(&PLAIN);
        plain.add_with([("l", "x\"y\\z\n".into())], -1.0);
        plain.add_with([("l", "".into())], 0.1 + 0.2);
        samples.push(plain);
        for (metric, value) in [(&TOTAL, 9_007_199_254_740_993_u64 as f64), (&ODD, 1.5e21)] {
            let mut family = Family::new(metric);
            family.add(value);
            samples.push(family);
        }
        let mut times = Family::new(&TIMES);
        times.add_part("_bucket", [("cmd", "get".into()), ("le", "+Inf".into())], f64::INFINITY);
        times.add_part("_sum", [("cmd", "get".into())], f64::NAN);
        samples.push(times);
        samples
    }

    #[test]
    fn text_of_prometheus() {
        let expected = "\
# HELP a_gauge It \"says\" a\\\\b.
# TYPE a_gauge gauge
a_gauge{l=\"x\\\"y\\\\z\\n\"} -1
a_gauge{l=\"\"} 0.30000000000000004
# HELP b_total All.
# TYPE b_total counter
b_total 9007199254740992
# HELP c_processed Odd.
# TYPE c_processed counter
c_processed 1500000000000000000000
# HELP d_usec Times.
# TYPE d_usec histogram
d_usec_bucket{cmd=\"get\",le=\"+Inf\"} +Inf
d_usec_sum{cmd=\"get\"} NaN
";
        assert_eq!(write(&samples(), Format::Prometheus), expected);
    }

    #[test]
    fn text_of_open_metrics() {
        let text = write(&samples(), Format::OpenMetrics);
        assert!(text.contains("# HELP a_gauge It \\\"says\\\" a\\\\b.\n"), "{text}");
        assert!(text.contains("# TYPE b counter\nb_total 9007199254740992\n"), "{text}");
        assert!(text.contains("# TYPE c_processed unknown\nc_processed 1"), "{text}");
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn accept_decides_on_the_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            (prometheus, Format::OpenMetrics),
            ("text/plain, application/openmetrics-text;q=0.1", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
        ] {
            assert_eq!(Format::of_accept(accept), expected, "{accept}");
        }
    }
}
