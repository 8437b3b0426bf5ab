//! Commands that look fields up: HGET, HMGET, HEXISTS, HLEN, HSTRLEN and HSCAN. Never changes a hash.

use rubine_base::number::parse_u64_loosely;
use rubine_resp::writer::Reply;
use rubine_structures::trie::Element;

use super::{Sight, find};
use crate::command::Command;
use crate::context::Context;
use crate::element_scan::{ElementScan, Extra};
use crate::error::{CommandError, CommandResult};

pub(super) const HGET: Command = Command::new("HGET", hget)
    .summary("Returns the value of a field.")
    .syntax("key field")
    .since("2.0.0")
    .complexity("O(1)")
    .arity(3)
    .reads()
    .fast()
    .key("RO ACCESS")
    .members(2, 1);

fn hget(cx: &mut Context<'_, '_>) -> CommandResult {
    let sight = Sight::of(cx);
    let hash = find(&mut cx.keys, cx.args.key(1))?;
    let element = hash.and_then(|hash| sight.get(hash, cx.args.at(2)));
    write_value_or_null(&mut cx.reply, element);
    Ok(())
}

/// Writes the value of a field; a long one by reference.
#[inline]
pub(super) fn write_value(reply: &mut Reply<'_>, element: Element<'_>) {
    match element.shared_value {
        Some(value) => reply.shared(value),
        None => reply.bulk(element.value),
    }
}

/// Writes the value of a field, or that there is none.
#[inline]
pub(super) fn write_value_or_null(reply: &mut Reply<'_>, element: Option<Element<'_>>) {
    match element {
        Some(element) => write_value(reply, element),
        None => reply.null(),
    }
}

pub(super) const HMGET: Command = Command::new("HMGET", hmget)
    .summary("Returns the values of several fields.")
    .syntax("key field [field ...]")
    .since("2.0.0")
    .complexity("O(N) with N the number of fields asked for.")
    .arity(-3)
    .reads()
    .fast()
    .key("RO ACCESS")
    .members(2, 1);

fn hmget(cx: &mut Context<'_, '_>) -> CommandResult {
    let sight = Sight::of(cx);
    let hash = find(&mut cx.keys, cx.args.key(1))?;
    cx.reply.array(cx.args.len() - 2);
    for field in cx.args.from(2) {
        let element = hash.and_then(|hash| sight.get(hash, field));
        write_value_or_null(&mut cx.reply, element);
    }
    Ok(())
}

pub(super) const HEXISTS: Command = Command::new("HEXISTS", hexists)
    .summary("Tells whether a hash has a field.")
    .syntax("key field")
    .since("2.0.0")
    .complexity("O(1)")
    .arity(3)
    .reads()
    .fast()
    .key("RO")
    .members(2, 1);

fn hexists(cx: &mut Context<'_, '_>) -> CommandResult {
    let sight = Sight::of(cx);
    let hash = find(&mut cx.keys, cx.args.key(1))?;
    let found = hash.is_some_and(|hash| sight.get(hash, cx.args.at(2)).is_some());
    cx.reply.integer(i64::from(found));
    Ok(())
}

pub(super) const HLEN: Command = Command::new("HLEN", hlen)
    .summary("Returns the number of fields, with those that are due and not removed yet.")
    .syntax("key")
    .since("2.0.0")
    .complexity("O(1)")
    .arity(2)
    .reads()
    .fast()
    .key("RO");

fn hlen(cx: &mut Context<'_, '_>) -> CommandResult {
    let hash = find(&mut cx.keys, cx.args.key(1))?;
    cx.reply.integer(hash.map_or(0, |hash| hash.len() as i64));
    Ok(())
}

pub(super) const HSTRLEN: Command = Command::new("HSTRLEN", hstrlen)
    .summary("Returns the length of a field's value, 0 if there is none.")
    .syntax("key field")
    .since("3.2.0")
    .complexity("O(1)")
    .arity(3)
    .reads()
    .fast()
    .key("RO")
    .members(2, 1);

fn hstrlen(cx: &mut Context<'_, '_>) -> CommandResult {
    let sight = Sight::of(cx);
    let hash = find(&mut cx.keys, cx.args.key(1))?;
    let element = hash.and_then(|hash| sight.get(hash, cx.args.at(2)));
    cx.reply.integer(element.map_or(0, |element| element.value.len() as i64));
    Ok(())
}

pub(super) const HSCAN: Command = Command::new("HSCAN", hscan)
    .summary("Returns some fields of a hash and the cursor with which the next call goes on.")
    .syntax("key cursor [MATCH pattern] [COUNT count] [NOVALUES]")
    .since("2.8.0")
    .complexity("O(1) for every call, O(N) for all of a hash, with N the number of its fields.")
    .tips("nondeterministic_output")
    .arity(-3)
    .reads()
    .key("RO ACCESS");

fn hscan(cx: &mut Context<'_, '_>) -> CommandResult {
    let cursor = parse_u64_loosely(cx.args.at(2)).ok_or(CommandError::InvalidCursor)?;
    let sight = Sight::of(cx);
    let Some(hash) = find(&mut cx.keys, cx.args.key(1))? else {
        // Nothing is said about wrong options then, as in Redis.
        cx.reply.array(2);
        cx.reply.bulk(b"0");
        cx.reply.array(0);
        return Ok(());
    };
    let options = ElementScan::parse(cx.args, Extra::Values)?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, |element| {
        if options.matches(element.key) && sight.sees(element) {
            found.push(element);
        }
    });
    cx.reply.array(2);
    cx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    cx.reply.array(if options.with_values { 2 * found.len() } else { found.len() });
    for element in found {
        cx.reply.bulk(element.key);
        if options.with_values {
            write_value(&mut cx.reply, element);
        }
    }
    Ok(())
}
