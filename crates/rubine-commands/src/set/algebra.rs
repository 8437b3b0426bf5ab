//! The intersection, union and difference of sets: as a reply, as a count, or stored. What is replied or counted is
//! computed on handles, after the locks are gone, unless it is little; what is stored is computed on handles as well, and
//! takes its place if these are what the keys hold still.

mod merge;
mod reply;

use std::ops::Range;

use rubine_structures::set::Set;

use super::{find, form_limits, store};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use merge::{Combination, Merge, Operation};

pub(super) const SINTER: Command =
    Command::new("SINTER", |cx| members(cx, Operation::Intersection))
        .summary("Returns the members that several sets have in common.")
        .syntax("key [key ...]")
        .complexity("O(N*M) with N the members of the smallest set and M the number of sets.")
        .tips("nondeterministic_output_order")
        .arity(-2)
        .reads()
        .key_range(1, -1, 1, "RO ACCESS");

pub(super) const SUNION: Command = Command::new("SUNION", |cx| members(cx, Operation::Union))
    .summary("Returns the members that are in any of several sets.")
    .syntax("key [key ...]")
    .complexity("O(N) with N the members of all sets.")
    .tips("nondeterministic_output_order")
    .arity(-2)
    .reads()
    .key_range(1, -1, 1, "RO ACCESS");

pub(super) const SDIFF: Command = Command::new("SDIFF", |cx| members(cx, Operation::Difference))
    .summary("Returns the members of a set that are in none of some others.")
    .syntax("key [key ...]")
    .complexity("O(N) with N the members of all sets.")
    .tips("nondeterministic_output_order")
    .arity(-2)
    .reads()
    .key_range(1, -1, 1, "RO ACCESS");

fn members(cx: &mut Context<'_, '_>, operation: Operation) -> CommandResult {
    let merge = Merge::new(operation, read_sets(cx, 1..cx.args.len())?);
    reply::write_members(&mut cx.reply, merge);
    Ok(())
}

pub(super) const SINTERCARD: Command =
    Command::new("SINTERCARD", |cx| count(cx, Operation::Intersection, Approximation::Refused))
        .summary("Counts the members that several sets have in common.")
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .since("7.0.0")
        .complexity("O(N*M) with N the members of the smallest set and M the number of sets.")
        .arity(-3)
        .reads()
        .keys_counted(1, "RO ACCESS");

pub(super) const SUNIONCARD: Command =
    Command::new("SUNIONCARD", |cx| count(cx, Operation::Union, Approximation::Accepted))
        .summary("Counts the members that are in any of several sets.")
        .syntax("numkeys key [key ...] [APPROX] [LIMIT limit]")
        .since("8.10.0")
        .complexity("O(N) with N the members of all sets.")
        .arity(-3)
        .reads()
        .keys_counted(1, "RO ACCESS");

pub(super) const SDIFFCARD: Command =
    Command::new("SDIFFCARD", |cx| count(cx, Operation::Difference, Approximation::Refused))
        .summary("Counts the members of a set that are in none of some others.")
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .since("8.10.0")
        .complexity("O(N) with N the members of all sets.")
        .arity(-3)
        .reads()
        .keys_counted(1, "RO ACCESS");

fn count(
    cx: &mut Context<'_, '_>,
    operation: Operation,
    approximation: Approximation,
) -> CommandResult {
    let request = CountRequest::parse(cx.args, approximation)?;
    let merge = Merge::new(operation, read_sets(cx, request.keys)?);
    reply::write_count(&mut cx.reply, merge, request.limit);
    Ok(())
}

/// Whether a count may be asked for that is only about right. It is exact all the same: an estimate would save memory
/// that is not used here, and no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Approximation {
    Accepted,
    Refused,
}

/// What a counting command was asked for.
#[derive(Clone, Debug)]
struct CountRequest {
    keys: Range<usize>,
    /// Counting stops there.
    limit: u64,
}

impl CountRequest {
    fn parse(args: Args<'_>, approximation: Approximation) -> Result<Self, CommandError> {
        let count = args.count(1).filter(|&count| 0 < count);
        let count = count.ok_or(CommandError::NumkeysNotPositive)?;
        if args.len() - 2 < count {
            return Err(CommandError::text(
                "ERR Number of keys can't be greater than number of args",
            ));
        }
        let keys = 2..2 + count;
        let mut limit = 0;
        let mut options = args.options(keys.end);
        while !options.is_at_end() {
            if 2 <= options.remaining() && options.keyword("LIMIT") {
                let negative = CommandError::text("ERR LIMIT can't be negative");
                limit = options.count().ok_or(negative)? as u64;
            } else if approximation != Approximation::Accepted || !options.keyword("APPROX") {
                return Err(CommandError::Syntax);
            }
        }
        Ok(Self { keys, limit: if limit == 0 { u64::MAX } else { limit } })
    }
}

pub(super) const SINTERSTORE: Command =
    Command::new("SINTERSTORE", |cx| store_result(cx, Operation::Intersection, Event::SINTERSTORE))
        .summary("Stores the members that several sets have in common. Returns how many they are.")
        .syntax("destination key [key ...]")
        .complexity("O(N*M) with N the members of the smallest set and M the number of sets.")
        .arity(-3)
        .writes()
        .denies_oom()
        .key_at(1, "OW UPDATE")
        .key_range(2, -1, 1, "RO ACCESS");

pub(super) const SUNIONSTORE: Command =
    Command::new("SUNIONSTORE", |cx| store_result(cx, Operation::Union, Event::SUNIONSTORE))
        .summary("Stores the members that are in any of several sets. Returns how many they are.")
        .syntax("destination key [key ...]")
        .complexity("O(N) with N the members of all sets.")
        .arity(-3)
        .writes()
        .denies_oom()
        .key_at(1, "OW UPDATE")
        .key_range(2, -1, 1, "RO ACCESS");

pub(super) const SDIFFSTORE: Command = Command::new("SDIFFSTORE", |cx| {
    store_result(cx, Operation::Difference, Event::SDIFFSTORE)
})
.summary("Stores the members of a set that are in none of some others. Returns how many they are.")
.syntax("destination key [key ...]")
.complexity("O(N) with N the members of all sets.")
.arity(-3)
.writes()
.denies_oom()
.key_at(1, "OW UPDATE")
.key_range(2, -1, 1, "RO ACCESS");

fn store_result(cx: &mut Context<'_, '_>, operation: Operation, event: Event) -> CommandResult {
    let destination = cx.key(1);
    let sets = read_sets(cx, 2..cx.args.len())?;
    let combination = Combination { operation, sets, limits: form_limits(cx.limits) };
    let Some(result) = cx.compute(combination) else { return Ok(()) };
    let count = result.len();
    if 0 < count {
        store(cx, destination, result);
        cx.touched(destination, event);
    } else if cx.keys.remove(destination) {
        cx.touched(destination, Event::DEL);
    }
    cx.reply.integer(count as i64);
    Ok(())
}

/// Handles of the sets under the keys with these argument numbers; `None` where there is nothing. An error if there is
/// something else under any.
fn read_sets(
    cx: &mut Context<'_, '_>,
    keys: Range<usize>,
) -> Result<Vec<Option<Set>>, CommandError> {
    let args = cx.args;
    keys.map(|index| Ok(find(&mut cx.keys, args.key(index))?.cloned())).collect()
}
