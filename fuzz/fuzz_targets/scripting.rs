//! Feeds arbitrary bytes to the interpreter, as a script and as what its libraries read. Never looks inside: what must
//! hold is asserted by the plain functions that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 5 {
        0 => rubine_scripting::fuzz::fuzz_source(data),
        1 => rubine_scripting::fuzz::fuzz_msgpack(data),
        2 => rubine_scripting::fuzz::fuzz_json(data),
        3 => rubine_scripting::fuzz::fuzz_struct(data),
        _ => rubine_scripting::fuzz::fuzz_reply(data),
    }
});
