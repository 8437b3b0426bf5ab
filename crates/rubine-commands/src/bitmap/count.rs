//! Commands that look through a range of bits: BITCOUNT, BITPOS. They change nothing, and
//! look through a long string without its lock.

use std::ops::Range;

use rubine_structures::bitmap::{count_ones, find};

use crate::args::Args;
use crate::command::Command;
use crate::computation::Computation;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::string::{StringHandle, expect_string};

pub(super) const BITCOUNT: Command = Command::new("BITCOUNT", bitcount)
    .summary("Counts the set bits of the string under a key, or of a part of it.")
    .syntax("key [start [end [BYTE | BIT]]]")
    .since("2.6.0")
    .complexity("O(N) with N the length of the part.")
    .arity(-2)
    .reads()
    .key("RO ACCESS");

fn bitcount(cx: &mut Context<'_, '_>) -> CommandResult {
    let range = BitRange::parse(cx.args, 2)?;
    let count = match look(cx, range, What::Ones)? {
        Outcome::Deferred => return Ok(()),
        Outcome::Seen(_, Some(count)) if !range.is_backward() => count,
        _ => 0,
    };
    cx.reply.integer(count as i64);
    Ok(())
}

pub(super) const BITPOS: Command = Command::new("BITPOS", bitpos)
    .summary(
        "Finds the first bit that is set, or clear, in the string under a key or a part of it.",
    )
    .syntax("key bit [start [end [BYTE | BIT]]]")
    .since("2.8.7")
    .complexity("O(N) with N the length of the part.")
    .arity(-3)
    .reads()
    .key("RO ACCESS");

fn bitpos(cx: &mut Context<'_, '_>) -> CommandResult {
    let is_on = match cx.args.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::text("ERR The bit argument must be 1 or 0.")),
    };
    let range = BitRange::parse(cx.args, 3)?;
    let position = match look(cx, range, What::First(is_on))? {
        Outcome::Deferred => return Ok(()),
        // A missing key is an endless row of zeros, whatever the range.
        Outcome::Missing => (!is_on).then_some(0),
        Outcome::Seen(bits, found) => {
            // Zeros follow a string for whom no end was given, but for an empty part of it.
            let goes_on = !is_on && range.end.is_none() && !bits.is_empty();
            found.or(goes_on.then_some(bits.end))
        }
    };
    cx.reply.integer(position.map_or(-1, |position| position as i64));
    Ok(())
}

/// What is looked for in a range of bits.
#[derive(Clone, Copy)]
enum What {
    /// How many are set.
    Ones,
    /// The first that is set, or that is not.
    First(bool),
}

impl What {
    fn in_bytes(self, bytes: &[u8], bits: Range<u64>) -> Option<u64> {
        match self {
            Self::Ones => Some(count_ones(bytes, bits)),
            Self::First(is_on) => find(bytes, bits, is_on),
        }
    }
}

enum Outcome {
    Missing,
    /// The bits that were looked at, and the answer.
    Seen(Range<u64>, Option<u64>),
    /// The command runs again when the answer is there.
    Deferred,
}

/// Looks through the range of the string under the command's key.
fn look(cx: &mut Context<'_, '_>, range: BitRange, what: What) -> Result<Outcome, CommandError> {
    let Some(string) = cx.keys.find(cx.key(1)).map(expect_string).transpose()? else {
        return Ok(Outcome::Missing);
    };
    let bits = range.of(string.len());
    if !string.is_long() {
        return Ok(Outcome::Seen(bits.clone(), what.in_bytes(&string.text(), bits)));
    }
    let scan = Scan { string: string.handle(), bits: bits.clone(), what };
    Ok(cx.compute_reply(scan).map_or(Outcome::Deferred, |found| Outcome::Seen(bits, found)))
}

/// A look through a long string.
struct Scan {
    string: StringHandle,
    bits: Range<u64>,
    what: What,
}

/// Bits that are looked at in the time of a step of a computation.
const BITS_PER_STEP: u64 = 8 * 4096;

impl Computation for Scan {
    type Output = Option<u64>;

    fn steps(&self) -> u64 {
        (self.bits.end - self.bits.start) / BITS_PER_STEP
    }

    fn is_same(&self, other: &Self) -> bool {
        self.string.is_same(&other.string)
    }

    fn compute(&self) -> Option<u64> {
        self.what.in_bytes(&self.string, self.bits.clone())
    }
}

/// `[start [end [BYTE | BIT]]]`: a range as it was asked for, both ends included, negative numbers counted from the end.
#[derive(Clone, Copy)]
struct BitRange {
    start: i64,
    end: Option<i64>,
    /// Bits of what is counted: bytes or bits.
    unit: i64,
}

impl BitRange {
    fn parse(args: Args<'_>, from: usize) -> Result<Self, CommandError> {
        if from + 3 < args.len() {
            return Err(CommandError::Syntax);
        }
        let start = if from < args.len() { args.integer(from)? } else { 0 };
        let unit = match args.get(from + 2) {
            Some(unit) if unit.eq_ignore_ascii_case(b"BIT") => 1,
            Some(unit) if !unit.eq_ignore_ascii_case(b"BYTE") => return Err(CommandError::Syntax),
            _ => 8,
        };
        let end = if from + 1 < args.len() { Some(args.integer(from + 1)?) } else { None };
        Ok(Self { start, end, unit })
    }

    /// Whether both ends are counted from the end of the string, in the wrong order: nothing, before either is cut to
    /// the beginning of the string.
    fn is_backward(self) -> bool {
        self.end.is_some_and(|end| end < 0 && self.start < 0 && end < self.start)
    }

    /// The bits that are meant, in a string of `len` bytes.
    fn of(self, len: usize) -> Range<u64> {
        let units = len as i64 * 8 / self.unit;
        let from_start = |index: i64| {
            if index < 0 { index.saturating_add(units).max(0) } else { index }
        };
        let behind = from_start(self.end.unwrap_or(-1)).min(units - 1) + 1;
        let start = from_start(self.start).min(behind);
        (start * self.unit) as u64..(behind * self.unit) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::BitRange;

    #[test]
    fn ranges() {
        let check = |len, start, end, unit, expected| {
            assert_eq!(BitRange { start, end, unit }.of(len), expected, "{len} {start} {end:?}");
        };
        check(3, 0, None, 8, 0..24);
        check(3, 1, Some(1), 8, 8..16);
        check(3, -2, Some(-1), 8, 8..24);
        check(3, -2, Some(-1), 1, 22..24);
        check(3, i64::MIN, Some(i64::MAX), 1, 0..24);
        check(3, i64::MAX, None, 8, 24..24);
        check(3, 2, Some(1), 8, 16..16);
        check(0, 0, None, 8, 0..0);
        check(0, i64::MIN, Some(i64::MIN), 1, 0..0);
        check(3, -7, Some(-7), 8, 0..8);
    }
}
