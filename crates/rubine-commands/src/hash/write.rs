//! Commands that set, change or remove fields and take no deadline: HSET and its relatives, HINCRBY, HDEL and HGETDEL.

use rubine_base::number::{LongDouble, parse_i64};
use rubine_keyspace::Key;
use rubine_structures::hash::{Hash, HashLimits};
use rubine_structures::trie::Deadline;

use super::read::write_value_or_null;
use super::{
    FieldList, NUMFIELDS, Sight, find_mut, form_limits, note_changes, note_overwritten, store,
};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

pub(super) const HSET: Command = Command::new("HSET", hset)
    .summary("Sets fields of a hash. Returns how many are new.")
    .syntax("key field value [field value ...]")
    .since("2.0.0")
    .complexity("O(N) with N the number of fields set.")
    .arity(-4)
    .writes()
    .denies_oom()
    .fast()
    .key("RW UPDATE")
    .members(2, 2);

fn hset(cx: &mut Context<'_, '_>) -> CommandResult {
    let added = set_pairs(cx, "hset")?;
    cx.reply.integer(added as i64);
    Ok(())
}

pub(super) const HMSET: Command = Command::new("HMSET", hmset)
    .summary("Sets fields of a hash. HSET does the same and tells how many are new.")
    .syntax("key field value [field value ...]")
    .since("2.0.0")
    .complexity("O(N) with N the number of fields set.")
    .arity(-4)
    .writes()
    .denies_oom()
    .fast()
    .key("RW UPDATE")
    .members(2, 2);

fn hmset(cx: &mut Context<'_, '_>) -> CommandResult {
    set_pairs(cx, "hmset")?;
    cx.reply.ok();
    Ok(())
}

/// Sets the fields from argument 2 on. Returns how many are new.
#[inline]
fn set_pairs(cx: &mut Context<'_, '_>, name: &str) -> Result<u64, CommandError> {
    let args = cx.args;
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Arity(name.to_owned()));
    }
    let key = cx.key(1);
    let (sight, limits) = (Sight::of(cx), form_limits(cx.limits));
    let pair_count = (args.len() - 2) / 2;
    let written = if let Some(hash) = find_mut(&mut cx.keys, key)? {
        hash.expect(pair_count, limits);
        set_each(hash, args, 2, Deadline::Never, sight, limits)
    } else {
        let mut hash = Hash::new();
        hash.expect(pair_count, limits);
        let written = set_each(&mut hash, args, 2, Deadline::Never, sight, limits);
        store(cx, key, hash);
        written
    };
    note_changes(cx, key, pair_count as u64);
    note_overwritten(cx, key, written.overwritten.len() as u64);
    cx.notify(key, Event::HSET);
    Ok(written.added)
}

/// What became of fields that were set.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// How many are new to those who could not see what was due.
    pub(super) added: u64,
    /// The numbers of the arguments that are fields that were due.
    pub(super) overwritten: Vec<usize>,
}

/// Sets the fields whose names and values alternate from argument number `first` on.
#[inline]
pub(super) fn set_each(
    hash: &mut Hash,
    args: Args<'_>,
    first: usize,
    deadline: Deadline,
    sight: Sight,
    limits: HashLimits,
) -> Written {
    let mut written = Written::default();
    // What is set here does not fall due at once, so this holds until the end.
    let sees_all = sight.sees_all(hash);
    for index in (first..args.len()).step_by(2) {
        let (field, value) = (args.at(index), args.at(index + 1));
        let is_hidden = !sees_all && hash.contains(field) && sight.get(hash, field).is_none();
        if is_hidden {
            written.overwritten.push(index);
        }
        // A field that expired leaves nothing to be kept.
        let deadline =
            if is_hidden && deadline == Deadline::Keep { Deadline::Never } else { deadline };
        let is_new = hash.set(field, value, deadline, limits) || is_hidden;
        written.added += u64::from(is_new);
    }
    written
}

pub(super) const HSETNX: Command = Command::new("HSETNX", hsetnx)
    .summary("Sets a field that is not there yet.")
    .syntax("key field value")
    .since("2.0.0")
    .complexity("O(1)")
    .arity(4)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT")
    .members(2, 2);

fn hsetnx(cx: &mut Context<'_, '_>) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let (sight, limits) = (Sight::of(cx), form_limits(cx.limits));
    let mut is_volatile = false;
    let written = if let Some(hash) = find_mut(&mut cx.keys, key)? {
        if sight.get(hash, args.at(2)).is_some() {
            cx.reply.integer(0);
            return Ok(());
        }
        is_volatile = hash.next_deadline().is_some();
        set_each(hash, args, 2, Deadline::Never, sight, limits)
    } else {
        let mut hash = Hash::new();
        let written = set_each(&mut hash, args, 2, Deadline::Never, sight, limits);
        store(cx, key, hash);
        written
    };
    note_changes(cx, key, 1);
    note_overwritten(cx, key, written.overwritten.len() as u64);
    cx.notify(key, Event::HSET);
    if is_volatile {
        // Whoever replays this may still see a field that was due here.
        cx.replicate(&[b"HSET", key.bytes(), args.at(2), args.at(3)]);
    }
    cx.reply.integer(1);
    Ok(())
}

pub(super) const HINCRBY: Command = Command::new("HINCRBY", hincrby)
    .summary("Adds a number to the integer in a field; a missing field counts as 0.")
    .syntax("key field increment")
    .since("2.0.0")
    .complexity("O(1)")
    .arity(4)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE")
    .members(2, 2);

fn hincrby(cx: &mut Context<'_, '_>) -> CommandResult {
    let increment = cx.args.integer(3)?;
    let mut text = itoa::Buffer::new();
    let mut sum = 0;
    let changed = change_value(cx, Event::HINCRBY, |old| {
        let old = match old {
            Some(old) => parse_i64(old).ok_or(NOT_AN_INTEGER)?,
            None => 0,
        };
        sum = old.checked_add(increment).ok_or(CommandError::Overflow)?;
        Ok(text.format(sum).as_bytes())
    })?;
    if changed.was_volatile {
        let mut text = itoa::Buffer::new();
        replicate_value(cx, text.format(sum).as_bytes(), changed.deadline);
    }
    cx.reply.integer(sum);
    Ok(())
}

const NOT_AN_INTEGER: CommandError = CommandError::text("ERR hash value is not an integer");

pub(super) const HINCRBYFLOAT: Command = Command::new("HINCRBYFLOAT", hincrbyfloat)
    .summary("Adds a number to the floating-point number in a field; a missing field counts as 0.")
    .syntax("key field increment")
    .since("2.6.0")
    .complexity("O(1)")
    .arity(4)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE")
    .members(2, 2);

fn hincrbyfloat(cx: &mut Context<'_, '_>) -> CommandResult {
    let increment = LongDouble::parse(cx.args.at(3)).ok_or(CommandError::NotFloat)?;
    if increment.is_nan() || increment.is_infinite() {
        return Err(CommandError::text("ERR value is NaN or Infinity"));
    }
    let mut text = Vec::new();
    let changed = change_value(cx, Event::HINCRBYFLOAT, |old| {
        let old = match old {
            Some(old) => {
                LongDouble::parse(old).ok_or(CommandError::text("ERR hash value is not a float"))?
            }
            None => LongDouble::ZERO,
        };
        let sum = old + increment;
        if sum.is_nan() || sum.is_infinite() {
            return Err(CommandError::NanOrInfinity);
        }
        sum.write_human(&mut text);
        Ok(&text)
    })?;
    // The sum rather than the sum's making, so that no other arithmetic has a say in it.
    replicate_value(cx, &text, changed.deadline);
    cx.reply.bulk(&text);
    Ok(())
}

/// What is left of a field whose value was changed.
#[derive(Debug)]
struct Changed {
    deadline: Option<i64>,
    /// Whether the hash had fields with deadlines.
    was_volatile: bool,
}

/// Puts in place of the value of the field in argument 2 what `change` makes of it; the deadline stays.
fn change_value<'t>(
    cx: &mut Context<'_, '_>,
    event: Event,
    change: impl FnOnce(Option<&[u8]>) -> Result<&'t [u8], CommandError>,
) -> Result<Changed, CommandError> {
    let (key, field) = (cx.key(1), cx.args.at(2));
    let (sight, limits) = (Sight::of(cx), form_limits(cx.limits));
    let mut changed = Changed { deadline: None, was_volatile: false };
    let mut is_overwritten = false;
    if let Some(hash) = find_mut(&mut cx.keys, key)? {
        let old = hash.get(field);
        let seen = old.filter(|&element| sight.sees(element));
        is_overwritten = old.is_some() && seen.is_none();
        changed.deadline = seen.and_then(|element| element.deadline);
        let new = change(seen.map(|element| element.value))?;
        changed.was_volatile = hash.next_deadline().is_some();
        let deadline = if is_overwritten { Deadline::Never } else { Deadline::Keep };
        hash.set(field, new, deadline, limits);
    } else {
        let mut hash = Hash::new();
        hash.set(field, change(None)?, Deadline::Never, limits);
        store(cx, key, hash);
    }
    note_changes(cx, key, 1);
    note_overwritten(cx, key, u64::from(is_overwritten));
    cx.notify(key, event);
    Ok(changed)
}

/// Writes to the journal that the field in argument 2 has got a value and kept its deadline.
fn replicate_value(cx: &mut Context<'_, '_>, value: &[u8], deadline: Option<i64>) {
    let (key, field) = (cx.args.at(1), cx.args.at(2));
    let Some(deadline) = deadline else { return cx.replicate(&[b"HSET", key, field, value]) };
    let mut text = itoa::Buffer::new();
    let deadline = text.format(deadline).as_bytes();
    cx.replicate(&[b"HSETEX", key, b"PXAT", deadline, b"FIELDS", b"1", field, value]);
}

pub(super) const HDEL: Command = Command::new("HDEL", hdel)
    .summary("Removes fields. A hash without fields is removed.")
    .syntax("key field [field ...]")
    .since("2.0.0")
    .complexity("O(N) with N the number of fields to be removed.")
    .arity(-3)
    .writes()
    .fast()
    .key("RW DELETE")
    .members(2, 1);

fn hdel(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let sight = Sight::of(cx);
    let Some(hash) = find_mut(&mut cx.keys, key)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let count = cx.args.from(2).filter(|field| sight.remove(hash, field)).count();
    let is_emptied = hash.is_empty();
    if 0 < count {
        note_removed(cx, key, Event::HDEL, count as u64, is_emptied);
    }
    cx.reply.integer(count as i64);
    Ok(())
}

/// `count` fields, at least one, went from the hash under `key`. If they were all, the key goes too.
pub(super) fn note_removed(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    event: Event,
    count: u64,
    is_emptied: bool,
) {
    note_changes(cx, key, count);
    cx.notify(key, event);
    if is_emptied {
        cx.remove_emptied(key);
    }
}

pub(super) const HGETDEL: Command = Command::new("HGETDEL", hgetdel)
    .summary("Returns the values of fields and removes these. A hash without fields is removed.")
    .syntax("key FIELDS numfields field [field ...]")
    .since("8.0.0")
    .complexity("O(N) with N the number of fields asked for.")
    .arity(-5)
    .writes()
    .fast()
    .key("RW ACCESS DELETE");

fn hgetdel(cx: &mut Context<'_, '_>) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let sight = Sight::of(cx);
    let fields = FieldList::at(args, 2, NUMFIELDS)?;
    let mut hash = find_mut(&mut cx.keys, key)?;
    let mut removed = 0;
    cx.reply.array(fields.count);
    for index in fields.first..args.len() {
        let element = hash.as_ref().and_then(|hash| sight.get(hash, args.at(index)));
        write_value_or_null(&mut cx.reply, element);
        if element.is_some()
            && let Some(hash) = &mut hash
        {
            hash.remove(args.at(index));
            removed += 1;
        }
    }
    let is_emptied = hash.is_some_and(|hash| hash.is_empty());
    if 0 < removed {
        note_removed(cx, key, Event::HDEL, removed, is_emptied);
        // All that were named, as HDEL itself stands in the log.
        let head: [&[u8]; 2] = [b"HDEL", key.bytes()];
        let command: Vec<&[u8]> = head.into_iter().chain(args.from(fields.first)).collect();
        cx.replicate(&command);
    }
    Ok(())
}
