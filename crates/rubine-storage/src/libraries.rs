//! Function libraries that came with a file. They cannot be called yet; they are kept by name, so that they are in
//! whatever is written next. Runs no code.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use rubine_rdb::read::{Item, Reader};
use rubine_rdb::version::{Version, VersionCheck};

/// Bytes behind the libraries in what FUNCTION DUMP makes: the version and a checksum.
const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;
/// What ends a file whose checksum is not looked at.
const END_WITHOUT_CHECKSUM: [u8; 9] = [0xff, 0, 0, 0, 0, 0, 0, 0, 0];

/// The code of each library, by its name.
#[derive(Debug, Default)]
pub struct Libraries(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Libraries {
    /// Takes a library in, in place of one of its name.
    pub fn keep(&self, code: Vec<u8>) {
        let name = name_of(&code).unwrap_or(&code).to_vec();
        tracing::warn!(
            "There is a function library '{}'. Functions cannot be called yet; it is kept, and saved again.",
            name[..name.len().min(64)].escape_ascii()
        );
        self.0.lock().insert(name, code);
    }

    pub fn clear(&self) {
        self.0.lock().clear();
    }

    /// The code of all.
    pub fn codes(&self) -> Vec<Vec<u8>> {
        self.0.lock().values().cloned().collect()
    }

    /// Does what a FUNCTION command of a log did to them.
    /// What comes behind the name of the command is in `words`.
    pub fn apply(&self, words: &[&[u8]]) -> Result<(), &'static str> {
        let form = words.first().map(|it| it.to_ascii_uppercase()).unwrap_or_default();
        match (form.as_slice(), &words[1.min(words.len())..]) {
            (b"LOAD", [.., code]) => self.keep(code.to_vec()),
            (b"DELETE", [name]) => drop(self.0.lock().remove(*name)),
            (b"FLUSH", _) => self.clear(),
            (b"RESTORE", [payload, policy @ ..]) => {
                let codes = unpack(payload).ok_or("ERR payload version or checksum are wrong")?;
                if policy.first().is_some_and(|it| it.eq_ignore_ascii_case(b"FLUSH")) {
                    self.clear();
                }
                codes.into_iter().for_each(|it| self.keep(it));
            }
            _ => return Err("ERR unknown form of FUNCTION in a log"),
        }
        Ok(())
    }
}

/// The name in `#!lua name=mylib`.
fn name_of(code: &[u8]) -> Option<&[u8]> {
    let line = code.split(|it| *it == b'\n').next()?;
    let mut words = line.strip_prefix(b"#!")?.split(u8::is_ascii_whitespace);
    words.find_map(|it| it.strip_prefix(b"name="))
}

/// The code of the libraries in what FUNCTION DUMP makes: the pieces of a file, with another end.
fn unpack(payload: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (body, footer) =
        payload.split_at_checked(payload.len().checked_sub(VERSION_BYTES + CHECKSUM_BYTES)?)?;
    let version = Version::from_number(u16::from_le_bytes([footer[0], footer[1]]))?;
    let file = [&version.magic()[..], body, &END_WITHOUT_CHECKSUM].concat();
    let mut reader = Reader::new(&file[..], VersionCheck::Relaxed).ok()?;
    let mut codes = Vec::new();
    while let Some(item) = reader.next_item().ok()? {
        let Item::Function(code) = item else { return None };
        codes.push(code);
    }
    Some(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_has_a_name() {
        let check = |code: &str, expected: Option<&str>| {
            assert_eq!(name_of(code.as_bytes()), expected.map(str::as_bytes), "{code}");
        };
        check("#!lua name=a\nredis.x()", Some("a"));
        check("#!lua  engine=b name=b\r\n", Some("b"));
        check("#!lua\nname=c", None);
        check("return 1", None);
    }

    #[test]
    fn what_function_dump_makes_is_taken_apart() {
        // By Redis 7.0 and by Valkey: one library, of the code "#!lua name=a".
        for version in [10, 80] {
            let payload = [&b"\xf5\x0c#!lua name=a"[..], &[version, 0], &[7; 8]].concat();
            assert_eq!(unpack(&payload), Some(vec![b"#!lua name=a".to_vec()]));
        }
        assert_eq!(unpack(b"\xf5\x0c#!lua na\x0a\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(unpack(b"short"), None);
    }
}
