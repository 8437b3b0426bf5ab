//! Commands that return whole strings, and what may be done to them on the way: GET, MGET, GETEX, GETDEL, STRLEN.
//! Never stores a value.

use rubine_base::number::write_i64;

use super::expect_string;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::expiry::{Alternative, Expiry, is_over};

pub(super) const GET: Command = Command::new("GET", get)
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

pub(super) const MGET: Command = Command::new("MGET", mget)
    .summary("Returns the strings under several keys.")
    .syntax("key [key ...]")
    .complexity("O(N) with N the number of keys.")
    .tips("request_policy:multi_shard")
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

pub(super) const STRLEN: Command = Command::new("STRLEN", strlen)
    .summary("Returns the length of the string under a key.")
    .syntax("key")
    .since("2.2.0")
    .complexity("O(1)")
    .arity(2)
    .reads()
    .fast()
    .key("RO");

fn strlen(cx: &mut Context<'_, '_>) -> CommandResult {
    let string = cx.keys.find(cx.key(1)).map(expect_string).transpose()?;
    cx.reply.integer(string.map_or(0, |it| it.len() as i64));
    Ok(())
}

pub(super) const GETDEL: Command = Command::new("GETDEL", getdel)
    .summary("Returns the string under a key and removes the key.")
    .syntax("key")
    .since("6.2.0")
    .complexity("O(1)")
    .arity(2)
    .writes()
    .fast()
    .key("RW ACCESS DELETE");

fn getdel(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let Some(string) = cx.keys.find(key).map(expect_string).transpose()? else {
        cx.reply.null();
        return Ok(());
    };
    string.write(&mut cx.reply);
    cx.keys.remove(key);
    cx.touched(key, Event::DEL);
    cx.replicate(&[b"DEL", key.bytes()]);
    Ok(())
}

pub(super) const GETEX: Command = Command::new("GETEX", getex)
    .summary("Returns the string under a key, and sets or clears when the key falls due.")
    .syntax(
        "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds \
         | PERSIST]",
    )
    .since("6.2.0")
    .complexity("O(1)")
    .arity(-2)
    .writes()
    .fast()
    .key("RW ACCESS UPDATE");

fn getex(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let mut expiry = Expiry::default();
    let mut options = cx.args.options(2);
    while let Some(option) = options.next() {
        if !expiry.read(option, &mut options, Alternative::Persist)? {
            return Err(CommandError::Syntax);
        }
    }
    let deadline = match expiry {
        Expiry::Set(time) => Some(time.deadline(cx)?),
        _ => None,
    };
    let Some(record) = cx.keys.find(key) else {
        cx.reply.null();
        return Ok(());
    };
    let was_volatile = record.deadline().is_some();
    expect_string(record)?.write(&mut cx.reply);

    match deadline {
        Some(deadline) if is_over(cx, deadline) => {
            cx.keys.expire_now(key);
        }
        Some(deadline) => {
            set_deadline(cx, Some(deadline));
            cx.touched(key, Event::EXPIRE);
            let mut text = Vec::new();
            write_i64(&mut text, deadline);
            cx.replicate(&[b"PEXPIREAT", key.bytes(), &text]);
        }
        None if expiry == Expiry::Persist && was_volatile => {
            set_deadline(cx, None);
            cx.touched(key, Event::PERSIST);
            cx.replicate(&[b"PERSIST", key.bytes()]);
        }
        None => {}
    }
    Ok(())
}

fn set_deadline(cx: &mut Context<'_, '_>, deadline: Option<i64>) {
    let key = cx.key(1);
    if let Some(mut record) = cx.keys.find_mut(key) {
        record.set_deadline(deadline);
    }
}
