//! HSETEX and HGETEX: fields and their deadlines in one step.

use bitflags::bitflags;
use rubine_keyspace::Key;
use rubine_structures::hash::Hash;
use rubine_structures::trie::Deadline;

use super::expiry::{deadline_of, note_deadlines, note_expired, note_persisted};
use super::read::write_value_or_null;
use super::write::set_each;
use super::{
    FieldList, NUMFIELDS, Sight, find, find_mut, form_limits, note_changes, note_field_deadline,
    note_overwritten, replicate_fields, store,
};
use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::expiry::{Alternative, Expiry};

bitflags! {
    /// The conditions of HSETEX: on the key, and on all its fields.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Conditions: u8 {
        const NX = 1 << 0;
        const XX = 1 << 1;
        const FNX = 1 << 2;
        const FXX = 1 << 3;
    }
}

impl Conditions {
    /// Reads an option, if it is one of these. A syntax error if it contradicts another.
    fn read(&mut self, option: &[u8]) -> Result<bool, CommandError> {
        let (condition, opposite) = match option.to_ascii_uppercase().as_slice() {
            b"NX" => (Self::NX, Self::XX),
            b"XX" => (Self::XX, Self::NX),
            b"FNX" => (Self::FNX, Self::FXX),
            b"FXX" => (Self::FXX, Self::FNX),
            _ => return Ok(false),
        };
        *self |= condition;
        if self.contains(opposite) { Err(CommandError::Syntax) } else { Ok(true) }
    }

    /// Whether those on the key hold.
    fn allow_key(self, is_there: bool) -> bool {
        !self.contains(if is_there { Self::NX } else { Self::XX })
    }

    /// Whether those on the fields hold.
    fn allow_fields(
        self,
        hash: Option<&Hash>,
        args: Args<'_>,
        fields: FieldList,
        sight: Sight,
    ) -> bool {
        let is_there = |index| hash.is_some_and(|hash| sight.get(hash, args.at(index)).is_some());
        let mut indexes = (fields.first..args.len()).step_by(2);
        (!self.contains(Self::FNX) || !indexes.clone().any(is_there))
            && (!self.contains(Self::FXX) || indexes.all(is_there))
    }
}

/// The deadline that is asked for, if any.
fn deadline_in(cx: &Context<'_, '_>, expiry: Expiry<'_>) -> Result<Option<i64>, CommandError> {
    match expiry {
        Expiry::Set(time) => deadline_of(cx, time).map(Some),
        Expiry::Unsaid | Expiry::Keep | Expiry::Persist => Ok(None),
    }
}

pub(super) const HSETEX: Command = Command::new("HSETEX", hsetex)
    .summary("Sets fields of a hash together with their deadline, if the conditions hold.")
    .syntax(
        "key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
    )
    .since("8.0.0")
    .complexity("O(N) with N the number of fields.")
    .arity(-6)
    .writes()
    .denies_oom()
    .fast()
    .key("RW INSERT");

fn hsetex(cx: &mut Context<'_, '_>) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let keyword = FieldList::find(args, 2)?;
    let (mut conditions, mut expiry) = (Conditions::empty(), Expiry::default());
    let mut options = args.first(keyword).options(2);
    while let Some(option) = options.next() {
        let is_known =
            conditions.read(option)? || expiry.read(option, &mut options, Alternative::Keep)?;
        if !is_known {
            return Err(CommandError::Syntax);
        }
    }
    let fields = FieldList::behind(args, keyword, 2, NUMFIELDS)?;
    let sight = Sight::of(cx);
    // As in Redis, a time is looked at only if the key is as it should be.
    if !conditions.allow_key(find_mut(&mut cx.keys, key)?.is_some()) {
        cx.reply.integer(0);
        return Ok(());
    }
    let deadline = deadline_in(cx, expiry)?;
    let hash = find_mut(&mut cx.keys, key)?;
    if !conditions.allow_fields(hash.as_deref(), args, fields, sight) {
        cx.reply.integer(0);
        return Ok(());
    }
    if deadline.is_some_and(|deadline| sight.is_over(deadline)) {
        set_expired(cx, fields)?;
    } else {
        set_fields(cx, expiry, deadline, fields)?;
    }
    cx.reply.integer(1);
    Ok(())
}

/// Sets fields to values that are over at once: so they are removed, due ones too.
fn set_expired(cx: &mut Context<'_, '_>, fields: FieldList) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let hash = find_mut(&mut cx.keys, key)?;
    let is_new = hash.is_none();
    let mut removed = Vec::new();
    let mut is_emptied = true;
    if let Some(hash) = hash {
        let indexes = (fields.first..args.len()).step_by(2);
        removed.extend(indexes.filter(|&index| hash.remove(args.at(index))));
        is_emptied = hash.is_empty();
    }
    cx.keys.add_expired_fields(fields.count as u64);
    if !removed.is_empty() {
        note_changes(cx, key, removed.len() as u64);
        replicate_fields(cx, &[b"HDEL", key.bytes()], &removed);
    }
    // Those who listen hear of a key that comes and goes, although it never was there.
    if is_new {
        cx.notify(key, Event::NEW);
    }
    for event in [Event::HSET, Event::HEXPIRE, Event::HEXPIRED] {
        cx.notify(key, event);
    }
    if is_new {
        cx.notify(key, Event::DEL);
    } else if is_emptied {
        cx.remove_emptied(key);
    }
    Ok(())
}

fn set_fields(
    cx: &mut Context<'_, '_>,
    expiry: Expiry<'_>,
    deadline: Option<i64>,
    fields: FieldList,
) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let (sight, limits) = (Sight::of(cx), form_limits(cx.limits));
    let new_deadline = match deadline {
        Some(deadline) => Deadline::At(deadline),
        None if expiry == Expiry::Keep => Deadline::Keep,
        None => Deadline::Never,
    };
    let written = if let Some(hash) = find_mut(&mut cx.keys, key)? {
        set_each(hash, args, fields.first, new_deadline, sight, limits)
    } else {
        let mut hash = Hash::new();
        let written = set_each(&mut hash, args, fields.first, new_deadline, sight, limits);
        store(cx, key, hash);
        written
    };
    if let Some(deadline) = deadline {
        note_field_deadline(cx, key, deadline);
    }
    note_overwritten(cx, key, written.overwritten.len() as u64);
    if expiry == Expiry::Keep && !written.overwritten.is_empty() {
        // Whoever replays this may still see these fields, and would keep deadlines that are over.
        replicate_fields(cx, &[b"HDEL", key.bytes()], &written.overwritten);
    }
    replicate_set(cx, expiry, deadline, fields);
    note_changes(cx, key, fields.count as u64);
    cx.notify(key, Event::HSET);
    if deadline.is_some() {
        cx.notify(key, Event::HEXPIRE);
    }
    Ok(())
}

/// Writes HSETEX to the journal without conditions and with an absolute time.
fn replicate_set(
    cx: &mut Context<'_, '_>,
    expiry: Expiry<'_>,
    deadline: Option<i64>,
    fields: FieldList,
) {
    let (args, mut time, mut count) = (cx.args, itoa::Buffer::new(), itoa::Buffer::new());
    let mut command: Vec<&[u8]> = vec![args.at(0), args.at(1)];
    if let Some(deadline) = deadline {
        command.extend([b"PXAT".as_slice(), time.format(deadline).as_bytes()]);
    }
    if expiry == Expiry::Keep {
        command.push(b"KEEPTTL");
    }
    command.extend([b"FIELDS".as_slice(), count.format(fields.count).as_bytes()]);
    command.extend(args.from(fields.first));
    cx.replicate(&command);
}

pub(super) const HGETEX: Command = Command::new("HGETEX", hgetex)
    .summary("Returns the values of fields and sets their deadline or takes it away.")
    .syntax(
        "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
         PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
    )
    .since("8.0.0")
    .complexity("O(N) with N the number of fields.")
    .arity(-5)
    .writes()
    .fast()
    .key("RW ACCESS UPDATE");

fn hgetex(cx: &mut Context<'_, '_>) -> CommandResult {
    let (args, key) = (cx.args, cx.key(1));
    let keyword = FieldList::find(args, 2)?;
    let mut expiry = Expiry::default();
    let mut options = args.first(keyword).options(2);
    while let Some(option) = options.next() {
        if !expiry.read(option, &mut options, Alternative::Persist)? {
            return Err(CommandError::Syntax);
        }
    }
    let fields = FieldList::behind(args, keyword, 1, NUMFIELDS)?;
    let sight = Sight::of(cx);
    // As in Redis, a time is looked at only if the key is as it should be.
    let deadline = deadline_in(cx, expiry);
    let hash = find(&mut cx.keys, key)?;
    let deadline = deadline?;
    if expiry == Expiry::Unsaid || hash.is_none() {
        cx.reply.array(fields.count);
        for field in args.from(fields.first) {
            let element = hash.and_then(|hash| sight.get(hash, field));
            write_value_or_null(&mut cx.reply, element);
        }
        return Ok(());
    }
    get_and_change(cx, key, deadline, fields)
}

/// Returns the values of fields of a hash, which is there. `None` takes their deadlines away.
fn get_and_change(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    deadline: Option<i64>,
    fields: FieldList,
) -> CommandResult {
    let args = cx.args;
    let sight = Sight::of(cx);
    let Some(hash) = find_mut(&mut cx.keys, key)? else { return Ok(()) };
    let mut changed = Vec::new();
    cx.reply.array(fields.count);
    for index in fields.first..args.len() {
        let field = args.at(index);
        let element = sight.get(hash, field);
        write_value_or_null(&mut cx.reply, element);
        let Some(element) = element else { continue };
        let is_changed = match deadline {
            Some(deadline) if sight.is_over(deadline) => hash.remove(field),
            Some(deadline) => hash.set_deadline(field, Some(deadline)),
            None => element.deadline.is_some() && hash.set_deadline(field, None),
        };
        if is_changed {
            changed.push(index);
        }
    }
    let is_emptied = hash.is_empty();
    if changed.is_empty() {
        return Ok(());
    }
    match deadline {
        Some(deadline) if sight.is_over(deadline) => note_expired(cx, key, &changed, is_emptied),
        Some(deadline) => note_deadlines(cx, key, deadline, &changed),
        None => note_persisted(cx, key, &changed),
    }
    Ok(())
}
