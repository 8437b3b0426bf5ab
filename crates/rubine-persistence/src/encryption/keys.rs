//! The keys by name: `encryption-key-file`. Never shows one.

use std::fmt;

use thiserror::Error;

use super::{CHECK_BYTES, NAME_BYTES, derive};

const SECRET_BYTES: usize = 32;

/// The keys that files may be encrypted with. New files get the first.
#[derive(Clone)]
pub struct KeyRing {
    /// Invariant: at least one, and no two of one name.
    keys: Vec<Key>,
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) secret: [u8; SECRET_BYTES],
    pub(super) check: [u8; CHECK_BYTES],
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.names()).finish()
    }
}

/// Why a file of keys cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyFileError {
    #[error("there is no key")]
    Empty,
    #[error("line {0} is not a name and a key of 64 hexadecimal digits")]
    Line(usize),
    #[error(
        "the name in line {0} is longer than 32 characters, or has others than letters, digits and . _ -"
    )]
    Name(usize),
    #[error("the name in line {0} has a key already")]
    Repeated(usize),
}

impl KeyRing {
    /// Reads keys: a line `name 64-hexadecimal-digits` each. The first one encrypts what is written from now on, the
    /// others are there for what was written before. Lines that begin with `#`, and empty ones, mean nothing.
    pub fn parse(text: &[u8]) -> Result<Self, KeyFileError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.split(|it| *it == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let number = index + 1;
            let mut words = line.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
            let (Some(name), Some(digits), None) = (words.next(), words.next(), words.next())
            else {
                return Err(KeyFileError::Line(number));
            };
            let secret = parse_secret(digits).ok_or(KeyFileError::Line(number))?;
            let name = parse_name(name).ok_or(KeyFileError::Name(number))?;
            if keys.iter().any(|it| it.name == name) {
                return Err(KeyFileError::Repeated(number));
            }
            let mut check = [0; CHECK_BYTES];
            derive(&secret, &[], b"rubine key check 1", &mut check);
            keys.push(Key { name, secret, check });
        }
        if keys.is_empty() { Err(KeyFileError::Empty) } else { Ok(Self { keys }) }
    }

    /// The names of all keys, that of new files first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|it| it.name.as_str())
    }

    pub(super) fn current(&self) -> &Key {
        &self.keys[0]
    }

    pub(super) fn find(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|it| it.name == name)
    }
}

fn parse_name(name: &[u8]) -> Option<String> {
    let is_plain = |it: &u8| it.is_ascii_alphanumeric() || b"._-".contains(it);
    let is_name = name.len() <= NAME_BYTES && name.iter().all(is_plain);
    is_name.then(|| String::from_utf8_lossy(name).into_owned())
}

fn parse_secret(digits: &[u8]) -> Option<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    if digits.len() != 2 * SECRET_BYTES {
        return None;
    }
    for (byte, pair) in secret.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|it| (it as char).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    Some(secret)
}
