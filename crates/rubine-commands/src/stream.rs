//! Stream commands: the list of them all, and what they share. Handlers do no I/O; their keys are already locked.

use rubine_keyspace::{Key, View};
use rubine_structures::record::{RecordRef, ValueMut};
use rubine_structures::stream::{BlockLimits, Group, Stream, StreamId};
use rubine_structures::table::RecordMut;
use rubine_structures::value::{Value, ValueRef};

use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, shown};
use crate::limits::Limits;

mod acknowledge;
mod add;
mod budget;
mod claim;
mod consume;
mod deliver;
mod entries;
mod group;
mod info;
mod pending;
mod producers;
mod range;
mod read;
mod read_options;
mod references;
mod remove;
mod trim;

pub(crate) const COMMANDS: &[Command] = &[
    acknowledge::XACK,
    references::XACKDEL,
    add::XADD,
    claim::XAUTOCLAIM,
    producers::XCFGSET,
    claim::XCLAIM,
    remove::XDEL,
    references::XDELEX,
    group::XGROUP,
    producers::XIDMPRECORD,
    info::XINFO,
    range::XLEN,
    acknowledge::XNACK,
    pending::XPENDING,
    range::XRANGE,
    read::XREAD,
    read::XREADGROUP,
    range::XREVRANGE,
    remove::XSETID,
    trim::XTRIM,
];

const INVALID_ID: CommandError =
    CommandError::text("ERR Invalid stream ID specified as stream command argument");

/// Longer arguments are no identifiers.
const ID_LEN_MAX: usize = 127;

/// The stream under a key, for reading; an error if there is something else.
#[inline]
fn find<'v>(keys: &'v mut View<'_, '_>, key: Key<'_>) -> Result<Option<&'v Stream>, CommandError> {
    match keys.find(key).map(RecordRef::value) {
        None => Ok(None),
        Some(ValueRef::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// The stream under a key, to be changed where it lies; an error if there is something else.
#[inline]
fn find_mut<'v>(
    keys: &'v mut View<'_, '_>,
    key: Key<'_>,
) -> Result<Option<&'v mut Stream>, CommandError> {
    match keys.find_mut(key).map(RecordMut::into_value_mut) {
        None => Ok(None),
        Some(ValueMut::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// The stream that was found under a key before.
fn known<'v>(keys: &'v mut View<'_, '_>, key: Key<'_>) -> &'v mut Stream {
    match keys.find_mut_again(key).map(RecordMut::into_value_mut) {
        Some(ValueMut::Stream(stream)) => stream,
        _ => unreachable!("the stream was found before, in the same command"),
    }
}

/// Changes a group that was found before.
fn edit_group<R>(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    name: &[u8],
    change: impl FnOnce(&mut Group) -> R,
) -> R {
    let result = known(&mut cx.keys, key).edit_group(name, change);
    result.expect("the group was found before, in the same command")
}

/// The identifier `ms-seq`, or `ms` alone, which then gets `missing_seq`.
fn parse_id(argument: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    let id =
        if ID_LEN_MAX < argument.len() { None } else { StreamId::parse(argument, missing_seq) };
    id.ok_or(INVALID_ID)
}

/// As [`parse_id`], but `-` and `+` are the lowest and the highest.
fn parse_id_or_edge(argument: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match argument {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => parse_id(argument, missing_seq),
    }
}

/// The lower end of an interval, which is open if it begins with a parenthesis.
fn parse_start(argument: &[u8]) -> Result<StreamId, CommandError> {
    const INVALID: CommandError = CommandError::text("ERR invalid start ID for the interval");
    match argument {
        [b'(', open @ ..] if !open.is_empty() => parse_id(open, 0)?.next().ok_or(INVALID),
        _ => parse_id_or_edge(argument, 0),
    }
}

/// The upper end of an interval, which is open if it begins with a parenthesis.
fn parse_end(argument: &[u8]) -> Result<StreamId, CommandError> {
    const INVALID: CommandError = CommandError::text("ERR invalid end ID for the interval");
    match argument {
        [b'(', open @ ..] if !open.is_empty() => {
            parse_id(open, u64::MAX)?.previous().ok_or(INVALID)
        }
        _ => parse_id_or_edge(argument, u64::MAX),
    }
}

fn block_limits(limits: &Limits) -> BlockLimits {
    BlockLimits {
        block_bytes: limits.stream_node_max_bytes,
        block_entries: limits.stream_node_max_entries,
    }
}

/// That there is no such group, in the words that most commands have for it.
fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (shown(key), shown(group));
    CommandError::quoting(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"])
}

/// That there is no such group under a key that is there.
fn no_group_for_key(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (shown(key), shown(group));
    let parts: [&[u8]; 5] =
        [b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"];
    CommandError::quoting(&parts)
}

/// That the arguments do not fit a subcommand.
fn subcommand_syntax(cx: &Context<'_, '_>, container: &str) -> CommandError {
    CommandError::wrong_form(cx.args.get(1), container)
}

/// Has what a handle still holds freed elsewhere if that takes long.
fn discard(cx: &mut Context<'_, '_>, stream: Stream) {
    cx.keys.discard(Value::Stream(stream));
}
