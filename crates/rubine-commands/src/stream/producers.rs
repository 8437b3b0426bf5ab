//! Entries that are added once, however often their producer sends them: the options of XADD, XCFGSET, and XIDMPRECORD,
//! which is how the journal tells of what is known of producers.

use sha1::{Digest, Sha1};

use rubine_structures::stream::{Producers, StreamId};

use super::{find_mut, parse_id};
use crate::args::ArgCursor;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};

const TWICE: CommandError = CommandError::text("ERR IDMP/IDMPAUTO specified multiple times");
const NO_PRODUCER: CommandError = CommandError::text("ERR IDMP requires a non-empty producer ID");
const NO_TOKEN: CommandError = CommandError::text("ERR IDMP requires a non-empty idempotent ID");
const NO_PRODUCER_OF_AUTO: CommandError =
    CommandError::text("ERR IDMPAUTO requires a non-empty producer ID");

/// Who adds an entry, and how the entry is recognized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    producer: &'a [u8],
    /// `None` if it is recognized by its fields.
    token: Option<&'a [u8]>,
}

impl<'a> Origin<'a> {
    /// Reads an option; `None` if the next argument is none of these.
    pub(super) fn parse(
        options: &mut ArgCursor<'a>,
        before: Option<&Self>,
    ) -> Result<Option<Self>, CommandError> {
        let origin = if 3 <= options.remaining() && options.keyword("IDMP") {
            let (producer, token) = (options.required()?, options.required()?);
            if before.is_none() && producer.is_empty() {
                return Err(NO_PRODUCER);
            }
            if before.is_none() && token.is_empty() {
                return Err(NO_TOKEN);
            }
            Self { producer, token: Some(token) }
        } else if 2 <= options.remaining() && options.keyword("IDMPAUTO") {
            let producer = options.required()?;
            if before.is_none() && producer.is_empty() {
                return Err(NO_PRODUCER_OF_AUTO);
            }
            Self { producer, token: None }
        } else {
            return Ok(None);
        };
        if before.is_some() { Err(TWICE) } else { Ok(Some(origin)) }
    }

    /// What the entry with these fields, names and values by turns, is recognized by.
    pub(super) fn with_fields(self, fields: impl Iterator<Item = &'a [u8]>) -> Known<'a> {
        let token = self.token.map_or_else(|| token_of(fields), <[u8]>::to_vec);
        Known { producer: self.producer, token }
    }
}

/// What an entry is recognized by.
pub(super) struct Known<'a> {
    pub(super) producer: &'a [u8],
    pub(super) token: Vec<u8>,
}

impl Known<'_> {
    /// The identifier that the entry got when it came first, if that is known.
    pub(super) fn find(&self, producers: Option<&Producers>, now: i64) -> Option<StreamId> {
        producers?.find(self.producer, &self.token, now as u64)
    }
}

/// The same for the same fields in whatever order.
fn token_of<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut digests = Vec::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let mut sha = Sha1::new();
        sha.update((name.len() as u64).to_le_bytes());
        sha.update(name);
        sha.update(value);
        digests.push(sha.finalize());
    }
    digests.sort_unstable();
    let mut sha = Sha1::new();
    digests.iter().for_each(|it| sha.update(it));
    sha.finalize().to_vec()
}

const NO_PARAMETER: CommandError = CommandError::text(
    "ERR At least one parameter (IDMP-DURATION or IDMP-MAXSIZE) must be specified",
);
const DURATION_RANGE: CommandError =
    CommandError::text("ERR IDMP-DURATION must be between 1 and 86400 seconds");
const COUNT_RANGE: CommandError =
    CommandError::text("ERR IDMP-MAXSIZE must be between 1 and 10000 entries");

pub(super) const XCFGSET: Command = Command::new("XCFGSET", xcfgset)
    .summary(
        "Sets how long, and for how many entries, a stream recognizes what a producer sends again.",
    )
    .syntax("key [IDMP-DURATION seconds] [IDMP-MAXSIZE count]")
    .since("8.6.0")
    .complexity("O(1)")
    .arity(-2)
    .writes()
    .fast()
    .key("RW UPDATE");

fn xcfgset(cx: &mut Context<'_, '_>) -> CommandResult {
    let (mut duration, mut count_max) = (None, None);
    let mut options = cx.args.options(2);
    if options.is_at_end() {
        return Err(NO_PARAMETER);
    }
    while !options.is_at_end() {
        if options.remaining() < 2 {
            return Err(CommandError::Syntax);
        } else if options.keyword("IDMP-DURATION") {
            let number = options.integer()?;
            duration = Some(number).filter(|it| (1..=86_400).contains(it));
            duration.ok_or(DURATION_RANGE)?;
        } else if options.keyword("IDMP-MAXSIZE") {
            let number = options.integer()?;
            count_max = Some(number).filter(|it| (1..=10_000).contains(it));
            count_max.ok_or(COUNT_RANGE)?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let key = cx.key(1);
    let stream = find_mut(&mut cx.keys, key)?.ok_or(CommandError::NoSuchKey)?;
    stream.edit_producers(|producers| {
        let mut retention = producers.retention();
        retention.duration = duration.map_or(retention.duration, |it| it as u64);
        retention.count_max = count_max.map_or(retention.count_max, |it| it as u64);
        producers.set_retention(retention);
    });
    cx.keys.add_dirty(1);
    cx.reply.ok();
    Ok(())
}

const NOTHING_RECORDED: CommandError =
    CommandError::text("ERR XIDMPRECORD requires a non-empty producer ID and idempotent ID");
const NO_ENTRY: CommandError = CommandError::text("ERR no such entry in the stream");
const OTHER_ENTRY: CommandError =
    CommandError::text("ERR the idempotent ID is that of another entry");

pub(super) const XIDMPRECORD: Command = Command::new("XIDMPRECORD", xidmprecord)
    .summary(
        "Tells a stream which entry a producer has added under an identifier of its own; for logs.",
    )
    .syntax("key pid iid stream-id")
    .since("8.8.0")
    .complexity("O(log(N)) with N what is known of the producer.")
    .arity(5)
    .writes()
    .denies_oom()
    .fast()
    .key("RW UPDATE");

fn xidmprecord(cx: &mut Context<'_, '_>) -> CommandResult {
    let (producer, token) = (cx.args.at(2), cx.args.at(3));
    let id = parse_id(cx.args.at(4), 0)?;
    if producer.is_empty() || token.is_empty() {
        return Err(NOTHING_RECORDED);
    }
    let (key, now) = (cx.key(1), cx.now as u64);
    let stream = find_mut(&mut cx.keys, key)?.ok_or(CommandError::NoSuchKey)?;
    // In a log, the entry may have been trimmed by the command that has added it.
    if !stream.contains(id) && !cx.client.is_trusted {
        return Err(NO_ENTRY);
    }
    match stream.producers().and_then(|it| it.find(producer, token, now)) {
        Some(known) if known != id => return Err(OTHER_ENTRY),
        Some(_) => {}
        None => {
            stream.edit_producers(|producers| producers.record(producer, token, id, now));
            cx.keys.add_dirty(1);
        }
    }
    cx.reply.ok();
    Ok(())
}
