//! Writing encrypted files, and segments behind what is there. Never uses a nonce twice: whoever goes on after a failed
//! write begins a new segment.

use std::io::{self, Write};

use ring::aead::{Aad, LessSafeKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{
    BLOCK_BYTES_MAX, CHECK_AT, CHECK_BYTES, FINAL, HEADER_BYTES, Header, KeyRing, MAGIC, NAME_AT,
    PLAIN_AT, Place, SALT_AT, SALT_BYTES, TAG_AT, TAG_BYTES, context, nonce, segment_key,
};

/// Encrypts one segment, block by block.
pub struct Encryptor {
    key: LessSafeKey,
    header: Header,
    /// The next block's number.
    number: u64,
    place: Place,
}

impl Encryptor {
    /// Begins a segment behind `place`, with the first of `keys`. Its header goes into `out`.
    pub fn begin(keys: &KeyRing, place: Place, out: &mut Vec<u8>) -> io::Result<Self> {
        let key = keys.current();
        let mut header = [0; HEADER_BYTES];
        header[..NAME_AT].copy_from_slice(MAGIC);
        header[NAME_AT..NAME_AT + key.name.len()].copy_from_slice(key.name.as_bytes());
        header[CHECK_AT..CHECK_AT + CHECK_BYTES].copy_from_slice(&key.check);
        let salt = &mut header[SALT_AT..SALT_AT + SALT_BYTES];
        let filled = SystemRandom::new().fill(salt);
        filled.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        header[PLAIN_AT..TAG_AT].copy_from_slice(&place.plain.to_le_bytes());
        header[TAG_AT..].copy_from_slice(&place.tag);
        out.extend_from_slice(&header);
        Ok(Self { key: segment_key(&key.secret, &header), header, number: 0, place })
    }

    /// Where a further segment would begin.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Puts blocks with all of `plain` into `out`.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        for content in plain.chunks(BLOCK_BYTES_MAX) {
            self.seal_block(content, 0, out);
        }
    }

    /// Puts the mark of a complete file into `out`. Nothing can follow.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.seal_block(&[], FINAL, out);
    }

    fn seal_block(&mut self, content: &[u8], mark: u32, out: &mut Vec<u8>) {
        let length = content.len() as u32 | mark;
        out.extend_from_slice(&length.to_le_bytes());
        let start = out.len();
        out.extend_from_slice(content);
        let context = Aad::from(context(&self.header, length));
        let sealed =
            self.key.seal_in_place_separate_tag(nonce(self.number), context, &mut out[start..]);
        let tag = sealed.expect("a block is far shorter than the longest message of AES-GCM");
        out.extend_from_slice(tag.as_ref());
        self.place.tag.copy_from_slice(&tag.as_ref()[..TAG_BYTES]);
        self.place.plain += content.len() as u64;
        self.number += 1;
    }
}

/// Encrypts what is written to it. A file is complete only after [`Encrypting::finish`].
pub struct Encrypting<W> {
    out: W,
    encryptor: Encryptor,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

impl<W: Write> Encrypting<W> {
    pub fn new(mut out: W, keys: &KeyRing) -> io::Result<Self> {
        let mut sealed = Vec::new();
        let encryptor = Encryptor::begin(keys, Place::default(), &mut sealed)?;
        out.write_all(&sealed)?;
        Ok(Self { out, encryptor, plain: Vec::with_capacity(BLOCK_BYTES_MAX), sealed })
    }

    /// Writes what is left and the mark of a complete file.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        self.sealed.clear();
        self.encryptor.finish(&mut self.sealed);
        self.out.write_all(&self.sealed)?;
        Ok(self.out)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.plain.is_empty() {
            return Ok(());
        }
        self.sealed.clear();
        self.encryptor.seal(&self.plain, &mut self.sealed);
        self.plain.clear();
        self.out.write_all(&self.sealed)
    }
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK_BYTES_MAX - self.plain.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.plain.extend_from_slice(taken);
        if self.plain.len() == BLOCK_BYTES_MAX {
            self.write_block()?;
        }
        Ok(taken.len())
    }

    /// Ends the block that is being filled.
    fn flush(&mut self) -> io::Result<()> {
        self.write_block()?;
        self.out.flush()
    }
}
