//! What the fuzz targets call. Each takes any bytes and panics only where an invariant is broken.

use std::io::Read;

use crate::encryption::{Decrypting, Ending, KeyRing};
use crate::log::LogReader;
use crate::manifest::Manifest;

/// Units follow each other without gaps, within the file.
pub fn log(bytes: &[u8]) {
    let mut reader = LogReader::new(bytes, 0);
    let mut end = 0;
    while let Ok(Some(unit)) = reader.next_unit() {
        assert_eq!(unit.start, end, "units follow each other");
        assert!(
            unit.start < unit.end && unit.end <= bytes.len() as u64,
            "a unit lies within the file"
        );
        for (bytes, args) in unit.commands() {
            assert!(!args.is_empty(), "a command has a name");
            for arg in args {
                assert!(arg.of(bytes).len() == arg.len, "arguments lie within the unit");
            }
        }
        end = unit.end;
    }
}

/// What is accepted is written so that it is read the same.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes)
        && !manifest.format().is_empty()
    {
        assert_eq!(
            Manifest::parse(&manifest.format()).as_ref(),
            Ok(&manifest),
            "a manifest survives"
        );
    }
}

/// Nothing that was not written with a key is ever handed out.
pub fn encrypted(bytes: &[u8]) {
    const KEYS: &[u8] = b"a 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let keys = KeyRing::parse(KEYS).expect("a good line");
    let mut input = Decrypting::new(bytes, &keys);
    let mut plain = Vec::new();
    let is_read = input.read_to_end(&mut plain).is_ok();
    assert!(plain.is_empty(), "nobody guesses a tag");
    assert!(!is_read || input.ending() != Ending::Complete, "nobody guesses the end");
    let _ = KeyRing::parse(bytes);
}
