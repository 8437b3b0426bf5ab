//! Encryption at rest: a file as blocks of AES-256-GCM, each authenticated by itself and bound to its place. Adapters of
//! `Read` and `Write`, so that whoever writes an RDB file, a base or an increment need not know. Never opens a file, and
//! never prints a key.
//!
//! ```text
//! file     segment | segment | ..            one for each time that the file was opened for writing
//! segment  header | block | block | ..
//!
//! header   0   8   RBNCRYP1
//!          8  32   the key's name, filled up with zeros
//!         40   8   the key's check: what tells a wrong key from a damaged file
//!         48  32   salt: makes the segment's own key from the named one
//!         80   8   plain bytes in the segments before
//!         88  16   tag of the block before, zeros for the first segment
//!
//! block    0   4   length of the content; the highest bit is set for the last block of a complete file
//!          4   n   content, encrypted
//!        4+n  16   tag
//! ```
//!
//! The segment's key is HKDF-SHA256 of the named key and the salt. A block's nonce is its number in the segment, so no
//! nonce is used twice with one key; the header and the length are authenticated with it. So a block that was changed,
//! moved, left out or repeated does not open, and neither does one behind a segment that lost its end. Numbers are little
//! endian. What is not hidden is how long a file is, and in how large pieces it was written.

mod keys;
mod read;
mod write;

use ring::aead::{AES_256_GCM, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};

pub use keys::{KeyFileError, KeyRing};
pub use read::{Complete, Cut, Decrypting, EncryptionError, Ending, Input, find_cut};
pub use write::{Encrypting, Encryptor};

/// The longest content of a block.
pub const BLOCK_BYTES_MAX: usize = 64 * 1024;

const MAGIC: &[u8; 8] = b"RBNCRYP1";
const NAME_BYTES: usize = 32;
const CHECK_BYTES: usize = 8;
const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;

const NAME_AT: usize = MAGIC.len();
const CHECK_AT: usize = NAME_AT + NAME_BYTES;
const SALT_AT: usize = CHECK_AT + CHECK_BYTES;
const PLAIN_AT: usize = SALT_AT + SALT_BYTES;
const TAG_AT: usize = PLAIN_AT + size_of::<u64>();
const HEADER_BYTES: usize = TAG_AT + TAG_BYTES;

/// Marks the last block of a complete file.
const FINAL: u32 = 1 << 31;

type Header = [u8; HEADER_BYTES];
type Tag = [u8; TAG_BYTES];

/// Whether a file begins as an encrypted one does.
pub fn is_encrypted(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC)
}

/// What a further segment follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Plain bytes so far.
    pub plain: u64,
    tag: Tag,
}

/// How many bytes are derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(secret: &[u8], salt: &[u8], purpose: &[u8], out: &mut [u8]) {
    let derived = Salt::new(HKDF_SHA256, salt).extract(secret);
    let purpose = [purpose];
    let derived = derived.expand(&purpose, Length(out.len()));
    let filled = derived.and_then(|it| it.fill(out));
    filled.expect("far less is asked for than HKDF can give");
}

/// The key of one segment.
fn segment_key(secret: &[u8], header: &Header) -> LessSafeKey {
    let mut bytes = [0; 32];
    derive(secret, &header[SALT_AT..SALT_AT + SALT_BYTES], b"rubine segment 1", &mut bytes);
    let key = UnboundKey::new(&AES_256_GCM, &bytes).expect("the key has the length of AES-256");
    LessSafeKey::new(key)
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// What is authenticated beside the content.
fn context(header: &Header, length: u32) -> [u8; HEADER_BYTES + LENGTH_BYTES] {
    let mut bytes = [0; HEADER_BYTES + LENGTH_BYTES];
    bytes[..HEADER_BYTES].copy_from_slice(header);
    bytes[HEADER_BYTES..].copy_from_slice(&length.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests;
