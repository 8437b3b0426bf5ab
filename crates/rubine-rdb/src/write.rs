//! Writes a file: what stands around the keys, and the checksum. Encodes no key itself, but takes encoded ones from
//! any number of [`crate::encode::Encoder`]s.

use std::io::{self, Write};

use rubine_base::crc::crc64;

use crate::opcode;
use crate::version::Version;
use crate::wire::{StringWriter, write_length};

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub version: Version,
    /// Whether strings are compressed: the directive `rdbcompression`.
    pub compresses: bool,
    /// Whether there is a checksum at the end: the directive `rdbchecksum`.
    pub sums: bool,
}

/// Writes to `W`, which should have a buffer.
pub struct Writer<W> {
    out: Summing<W>,
    strings: StringWriter,
}

/// Sums up what passes through.
struct Summing<W> {
    out: W,
    checksum: Option<u64>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(out: W, options: Options) -> io::Result<Self> {
        let checksum = options.sums.then_some(0);
        let mut out = Summing { out, checksum, written: 0 };
        out.write_all(&options.version.magic())?;
        Ok(Self { out, strings: StringWriter::new(options.compresses) })
    }

    /// A remark. Whoever does not know it passes over it.
    pub fn aux(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.out.write_all(&[opcode::AUX])?;
        self.strings.write(&mut self.out, key)?;
        self.strings.write(&mut self.out, value)
    }

    /// The code of a function library.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.out.write_all(&[opcode::FUNCTION])?;
        self.strings.write(&mut self.out, code)
    }

    /// The slots of these ranges, from the first to the last of each, are being taken in from another node by a migration of
    /// that name: nobody is to see their keys. Versions of Redis have no word for it.
    pub fn slot_import(&mut self, name: &[u8], ranges: &[(u16, u16)]) -> io::Result<()> {
        self.out.write_all(&[opcode::KEY_META_OR_SLOT_IMPORT])?;
        self.strings.write(&mut self.out, name)?;
        write_length(&mut self.out, ranges.len() as u64)?;
        for (first, last) in ranges {
            write_length(&mut self.out, u64::from(*first))?;
            write_length(&mut self.out, u64::from(*last))?;
        }
        Ok(())
    }

    /// The entries that follow belong to database `db`, which has about so many keys, and so many with deadlines.
    pub fn select_db(&mut self, db: u64, keys: u64, expires: u64) -> io::Result<()> {
        self.out.write_all(&[opcode::SELECT_DB])?;
        write_length(&mut self.out, db)?;
        self.out.write_all(&[opcode::RESIZE_DB])?;
        write_length(&mut self.out, keys)?;
        write_length(&mut self.out, expires)
    }

    /// Whole entries as an encoder made them.
    pub fn append_encoded(&mut self, entries: &[u8]) -> io::Result<()> {
        self.out.write_all(entries)
    }

    /// How many bytes have been written.
    pub fn written(&self) -> u64 {
        self.out.written
    }

    /// Ends the file, and gives back what it was written to. Nothing is flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[opcode::END])?;
        let checksum = self.out.checksum.unwrap_or(0);
        self.out.write_all(&checksum.to_le_bytes())?;
        Ok(self.out.out)
    }
}

/// For an entry too large to be encoded in memory first.
impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        if let Some(checksum) = &mut self.checksum {
            *checksum = crc64(*checksum, &bytes[..len]);
        }
        self.written += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
