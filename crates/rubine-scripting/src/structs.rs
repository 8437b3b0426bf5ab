//! The library `struct`: numbers and texts as bytes, by a format, with the results and the errors of Lua's struct 0.2.

use crate::api::{self, check_integer_wide, check_number};
use crate::convert::before_zero;
use crate::raw::{Function, Kind, Raise, Return, Stack};
use crate::run::Context;

pub(crate) const FUNCTIONS: &[(&str, Function)] =
    &[("pack", pack), ("size", size), ("unpack", unpack)];

/// An integer has no more bytes.
const INTEGER_BYTES_MAX: i32 = 32;
const ALIGNMENT_DEFAULT: i32 = 8;

/// A format that is being read.
struct Format {
    text: Vec<u8>,
    at: usize,
    is_big_endian: bool,
    alignment: i32,
}

impl Format {
    /// The first argument.
    fn of_argument(stack: &mut Stack) -> Result<Self, Raise> {
        match stack.coerce_text(1) {
            Some(text) => Ok(Self {
                text: before_zero(text).to_vec(),
                at: 0,
                is_big_endian: cfg!(target_endian = "big"),
                alignment: 1,
            }),
            None => api::wrong_type(stack, 1, "string"),
        }
    }

    fn next(&mut self) -> Option<u8> {
        let option = *self.text.get(self.at)?;
        self.at += 1;
        Some(option)
    }

    /// The number here, if there is one.
    fn number(&mut self, stack: &mut Stack, default: i32) -> Result<i32, Raise> {
        let digit = |it: &Self| it.text.get(it.at).filter(|it| it.is_ascii_digit()).copied();
        if digit(self).is_none() {
            return Ok(default);
        }
        let mut number = 0_i32;
        while let Some(digit) = digit(self) {
            let next =
                number.checked_mul(10).and_then(|it| it.checked_add(i32::from(digit - b'0')));
            match next {
                Some(next) => number = next,
                None => fail(stack, "integral size overflow")?,
            }
            self.at += 1;
        }
        Ok(number)
    }

    /// How many bytes an option is about.
    fn size_of(&mut self, stack: &mut Stack, option: u8) -> Result<usize, Raise> {
        Ok(match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(stack, 1)? as usize,
            b'i' | b'I' => {
                let size = self.number(stack, 4)?;
                if INTEGER_BYTES_MAX < size {
                    let text =
                        format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                    fail(stack, &text)?;
                }
                size as usize
            }
            _ => 0,
        })
    }

    /// Bytes that are missing to where an option may stand.
    fn padding(&self, len: u64, option: u8, size: usize) -> u64 {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = (size as u64).min(self.alignment as u64);
        size.wrapping_sub(len & (size - 1)) & (size - 1)
    }

    /// What is no value.
    fn control(&mut self, stack: &mut Stack, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.is_big_endian = true,
            b'<' => self.is_big_endian = false,
            b'!' => {
                let alignment = self.number(stack, ALIGNMENT_DEFAULT)?;
                let is_power = 0 < alignment && alignment & (alignment - 1) == 0;
                if !is_power {
                    fail(stack, &format!("alignment {alignment} is not a power of 2"))?;
                }
                self.alignment = alignment;
            }
            _ => {
                let text = [b"invalid format option '", &[option][..], b"'"].concat();
                stack.push_text(text);
                return Err(Raise::Argument(1));
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>, little_endian: impl DoubleEndedIterator<Item = u8>) {
        if self.is_big_endian {
            out.extend(little_endian.rev());
        } else {
            out.extend(little_endian);
        }
    }
}

fn fail(stack: &mut Stack, text: &str) -> Result<(), Raise> {
    stack.push_text(text);
    Err(Raise::Error)
}

fn pack(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    let mut format = Format::of_argument(stack)?;
    let out = &mut cx.buffers.bytes;
    out.clear();
    let mut number = 2;
    // A value that is missing is nil.
    stack.push_nil();
    while let Some(option) = format.next() {
        let size = format.size_of(stack, option)?;
        let padding = format.padding(out.len() as u64, option, size);
        out.resize(out.len() + padding as usize, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = to_unsigned(check_number(stack, number)?);
                let bytes = (0..size as u32).map(|at| value.checked_shr(at * 8).unwrap_or(0) as u8);
                format.write(out, bytes);
                number += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let value = check_number(stack, number)? as f32;
                format.write(out, value.to_le_bytes().into_iter());
                number += 1;
            }
            b'd' => {
                let value = check_number(stack, number)?;
                format.write(out, value.to_le_bytes().into_iter());
                number += 1;
            }
            b'c' | b's' => {
                let Some(text) = stack.coerce_text(number) else {
                    return api::wrong_type(stack, number, "string");
                };
                number += 1;
                let len = if size == 0 { text.len() } else { size };
                let Some(text) = text.get(..len) else {
                    return api::argument(stack, number, "string too short");
                };
                out.extend_from_slice(text);
                if option == b's' {
                    out.push(0);
                }
            }
            _ => format.control(stack, option)?,
        }
        if stack.room() < out.len() {
            return api::error(stack, "not enough memory");
        }
    }
    stack.push_text(&*out);
    Ok(1)
}

/// A number as an integer of 64 bits without a sign, as processors make it.
fn to_unsigned(value: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if value < HALF || value.is_nan() {
        crate::convert::to_integer(value) as u64
    } else if value < HALF * 2.0 {
        value as u64
    } else {
        0
    }
}

fn unpack(stack: &mut Stack, cx: &mut Context<'_>) -> Return {
    let mut format = Format::of_argument(stack)?;
    let data = &mut cx.buffers.bytes;
    data.clear();
    match stack.coerce_text(2) {
        Some(text) => data.extend_from_slice(text),
        None => return api::wrong_type(stack, 2, "string"),
    }
    let start = match stack.kind(3) {
        Kind::None | Kind::Nil => 1,
        _ => check_integer_wide(stack, 3)? as u64,
    };
    if start == 0 {
        return api::argument(stack, 3, "offset must be 1 or greater");
    }
    let mut position = start - 1;
    let mut count = 0;
    while let Some(option) = format.next() {
        let mut size = format.size_of(stack, option)?;
        position = position.wrapping_add(format.padding(position, option, size));
        let mut rest = rest_of(stack, data, position, size)?;
        if !stack.ensure(2) {
            return api::error(stack, "stack overflow (too many results)");
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let is_signed = option.is_ascii_lowercase();
                stack.push_number(integer(&rest[..size], format.is_big_endian, is_signed));
                count += 1;
            }
            b'x' => {}
            b'f' => {
                let bytes = little_endian(rest, format.is_big_endian);
                stack.push_number(f64::from(f32::from_le_bytes(bytes)));
                count += 1;
            }
            b'd' => {
                stack.push_number(f64::from_le_bytes(little_endian(rest, format.is_big_endian)));
                count += 1;
            }
            b'c' => {
                if size == 0 {
                    let len = stack.to_number(-1).filter(|_| 0 < count);
                    let Some(len) = len else {
                        return api::error(stack, "format 'c0' needs a previous size");
                    };
                    size = to_unsigned(len) as usize;
                    stack.pop(1);
                    count -= 1;
                    rest = rest_of(stack, data, position, size)?;
                }
                stack.push_text(&rest[..size]);
                count += 1;
            }
            b's' => {
                let Some(len) = memchr::memchr(0, rest) else {
                    return api::error(stack, "unfinished string in data");
                };
                stack.push_text(&rest[..len]);
                size = len + 1;
                count += 1;
            }
            _ => format.control(stack, option)?,
        }
        position += size as u64;
    }
    stack.push_number((position + 1) as f64);
    Ok(count + 1)
}

/// The bytes at the start of `rest`, of which there are enough, the lowest first.
fn little_endian<const N: usize>(rest: &[u8], is_big_endian: bool) -> [u8; N] {
    let mut bytes = *rest.first_chunk().expect("the size was checked");
    if is_big_endian {
        bytes.reverse();
    }
    bytes
}

/// What is in `data` from a position on, if that is `size` bytes at least.
fn rest_of<'a>(
    stack: &mut Stack,
    data: &'a [u8],
    position: u64,
    size: usize,
) -> Result<&'a [u8], Raise> {
    let rest = usize::try_from(position).ok().and_then(|it| data.get(it..));
    rest.filter(|it| size <= it.len()).ok_or_else(|| {
        stack.push_text("data string too short");
        Raise::Argument(2)
    })
}

/// Bytes as a number. Of more than eight the last count, and a sign is looked for as processors shift.
fn integer(bytes: &[u8], is_big_endian: bool, is_signed: bool) -> f64 {
    let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value =
        if is_big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) };
    if !is_signed {
        return value as f64;
    }
    let mask = u64::MAX.wrapping_shl((bytes.len() as u32 * 8).wrapping_sub(1));
    let value = if value & mask == 0 { value } else { value | mask };
    value as i64 as f64
}

fn size(stack: &mut Stack, _: &mut Context<'_>) -> Return {
    let mut format = Format::of_argument(stack)?;
    let mut position = 0_u64;
    while let Some(option) = format.next() {
        let size = format.size_of(stack, option)?;
        position = position.wrapping_add(format.padding(position, option, size));
        match option {
            b's' => return api::argument(stack, 1, "option 's' has no fixed size"),
            b'c' if size == 0 => {
                return api::argument(stack, 1, "option 'c0' has no fixed size");
            }
            _ => {}
        }
        if !option.is_ascii_alphanumeric() {
            format.control(stack, option)?;
        }
        position = position.wrapping_add(size as u64);
    }
    stack.push_number(position as i64 as f64);
    Ok(1)
}
