//! Strings that are numbers: INCR and its relatives. Never stores anything but a number.

use rubine_base::number::{LongDouble, parse_i64};
use rubine_structures::record::{RecordRef, ValueMut};
use rubine_structures::value::{Value, ValueRef};

use super::{StringRef, expect_string, store};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(super) const INCR: Command = Command::new("INCR", |cx| increment_by(cx, 1))
    .summary("Adds one to the integer under a key; a missing key counts as 0.")
    .syntax("key")
    .complexity("O(1)")
    .arity(2)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE");

pub(super) const DECR: Command = Command::new("DECR", |cx| increment_by(cx, -1))
    .summary("Subtracts one from the integer under a key; a missing key counts as 0.")
    .syntax("key")
    .complexity("O(1)")
    .arity(2)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE");

pub(super) const INCRBY: Command =
    Command::new("INCRBY", |cx| increment_by(cx, cx.args.integer(2)?))
        .summary("Adds a number to the integer under a key; a missing key counts as 0.")
        .syntax("key increment")
        .complexity("O(1)")
        .arity(3)
        .writes()
        .denies_oom()
        .fast()
        .key("RW ACCESS UPDATE");

pub(super) const DECRBY: Command = Command::new("DECRBY", decrby)
    .summary("Subtracts a number from the integer under a key; a missing key counts as 0.")
    .syntax("key decrement")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE");

fn decrby(cx: &mut Context<'_, '_>) -> CommandResult {
    let Some(increment) = cx.args.integer(2)?.checked_neg() else {
        return Err(CommandError::text("ERR decrement would overflow"));
    };
    increment_by(cx, increment)
}

fn increment_by(cx: &mut Context<'_, '_>, increment: i64) -> CommandResult {
    let key = cx.key(1);
    let sum = if let Some(mut record) = cx.keys.find_mut(key) {
        let old = integer_of(record.get())?;
        let Some(sum) = old.checked_add(increment) else { return Err(CommandError::Overflow) };
        if let ValueMut::Int(number) = record.value_mut() {
            *number = sum;
        } else {
            record.set_value(Value::Int(sum));
        }
        sum
    } else {
        store(cx, key, Value::Int(increment), None);
        increment
    };
    cx.touched(key, Event::INCRBY);
    cx.reply.integer(sum);
    Ok(())
}

/// The integer that a string reads as.
fn integer_of(record: RecordRef<'_>) -> Result<i64, CommandError> {
    match expect_string(record)? {
        StringRef(ValueRef::Int(number)) => Ok(number),
        StringRef(ValueRef::Bytes { bytes, .. }) => {
            parse_i64(bytes).ok_or(CommandError::NotInteger)
        }
        _ => Err(CommandError::NotInteger),
    }
}

pub(super) const INCRBYFLOAT: Command = Command::new("INCRBYFLOAT", incrbyfloat)
    .summary("Adds a number to the floating-point number under a key; a missing key counts as 0.")
    .syntax("key increment")
    .since("2.6.0")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE");

fn incrbyfloat(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let old = match cx.keys.find_to_write(key) {
        Some(record) => float_of(&expect_string(record)?.text())?,
        None => LongDouble::ZERO,
    };
    let sum = old + float_of(cx.args.at(2))?;
    if sum.is_nan() || sum.is_infinite() {
        return Err(CommandError::NanOrInfinity);
    }
    let mut text = Vec::new();
    sum.write_human(&mut text);

    // A text even where it reads as an integer, as Redis reports it.
    if let Some(mut record) = cx.keys.find_mut_again(key) {
        record.set_value(Value::text(&text));
    } else {
        store(cx, key, Value::text(&text), None);
    }
    cx.touched(key, Event::INCRBYFLOAT);
    cx.reply.bulk(&text);
    cx.replicate(&[b"SET", key.bytes(), &text, b"KEEPTTL"]);
    Ok(())
}

fn float_of(text: &[u8]) -> Result<LongDouble, CommandError> {
    LongDouble::parse(text).ok_or(CommandError::NotFloat)
}
