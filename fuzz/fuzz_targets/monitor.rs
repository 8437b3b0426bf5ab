//! Feeds arbitrary bytes to what quotes arguments for MONITOR and the logs, and reads them back. Never looks inside: what must
//! hold is asserted by the plain function that it calls.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rubine_base::fuzz::fuzz_quotes(data));
