//! Reading encrypted files. Nothing is handed out of a block that does not open; what is wrong with it is named.

use std::io::{self, Cursor, Read};

use ring::aead::{Aad, LessSafeKey};
use thiserror::Error;

use super::{
    BLOCK_BYTES_MAX, CHECK_AT, CHECK_BYTES, FINAL, HEADER_BYTES, Header, KeyRing, LENGTH_BYTES,
    MAGIC, NAME_AT, NAME_BYTES, PLAIN_AT, Place, TAG_AT, TAG_BYTES, context, is_encrypted, nonce,
    segment_key,
};

/// So many other places are tried for a block that does not open where it is.
const PLACES_TRIED_MAX: u64 = 4096;

/// What is wrong with an encrypted file. `offset` counts the bytes of the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncryptionError {
    #[error("it is encrypted, and no encryption-key-file is given")]
    NoKeys,
    #[error("it is encrypted with the key '{0}', which is not in the encryption-key-file")]
    UnknownKey(String),
    #[error(
        "it is encrypted with another key of the name '{0}' than the one in the encryption-key-file"
    )]
    WrongKey(String),
    #[error("there is no segment at offset {offset}")]
    NoSegment { offset: u64 },
    #[error(
        "the segment at offset {offset} does not follow what is before it: blocks are missing, or not its own"
    )]
    Misplaced { offset: u64 },
    #[error("block {number} at offset {offset} has the impossible length {length}")]
    Length { offset: u64, number: u64, length: u32 },
    #[error("block {number} at offset {offset} was changed")]
    Changed { offset: u64, number: u64 },
    #[error("block {number} at offset {offset} was moved there: it is block {origin}")]
    Moved { offset: u64, number: u64, origin: u64 },
    #[error("something follows the end of the file at offset {offset}")]
    BehindEnd { offset: u64 },
    #[error("it is cut off at offset {offset}")]
    CutOff { offset: u64 },
}

impl From<EncryptionError> for io::Error {
    fn from(error: EncryptionError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// How a file ends, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is more.
    Unknown,
    /// With the mark of a complete file.
    Complete,
    /// Behind a whole block or header: it was not finished, or lost whole blocks.
    Open,
    /// Within a block or header that begins at this offset.
    Torn(u64),
}

/// Decrypts what it reads.
pub struct Decrypting<R> {
    source: R,
    keys: KeyRing,
    /// The segment's key and header, and the next block's number.
    segment: Option<(LessSafeKey, Header, u64)>,
    /// What a further segment has to follow.
    place: Place,
    /// Bytes of the file that were read as whole blocks and headers.
    offset: u64,
    plain: Vec<u8>,
    /// How much of it was handed out.
    used: usize,
    ending: Ending,
}

impl<R: Read> Decrypting<R> {
    pub fn new(source: R, keys: &KeyRing) -> Self {
        Self {
            source,
            keys: keys.clone(),
            segment: None,
            place: Place::default(),
            offset: 0,
            plain: Vec::new(),
            used: 0,
            ending: Ending::Unknown,
        }
    }

    /// How the file ends. A file that has to be complete is good only if this is [`Ending::Complete`] in the end.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Where a further segment belongs, and where in the file that is, after all was read.
    pub fn place(&self) -> (Place, u64) {
        (self.place, self.offset)
    }

    /// Fails unless the file is complete. To be asked when all was read.
    pub fn expect_complete(&self) -> Result<(), EncryptionError> {
        match self.ending {
            Ending::Complete => Ok(()),
            Ending::Torn(offset) => Err(EncryptionError::CutOff { offset }),
            Ending::Open | Ending::Unknown => Err(EncryptionError::CutOff { offset: self.offset }),
        }
    }

    /// Reads the next block into `plain`. False at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        loop {
            let mut word = [0; LENGTH_BYTES];
            match self.read_whole(&mut word)? {
                0 if self.ending == Ending::Complete => return Ok(false),
                0 => {
                    self.ending = Ending::Open;
                    return Ok(false);
                }
                _ if self.ending == Ending::Complete => {
                    return Err(EncryptionError::BehindEnd { offset: self.offset }.into());
                }
                LENGTH_BYTES => {}
                _ => return Ok(self.torn()),
            }
            let is_header = word == MAGIC[..LENGTH_BYTES];
            let is_read = if is_header { self.read_header(word)? } else { self.read_block(word)? };
            if !is_read {
                return Ok(false);
            }
            if !self.plain.is_empty() {
                return Ok(true);
            }
        }
    }

    fn read_header(&mut self, word: [u8; LENGTH_BYTES]) -> io::Result<bool> {
        let mut header: Header = [0; HEADER_BYTES];
        header[..LENGTH_BYTES].copy_from_slice(&word);
        if self.read_whole(&mut header[LENGTH_BYTES..])? < HEADER_BYTES - LENGTH_BYTES {
            return Ok(self.torn());
        }
        let offset = self.offset;
        if !header.starts_with(MAGIC) {
            return Err(EncryptionError::NoSegment { offset }.into());
        }
        let name = &header[NAME_AT..NAME_AT + NAME_BYTES];
        let name = name.split(|it| *it == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let Some(key) = self.keys.find(&name) else {
            return Err(EncryptionError::UnknownKey(name.escape_debug().to_string()).into());
        };
        if header[CHECK_AT..CHECK_AT + CHECK_BYTES] != key.check {
            return Err(EncryptionError::WrongKey(name).into());
        }
        let follows = header[PLAIN_AT..TAG_AT] == self.place.plain.to_le_bytes()
            && header[TAG_AT..] == self.place.tag;
        if !follows {
            return Err(EncryptionError::Misplaced { offset }.into());
        }
        self.segment = Some((segment_key(&key.secret, &header), header, 0));
        self.offset += HEADER_BYTES as u64;
        self.plain.clear();
        self.used = 0;
        Ok(true)
    }

    fn read_block(&mut self, word: [u8; LENGTH_BYTES]) -> io::Result<bool> {
        let word = u32::from_le_bytes(word);
        let (length, is_final) = ((word & !FINAL) as usize, word & FINAL != 0);
        let offset = self.offset;
        let Some((_, _, number)) = self.segment else {
            return Err(EncryptionError::NoSegment { offset }.into());
        };
        if BLOCK_BYTES_MAX < length || (length == 0) != is_final {
            let length = length as u32;
            return Err(EncryptionError::Length { offset, number, length }.into());
        }
        let mut sealed = std::mem::take(&mut self.plain);
        sealed.resize(length + TAG_BYTES, 0);
        let count = self.read_whole(&mut sealed)?;
        self.plain = sealed;
        self.used = 0;
        if count < length + TAG_BYTES {
            self.plain.clear();
            return Ok(self.torn());
        }
        self.open_block(word)?;
        self.plain.truncate(length);
        self.place.plain += length as u64;
        self.offset += (LENGTH_BYTES + length + TAG_BYTES) as u64;
        if is_final {
            self.ending = Ending::Complete;
        }
        Ok(true)
    }

    /// Opens the block that was read into `plain`.
    fn open_block(&mut self, word: u32) -> Result<(), EncryptionError> {
        let Some((key, header, number)) = &mut self.segment else { return Ok(()) };
        let tag_at = self.plain.len() - TAG_BYTES;
        self.place.tag.copy_from_slice(&self.plain[tag_at..]);
        // A block that does not open is overwritten, and may have to be looked at again.
        let mut copy = Vec::new();
        let opens = |number: u64, bytes: &mut [u8]| {
            key.open_in_place(nonce(number), Aad::from(context(header, word)), bytes).is_ok()
        };
        copy.extend_from_slice(&self.plain);
        if opens(*number, &mut self.plain) {
            *number += 1;
            return Ok(());
        }
        self.plain.clear();
        let (offset, number) = (self.offset, *number);
        let first = number.saturating_sub(PLACES_TRIED_MAX / 2);
        let origin = (first..first + PLACES_TRIED_MAX).find(|&other| {
            let mut bytes = copy.clone();
            opens(other, &mut bytes)
        });
        Err(match origin {
            Some(origin) => EncryptionError::Moved { offset, number, origin },
            None => EncryptionError::Changed { offset, number },
        })
    }

    fn torn(&mut self) -> bool {
        self.ending = Ending::Torn(self.offset);
        false
    }

    /// Fills `out`, or as much of it as there is.
    fn read_whole(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < out.len() {
            match self.source.read(&mut out[count..]) {
                Ok(0) => break,
                Ok(read) => count += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let is_used_up = self.used == self.plain.len();
        let has_ended = matches!(self.ending, Ending::Open | Ending::Torn(_));
        if is_used_up && (has_ended || !self.next_block()?) {
            return Ok(0);
        }
        let rest = &self.plain[self.used..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.used += count;
        Ok(count)
    }
}

/// What is read from a file, encrypted or not.
pub enum Input<R> {
    Plain(io::Chain<Cursor<Vec<u8>>, R>),
    Encrypted(Box<Decrypting<io::Chain<Cursor<Vec<u8>>, R>>>),
}

/// Reads a file that has to be complete: where it ends too early, reading fails.
pub struct Complete<R>(Input<R>);

impl<R: Read> Read for Complete<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(out)?;
        if count == 0 && !out.is_empty() {
            self.0.expect_complete()?;
        }
        Ok(count)
    }
}

impl<R: Read> Input<R> {
    /// Looks at the beginning of `source` and reads from it what is due.
    pub fn new(mut source: R, keys: Option<&KeyRing>) -> io::Result<Self> {
        let mut beginning = Vec::new();
        (&mut source).take(MAGIC.len() as u64).read_to_end(&mut beginning)?;
        let is_encrypted = is_encrypted(&beginning);
        let source = Cursor::new(beginning).chain(source);
        if !is_encrypted {
            return Ok(Self::Plain(source));
        }
        let keys = keys.ok_or(EncryptionError::NoKeys)?;
        Ok(Self::Encrypted(Box::new(Decrypting::new(source, keys))))
    }

    /// Reads on as from a file that has to be complete.
    pub fn complete(self) -> Complete<R> {
        Complete(self)
    }

    /// Fails if the file is encrypted and not complete. To be asked when all was read.
    pub fn expect_complete(&self) -> Result<(), EncryptionError> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Encrypted(decrypting) => decrypting.expect_complete(),
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(out),
            Self::Encrypted(source) => source.read(out),
        }
    }
}

/// How to cut an encrypted file at a plain byte.
#[derive(Debug)]
pub struct Cut {
    /// The file is cut to so many bytes.
    pub len: u64,
    /// A further segment belongs here.
    pub place: Place,
    /// It begins with this, the rest of the block that was cut.
    pub rest: Vec<u8>,
}

/// Finds out how to keep the first `plain_len` plain bytes of a file.
pub fn find_cut(source: impl Read, keys: &KeyRing, plain_len: u64) -> io::Result<Cut> {
    let mut reader = Decrypting::new(source, keys);
    loop {
        let (place, len) = reader.place();
        let has_more = place.plain < plain_len && reader.next_block()?;
        let (next, _) = reader.place();
        if !has_more || plain_len < next.plain {
            let wanted = plain_len.saturating_sub(place.plain) as usize;
            let rest = reader.plain.get(..wanted).unwrap_or_default().to_vec();
            return Ok(Cut { len, place, rest });
        }
    }
}
