//! Commands that look members up: ZSCORE, ZMSCORE, ZCARD, ZRANK, ZREVRANK and ZSCAN. Never changes a set.

use rubine_base::number::{DoubleText, parse_u64_loosely};
use rubine_structures::sorted_set::{Direction, SortedSetEncoding};

use super::find;
use crate::command::Command;
use crate::context::Context;
use crate::element_scan::{ElementScan, Extra};
use crate::error::{CommandError, CommandResult};

pub(super) const ZSCORE: Command = Command::new("ZSCORE", zscore)
    .summary("Returns the score of a member.")
    .syntax("key member")
    .since("1.2.0")
    .complexity("O(1)")
    .arity(3)
    .reads()
    .fast()
    .key("RO ACCESS")
    .members(2, 1);

fn zscore(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let set = find(&mut cx.keys, key)?;
    match set.and_then(|set| set.score(cx.args.at(2))) {
        Some(score) => cx.reply.double(score),
        None => cx.reply.null(),
    }
    Ok(())
}

pub(super) const ZMSCORE: Command = Command::new("ZMSCORE", zmscore)
    .summary("Returns the scores of several members.")
    .syntax("key member [member ...]")
    .since("6.2.0")
    .complexity("O(N) with N the number of members asked for.")
    .arity(-3)
    .reads()
    .fast()
    .key("RO ACCESS")
    .members(2, 1);

fn zmscore(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let set = find(&mut cx.keys, key)?;
    cx.reply.array(cx.args.len() - 2);
    for member in cx.args.from(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => cx.reply.double(score),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

pub(super) const ZCARD: Command = Command::new("ZCARD", zcard)
    .summary("Returns the number of members.")
    .syntax("key")
    .since("1.2.0")
    .complexity("O(1)")
    .arity(2)
    .reads()
    .fast()
    .key("RO");

fn zcard(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let count = find(&mut cx.keys, key)?.map_or(0, |set| set.len() as i64);
    cx.reply.integer(count);
    Ok(())
}

pub(super) const ZRANK: Command = Command::new("ZRANK", |cx| rank(cx, Direction::Ascending))
    .summary("Returns how many members stand before one, from the lowest score up.")
    .syntax("key member [WITHSCORE]")
    .since("2.0.0")
    .complexity("O(log(N)) with N the number of members.")
    .arity(-3)
    .reads()
    .fast()
    .key("RO ACCESS")
    .members(2, 2);

pub(super) const ZREVRANK: Command = Command::new("ZREVRANK", |cx| rank(cx, Direction::Descending))
    .summary("Returns how many members stand before one, from the highest score down.")
    .syntax("key member [WITHSCORE]")
    .since("2.0.0")
    .complexity("O(log(N)) with N the number of members.")
    .arity(-3)
    .reads()
    .fast()
    .key("RO ACCESS")
    .members(2, 2);

fn rank(cx: &mut Context<'_, '_>, direction: Direction) -> CommandResult {
    if 4 < cx.args.len() {
        let name = String::from_utf8_lossy(cx.args.at(0)).to_lowercase();
        return Err(CommandError::Arity(name));
    }
    let mut options = cx.args.options(3);
    let with_score = options.keyword("WITHSCORE");
    options.expect_end()?;
    let key = cx.key(1);
    let set = find(&mut cx.keys, key)?;
    let found = set.and_then(|set| {
        let (rank, score) = set.rank(cx.args.at(2))?;
        let rank = match direction {
            Direction::Ascending => rank,
            Direction::Descending => set.len() - 1 - rank,
        };
        Some((rank as i64, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            cx.reply.array(2);
            cx.reply.integer(rank);
            cx.reply.double(score);
        }
        Some((rank, _)) => cx.reply.integer(rank),
        None if with_score => cx.reply.null_array(),
        None => cx.reply.null(),
    }
    Ok(())
}

pub(super) const ZSCAN: Command = Command::new("ZSCAN", zscan)
    .summary(
        "Returns some members with their scores, and the cursor with which the next call goes on.",
    )
    .syntax("key cursor [MATCH pattern] [COUNT count] [NOSCORES]")
    .since("2.8.0")
    .complexity("O(1) for every call, O(N) for all of a set, with N the number of its members.")
    .tips("nondeterministic_output")
    .arity(-3)
    .reads()
    .key("RO ACCESS");

fn zscan(cx: &mut Context<'_, '_>) -> CommandResult {
    let cursor = parse_u64_loosely(cx.args.at(2)).ok_or(CommandError::InvalidCursor)?;
    let key = cx.key(1);
    let Some(set) = find(&mut cx.keys, key)? else {
        // Nothing is said about wrong options then, as in Redis.
        cx.reply.array(2);
        cx.reply.bulk(b"0");
        cx.reply.array(0);
        return Ok(());
    };
    let options = ElementScan::parse(cx.args, Extra::Scores)?;
    let mut found: Vec<(Vec<u8>, f64)> = Vec::new();
    let next = set.scan(cursor, options.count, |member, score| {
        if options.matches(member) {
            found.push((member.to_vec(), score));
        }
    });
    let is_listpack = set.encoding() == SortedSetEncoding::Listpack;
    cx.reply.array(2);
    cx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    cx.reply.array(if options.with_values { 2 * found.len() } else { found.len() });
    for (member, score) in found {
        cx.reply.bulk(&member);
        if options.with_values && is_listpack {
            cx.reply.bulk(DoubleText::of(score).as_bytes());
        } else if options.with_values {
            cx.reply.bulk(long_text(score).as_bytes());
        }
    }
    Ok(())
}

/// A score with 17 digits, as ZSCAN has always written those of large sets: C's `%.17g`.
fn long_text(score: f64) -> String {
    const DIGITS: i32 = 17;
    if !score.is_finite() || score == 0.0 {
        let text = DoubleText::of(score);
        return String::from_utf8_lossy(text.as_bytes()).into_owned();
    }
    let text = format!("{score:.16e}");
    let (digits, exponent) = text.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the format has a number behind the e");
    let without_zeros = |digits: &str| match digits.split_once('.') {
        Some(_) => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => digits.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        without_zeros(&format!("{score:.*}", (DIGITS - 1 - exponent) as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", without_zeros(digits), exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::long_text;

    #[test]
    fn long_texts_have_17_digits() {
        let cases = [
            (0.1, "0.10000000000000001"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (3.3, "3.2999999999999998"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::INFINITY, "inf"),
            (-0.0, "-0"),
        ];
        for (score, expected) in cases {
            assert_eq!(long_text(score), expected, "{score}");
        }
    }
}
