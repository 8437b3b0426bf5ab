//! Deadlines of keys: the EXPIRE family, the TTL family, PERSIST. Whatever time a client gives, the journal gets the
//! absolute one.

use bitflags::bitflags;
use rubine_base::number::parse_i64;
use rubine_keyspace::Key;
use rubine_structures::record::RecordRef;

use crate::args::Args;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;
use crate::expiry;

pub(crate) const COMMANDS: &[Command] =
    &[EXPIRE, EXPIREAT, EXPIRETIME, PERSIST, PEXPIRE, PEXPIREAT, PEXPIRETIME, PTTL, TTL];

/// What the number that a client gives counts.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// From when on it counts.
#[derive(Clone, Copy)]
enum Base {
    Now,
    Epoch,
}

const EXPIRE: Command = Command::new("EXPIRE", |cx| expire(cx, "expire", Unit::Seconds, Base::Now))
    .summary("Lets a key fall due after so many seconds.")
    .syntax("key seconds [NX | XX | GT | LT]")
    .complexity("O(1)")
    .arity(-3)
    .writes()
    .fast()
    .key("RW UPDATE");

const PEXPIRE: Command =
    Command::new("PEXPIRE", |cx| expire(cx, "pexpire", Unit::Milliseconds, Base::Now))
        .summary("Lets a key fall due after so many milliseconds.")
        .syntax("key milliseconds [NX | XX | GT | LT]")
        .since("2.6.0")
        .complexity("O(1)")
        .arity(-3)
        .writes()
        .fast()
        .key("RW UPDATE");

const EXPIREAT: Command =
    Command::new("EXPIREAT", |cx| expire(cx, "expireat", Unit::Seconds, Base::Epoch))
        .summary("Lets a key fall due at a time in Unix seconds.")
        .syntax("key unix-time-seconds [NX | XX | GT | LT]")
        .since("1.2.0")
        .complexity("O(1)")
        .arity(-3)
        .writes()
        .fast()
        .key("RW UPDATE");

const PEXPIREAT: Command =
    Command::new("PEXPIREAT", |cx| expire(cx, "pexpireat", Unit::Milliseconds, Base::Epoch))
        .summary("Lets a key fall due at a time in Unix milliseconds.")
        .syntax("key unix-time-milliseconds [NX | XX | GT | LT]")
        .since("2.6.0")
        .complexity("O(1)")
        .arity(-3)
        .writes()
        .fast()
        .key("RW UPDATE");

fn expire(cx: &mut Context<'_, '_>, name: &str, unit: Unit, base: Base) -> CommandResult {
    let conditions = Conditions::parse(cx.args)?;
    let time = parse_i64(cx.args.at(2)).ok_or(CommandError::NotInteger)?;
    let deadline = deadline_of(time, unit, base, cx.now)
        .ok_or_else(|| CommandError::InvalidExpire(name.to_owned()))?;
    let key = cx.key(1);
    let is_over = expiry::is_over(cx, deadline);
    let Some(mut record) = cx.keys.find_mut(key) else {
        cx.reply.integer(0);
        return Ok(());
    };
    if !conditions.allow(record.get().deadline(), deadline) {
        cx.reply.integer(0);
        return Ok(());
    }
    if is_over {
        expire_at_once(cx, key);
    } else {
        record.set_deadline(Some(deadline));
        cx.touched(key, Event::EXPIRE);
        replicate_deadline(cx, key, deadline);
    }
    cx.reply.integer(1);
    Ok(())
}

/// The deadline that a client means, never negative; `None` if it is beyond what can be told.
fn deadline_of(time: i64, unit: Unit, base: Base, now: i64) -> Option<i64> {
    let time = match unit {
        Unit::Seconds => time.checked_mul(1000)?,
        Unit::Milliseconds => time,
    };
    let deadline = match base {
        Base::Now => time.checked_add(now)?,
        Base::Epoch => time,
    };
    Some(deadline.max(0))
}

/// The key has a deadline that is over: it goes as one that fell due. The journal hears of it as of any such key.
pub(crate) fn expire_at_once(cx: &mut Context<'_, '_>, key: Key<'_>) {
    cx.keys.expire_now(key);
    cx.keys.add_dirty(1);
    cx.replicate_nothing();
}

/// Writes to the journal that a key has got a deadline.
pub(crate) fn replicate_deadline(cx: &mut Context<'_, '_>, key: Key<'_>, deadline: i64) {
    let deadline = itoa::Buffer::new().format(deadline).to_owned();
    cx.replicate(&[b"PEXPIREAT", key.bytes(), deadline.as_bytes()]);
}

bitflags! {
    /// Under which circumstances a deadline is set: all that are named have to hold.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Conditions: u8 {
        const NX = 1 << 0;
        const XX = 1 << 1;
        const GT = 1 << 2;
        const LT = 1 << 3;
    }
}

impl Conditions {
    /// Reads the arguments from number 3 on.
    pub(crate) fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut conditions = Self::empty();
        for option in args.from(3) {
            conditions |= match option.to_ascii_uppercase().as_slice() {
                b"NX" => Self::NX,
                b"XX" => Self::XX,
                b"GT" => Self::GT,
                b"LT" => Self::LT,
                _ => return Err(CommandError::unsupported_option(option)),
            };
        }
        if conditions.contains(Self::NX) && conditions != Self::NX {
            return Err(CommandError::NxExcludesOthers);
        }
        if conditions.contains(Self::GT | Self::LT) {
            return Err(CommandError::GtExcludesLt);
        }
        Ok(conditions)
    }

    /// A key without a deadline never falls due, so every deadline is less than its.
    pub(crate) fn allow(self, old: Option<i64>, new: i64) -> bool {
        self.iter().all(|condition| match condition {
            Self::NX => old.is_none(),
            Self::XX => old.is_some(),
            Self::GT => old.is_some_and(|old| old < new),
            _ => old.is_none_or(|old| new < old),
        })
    }
}

const PERSIST: Command = Command::new("PERSIST", persist)
    .summary("Takes the deadline away from a key.")
    .syntax("key")
    .since("2.2.0")
    .complexity("O(1)")
    .arity(2)
    .writes()
    .fast()
    .key("RW UPDATE");

fn persist(cx: &mut Context<'_, '_>) -> CommandResult {
    let key = cx.key(1);
    let volatile = cx.keys.find_mut(key).filter(|it| it.get().deadline().is_some());
    let was_volatile = volatile.is_some();
    if let Some(mut record) = volatile {
        record.set_deadline(None);
        cx.touched(key, Event::PERSIST);
    }
    cx.reply.integer(i64::from(was_volatile));
    Ok(())
}

const TTL: Command = Command::new("TTL", |cx| tell_deadline(cx, Unit::Seconds, Base::Now))
    .summary("Tells in how many seconds a key falls due.")
    .syntax("key")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(2)
    .reads()
    .fast()
    .key("RO ACCESS");

const PTTL: Command = Command::new("PTTL", |cx| tell_deadline(cx, Unit::Milliseconds, Base::Now))
    .summary("Tells in how many milliseconds a key falls due.")
    .syntax("key")
    .since("2.6.0")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(2)
    .reads()
    .fast()
    .key("RO ACCESS");

const EXPIRETIME: Command =
    Command::new("EXPIRETIME", |cx| tell_deadline(cx, Unit::Seconds, Base::Epoch))
        .summary("Tells when a key falls due, in Unix seconds.")
        .syntax("key")
        .since("7.0.0")
        .complexity("O(1)")
        .arity(2)
        .reads()
        .fast()
        .key("RO ACCESS");

const PEXPIRETIME: Command =
    Command::new("PEXPIRETIME", |cx| tell_deadline(cx, Unit::Milliseconds, Base::Epoch))
        .summary("Tells when a key falls due, in Unix milliseconds.")
        .syntax("key")
        .since("7.0.0")
        .complexity("O(1)")
        .arity(2)
        .reads()
        .fast()
        .key("RO ACCESS");

fn tell_deadline(cx: &mut Context<'_, '_>, unit: Unit, base: Base) -> CommandResult {
    const MISSING: i64 = -2;
    const NEVER: i64 = -1;
    let deadline = cx.keys.find_untouched(cx.key(1)).map(RecordRef::deadline);
    let answer = match deadline {
        None => MISSING,
        Some(None) => NEVER,
        Some(Some(deadline)) => {
            let milliseconds = match base {
                Base::Now => deadline.saturating_sub(cx.now).max(0),
                Base::Epoch => deadline,
            };
            match unit {
                Unit::Seconds => ((milliseconds.unsigned_abs() + 500) / 1000) as i64,
                Unit::Milliseconds => milliseconds,
            }
        }
    };
    cx.reply.integer(answer);
    Ok(())
}
