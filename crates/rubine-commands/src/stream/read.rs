//! XREAD and XREADGROUP: what came to several streams since, or what is about to come. What a group gets is delivered in
//! `deliver.rs`.

use rubine_keyspace::Key;
use rubine_structures::stream::{Stream, StreamId};

use super::consume::Place;
use super::deliver::{serve_history, serve_new};
use super::entries::{Wanted, write_range};
use super::read_options::{Kind, NO_GROUP_OPTION, Options, Served};
use super::{find, parse_id};
use crate::command::{Command, KeyPositions, KeySpec};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, shown};

const NEW_OF_XREAD: CommandError = CommandError::text(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
);
const TOP_IS_ZERO: CommandError = CommandError::text("ERR the stream last element ID is 0-0");

pub(super) const XREAD: Command = Command::new("XREAD", xread)
    .summary("Returns what came to streams behind an identifier each; waits for it if told to.")
    .syntax("[COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]")
    .since("5.0.0")
    .complexity("O(log(N)+M) for each stream, with N its entries and M those returned.")
    .arity(-4)
    .reads()
    .blocks()
    .keys(KeySpec {
        positions: KeyPositions::Streams { keyword: "STREAMS", from: 1 },
        access: "RO ACCESS",
    });

pub(super) const XREADGROUP: Command = Command::new("XREADGROUP", xreadgroup)
    .summary("Returns what is new to a group, or what is pending for a consumer; waits for it if told to.")
    .syntax(
        "GROUP group consumer [COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK milliseconds] \
         [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id ...]",
    )
    .since("5.0.0")
    .complexity("O(M*log(N)) for each stream, with N its entries and M those returned.")
    .arity(-7)
    .writes()
    .blocks()
    .keys(KeySpec {
        positions: KeyPositions::Streams { keyword: "STREAMS", from: 4 },
        access: "RO ACCESS",
    });

fn xread(cx: &mut Context<'_, '_>) -> CommandResult {
    let mut options = Options::parse(cx, Kind::Xread)?;
    let mut starts = Vec::with_capacity(options.key_count);
    let mut rewritten = Vec::new();
    for index in options.keys() {
        let id_index = index + options.key_count;
        let id = cx.args.at(id_index);
        let key = cx.key(index);
        let stream = find(&mut cx.keys, key)?;
        let start = match (id, stream) {
            (b"$" | b"+", None) => StreamId::MIN,
            (b"$", Some(stream)) => stream.last_id(),
            // The last one that is there, whatever came after it and is gone.
            (b"+", Some(stream)) => match stream.last_entry() {
                Some(entry) => entry.id.previous().ok_or(TOP_IS_ZERO)?,
                None => StreamId::MIN,
            },
            (b">", _) => return Err(NEW_OF_XREAD),
            _ => parse_id(id, 0)?,
        };
        if id == b"$" {
            // Whoever waits for what comes after now has to find it when it has come.
            rewritten.push((id_index, Box::from(start.text().as_bytes())));
        }
        starts.push(start);
    }
    let mut served = Served::default();
    for (index, start) in options.keys().zip(starts) {
        let key = cx.key(index);
        let Some(stream) = find_quietly(cx, key) else { continue };
        let stream = stream.last_entry().is_some_and(|top| start < top.id).then_some(stream);
        let Some((stream, start)) = stream.cloned().zip(start.next()) else { continue };
        let count_max = options.budget.admit_from(&stream, start, options.count_max);
        if count_max == 0 {
            break;
        }
        served.begin(cx, key);
        write_range(&mut cx.reply, &stream, Wanted::from(start, count_max));
    }
    if served.finish(cx) { Ok(()) } else { options.wait(cx, rewritten) }
}

/// The stream that was looked up before: this does not count as another access.
fn find_quietly<'v>(cx: &'v mut Context<'_, '_>, key: Key<'_>) -> Option<&'v Stream> {
    use rubine_structures::value::ValueRef;
    match cx.keys.peek(key)?.value() {
        ValueRef::Stream(stream) => Some(stream),
        _ => None,
    }
}

fn xreadgroup(cx: &mut Context<'_, '_>) -> CommandResult {
    cx.replicate_nothing();
    let mut options = Options::parse(cx, Kind::Xreadgroup)?;
    let mut budget = std::mem::take(&mut options.budget);
    let (group, consumer_name) = options.group.ok_or(NO_GROUP_OPTION)?;
    let mut starts = Vec::with_capacity(options.key_count);
    for index in options.keys() {
        let key = cx.key(index);
        let stream = find(&mut cx.keys, key)?;
        if stream.and_then(|it| it.group(group)).is_none() {
            return Err(no_group_to_read(key, group));
        }
        starts.push(group_start(cx.args.at(index + options.key_count))?);
    }
    let mut served = Served::default();
    for (index, start) in options.keys().zip(starts) {
        let place = Place { key: cx.key(index), group };
        let consumer = place.consumer(cx, consumer_name);
        match start {
            Start::New => serve_new(cx, &options, place, consumer, &mut served, &mut budget),
            Start::Behind(id) => {
                served.begin(cx, place.key);
                let first = id.next().unwrap_or(StreamId::MIN);
                serve_history(cx, place, consumer, first, options.count_max, &mut budget);
            }
        }
    }
    if served.finish(cx) { Ok(()) } else { options.wait(cx, Vec::new()) }
}

/// What a group is read from.
#[derive(Clone, Copy)]
enum Start {
    /// What nobody has got yet.
    New,
    /// What the consumer has got and not acknowledged, behind this identifier.
    Behind(StreamId),
}

fn group_start(id: &[u8]) -> Result<Start, CommandError> {
    match id {
        b"$" | b"+" => {
            let id = id[0] as char;
            let text = format!(
                "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                 consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just return \
                 an empty result set."
            );
            Err(CommandError::Other(text.into()))
        }
        b">" => Ok(Start::New),
        _ => match parse_id(id, 0)? {
            StreamId::MAX => Ok(Start::New),
            id => Ok(Start::Behind(id)),
        },
    }
}

fn no_group_to_read(key: Key<'_>, group: &[u8]) -> CommandError {
    let (key, group) = (shown(key.bytes()), shown(group));
    CommandError::quoting(&[
        b"NOGROUP No such key '",
        key,
        b"' or consumer group '",
        group,
        b"' in XREADGROUP with GROUP option",
    ])
}
