//! Text into steps. Knows the format and nothing of servers.

use std::ops::Range;
use std::time::Duration;

use super::{ADVANCE_MAX, Action, Expectation, Order, ParseError, Peer, Step, Transcript};
use crate::target::Version;
use crate::words;

pub(super) fn parse(name: &str, text: &str) -> Result<Transcript, ParseError> {
    let lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    let mut parser =
        Parser { lines: &lines, next: 0, only: None, order: Order::Exact, steps: Vec::new() };
    while parser.next < lines.len() {
        let line_index = parser.next;
        parser.line().map_err(|what| ParseError {
            name: name.to_owned(),
            line: line_index + 1,
            what,
        })?;
    }
    let steps = parser.steps;
    Ok(Transcript { name: name.to_owned(), lines, steps })
}

struct Parser<'a> {
    lines: &'a [String],
    next: usize,
    only: Option<Peer>,
    order: Order,
    steps: Vec<Step>,
}

impl Parser<'_> {
    fn line(&mut self) -> Result<(), String> {
        let line_index = self.next;
        let line = &self.lines[line_index];
        self.next += 1;
        let action = if line.is_empty() || line.starts_with('#') {
            return Ok(());
        } else if let Some(request) = line.strip_prefix("> ") {
            let args = words::split(request).map_err(|_| "unbalanced quotes")?;
            Action::Request { args, expected: self.expectation()? }
        } else if line == "<" {
            Action::Arrival { expected: self.expectation()? }
        } else if let Some(directive) = line.strip_prefix('@') {
            match self.directive(directive)? {
                Some(action) => action,
                None => return Ok(()),
            }
        } else {
            return Err("neither a request (`> `) nor a directive, and no request stands above it"
                .to_owned());
        };
        self.steps.push(Step { line_index, only: self.only.clone(), action });
        Ok(())
    }

    /// The action of a directive, if it is one; the others change how the following lines are read.
    fn directive(&mut self, directive: &str) -> Result<Option<Action>, String> {
        let (name, rest) = directive.split_once(' ').unwrap_or((directive, ""));
        let rest = rest.trim();
        Ok(Some(match name {
            "advance" => Action::Advance(duration(rest)?),
            "resp" if rest == "2" || rest == "3" => Action::Resp(rest.to_owned()),
            "client" if !rest.is_empty() => Action::Client(rest.to_owned()),
            "fresh" if rest.is_empty() => Action::Fresh,
            "config" => {
                let (name, value) = rest
                    .strip_prefix("set ")
                    .and_then(|rest| rest.split_once(' '))
                    .ok_or("expected `@config set NAME VALUE`")?;
                let value = value.trim().trim_matches('"');
                Action::Configure { name: name.to_owned(), value: value.to_owned() }
            }
            "only" => {
                self.only = Some(peer_with_reason(rest)?);
                return Ok(None);
            }
            "end" if self.only.is_some() => {
                self.only = None;
                return Ok(None);
            }
            "unordered" => {
                self.order = match rest {
                    "" => Order::Any,
                    "pairs" => Order::AnyPairs,
                    _ => return Err("expected `@unordered` or `@unordered pairs`".to_owned()),
                };
                return Ok(None);
            }
            _ => return Err(format!("unknown or incomplete directive `@{directive}`")),
        }))
    }

    fn expectation(&mut self) -> Result<Expectation, String> {
        let lines = self.reply_lines();
        let mut differs = Vec::new();
        while let Some(rest) =
            self.lines.get(self.next).and_then(|line| line.strip_prefix("@differs "))
        {
            let peer = peer_with_reason(rest)?;
            self.next += 1;
            differs.push((peer, self.reply_lines()));
        }
        let order = std::mem::replace(&mut self.order, Order::Exact);
        Ok(Expectation { lines, differs, order })
    }

    fn reply_lines(&mut self) -> Range<usize> {
        let start = self.next;
        while self.lines.get(self.next).is_some_and(|line| is_reply(line)) {
            self.next += 1;
        }
        start..self.next
    }
}

fn is_reply(line: &str) -> bool {
    let starts_something_else =
        line.starts_with("> ") || line == "<" || line.starts_with('@') || line.starts_with('#');
    !line.is_empty() && (line.starts_with("@match ") || !starts_something_else)
}

fn duration(text: &str) -> Result<Duration, String> {
    let number = |digits: &str| digits.trim().parse::<u64>().ok();
    let duration = if let Some(digits) = text.strip_suffix("ms") {
        number(digits).map(Duration::from_millis)
    } else {
        text.strip_suffix('s').and_then(number).map(Duration::from_secs)
    };
    match duration {
        None => Err("expected a time such as `1500ms` or `2s`".to_owned()),
        Some(duration) if duration > ADVANCE_MAX => Err(format!(
            "more than {ADVANCE_MAX:?}, which a run against a real server would have to wait"
        )),
        Some(duration) => Ok(duration),
    }
}

/// `NAME [VERSION] REASON`. The reason is for the reader, and required.
fn peer_with_reason(text: &str) -> Result<Peer, String> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !["rubine", "valkey", "redis"].contains(&name) {
        return Err(format!("`{name}` is none of rubine, valkey, redis"));
    }
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let (since, reason) = match Version::parse(first) {
        Some(version) => (version, after),
        None => (Version([0; 3]), rest),
    };
    if reason.trim().is_empty() {
        return Err("a reason is missing".to_owned());
    }
    Ok(Peer { name: name.to_owned(), since })
}
