//! What a key looks like from inside: OBJECT and MEMORY USAGE. Looking leaves no trace in the access bits.

use rubine_keyspace::AccessPolicy;

use crate::command::{Acl, Command};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

/// In the group of key commands.
pub(crate) const COMMANDS: &[Command] = &[OBJECT];

/// The data part of a container whose other subcommands are the server's.
pub(crate) const MEMORY_COMMANDS: &[Command] = &[MEMORY];

const OBJECT: Command = <Command>::container("OBJECT", unknown_object_form, OBJECT_FORMS)
    .summary("Looks at how values are held.")
    .syntax("")
    .since("2.2.3")
    .complexity("O(1)");

const OBJECT_FORMS: &[Command] = &[OBJECT_ENCODING, OBJECT_FREQ, OBJECT_IDLETIME, OBJECT_REFCOUNT];

fn unknown_object_form(cx: &mut Context<'_, '_>) -> CommandResult {
    Err(CommandError::unknown_subcommand(cx.args.get(1), "OBJECT"))
}

const OBJECT_ENCODING: Command = Command::new("ENCODING", encoding)
    .summary("Tells in which encoding a value is held.")
    .syntax("key")
    .since("2.2.3")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(3)
    .reads()
    .also(Acl::KEYSPACE)
    .key_at(2, "RO");

fn encoding(cx: &mut Context<'_, '_>) -> CommandResult {
    match cx.keys.find_untouched(cx.key(2)) {
        Some(record) => cx.reply.bulk(record.value().encoding().as_bytes()),
        None => cx.reply.null(),
    }
    Ok(())
}

const OBJECT_FREQ: Command = Command::new("FREQ", freq)
    .summary("Tells the counter of accesses, under a policy that counts them.")
    .syntax("key")
    .since("4.0.0")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(3)
    .reads()
    .also(Acl::KEYSPACE)
    .key_at(2, "RO");

fn freq(cx: &mut Context<'_, '_>) -> CommandResult {
    let access = cx.keys.access();
    let Some(record) = cx.keys.find_untouched(cx.key(2)) else {
        cx.reply.null();
        return Ok(());
    };
    let AccessPolicy::Lfu { .. } = access.policy else { return Err(CommandError::NotLfu) };
    cx.reply.integer(access.frequency(record.access()).into());
    Ok(())
}

const OBJECT_IDLETIME: Command = Command::new("IDLETIME", idletime)
    .summary("Tells how many seconds ago a key was last used, unless accesses are counted instead.")
    .syntax("key")
    .since("2.2.3")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(3)
    .reads()
    .also(Acl::KEYSPACE)
    .key_at(2, "RO");

fn idletime(cx: &mut Context<'_, '_>) -> CommandResult {
    let access = cx.keys.access();
    let Some(record) = cx.keys.find_untouched(cx.key(2)) else {
        cx.reply.null();
        return Ok(());
    };
    let AccessPolicy::Lru = access.policy else { return Err(CommandError::NotLru) };
    cx.reply.integer(access.idle_seconds(record.access()).into());
    Ok(())
}

const OBJECT_REFCOUNT: Command = Command::new("REFCOUNT", refcount)
    .summary("Tells how many keys hold a value together: each has its own.")
    .syntax("key")
    .since("2.2.3")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(3)
    .reads()
    .also(Acl::KEYSPACE)
    .key_at(2, "RO");

fn refcount(cx: &mut Context<'_, '_>) -> CommandResult {
    match cx.keys.find_untouched(cx.key(2)) {
        Some(_) => cx.reply.integer(1),
        None => cx.reply.null(),
    }
    Ok(())
}

const MEMORY: Command = <Command>::container("MEMORY", unknown_memory_form, &[MEMORY_USAGE])
    .summary("Tells what takes how much memory.")
    .since("4.0.0")
    .complexity("O(1)");

fn unknown_memory_form(cx: &mut Context<'_, '_>) -> CommandResult {
    Err(CommandError::unknown_subcommand(cx.args.get(1), "MEMORY"))
}

const MEMORY_USAGE: Command = Command::new("USAGE", usage)
    .summary("Tells how many bytes a key and its value take.")
    .syntax("key [SAMPLES count]")
    .since("4.0.0")
    .complexity("O(1): sizes are kept or estimated, never sampled.")
    .arity(-3)
    .reads()
    .key_at(2, "RO");

fn usage(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut options = cx.args.options(3);
    while !options.is_at_end() {
        if options.remaining() < 2 || !options.keyword("SAMPLES") || options.integer()? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    match cx.keys.peek_even_if_due(cx.key(2)) {
        Some(record) => cx.reply.integer(record.bytes_with_value() as i64),
        None => cx.reply.null(),
    }
    Ok(())
}
