//! Which keys there are: DEL, EXISTS, TOUCH, TYPE, UNLINK. Never looks into a value.

use crate::command::Command;
use crate::context::Context;
use crate::error::CommandResult;
use crate::event::Event;

pub(crate) const COMMANDS: &[Command] = &[DEL, EXISTS, TOUCH, TYPE, UNLINK];

const DEL: Command = Command::new("DEL", del)
    .summary("Removes keys.")
    .syntax("key [key ...]")
    .complexity("O(N) with N the number of keys; what they hold is freed in the background.")
    .tips("request_policy:multi_shard response_policy:agg_sum")
    .arity(-2)
    .writes()
    .key_range(1, -1, 1, "RM DELETE");

const UNLINK: Command = Command::new("UNLINK", del)
    .summary("Removes keys, as DEL does here too: without waiting for memory to be freed.")
    .syntax("key [key ...]")
    .since("4.0.0")
    .complexity("O(N) with N the number of keys; what they hold is freed in the background.")
    .tips("request_policy:multi_shard response_policy:agg_sum")
    .arity(-2)
    .writes()
    .fast()
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
    .tips("request_policy:multi_shard response_policy:agg_sum")
    .arity(-2)
    .reads()
    .fast()
    .key_range(1, -1, 1, "RO");

fn exists(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut count = 0;
    for index in 1..cx.args.len() {
        count += i64::from(cx.keys.find_untouched(cx.key(index)).is_some());
    }
    cx.reply.integer(count);
    Ok(())
}

const TOUCH: Command = Command::new("TOUCH", touch)
    .summary("Counts how many of the keys are there and notes an access to each.")
    .syntax("key [key ...]")
    .since("3.2.1")
    .complexity("O(N) with N the number of keys.")
    .tips("request_policy:multi_shard response_policy:agg_sum")
    .arity(-2)
    .reads()
    .fast()
    .key_range(1, -1, 1, "RO");

fn touch(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut count = 0;
    for index in 1..cx.args.len() {
        count += i64::from(cx.keys.touch(cx.key(index)));
    }
    cx.reply.integer(count);
    Ok(())
}

const TYPE: Command = Command::new("TYPE", type_of)
    .summary("Tells the type of what a key holds.")
    .syntax("key")
    .complexity("O(1)")
    .arity(2)
    .reads()
    .fast()
    .key("RO");

fn type_of(cx: &mut Context<'_, '_>) -> CommandResult {
    let record = cx.keys.find_untouched(cx.key(1));
    cx.reply.simple(record.map_or("none", |it| it.value().type_of().name()));
    Ok(())
}
