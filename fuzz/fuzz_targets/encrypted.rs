//! Feeds arbitrary bytes to the reader of encrypted files. Never looks inside: what must hold is
//! asserted by the plain function that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rubine_persistence::fuzz::encrypted(data));
