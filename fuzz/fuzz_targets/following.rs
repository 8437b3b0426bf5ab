//! Feeds arbitrary bytes to the two readers of what a master says: of its answers, and of its stream. Never looks inside: what
//! must hold is asserted by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rubine_replication::fuzz::stream(data);
    rubine_replication::fuzz::handshake(data);
});
