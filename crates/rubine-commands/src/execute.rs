//! Running a command whose turn has come: which shards it needs, and what becomes of its reply on an error.
//! Takes no lock: whoever calls has taken those that [`shards_of`] names.

use rubine_keyspace::{Key, ShardSet};

use crate::args::Args;
use crate::command::{Command, Scope, Spec};
use crate::context::Context;
use crate::error::CommandResult;

/// The shards that a command needs. `is_atomic` where it runs among others as one unit: then what walks from shard to
/// shard needs all of them at once.
#[inline]
pub fn shards_of(spec: &Spec, args: Args<'_>, is_atomic: bool) -> ShardSet {
    match spec.scope {
        Scope::Keys => {
            if let Some(index) = spec.single_key() {
                return args
                    .get(index)
                    .map_or_else(ShardSet::default, |it| ShardSet::of(Key::new(it)));
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

/// Runs a handler. On an error, whatever reply it had begun is replaced by the error.
#[inline]
pub fn run(command: &Command, cx: &mut Context<'_, '_>) -> CommandResult {
    let mark = cx.reply.mark();
    let result = (command.run)(cx);
    if let Err(error) = &result {
        cx.reply.truncate_to(mark);
        cx.reply.error(&error.to_string());
    }
    result
}
