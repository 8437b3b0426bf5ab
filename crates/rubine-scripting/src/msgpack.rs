//! The library `cmsgpack`: `MessagePack`, with the results and the errors of lua-cmsgpack 0.4.

use smallvec::SmallVec;

use crate::api::{self, check_integer_wide, is_whole};
use crate::raw::{Function, Kind, Raise, Return, Stack};
use crate::run::Context;
use crate::sandbox::set_functions;

const FUNCTIONS: &[(&str, Function)] = &[
    ("pack", pack),
    ("unpack", unpack),
    ("unpack_limit", unpack_limit),
    ("unpack_one", unpack_one),
];

const TEXTS: &[(&str, &str)] = &[
    ("_COPYRIGHT", "Copyright (C) 2012, Redis Ltd."),
    ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ("_NAME", "cmsgpack"),
    ("_VERSION", "lua-cmsgpack 0.4.0"),
];

/// A table this deep in others is packed as nil.
const DEPTH_MAX: usize = 16;

pub(crate) fn push_module(stack: &mut Stack) {
    stack.push_table(0, FUNCTIONS.len() + TEXTS.len());
    set_functions(stack, FUNCTIONS);
    for (name, text) in TEXTS {
        stack.push_text(text);
        stack.set_field(-2, name);
    }
}

fn pack(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    let count = stack.top();
    if count == 0 {
        return api::argument(stack, 0, "MessagePack pack needs input.");
    }
    if !stack.ensure(1) {
        return api::argument(stack, 0, "Too many arguments for MessagePack pack.");
    }
    let out = &mut cx.buffers.bytes;
    out.clear();
    for index in 1..=count {
        stack.push_copy(index);
        pack_value(stack, out, 0)?;
    }
    stack.push_text(&*out);
    Ok(1)
}

/// Packs the value on top and takes it off.
fn pack_value(stack: &mut Stack, out: &mut Vec<u8>, depth: usize) -> Result<(), Raise> {
    match stack.kind(-1) {
        Kind::Text => {
            let text = stack.text(-1).unwrap_or_default();
            write_len(out, text.len(), &[(31, 0xa0), (0xff, 0xd9), (0xffff, 0xda)], 0xdb);
            out.extend_from_slice(text);
        }
        Kind::Boolean => out.push(if stack.boolean(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => pack_number(out, stack.to_number(-1).unwrap_or_default()),
        Kind::Table if depth < DEPTH_MAX => pack_table(stack, out, depth)?,
        _ => out.push(0xc0),
    }
    if stack.room() < out.len() {
        api::error(stack, "not enough memory")?;
    }
    stack.pop(1);
    Ok(())
}

fn pack_table(stack: &mut Stack, out: &mut Vec<u8>, depth: usize) -> Result<(), Raise> {
    if !stack.ensure(8) {
        api::error(stack, "stack overflow (in function table_is_an_array)")?;
    }
    let (count, is_array) = shape(stack);
    if is_array {
        write_len(out, count, &[(15, 0x90), (0xffff, 0xdc)], 0xdd);
        for index in (1..).take(count) {
            stack.get_element(-1, index);
            pack_value(stack, out, depth + 1)?;
        }
        return Ok(());
    }
    write_len(out, count, &[(15, 0x80), (0xffff, 0xde)], 0xdf);
    stack.push_nil();
    while stack.next(-2) {
        stack.push_copy(-2);
        pack_value(stack, out, depth + 1)?;
        pack_value(stack, out, depth + 1)?;
    }
    Ok(())
}

/// How many fields the table on top has, and whether these are 1 and so on without a hole.
fn shape(stack: &mut Stack) -> (usize, bool) {
    let (mut count, mut highest, mut is_array) = (0, 0.0_f64, true);
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        count += 1;
        match stack.number(-1) {
            Some(key) if 1.0 <= key && key <= f64::from(i32::MAX) && is_whole(key) => {
                highest = highest.max(key);
            }
            _ => is_array = false,
        }
    }
    (count, is_array && highest as usize == count)
}

/// Writes a length behind the byte that says how long it is: `small` has the greatest length for each byte, of which the
/// first that is no header of its own holds the length in itself.
fn write_len(out: &mut Vec<u8>, len: usize, small: &[(usize, u8)], large: u8) {
    let [(fix_max, fix), rest @ ..] = small else { return };
    if len <= *fix_max {
        out.push(fix | len as u8);
        return;
    }
    match rest.iter().find(|(max, _)| len <= *max) {
        Some((0xff, byte)) => out.extend_from_slice(&[*byte, len as u8]),
        Some((_, byte)) => {
            out.push(*byte);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        None => {
            out.push(large);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn pack_number(out: &mut Vec<u8>, value: f64) {
    const END: f64 = 9_223_372_036_854_775_808.0;
    let is_integer = (-END..END).contains(&value) && is_whole(value);
    if is_integer {
        pack_integer(out, value as i64);
    } else if f64::from(value as f32).to_bits() == value.to_bits() && !value.is_nan() {
        out.push(0xca);
        out.extend_from_slice(&(value as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn pack_integer(out: &mut Vec<u8>, value: i64) {
    let (byte, len) = match value {
        -32..=0x7f => {
            out.push(value as u8);
            return;
        }
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(byte);
    out.extend_from_slice(&value.to_be_bytes()[8 - len..]);
}

fn unpack(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    unpack_from(stack, cx, 0, 0)
}

fn unpack_one(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    let offset = optional_integer(stack, 2)?;
    stack.set_top(stack.top().min(1));
    unpack_from(stack, cx, 1, offset)
}

fn unpack_limit(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    let limit = check_integer_wide(stack, 2)?;
    let offset = optional_integer(stack, 3)?;
    stack.set_top(stack.top().min(1));
    unpack_from(stack, cx, limit, offset)
}

fn optional_integer(stack: &mut Stack, number: i32) -> Result<i64, Raise> {
    match stack.kind(number) {
        Kind::None | Kind::Nil => Ok(0),
        _ => check_integer_wide(stack, number),
    }
}

/// Unpacks up to `limit` values from an offset on; all of them, where both are 0.
fn unpack_from(stack: &mut Stack, cx: &mut Context<'_>, limit: i64, offset: i64) -> Return {
    let bytes = &mut cx.buffers.bytes;
    bytes.clear();
    match stack.coerce_text(1) {
        Some(text) => bytes.extend_from_slice(text),
        None => return api::wrong_type(stack, 1, "string"),
    }
    let len = bytes.len();
    if offset < 0 || limit < 0 {
        let text = format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32, len as i32
        );
        return api::error(stack, &text);
    }
    let Some(mut rest) = bytes.get(offset as usize..) else {
        let text =
            format!("Start offset {} greater than input length {}.", offset as i32, len as i32);
        return api::error(stack, &text);
    };
    let takes_all = limit == 0 && offset == 0;
    let limit = if takes_all { i64::from(i32::MAX) } else { limit };
    let mut count = 0;
    while !rest.is_empty() && (count as i64) < limit {
        unpack_value(stack, &mut rest)?;
        count += 1;
    }
    if !takes_all {
        let next = if rest.is_empty() { -1.0 } else { (len - rest.len()) as f64 };
        if !stack.ensure(1) {
            return api::error(stack, "stack overflow (in function mp_unpack_full)");
        }
        stack.push_number(next);
        stack.insert(2);
        count += 1;
    }
    Ok(count)
}

/// A table that is being filled.
struct Level {
    left: usize,
    kind: Filling,
}

enum Filling {
    /// The number of the element that was filled in last.
    Array(i32),
    Key,
    Value,
}

/// What stands at the start of packed bytes.
enum Taken {
    Value,
    Table(Level),
}

/// Unpacks the value at the start of `rest` and pushes it.
fn unpack_value(stack: &mut Stack, rest: &mut &[u8]) -> Result<(), Raise> {
    let mut levels: SmallVec<[Level; 8]> = SmallVec::new();
    loop {
        if !stack.ensure(4) {
            api::error(
                stack,
                "stack overflow (too many return values at once; use unpack_one or unpack_limit \
                 instead.)",
            )?;
        }
        let mut is_complete = match take(stack, rest)? {
            Taken::Value => true,
            Taken::Table(level) => {
                levels.push(level);
                false
            }
        };
        loop {
            let Some(level) = levels.last_mut() else { return Ok(()) };
            if is_complete {
                attach(stack, level)?;
            }
            if 0 < level.left {
                break;
            }
            levels.pop();
            is_complete = true;
        }
    }
}

/// Takes the value on top into the table below.
fn attach(stack: &mut Stack, level: &mut Level) -> Result<(), Raise> {
    level.left -= 1;
    match &mut level.kind {
        Filling::Array(index) => {
            *index = index.saturating_add(1);
            stack.set_element(-2, *index);
        }
        Filling::Key => level.kind = Filling::Value,
        Filling::Value => {
            let wrong = match stack.kind(-2) {
                Kind::Nil => Some("table index is nil"),
                Kind::Number if stack.to_number(-2).is_some_and(f64::is_nan) => {
                    Some("table index is NaN")
                }
                _ => None,
            };
            if let Some(text) = wrong {
                stack.push_text(text);
                return Err(Raise::Value);
            }
            level.kind = Filling::Key;
            stack.set(-3);
        }
    }
    Ok(())
}

fn take(stack: &mut Stack, rest: &mut &[u8]) -> Result<Taken, Raise> {
    let [byte] = bytes(stack, rest)?;
    match byte {
        0..=0x7f => stack.push_number(f64::from(byte)),
        0xe0.. => stack.push_number(f64::from(byte as i8)),
        0xc0 => stack.push_nil(),
        0xc2 | 0xc3 => stack.push_boolean(byte == 0xc3),
        0xca => {
            let value = f32::from_be_bytes(bytes(stack, rest)?);
            stack.push_number(f64::from(value));
        }
        0xcb => {
            let value = f64::from_be_bytes(bytes(stack, rest)?);
            stack.push_number(value);
        }
        0xcc..=0xcf => {
            let value = unsigned(stack, rest, 1 << (byte - 0xcc))?;
            stack.push_number(value as i64 as f64);
        }
        0xd0 => {
            let value = i8::from_be_bytes(bytes(stack, rest)?);
            stack.push_number(f64::from(value));
        }
        0xd1 => {
            let value = i16::from_be_bytes(bytes(stack, rest)?);
            stack.push_number(f64::from(value));
        }
        0xd2 => {
            let value = i32::from_be_bytes(bytes(stack, rest)?);
            stack.push_number(f64::from(value));
        }
        0xd3 => {
            let value = i64::from_be_bytes(bytes(stack, rest)?);
            stack.push_number(value as f64);
        }
        0xa0..=0xbf => push_text(stack, rest, usize::from(byte & 0x1f))?,
        0xd9..=0xdb => {
            let len = unsigned(stack, rest, 1 << (byte - 0xd9))? as usize;
            push_text(stack, rest, len)?;
        }
        0x90..=0x9f => return push_table(stack, usize::from(byte & 15), Filling::Array(0)),
        0xdc | 0xdd => {
            let len = unsigned(stack, rest, 2 << (byte - 0xdc))? as usize;
            return push_table(stack, len, Filling::Array(0));
        }
        0x80..=0x8f => return push_table(stack, usize::from(byte & 15) * 2, Filling::Key),
        0xde | 0xdf => {
            let len = unsigned(stack, rest, 2 << (byte - 0xde))? as usize;
            return push_table(stack, len * 2, Filling::Key);
        }
        0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => {
            api::error(stack, "Bad data format in input.")?;
        }
    }
    Ok(Taken::Value)
}

fn push_table(stack: &mut Stack, left: usize, kind: Filling) -> Result<Taken, Raise> {
    if stack.is_over_limit() {
        api::error(stack, "not enough memory")?;
    }
    stack.push_table(0, 0);
    Ok(Taken::Table(Level { left, kind }))
}

fn push_text(stack: &mut Stack, rest: &mut &[u8], len: usize) -> Result<(), Raise> {
    let Some((text, behind)) = rest.split_at_checked(len) else { return missing(stack) };
    stack.push_text(text);
    *rest = behind;
    Ok(())
}

/// An integer of so many bytes.
fn unsigned(stack: &mut Stack, rest: &mut &[u8], len: usize) -> Result<u64, Raise> {
    let Some((digits, behind)) = rest.split_at_checked(len) else { return missing(stack) };
    *rest = behind;
    Ok(digits.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn bytes<const N: usize>(stack: &mut Stack, rest: &mut &[u8]) -> Result<[u8; N], Raise> {
    let Some((bytes, behind)) = rest.split_first_chunk() else { return missing(stack) };
    *rest = behind;
    Ok(*bytes)
}

fn missing<T>(stack: &mut Stack) -> Result<T, Raise> {
    stack.push_text("Missing bytes in input.");
    Err(Raise::Error)
}
