//! Whole databases: DBSIZE, FLUSHALL, FLUSHDB, SWAPDB. What they remove is freed in the background.

use rubine_base::number::parse_i64;

use crate::args::Args;
use crate::command::{Acl, Command, Databases};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

pub(crate) const COMMANDS: &[Command] = &[DBSIZE, FLUSHALL, FLUSHDB, SWAPDB];

const DBSIZE: Command = Command::new("DBSIZE", dbsize)
    .summary("Counts the keys of the selected database.")
    .complexity("O(1): one look at each shard.")
    .tips("request_policy:all_shards response_policy:agg_sum")
    .arity(1)
    .reads()
    .fast()
    .also(Acl::KEYSPACE)
    .each_shard();

fn dbsize(cx: &mut Context<'_, '_>) -> CommandResult {
    cx.reply.integer(cx.keys.len() as i64);
    Ok(())
}

const FLUSHALL: Command = Command::new("FLUSHALL", |cx| flush(cx, None))
    .summary("Removes all keys of all databases.")
    .syntax("[ASYNC | SYNC]")
    .complexity("O(1): one exchange in each shard; memory is freed in the background.")
    .tips("request_policy:all_shards response_policy:all_succeeded")
    .arity(-1)
    .writes()
    .also(Acl::KEYSPACE.union(Acl::DANGEROUS))
    .databases(Databases::All)
    .all_shards();

const FLUSHDB: Command = Command::new("FLUSHDB", |cx| flush(cx, Some(cx.keys.db())))
    .summary("Removes all keys of the selected database.")
    .syntax("[ASYNC | SYNC]")
    .complexity("O(1): one exchange in each shard; memory is freed in the background.")
    .tips("request_policy:all_shards response_policy:all_succeeded")
    .arity(-1)
    .writes()
    .also(Acl::KEYSPACE.union(Acl::DANGEROUS))
    .all_shards();

fn flush(cx: &mut Context<'_, '_>, db: Option<usize>) -> CommandResult {
    check_flush_mode(cx.args)?;
    cx.keys.clear(db);
    // Also where there was nothing to remove: a replica may have what its master has not.
    let command: Vec<_> = cx.args.from(0).collect();
    cx.replicate(&command);
    cx.reply.ok();
    Ok(())
}

/// Either word is understood; memory is freed in the background anyway, and the keys are gone at once.
fn check_flush_mode(args: Args<'_>) -> Result<(), CommandError> {
    let mut options = args.options(1);
    if !options.is_at_end() && !options.keyword("SYNC") && !options.keyword("ASYNC") {
        return Err(CommandError::Syntax);
    }
    options.expect_end()
}

const SWAPDB: Command = Command::new("SWAPDB", swapdb)
    .summary("Exchanges two databases, for all clients at once.")
    .syntax("index1 index2")
    .since("4.0.0")
    .complexity("O(1): one exchange in each shard, and the clients that watch or wait for keys.")
    .arity(3)
    .writes()
    .fast()
    .also(Acl::KEYSPACE.union(Acl::DANGEROUS))
    .databases(Databases::Named(|_, visit| (1..3).for_each(visit)))
    .all_shards();

fn swapdb(cx: &mut Context<'_, '_>) -> CommandResult {
    if cx.limits.cluster {
        return Err(CommandError::text("ERR SWAPDB is not allowed in cluster mode"));
    }
    let number = |index: usize, error: &'static str| {
        let number = parse_i64(cx.args.at(index)).and_then(|it| i32::try_from(it).ok());
        number.ok_or(CommandError::text(error))
    };
    let first = number(1, "ERR invalid first DB index")?;
    let second = number(2, "ERR invalid second DB index")?;
    let db = |number: i32| {
        let db = usize::try_from(number).ok().filter(|&db| db < cx.limits.databases);
        db.ok_or(CommandError::DbOutOfRange)
    };
    let (first, second) = (db(first)?, db(second)?);
    cx.keys.swap_dbs(first, second);
    cx.reply.ok();
    Ok(())
}
