//! XRANGE, XREVRANGE and XLEN: what a stream holds. Never changes one.

use rubine_structures::stream::{Direction, Stream};

use super::entries::{Wanted, write_range};
use super::{find, parse_end, parse_start};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

pub(super) const XLEN: Command = Command::new("XLEN", xlen)
    .summary("Returns the number of entries in a stream.")
    .syntax("key")
    .since("5.0.0")
    .complexity("O(1)")
    .arity(2)
    .reads()
    .fast()
    .key("RO");

fn xlen(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let len = find(&mut cx.keys, key)?.map_or(0, Stream::len);
    cx.reply.integer(len as i64);
    Ok(())
}

pub(super) const XRANGE: Command = Command::new("XRANGE", |cx| range(cx, Direction::Ascending))
    .summary("Returns the entries in a range of identifiers.")
    .syntax("key start end [COUNT count]")
    .since("5.0.0")
    .complexity("O(log(N)+M) with N the number of entries and M the number of those returned.")
    .arity(-4)
    .reads()
    .key("RO ACCESS");

pub(super) const XREVRANGE: Command =
    Command::new("XREVRANGE", |cx| range(cx, Direction::Descending))
        .summary("Returns the entries in a range of identifiers, from the highest down.")
        .syntax("key end start [COUNT count]")
        .since("5.0.0")
        .complexity("O(log(N)+M) with N the number of entries and M the number of those returned.")
        .arity(-4)
        .reads()
        .key("RO ACCESS");

fn range(cx: &mut Context<'_, '_>, direction: Direction) -> CommandResult {
    let (start, end) = match direction {
        Direction::Ascending => (cx.args.at(2), cx.args.at(3)),
        Direction::Descending => (cx.args.at(3), cx.args.at(2)),
    };
    let (start, end) = (parse_start(start)?, parse_end(end)?);
    let mut count_max = u64::MAX;
    let mut options = cx.args.options(4);
    while !options.is_at_end() {
        if options.remaining() < 2 || !options.keyword("COUNT") {
            return Err(CommandError::Syntax);
        }
        count_max = options.integer()?.max(0) as u64;
    }
    let key = cx.key(1);
    match find(&mut cx.keys, key)? {
        None => cx.reply.array(0),
        Some(_) if count_max == 0 => cx.reply.null_array(),
        Some(stream) => {
            write_range(&mut cx.reply, stream, Wanted { start, end, direction, count_max });
        }
    }
    Ok(())
}
