//! Feeds arbitrary bytes to a Sentinel as a hello message and as the INFO of its instances. Never looks inside: what must hold
//! is asserted by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rubine_sentinel::fuzz::hello(data);
    rubine_sentinel::fuzz::info(data);
});
