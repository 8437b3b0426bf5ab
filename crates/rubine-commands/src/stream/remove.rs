//! XDEL and XSETID: entries removed one by one, and what is told of a stream's past.

use rubine_structures::stream::StreamId;

use super::{find_mut, known, parse_id};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(super) const XDEL: Command = Command::new("XDEL", xdel)
    .summary("Removes entries from a stream.")
    .syntax("key id [id ...]")
    .since("5.0.0")
    .complexity("O(log(N)) for each entry, with N the number of entries in the stream.")
    .arity(-3)
    .writes()
    .fast()
    .key("RW DELETE");

fn xdel(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    if find_mut(&mut cx.keys, key)?.is_none() {
        cx.reply.integer(0);
        return Ok(());
    }
    let ids = parse_ids(cx.args, 2, cx.args.len())?;
    let stream = known(&mut cx.keys, key);
    let removed = ids.into_iter().filter(|&id| stream.remove(id)).count();
    if 0 < removed {
        cx.touched(key, Event::XDEL);
        cx.keys.add_dirty(removed as u64 - 1);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

/// The arguments from `start` to before `end` as identifiers.
pub(super) fn parse_ids(
    args: Args<'_>,
    start: usize,
    end: usize,
) -> Result<Vec<StreamId>, CommandError> {
    (start..end).map(|index| parse_id(args.at(index), 0)).collect()
}

const BELOW_DELETED_GIVEN: CommandError = CommandError::text(
    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
);
const BELOW_DELETED: CommandError = CommandError::text(
    "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
);
const BELOW_TOP: CommandError =
    CommandError::text("ERR The ID specified in XSETID is smaller than the target stream top item");
const ADDED_NEGATIVE: CommandError = CommandError::text("ERR entries_added must be positive");
const ADDED_BELOW_LEN: CommandError = CommandError::text(
    "ERR The entries_added specified in XSETID is smaller than the target stream length",
);

pub(super) const XSETID: Command = Command::new("XSETID", xsetid)
    .summary("Sets a stream's last identifier, behind which further entries come.")
    .syntax("key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]")
    .since("5.0.0")
    .complexity("O(1)")
    .arity(-3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW UPDATE");

fn xsetid(cx: &mut Context<'_, '_>) -> CommandResult {
    let id = parse_id(cx.args.at(2), 0)?;
    let (mut entries_added, mut max_deleted_id) = (None, StreamId::MIN);
    let mut options = cx.args.options(3);
    while !options.is_at_end() {
        if options.remaining() < 2 {
            return Err(CommandError::Syntax);
        } else if options.keyword("ENTRIESADDED") {
            let count = u64::try_from(options.integer()?).map_err(|_| ADDED_NEGATIVE)?;
            entries_added = Some(count);
        } else if options.keyword("MAXDELETEDID") {
            max_deleted_id = parse_id(options.required()?, 0)?;
            if id < max_deleted_id {
                return Err(BELOW_DELETED_GIVEN);
            }
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let key = cx.key(1);
    let stream = find_mut(&mut cx.keys, key)?.ok_or(CommandError::NoSuchKey)?;
    if id < stream.max_deleted_id() {
        return Err(BELOW_DELETED);
    }
    if stream.last_entry().is_some_and(|top| id < top.id) {
        return Err(BELOW_TOP);
    }
    let len = stream.len();
    if 0 < len && entries_added.is_some_and(|it| it < len) {
        return Err(ADDED_BELOW_LEN);
    }
    stream.set_last_id(id);
    if let Some(count) = entries_added {
        stream.set_entries_added(count);
    }
    if !max_deleted_id.is_zero() {
        stream.set_max_deleted_id(max_deleted_id);
    }
    cx.keys.add_dirty(1);
    cx.notify(key, Event::XSETID);
    cx.reply.ok();
    Ok(())
}
