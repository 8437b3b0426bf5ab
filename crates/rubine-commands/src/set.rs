//! Set commands: members without order under one key. What they share is here; the handlers are in the files by topic.
//! Never depends on the form in which a set is kept.

mod algebra;
mod random;
mod read;
mod write;

use rubine_keyspace::{Key, View};
use rubine_resp::writer::Reply;
use rubine_structures::record::{RecordRef, ValueMut};
use rubine_structures::set::{Member, Set, SetLimits};
use rubine_structures::table::RecordMut;
use rubine_structures::value::{Value, ValueRef};

use crate::command::Command;
use crate::context::Context;
use crate::error::CommandError;
use crate::event::Event;
use crate::limits::Limits;

pub(crate) const COMMANDS: &[Command] = &[
    write::SADD,
    read::SCARD,
    algebra::SDIFF,
    algebra::SDIFFCARD,
    algebra::SDIFFSTORE,
    algebra::SINTER,
    algebra::SINTERCARD,
    algebra::SINTERSTORE,
    read::SISMEMBER,
    read::SMEMBERS,
    read::SMISMEMBER,
    write::SMOVE,
    random::SPOP,
    random::SRANDMEMBER,
    write::SREM,
    read::SSCAN,
    algebra::SUNION,
    algebra::SUNIONCARD,
    algebra::SUNIONSTORE,
];

/// The set under a key, for reading; an error if there is something else.
#[inline]
fn find<'v>(keys: &'v mut View<'_, '_>, key: Key<'_>) -> Result<Option<&'v Set>, CommandError> {
    match keys.find(key).map(RecordRef::value) {
        None => Ok(None),
        Some(ValueRef::Set(set)) => Ok(Some(set)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// The set under a key, to be changed where it lies; an error if there is something else.
#[inline]
fn find_mut<'v>(
    keys: &'v mut View<'_, '_>,
    key: Key<'_>,
) -> Result<Option<&'v mut Set>, CommandError> {
    match keys.find_mut(key).map(RecordMut::into_value_mut) {
        None => Ok(None),
        Some(ValueMut::Set(set)) => Ok(Some(set)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// The set that the same command has found before, or has put there.
fn find_mut_again<'v>(keys: &'v mut View<'_, '_>, key: Key<'_>) -> Option<&'v mut Set> {
    match keys.find_mut_again(key).map(RecordMut::into_value_mut) {
        Some(ValueMut::Set(set)) => Some(set),
        _ => None,
    }
}

/// How large the small forms may become.
#[inline]
fn form_limits(limits: &Limits) -> SetLimits {
    SetLimits {
        intset_entries: limits.set_max_intset_entries,
        listpack_entries: limits.set_max_listpack_entries,
        value_bytes: limits.set_max_listpack_value,
    }
}

/// Puts a new set under a key, whatever was there.
fn store(cx: &mut Context<'_, '_>, key: Key<'_>, set: Set) {
    if cx.keys.store(key, Value::Set(set), None) {
        cx.notify(key, Event::NEW);
    }
}

/// `count` members, at least one, came into or went from the set under `key`.
#[inline]
fn note_changes(cx: &mut Context<'_, '_>, key: Key<'_>, event: Event, count: u64) {
    cx.touched(key, event);
    cx.keys.add_dirty(count - 1);
}

#[inline]
fn write_member(reply: &mut Reply<'_>, member: Member<'_>) {
    match member {
        Member::Text(text) => reply.bulk(text),
        Member::Integer(integer) => reply.bulk_integer(integer),
    }
}
