//! ZMPOP and the pops that wait: elements are taken from the first sorted set that there is among several keys.

use rubine_structures::sorted_set::Direction;

use super::elements::Layout;
use super::find_mut;
use super::remove::take;
use crate::command::Command;
use crate::context::{Context, Nothing};
use crate::error::{CommandError, CommandResult};
use crate::pop_source::PopSource;

pub(super) const ZMPOP: Command = Command::new("ZMPOP", zmpop)
    .summary("Takes the lowest or highest scores of the first sorted set that there is among several keys.")
    .syntax("numkeys key [key ...] <MIN | MAX> [COUNT count]")
    .since("7.0.0")
    .complexity("O(K+M*log(N)) with K the keys, N the members and M the number of those returned.")
    .arity(-4)
    .writes()
    .keys_counted(1, "RW ACCESS DELETE");

fn zmpop(cx: &mut Context<'_, '_>) -> CommandResult {
    let source = PopSource::parse(cx.args, 1, parse_end)?;
    if !pop_first(cx, &source)? {
        cx.reply.null_array();
    }
    Ok(())
}

pub(super) const BZMPOP: Command = Command::new("BZMPOP", bzmpop)
    .summary("Takes the lowest or highest scores of the first sorted set among several keys; waits for one if there is none.")
    .syntax("timeout numkeys key [key ...] <MIN | MAX> [COUNT count]")
    .since("7.0.0")
    .complexity("O(K+M*log(N)) with K the keys, N the members and M the number of those returned.")
    .arity(-5)
    .writes()
    .blocks()
    .keys_counted(2, "RW ACCESS DELETE");

fn bzmpop(cx: &mut Context<'_, '_>) -> CommandResult {
    let source = PopSource::parse(cx.args, 2, parse_end)?;
    let deadline = cx.args.deadline(1, cx.now)?;
    if pop_first(cx, &source)? {
        return Ok(());
    }
    cx.wait_for(source.keys, deadline, Nothing::NullArray)
}

/// From which end `MIN` or `MAX` takes.
fn parse_end(argument: &[u8]) -> Result<Direction, CommandError> {
    match argument {
        word if word.eq_ignore_ascii_case(b"min") => Ok(Direction::Ascending),
        word if word.eq_ignore_ascii_case(b"max") => Ok(Direction::Descending),
        _ => Err(CommandError::Syntax),
    }
}

/// Pops from the first key that there is and replies with its name and the elements; false if there is none.
fn pop_first(
    cx: &mut Context<'_, '_>,
    source: &PopSource<Direction>,
) -> Result<bool, CommandError> {
    for index in source.keys.clone() {
        let key = cx.key(index);
        let Some(set) = find_mut(&mut cx.keys, key)? else { continue };
        let count = set.len().min(source.count_max as u64);
        cx.reply.array(2);
        cx.reply.bulk(key.bytes());
        Layout::Pairs.write_header(&mut cx.reply, count);
        take(cx, key, source.end, count, Layout::Pairs)?;
        let count = itoa::Buffer::new().format(count).to_owned();
        cx.replicate(&[pop_name(source.end), key.bytes(), count.as_bytes()]);
        return Ok(true);
    }
    Ok(false)
}

/// The command that pops from one key without waiting.
fn pop_name(from: Direction) -> &'static [u8] {
    match from {
        Direction::Ascending => b"ZPOPMIN",
        Direction::Descending => b"ZPOPMAX",
    }
}

pub(super) const BZPOPMIN: Command =
    Command::new("BZPOPMIN", |cx| pop_or_wait(cx, Direction::Ascending))
        .summary("Takes the member with the lowest score of the first sorted set among several keys; waits for one if there is none.")
        .syntax("key [key ...] timeout")
        .since("5.0.0")
        .complexity("O(log(N)) with N the number of members.")
        .arity(-3)
        .writes()
        .fast()
        .blocks()
        .key_range(1, -2, 1, "RW ACCESS DELETE");

pub(super) const BZPOPMAX: Command =
    Command::new("BZPOPMAX", |cx| pop_or_wait(cx, Direction::Descending))
        .summary("Takes the member with the highest score of the first sorted set among several keys; waits for one if there is none.")
        .syntax("key [key ...] timeout")
        .since("5.0.0")
        .complexity("O(log(N)) with N the number of members.")
        .arity(-3)
        .writes()
        .fast()
        .blocks()
        .key_range(1, -2, 1, "RW ACCESS DELETE");

fn pop_or_wait(cx: &mut Context<'_, '_>, from: Direction) -> CommandResult {
    let timeout_index = cx.args.len() - 1;
    let deadline = cx.args.deadline(timeout_index, cx.now)?;
    for index in 1..timeout_index {
        let key = cx.key(index);
        if find_mut(&mut cx.keys, key)?.is_none() {
            continue;
        }
        cx.reply.array(3);
        cx.reply.bulk(key.bytes());
        take(cx, key, from, 1, Layout::Flat)?;
        cx.replicate(&[pop_name(from), key.bytes()]);
        return Ok(());
    }
    cx.wait_for(1..timeout_index, deadline, Nothing::NullArray)
}
