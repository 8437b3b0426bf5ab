//! LPOP, RPOP, LMPOP and the forms of them that wait. Never moves an element to another list.

use rubine_keyspace::Key;
use rubine_structures::list::End;

use super::{chunk_limit, discard, find_mut, note_popped, parse_end, range};
use crate::command::Command;
use crate::context::{Context, Nothing};
use crate::error::{CommandError, CommandResult};
use crate::pop_source::PopSource;

pub(super) const LPOP: Command = Command::new("LPOP", |cx| pop(cx, End::Front))
    .summary(
        "Takes the first element of a list, or the first few. A list without elements is removed.",
    )
    .syntax("key [count]")
    .complexity("O(N) with N the number of elements returned.")
    .arity(-2)
    .writes()
    .fast()
    .key("RW ACCESS DELETE");

pub(super) const RPOP: Command = Command::new("RPOP", |cx| pop(cx, End::Back))
    .summary(
        "Takes the last element of a list, or the last few. A list without elements is removed.",
    )
    .syntax("key [count]")
    .complexity("O(N) with N the number of elements returned.")
    .arity(-2)
    .writes()
    .fast()
    .key("RW ACCESS DELETE");

#[inline]
fn pop(cx: &mut Context<'_, '_>, end: End) -> CommandResult {
    match cx.args.len() {
        2 => pop_one(cx, end),
        3 => pop_some(cx, end),
        _ => {
            let name = String::from_utf8_lossy(cx.args.at(0)).to_lowercase();
            Err(CommandError::Arity(name))
        }
    }
}

#[inline]
fn pop_one(cx: &mut Context<'_, '_>, end: End) -> CommandResult {
    let key = cx.key(1);
    let limit = chunk_limit(cx.limits);
    let Some(list) = find_mut(&mut cx.keys, key)? else {
        cx.reply.null();
        return Ok(());
    };
    cx.reply.bulk(list.item_at(end).expect("no key holds an empty list"));
    list.drop_item(end, limit);
    let is_emptied = list.is_empty();
    note_popped(cx, key, end, 1, is_emptied);
    Ok(())
}

fn pop_some(cx: &mut Context<'_, '_>, end: End) -> CommandResult {
    let count_max = cx.args.count(2).ok_or(CommandError::NotPositive)?;
    let key = cx.key(1);
    if find_mut(&mut cx.keys, key)?.is_none() {
        cx.reply.null_array();
    } else if count_max == 0 {
        cx.reply.array(0);
    } else {
        pop_range(cx, key, end, count_max)?;
    }
    Ok(())
}

/// Takes up to `count_max` elements and replies with them. Returns how many there were; nothing is replied if none.
fn pop_range(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    end: End,
    count_max: usize,
) -> Result<usize, CommandError> {
    let limit = chunk_limit(cx.limits);
    let Some(list) = find_mut(&mut cx.keys, key)? else { return Ok(0) };
    let count = list.len().min(count_max);
    let range = match end {
        End::Front => 0..count,
        End::Back => list.len() - count..list.len(),
    };
    range::reply(&mut cx.reply, list, range.clone(), end);
    let is_emptied = count == list.len();
    // A list that goes altogether goes with its key, to be freed elsewhere.
    if !is_emptied {
        let rest = range::remove(list, range, limit);
        discard(cx, rest);
    }
    note_popped(cx, key, end, count, is_emptied);
    Ok(count)
}

pub(super) const LMPOP: Command = Command::new("LMPOP", lmpop)
    .summary("Takes elements from one end of the first list that there is among several keys.")
    .syntax("numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
    .since("7.0.0")
    .complexity("O(N+M) with N the number of keys and M the number of elements returned.")
    .arity(-4)
    .writes()
    .keys_counted(1, "RW ACCESS DELETE");

fn lmpop(cx: &mut Context<'_, '_>) -> CommandResult {
    let source = PopSource::parse(cx.args, 1, parse_end)?;
    if !pop_first(cx, &source)? {
        cx.reply.null_array();
    }
    Ok(())
}

pub(super) const BLMPOP: Command = Command::new("BLMPOP", blmpop)
    .summary("Takes elements from one end of the first list among several keys; waits for one if there is none.")
    .syntax("timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
    .since("7.0.0")
    .complexity("O(N+M) with N the number of keys and M the number of elements returned.")
    .arity(-5)
    .writes()
    .blocks()
    .keys_counted(2, "RW ACCESS DELETE");

fn blmpop(cx: &mut Context<'_, '_>) -> CommandResult {
    let source = PopSource::parse(cx.args, 2, parse_end)?;
    let deadline = cx.args.deadline(1, cx.now)?;
    if pop_first(cx, &source)? {
        return Ok(());
    }
    cx.wait_for(source.keys, deadline, Nothing::NullArray)
}

/// Pops from the first key that there is and replies with its name and the elements; false if there is none.
fn pop_first(cx: &mut Context<'_, '_>, source: &PopSource<End>) -> Result<bool, CommandError> {
    for index in source.keys.clone() {
        let key = cx.key(index);
        if find_mut(&mut cx.keys, key)?.is_none() {
            continue;
        }
        cx.reply.array(2);
        cx.reply.bulk(key.bytes());
        let count = pop_range(cx, key, source.end, source.count_max)?;
        cx.replicate(&[pop_name(source.end), key.bytes(), count.to_string().as_bytes()]);
        return Ok(true);
    }
    Ok(false)
}

/// The command that pops from `end` without waiting.
fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

pub(super) const BLPOP: Command = Command::new("BLPOP", |cx| pop_or_wait(cx, End::Front))
    .summary("Takes the first element of the first list among several keys; waits for one if there is none.")
    .syntax("key [key ...] timeout")
    .since("2.0.0")
    .complexity("O(N) with N the number of keys.")
    .arity(-3)
    .writes()
    .blocks()
    .key_range(1, -2, 1, "RW ACCESS DELETE");

pub(super) const BRPOP: Command = Command::new("BRPOP", |cx| pop_or_wait(cx, End::Back))
    .summary("Takes the last element of the first list among several keys; waits for one if there is none.")
    .syntax("key [key ...] timeout")
    .since("2.0.0")
    .complexity("O(N) with N the number of keys.")
    .arity(-3)
    .writes()
    .blocks()
    .key_range(1, -2, 1, "RW ACCESS DELETE");

fn pop_or_wait(cx: &mut Context<'_, '_>, end: End) -> CommandResult {
    let timeout_index = cx.args.len() - 1;
    let deadline = cx.args.deadline(timeout_index, cx.now)?;
    let limit = chunk_limit(cx.limits);
    for index in 1..timeout_index {
        let key = cx.key(index);
        let Some(list) = find_mut(&mut cx.keys, key)? else { continue };
        cx.reply.array(2);
        cx.reply.bulk(key.bytes());
        cx.reply.bulk(list.item_at(end).expect("no key holds an empty list"));
        list.drop_item(end, limit);
        let is_emptied = list.is_empty();
        note_popped(cx, key, end, 1, is_emptied);
        cx.replicate(&[pop_name(end), key.bytes()]);
        return Ok(());
    }
    cx.wait_for(1..timeout_index, deadline, Nothing::NullArray)
}
