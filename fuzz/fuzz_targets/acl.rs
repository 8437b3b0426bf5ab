//! Feeds arbitrary bytes to the reader of users' rules, as rules and as a file. Never looks inside: what must hold is
//! asserted by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 2 {
        0 => rubine_acl::fuzz::fuzz_rules(data),
        _ => rubine_acl::fuzz::fuzz_file(data),
    }
});
