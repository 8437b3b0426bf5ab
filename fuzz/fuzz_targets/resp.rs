//! Feeds arbitrary bytes to the request parser and the reply decoder. Never looks inside: what must hold is asserted
//! by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rubine_resp::fuzz::fuzz_request(data);
    rubine_resp::fuzz::fuzz_reply(data);
});
