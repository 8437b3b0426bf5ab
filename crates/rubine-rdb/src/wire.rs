//! Lengths and strings as they are written. Knows nothing of values.

use std::io::{self, Write};

use rubine_base::number::{parse_i64, write_i64};

use crate::lzf::Compressor;
use crate::opcode::{encoded, length};

/// Shorter strings are not worth compressing.
const COMPRESSED_MIN: usize = 21;
/// How much shorter a compressed string has to be.
const GAIN_MIN: usize = 4;
/// Longer texts are no integers of 32 bits.
const INTEGER_TEXT_MAX: usize = 11;

const BITS_6_MAX: u64 = (1 << 6) - 1;
const BITS_14_MAX: u64 = (1 << 14) - 1;

pub(crate) fn write_length<W: Write>(out: &mut W, number: u64) -> io::Result<()> {
    if number <= BITS_6_MAX {
        out.write_all(&[length::BITS_6 << 6 | number as u8])
    } else if number <= BITS_14_MAX {
        let [high, low] = (number as u16).to_be_bytes();
        out.write_all(&[length::BITS_14 << 6 | high, low])
    } else if let Ok(number) = u32::try_from(number) {
        out.write_all(&[length::BITS_32])?;
        out.write_all(&number.to_be_bytes())
    } else {
        out.write_all(&[length::BITS_64])?;
        out.write_all(&number.to_be_bytes())
    }
}

/// Writes strings in their shortest form.
pub(crate) struct StringWriter {
    compressor: Option<Compressor>,
}

impl StringWriter {
    pub(crate) fn new(compresses: bool) -> Self {
        Self { compressor: compresses.then(Compressor::new) }
    }

    /// A string that may be the text of a number.
    #[inline]
    pub(crate) fn write<W: Write>(&mut self, out: &mut W, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= INTEGER_TEXT_MAX
            && let Some(number) = parse_i64(bytes)
            && write_small_integer(out, number)?
        {
            return Ok(());
        }
        self.write_blob(out, bytes)
    }

    /// A string that is no text of a number.
    #[inline]
    pub(crate) fn write_blob<W: Write>(&mut self, out: &mut W, bytes: &[u8]) -> io::Result<()> {
        if COMPRESSED_MIN <= bytes.len()
            && let Some(compressor) = &mut self.compressor
            && let Some(compressed) = compressor.compress(bytes, bytes.len() - GAIN_MIN)
        {
            out.write_all(&[length::ENCODED << 6 | encoded::LZF])?;
            write_length(out, compressed.len() as u64)?;
            write_length(out, bytes.len() as u64)?;
            return out.write_all(compressed);
        }
        write_length(out, bytes.len() as u64)?;
        out.write_all(bytes)
    }
}

/// The text of a number.
pub(crate) fn write_integer<W: Write>(out: &mut W, number: i64) -> io::Result<()> {
    if write_small_integer(out, number)? {
        return Ok(());
    }
    let mut text = Vec::with_capacity(20);
    write_i64(&mut text, number);
    write_length(out, text.len() as u64)?;
    out.write_all(&text)
}

/// False, and nothing is written, if the number needs more than 32 bits.
fn write_small_integer<W: Write>(out: &mut W, number: i64) -> io::Result<bool> {
    let head = |encoding: u8| length::ENCODED << 6 | encoding;
    if let Ok(number) = i8::try_from(number) {
        out.write_all(&[head(encoded::INT_8), number as u8])?;
    } else if let Ok(number) = i16::try_from(number) {
        let [low, high] = number.to_le_bytes();
        out.write_all(&[head(encoded::INT_16), low, high])?;
    } else if let Ok(number) = i32::try_from(number) {
        out.write_all(&[head(encoded::INT_32)])?;
        out.write_all(&number.to_le_bytes())?;
    } else {
        return Ok(false);
    }
    Ok(true)
}
