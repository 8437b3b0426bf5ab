//! The code of function libraries, as files hold it: by name, so that it is in whatever is written next. Runs no code.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use parking_lot::Mutex;
use rubine_rdb::dump::{Checks, decode_libraries};
use rubine_rdb::version::VersionCheck;

/// The code of each library, by its name.
#[derive(Debug, Default)]
pub struct Libraries(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Libraries {
    /// Takes a library in, in place of one of its name.
    pub fn keep(&self, code: Vec<u8>) {
        let name = name_of(&code).unwrap_or(&code).to_vec();
        self.0.lock().insert(name, code);
    }

    /// Takes a library in. Returns the name of one that is there already, and stays.
    pub(crate) fn keep_new(&self, code: Vec<u8>) -> Result<(), Vec<u8>> {
        let name = name_of(&code).unwrap_or(&code).to_vec();
        match self.0.lock().entry(name) {
            Entry::Vacant(place) => drop(place.insert(code)),
            Entry::Occupied(place) => return Err(place.key().clone()),
        }
        Ok(())
    }

    /// Takes a library of that name in, in place of another.
    pub fn insert(&self, name: &[u8], code: &[u8]) {
        self.0.lock().insert(name.to_vec(), code.to_vec());
    }

    pub fn remove(&self, name: &[u8]) {
        self.0.lock().remove(name);
    }

    pub fn clear(&self) {
        self.0.lock().clear();
    }

    /// Keeps these libraries, and no others.
    pub fn replace<'a>(&self, libraries: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let owned = libraries.map(|(name, code)| (name.to_vec(), code.to_vec()));
        *self.0.lock() = owned.collect();
    }

    /// All of them, as name and code.
    pub fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.lock().iter().map(|(name, code)| (name.clone(), code.clone())).collect()
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
                let checks = Checks { version: VersionCheck::Relaxed, checksum: false };
                let codes = decode_libraries(payload, checks)
                    .map_err(|_| "ERR the payload of FUNCTION RESTORE is damaged")?;
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
}
