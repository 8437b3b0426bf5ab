//! Feeds arbitrary bytes to the readers of what a master says, of its answers and of its stream, and to those of what both sides say
//! when they compare what they have. Never looks inside: what must hold is asserted by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rubine_replication::fuzz::stream(data);
    rubine_replication::fuzz::handshake(data);
    rubine_replication::fuzz::verification(data);
});
