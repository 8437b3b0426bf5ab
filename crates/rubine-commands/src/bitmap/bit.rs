//! Commands on one bit: SETBIT, GETBIT. Neither looks at more of a long string than the byte that the bit is in.

use rubine_base::number::parse_i64;
use rubine_structures::bitmap::{bit, set_bit};

use super::{bit_offset, create};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::string::expect_string;
use crate::string::part::{edit_within, is_raw};

pub(super) const SETBIT: Command = Command::new("SETBIT", setbit)
    .summary("Sets or clears a bit of the string under a key, and returns what it was.")
    .syntax("key offset value")
    .since("2.2.0")
    .complexity("O(1), but for what a string grows by.")
    .arity(4)
    .writes()
    .denies_oom()
    .key("RW ACCESS UPDATE");

fn setbit(cx: &mut Context<'_, '_>) -> CommandResult {
    let offset = bit_offset(cx, 2, None)?;
    let is_on = match parse_i64(cx.args.at(3)) {
        Some(value @ 0..=1) => value == 1,
        _ => return Err(CommandError::text("ERR bit is not an integer or out of range")),
    };
    let key = cx.key(1);
    let len = (offset / 8) as usize + 1;

    let Some(record) = cx.keys.find_mut(key) else {
        create(cx, key, len, |bytes| set_bit(bytes, offset, is_on))?;
        cx.touched(key, Event::SETBIT);
        cx.reply.integer(0);
        return Ok(());
    };
    let string = expect_string(record.get())?;
    let was_on = bit(&string.text(), offset);
    let is_change = was_on != is_on || string.len() < len;
    // A string that a bit was set in is reported as edited, whatever the bit was.
    if is_change || !is_raw(&record) {
        edit_within(record, len, |bytes| set_bit(bytes, offset, is_on))?;
    }
    if is_change {
        cx.touched(key, Event::SETBIT);
    }
    cx.reply.integer(i64::from(was_on));
    Ok(())
}

pub(super) const GETBIT: Command = Command::new("GETBIT", getbit)
    .summary("Returns a bit of the string under a key.")
    .syntax("key offset")
    .since("2.2.0")
    .complexity("O(1)")
    .arity(3)
    .reads()
    .fast()
    .key("RO ACCESS");

fn getbit(cx: &mut Context<'_, '_>) -> CommandResult {
    let offset = bit_offset(cx, 2, None)?;
    let string = cx.keys.find(cx.key(1)).map(expect_string).transpose()?;
    let is_on = string.is_some_and(|string| bit(&string.text(), offset));
    cx.reply.integer(i64::from(is_on));
    Ok(())
}
