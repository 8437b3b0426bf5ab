//! ZREM, ZREMRANGEBY and the plain forms of ZPOP: elements are taken out. Never waits for one.

use std::ops::Range;

use rubine_keyspace::Key;
use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetEncoding, SortedSetLimits};
use rubine_structures::value::Value;

use super::elements::{Layout, write_elements};
use super::interval::{By, Interval};
use super::{find_mut, note_removed};
use crate::command::Command;
use crate::computation::Computation;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(super) const ZREM: Command = Command::new("ZREM", zrem)
    .summary("Removes members. A sorted set without members is removed.")
    .syntax("key member [member ...]")
    .since("1.2.0")
    .complexity("O(M*log(N)) with N the number of members and M the number of those removed.")
    .arity(-3)
    .writes()
    .fast()
    .key("RW DELETE")
    .members(2, 1);

fn zrem(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let Some(set) = find_mut(&mut cx.keys, key)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let removed = cx.args.from(2).filter(|member| set.remove(member)).count() as u64;
    let is_emptied = set.is_empty();
    if 0 < removed {
        note_removed(cx, key, Event::ZREM, removed, is_emptied);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

pub(super) const ZREMRANGEBYRANK: Command =
    Command::new("ZREMRANGEBYRANK", |cx| remove_range(cx, By::Rank, Event::ZREMRANGEBYRANK))
        .summary(
            "Removes the members in a range of ranks. A sorted set without members is removed.",
        )
        .syntax("key start stop")
        .since("2.0.0")
        .complexity("O(log(N)+M) with N the number of members and M the number of those removed.")
        .arity(4)
        .writes()
        .key("RW DELETE");

pub(super) const ZREMRANGEBYSCORE: Command = Command::new("ZREMRANGEBYSCORE", |cx| {
    remove_range(cx, By::Score, Event::ZREMRANGEBYSCORE)
})
.summary("Removes the members whose score is in a range. A sorted set without members is removed.")
.syntax("key min max")
.since("1.2.0")
.complexity("O(log(N)+M) with N the number of members and M the number of those removed.")
.arity(4)
.writes()
.key("RW DELETE");

pub(super) const ZREMRANGEBYLEX: Command = Command::new("ZREMRANGEBYLEX", |cx| {
    remove_range(cx, By::Member, Event::ZREMRANGEBYLEX)
})
.summary("Removes the members in a range of the alphabet. A sorted set without members is removed.")
.syntax("key min max")
.since("2.8.9")
.complexity("O(log(N)+M) with N the number of members and M the number of those removed.")
.arity(4)
.writes()
.key("RW DELETE");

fn remove_range(cx: &mut Context<'_, '_>, by: By, event: Event) -> CommandResult {
    let interval = Interval::parse(by, cx.args.at(2), cx.args.at(3))?;
    let key = cx.key(1);
    let in_place_max = cx.client.steps_at_once_max;
    let Some(set) = find_mut(&mut cx.keys, key)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let ranks = interval.ranks(set, Direction::Ascending);
    let count = ranks.end - ranks.start;
    let is_emptied = count == set.len();
    // A set that goes altogether goes with its key, to be freed elsewhere.
    if !is_emptied && count <= in_place_max {
        set.remove_range(ranks);
    } else if !is_emptied && !remove_elsewhere(cx, key, ranks)? {
        return Ok(());
    }
    if 0 < count {
        note_removed(cx, key, event, count, is_emptied);
    }
    cx.reply.integer(count as i64);
    Ok(())
}

/// Removes many elements, but not all, of the sorted set under `key`: what is left takes its place. `false` if that has
/// to be computed first.
fn remove_elsewhere(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    removed: Range<u64>,
) -> Result<bool, CommandError> {
    let set = find_mut(&mut cx.keys, key)?.expect("the caller found it").clone();
    let Some(rest) = cx.compute(Rest { set, removed }) else { return Ok(false) };
    let set = find_mut(&mut cx.keys, key)?.expect("the caller found it");
    let old = std::mem::replace(set, rest);
    cx.keys.discard(Value::SortedSet(old));
    Ok(true)
}

/// A sorted set without the elements that have some ranks.
struct Rest {
    set: SortedSet,
    removed: Range<u64>,
}

impl Computation for Rest {
    type Output = SortedSet;

    fn steps(&self) -> u64 {
        self.removed.end - self.removed.start
    }

    fn is_same(&self, other: &Self) -> bool {
        self.set.is_same(&other.set)
    }

    fn compute(&self) -> SortedSet {
        let Range { start, end } = self.removed;
        let kept = self.set.len() - (end - start);
        let is_small = self.set.encoding() == SortedSetEncoding::Listpack;
        if is_small || end - start <= kept {
            let mut rest = self.set.clone();
            rest.remove_range(start..end);
            return rest;
        }
        // A set that was large stays so.
        let limits = SortedSetLimits { entries: 0, value_bytes: 0 };
        let ranks = [0..start, end..self.set.len()];
        let runs = ranks.into_iter().map(|it| self.set.iter_range(it, Direction::Ascending));
        SortedSet::from_elements(runs.flatten().collect(), limits)
    }
}

pub(super) const ZPOPMIN: Command = Command::new("ZPOPMIN", |cx| pop(cx, Direction::Ascending))
    .summary("Takes the member with the lowest score, or several. A sorted set without members is removed.")
    .syntax("key [count]")
    .since("5.0.0")
    .complexity("O(log(N)*M) with N the number of members and M the number of those returned.")
    .arity(-2)
    .writes()
    .fast()
    .key("RW ACCESS DELETE");

pub(super) const ZPOPMAX: Command = Command::new("ZPOPMAX", |cx| pop(cx, Direction::Descending))
    .summary("Takes the member with the highest score, or several. A sorted set without members is removed.")
    .syntax("key [count]")
    .since("5.0.0")
    .complexity("O(log(N)*M) with N the number of members and M the number of those returned.")
    .arity(-2)
    .writes()
    .fast()
    .key("RW ACCESS DELETE");

fn pop(cx: &mut Context<'_, '_>, from: Direction) -> CommandResult {
    let (count_max, layout) = match cx.args.len() {
        2 => (1, Layout::Flat),
        3 => {
            let count = cx.args.count(2).ok_or(CommandError::NotPositive)?;
            (count as u64, Layout::of(true, cx.reply.protocol()))
        }
        _ => return Err(CommandError::Syntax),
    };
    let key = cx.key(1);
    let in_place_max = cx.client.steps_at_once_max;
    let len = find_mut(&mut cx.keys, key)?.map_or(0, |set| set.len());
    let count = len.min(count_max);
    layout.write_header(&mut cx.reply, count);
    if in_place_max < count && count < len {
        let set = find_mut(&mut cx.keys, key)?.expect("it was found just now");
        let (ranks, event) = end_of(set, from, count);
        write_elements(&mut cx.reply, set, ranks.clone(), from, layout);
        if remove_elsewhere(cx, key, ranks)? {
            note_removed(cx, key, event, count, false);
        }
    } else if 0 < count {
        take(cx, key, from, count, layout)?;
    }
    Ok(())
}

/// Takes `count` elements, which there are, and writes them. The header is the caller's.
pub(super) fn take(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    from: Direction,
    count: u64,
    layout: Layout,
) -> CommandResult {
    let set = find_mut(&mut cx.keys, key)?.expect("the caller found it");
    let (ranks, event) = end_of(set, from, count);
    write_elements(&mut cx.reply, set, ranks.clone(), from, layout);
    let is_emptied = count == set.len();
    // A set that goes altogether goes with its key, to be freed elsewhere.
    if !is_emptied {
        set.remove_range(ranks);
    }
    note_removed(cx, key, event, count, is_emptied);
    Ok(())
}

/// The ranks of the first elements from one end, and the event of their being taken.
fn end_of(set: &SortedSet, from: Direction, count: u64) -> (Range<u64>, Event) {
    match from {
        Direction::Ascending => (0..count, Event::ZPOPMIN),
        Direction::Descending => (set.len() - count..set.len(), Event::ZPOPMAX),
    }
}
