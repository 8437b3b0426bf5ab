//! Running a command whose turn has come: which shards it needs, and what becomes of its reply on an error.
//! Takes no lock: whoever calls has taken those that [`shards_of`] names.

use rubine_keyspace::{Awaited, Key, ShardSet};
use rubine_structures::value::Type;

use crate::args::{Args, LONG_ARGUMENT};
use crate::cluster::slot_at;
use crate::command::{Command, Group, Scope, Spec};
use crate::context::{Context, Wait};
use crate::error::{CommandError, CommandResult};

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
        // Who names none is told so.
        Scope::Slot(at) => slot_at(args, at).map_or_else(ShardSet::default, ShardSet::of_slot),
    }
}

/// Runs a handler and writes to the journal what it did. On an error, whatever reply it had begun is replaced by the
/// error.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a call costs as much as what is done here")]
pub(crate) fn run(command: &Command, cx: &mut Context<'_, '_>) -> CommandResult {
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

/// Refuses arguments that are longer than what they become can be: keys, and elements of collections. The value of a
/// string may have any length.
#[cold]
pub fn check_lengths(spec: &Spec, group: Group, args: Args<'_>) -> CommandResult {
    const TOO_LONG: CommandError =
        CommandError::text("ERR a key or an element must be shorter than 4 GiB");
    let is_long = |index: usize| LONG_ARGUMENT <= args.at(index).len();
    let has_elements = matches!(
        group,
        Group::List | Group::Set | Group::SortedSet | Group::Hash | Group::Geo | Group::Stream
    );
    let mut is_refused = has_elements && (0..args.len()).any(is_long);
    spec.for_each_key(args, |index| is_refused |= is_long(index));
    if is_refused { Err(TOO_LONG) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use rubine_resp::parser::ArgRange;

    use super::check_lengths;
    use crate::args::{Args, LONG_ARGUMENT};
    use crate::table::FAMILIES;

    /// A key of 4 GiB, which `proto-max-bulk-len` allows, was no error but the end of the server.
    #[test]
    fn only_values_of_strings_are_very_long() {
        // Nobody looks at these bytes, so they take no memory.
        let buffer = vec![0; LONG_ARGUMENT];
        let (short, long) =
            (ArgRange { start: 0, len: 3 }, ArgRange { start: 0, len: buffer.len() });
        let check = |name: &str, ranges: &[ArgRange], is_fine: bool| {
            let found = FAMILIES.iter().find_map(|family| {
                let command = family.commands.iter().find(|it| it.spec.name == name)?;
                Some((family.group, command.spec))
            });
            let (group, spec) = found.expect("there is such a command");
            let args = Args::new(&buffer, ranges);
            assert!(!args.are_short());
            let checked = check_lengths(&spec, group, args);
            assert_eq!(checked.is_ok(), is_fine, "{name} {ranges:?}");
        };
        check("SET", &[short, long, short], false);
        check("SET", &[short, short, long], true);
        check("MSET", &[short, short, long, long, short], false);
        check("APPEND", &[short, short, long], true);
        check("GET", &[short, long], false);
        check("HSET", &[short, short, long, short], false);
        check("SADD", &[short, short, long], false);
        check("DEL", &[short, short, long], false);
    }
}
