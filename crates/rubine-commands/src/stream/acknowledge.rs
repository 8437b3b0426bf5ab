//! XACK and XNACK: what was processed is pending no longer, and what was not is given back to the group.

use rubine_base::number::parse_i64;
use rubine_structures::stream::{Pending, StreamId};

use super::remove::parse_ids;
use super::{edit_group, find, find_mut, known, no_group};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, shown};

pub(super) const XACK: Command = Command::new("XACK", xack)
    .summary("Tells a group that entries were processed, so that they are pending no longer.")
    .syntax("key group id [id ...]")
    .since("5.0.0")
    .complexity("O(log(N)) for each entry, with N the number of those pending.")
    .arity(-4)
    .writes()
    .fast()
    .key("RW UPDATE");

fn xack(cx: &mut Context<'_, '_>) -> CommandResult {
    let (key, name) = (cx.key(1), cx.args.at(2));
    if find(&mut cx.keys, key)?.and_then(|it| it.group(name)).is_none() {
        cx.reply.integer(0);
        return Ok(());
    }
    let ids = parse_ids(cx.args, 3, cx.args.len())?;
    let count = edit_group(cx, key, name, |group| {
        ids.into_iter().filter(|&id| group.acknowledge(id)).count()
    });
    cx.keys.add_dirty(count as u64);
    cx.reply.integer(count as i64);
    Ok(())
}

const NO_MODE: CommandError = CommandError::text("ERR mode must be SILENT, FAIL, or FATAL");
const NO_IDS: CommandError = CommandError::text("ERR syntax error, expected IDS keyword");
const IDS_NOT_POSITIVE: CommandError = CommandError::text("ERR numids must be a positive integer");
const IDS_MISSING: CommandError = CommandError::text("ERR number of IDs doesn't match numids");
const RETRY_COUNT_NEGATIVE: CommandError =
    CommandError::text("ERR Invalid RETRYCOUNT value, must be >= 0");

pub(super) const XNACK: Command = Command::new("XNACK", xnack)
    .summary(
        "Gives pending entries back to the group, so that any consumer may claim them at once.",
    )
    .syntax("key group <SILENT | FAIL | FATAL> IDS numids id [id ...] [RETRYCOUNT count] [FORCE]")
    .since("8.8.0")
    .complexity("O(log(N)) for each entry, with N the number of those pending.")
    .arity(-7)
    .writes()
    .fast()
    .key("RW UPDATE");

fn xnack(cx: &mut Context<'_, '_>) -> CommandResult {
    /// Such a delivery is longer ago than any that a consumer asks for.
    const LONG_AGO: i64 = 0;
    let (key, name) = (cx.key(1), cx.args.at(2));
    let stream = find_mut(&mut cx.keys, key)?;
    if stream.and_then(|it| it.group(name).map(|_| ())).is_none() {
        return Err(no_group(key.bytes(), name));
    }
    let release = Release::parse(cx)?;
    let stream = known(&mut cx.keys, key);
    let mut count = 0;
    for &id in &release.ids {
        let pending = stream.group(name).and_then(|it| it.pending(id)).copied();
        if pending.is_none() && !(release.forces && stream.contains(id)) {
            continue;
        }
        let delivery_count = release.delivery_count(pending);
        stream.edit_group(name, |it| it.assign(id, None, LONG_AGO, delivery_count));
        count += 1;
    }
    cx.keys.add_dirty(count);
    cx.reply.integer(count as i64);
    Ok(())
}

/// How failed an attempt to process an entry counts.
#[derive(Clone, Copy)]
enum Mode {
    /// As none at all.
    Silent,
    Fail,
    /// As one after which nobody is to try again.
    Fatal,
}

/// What XNACK is asked for.
struct Release {
    mode: Mode,
    ids: Vec<StreamId>,
    retry_count: Option<u64>,
    forces: bool,
}

impl Release {
    fn parse(cx: &Context<'_, '_>) -> Result<Self, CommandError> {
        let mut options = cx.args.options(3);
        let mode = if options.keyword("SILENT") {
            Mode::Silent
        } else if options.keyword("FAIL") {
            Mode::Fail
        } else if options.keyword("FATAL") {
            Mode::Fatal
        } else {
            return Err(NO_MODE);
        };
        if !options.keyword("IDS") {
            return Err(NO_IDS);
        }
        let count = options.next().and_then(parse_i64).and_then(|it| i32::try_from(it).ok());
        let count = count.filter(|&it| 0 < it).ok_or(IDS_NOT_POSITIVE)? as usize;
        if options.remaining() < count {
            return Err(IDS_MISSING);
        }
        let start = options.index();
        options.skip(count);
        let (mut retry_count, mut forces) = (None, false);
        while !options.is_at_end() {
            if options.keyword("FORCE") {
                forces = true;
            } else if 2 <= options.remaining() && options.keyword("RETRYCOUNT") {
                let count = options.next().and_then(parse_i64);
                let count = count.and_then(|it| u64::try_from(it).ok());
                retry_count = Some(count.ok_or(RETRY_COUNT_NEGATIVE)?);
            } else {
                let option = shown(options.required()?);
                let text: [&[u8]; 3] = [b"ERR Unrecognized XNACK option '", option, b"'"];
                return Err(CommandError::quoting(&text));
            }
        }
        let ids = parse_ids(cx.args, start, start + count)?;
        Ok(Self { mode, ids, retry_count, forces })
    }

    /// How often an entry counts as delivered once it is given back.
    fn delivery_count(&self, pending: Option<Pending>) -> u64 {
        let before = pending.map_or(0, |it| it.delivery_count);
        let counted = match self.mode {
            Mode::Silent => before.saturating_sub(1),
            Mode::Fail => before,
            Mode::Fatal => i64::MAX as u64,
        };
        self.retry_count.unwrap_or(counted)
    }
}
