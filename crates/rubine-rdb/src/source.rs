//! A window on what is being read: counts and sums up the bytes that leave it, and copies those that are kept. Takes
//! memory only for bytes that have arrived. Knows no format but that of lengths.

use std::io::{ErrorKind, Read};

use rubine_base::crc::crc64;

use crate::cursor::Head;
use crate::error::{Fault, ReadError};
use crate::opcode::length;

const WINDOW_BYTES: usize = 256 * 1024;

pub(crate) struct Source<R> {
    input: R,
    window: Box<[u8]>,
    /// What has not been taken is `window[start..end]`.
    start: usize,
    end: usize,
    /// What has been summed up ends here. Invariant: not after `start`.
    summed: usize,
    /// Offset of the window's first byte.
    base: u64,
    checksum: u64,
    /// Where the bytes go that are kept.
    pub(crate) kept: Vec<u8>,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            window: vec![0; WINDOW_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            summed: 0,
            base: 0,
            checksum: 0,
            kept: Vec::new(),
        }
    }

    /// Where the next byte is.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    pub(crate) fn fault(&self, fault: Fault) -> ReadError {
        ReadError::damaged(self.offset(), fault)
    }

    /// The checksum of all that has been taken.
    pub(crate) fn checksum(&mut self) -> u64 {
        self.checksum = crc64(self.checksum, &self.window[self.summed..self.start]);
        self.summed = self.start;
        self.checksum
    }

    /// The input, and what was read from it and not taken.
    pub(crate) fn into_rest(self) -> (R, Vec<u8>) {
        (self.input, self.window[self.start..self.end].to_vec())
    }

    /// The next bytes, which are not kept.
    pub(crate) fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], ReadError> {
        let mut array = [0; LEN];
        let mut filled = 0;
        while filled < LEN {
            let piece = self.piece((LEN - filled) as u64)?;
            array[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        Ok(array)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, ReadError> {
        if self.start == self.end {
            self.fill()?;
        }
        self.start += 1;
        Ok(self.window[self.start - 1])
    }

    /// Keeps the next `len` bytes.
    #[inline]
    pub(crate) fn keep(&mut self, mut len: u64) -> Result<(), ReadError> {
        while 0 < len {
            if self.start == self.end {
                self.fill()?;
            }
            let piece_len = len.min((self.end - self.start) as u64) as usize;
            self.kept.extend_from_slice(&self.window[self.start..self.start + piece_len]);
            self.start += piece_len;
            len -= piece_len as u64;
        }
        Ok(())
    }

    /// Keeps a length or the head of an encoded string, and returns it.
    #[inline]
    pub(crate) fn keep_head(&mut self) -> Result<Head, ReadError> {
        let offset = self.offset();
        let start = self.kept.len();
        self.keep(1)?;
        let first = self.kept[start];
        let following = match first >> 6 {
            length::BITS_6 => return Ok(Head::Length(u64::from(first & 0x3f))),
            length::BITS_14 => 1,
            length::ENCODED => return Ok(Head::Encoded(first & 0x3f)),
            _ if first == length::BITS_32 => 4,
            _ if first == length::BITS_64 => 8,
            _ => return Err(ReadError::damaged(offset, Fault::Length)),
        };
        self.keep(following)?;
        let high = if following == 1 { u64::from(first & 0x3f) } else { 0 };
        let bytes = self.kept[start + 1..].iter();
        Ok(Head::Length(bytes.fold(high, |number, &byte| number << 8 | u64::from(byte))))
    }

    /// Keeps a length and returns it.
    #[inline]
    pub(crate) fn keep_length(&mut self) -> Result<u64, ReadError> {
        let offset = self.offset();
        match self.keep_head()? {
            Head::Length(length) => Ok(length),
            Head::Encoded(_) => Err(ReadError::damaged(offset, Fault::Length)),
        }
    }

    /// Between one and `len_max` bytes, which are taken.
    fn piece(&mut self, len_max: u64) -> Result<&[u8], ReadError> {
        if self.start == self.end {
            self.fill()?;
        }
        let start = self.start;
        self.start += len_max.min((self.end - start) as u64) as usize;
        Ok(&self.window[start..self.start])
    }

    /// Replaces the window, all of which has been taken, by what comes next.
    #[cold]
    fn fill(&mut self) -> Result<(), ReadError> {
        assert!(self.start == self.end);
        self.checksum();
        self.base += self.end as u64;
        (self.start, self.end, self.summed) = (0, 0, 0);
        loop {
            match self.input.read(&mut self.window) {
                Ok(0) => return Err(self.fault(Fault::Truncated)),
                Ok(len) => {
                    self.end = len;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Io { offset: self.offset(), error }),
            }
        }
    }
}
