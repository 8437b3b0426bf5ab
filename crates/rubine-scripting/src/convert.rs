//! Values between Lua and RESP: replies of commands as scripts see them, and what a script returns as its client sees
//! it. Recurses nowhere: nesting is bounded by the stack of Lua.

use memchr::memchr;
use rubine_base::number::{parse_i64, parse_u64};
use rubine_resp::writer::{Output, Protocol, Reply};
use smallvec::SmallVec;
use std::io::IoSlice;

use crate::raw::{Kind, Stack};

/// Replies of commands are not nested deeper.
const REPLY_DEPTH_MAX: usize = 256;
/// Room on the stack that a level of a reply needs: a table around it, the table, a key and a value, and a table with
/// a text for the value.
const SLOTS_PER_LEVEL: i32 = 10;

/// What was made of a command's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Value,
    /// A table with the text in `err`.
    Error,
}

/// A reply that is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Pushes the reply that is in `output` as a value of Lua, and empties `output`.
pub(crate) fn push_reply(
    stack: &mut Stack,
    output: &mut Output,
    joined: &mut Vec<u8>,
) -> Result<Pushed, Malformed> {
    // Long streams produce their parts as they are asked for.
    const PART_BYTES: usize = 64 * 1024;
    let mut slices = [IoSlice::new(&[]); 2];
    let is_whole = !output.has_stream() && output.front_slices(&mut slices, usize::MAX) <= 1;
    if is_whole {
        let pushed = push_value(stack, &slices[0]);
        let len = slices[0].len();
        output.advance(len);
        return pushed;
    }
    joined.clear();
    loop {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = output.front_slices(&mut slices, usize::MAX);
        slices[..count].iter().for_each(|it| joined.extend_from_slice(it));
        let len = slices[..count].iter().map(|it| it.len()).sum();
        output.advance(len);
        let is_more = output.pump(PART_BYTES) || 0 < len;
        if !is_more {
            break;
        }
    }
    push_value(stack, joined)
}

/// A collection whose elements are being pushed.
struct Level {
    left: u64,
    kind: Collection,
}

enum Collection {
    /// The number of the element that was pushed last.
    Array(i32),
    Set,
    /// Keys and values come in turn.
    MapKey,
    MapValue,
    /// Attributes of the value behind them, which nobody asks for.
    Attributes,
}

impl Level {
    /// Takes the value on top into the collection below.
    fn attach(&mut self, stack: &mut Stack) {
        self.left -= 1;
        match &mut self.kind {
            Collection::Array(index) => {
                *index += 1;
                stack.set_element(-2, *index);
            }
            Collection::Set => {
                stack.push_boolean(true);
                stack.set(-3);
            }
            Collection::MapKey => self.kind = Collection::MapValue,
            Collection::MapValue => {
                self.kind = Collection::MapKey;
                stack.set(-3);
            }
            Collection::Attributes => stack.pop(1),
        }
    }

    /// All elements are in it; returns whether there is a value now.
    fn close(&self, stack: &mut Stack) -> bool {
        match self.kind {
            Collection::Array(_) => {}
            Collection::Set => stack.set_field(-2, "set"),
            Collection::MapKey | Collection::MapValue => stack.set_field(-2, "map"),
            Collection::Attributes => return false,
        }
        true
    }
}

/// What stands at the start of a reply.
enum Taken {
    Value,
    Error,
    Collection(Level),
}

fn push_value(stack: &mut Stack, bytes: &[u8]) -> Result<Pushed, Malformed> {
    let mut rest = bytes;
    let mut levels: SmallVec<[Level; 4]> = SmallVec::new();
    let mut pushed = Pushed::Value;
    loop {
        if !stack.ensure(SLOTS_PER_LEVEL) {
            return Err(Malformed);
        }
        let mut is_complete = match take(stack, &mut rest)? {
            Taken::Value => true,
            Taken::Error => {
                if levels.is_empty() {
                    pushed = Pushed::Error;
                }
                true
            }
            Taken::Collection(_) if REPLY_DEPTH_MAX <= levels.len() => return Err(Malformed),
            Taken::Collection(level) => {
                levels.push(level);
                false
            }
        };
        // What is complete goes into its collection, and that, when it is complete, into the one around it.
        loop {
            let Some(level) = levels.last_mut() else { return Ok(pushed) };
            if is_complete {
                level.attach(stack);
            }
            if 0 < level.left {
                break;
            }
            is_complete = level.close(stack);
            levels.pop();
            if !is_complete {
                break;
            }
        }
    }
}

/// Pushes the scalar at the start of `rest`, or the table of a collection.
fn take(stack: &mut Stack, rest: &mut &[u8]) -> Result<Taken, Malformed> {
    /// Elements are numbered, by numbers of Lua's interface.
    const ELEMENTS_MAX: u64 = 1 << 26;
    let line = take_line(rest)?;
    let (&kind, text) = line.split_first().ok_or(Malformed)?;
    let count = || parse_u64(text).filter(|it| *it <= ELEMENTS_MAX).ok_or(Malformed);
    match kind {
        b'$' | b'*' if text == b"-1" => stack.push_boolean(false),
        b'$' => {
            let bulk = take_bulk(rest, text)?;
            stack.push_text(bulk);
        }
        b':' => stack.push_number(parse_i64(text).ok_or(Malformed)? as f64),
        b'+' => push_tagged(stack, "ok", text),
        b'-' => {
            push_error_reply(stack, text);
            return Ok(Taken::Error);
        }
        b'!' => {
            let bulk = take_bulk(rest, text)?;
            push_error_reply(stack, bulk);
            return Ok(Taken::Error);
        }
        b'_' => stack.push_nil(),
        b'#' => stack.push_boolean(text == b"t"),
        b',' => {
            stack.push_table(0, 1);
            stack.push_number(parse_double(text).ok_or(Malformed)?);
            stack.set_field(-2, "double");
        }
        b'(' => push_tagged(stack, "big_number", text),
        b'=' => {
            let (format, text) = take_bulk(rest, text)?.split_at_checked(4).ok_or(Malformed)?;
            stack.push_table(0, 1);
            stack.push_table(0, 2);
            stack.push_text(text);
            stack.set_field(-2, "string");
            stack.push_text(&format[..3]);
            stack.set_field(-2, "format");
            stack.set_field(-2, "verbatim_string");
        }
        b'*' | b'>' => {
            let left = count()?;
            stack.push_table(left as usize, 0);
            return Ok(Taken::Collection(Level { left, kind: Collection::Array(0) }));
        }
        b'%' => {
            let left = count()?;
            stack.push_table(0, 1);
            stack.push_table(0, left as usize);
            return Ok(Taken::Collection(Level { left: left * 2, kind: Collection::MapKey }));
        }
        b'~' => {
            let left = count()?;
            stack.push_table(0, 1);
            stack.push_table(0, left as usize);
            return Ok(Taken::Collection(Level { left, kind: Collection::Set }));
        }
        b'|' => {
            let left = count()? * 2;
            return Ok(Taken::Collection(Level { left, kind: Collection::Attributes }));
        }
        _ => return Err(Malformed),
    }
    Ok(Taken::Value)
}

/// Pushes a table with one text in it.
pub(crate) fn push_tagged(stack: &mut Stack, tag: &str, text: &[u8]) {
    stack.push_table(0, 1);
    stack.push_text(text);
    stack.set_field(-2, tag);
}

/// Pushes the error of a command as a script sees it. It has been counted.
fn push_error_reply(stack: &mut Stack, text: &[u8]) {
    push_error(stack, &coded(text));
    stack.push_boolean(true);
    stack.set_field(-2, "ignore_error_stats_update");
}

/// Pushes a table with an error's text.
pub(crate) fn push_error(stack: &mut Stack, text: &[u8]) {
    push_tagged(stack, "err", text);
}

/// An error's text with a code at its start: its first word, or `ERR` if there is but one. It ends at a zero byte.
pub(crate) fn coded(text: &[u8]) -> Vec<u8> {
    let text = before_zero(text);
    let Some(blank) = memchr(b' ', text) else { return [b"ERR ", text].concat() };
    let is_break = |it: &u8| matches!(it, b'\r' | b'\n');
    let (code, message) = (&text[..blank], &text[blank + 1..]);
    let start = message.iter().take_while(|it| is_break(it)).count();
    let end = message.len() - message[start..].iter().rev().take_while(|it| is_break(it)).count();
    [code, b" ", &message[start..end]].concat()
}

pub(crate) fn before_zero(text: &[u8]) -> &[u8] {
    &text[..memchr(0, text).unwrap_or(text.len())]
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let end = memchr(b'\r', rest).ok_or(Malformed)?;
    let (line, behind) = rest.split_at(end);
    *rest = behind.strip_prefix(b"\r\n").ok_or(Malformed)?;
    Ok(line)
}

fn take_bulk<'a>(rest: &mut &'a [u8], len: &[u8]) -> Result<&'a [u8], Malformed> {
    let len = parse_u64(len).and_then(|it| usize::try_from(it).ok()).ok_or(Malformed)?;
    let (bulk, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind.strip_prefix(b"\r\n").ok_or(Malformed)?;
    Ok(bulk)
}

fn parse_double(text: &[u8]) -> Option<f64> {
    match text {
        b"nan" | b"-nan" => Some(f64::NAN),
        _ => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// A table that is being written.
enum Open {
    /// How many elements are left, and which comes.
    Array {
        left: usize,
        next: i32,
    },
    /// The key, or the value, comes; it is on top of the stack.
    Map(Part),
    Set,
}

enum Part {
    Key,
    Value,
}

/// Writes the value on top of the stack, which it takes off, as the reply of a script that speaks `protocol`. Errors in
/// it are told to `count_error`.
pub(crate) fn write_reply(
    stack: &mut Stack,
    protocol: Protocol,
    reply: &mut Reply<'_>,
    count_error: &mut dyn FnMut(&[u8]),
) {
    let mut levels: SmallVec<[Open; 4]> = SmallVec::new();
    loop {
        if let Some(open) = write_value(stack, protocol, reply, count_error) {
            levels.push(open);
        }
        // Puts the value that comes next on top.
        loop {
            let Some(level) = levels.last_mut() else { return };
            match level {
                Open::Array { left: 0, .. } => {
                    stack.pop(1);
                    levels.pop();
                }
                Open::Array { left, next } => {
                    *left -= 1;
                    stack.get_element(-1, *next);
                    *next += 1;
                    break;
                }
                Open::Map(part @ Part::Value) => {
                    *part = Part::Key;
                    break;
                }
                Open::Map(part @ Part::Key) => {
                    if stack.next(-2) {
                        *part = Part::Value;
                        stack.push_copy(-2);
                        break;
                    }
                    stack.pop(2);
                    levels.pop();
                }
                Open::Set => {
                    if stack.next(-2) {
                        stack.pop(1);
                        stack.push_copy(-1);
                        break;
                    }
                    stack.pop(2);
                    levels.pop();
                }
            }
        }
    }
}

/// Writes the value on top and takes it off; of a table that has elements only the header, and leaves it.
fn write_value(
    stack: &mut Stack,
    protocol: Protocol,
    reply: &mut Reply<'_>,
    count_error: &mut dyn FnMut(&[u8]),
) -> Option<Open> {
    if !stack.ensure(4) {
        reply.error("ERR reached lua stack limit");
        count_error(b"ERR reached lua stack limit");
        stack.pop(1);
        return None;
    }
    match stack.kind(-1) {
        Kind::Text => reply.bulk(stack.text(-1).unwrap_or_default()),
        Kind::Number => reply.integer(to_integer(stack.to_number(-1).unwrap_or_default())),
        Kind::Boolean if protocol == Protocol::Resp3 => reply.boolean(stack.boolean(-1)),
        Kind::Boolean if stack.boolean(-1) => reply.integer(1),
        Kind::Table => return write_table(stack, reply, count_error),
        _ => reply.null(),
    }
    stack.pop(1);
    None
}

fn write_table(
    stack: &mut Stack,
    reply: &mut Reply<'_>,
    count_error: &mut dyn FnMut(&[u8]),
) -> Option<Open> {
    if write_tagged(stack, reply, count_error) {
        stack.pop(1);
        return None;
    }
    for (tag, is_map) in [("map", true), ("set", false)] {
        stack.get_field(-1, tag);
        if stack.kind(-1) == Kind::Table {
            let count = count_fields(stack);
            stack.push_nil();
            return Some(if is_map {
                reply.map(count);
                Open::Map(Part::Key)
            } else {
                reply.set(count);
                Open::Set
            });
        }
        stack.pop(1);
    }
    let mut left = 0;
    loop {
        stack.get_element(-1, left + 1);
        let is_end = stack.kind(-1) == Kind::Nil;
        stack.pop(1);
        if is_end {
            break;
        }
        left += 1;
    }
    reply.array(left as usize);
    Some(Open::Array { left: left as usize, next: 1 })
}

/// Writes what is no collection, and leaves the table on top; returns whether it was one of those.
fn write_tagged(
    stack: &mut Stack,
    reply: &mut Reply<'_>,
    count_error: &mut dyn FnMut(&[u8]),
) -> bool {
    let top = stack.top();
    let is_written = 'written: {
        stack.get_field(top, "err");
        if let Some(text) = stack.text(-1) {
            let text = before_zero(text).to_vec();
            reply.error_bytes(&text);
            stack.get_field(top, "ignore_error_stats_update");
            if stack.kind(-1) != Kind::Boolean || !stack.boolean(-1) {
                count_error(&text);
            }
            break 'written true;
        }
        stack.get_field(top, "ok");
        if let Some(text) = stack.text(-1) {
            reply.raw(&[b"+", &one_line(before_zero(text))[..], b"\r\n"].concat());
            break 'written true;
        }
        stack.get_field(top, "double");
        if let Some(value) = stack.number(-1) {
            reply.double(value);
            break 'written true;
        }
        stack.set_top(top);
        stack.get_field(top, "big_number");
        if let Some(text) = stack.text(-1) {
            let digits = one_line(before_zero(text));
            match reply.protocol() {
                Protocol::Resp2 => reply.bulk(&digits),
                Protocol::Resp3 => reply.raw(&[b"(", &digits[..], b"\r\n"].concat()),
            }
            break 'written true;
        }
        stack.get_field(top, "verbatim_string");
        if stack.kind(-1) == Kind::Table {
            stack.get_field(-1, "format");
            stack.get_field(-2, "string");
            if let (Some(format), Some(text)) = (stack.text(-2), stack.text(-1)) {
                let format = one_line(before_zero(format));
                let letter = |at: usize| format.get(at).copied().unwrap_or(b' ');
                reply.verbatim([letter(0), letter(1), letter(2)], text);
                break 'written true;
            }
        }
        false
    };
    stack.set_top(top);
    is_written
}

fn count_fields(stack: &mut Stack) -> usize {
    let mut count = 0;
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        count += 1;
    }
    count
}

/// A text whose line breaks are blanks.
fn one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|it| if matches!(it, b'\r' | b'\n') { b' ' } else { *it }).collect()
}

/// A number as an integer, cut toward zero; what is no integer of 64 bits is the smallest, as processors have it.
pub(crate) fn to_integer(value: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&value) { value as i64 } else { i64::MIN }
}
