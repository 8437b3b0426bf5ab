//! Commands for keys of any type: DEL, EXPIRE, SCAN and their relatives. Handlers do no I/O; their keys are locked.

use crate::command::Command;
use crate::context::Context;
use crate::error::CommandResult;
use crate::event::Event;

pub(crate) const COMMANDS: &[Command] = &[DEL, EXISTS];

const DEL: Command = Command::new("DEL", del)
    .summary("Removes keys.")
    .syntax("key [key ...]")
    .complexity("O(N) with N the number of keys; what they hold is freed in the background.")
    .arity(-2)
    .writes()
    .key_range(1, -1, 1, "RM DELETE");

fn del(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut removed = 0;
    for index in 1..cx.args.len() {
        let key = cx.key(index);
        if cx.keys.remove(key) {
            removed += 1;
            cx.touched(key, Event::DEL);
        }
    }
    cx.reply.integer(removed);
    Ok(())
}

const EXISTS: Command = Command::new("EXISTS", exists)
    .summary("Counts how many of the keys are there; one named twice counts twice.")
    .syntax("key [key ...]")
    .complexity("O(N) with N the number of keys.")
    .arity(-2)
    .reads()
    .fast()
    .key_range(1, -1, 1, "RO");

fn exists(cx: &mut Context<'_, '_>) -> CommandResult {
    let count = (1..cx.args.len()).filter(|&it| cx.keys.find(cx.key(it)).is_some()).count();
    cx.reply.integer(count as i64);
    Ok(())
}
