//! Feeds arbitrary bytes to the reader of dump files and to RESTORE's decoder. Never looks inside: what must hold is
//! asserted by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rubine_rdb::fuzz::fuzz_file(data);
    rubine_rdb::fuzz::fuzz_payload(data);
});
