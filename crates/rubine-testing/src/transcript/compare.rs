//! Whether a rendered reply is the expected one. Works on text alone.

use super::Order;
use crate::glob;

/// What stands for "no reply yet" and for a closed connection.
pub(super) const NOTHING: &str = "...";
pub(super) const CLOSED: &str = "(closed)";

pub(super) fn accepts(expected: &[String], order: Order, actual: &str) -> bool {
    if let [only] = expected
        && let Some(pattern) = only.strip_prefix("@match ")
    {
        return glob::matches(pattern, actual);
    }
    // A transcript pasted from redis-cli cannot tell the two nulls of RESP2 apart.
    let lenient = actual.replace("(nil array)", "(nil)");
    [actual, &lenient].into_iter().any(|actual| match order {
        Order::Exact => {
            let mut lines = actual.split('\n').map(str::trim_end);
            expected
                .iter()
                .all(|pattern| lines.next().is_some_and(|line| line_matches(pattern, line)))
                && lines.next().is_none()
        }
        Order::Any | Order::AnyPairs => {
            let actual: Vec<String> =
                actual.split('\n').map(|line| line.trim_end().to_owned()).collect();
            sorted(expected, order) == sorted(&actual, order)
        }
    })
}

fn line_matches(expected: &str, line: &str) -> bool {
    match expected.strip_prefix("@match ") {
        Some(pattern) => glob::matches(pattern, line),
        None => expected == line,
    }
}

/// The same reply with its elements sorted at every depth and their indexes taken away.
fn sorted(lines: &[String], order: Order) -> String {
    let Some(width) = lines.first().and_then(|line| index_width(line)) else {
        return lines.join("\n");
    };
    let mut elements: Vec<Vec<String>> = Vec::new();
    for line in lines {
        let is_new = index_width(line) == Some(width);
        let text = line.get(width..).unwrap_or_default().to_owned();
        match elements.last_mut() {
            Some(element) if !is_new => element.push(text),
            _ => elements.push(vec![text]),
        }
    }
    let elements: Vec<String> = elements.iter().map(|element| sorted(element, order)).collect();
    let group_size = if order == Order::AnyPairs { 2 } else { 1 };
    let mut groups: Vec<String> =
        elements.chunks(group_size).map(|group| group.join("\n")).collect();
    groups.sort();
    format!("[{}]", groups.join("\n"))
}

/// The width of `12) ` and the like at the start of a line, if there is one.
fn index_width(line: &str) -> Option<usize> {
    let digits_end = line.find(|c: char| c != ' ' && !c.is_ascii_digit())?;
    let has_digits = line[..digits_end].ends_with(|c: char| c.is_ascii_digit());
    let mark = &line[digits_end..];
    let is_index =
        has_digits && [") ", "~ ", "# ", "> ", "| "].iter().any(|end| mark.starts_with(end));
    is_index.then_some(digits_end + 2)
}
