//! String commands: GET, SET and their relatives. Handlers do no I/O; their keys are already locked.

use rubine_structures::record::{RecordRef, ValueMut};
use rubine_structures::value::{Value, ValueRef};

use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(crate) const COMMANDS: &[Command] = &[DECR, DECRBY, GET, INCR, INCRBY, MGET, MSET, SET];

const GET: Command = Command::new("GET", get)
    .summary("Returns the string under a key.")
    .syntax("key")
    .complexity("O(1)")
    .arity(2)
    .reads()
    .fast()
    .key("RO ACCESS");

fn get(cx: &mut Context<'_, '_>) -> CommandResult {
    let record = cx.keys.find(cx.key(1));
    match record.map(expect_string).transpose()? {
        Some(value) => value.write(&mut cx.reply),
        None => cx.reply.null(),
    }
    Ok(())
}

/// A string in a record.
#[derive(Clone, Copy)]
pub(crate) struct StringRef<'a>(ValueRef<'a>);

impl StringRef<'_> {
    /// Writes it as a bulk string; a long one by reference.
    #[inline]
    pub(crate) fn write(self, reply: &mut rubine_resp::writer::Reply<'_>) {
        match self.0 {
            ValueRef::Int(number) => reply.bulk_integer(number),
            ValueRef::Bytes { bytes, .. } => reply.bulk(bytes),
            ValueRef::Shared(bytes) => reply.shared(bytes),
            _ => unreachable!("expect_string lets strings pass only"),
        }
    }
}

/// The string in `record`; an error if it holds something else.
#[inline]
pub(crate) fn expect_string(record: RecordRef<'_>) -> Result<StringRef<'_>, CommandError> {
    match record.value() {
        value @ (ValueRef::Int(_) | ValueRef::Bytes { .. } | ValueRef::Shared(_)) => {
            Ok(StringRef(value))
        }
        _ => Err(CommandError::WrongType),
    }
}

const SET: Command = Command::new("SET", set)
    .summary("Stores a string under a key, replacing whatever was there.")
    .syntax("key value")
    .complexity("O(1)")
    .arity(-3)
    .writes()
    .denies_oom()
    .key("RW ACCESS UPDATE VARIABLE_FLAGS");

fn set(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    cx.keys.store(key, Value::string(cx.args.at(2)), None);
    cx.touched(key, Event::SET);
    cx.reply.ok();
    Ok(())
}

const MGET: Command = Command::new("MGET", mget)
    .summary("Returns the strings under several keys.")
    .syntax("key [key ...]")
    .complexity("O(N) with N the number of keys.")
    .arity(-2)
    .reads()
    .fast()
    .key_range(1, -1, 1, "RO ACCESS");

fn mget(cx: &mut Context<'_, '_>) -> CommandResult {
    cx.reply.array(cx.args.len() - 1);
    for index in 1..cx.args.len() {
        let record = cx.keys.find(cx.key(index));
        match record.map(expect_string) {
            Some(Ok(value)) => value.write(&mut cx.reply),
            Some(Err(_)) | None => cx.reply.null(),
        }
    }
    Ok(())
}

const MSET: Command = Command::new("MSET", mset)
    .summary("Stores strings under several keys.")
    .syntax("key value [key value ...]")
    .since("1.0.1")
    .complexity("O(N) with N the number of keys.")
    .arity(-3)
    .writes()
    .denies_oom()
    .key_range(1, -1, 2, "OW UPDATE");

fn mset(cx: &mut Context<'_, '_>) -> CommandResult {
    if cx.args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("mset".into()));
    }
    for index in (1..cx.args.len()).step_by(2) {
        let key = cx.key(index);
        cx.keys.store(key, Value::string(cx.args.at(index + 1)), None);
        cx.touched(key, Event::SET);
    }
    cx.reply.ok();
    Ok(())
}

const INCR: Command = Command::new("INCR", |cx| increment_by(cx, 1))
    .summary("Adds one to the integer under a key; a missing key counts as 0.")
    .syntax("key")
    .complexity("O(1)")
    .arity(2)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE");

const DECR: Command = Command::new("DECR", |cx| increment_by(cx, -1))
    .summary("Subtracts one from the integer under a key; a missing key counts as 0.")
    .syntax("key")
    .complexity("O(1)")
    .arity(2)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE");

const INCRBY: Command = Command::new("INCRBY", |cx| increment_by(cx, cx.args.integer(2)?))
    .summary("Adds a number to the integer under a key; a missing key counts as 0.")
    .syntax("key increment")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE");

const DECRBY: Command = Command::new("DECRBY", decrby)
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
        let sum = old.checked_add(increment).ok_or(CommandError::Overflow)?;
        if let ValueMut::Int(number) = record.value_mut() {
            *number = sum;
        } else {
            record.set_value(Value::Int(sum));
        }
        sum
    } else {
        cx.keys.store(key, Value::Int(increment), None);
        increment
    };
    cx.touched(key, Event::INCRBY);
    cx.reply.integer(sum);
    Ok(())
}

/// The integer that a string reads as.
fn integer_of(record: RecordRef<'_>) -> Result<i64, CommandError> {
    match expect_string(record)?.0 {
        ValueRef::Int(number) => Ok(number),
        ValueRef::Bytes { bytes, .. } => {
            rubine_base::number::parse_i64(bytes).ok_or(CommandError::NotInteger)
        }
        _ => Err(CommandError::NotInteger),
    }
}
