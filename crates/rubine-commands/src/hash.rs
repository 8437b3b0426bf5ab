//! Hash commands: fields with values under one key. What they share is here; the handlers are in the files by topic.
//! Never looks at a clock: which fields are due follows from the instant of the command.

mod expiry;
mod random;
mod read;
mod timed;
mod walk;
mod write;

use rubine_keyspace::{Key, View};
use rubine_structures::hash::{Hash, HashLimits};
use rubine_structures::record::{RecordRef, ValueMut};
use rubine_structures::table::RecordMut;
use rubine_structures::trie::Element;
use rubine_structures::value::{Value, ValueRef};

use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::CommandError;
use crate::event::Event;
use crate::limits::Limits;

pub(crate) const COMMANDS: &[Command] = &[
    write::HDEL,
    read::HEXISTS,
    expiry::HEXPIRE,
    expiry::HEXPIREAT,
    expiry::HEXPIRETIME,
    read::HGET,
    walk::HGETALL,
    write::HGETDEL,
    timed::HGETEX,
    write::HINCRBY,
    write::HINCRBYFLOAT,
    walk::HKEYS,
    read::HLEN,
    read::HMGET,
    write::HMSET,
    expiry::HPERSIST,
    expiry::HPEXPIRE,
    expiry::HPEXPIREAT,
    expiry::HPEXPIRETIME,
    expiry::HPTTL,
    random::HRANDFIELD,
    read::HSCAN,
    write::HSET,
    timed::HSETEX,
    write::HSETNX,
    read::HSTRLEN,
    expiry::HTTL,
    walk::HVALS,
];

const NUMFIELDS: CommandError = CommandError::text(
    "ERR numfields should be greater than 0 and match the provided number of fields",
);

/// Which fields a command sees. Those that are due are hidden until they are removed; but a command that comes from a
/// master or a log sees them all, since whoever sent it decides what is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// A field whose deadline is this or earlier is hidden.
    due_until: i64,
}

impl Sight {
    #[inline]
    pub(crate) fn of(cx: &Context<'_, '_>) -> Self {
        Self { due_until: cx.keys.due_until() }
    }

    #[inline]
    fn sees(self, element: Element<'_>) -> bool {
        !element.deadline.is_some_and(|deadline| self.is_over(deadline))
    }

    /// Whether a field with this deadline is hidden.
    fn is_over(self, deadline: i64) -> bool {
        deadline <= self.due_until
    }

    /// Whether no field of `hash` is hidden for sure.
    #[inline]
    fn sees_all(self, hash: &Hash) -> bool {
        !hash.next_deadline().is_some_and(|earliest| self.is_over(earliest))
    }

    #[inline]
    pub(crate) fn get<'h>(self, hash: &'h Hash, field: &[u8]) -> Option<Element<'h>> {
        hash.get(field).filter(|&element| self.sees(element))
    }

    /// Removes a field if it is seen. Returns whether it was.
    fn remove(self, hash: &mut Hash, field: &[u8]) -> bool {
        let is_seen = self.sees_all(hash) || self.get(hash, field).is_some();
        is_seen && hash.remove(field)
    }
}

/// The hash under a key, for reading; an error if there is something else.
#[inline]
fn find<'v>(keys: &'v mut View<'_, '_>, key: Key<'_>) -> Result<Option<&'v Hash>, CommandError> {
    match keys.find(key).map(RecordRef::value) {
        None => Ok(None),
        Some(ValueRef::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// The hash under a key, to be changed where it lies; an error if there is something else.
#[inline]
fn find_mut<'v>(
    keys: &'v mut View<'_, '_>,
    key: Key<'_>,
) -> Result<Option<&'v mut Hash>, CommandError> {
    match keys.find_mut(key).map(RecordMut::into_value_mut) {
        None => Ok(None),
        Some(ValueMut::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// How large the packed form may become.
#[inline]
fn form_limits(limits: &Limits) -> HashLimits {
    HashLimits {
        entries: limits.hash_max_listpack_entries,
        value_bytes: limits.hash_max_listpack_value,
    }
}

/// Puts a new hash under a key that is free.
fn store(cx: &mut Context<'_, '_>, key: Key<'_>, hash: Hash) {
    cx.keys.store(key, Value::Hash(hash), None);
    cx.notify(key, Event::NEW);
}

/// A field of the hash under `key` has got a deadline: whoever removes what is due shall come by then.
fn note_field_deadline(cx: &mut Context<'_, '_>, key: Key<'_>, deadline: i64) {
    if let Some(mut record) = cx.keys.find_mut_again(key) {
        record.note_inner_deadline(deadline);
    }
}

/// `count` changes, at least one, were made to the hash under `key`.
#[inline]
fn note_changes(cx: &mut Context<'_, '_>, key: Key<'_>, count: u64) {
    cx.keys.note_change(key);
    cx.keys.add_dirty(count - 1);
}

/// `count` fields that were due got a new value: for those who watch, they expired first.
fn note_overwritten(cx: &mut Context<'_, '_>, key: Key<'_>, count: u64) {
    if 0 < count {
        cx.keys.add_expired_fields(count);
        cx.notify(key, Event::HEXPIRED);
    }
}

/// Writes a command to the journal: what is in `head` and then the arguments with the numbers in `fields`.
fn replicate_fields(cx: &mut Context<'_, '_>, head: &[&[u8]], fields: &[usize]) {
    let fields = fields.iter().map(|&index| cx.args.at(index));
    let command: Vec<&[u8]> = head.iter().copied().chain(fields).collect();
    cx.replicate(&command);
}

/// As [`replicate_fields`], with the count of the fields in front of them.
fn replicate_counted(cx: &mut Context<'_, '_>, head: &[&[u8]], fields: &[usize]) {
    let mut count = itoa::Buffer::new();
    let tail: [&[u8]; 2] = [b"FIELDS", count.format(fields.len()).as_bytes()];
    replicate_fields(cx, &[head, &tail].concat(), fields);
}

/// The fields behind `FIELDS numfields`.
#[derive(Clone, Copy, Debug)]
struct FieldList {
    /// The number of the argument that is the first field.
    first: usize,
    count: usize,
}

impl FieldList {
    /// Reads the list where argument number `keyword` has to be `FIELDS`.
    fn at(args: Args<'_>, keyword: usize, mismatch: CommandError) -> Result<Self, CommandError> {
        if !args.at(keyword).eq_ignore_ascii_case(b"fields") {
            return Err(CommandError::Syntax);
        }
        Self::behind(args, keyword, 1, mismatch)
    }

    /// Where `FIELDS` stands, from argument number `from` on.
    fn find(args: Args<'_>, from: usize) -> Result<usize, CommandError> {
        // As the last argument it has no number behind it.
        (from..args.len() - 1)
            .find(|&index| args.at(index).eq_ignore_ascii_case(b"fields"))
            .ok_or(NUMFIELDS)
    }

    /// Reads the list behind `FIELDS`, which is argument number `keyword`. A field has `width` arguments.
    fn behind(
        args: Args<'_>,
        keyword: usize,
        width: usize,
        mismatch: CommandError,
    ) -> Result<Self, CommandError> {
        let count = args.integer(keyword + 1)?;
        let first = keyword + 2;
        let count = usize::try_from(count).ok().filter(|&count| 0 < count);
        let fits = |count: &usize| count.checked_mul(width) == Some(args.len() - first);
        let count = count.filter(fits).ok_or(mismatch)?;
        Ok(Self { first, count })
    }
}

#[cfg(test)]
mod tests;
