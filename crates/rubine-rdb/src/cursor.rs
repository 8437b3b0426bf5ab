//! Reads numbers, lengths and strings from bytes in memory. No length is believed before the bytes are seen to be
//! there.

use std::borrow::Cow;

use rubine_base::number::write_i64;

use crate::error::{Damage, Fault};
use crate::lzf;
use crate::opcode::{encoded, length};

/// Bytes that a key or an element of a collection may have: lengths in records have 32 bits.
pub(crate) const PART_BYTES_MAX: u64 = u32::MAX as u64 - 1;

#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What stands where a length may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Length(u64),
    /// A string in this encoding.
    Encoded(u8),
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What is wrong, here.
    pub(crate) fn fault(&self, fault: Fault) -> Damage {
        fault.at(self.at)
    }

    #[inline]
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], Damage> {
        if (self.remaining() as u64) < len {
            return Err(Fault::Truncated.at(self.bytes.len()));
        }
        let start = self.at;
        self.at += len as usize;
        Ok(&self.bytes[start..self.at])
    }

    #[inline]
    pub(crate) fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Damage> {
        let bytes = self.take(LEN as u64)?;
        Ok(bytes.try_into().expect("so many bytes were taken"))
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        Ok(self.array::<1>()?[0])
    }

    /// A number of eight bytes: a time, mostly.
    pub(crate) fn i64(&mut self) -> Result<i64, Damage> {
        self.array().map(i64::from_le_bytes)
    }

    #[inline]
    pub(crate) fn head(&mut self) -> Result<Head, Damage> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        let length = match first >> 6 {
            length::BITS_6 => low,
            length::BITS_14 => low << 8 | u64::from(self.byte()?),
            length::ENCODED => return Ok(Head::Encoded(first & 0x3f)),
            _ if first == length::BITS_32 => u64::from(u32::from_be_bytes(self.array()?)),
            _ if first == length::BITS_64 => u64::from_be_bytes(self.array()?),
            _ => return Err(Fault::Length.at(self.at - 1)),
        };
        Ok(Head::Length(length))
    }

    #[inline]
    pub(crate) fn length(&mut self) -> Result<u64, Damage> {
        let start = self.at;
        match self.head()? {
            Head::Length(length) => Ok(length),
            Head::Encoded(_) => Err(Fault::Length.at(start)),
        }
    }

    /// A number of elements that is not zero. It is checked against what follows: each takes a byte at least.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<usize, Damage> {
        let start = self.at;
        let count = self.length()?;
        if count == 0 {
            return Err(Fault::Empty(what).at(start));
        }
        self.bounded(count)
    }

    /// `count`, if so many elements can follow.
    pub(crate) fn bounded(&self, count: u64) -> Result<usize, Damage> {
        if (self.remaining() as u64) < count {
            return Err(Fault::Truncated.at(self.bytes.len()));
        }
        Ok(count as usize)
    }

    /// A string that is a key, or a part of something, borrowed where it stands as it is.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, [u8]>, Damage> {
        self.string_up_to(PART_BYTES_MAX)
    }

    /// A string that is a value, and may have any length.
    pub(crate) fn long_string(&mut self) -> Result<Cow<'a, [u8]>, Damage> {
        self.string_up_to(u64::MAX)
    }

    #[inline]
    fn string_up_to(&mut self, bytes_max: u64) -> Result<Cow<'a, [u8]>, Damage> {
        let start = self.at;
        let check = |len| {
            if len <= bytes_max { Ok(()) } else { Err(Fault::LongString(len).at(start)) }
        };
        match self.head()? {
            Head::Length(length) => {
                check(length)?;
                self.take(length).map(Cow::Borrowed)
            }
            Head::Encoded(encoded::LZF) => {
                let compressed_len = self.length()?;
                let len = self.length()?;
                check(len)?;
                let compressed = self.take(compressed_len)?;
                let bytes = lzf::decompress(compressed, len);
                bytes.map(Cow::Owned).ok_or_else(|| Fault::Compressed.at(start))
            }
            Head::Encoded(encoding) => {
                let number = self.integer(encoding, start)?;
                let mut text = Vec::new();
                write_i64(&mut text, number);
                Ok(Cow::Owned(text))
            }
        }
    }

    /// The number that a string of `encoding` is written as.
    pub(crate) fn integer(&mut self, encoding: u8, start: usize) -> Result<i64, Damage> {
        match encoding {
            encoded::INT_8 => self.array().map(|bytes| i64::from(i8::from_le_bytes(bytes))),
            encoded::INT_16 => self.array().map(|bytes| i64::from(i16::from_le_bytes(bytes))),
            encoded::INT_32 => self.array().map(|bytes| i64::from(i32::from_le_bytes(bytes))),
            _ => Err(Fault::StringEncoding(encoding).at(start)),
        }
    }

    /// Nothing may follow.
    pub(crate) fn finish(&self) -> Result<(), Damage> {
        match self.remaining() as u64 {
            0 => Ok(()),
            left => Err(self.fault(Fault::Trailing(left))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of 4 GiB in a dump was no error but the end of the server.
    #[test]
    fn only_values_are_very_long() {
        let len: u64 = 1 << 32;
        let mut plain = vec![length::BITS_64];
        plain.extend_from_slice(&len.to_be_bytes());
        // One byte that is compressed, it says.
        let mut compressed = vec![length::ENCODED << 6 | encoded::LZF, 1, length::BITS_64];
        compressed.extend_from_slice(&len.to_be_bytes());
        for bytes in [plain, compressed] {
            let damage = Cursor::new(&bytes).string().expect_err("it is too long for a key");
            assert_eq!(damage.fault, Fault::LongString(len));
            assert!(damage.to_string().contains("4294967296 bytes"), "{damage}");
            let damage = Cursor::new(&bytes).long_string().expect_err("nothing follows");
            assert_eq!(damage.fault, Fault::Truncated);
        }
    }
}
