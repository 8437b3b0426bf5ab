//! Which elements are meant: by rank, by score or, where all scores are equal, by member; and the commands that count
//! them. Never changes a set.

use std::ops::Range;

use rubine_base::number::parse_i64;
use rubine_structures::sorted_set::{Direction, Position, SortedSet};

use super::find;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

const SCORE_NOT_FLOAT: CommandError = CommandError::text("ERR min or max is not a float");
const NOT_LEX: CommandError = CommandError::text("ERR min or max not valid string range item");

/// What the ends of a range are given as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Rank,
    Score,
    Member,
}

/// Some elements of a sorted set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Interval<'a> {
    /// From the first to the second, both included, both counted from the other end if negative.
    Ranks(i64, i64),
    Between(Edge<'a>, Edge<'a>),
}

/// One end of an interval.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edge<'a> {
    At(Position<'a>),
    /// Before the first element.
    Start,
    /// After the last element.
    End,
}

impl<'a> Interval<'a> {
    /// Reads the lower and the upper end.
    pub(super) fn parse(by: By, low: &'a [u8], high: &'a [u8]) -> Result<Self, CommandError> {
        match by {
            By::Rank => {
                let ranks = parse_i64(low).zip(parse_i64(high));
                let (start, stop) = ranks.ok_or(CommandError::NotInteger)?;
                Ok(Self::Ranks(start, stop))
            }
            By::Score => {
                let (low, low_open) = parse_score(low).ok_or(SCORE_NOT_FLOAT)?;
                let (high, high_open) = parse_score(high).ok_or(SCORE_NOT_FLOAT)?;
                let place = |score, is_after| {
                    let position =
                        if is_after { Position::AfterScore } else { Position::BeforeScore };
                    Edge::At(position(score))
                };
                Ok(Self::Between(place(low, low_open), place(high, !high_open)))
            }
            By::Member => {
                let low = parse_member(low, |is_open| is_open).ok_or(NOT_LEX)?;
                let high = parse_member(high, |is_open| !is_open).ok_or(NOT_LEX)?;
                Ok(Self::Between(low, high))
            }
        }
    }

    /// The ranks that it means in `set`, in ascending order whatever the direction.
    pub(super) fn ranks(self, set: &SortedSet, direction: Direction) -> Range<u64> {
        let len = set.len();
        match self {
            Self::Ranks(start, stop) => {
                let ranks = between(start, stop, len);
                match direction {
                    Direction::Ascending => ranks,
                    Direction::Descending => len - ranks.end..len - ranks.start,
                }
            }
            Self::Between(low, high) => {
                let rank = |edge| match edge {
                    Edge::At(position) => set.count_before(position),
                    Edge::Start => 0,
                    Edge::End => len,
                };
                let start = rank(low);
                start..rank(high).max(start)
            }
        }
    }
}

fn between(start: i64, stop: i64, len: u64) -> Range<u64> {
    let from_start =
        |index: i64| if index < 0 { index.saturating_add_unsigned(len) } else { index };
    let start = u64::try_from(from_start(start)).unwrap_or(0);
    let end = from_start(stop).checked_add(1).map_or(len, |end| u64::try_from(end).unwrap_or(0));
    let end = end.min(len);
    if start < end { start..end } else { 0..0 }
}

/// A score and whether it is itself outside, which a parenthesis says. As in Redis, nothing is zero.
fn parse_score(text: &[u8]) -> Option<(f64, bool)> {
    let (text, is_open) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    if text.is_empty() {
        return Some((0.0, is_open));
    }
    // What is too large is infinite here, and no error as in a score that is to be set.
    let score: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!score.is_nan()).then_some((score, is_open))
}

/// The end of a range of members. `is_after` says, for an open end and a closed one, whether it is after the member.
fn parse_member(text: &[u8], is_after: impl FnOnce(bool) -> bool) -> Option<Edge<'_>> {
    let (member, is_open) = match text {
        b"-" => return Some(Edge::Start),
        b"+" => return Some(Edge::End),
        [b'(', member @ ..] => (member, true),
        [b'[', member @ ..] => (member, false),
        _ => return None,
    };
    let position = if is_after(is_open) { Position::AfterMember } else { Position::BeforeMember };
    Some(Edge::At(position(member)))
}

pub(super) const ZCOUNT: Command = Command::new("ZCOUNT", |cx| count(cx, By::Score))
    .summary("Counts the members whose score is in a range.")
    .syntax("key min max")
    .since("2.0.0")
    .complexity("O(log(N)) with N the number of members.")
    .arity(4)
    .reads()
    .fast()
    .key("RO ACCESS");

pub(super) const ZLEXCOUNT: Command = Command::new("ZLEXCOUNT", |cx| count(cx, By::Member))
    .summary("Counts the members in a range of the alphabet, where all scores are equal.")
    .syntax("key min max")
    .since("2.8.9")
    .complexity("O(log(N)) with N the number of members.")
    .arity(4)
    .reads()
    .fast()
    .key("RO ACCESS");

fn count(cx: &mut Context<'_, '_>, by: By) -> CommandResult {
    let interval = Interval::parse(by, cx.args.at(2), cx.args.at(3))?;
    let key = cx.key(1);
    let set = find(&mut cx.keys, key)?;
    let ranks = set.map_or(0..0, |set| interval.ranks(set, Direction::Ascending));
    cx.reply.integer((ranks.end - ranks.start) as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{between, parse_score};

    #[test]
    fn ranks_count_from_both_ends() {
        let cases = [
            (0, -1, 0..5),
            (1, 3, 1..4),
            (-2, -1, 3..5),
            (-100, 100, 0..5),
            (3, 1, 0..0),
            (5, 9, 0..0),
            (0, -6, 0..0),
            (i64::MIN, i64::MAX, 0..5),
        ];
        for (start, stop, expected) in cases {
            assert_eq!(between(start, stop, 5), expected, "{start} {stop}");
        }
    }

    #[test]
    fn scores_may_be_open() {
        let cases: [(&str, Option<(f64, bool)>); 9] = [
            ("1.5", Some((1.5, false))),
            ("(1.5", Some((1.5, true))),
            ("-inf", Some((f64::NEG_INFINITY, false))),
            ("(+inf", Some((f64::INFINITY, true))),
            ("", Some((0.0, false))),
            ("nan", None),
            ("((1", None),
            ("1x", None),
            ("1e400", Some((f64::INFINITY, false))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_score(text.as_bytes()), expected, "{text}");
        }
    }
}
