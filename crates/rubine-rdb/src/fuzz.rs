//! What the fuzzer and the property tests call: plain functions that panic if a promise of this crate is broken.
//! Never called by the server.

use rubine_base::crc::crc64;
use rubine_structures::value::Value;

use crate::decode::ValueLimits;
use crate::dump::{self, Checks};
use crate::read::{Item, Reader};
use crate::version::{Version, VersionCheck};

/// Reads arbitrary bytes as a file. The first chooses what the file claims to be.
pub fn fuzz_file(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let version = version_of(choice);
    let file = [&version.magic()[..], body].concat();
    let Ok(mut reader) = Reader::new(&file[..], VersionCheck::Relaxed) else { return };
    let mut offset = reader.offset();
    while let Ok(Some(item)) = reader.next_item() {
        assert!(offset < reader.offset() && reader.offset() <= file.len() as u64);
        offset = reader.offset();
        let Item::Entries(batch) = item else { continue };
        assert!(!batch.is_empty() && batch.bytes() <= file.len());
        for entry in batch.entries() {
            let _ = entry.key();
            match entry.decode(&ValueLimits::default()) {
                Ok(value) => check_value(&value),
                Err(damage) => assert!(damage.offset <= file.len() as u64),
            }
        }
    }
}

/// Restores arbitrary bytes, with a footer that is right. The first chooses the version.
pub fn fuzz_payload(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let mut payload = [body, &version_of(choice).number().to_le_bytes()].concat();
    payload.extend_from_slice(&crc64(0, &payload).to_le_bytes());
    if let Ok(value) = dump::decode(&payload, Checks::default(), &ValueLimits::default()) {
        check_value(&value);
    }
}

fn version_of(choice: u8) -> Version {
    match choice % 4 {
        0 => Version::Redis(4),
        1 => Version::Redis(11),
        2 => Version::Redis(15),
        _ => Version::Valkey(80),
    }
}

/// What was read can be written, and is read again.
fn check_value(value: &Value<'_>) {
    let version = Version::newest_common(value.as_ref());
    let payload = dump::encode(value.as_ref(), version).expect("the version can hold the value");
    let again = dump::decode(&payload, Checks::default(), &ValueLimits::default());
    let again = again.expect("what was written is right");
    let twice = dump::encode(again.as_ref(), version).expect("as before");
    assert_eq!(payload.len(), twice.len());
}
