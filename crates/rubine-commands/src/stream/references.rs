//! XDELEX and XACKDEL: entries removed with regard to the groups that have yet to read or acknowledge them; and trimming
//! with the same regard.

use rubine_base::number::parse_i64;
use rubine_keyspace::Key;
use rubine_structures::stream::{Direction, Exactness, Stream, StreamId, Trim};

use super::remove::parse_ids;
use super::{discard, find_mut, known};
use crate::args::ArgCursor;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

const IDS_NOT_POSITIVE: CommandError =
    CommandError::text("ERR Number of IDs must be a positive integer");
const IDS_MISSING: CommandError =
    CommandError::text("ERR The `numids` parameter must match the number of arguments");
const NO_IDS: CommandError = CommandError::text("ERR IDS option is required");

/// What becomes of an entry that is not there.
const ABSENT: i64 = -1;
const REMOVED: i64 = 1;
/// Somebody has yet to acknowledge it.
const REFERENCED: i64 = 2;

/// What removing an entry means for the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum References {
    /// What is pending stays pending, without content.
    #[default]
    Keep,
    /// It is pending no longer.
    Drop,
    /// Only what every group has read and acknowledged is removed.
    Acked,
}

impl References {
    /// Reads an option; `None` if the next argument is none of these.
    pub(super) fn parse(options: &mut ArgCursor<'_>) -> Option<Self> {
        if options.keyword("KEEPREF") {
            Some(Self::Keep)
        } else if options.keyword("DELREF") {
            Some(Self::Drop)
        } else if options.keyword("ACKED") {
            Some(Self::Acked)
        } else {
            None
        }
    }

    /// Removes an entry that is there; false if it has to stay.
    fn remove(self, stream: &mut Stream, id: StreamId) -> bool {
        if self == Self::Acked && stream.is_referenced(id) {
            return false;
        }
        stream.remove(id);
        if self == Self::Drop {
            stream.drop_references(id);
        }
        true
    }
}

/// The entries that XDELEX and XACKDEL are about.
struct Chosen {
    references: References,
    ids: Vec<StreamId>,
}

impl Chosen {
    /// Reads the options from argument `start` on.
    fn parse(cx: &Context<'_, '_>, start: usize) -> Result<Self, CommandError> {
        let mut options = cx.args.options(start);
        let (mut references, mut ids) = (None, None);
        while !options.is_at_end() {
            if references.is_none()
                && let Some(parsed) = References::parse(&mut options)
            {
                references = Some(parsed);
            } else if 2 <= options.remaining() && options.keyword("IDS") {
                let count = options.next().and_then(parse_i64).filter(|&it| 0 < it);
                let count = usize::try_from(count.ok_or(IDS_NOT_POSITIVE)?).unwrap_or(usize::MAX);
                if options.remaining() < count {
                    return Err(IDS_MISSING);
                }
                ids = Some(options.index()..options.index() + count);
                options.skip(count);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let ids = ids.ok_or(NO_IDS)?;
        let ids = parse_ids(cx.args, ids.start, ids.end)?;
        Ok(Self { references: references.unwrap_or_default(), ids })
    }

    fn reply_absent(&self, cx: &mut Context<'_, '_>) {
        cx.reply.array(self.ids.len());
        self.ids.iter().for_each(|_| cx.reply.integer(ABSENT));
    }
}

pub(super) const XDELEX: Command = Command::new("XDELEX", xdelex)
    .summary("Removes entries from a stream, and says what becomes of those that are pending.")
    .syntax("key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]")
    .since("8.2.0")
    .complexity("O(log(N)) for each entry and group, with N the number of entries in the stream.")
    .arity(-5)
    .writes()
    .fast()
    .key("RW DELETE");

fn xdelex(cx: &mut Context<'_, '_>) -> CommandResult {
    let chosen = Chosen::parse(cx, 2)?;
    let key = cx.key(1);
    let Some(stream) = find_mut(&mut cx.keys, key)? else {
        chosen.reply_absent(cx);
        return Ok(());
    };
    let mut dropped = 0;
    let outcomes = chosen.ids.iter().map(|&id| match stream.contains(id) {
        true if chosen.references.remove(stream, id) => REMOVED,
        true => REFERENCED,
        false if chosen.references == References::Drop => {
            dropped += stream.drop_references(id);
            ABSENT
        }
        false => ABSENT,
    });
    let outcomes: Vec<i64> = outcomes.collect();
    note_removed(cx, key, &outcomes);
    cx.keys.add_dirty(dropped as u64);
    reply(cx, &outcomes);
    Ok(())
}

pub(super) const XACKDEL: Command = Command::new("XACKDEL", xackdel)
    .summary("Tells a group that entries were processed, and removes them from the stream.")
    .syntax("key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]")
    .since("8.2.0")
    .complexity("O(log(N)) for each entry and group, with N the number of entries in the stream.")
    .arity(-6)
    .writes()
    .fast()
    .key("RW UPDATE DELETE");

fn xackdel(cx: &mut Context<'_, '_>) -> CommandResult {
    let chosen = Chosen::parse(cx, 3)?;
    let (key, group) = (cx.key(1), cx.args.at(2));
    let stream = find_mut(&mut cx.keys, key)?;
    let Some(stream) = stream.filter(|it| it.group(group).is_some()) else {
        chosen.reply_absent(cx);
        return Ok(());
    };
    let outcomes = chosen.ids.iter().map(|&id| {
        if stream.edit_group(group, |it| it.acknowledge(id)) != Some(true) {
            return ABSENT;
        }
        if chosen.references.remove(stream, id) { REMOVED } else { REFERENCED }
    });
    let outcomes: Vec<i64> = outcomes.collect();
    note_removed(cx, key, &outcomes);
    let acknowledged = outcomes.iter().filter(|&&it| it == REFERENCED).count();
    cx.keys.add_dirty(acknowledged as u64);
    reply(cx, &outcomes);
    Ok(())
}

fn note_removed(cx: &mut Context<'_, '_>, key: Key<'_>, outcomes: &[i64]) {
    let removed = outcomes.iter().filter(|&&it| it == REMOVED).count() as u64;
    if 0 < removed {
        cx.touched(key, Event::XDEL);
        cx.keys.add_dirty(removed - 1);
    }
}

fn reply(cx: &mut Context<'_, '_>, outcomes: &[i64]) {
    cx.reply.array(outcomes.len());
    outcomes.iter().for_each(|&it| cx.reply.integer(it));
}

/// Trims a stream that is there. Returns how many entries that removed.
pub(super) fn trim(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    trim: Trim,
    exactness: Exactness,
    references: References,
) -> u64 {
    let stream = known(&mut cx.keys, key);
    if references == References::Keep && !stream.trims_much(trim, exactness) {
        return stream.trim(trim, exactness);
    }
    // Nothing is freed before this goes, which may be elsewhere.
    let before = stream.clone();
    let removed = match references {
        References::Keep => stream.trim(trim, exactness),
        References::Drop => {
            let removed = stream.trim(trim, exactness);
            drop_references_of_trimmed(stream, &before);
            removed
        }
        References::Acked => trim_acknowledged(stream, &before, trim, exactness),
    };
    discard(cx, before);
    removed
}

fn drop_references_of_trimmed(stream: &mut Stream, before: &Stream) {
    let first = if stream.is_empty() { StreamId::MAX } else { stream.first_id() };
    let groups = before.groups().map(|(name, group)| {
        let pending = group.pending_from(StreamId::MIN).map(|it| it.0);
        let trimmed = pending.take_while(|&id| id < first).filter(|&id| before.contains(id));
        (name, trimmed.collect::<Vec<_>>())
    });
    for (name, ids) in groups {
        stream.edit_group(name, |group| ids.into_iter().for_each(|id| _ = group.acknowledge(id)));
    }
}

/// Trims, but for what a group has yet to acknowledge: of single entries those are passed over, of blocks the first that
/// has one stays, with all behind it.
fn trim_acknowledged(
    stream: &mut Stream,
    before: &Stream,
    trim: Trim,
    exactness: Exactness,
) -> u64 {
    let surplus = match trim {
        Trim::MaxLen(max) => before.len().saturating_sub(max),
        Trim::MinId(_) => u64::MAX,
    };
    let is_kept = |id: StreamId| matches!(trim, Trim::MinId(min) if min <= id);
    let Exactness::Blocks { count_max } = exactness else {
        let ids = before.range(StreamId::MIN, StreamId::MAX, Direction::Ascending);
        let ids = ids.map(|it| it.id).take_while(|&id| !is_kept(id));
        let ids = ids.filter(|&id| !before.is_referenced(id));
        let ids = ids.take(usize::try_from(surplus).unwrap_or(usize::MAX));
        return ids.filter(|&id| stream.remove_as_trimmed(id)).count() as u64;
    };
    let mut count = 0;
    for block in before.blocks() {
        let live = block.entries().filter(|it| !it.is_deleted);
        let is_held = live.map(|it| it.id).any(|id| before.is_referenced(id));
        let next = count + block.live() as u64;
        if surplus.min(count_max) < next || is_kept(block.last_id()) || is_held {
            break;
        }
        count = next;
    }
    stream.trim(Trim::MaxLen(before.len() - count), Exactness::Exact)
}
