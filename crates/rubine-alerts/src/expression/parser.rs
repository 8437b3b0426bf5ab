//! From words to an expression. What is wrong is told with its place; depth and size are bounded.

use super::error::ParseError;
use super::lexer::{Token, TokenKind, tokens};
use super::{
    Aggregation, DEPTH_MAX, Expression, NODES_MAX, Node, Operator, Selector, TEXT_BYTES_MAX,
    WINDOW_MS_MAX, WindowFunction,
};
use crate::duration::parse_duration;
use crate::labels::Matcher;

pub(super) fn parse(text: &str) -> Result<Expression, ParseError> {
    if TEXT_BYTES_MAX < text.len() {
        let reason = format!("an expression has {TEXT_BYTES_MAX} bytes at most");
        return Err(ParseError { position: 1, reason });
    }
    let in_characters = |error: ParseError| ParseError {
        position: 1 + text[..error.position].chars().count(),
        reason: error.reason,
    };
    let tokens = tokens(text).map_err(in_characters)?;
    let mut parser = Parser { tokens: &tokens, at: 0, nodes: 0, depth: 0, windows: 0 };
    let root = parser.whole().map_err(in_characters)?;
    Ok(Expression { text: text.to_owned(), root, window_count: parser.windows })
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    nodes: usize,
    depth: usize,
    windows: usize,
}

type Parsed = Result<Node, ParseError>;

impl Parser<'_> {
    fn whole(&mut self) -> Parsed {
        let root = self.binary(0)?;
        match &self.next().kind {
            TokenKind::End => Ok(root),
            _ => Err(self.wrong("an operator or the end")),
        }
    }

    /// Operators of a level and those that bind more strongly; each level reads from left to right.
    fn binary(&mut self, level: usize) -> Parsed {
        let Some(operators) = Operator::LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(operators) {
            let right = self.binary(level + 1)?;
            left = self.node(Node::Binary { operator, left: left.into(), right: right.into() })?;
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[(&str, Operator)]) -> Option<Operator> {
        let found = operators.iter().find(|(text, _)| match &self.next().kind {
            TokenKind::Name(name) => name.eq_ignore_ascii_case(text),
            TokenKind::Sign(sign) => sign == text,
            _ => false,
        });
        let (_, operator) = found?;
        self.at += 1;
        Some(*operator)
    }

    fn unary(&mut self) -> Parsed {
        if DEPTH_MAX <= self.depth {
            let reason = format!("parts stand within parts more than {DEPTH_MAX} deep");
            return Err(ParseError::new(self.next().at, reason));
        }
        self.depth += 1;
        let parsed = if self.takes("-") {
            let of = self.unary()?;
            self.node(Node::Negative(of.into()))
        } else {
            self.primary()
        };
        self.depth -= 1;
        parsed
    }

    fn primary(&mut self) -> Parsed {
        let token = self.next().clone();
        match token.kind {
            TokenKind::Number(text) => {
                let number = text.parse::<f64>().ok().filter(|it| it.is_finite());
                let number = number
                    .ok_or_else(|| ParseError::new(token.at, format!("'{text}' is no number")))?;
                self.at += 1;
                self.node(Node::Number(number))
            }
            TokenKind::Sign("(") => {
                self.at += 1;
                let inner = self.binary(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            TokenKind::Name(name) => {
                self.at += 1;
                self.named(&name, token.at)
            }
            _ => Err(self.wrong("a metric, a number or a bracket")),
        }
    }

    /// What a name begins: a function, if a bracket follows, or a selector.
    fn named(&mut self, name: &str, at: usize) -> Parsed {
        let is_by =
            matches!(&self.next().kind, TokenKind::Name(it) if it.eq_ignore_ascii_case("by"));
        if !is_by && self.next().kind != TokenKind::Sign("(") {
            let selector = self.selector(name.to_owned())?;
            if self.next().kind == TokenKind::Sign("[") {
                let reason = "a window needs a function such as rate or increase around it";
                return Err(ParseError::new(self.next().at, reason.to_owned()));
            }
            return self.node(Node::Selector(selector));
        }
        if let Some((_, function)) = Aggregation::NAMES.into_iter().find(|it| it.0 == name) {
            return self.aggregate(function);
        }
        if is_by {
            return Err(ParseError::new(at, format!("'{name}' does not go by labels")));
        }
        self.at += 1;
        let windows = WindowFunction::NAMES.into_iter().find(|it| it.0 == name);
        let node = match (name, windows) {
            (_, Some((_, function))) => self.window(function)?,
            ("time", _) => Node::Time,
            ("abs", _) => Node::Absolute(self.binary(0)?.into()),
            ("absent", _) => Node::Absent(self.plain_selector()?),
            _ => return Err(ParseError::new(at, format!("there is no function '{name}'"))),
        };
        self.expect(")")?;
        self.node(node)
    }

    fn aggregate(&mut self, function: Aggregation) -> Parsed {
        let mut by = self.labels_to_go_by()?;
        self.expect("(")?;
        let of = self.binary(0)?;
        self.expect(")")?;
        if by.is_empty() {
            by = self.labels_to_go_by()?;
        }
        self.node(Node::Aggregate { function, by, of: of.into() })
    }

    /// `by (label, ..)`, which may stand before or behind what is added up.
    fn labels_to_go_by(&mut self) -> Result<Vec<String>, ParseError> {
        let mut labels = Vec::new();
        if self.operator(&[("by", Operator::Or)]).is_none() {
            return Ok(labels);
        }
        self.expect("(")?;
        loop {
            labels.push(self.name("the name of a label")?);
            if !self.takes(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(labels)
    }

    fn window(&mut self, function: WindowFunction) -> Parsed {
        let selector = self.plain_selector()?;
        self.expect("[")?;
        let token = self.next().clone();
        let millis = match &token.kind {
            TokenKind::Number(text) => parse_duration(text),
            _ => None,
        };
        let window_ms = millis.filter(|it| (1..=WINDOW_MS_MAX).contains(it)).ok_or_else(|| {
            ParseError::new(token.at, "a window is a time of up to a day, such as 5m".to_owned())
        })?;
        self.at += 1;
        self.expect("]")?;
        let index = self.windows;
        self.windows += 1;
        Ok(Node::Window { function, selector, window_ms, index })
    }

    fn plain_selector(&mut self) -> Result<Selector, ParseError> {
        let name = self.name("the name of a metric")?;
        self.selector(name)
    }

    fn selector(&mut self, metric: String) -> Result<Selector, ParseError> {
        let mut matchers = Vec::new();
        if self.takes("{") {
            while self.next().kind != TokenKind::Sign("}") {
                matchers.push(self.matcher()?);
                if !self.takes(",") {
                    break;
                }
            }
            self.expect("}")?;
        }
        Ok(Selector { metric, matchers })
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let at = self.next().at;
        let label = self.name("the name of a label")?;
        let TokenKind::Sign(operator @ ("=" | "!=" | "=~" | "!~")) = self.next().kind else {
            return Err(self.wrong("=, !=, =~ or !~"));
        };
        self.at += 1;
        let TokenKind::Text(value) = self.next().kind.clone() else {
            return Err(self.wrong("a text in quotes"));
        };
        self.at += 1;
        self.count()?;
        Matcher::new(&label, operator, &value).map_err(|reason| ParseError::new(at, reason))
    }

    fn name(&mut self, what: &str) -> Result<String, ParseError> {
        match self.next().kind.clone() {
            TokenKind::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.wrong(what)),
        }
    }

    /// The last word is the end, which nobody goes past.
    fn next(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.next().kind, TokenKind::Sign(it) if it == sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.takes(sign) { Ok(()) } else { Err(self.wrong(&format!("'{sign}'"))) }
    }

    fn node(&mut self, node: Node) -> Parsed {
        self.count()?;
        Ok(node)
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.nodes += 1;
        if NODES_MAX < self.nodes {
            let reason = format!("an expression has {NODES_MAX} parts at most");
            return Err(ParseError::new(self.next().at, reason));
        }
        Ok(())
    }

    fn wrong(&self, expected: &str) -> ParseError {
        let token = self.next();
        let found = match &token.kind {
            TokenKind::Name(text) | TokenKind::Number(text) => format!("'{text}'"),
            TokenKind::Text(text) => format!("\"{text}\""),
            TokenKind::Sign(sign) => format!("'{sign}'"),
            TokenKind::End => "the end".to_owned(),
        };
        ParseError::new(token.at, format!("expected {expected}, found {found}"))
    }
}
