//! The library `bit`: operations on integers of 32 bits.

use crate::raw::{Function, Kind, Raise, Return, Stack};
use crate::run::Context;

pub(crate) const FUNCTIONS: &[(&str, Function)] = &[
    ("arshift", |stack, _| shift(stack, |bits, by| ((bits as i32) >> by) as u32)),
    ("band", |stack, _| fold(stack, |left, right| left & right)),
    ("bnot", |stack, _| map(stack, |bits| !bits)),
    ("bor", |stack, _| fold(stack, |left, right| left | right)),
    ("bswap", |stack, _| map(stack, u32::swap_bytes)),
    ("bxor", |stack, _| fold(stack, |left, right| left ^ right)),
    ("lshift", |stack, _| shift(stack, |bits, by| bits << by)),
    ("rol", |stack, _| shift(stack, u32::rotate_left)),
    ("ror", |stack, _| shift(stack, u32::rotate_right)),
    ("rshift", |stack, _| shift(stack, |bits, by| bits >> by)),
    ("tobit", |stack, _| map(stack, |bits| bits)),
    ("tohex", to_hex),
];

/// An argument's lowest 32 bits, rounded to the nearest integer as the sum with a large number is.
fn bits(stack: &mut Stack, number: i32) -> Result<u32, Raise> {
    const ROUNDING: f64 = 6_755_399_441_055_744.0;
    let value = stack.to_number(number);
    match value {
        Some(value) => Ok((value + ROUNDING).to_bits() as u32),
        None => crate::api::wrong_type(stack, number, "number"),
    }
}

fn give(stack: &mut Stack, bits: u32) -> Return {
    stack.push_number(f64::from(bits as i32));
    Ok(1)
}

fn map(stack: &mut Stack, operation: fn(u32) -> u32) -> Return {
    let bits = bits(stack, 1)?;
    give(stack, operation(bits))
}

fn fold(stack: &mut Stack, operation: fn(u32, u32) -> u32) -> Return {
    let mut result = bits(stack, 1)?;
    for number in (2..=stack.top()).rev() {
        result = operation(result, bits(stack, number)?);
    }
    give(stack, result)
}

fn shift(stack: &mut Stack, operation: fn(u32, u32) -> u32) -> Return {
    let value = bits(stack, 1)?;
    let by = bits(stack, 2)? & 31;
    give(stack, operation(value, by))
}

/// So many hexadecimal digits, in capitals if the number is negative.
fn to_hex(stack: &mut Stack, _: &mut Context<'_>) -> Return {
    const DIGITS_MAX: u32 = 8;
    let value = bits(stack, 1)?;
    let count = match stack.kind(2) {
        Kind::None => DIGITS_MAX as i32,
        _ => bits(stack, 2)? as i32,
    };
    let digits = if count < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    let kept = count.unsigned_abs().min(DIGITS_MAX) as usize;
    stack.push_text(&digits[DIGITS_MAX as usize - kept..]);
    Ok(1)
}
