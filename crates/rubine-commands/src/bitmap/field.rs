//! Integers at any bit of a string: BITFIELD and BITFIELD\_RO. No step runs before all are understood.

use rubine_base::number::parse_i64;
use rubine_structures::bitmap::{Field, Overflow};
use smallvec::SmallVec;

use super::{bit_offset, create};
use crate::args::Args;
use crate::command::{Command, KeyAccess};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::string::part::edit_within;
use crate::string::{StringRef, expect_string};

pub(super) const BITFIELD: Command = Command::new("BITFIELD", bitfield)
    .summary("Reads, sets and increments integers of any width at any bit of the string under a key.")
    .syntax(
        "key [GET encoding offset | [OVERFLOW WRAP|SAT|FAIL] SET encoding offset value | [OVERFLOW WRAP|SAT|FAIL] INCRBY encoding offset increment ...]",
    )
    .since("3.2.0")
    .complexity("O(1) for each operation, but for what a string grows by.")
    .arity(-2)
    .writes()
    .denies_oom()
    .key("RW UPDATE ACCESS VARIABLE_FLAGS")
    .access_by(bitfield_access);

/// Nonsense counts as a write.
fn bitfield_access(args: Args<'_>) -> KeyAccess {
    let mut at = 2;
    while at < args.len() {
        let is = |name: &[u8]| args.at(at).eq_ignore_ascii_case(name);
        let values = match () {
            () if is(b"GET") => 2,
            () if is(b"OVERFLOW") => 1,
            () => usize::MAX,
        };
        if args.len() - at <= values {
            return KeyAccess::RW | KeyAccess::ACCESS | KeyAccess::UPDATE;
        }
        at += values + 1;
    }
    KeyAccess::RO | KeyAccess::ACCESS
}

fn bitfield(cx: &mut Context<'_, '_>) -> CommandResult {
    let steps = parse(cx)?;
    match steps.iter().filter_map(Step::written_len).max() {
        Some(len) => write(cx, &steps, len),
        None => read(cx, &steps),
    }
}

pub(super) const BITFIELD_RO: Command = Command::new("BITFIELD_RO", bitfield_ro)
    .summary("Reads integers of any width at any bit of the string under a key.")
    .syntax("key [GET encoding offset [GET encoding offset ...]]")
    .since("6.0.0")
    .complexity("O(1) for each operation.")
    .arity(-2)
    .reads()
    .fast()
    .key("RO ACCESS");

fn bitfield_ro(cx: &mut Context<'_, '_>) -> CommandResult {
    let steps = parse(cx)?;
    if steps.iter().any(|step| step.written_len().is_some()) {
        return Err(CommandError::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(cx, &steps)
}

/// Steps that are kept without an allocation.
const STEPS_INLINE: usize = 8;

type Steps = SmallVec<[Step; STEPS_INLINE]>;

/// One operation of a BITFIELD.
struct Step {
    field: Field,
    /// The number of its first bit.
    offset: u64,
    action: Action,
}

enum Action {
    Get,
    Set(i64, Overflow),
    IncrBy(i64, Overflow),
}

impl Step {
    /// How long the string has to be for what the step writes; `None` if it only reads.
    fn written_len(&self) -> Option<usize> {
        let is_written = !matches!(self.action, Action::Get);
        let last = self.offset + u64::from(self.field.width()) - 1;
        is_written.then_some((last / 8) as usize + 1)
    }
}

fn parse(cx: &Context<'_, '_>) -> Result<Steps, CommandError> {
    let mut steps = Steps::new();
    let mut overflow = Overflow::Wrap;
    let mut options = cx.args.options(2);
    while let Some(name) = options.next() {
        let is = |keyword: &[u8], operands| {
            name.eq_ignore_ascii_case(keyword) && operands <= options.remaining()
        };
        if is(b"OVERFLOW", 1) {
            overflow = parse_overflow(options.required()?)?;
            continue;
        }
        let (is_get, is_set, is_incrby) = (is(b"GET", 2), is(b"SET", 3), is(b"INCRBY", 3));
        if !is_get && !is_set && !is_incrby {
            return Err(CommandError::Syntax);
        }
        let field = parse_field(options.required()?)?;
        let offset = bit_offset(cx, options.index(), Some(field.width()))?;
        options.skip(1);
        let action = if is_get {
            Action::Get
        } else if is_set {
            Action::Set(options.integer()?, overflow)
        } else {
            Action::IncrBy(options.integer()?, overflow)
        };
        steps.push(Step { field, offset, action });
    }
    Ok(steps)
}

fn parse_overflow(name: &[u8]) -> Result<Overflow, CommandError> {
    let names: [(&[u8], _); 3] =
        [(b"WRAP", Overflow::Wrap), (b"SAT", Overflow::Saturate), (b"FAIL", Overflow::Fail)];
    let found = names.into_iter().find(|(it, _)| name.eq_ignore_ascii_case(it));
    found.map(|(_, it)| it).ok_or(CommandError::text("ERR Invalid OVERFLOW type specified"))
}

/// A type such as `i16` or `u8`.
fn parse_field(name: &[u8]) -> Result<Field, CommandError> {
    let field = match name {
        [b'i', width @ ..] => parse_i64(width).and_then(|width| Field::new(true, width)),
        [b'u', width @ ..] => parse_i64(width).and_then(|width| Field::new(false, width)),
        _ => None,
    };
    field.ok_or(CommandError::text(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    ))
}

/// All steps only read.
fn read(cx: &mut Context<'_, '_>, steps: &[Step]) -> CommandResult {
    let string = cx.keys.find(cx.key(1)).map(expect_string).transpose()?;
    let bytes = string.map(StringRef::text).unwrap_or_default();
    cx.reply.array(steps.len());
    for step in steps {
        cx.reply.integer(step.field.get(&bytes, step.offset));
    }
    Ok(())
}

/// Some steps write, for which the string has to be `len` bytes long.
fn write(cx: &mut Context<'_, '_>, steps: &[Step], len: usize) -> CommandResult {
    let key = cx.key(1);
    let mut results = SmallVec::<[Option<i64>; STEPS_INLINE]>::new();
    let mut changes = 0;
    let mut run = |bytes: &mut [u8], grows: bool| {
        for step in steps {
            let (result, is_change) = step.run(bytes);
            changes += u64::from(is_change || (grows && step.writes(result)));
            results.push(result);
        }
        // To be longer is a change, even if all that was to be written is refused.
        if grows && changes == 0 {
            changes = 1;
        }
    };
    match cx.keys.find_mut(key) {
        Some(record) => {
            let grows = expect_string(record.get())?.len() < len;
            edit_within(record, len, |bytes| run(bytes, grows))?;
        }
        None => create(cx, key, len, |bytes| run(bytes, true))?,
    }
    if changes > 0 {
        cx.touched(key, Event::SETBIT);
        cx.keys.add_dirty(changes - 1);
    }
    cx.reply.array(results.len());
    for result in results {
        match result {
            Some(number) => cx.reply.integer(number),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

impl Step {
    /// Runs on a string that is long enough for what it writes. Returns what it replies, nothing if the number does not
    /// fit, and whether it changed anything.
    fn run(&self, bytes: &mut [u8]) -> (Option<i64>, bool) {
        let old = self.field.get(bytes, self.offset);
        let (new, replies_old) = match self.action {
            Action::Get => return (Some(old), false),
            Action::Set(value, overflow) => (self.field.fit(value, overflow), true),
            Action::IncrBy(increment, overflow) => {
                (self.field.add(old, increment, overflow), false)
            }
        };
        let Some(new) = new else { return (None, false) };
        self.field.put(bytes, self.offset, new);
        (Some(if replies_old { old } else { new }), old != new)
    }

    /// Whether it has written something, having replied `result`.
    fn writes(&self, result: Option<i64>) -> bool {
        result.is_some() && !matches!(self.action, Action::Get)
    }
}
