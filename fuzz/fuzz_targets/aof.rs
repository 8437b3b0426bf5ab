//! Feeds arbitrary bytes to the readers of the append-only file: increments, the manifest, encrypted files and their
//! keys. Never looks inside: what must hold is asserted by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rubine_persistence::fuzz::log(data);
    rubine_persistence::fuzz::manifest(data);
    rubine_persistence::fuzz::encrypted(data);
});
