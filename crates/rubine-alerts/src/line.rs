//! An `alert` line of the configuration: a rule of one's own, or what a built-in rule is to be otherwise.

use crate::builtin::{Tuning, builtins};
use crate::duration::{format_duration, parse_duration};
use crate::expression::Expression;
use crate::labels::{Labels, is_label_name};
use crate::rule::{NoData, Rule, Severity};

/// How long names and texts may be.
const NAME_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 1024;
/// A rule has no more labels of its own.
const LABELS_MAX: usize = 16;

/// Words that end an expression which has no quotes around it.
const OPTIONS: [&str; 10] = [
    "for",
    "keep",
    "severity",
    "hold",
    "nodata",
    "label",
    "summary",
    "description",
    "threshold",
    "off",
];

/// What a line says.
#[derive(Clone, Debug)]
pub enum RuleLine {
    Own(Box<Rule>),
    Tuned { name: &'static str, tuning: Tuning },
}

/// The same is what is written the same.
impl PartialEq for RuleLine {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

impl RuleLine {
    /// Reads what stands behind `alert`: a name, an expression unless the rule is built in, and options.
    pub fn parse(words: &[&[u8]]) -> Result<Self, String> {
        let mut texts = Vec::with_capacity(words.len());
        for word in words {
            let text = std::str::from_utf8(word);
            texts.push(text.map_err(|_| "an alert is written in UTF-8".to_owned())?);
        }
        let Some((name, rest)) = texts.split_first() else {
            return Err(
                "an alert is given as: NAME EXPRESSION for DURATION severity LEVEL".to_owned()
            );
        };
        let is_option = |it: &&str| OPTIONS.iter().any(|option| option.eq_ignore_ascii_case(it));
        let split = rest.iter().position(is_option).unwrap_or(rest.len());
        let (expression, options) = rest.split_at(split);
        let builtin = builtins().iter().find(|it| it.name.eq_ignore_ascii_case(name));
        match (builtin, expression) {
            (Some(builtin), []) => {
                let tuning = tuning(options, builtin.has_threshold())?;
                Ok(Self::Tuned { name: builtin.name, tuning })
            }
            (Some(builtin), _) => {
                Err(format!("'{}' is built in: its expression cannot be set", builtin.name))
            }
            (None, []) => Err(format!("'{name}' is no built-in rule, so it needs an expression")),
            (None, words) => Ok(Self::Own(Box::new(own(name, &words.join(" "), options)?))),
        }
    }

    /// The name of the rule.
    pub fn name(&self) -> &str {
        match self {
            Self::Own(rule) => &rule.name,
            Self::Tuned { name, .. } => name,
        }
    }

    /// The words that [`Self::parse`] makes the same of.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words = vec![self.name().to_owned()];
        let mut put = |name: &str, value: String| words.extend([name.to_owned(), value]);
        match self {
            Self::Tuned { tuning, .. } => {
                if let Some(threshold) = tuning.threshold {
                    put("threshold", threshold.to_string());
                }
                for (name, millis) in [("for", tuning.for_ms), ("keep", tuning.keep_ms)] {
                    if let Some(millis) = millis {
                        put(name, format_duration(millis));
                    }
                }
                if let Some(severity) = tuning.severity {
                    put("severity", severity.name().to_owned());
                }
                if tuning.is_off {
                    words.push("off".to_owned());
                }
            }
            Self::Own(rule) => {
                words.push(rule.expression.text().to_owned());
                words.extend(own_options(rule));
            }
        }
        words.into_iter().map(String::into_bytes).collect()
    }
}

/// The options of a rule of one's own, as words.
fn own_options(rule: &Rule) -> Vec<String> {
    let mut words = Vec::new();
    let mut put = |name: &str, value: String| words.extend([name.to_owned(), value]);
    put("for", format_duration(rule.for_ms));
    put("severity", rule.severity.name().to_owned());
    if rule.keep_ms != 0 {
        put("keep", format_duration(rule.keep_ms));
    }
    if let Some(hold) = &rule.hold {
        put("hold", hold.text().to_owned());
    }
    if rule.no_data == NoData::Ok {
        put("nodata", "ok".to_owned());
    }
    for (name, value) in &rule.labels {
        put("label", format!("{name}={value}"));
    }
    for (name, text) in [("summary", &rule.summary), ("description", &rule.description)] {
        if !text.is_empty() {
            put(name, text.clone());
        }
    }
    words
}

fn tuning(options: &[&str], has_threshold: bool) -> Result<Tuning, String> {
    let mut tuning = Tuning::default();
    for (option, value) in pairs(options)? {
        match option.as_str() {
            "off" => tuning.is_off = true,
            "threshold" if has_threshold => {
                let number = value.parse::<f64>().ok().filter(|it| it.is_finite());
                let number = number.ok_or_else(|| format!("'{value}' is no number"))?;
                tuning.threshold = Some(number);
            }
            "threshold" => return Err("the rule has no threshold".to_owned()),
            "for" => tuning.for_ms = Some(duration(value)?),
            "keep" => tuning.keep_ms = Some(duration(value)?),
            "severity" => tuning.severity = Some(Severity::parse(value)?),
            other => return Err(format!("'{other}' cannot be set of a built-in rule")),
        }
    }
    Ok(tuning)
}

fn own(name: &str, expression: &str, options: &[&str]) -> Result<Rule, String> {
    let is_name = is_label_name(&name.replace([':', '-'], "_")) && name.len() <= NAME_BYTES_MAX;
    if !is_name {
        return Err(format!("'{name}' cannot be the name of a rule: letters, digits and _ only"));
    }
    let mut rule = Rule {
        name: name.to_owned(),
        expression: read(expression)?,
        hold: None,
        for_ms: 0,
        keep_ms: 0,
        severity: Severity::Warning,
        no_data: NoData::Page,
        labels: Labels::new(),
        summary: String::new(),
        description: String::new(),
    };
    for (option, value) in pairs(options)? {
        match option.as_str() {
            "for" => rule.for_ms = duration(value)?,
            "keep" => rule.keep_ms = duration(value)?,
            "severity" => rule.severity = Severity::parse(value)?,
            "hold" => rule.hold = Some(read(value)?),
            "nodata" => {
                rule.no_data = match value.to_ascii_lowercase().as_str() {
                    "page" => NoData::Page,
                    "ok" => NoData::Ok,
                    _ => return Err(format!("'{value}' is none of page and ok")),
                };
            }
            "label" => {
                let (label, value) =
                    value.split_once('=').ok_or("a label is given as name=value")?;
                if !is_label_name(label) || ["alertname", "severity"].contains(&label) {
                    return Err(format!("'{label}' cannot be the name of a label"));
                }
                rule.labels.insert(label.to_owned(), bounded(value)?);
            }
            "summary" => rule.summary = bounded(value)?,
            "description" => rule.description = bounded(value)?,
            other => return Err(format!("'{other}' is an option of built-in rules only")),
        }
    }
    if LABELS_MAX < rule.labels.len() {
        return Err(format!("a rule has {LABELS_MAX} labels at most"));
    }
    Ok(rule)
}

/// Options with their values; `off` has none.
fn pairs<'a>(words: &[&'a str]) -> Result<Vec<(String, &'a str)>, String> {
    let mut pairs: Vec<(String, &str)> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let option = word.to_ascii_lowercase();
        if !OPTIONS.contains(&option.as_str()) {
            return Err(format!("'{word}' is no option of an alert"));
        }
        if option != "label" && pairs.iter().any(|it| it.0 == option) {
            return Err(format!("'{option}' is given twice"));
        }
        let value = if option == "off" { Some(&"") } else { words.next() };
        let value = value.ok_or_else(|| format!("'{option}' needs a value"))?;
        pairs.push((option, value));
    }
    Ok(pairs)
}

fn read(expression: &str) -> Result<Expression, String> {
    Expression::parse(expression).map_err(|error| format!("in '{expression}' {error}"))
}

fn duration(text: &str) -> Result<u64, String> {
    parse_duration(text).ok_or_else(|| format!("'{text}' is no time such as 90s or 5m"))
}

fn bounded(text: &str) -> Result<String, String> {
    if TEXT_BYTES_MAX < text.len() {
        return Err(format!("a text has {TEXT_BYTES_MAX} bytes at most"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::RuleLine;

    fn parse(words: &[&str]) -> Result<RuleLine, String> {
        let words: Vec<&[u8]> = words.iter().map(|it| it.as_bytes()).collect();
        RuleLine::parse(&words)
    }

    fn written(line: &RuleLine) -> Vec<String> {
        line.words().into_iter().map(|it| String::from_utf8(it).unwrap()).collect()
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let split = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        for (words, expected) in [
            (
                "Big|redis_db_keys|>|5|for|90s|severity|Critical",
                "Big|redis_db_keys > 5|for|1m30s|severity|critical",
            ),
            (
                "e|a{b=\"c\"} > 0|SUMMARY|x y|hold|a > -1|nodata|ok|label|team=db|keep|5m",
                "e|a{b=\"c\"} > 0|for|0s|severity|warning|keep|5m|hold|a > -1|nodata|ok|label|team=db|\
                 summary|x y",
            ),
            ("memoryhigh|threshold|80", "MemoryHigh|threshold|80"),
            (
                "MemoryHigh|for|5m|severity|critical|threshold|80.5|keep|1h",
                "MemoryHigh|threshold|80.5|for|5m|keep|1h|severity|critical",
            ),
            ("SaveFailed|OFF", "SaveFailed|off"),
        ] {
            for words in [words, expected] {
                let words = split(words);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                assert_eq!(written(&parse(&words).unwrap()), split(expected));
            }
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (words, expected) in [
            (&[][..], "an alert is given as: NAME EXPRESSION for DURATION severity LEVEL"),
            (&["x"], "'x' is no built-in rule, so it needs an expression"),
            (&["x", "for", "5m"], "'x' is no built-in rule, so it needs an expression"),
            (&["MemoryHigh", "a > 1"], "'MemoryHigh' is built in: its expression cannot be set"),
            (&["SaveFailed", "threshold", "1"], "the rule has no threshold"),
            (&["MemoryHigh", "threshold", "nan"], "'nan' is no number"),
            (&["MemoryHigh", "summary", "x"], "'summary' cannot be set of a built-in rule"),
            (
                &["x", "a >"],
                "in 'a >' at character 4: expected a metric, a number or a bracket, found the end",
            ),
            (&["x", "a", "for"], "'for' needs a value"),
            (&["x", "a", "for", "5x"], "'5x' is no time such as 90s or 5m"),
            (&["x", "a", "for", "5m", "for", "5m"], "'for' is given twice"),
            (&["x", "a", "for", "5m", "speed", "5"], "'speed' is no option of an alert"),
            (&["x", "a", "severity", "page"], "'page' is none of info, warning and critical"),
            (&["x", "a", "label", "alertname=y"], "'alertname' cannot be the name of a label"),
            (&["x", "a", "label", "y"], "a label is given as name=value"),
            (&["x", "a", "off"], "'off' is an option of built-in rules only"),
            (&["x y", "a"], "'x y' cannot be the name of a rule: letters, digits and _ only"),
        ] {
            assert_eq!(parse(words).err().as_deref(), Some(expected), "{words:?}");
        }
    }
}
