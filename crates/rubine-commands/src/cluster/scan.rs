//! CLUSTERSCAN: a walk through the keys of a cluster, which goes from node to node by its cursor. Never holds a shard's lock
//! for more than a bounded number of records.

use rubine_base::crc::{self, SLOT_COUNT};
use rubine_base::hash;
use rubine_base::number::parse_u64_loosely;
use rubine_base::slot_tag::tag_of_slot;
use rubine_keyspace::ScanCursor;

use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::keys::scan::{Names, ScanOptions};

pub(super) const CLUSTERSCAN: Command = Command::new("CLUSTERSCAN", clusterscan)
    .summary(
        "Lists some keys of a cluster, and from where, and on which node, the next call goes on.",
    )
    .syntax("cursor [MATCH match-pattern] [COUNT count] [TYPE type] [SLOT slot]")
    .since("9.1.0")
    .complexity("O(N) with N the COUNT; O(N) for all calls together with N the number of keys.")
    .tips("nondeterministic_output request_policy:special response_policy:special")
    .arity(-2)
    .reads()
    .also(crate::command::Acl::KEYSPACE)
    .key("NOT_KEY")
    .each_shard();

/// Where a walk goes on, as clients have it: `<fingerprint>-{<tag>}-<position>`. The tag stands in a hash tag's place, so
/// that the cursor finds the node that has the slot, as a key would.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    slot: u16,
    /// `None` at the beginning of the slot.
    at: Option<ScanCursor>,
}

impl Cursor {
    /// `None` if it is no cursor. One that another process has given begins its slot anew: keys have other places there.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.splitn(3, |it| *it == b'-');
        let (fingerprint, tag, position) = (parts.next()?, parts.next()?, parts.next()?);
        let slot = crc::slot_of(tag);
        let at = ScanCursor::from_number(parse_u64_loosely(position)?);
        let is_ours = fingerprint == own_fingerprint() && at.slot() == slot;
        Some(Self { slot, at: is_ours.then_some(at) })
    }

    fn to_text(self) -> String {
        let tag = tag_of_slot(self.slot);
        match self.at {
            Some(at) => {
                let fingerprint = String::from_utf8_lossy(&own_fingerprint()).into_owned();
                format!("{fingerprint}-{{{tag}}}-{}", at.number())
            }
            None => format!("0-{{{tag}}}-0"),
        }
    }
}

/// What tells apart in which order keys lie: that of their hashes.
fn own_fingerprint() -> [u8; 6] {
    const FIRST: u8 = b'0';
    let mut bits = hash::global().hash(b"the order of a walk") as u32;
    let mut text = [0; 6];
    for place in text.iter_mut().rev() {
        *place = FIRST + (bits & 0x3f) as u8;
        bits >>= 6;
    }
    text
}

fn clusterscan(cx: &mut Context<'_, '_>) -> CommandResult {
    super::check_mode(cx)?;
    let options = ScanOptions::parse_with_slot(cx.args)?;
    let wanted = options.slot.or(options.match_slot());
    let is_nowhere =
        options.slot.zip(options.match_slot()).is_some_and(|(slot, other)| slot != other);
    let text = cx.args.at(1);
    if text == b"0" {
        let first = (!is_nowhere).then(|| Cursor { slot: wanted.unwrap_or(0), at: None });
        reply_with(cx, first, &Names::default());
        return Ok(());
    }
    let cursor = Cursor::parse(text).ok_or(CommandError::text("ERR Invalid cursor"))?;
    if options.slot.is_some_and(|slot| slot != cursor.slot) {
        return Err(CommandError::text("ERR Cursor slot mismatch with SLOT argument"));
    }
    if let Some(slot) = options.match_slot().filter(|slot| *slot != cursor.slot) {
        // On to where the pattern's keys are, and never back.
        let goes_on = !is_nowhere && cursor.slot < slot;
        reply_with(cx, goes_on.then_some(Cursor { slot, at: None }), &Names::default());
        return Ok(());
    }
    let last = wanted.unwrap_or_else(|| cx.limits.last_slot_of_owner(cursor.slot));
    let from = cursor.at.unwrap_or(ScanCursor::at_slot(cursor.slot));
    let mut names = Names::default();
    let mut due = Names::default();
    let next = cx.keys.scan_slots(from, last, options.count, |record, is_due| {
        if options.wants(record) {
            if is_due { &mut due } else { &mut names }.push(record.key());
        }
    });
    due.iter().for_each(|key| cx.keys.found_due(key));
    let next = next.map(|at| Cursor { slot: at.slot(), at: Some(at) });
    let next_owner =
        (wanted.is_none() && last + 1 < SLOT_COUNT).then_some(Cursor { slot: last + 1, at: None });
    reply_with(cx, next.or(next_owner), &names);
    Ok(())
}

fn reply_with(cx: &mut Context<'_, '_>, next: Option<Cursor>, names: &Names) {
    cx.reply.array(2);
    match next {
        Some(cursor) => cx.reply.bulk(cursor.to_text().as_bytes()),
        None => cx.reply.bulk(b"0"),
    }
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.bulk(name));
}
