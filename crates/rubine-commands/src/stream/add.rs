//! XADD: an entry more, and the oldest ones removed on the way if that is asked for.

use std::ops::Range;

use rubine_structures::stream::{Stream, StreamId, parse_part};
use rubine_structures::value::Value;

use super::producers::Origin;
use super::references;
use super::trim::Trimming;
use super::{INVALID_ID, block_limits, find_mut, parse_id};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

/// Bytes of the fields of one entry.
const ENTRY_BYTES_MAX: usize = 1 << 30;

const ID_ZERO: CommandError =
    CommandError::text("ERR The ID specified in XADD must be greater than 0-0");
const ORIGIN_OF_GIVEN: CommandError =
    CommandError::text("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs");
const EXHAUSTED: CommandError = CommandError::text(
    "ERR The stream has exhausted the last possible ID, unable to add more items",
);
const ID_NOT_HIGHER: CommandError = CommandError::text(
    "ERR The ID specified in XADD is equal or smaller than the target stream top item",
);
const TOO_LARGE: CommandError = CommandError::text("ERR Elements are too large to be stored");

pub(super) const XADD: Command = Command::new("XADD", xadd)
    .summary("Appends an entry to a stream, and makes the stream if there is none.")
    .syntax("key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO pid | IDMP pid iid] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]")
    .since("5.0.0")
    .complexity("O(log(N)+M) with N the number of entries and M the number of blocks removed.")
    .tips("nondeterministic_output")
    .arity(-5)
    .writes()
    .denies_oom()
    .fast()
    .key("RW UPDATE");

fn xadd(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = Options::parse(cx)?;
    let key = cx.key(1);
    let now = cx.now as u64;
    let limits = block_limits(cx.limits);
    let fields = cx.args.from(options.id_index + 1);
    let known = options.origin.map(|it| it.with_fields(fields.clone()));
    if let Some(known) = &known
        && let Some(stream) = find_mut(&mut cx.keys, key)?
        && let Some(id) = known.find(stream.producers(), cx.now)
    {
        stream.edit_producers(|producers| producers.duplicates += 1);
        cx.reply.bulk(id.text().as_bytes());
        return Ok(());
    }
    let id = match find_mut(&mut cx.keys, key)? {
        Some(stream) => {
            let id = options.id.after(stream.last_id(), now)?;
            stream.append(id, fields, limits);
            id
        }
        None if options.makes_no_stream => {
            cx.reply.null();
            return Ok(());
        }
        None => {
            let id = options.id.after(StreamId::MIN, now)?;
            let mut stream = Stream::new();
            stream.append(id, fields, limits);
            cx.keys.store(key, Value::Stream(stream), None);
            cx.notify(key, Event::NEW);
            id
        }
    };
    cx.touched(key, Event::XADD);
    if let Some(trim) = options.trimming.trim {
        let exactness = options.trimming.exactness(cx);
        let references = options.trimming.references.unwrap_or_default();
        if 0 < references::trim(cx, key, trim, exactness, references) {
            cx.notify(key, Event::XTRIM);
        }
    }
    if let Some(known) = &known {
        super::known(&mut cx.keys, key)
            .edit_producers(|producers| producers.record(known.producer, &known.token, id, now));
    }
    if cx.effects.is_journalled {
        let made = (!options.id.is_complete()).then_some((options.id_index, id));
        options.trimming.replicate_exactly(cx, key, made, options.origin_args.clone());
        if let Some(known) = &known {
            let id = id.text();
            let name = b"XIDMPRECORD";
            cx.replicate(&[name, key.bytes(), known.producer, &known.token, id.as_bytes()]);
        }
    }
    cx.reply.bulk(id.text().as_bytes());
    Ok(())
}

struct Options<'a> {
    makes_no_stream: bool,
    origin: Option<Origin<'a>>,
    /// Numbers of the arguments that say it.
    origin_args: Range<usize>,
    trimming: Trimming,
    id: NewId,
    /// Number of the argument that is the identifier; names and values follow.
    id_index: usize,
}

impl<'a> Options<'a> {
    fn parse(cx: &Context<'a, '_>) -> Result<Self, CommandError> {
        let mut options = cx.args.options(2);
        let (mut trimming, mut makes_no_stream) = (Trimming::default(), false);
        let (mut origin, mut origin_args) = (None, 0..0);
        let (id, id_index) = loop {
            let index = options.index();
            if options.keyword("*") {
                break (NewId::Next, index);
            } else if let Some(parsed) = Origin::parse(&mut options, origin.as_ref())? {
                origin = Some(parsed);
                origin_args = index..options.index();
            } else if trimming.parse_option(&mut options)? {
            } else if options.keyword("NOMKSTREAM") {
                makes_no_stream = true;
            } else if let Some(id) = options.next() {
                break (NewId::parse(id)?, index);
            } else {
                // Without an ID there are no fields either, which is what Redis complains of.
                break (NewId::Next, index);
            }
        };
        trimming.check(cx, false)?;
        check_fields(cx.args, id_index + 1)?;
        if origin.is_some() && id != NewId::Next {
            return Err(ORIGIN_OF_GIVEN);
        }
        if id == NewId::Given(StreamId::MIN) {
            return Err(ID_ZERO);
        }
        Ok(Self { makes_no_stream, origin, origin_args, trimming, id, id_index })
    }
}

/// Names and values have to come in pairs, of which there is one at least, and no entry may be too large.
fn check_fields(args: Args<'_>, start: usize) -> CommandResult {
    let fields = args.from(start);
    if fields.len() < 2 || !fields.len().is_multiple_of(2) {
        return Err(CommandError::Arity("xadd".to_owned()));
    }
    let bytes: usize = fields.map(<[u8]>::len).sum();
    if ENTRY_BYTES_MAX < bytes { Err(TOO_LARGE) } else { Ok(()) }
}

/// The identifier that an entry gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NewId {
    Given(StreamId),
    /// The first that is free in this millisecond.
    NextOf(u64),
    /// The first that is free from now on.
    Next,
}

impl NewId {
    fn parse(argument: &[u8]) -> Result<Self, CommandError> {
        match argument.strip_suffix(b"-*") {
            Some(ms) => parse_part(ms).map(Self::NextOf).ok_or(INVALID_ID),
            None => parse_id(argument, 0).map(Self::Given),
        }
    }

    /// Whether nothing of it is made here.
    fn is_complete(self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// The identifier of an entry behind `last`.
    fn after(self, last: StreamId, now: u64) -> Result<StreamId, CommandError> {
        let next = last.next().ok_or(EXHAUSTED)?;
        let id = match self {
            Self::Given(id) => id,
            Self::NextOf(ms) if ms == last.ms => next,
            Self::NextOf(ms) => StreamId::new(ms, 0),
            Self::Next if last.ms < now => StreamId::new(now, 0),
            Self::Next => next,
        };
        let is_other_ms = matches!(self, Self::NextOf(ms) if ms != id.ms);
        if id <= last || is_other_ms { Err(ID_NOT_HIGHER) } else { Ok(id) }
    }
}
