//! Conditions on the value that is there: those of SET, and the commands that remove a key under one. Never stores.

use xxhash_rust::xxh3::xxh3_64;

use super::{StringRef, expect_string};
use crate::args::ArgCursor;
use crate::command::Command;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::event::Event;

/// Digits of a digest.
const DIGEST_LEN: usize = 16;

/// When SET stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition<'a> {
    #[default]
    Always,
    /// `NX`
    IfMissing,
    /// `XX`
    IfPresent,
    IfValue(ValueCondition<'a>),
}

/// A comparison with the value that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueCondition<'a> {
    Equal(&'a [u8]),
    NotEqual(&'a [u8]),
    DigestEqual(Digest),
    DigestNotEqual(Digest),
}

/// A digest as a client gave it; `None` if it is one that no value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(Option<u64>);

impl Digest {
    fn parse(text: &[u8]) -> Result<Self, CommandError> {
        if text.len() != DIGEST_LEN {
            return Err(CommandError::text("ERR must be exactly 16 hexadecimal characters"));
        }
        let is_digits = text.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(text).ok().filter(|_| is_digits);
        Ok(Self(text.and_then(|text| u64::from_str_radix(text, 16).ok())))
    }

    fn is_of(self, string: StringRef<'_>) -> bool {
        self.0 == Some(xxh3_64(&string.text()))
    }
}

impl<'a> Condition<'a> {
    /// Reads the option that has just been passed, if it is a condition. An error if there is another already.
    pub(super) fn read(
        &mut self,
        option: &[u8],
        options: &mut ArgCursor<'a>,
    ) -> Result<bool, CommandError> {
        let condition = if option.eq_ignore_ascii_case(b"NX") {
            Self::IfMissing
        } else if option.eq_ignore_ascii_case(b"XX") {
            Self::IfPresent
        } else if ValueCondition::is_named(option) {
            if *self != Self::Always {
                return Err(CommandError::Syntax);
            }
            Self::IfValue(ValueCondition::parse(option, options.required()?)?)
        } else {
            return Ok(false);
        };
        if *self != Self::Always && *self != condition {
            return Err(CommandError::Syntax);
        }
        *self = condition;
        Ok(true)
    }

    /// Whether the condition is about more than the presence of the key.
    pub(super) fn compares(self) -> bool {
        matches!(self, Self::IfValue(_))
    }
}

impl<'a> ValueCondition<'a> {
    fn is_named(option: &[u8]) -> bool {
        let names: [&[u8]; 4] = [b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"];
        names.iter().any(|name| option.eq_ignore_ascii_case(name))
    }

    /// The condition of this name with this operand.
    fn parse(name: &[u8], operand: &'a [u8]) -> Result<Self, CommandError> {
        if name.eq_ignore_ascii_case(b"IFEQ") {
            Ok(Self::Equal(operand))
        } else if name.eq_ignore_ascii_case(b"IFNE") {
            Ok(Self::NotEqual(operand))
        } else if name.eq_ignore_ascii_case(b"IFDEQ") {
            Ok(Self::DigestEqual(Digest::parse(operand)?))
        } else if name.eq_ignore_ascii_case(b"IFDNE") {
            Ok(Self::DigestNotEqual(Digest::parse(operand)?))
        } else {
            let text = "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE";
            Err(CommandError::text(text))
        }
    }

    /// Whether it holds for a value.
    pub(super) fn holds(self, string: StringRef<'_>) -> bool {
        match self {
            Self::Equal(expected) => *string.text() == *expected,
            Self::NotEqual(unwanted) => *string.text() != *unwanted,
            Self::DigestEqual(digest) => digest.is_of(string),
            Self::DigestNotEqual(digest) => !digest.is_of(string),
        }
    }

    /// Whether it holds where there is no value.
    pub(super) fn holds_without_value(self) -> bool {
        matches!(self, Self::NotEqual(_) | Self::DigestNotEqual(_))
    }
}

pub(super) const DIGEST: Command = Command::new("DIGEST", digest)
    .summary("Returns a digest of the string under a key, for comparisons without the value.")
    .syntax("key")
    .since("8.4.0")
    .complexity("O(N) with N the length of the string.")
    .arity(2)
    .reads()
    .fast()
    .key("RO ACCESS");

fn digest(cx: &mut Context<'_, '_>) -> CommandResult {
    let string = cx.keys.find(cx.key(1)).map(expect_string).transpose()?;
    match string {
        Some(string) => {
            let digest = format!("{:0DIGEST_LEN$x}", xxh3_64(&string.text()));
            cx.reply.bulk(digest.as_bytes());
        }
        None => cx.reply.null(),
    }
    Ok(())
}

pub(super) const DELIFEQ: Command = Command::new("DELIFEQ", delifeq)
    .summary("Removes a key if it holds the given string.")
    .syntax("key value")
    .since("9.0.0")
    .complexity("O(1)")
    .arity(3)
    .writes()
    .fast()
    .key("RM DELETE");

fn delifeq(cx: &mut Context<'_, '_>) -> CommandResult {
    let condition = ValueCondition::Equal(cx.args.at(2));
    let string = cx.keys.find_to_write(cx.key(1)).map(expect_string).transpose()?;
    let holds = string.is_some_and(|string| condition.holds(string));
    remove_if(cx, holds);
    Ok(())
}

pub(super) const DELEX: Command = Command::new("DELEX", delex)
    .summary("Removes a key, on condition of its string or the digest of its string.")
    .syntax("key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]")
    .since("8.4.0")
    .complexity("O(1), with a digest O(N) with N the length of the string.")
    .arity(-2)
    .writes()
    .fast()
    .key("RW DELETE VARIABLE_FLAGS");

/// What is wrong with a condition is told only once there is a string to hold it against, as Redis does.
fn delex(cx: &mut Context<'_, '_>) -> CommandResult {
    let is_conditional = match cx.args.len() {
        2 => false,
        4 => true,
        _ => return Err(CommandError::Arity("delex".into())),
    };
    let holds = match cx.keys.find_to_write(cx.key(1)) {
        None => false,
        Some(record) if is_conditional => {
            let wrong_type = "ERR Key should be of string type if conditions are specified";
            let string = expect_string(record).map_err(|_| CommandError::text(wrong_type))?;
            ValueCondition::parse(cx.args.at(2), cx.args.at(3))?.holds(string)
        }
        Some(_) => true,
    };
    remove_if(cx, holds);
    Ok(())
}

fn remove_if(cx: &mut Context<'_, '_>, holds: bool) {
    let key = cx.key(1);
    if holds {
        cx.keys.remove(key);
        cx.touched(key, Event::DEL);
        cx.replicate(&[b"DEL", key.bytes()]);
    }
    cx.reply.integer(holds.into());
}
