//! LPUSH, RPUSH, and their forms that want an existing list. Never looks at what is already in the list.

use rubine_structures::list::End;

use super::{push_event, push_items};
use crate::command::Command;
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const LPUSH: Command = Command::new("LPUSH", |cx| push(cx, End::Front))
    .summary("Puts elements in front of a list, the last argument foremost; makes a list if there is none.")
    .syntax("key element [element ...]")
    .complexity("O(N) with N the number of elements added.")
    .arity(-3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT");

pub(super) const RPUSH: Command = Command::new("RPUSH", |cx| push(cx, End::Back))
    .summary("Puts elements behind a list; makes a list if there is none.")
    .syntax("key element [element ...]")
    .complexity("O(N) with N the number of elements added.")
    .arity(-3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT");

#[inline]
fn push(cx: &mut Context<'_, '_>, end: End) -> CommandResult {
    let key = cx.key(1);
    let items = cx.args.from(2);
    let count = items.len();
    let len = push_items(cx, key, end, items)?;
    cx.touched(key, push_event(end));
    cx.keys.add_dirty(count as u64 - 1);
    cx.reply.integer(len as i64);
    Ok(())
}

pub(super) const LPUSHX: Command = Command::new("LPUSHX", |cx| push_if_exists(cx, End::Front))
    .summary("Puts elements in front of a list, but only if it is there.")
    .syntax("key element [element ...]")
    .since("2.2.0")
    .complexity("O(N) with N the number of elements added.")
    .arity(-3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT");

pub(super) const RPUSHX: Command = Command::new("RPUSHX", |cx| push_if_exists(cx, End::Back))
    .summary("Puts elements behind a list, but only if it is there.")
    .syntax("key element [element ...]")
    .since("2.2.0")
    .complexity("O(N) with N the number of elements added.")
    .arity(-3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT");

fn push_if_exists(cx: &mut Context<'_, '_>, end: End) -> CommandResult {
    if cx.keys.contains(cx.key(1)) {
        return push(cx, end);
    }
    cx.reply.integer(0);
    Ok(())
}
