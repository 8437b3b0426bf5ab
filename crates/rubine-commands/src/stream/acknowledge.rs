//! XACK: what was processed is pending no longer.

use super::remove::parse_ids;
use super::{edit_group, find_mut};
use crate::command::Command;
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const XACK: Command = Command::new("XACK", xack)
    .summary("Tells a group that entries were processed, so that they are pending no longer.")
    .syntax("key group id [id ...]")
    .since("5.0.0")
    .complexity("O(log(N)) for each entry, with N the number of those pending.")
    .arity(-4)
    .writes()
    .fast()
    .key("RW UPDATE");

fn xack(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, name) = (cx.key(1), cx.args.at(2));
    let stream = find_mut(&mut cx.keys, key)?;
    if stream.and_then(|it| it.group(name).map(|_| ())).is_none() {
        cx.reply.integer(0);
        return Ok(());
    }
    let ids = parse_ids(cx.args, 3, cx.args.len())?;
    let count = edit_group(cx, key, name, |group| {
        ids.into_iter().filter(|&id| group.acknowledge(id)).count()
    });
    cx.keys.add_dirty(count as u64);
    cx.reply.integer(count as i64);
    Ok(())
}
