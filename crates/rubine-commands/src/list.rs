//! List commands: the list of them all, and what they share. Handlers do no I/O; their keys are already locked.

use rubine_keyspace::{Key, View};
use rubine_structures::list::{ChunkLimit, End, List};
use rubine_structures::record::{RecordRef, ValueMut};
use rubine_structures::table::RecordMut;
use rubine_structures::value::{Value, ValueRef};

use crate::command::Command;
use crate::context::Context;
use crate::error::CommandError;
use crate::event::Event;
use crate::limits::Limits;

mod edit;
mod pop;
mod push;
mod range;
mod read;
mod transfer;

pub(crate) const COMMANDS: &[Command] = &[
    transfer::BLMOVE,
    transfer::BLMOVEM,
    pop::BLMPOP,
    pop::BLPOP,
    pop::BRPOP,
    transfer::BRPOPLPUSH,
    read::LINDEX,
    edit::LINSERT,
    read::LLEN,
    transfer::LMOVE,
    transfer::LMOVEM,
    pop::LMPOP,
    pop::LPOP,
    read::LPOS,
    push::LPUSH,
    push::LPUSHX,
    read::LRANGE,
    edit::LREM,
    edit::LSET,
    edit::LTRIM,
    pop::RPOP,
    transfer::RPOPLPUSH,
    push::RPUSH,
    push::RPUSHX,
];

/// The list under a key, for reading; an error if there is something else.
fn find<'v>(keys: &'v mut View<'_, '_>, key: Key<'_>) -> Result<Option<&'v List>, CommandError> {
    match keys.find(key).map(RecordRef::value) {
        None => Ok(None),
        Some(ValueRef::List(list)) => Ok(Some(list)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// The list under a key, to be changed where it lies; an error if there is something else.
#[inline]
fn find_mut<'v>(
    keys: &'v mut View<'_, '_>,
    key: Key<'_>,
) -> Result<Option<&'v mut List>, CommandError> {
    match keys.find_mut(key).map(RecordMut::into_value_mut) {
        None => Ok(None),
        Some(ValueMut::List(list)) => Ok(Some(list)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// Items that are compared in the time of a step of a computation.
const ITEMS_PER_STEP: u64 = 8;

/// How large the chunks of a list may become.
#[inline]
pub(crate) fn chunk_limit(limits: &Limits) -> ChunkLimit {
    ChunkLimit::from_directive(limits.list_max_listpack_size)
}

/// LEFT or RIGHT.
fn parse_end(argument: &[u8]) -> Result<End, CommandError> {
    if argument.eq_ignore_ascii_case(b"left") {
        Ok(End::Front)
    } else if argument.eq_ignore_ascii_case(b"right") {
        Ok(End::Back)
    } else {
        Err(CommandError::Syntax)
    }
}

/// Pushes the items one after another, to a new list if there is none. Returns the length. Tells nobody but of a new
/// key; `key` holds a list or nothing.
#[inline]
fn push_items<'i>(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    end: End,
    items: impl Iterator<Item = &'i [u8]> + Clone,
) -> Result<usize, CommandError> {
    let limit = chunk_limit(cx.limits);
    if let Some(list) = find_mut(&mut cx.keys, key)? {
        list.push_all(end, items, limit);
        return Ok(list.len());
    }
    let mut list = List::new();
    list.push_all(end, items, limit);
    let len = list.len();
    cx.keys.store(key, Value::List(list), None);
    cx.notify(key, Event::NEW);
    Ok(len)
}

/// `count` items went from `end` of the list under `key`. If they were all, the key goes too.
#[inline]
fn note_popped(cx: &mut Context<'_, '_>, key: Key<'_>, end: End, count: usize, is_emptied: bool) {
    let event = match end {
        End::Front => Event::LPOP,
        End::Back => Event::RPOP,
    };
    cx.touched(key, event);
    cx.keys.add_dirty(count as u64 - 1);
    if is_emptied {
        cx.remove_emptied(key);
    }
}

/// Has what was taken out of a list freed elsewhere if that takes long.
fn discard(cx: &mut Context<'_, '_>, list: Option<List>) {
    if let Some(list) = list {
        cx.keys.discard(Value::List(list));
    }
}

/// The event of a push.
#[inline]
fn push_event(end: End) -> Event {
    match end {
        End::Front => Event::LPUSH,
        End::Back => Event::RPUSH,
    }
}
