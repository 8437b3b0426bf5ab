//! Running a command whose turn has come: which shards it needs, and what becomes of its reply on an error.
//! Takes no lock: whoever calls has taken those that [`shards_of`] names.

use rubine_keyspace::{Awaited, Key, ShardSet};
use rubine_structures::value::Type;

use crate::args::Args;
use crate::command::{Command, Group, Scope, Spec};
use crate::context::{Context, Wait};
use crate::error::CommandResult;

/// The shards that a command needs. `is_atomic` where it runs among others as one unit: then what walks from shard to
/// shard needs all of them at once.
#[inline]
pub fn shards_of(spec: &Spec, args: Args<'_>, is_atomic: bool) -> ShardSet {
    match spec.scope {
        Scope::AllIf(condition) if condition(args) => ShardSet::All,
        Scope::Keys | Scope::AllIf(_) => {
            if let Some(index) = spec.single_key() {
                let is_there = index < args.len();
                return if is_there { ShardSet::of(args.key(index)) } else { ShardSet::default() };
            }
            let mut shards = ShardSet::default();
            spec.for_each_key(args, |index| shards.add(Key::new(args.at(index))));
            shards
        }
        Scope::All => ShardSet::All,
        Scope::Each if is_atomic => ShardSet::All,
        Scope::Each => ShardSet::default(),
    }
}

/// Runs a handler and writes to the journal what it did. On an error, whatever reply it had begun is replaced by the
/// error.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a call costs as much as what is done here")]
pub fn run(command: &Command, cx: &mut Context<'_, '_>) -> CommandResult {
    let mark = cx.reply.mark();
    let dirty_before = cx.keys.dirty();
    cx.effects.replaces_command = false;
    let result = (command.run)(cx);
    cx.flush_expired();
    if cx.effects.task.is_some() {
        // It has only begun, and says all again when it runs again.
        let has_begun = dirty_before < cx.keys.dirty() || cx.effects.replaces_command;
        debug_assert!(!has_begun, "a command changed something and asks for time");
        cx.reply.truncate_to(mark);
        return result;
    }
    if cx.effects.shipment.is_some() {
        // What it has removed so far is in the journal; the reply comes when it runs again.
        cx.reply.truncate_to(mark);
        return result;
    }
    let Err(error) = result else {
        let is_verbatim = cx.effects.is_journalled && !cx.effects.replaces_command;
        if is_verbatim && dirty_before < cx.keys.dirty() {
            cx.replicate_verbatim();
        }
        return Ok(());
    };
    // Whoever fails in part says itself what the journal is to have.
    let is_told = cx.effects.replaces_command || dirty_before == cx.keys.dirty();
    debug_assert!(is_told, "a command changed something and failed");
    cx.reply.truncate_to(mark);
    error.write(&mut cx.reply);
    Err(error)
}

/// When it is worth running a command of `group` again that has to wait.
pub fn awaited(group: Group, wait: &Wait) -> Awaited {
    match group {
        _ if wait.ends_on_error => Awaited::AnyChange,
        Group::List => Awaited::Type(Type::List),
        Group::SortedSet => Awaited::Type(Type::SortedSet),
        Group::Stream => Awaited::Type(Type::Stream),
        _ => Awaited::AnyChange,
    }
}
