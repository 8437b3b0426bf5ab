//! Expressions over metrics: a part of the language that Prometheus has, with its precedence. Holds no values.
//!
//! ```text
//! or          = and { "or" and }
//! and         = comparison { ("and" | "unless") comparison }
//! comparison  = sum { ("==" | "!=" | "<" | "<=" | ">" | ">=") sum }
//! sum         = product { ("+" | "-") product }
//! product     = unary { ("*" | "/" | "%") unary }
//! unary       = "-" unary | primary
//! primary     = number | "(" or ")" | "time" "(" ")" | "abs" "(" or ")" | "absent" "(" selector ")"
//!             | ("rate" | "increase" | "min_over_time" | "max_over_time" | "avg_over_time") "(" selector "[" duration "]" ")"
//!             | ("sum" | "min" | "max" | "avg" | "count") [ "by" "(" label { "," label } ")" ] "(" or ")"
//!             | selector
//! selector    = metric [ "{" [ label ("=" | "!=" | "=~" | "!~") string { "," ... } ] "}" ]
//! ```

mod error;
mod evaluate;
mod lexer;
mod parser;
mod window;

use crate::labels::Matcher;

pub use error::ParseError;
pub use evaluate::{EvaluationError, Evaluator};

/// An expression longer than this is refused.
const TEXT_BYTES_MAX: usize = 4096;
/// So is one with more parts than this, or parts within parts deeper than this.
const NODES_MAX: usize = 256;
const DEPTH_MAX: usize = 32;
/// No window is longer: a day.
const WINDOW_MS_MAX: u64 = 86_400_000;

/// An expression that has been understood.
#[derive(Clone, Debug)]
pub struct Expression {
    /// As it was written.
    text: String,
    root: Node,
    /// How many windows it has.
    window_count: usize,
}

impl Expression {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text)
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Every metric that it looks at, in the order of its text.
    pub fn metrics(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.root.for_each_selector(&mut |it| {
            if !names.contains(&it.metric.as_str()) {
                names.push(it.metric.as_str());
            }
        });
        names
    }
}

#[derive(Clone, Debug)]
enum Node {
    Number(f64),
    Time,
    Selector(Selector),
    /// `absent(..)`: one series if the selector has none. Its lack is an answer, so it is never a lack of data.
    Absent(Selector),
    /// What happened in a stretch of time; `index` is that of its window.
    Window {
        function: WindowFunction,
        selector: Selector,
        window_ms: u64,
        index: usize,
    },
    Aggregate {
        function: Aggregation,
        by: Vec<String>,
        of: Box<Node>,
    },
    Negative(Box<Node>),
    Absolute(Box<Node>),
    Binary {
        operator: Operator,
        left: Box<Node>,
        right: Box<Node>,
    },
}

impl Node {
    fn for_each_selector<'a>(&'a self, visit: &mut dyn FnMut(&'a Selector)) {
        match self {
            Self::Number(_) | Self::Time => {}
            Self::Selector(selector) | Self::Absent(selector) | Self::Window { selector, .. } => {
                visit(selector);
            }
            Self::Aggregate { of, .. } | Self::Negative(of) | Self::Absolute(of) => {
                of.for_each_selector(visit);
            }
            Self::Binary { left, right, .. } => {
                left.for_each_selector(visit);
                right.for_each_selector(visit);
            }
        }
    }
}

/// Series of one metric.
#[derive(Clone, Debug)]
struct Selector {
    metric: String,
    matchers: Vec<Matcher>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WindowFunction {
    /// How much a counter has grown.
    Increase,
    /// The same by second.
    Rate,
    Min,
    Max,
    Average,
}

impl WindowFunction {
    const NAMES: [(&'static str, Self); 5] = [
        ("increase", Self::Increase),
        ("rate", Self::Rate),
        ("min_over_time", Self::Min),
        ("max_over_time", Self::Max),
        ("avg_over_time", Self::Average),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregation {
    Sum,
    Min,
    Max,
    Average,
    Count,
}

impl Aggregation {
    const NAMES: [(&'static str, Self); 5] = [
        ("sum", Self::Sum),
        ("min", Self::Min),
        ("max", Self::Max),
        ("avg", Self::Average),
        ("count", Self::Count),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Unless,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// Those of each precedence, the weakest first.
    const LEVELS: [&'static [(&'static str, Self)]; 5] = [
        &[("or", Self::Or)],
        &[("and", Self::And), ("unless", Self::Unless)],
        &[
            ("==", Self::Equal),
            ("!=", Self::NotEqual),
            ("<=", Self::LessOrEqual),
            (">=", Self::GreaterOrEqual),
            ("<", Self::Less),
            (">", Self::Greater),
        ],
        &[("+", Self::Add), ("-", Self::Subtract)],
        &[("*", Self::Multiply), ("/", Self::Divide), ("%", Self::Remainder)],
    ];

    /// What it says of two numbers, if it is a comparison.
    fn compares(self, left: f64, right: f64) -> Option<bool> {
        Some(match self {
            #[expect(clippy::float_cmp, reason = "who writes == means it")]
            Self::Equal => left == right,
            #[expect(clippy::float_cmp, reason = "who writes != means it")]
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => right < left,
            Self::GreaterOrEqual => right <= left,
            _ => return None,
        })
    }

    fn is_of_sets(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    fn is_comparison(self) -> bool {
        self.compares(0.0, 0.0).is_some()
    }
}

#[cfg(test)]
mod tests;
