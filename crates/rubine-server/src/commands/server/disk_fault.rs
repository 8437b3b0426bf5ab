//! DEBUG DISK-FAULT: lets steps of writing dump files and the log fail, so that tests see what becomes of the data.

use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult};
use rustix::io::Errno;

use crate::core::{ServerCommand, Session};
use rubine_storage::disk::{Plan, Step};

const ERRORS: [(&str, Errno); 2] = [("ENOSPC", Errno::NOSPC), ("EIO", Errno::IO)];

pub(super) const DISK_FAULT: ServerCommand = super::form("DISK-FAULT", disk_fault)
    .summary(
        "Lets steps of writing dump files and the log fail, after some that do not. Returns how many have failed since \
         the last call.",
    )
    .syntax(
        "<OFF | CREATE | WRITE | SYNC | SYNC-FOLDER | TRUNCATE | RENAME | REMOVE | ANY> [skipped failing <ENOSPC | EIO> \
         [SHORT]]",
    )
    .arity(-3);

fn disk_fault(session: &mut Session<'_>) -> CommandResult {
    let words = session.args.from(2).collect::<Vec<_>>();
    let plan = if words[0].eq_ignore_ascii_case(b"OFF") && words.len() == 1 {
        None
    } else {
        Some(parse(&words).ok_or(CommandError::Syntax)?)
    };
    let struck = session.core.server.persistence.disk.plan(plan);
    session.reply.integer(struck as i64);
    Ok(())
}

fn parse(words: &[&[u8]]) -> Option<Plan> {
    let (&[step, skipped, failing, error], more) = words.split_first_chunk()?;
    let is_named = |name: &str, word: &[u8]| word.eq_ignore_ascii_case(name.as_bytes());
    let step = if is_named("ANY", step) {
        None
    } else {
        Some(Step::ALL.into_iter().find(|it| is_named(it.0, step))?.1)
    };
    let count = |word: &[u8]| u64::try_from(parse_i64(word)?).ok();
    let is_short = match more {
        [] => false,
        [word] if is_named("SHORT", word) => true,
        _ => return None,
    };
    Some(Plan {
        step,
        skipped: count(skipped)?,
        failing: count(failing)?,
        error: ERRORS.into_iter().find(|it| is_named(it.0, error))?.1,
        is_short,
    })
}
