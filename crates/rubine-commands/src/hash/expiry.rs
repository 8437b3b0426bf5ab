//! Deadlines of fields: HEXPIRE and its relatives set them, HPERSIST takes them away, HTTL and its relatives tell them.
//! Never removes what is due, only what is given a deadline that is over.

use rubine_keyspace::Key;
use rubine_structures::hash::Hash;
use rubine_structures::trie::Element;

use super::write::note_removed;
use super::{
    FieldList, NUMFIELDS, Sight, find, find_mut, note_changes, note_field_deadline,
    replicate_counted, replicate_fields,
};
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::expiry::{Time, TimeForm};
use crate::keys::expire::Conditions;

/// What became of a field whose deadline was to be changed, by the number that is replied.
mod result {
    pub(super) const MISSING: i64 = -2;
    pub(super) const HAS_NONE: i64 = -1;
    pub(super) const REFUSED: i64 = 0;
    pub(super) const CHANGED: i64 = 1;
    pub(super) const EXPIRED: i64 = 2;
}

/// The deadline, in Unix milliseconds, that a time means. Unlike a key's, it may be zero.
pub(super) fn deadline_of(cx: &Context<'_, '_>, time: Time<'_>) -> Result<i64, CommandError> {
    let number = rubine_base::number::parse_i64(time.text).ok_or(CommandError::NotInteger)?;
    let deadline = (0 <= number).then_some(number).and_then(|number| match time.form {
        TimeForm::Seconds => number.checked_mul(1000)?.checked_add(cx.now),
        TimeForm::Milliseconds => number.checked_add(cx.now),
        TimeForm::UnixSeconds => number.checked_mul(1000),
        TimeForm::UnixMilliseconds => Some(number),
    });
    deadline.ok_or_else(|| {
        CommandError::InvalidExpire(String::from_utf8_lossy(cx.args.at(0)).to_lowercase())
    })
}

pub(super) const HEXPIRE: Command =
    Command::new("HEXPIRE", |cx| set_deadlines(cx, TimeForm::Seconds))
        .summary("Sets in how many seconds fields fall due.")
        .syntax("key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .since("7.4.0")
        .complexity("O(N) with N the number of fields.")
        .arity(-6)
        .writes()
        .fast()
        .key("RW UPDATE");

pub(super) const HEXPIREAT: Command =
    Command::new("HEXPIREAT", |cx| set_deadlines(cx, TimeForm::UnixSeconds))
        .summary("Sets the Unix time in seconds at which fields fall due.")
        .syntax("key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .since("7.4.0")
        .complexity("O(N) with N the number of fields.")
        .arity(-6)
        .writes()
        .fast()
        .key("RW UPDATE");

pub(super) const HPEXPIRE: Command =
    Command::new("HPEXPIRE", |cx| set_deadlines(cx, TimeForm::Milliseconds))
        .summary("Sets in how many milliseconds fields fall due.")
        .syntax("key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .since("7.4.0")
        .complexity("O(N) with N the number of fields.")
        .arity(-6)
        .writes()
        .fast()
        .key("RW UPDATE");

pub(super) const HPEXPIREAT: Command =
    Command::new("HPEXPIREAT", |cx| set_deadlines(cx, TimeForm::UnixMilliseconds))
        .summary("Sets the Unix time in milliseconds at which fields fall due.")
        .syntax("key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .since("7.4.0")
        .complexity("O(N) with N the number of fields.")
        .arity(-6)
        .writes()
        .fast()
        .key("RW UPDATE");

fn set_deadlines(cx: &mut Context<'_, '_>, form: TimeForm) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let keyword = FieldList::find(args, 3)?;
    let conditions = Conditions::parse(args.first(keyword))?;
    let fields = FieldList::behind(args, keyword, 1, NUMFIELDS)?;
    let deadline = deadline_of(cx, Time { form, text: args.at(2) })?;
    let sight = Sight::of(cx);
    let mut hash = find_mut(&mut cx.keys, key)?;
    let mut changed = Vec::new();
    cx.reply.array(fields.count);
    for index in fields.first..args.len() {
        let result = match &mut hash {
            Some(hash) => set_deadline(hash, args.at(index), deadline, conditions, sight),
            None => result::MISSING,
        };
        if result == result::CHANGED || result == result::EXPIRED {
            changed.push(index);
        }
        cx.reply.integer(result);
    }
    let is_emptied = hash.is_some_and(|hash| hash.is_empty());
    if changed.is_empty() {
        return Ok(());
    }
    if sight.is_over(deadline) {
        note_expired(cx, key, &changed, is_emptied);
    } else {
        note_deadlines(cx, key, deadline, &changed);
    }
    Ok(())
}

/// Gives a field a deadline, or removes it if that is over.
fn set_deadline(
    hash: &mut Hash,
    field: &[u8],
    deadline: i64,
    conditions: Conditions,
    sight: Sight,
) -> i64 {
    let Some(Element { deadline: old, .. }) = sight.get(hash, field) else {
        return result::MISSING;
    };
    if !conditions.allow(old, deadline) {
        result::REFUSED
    } else if sight.is_over(deadline) {
        hash.remove(field);
        result::EXPIRED
    } else {
        hash.set_deadline(field, Some(deadline));
        result::CHANGED
    }
}

/// The fields in the arguments `fields`, at least one, were removed since their new deadline is over.
pub(super) fn note_expired(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    fields: &[usize],
    is_emptied: bool,
) {
    cx.keys.add_expired_fields(fields.len() as u64);
    replicate_fields(cx, &[b"HDEL", key.bytes()], fields);
    note_removed(cx, key, Event::HEXPIRED, fields.len() as u64, is_emptied);
}

/// The fields in the arguments `fields`, at least one, have got a deadline.
pub(super) fn note_deadlines(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    deadline: i64,
    fields: &[usize],
) {
    note_field_deadline(cx, key, deadline);
    let mut text = itoa::Buffer::new();
    let deadline = text.format(deadline).as_bytes();
    // Only what was changed and without conditions: whoever replays this may see fields that are hidden here.
    replicate_counted(cx, &[b"HPEXPIREAT", key.bytes(), deadline], fields);
    note_changes(cx, key, fields.len() as u64);
    cx.notify(key, Event::HEXPIRE);
}

pub(super) const HPERSIST: Command = Command::new("HPERSIST", hpersist)
    .summary("Takes the deadlines away from fields.")
    .syntax("key FIELDS numfields field [field ...]")
    .since("7.4.0")
    .complexity("O(N) with N the number of fields.")
    .arity(-5)
    .writes()
    .fast()
    .key("RW UPDATE");

fn hpersist(cx: &mut Context<'_, '_>) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let fields = FieldList::at(args, 2, NUMFIELDS)?;
    let sight = Sight::of(cx);
    let mut hash = find_mut(&mut cx.keys, key)?;
    let mut changed = Vec::new();
    cx.reply.array(fields.count);
    for index in fields.first..args.len() {
        let result = match &mut hash {
            Some(hash) => persist(hash, args.at(index), sight),
            None => result::MISSING,
        };
        if result == result::CHANGED {
            changed.push(index);
        }
        cx.reply.integer(result);
    }
    if !changed.is_empty() {
        note_persisted(cx, key, &changed);
    }
    Ok(())
}

/// Takes the deadline away from a field.
fn persist(hash: &mut Hash, field: &[u8], sight: Sight) -> i64 {
    match sight.get(hash, field) {
        None => result::MISSING,
        Some(Element { deadline: None, .. }) => result::HAS_NONE,
        Some(_) => {
            hash.set_deadline(field, None);
            result::CHANGED
        }
    }
}

/// The fields in the arguments `fields`, at least one, have no deadline any more.
pub(super) fn note_persisted(cx: &mut Context<'_, '_>, key: Key<'_>, fields: &[usize]) {
    replicate_counted(cx, &[b"HPERSIST", key.bytes()], fields);
    note_changes(cx, key, fields.len() as u64);
    cx.notify(key, Event::HPERSIST);
}

pub(super) const HTTL: Command = Command::new("HTTL", |cx| tell_deadlines(cx, TimeForm::Seconds))
    .summary("Tells in how many seconds fields fall due.")
    .syntax("key FIELDS numfields field [field ...]")
    .since("7.4.0")
    .complexity("O(N) with N the number of fields.")
    .arity(-5)
    .reads()
    .fast()
    .key("RO ACCESS");

pub(super) const HPTTL: Command =
    Command::new("HPTTL", |cx| tell_deadlines(cx, TimeForm::Milliseconds))
        .summary("Tells in how many milliseconds fields fall due.")
        .syntax("key FIELDS numfields field [field ...]")
        .since("7.4.0")
        .complexity("O(N) with N the number of fields.")
        .arity(-5)
        .reads()
        .fast()
        .key("RO ACCESS");

pub(super) const HEXPIRETIME: Command =
    Command::new("HEXPIRETIME", |cx| tell_deadlines(cx, TimeForm::UnixSeconds))
        .summary("Tells the Unix time in seconds at which fields fall due.")
        .syntax("key FIELDS numfields field [field ...]")
        .since("7.4.0")
        .complexity("O(N) with N the number of fields.")
        .arity(-5)
        .reads()
        .fast()
        .key("RO ACCESS");

pub(super) const HPEXPIRETIME: Command =
    Command::new("HPEXPIRETIME", |cx| tell_deadlines(cx, TimeForm::UnixMilliseconds))
        .summary("Tells the Unix time in milliseconds at which fields fall due.")
        .syntax("key FIELDS numfields field [field ...]")
        .since("7.4.0")
        .complexity("O(N) with N the number of fields.")
        .arity(-5)
        .reads()
        .fast()
        .key("RO ACCESS");

fn tell_deadlines(cx: &mut Context<'_, '_>, form: TimeForm) -> CommandResult {
    let (args, now) = (cx.args, cx.now);
    let fields = FieldList::at(args, 2, CommandError::Syntax)?;
    let sight = Sight::of(cx);
    let hash = find(&mut cx.keys, args.key(1))?;
    cx.reply.array(fields.count);
    for field in args.from(fields.first) {
        let element = hash.and_then(|hash| sight.get(hash, field));
        let result = match element.map(|element| element.deadline) {
            None => result::MISSING,
            Some(None) => result::HAS_NONE,
            Some(Some(deadline)) => {
                let rest = deadline.saturating_sub(now).max(0);
                match form {
                    TimeForm::Seconds => to_seconds(rest),
                    TimeForm::Milliseconds => rest,
                    TimeForm::UnixSeconds => to_seconds(deadline),
                    TimeForm::UnixMilliseconds => deadline,
                }
            }
        };
        cx.reply.integer(result);
    }
    Ok(())
}

/// Milliseconds to the nearest second, as Redis rounds them.
fn to_seconds(milliseconds: i64) -> i64 {
    milliseconds.saturating_add(500) / 1000
}
