//! XTRIM, and the options of trimming that XADD has, too.

use std::ops::Range;

use rubine_keyspace::Key;
use rubine_structures::stream::{Exactness, StreamId, Trim};

use super::references::{self, References};
use super::{find_mut, known, parse_id};
use crate::args::ArgCursor;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

/// Blocks that an approximate trim removes at most, unless it is told otherwise.
const BLOCKS_MAX: u64 = 100;
/// Entries that it removes at most where blocks have no limit of entries, and in any case.
const ENTRIES_MAX_DEFAULT: u64 = 10_000;
const ENTRIES_MAX: u64 = 1_000_000;

const MAXLEN_AND_MINID: CommandError = CommandError::text(
    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
);
const MAXLEN_NEGATIVE: CommandError = CommandError::text("ERR The MAXLEN argument must be >= 0.");
const LIMIT_NEGATIVE: CommandError = CommandError::text("ERR The LIMIT argument must be >= 0.");
const LIMIT_WITHOUT_STRATEGY: CommandError = CommandError::text(
    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
);
const LIMIT_OF_EXACT: CommandError =
    CommandError::text("ERR syntax error, LIMIT cannot be used without the special ~ option");
const NO_STRATEGY: CommandError =
    CommandError::text("ERR syntax error, XTRIM must be called with a trimming strategy");

pub(super) const XTRIM: Command = Command::new("XTRIM", xtrim)
    .summary("Removes the oldest entries of a stream.")
    .syntax("key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]")
    .since("5.0.0")
    .complexity("O(log(N)+M) with N the number of entries and M the number of blocks removed.")
    .tips("nondeterministic_output")
    .arity(-4)
    .writes()
    .key("RW DELETE");

fn xtrim(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut options = cx.args.options(2);
    let mut trimming = Trimming::default();
    while !options.is_at_end() {
        if !trimming.parse_option(&mut options)? {
            return Err(CommandError::Syntax);
        }
    }
    trimming.check(cx, true)?;
    let trim = trimming.trim.ok_or(NO_STRATEGY)?;
    let key = cx.key(1);
    let exactness = trimming.exactness(cx);
    if find_mut(&mut cx.keys, key)?.is_none() {
        cx.reply.integer(0);
        return Ok(());
    }
    let references = trimming.references.unwrap_or_default();
    let removed = references::trim(cx, key, trim, exactness, references);
    if 0 < removed {
        cx.touched(key, Event::XTRIM);
        cx.keys.add_dirty(removed - 1);
        trimming.replicate_exactly(cx, key, None, 0..0);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

/// What is said about trimming.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trimming {
    pub(super) trim: Option<Trim>,
    pub(super) references: Option<References>,
    is_approximate: bool,
    limit: Option<u64>,
    /// Number of the argument that is the threshold.
    threshold_index: usize,
}

impl Trimming {
    /// Reads an option; false if the next argument is none of trimming.
    pub(super) fn parse_option(
        &mut self,
        options: &mut ArgCursor<'_>,
    ) -> Result<bool, CommandError> {
        if self.references.is_none() {
            self.references = References::parse(options);
            if self.references.is_some() {
                return Ok(true);
            }
        }
        if options.remaining() < 2 {
            return Ok(false);
        }
        if options.keyword("MAXLEN") {
            self.begin_strategy(options)?;
            let max = options.integer()?;
            self.trim = Some(Trim::MaxLen(u64::try_from(max).map_err(|_| MAXLEN_NEGATIVE)?));
        } else if options.keyword("MINID") {
            self.begin_strategy(options)?;
            self.trim = Some(Trim::MinId(parse_id(options.required()?, 0)?));
        } else if options.keyword("LIMIT") {
            self.limit = Some(u64::try_from(options.integer()?).map_err(|_| LIMIT_NEGATIVE)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn begin_strategy(&mut self, options: &mut ArgCursor<'_>) -> CommandResult {
        if self.trim.is_some() {
            return Err(MAXLEN_AND_MINID);
        }
        let has_more = 2 <= options.remaining();
        self.is_approximate = has_more && options.keyword("~");
        if has_more && !self.is_approximate {
            options.keyword("=");
        }
        self.threshold_index = options.index();
        Ok(())
    }

    /// Whether a limit fits what else was said. `is_needed` where there has to be a strategy.
    pub(super) fn check(&self, cx: &Context<'_, '_>, is_needed: bool) -> CommandResult {
        let has_limit = self.limit.is_some_and(|it| 0 < it);
        if has_limit && self.trim.is_none() {
            return Err(LIMIT_WITHOUT_STRATEGY);
        }
        if is_needed && self.trim.is_none() {
            return Err(NO_STRATEGY);
        }
        let is_exact = self.limit.is_some() && !self.is_approximate;
        if is_exact && !cx.client.is_trusted { Err(LIMIT_OF_EXACT) } else { Ok(()) }
    }

    /// How exactly it is meant.
    pub(super) fn exactness(&self, cx: &Context<'_, '_>) -> Exactness {
        let entries_max = (cx.limits.stream_node_max_entries as u64).saturating_mul(BLOCKS_MAX);
        let count_max = match self.limit {
            _ if !self.is_approximate => return Exactness::Exact,
            _ if cx.client.is_trusted => u64::MAX,
            Some(0) => u64::MAX,
            Some(limit) => limit,
            None if entries_max == 0 => ENTRIES_MAX_DEFAULT,
            None => entries_max.min(ENTRIES_MAX),
        };
        Exactness::Blocks { count_max }
    }

    /// Writes the running command to the journal so that it removes the same wherever blocks end, with `id` in place of
    /// that argument, and without some.
    pub(super) fn replicate_exactly(
        &self,
        cx: &mut Context<'_, '_>,
        key: Key<'_>,
        id: Option<(usize, StreamId)>,
        left_out: Range<usize>,
    ) {
        let threshold = self.trim.filter(|_| self.is_approximate).map(|trim| {
            let stream = known(&mut cx.keys, key);
            match trim {
                Trim::MaxLen(_) => stream.len().to_string(),
                Trim::MinId(_) if stream.is_empty() => StreamId::MAX.to_string(),
                Trim::MinId(_) => stream.first_id().to_string(),
            }
        });
        if threshold.is_none() && id.is_none() {
            return;
        }
        let mut args: Vec<&[u8]> = cx.args.from(0).collect();
        if let Some(threshold) = &threshold {
            args[self.threshold_index - 1] = b"=";
            args[self.threshold_index] = threshold.as_bytes();
        }
        let id = id.map(|(index, id)| (index, id.text()));
        if let Some((index, text)) = &id {
            args[*index] = text.as_bytes();
        }
        args.drain(left_out);
        cx.replicate(&args);
    }
}
