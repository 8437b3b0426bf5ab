//! Labels of series and alerts, and conditions on them. Knows no metric.

use std::collections::BTreeMap;

use regex_lite::{Regex, RegexBuilder};

/// Names and values, by name.
pub type Labels = BTreeMap<String, String>;

/// A regular expression that is compiled takes no more memory than this.
const REGEX_BYTES_MAX: usize = 64 << 10;

/// A condition on one label. A label that is not there has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub label: String,
    test: Test,
    value: String,
}

#[derive(Clone, Debug)]
enum Test {
    Equal,
    NotEqual,
    /// The whole value fits.
    Fits(Regex),
    FitsNot(Regex),
}

/// The operators, the longer ones first.
const OPERATORS: [&str; 4] = ["=~", "!~", "!=", "="];

impl Matcher {
    /// The condition that `operator` makes: `=`, `!=`, `=~` or `!~`.
    pub fn new(label: &str, operator: &str, value: &str) -> Result<Self, String> {
        if !is_label_name(label) {
            return Err(format!("'{label}' is no name of a label"));
        }
        let regex = || {
            let whole = format!("^(?:{value})$");
            let built = RegexBuilder::new(&whole).size_limit(REGEX_BYTES_MAX).build();
            built.map_err(|_| format!("'{value}' is no regular expression, or too large a one"))
        };
        let test = match operator {
            "=" => Test::Equal,
            "!=" => Test::NotEqual,
            "=~" => Test::Fits(regex()?),
            "!~" => Test::FitsNot(regex()?),
            _ => return Err(format!("'{operator}' compares no label")),
        };
        Ok(Self { label: label.to_owned(), test, value: value.to_owned() })
    }

    /// Reads `label=value`, with any of the operators. The value may stand in double quotes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = text
            .find(['=', '!'])
            .ok_or_else(|| format!("'{text}' has no operator: label=value"))?;
        let (label, rest) = text.split_at(at);
        let operator = OPERATORS.into_iter().find(|it| rest.starts_with(it));
        let operator = operator.ok_or_else(|| format!("'{text}' has no operator: label=value"))?;
        let value = &rest[operator.len()..];
        let bare = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
        Self::new(label, operator, bare)
    }

    /// Whether a value of the label meets it.
    pub fn meets(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal => value == self.value,
            Test::NotEqual => value != self.value,
            Test::Fits(regex) => regex.is_match(value),
            Test::FitsNot(regex) => !regex.is_match(value),
        }
    }

    /// Whether labels meet it.
    pub fn meets_labels(&self, labels: &Labels) -> bool {
        self.meets(labels.get(&self.label).map_or("", String::as_str))
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let operator = match &self.test {
            Test::Equal => "=",
            Test::NotEqual => "!=",
            Test::Fits(_) => "=~",
            Test::FitsNot(_) => "!~",
        };
        write!(f, "{}{operator}\"{}\"", self.label, self.value)
    }
}

/// Whether a label may be called so.
pub(crate) fn is_label_name(name: &str) -> bool {
    let is_first = |it: u8| it.is_ascii_alphabetic() || it == b'_';
    name.bytes().next().is_some_and(is_first)
        && name.bytes().all(|it| is_first(it) || it.is_ascii_digit())
}

/// The number by which receivers know an alert again: FNV-1a over its labels, as Prometheus makes it.
pub fn fingerprint(labels: &Labels) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    const SEPARATOR: u8 = 255;
    let mut hash = OFFSET;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    for (name, value) in labels {
        name.bytes().chain([SEPARATOR]).for_each(&mut add);
        value.bytes().chain([SEPARATOR]).for_each(&mut add);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{Labels, Matcher, fingerprint};

    #[test]
    fn matchers_read_their_own_text() {
        for (text, meets, meets_not) in [
            ("db=\"db0\"", "db0", "db1"),
            ("db!=\"db0\"", "db1", "db0"),
            ("db=~\"db[0-3]\"", "db3", "db30"),
            ("db!~\"db.*\"", "xdb", "db9"),
            ("db=\"\"", "", "x"),
        ] {
            let matcher = Matcher::parse(text).unwrap();
            assert_eq!(matcher.to_string(), text);
            assert!(matcher.meets(meets) && !matcher.meets(meets_not), "{text}");
        }
        assert!(Matcher::parse("db=db0").unwrap().meets("db0"));
        assert!(
            Matcher::parse("db=db0")
                .unwrap()
                .meets_labels(&Labels::from([("db".into(), "db0".into())]))
        );
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for text in ["", "db", "=x", "d b=x", "1b=x", "db=~(", "db!x"] {
            assert!(Matcher::parse(text).is_err(), "{text}");
        }
        let large = format!("db=~{}", "(a{100}){100}".repeat(10));
        assert!(Matcher::parse(&large).is_err());
    }

    /// The offset basis for no labels is what Prometheus calls the empty fingerprint.
    #[test]
    fn fingerprints_are_those_of_prometheus() {
        assert_eq!(fingerprint(&Labels::new()), 14_695_981_039_346_656_037);
        let one = Labels::from([("name".to_owned(), "garland".to_owned())]);
        let other = Labels::from([("nameg".to_owned(), "arland".to_owned())]);
        assert_ne!(fingerprint(&one), fingerprint(&other));
    }
}
