//! Commands that store whole strings: SET, its short forms, and those for several keys. Never looks into a value but
//! to compare it.

use rubine_base::number::write_i64;
use rubine_structures::record::RecordRef;
use smallvec::SmallVec;

use super::condition::Condition;
use super::{expect_string, store};
use crate::args::{ArgCursor, Args};
use crate::command::{Command, KeyAccess, KeyPositions, KeySpec};
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::expiry::{Alternative, Expiry, Time, TimeForm, is_over};

pub(super) const SET: Command = Command::new("SET", set)
    .summary("Stores a string under a key, replacing whatever was there.")
    .syntax(
        "key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET] \
         [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds \
         | KEEPTTL]",
    )
    .complexity("O(1), with a digest O(N) with N the length of the old string.")
    .arity(-3)
    .writes()
    .denies_oom()
    .key("RW ACCESS UPDATE VARIABLE_FLAGS")
    .access_by(set_access);

fn set_access(args: Args<'_>) -> KeyAccess {
    let returns_old = args.from(3).any(|it| it.eq_ignore_ascii_case(b"GET"));
    let read = if returns_old { KeyAccess::RW | KeyAccess::ACCESS } else { KeyAccess::OW };
    read | KeyAccess::UPDATE
}

#[inline]
fn set(cx: &mut Context<'_, '_>) -> CommandResult {
    let is_plain = cx.args.len() == 3;
    if is_plain {
        let key = cx.key(1);
        store(cx, key, cx.args.string(2), None);
        cx.touched(key, Event::SET);
        cx.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(cx.args.options(3))?;
    set_with(cx, 2, options, Answer::OkOrNull)
}

pub(super) const SETNX: Command = Command::new("SETNX", setnx)
    .summary("Stores a string under a key that is not there yet.")
    .syntax("key value")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .denies_oom()
    .fast()
    .key("OW INSERT");

fn setnx(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = SetOptions { condition: Condition::IfMissing, ..SetOptions::default() };
    set_with(cx, 2, options, Answer::OneOrZero)
}

pub(super) const SETEX: Command = Command::new("SETEX", |cx| set_for(cx, TimeForm::Seconds))
    .summary("Stores a string under a key for some seconds.")
    .syntax("key seconds value")
    .since("2.0.0")
    .complexity("O(1)")
    .arity(4)
    .writes()
    .denies_oom()
    .key("OW UPDATE");

pub(super) const PSETEX: Command = Command::new("PSETEX", |cx| set_for(cx, TimeForm::Milliseconds))
    .summary("Stores a string under a key for some milliseconds.")
    .syntax("key milliseconds value")
    .since("2.6.0")
    .complexity("O(1)")
    .arity(4)
    .writes()
    .denies_oom()
    .key("OW UPDATE");

fn set_for(cx: &mut Context<'_, '_>, form: TimeForm) -> CommandResult {
    let time = Time { form, text: cx.args.at(2) };
    let options = SetOptions { expiry: Expiry::Set(time), ..SetOptions::default() };
    set_with(cx, 3, options, Answer::OkOrNull)
}

pub(super) const GETSET: Command = Command::new("GETSET", getset)
    .summary("Stores a string under a key and returns the one that was there.")
    .syntax("key value")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .denies_oom()
    .fast()
    .key("RW ACCESS UPDATE");

fn getset(cx: &mut Context<'_, '_>) -> CommandResult {
    let options = SetOptions { returns_old: true, ..SetOptions::default() };
    set_with(cx, 2, options, Answer::OkOrNull)
}

/// What SET was asked beyond key and value.
#[derive(Clone, Copy, Debug, Default)]
struct SetOptions<'a> {
    condition: Condition<'a>,
    returns_old: bool,
    expiry: Expiry<'a>,
}

/// How it is told whether the value was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    OkOrNull,
    OneOrZero,
}

impl<'a> SetOptions<'a> {
    fn parse(mut options: ArgCursor<'a>) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        while let Some(option) = options.next() {
            if option.eq_ignore_ascii_case(b"GET") {
                parsed.returns_old = true;
                continue;
            }
            let is_known = parsed.expiry.read(option, &mut options, Alternative::Keep)?
                || parsed.condition.read(option, &mut options)?;
            if !is_known {
                return Err(CommandError::Syntax);
            }
        }
        Ok(parsed)
    }

    /// Whether the command as it was sent stores the same wherever and whenever it runs again, and any server
    /// understands it.
    fn is_reproducible(self) -> bool {
        let is_absolute = match self.expiry {
            Expiry::Set(time) => time.form == TimeForm::UnixMilliseconds,
            Expiry::Unsaid | Expiry::Keep | Expiry::Persist => true,
        };
        is_absolute && !self.returns_old && !self.condition.compares()
    }
}

/// Stores argument number `value_index`, if the options let it.
fn set_with(
    cx: &mut Context<'_, '_>,
    value_index: usize,
    options: SetOptions<'_>,
    answer: Answer,
) -> CommandResult {
    let key = cx.key(1);
    let deadline = match options.expiry {
        Expiry::Set(time) => Some(time.deadline(cx)?),
        _ => None,
    };

    let old = if options.returns_old { cx.keys.find(key) } else { cx.keys.find_to_write(key) };
    let exists = old.is_some();
    let old_deadline = old.and_then(RecordRef::deadline);
    let stores = match options.condition {
        Condition::Always => true,
        Condition::IfMissing => !exists,
        Condition::IfPresent => exists,
        Condition::IfValue(condition) => match old {
            Some(record) => condition.holds(expect_string(record)?),
            None => condition.holds_without_value(),
        },
    };
    match (options.returns_old, answer) {
        (true, _) => match old.map(expect_string).transpose()? {
            Some(old) => old.write(&mut cx.reply),
            None => cx.reply.null(),
        },
        (false, Answer::OkOrNull) if stores => cx.reply.ok(),
        (false, Answer::OkOrNull) => cx.reply.null(),
        (false, Answer::OneOrZero) => cx.reply.integer(stores.into()),
    }
    if !stores {
        return Ok(());
    }
    if deadline.is_some_and(|deadline| is_over(cx, deadline)) {
        cx.keys.expire_now(key);
        return Ok(());
    }

    let kept = if options.expiry == Expiry::Keep { old_deadline } else { None };
    if cx.keys.store_again(key, cx.args.string(value_index), deadline.or(kept)) {
        cx.notify(key, Event::NEW);
    }
    cx.touched(key, Event::SET);
    if deadline.is_some() {
        cx.notify(key, Event::EXPIRE);
    }
    if !options.is_reproducible() {
        replicate_set(cx, cx.args.at(value_index), options.expiry, deadline);
    }
    Ok(())
}

/// Writes to the journal what was stored, whatever it was that asked for it.
fn replicate_set(
    cx: &mut Context<'_, '_>,
    value: &[u8],
    expiry: Expiry<'_>,
    deadline: Option<i64>,
) {
    let key = cx.args.at(1);
    if let Some(deadline) = deadline {
        let mut text = Vec::new();
        write_i64(&mut text, deadline);
        cx.replicate(&[b"SET", key, value, b"PXAT", &text]);
    } else if expiry == Expiry::Keep {
        cx.replicate(&[b"SET", key, value, b"KEEPTTL"]);
    } else {
        cx.replicate(&[b"SET", key, value]);
    }
}

pub(super) const MSET: Command = Command::new("MSET", mset)
    .summary("Stores strings under several keys.")
    .syntax("key value [key value ...]")
    .since("1.0.1")
    .complexity("O(N) with N the number of keys.")
    .tips("request_policy:multi_shard response_policy:all_succeeded")
    .arity(-3)
    .writes()
    .denies_oom()
    .key_range(1, -1, 2, "OW UPDATE");

fn mset(cx: &mut Context<'_, '_>) -> CommandResult {
    if cx.args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("mset".into()));
    }
    store_pairs(cx, 1, cx.args.len(), Expiry::Unsaid, None);
    cx.reply.ok();
    Ok(())
}

pub(super) const MSETNX: Command = Command::new("MSETNX", msetnx)
    .summary("Stores strings under several keys, none of which may be there yet.")
    .syntax("key value [key value ...]")
    .since("1.0.1")
    .complexity("O(N) with N the number of keys.")
    .arity(-3)
    .writes()
    .denies_oom()
    .key_range(1, -1, 2, "OW INSERT");

fn msetnx(cx: &mut Context<'_, '_>) -> CommandResult {
    if cx.args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("msetnx".into()));
    }
    let end = cx.args.len();
    let stores = (1..end).step_by(2).all(|index| cx.keys.find_to_write(cx.key(index)).is_none());
    if stores {
        store_pairs(cx, 1, end, Expiry::Unsaid, None);
    }
    cx.reply.integer(stores.into());
    Ok(())
}

pub(super) const MSETEX: Command = Command::new("MSETEX", msetex)
    .summary("Stores strings under several keys, on one condition, until one moment.")
    .syntax(
        "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds \
         | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
    )
    .since("8.4.0")
    .complexity("O(N) with N the number of keys.")
    .tips("request_policy:multi_shard response_policy:all_succeeded")
    .arity(-4)
    .writes()
    .denies_oom()
    .keys(KeySpec { positions: KeyPositions::Counted { at: 1, step: 2 }, access: "OW UPDATE" });

fn msetex(cx: &mut Context<'_, '_>) -> CommandResult {
    const FIRST: usize = 2;
    let count = rubine_base::number::parse_i64(cx.args.at(1))
        .filter(|count| (1..=i64::from(i32::MAX)).contains(count))
        .ok_or(CommandError::text("ERR invalid numkeys value or out of range"))?;
    let end = FIRST + 2 * count as usize;
    if cx.args.len() < end {
        return Err(CommandError::Syntax);
    }
    let (mut condition, mut expiry) = (Condition::default(), Expiry::default());
    let mut options = cx.args.options(end);
    let mut time_index = None;
    while let Some(option) = options.next() {
        let index = options.index();
        if expiry.read(option, &mut options, Alternative::Keep)? {
            time_index = Some(index);
        } else if !condition.read(option, &mut options)? || condition.compares() {
            return Err(CommandError::Syntax);
        }
    }
    let deadline = match expiry {
        Expiry::Set(time) => Some(time.deadline(cx)?),
        _ => None,
    };

    let mut keys = (FIRST..end).step_by(2);
    let stores = match condition {
        Condition::IfMissing => keys.all(|index| cx.keys.find_to_write(cx.key(index)).is_none()),
        Condition::IfPresent => keys.all(|index| cx.keys.find_to_write(cx.key(index)).is_some()),
        Condition::Always | Condition::IfValue(_) => true,
    };
    if stores {
        store_pairs(cx, FIRST, end, expiry, deadline);
        if let (Some(deadline), Some(index)) = (deadline, time_index) {
            replicate_with_deadline(cx, index, deadline);
        }
    }
    cx.reply.integer(stores.into());
    Ok(())
}

/// Stores the keys and values from argument `first` up to `end`. A deadline that is over is given all the same: the
/// keys are found due when somebody asks for them.
fn store_pairs(
    cx: &mut Context<'_, '_>,
    first: usize,
    end: usize,
    expiry: Expiry<'_>,
    deadline: Option<i64>,
) {
    for index in (first..end).step_by(2) {
        let key = cx.key(index);
        let deadline = match expiry {
            Expiry::Keep => cx.keys.peek(key).and_then(RecordRef::deadline),
            _ => deadline,
        };
        store(cx, key, cx.args.string(index + 1), deadline);
        cx.touched(key, Event::SET);
        if matches!(expiry, Expiry::Set(_)) {
            cx.notify(key, Event::EXPIRE);
        }
    }
}

/// Writes the command to the journal with its moment, which stands at argument `index`, in absolute terms.
fn replicate_with_deadline(cx: &mut Context<'_, '_>, index: usize, deadline: i64) {
    let mut text = Vec::new();
    write_i64(&mut text, deadline);
    let mut args: SmallVec<[&[u8]; 16]> = cx.args.from(0).collect();
    args[index - 1] = b"PXAT";
    args[index] = &text;
    cx.replicate(&args);
}
