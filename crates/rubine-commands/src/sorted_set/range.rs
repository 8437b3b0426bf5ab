//! ZRANGE and its older names: elements between two ends, in either direction. Never changes a set.

use std::ops::Range;

use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetEncoding};

use super::elements::{Layout, write_range};
use super::find;
use super::interval::{By, Interval};
use crate::args::{ArgCursor, Args};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

const LIMIT_OF_RANKS: CommandError = CommandError::text(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
);
const SCORES_OF_LEX: CommandError =
    CommandError::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX");

pub(super) const ZRANGE: Command = Command::new("ZRANGE", |cx| reply(cx, None, None))
    .summary("Returns the members in a range of ranks, scores or the alphabet.")
    .syntax("key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]")
    .since("1.2.0")
    .complexity("O(log(N)+M) with N the number of members and M the number of those returned.")
    .arity(-4)
    .reads()
    .key("RO ACCESS");

pub(super) const ZREVRANGE: Command =
    Command::new("ZREVRANGE", |cx| reply(cx, Some(By::Rank), Some(Direction::Descending)))
        .summary("Returns the members in a range of ranks, from the highest score down.")
        .syntax("key start stop [WITHSCORES]")
        .since("1.2.0")
        .complexity("O(log(N)+M) with N the number of members and M the number of those returned.")
        .arity(-4)
        .reads()
        .key("RO ACCESS");

pub(super) const ZRANGEBYSCORE: Command =
    Command::new("ZRANGEBYSCORE", |cx| reply(cx, Some(By::Score), Some(Direction::Ascending)))
        .summary("Returns the members whose score is in a range.")
        .syntax("key min max [WITHSCORES] [LIMIT offset count]")
        .since("1.0.5")
        .complexity("O(log(N)+M) with N the number of members and M the number of those returned.")
        .arity(-4)
        .reads()
        .key("RO ACCESS");

pub(super) const ZREVRANGEBYSCORE: Command =
    Command::new("ZREVRANGEBYSCORE", |cx| reply(cx, Some(By::Score), Some(Direction::Descending)))
        .summary("Returns the members whose score is in a range, from the highest score down.")
        .syntax("key max min [WITHSCORES] [LIMIT offset count]")
        .since("2.2.0")
        .complexity("O(log(N)+M) with N the number of members and M the number of those returned.")
        .arity(-4)
        .reads()
        .key("RO ACCESS");

pub(super) const ZRANGEBYLEX: Command =
    Command::new("ZRANGEBYLEX", |cx| reply(cx, Some(By::Member), Some(Direction::Ascending)))
        .summary("Returns the members in a range of the alphabet, where all scores are equal.")
        .syntax("key min max [LIMIT offset count]")
        .since("2.8.9")
        .complexity("O(log(N)+M) with N the number of members and M the number of those returned.")
        .arity(-4)
        .reads()
        .key("RO ACCESS");

pub(super) const ZREVRANGEBYLEX: Command =
    Command::new("ZREVRANGEBYLEX", |cx| reply(cx, Some(By::Member), Some(Direction::Descending)))
        .summary(
            "Returns the members in a range of the alphabet backwards, where all scores are equal.",
        )
        .syntax("key max min [LIMIT offset count]")
        .since("2.8.9")
        .complexity("O(log(N)+M) with N the number of members and M the number of those returned.")
        .arity(-4)
        .reads()
        .key("RO ACCESS");

fn reply(cx: &mut Context<'_, '_>, by: Option<By>, direction: Option<Direction>) -> CommandResult {
    let wanted = Wanted::parse(cx.args, 2, by, direction, Use::Reply)?;
    let layout = Layout::of(wanted.with_scores, cx.reply.protocol());
    let key = cx.key(1);
    match find(&mut cx.keys, key)? {
        Some(set) => {
            write_range(&mut cx.reply, set, wanted.ranks(set), wanted.direction, layout);
        }
        None => cx.reply.array(0),
    }
    Ok(())
}

/// What becomes of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Reply,
    Store,
}

/// The range that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    interval: Interval<'a>,
    pub(super) direction: Direction,
    with_scores: bool,
    offset: i64,
    /// Negative for all.
    count_max: i64,
}

impl<'a> Wanted<'a> {
    /// Reads both ends, of which the first is argument number `at`, and the options that neither `by` nor `direction`
    /// settle.
    pub(super) fn parse(
        args: Args<'a>,
        at: usize,
        by: Option<By>,
        direction: Option<Direction>,
        usage: Use,
    ) -> Result<Self, CommandError> {
        let (mut chosen_by, mut chosen_direction) = (by, direction);
        let (mut with_scores, mut offset, mut count_max) = (false, 0, -1);
        let mut options: ArgCursor<'a> = args.options(at + 2);
        while !options.is_at_end() {
            if usage == Use::Reply && options.keyword("WITHSCORES") {
                with_scores = true;
            } else if 3 <= options.remaining() && options.keyword("LIMIT") {
                (offset, count_max) = (options.integer()?, options.integer()?);
            } else if chosen_direction.is_none() && options.keyword("REV") {
                chosen_direction = Some(Direction::Descending);
            } else if chosen_by.is_none() && options.keyword("BYLEX") {
                chosen_by = Some(By::Member);
            } else if chosen_by.is_none() && options.keyword("BYSCORE") {
                chosen_by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let by = chosen_by.unwrap_or(By::Rank);
        let direction = chosen_direction.unwrap_or(Direction::Ascending);
        if by == By::Rank && count_max != -1 {
            return Err(LIMIT_OF_RANKS);
        }
        if by == By::Member && with_scores {
            return Err(SCORES_OF_LEX);
        }
        let (mut low, mut high) = (args.at(at), args.at(at + 1));
        if by != By::Rank && direction == Direction::Descending {
            (low, high) = (high, low);
        }
        let interval = Interval::parse(by, low, high)?;
        if by == By::Rank {
            offset = 0;
        }
        Ok(Self { interval, direction, with_scores, offset, count_max })
    }

    /// The ranks of the elements, in ascending order whatever the direction.
    pub(super) fn ranks(&self, set: &SortedSet) -> Range<u64> {
        let all = self.interval.ranks(set, self.direction);
        let len = all.end - all.start;
        let Some(skipped) = self.skipped(set, len) else { return 0..0 };
        let count_max = u64::try_from(self.count_max).unwrap_or(u64::MAX);
        let count = (len - skipped).min(count_max);
        match self.direction {
            Direction::Ascending => all.start + skipped..all.start + skipped + count,
            Direction::Descending => all.end - skipped - count..all.end - skipped,
        }
    }

    /// How many of `len` elements come before the first; `None` if there is none. As in Redis, a negative offset counts
    /// from the other end of a large set, and finds nothing in a small one.
    fn skipped(&self, set: &SortedSet, len: u64) -> Option<u64> {
        match u64::try_from(self.offset) {
            Ok(offset) => Some(offset.min(len)),
            Err(_) if set.encoding() == SortedSetEncoding::Skiplist => {
                len.checked_sub(self.offset.unsigned_abs())
            }
            Err(_) => None,
        }
    }
}
