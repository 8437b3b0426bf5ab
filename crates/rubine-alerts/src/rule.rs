//! What a rule is: when it fires, how urgent that is, and in which words it is told. Evaluates nothing.

use crate::expression::Expression;
use crate::labels::Labels;

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// All of them, the least urgent first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word in labels and lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of that name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("'{text}' is none of info, warning and critical"))
    }
}

/// What it means if an expression cannot be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoData {
    /// It is as bad as what the rule looks for: the rule is blind.
    Page,
    /// It is no matter.
    Ok,
}

/// When an alert fires, and how it is told.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    /// Each series that it has is an alert.
    pub expression: Expression,
    /// Once an alert fires, it goes on while this has its series, too: a lower threshold, for hysteresis.
    pub hold: Option<Expression>,
    /// For how long that must be so before the alert fires.
    pub for_ms: u64,
    /// For how long it must not be so before the alert ends.
    pub keep_ms: u64,
    pub severity: Severity,
    pub no_data: NoData,
    pub labels: Labels,
    /// One line, and a longer text. `{{ $value }}` and `{{ $labels.NAME }}` are filled in.
    pub summary: String,
    pub description: String,
}

/// Fills in a text that speaks of a value and of labels. What is no such place stays as it is.
pub(crate) fn fill_in(template: &str, value: f64, labels: &Labels) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        text.push_str(before);
        let Some((place, tail)) = behind.split_once("}}") else {
            text.push_str("{{");
            rest = behind;
            continue;
        };
        let place_name = place.trim();
        if place_name == "$value" {
            text.push_str(&number_text(value));
        } else if let Some(name) = place_name.strip_prefix("$labels.") {
            text.push_str(labels.get(name).map_or("", String::as_str));
        } else {
            text.push_str("{{");
            text.push_str(place);
            text.push_str("}}");
        }
        rest = tail;
    }
    text.push_str(rest);
    text
}

/// A number as people read it: no more digits than tell something.
pub(crate) fn number_text(value: f64) -> String {
    if value.abs() < 1e15 && value.fract() != 0.0 {
        let text = format!("{value:.3}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::{Labels, fill_in};

    #[test]
    fn places_are_filled_in() {
        let labels = Labels::from([("db".to_owned(), "db0".to_owned())]);
        for (template, expected) in [
            ("plain", "plain"),
            ("{{ $value }} % of {{$labels.db}}", "91.235 % of db0"),
            ("{{ $labels.none }}.", "."),
            ("{{ other }} {{ $value", "{{ other }} {{ $value"),
            ("{ $value }", "{ $value }"),
        ] {
            assert_eq!(fill_in(template, 91.234_567, &labels), expected);
        }
        assert_eq!(fill_in("{{ $value }}", 3.0, &labels), "3");
        assert_eq!(fill_in("{{ $value }}", 0.9999, &labels), "1");
    }
}
