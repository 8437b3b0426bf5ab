//! What the fuzzer and the property tests call: plain functions that panic if a promise of this crate is broken.
//! Never called by the server.

use rubine_resp::decode::decode;
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::host::{Called, Host, Permission, Request, Verdict};
use crate::interpreter::{Call, Interpreter, Outcome, Source};
use crate::sandbox::Settings;
use crate::scripts::Scripts;

const MEMORY_LIMIT: usize = 8 * 1024 * 1024;
/// A run is killed after so many looks.
const POLLS_MAX: u32 = 200;

/// Replies to every command with the bytes of its last argument, if these are a reply, or else with them as a text.
struct Mirror {
    polls_left: u32,
}

impl Host for Mirror {
    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Called {
        let last = request.args().last().unwrap_or_default();
        match decode(last) {
            Ok(Some((_, len))) if len == last.len() => reply.raw(last),
            _ => reply.bulk(last),
        }
        Called::Replied
    }

    fn poll(&mut self) -> Verdict {
        self.polls_left = self.polls_left.saturating_sub(1);
        if self.polls_left == 0 { Verdict::Kill } else { Verdict::GoOn }
    }

    fn check_permission(&mut self, _: Request<'_>) -> Permission {
        Permission::Granted
    }
}

/// Runs arbitrary bytes as a script.
pub fn fuzz_source(data: &[u8]) {
    run(data, b"");
}

/// Unpacks arbitrary bytes with `cmsgpack`, and packs what comes of them.
pub fn fuzz_msgpack(data: &[u8]) {
    run(b"return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))", data);
    run(b"return {cmsgpack.unpack_limit(ARGV[1], 3, 1)}", data);
}

/// Decodes arbitrary bytes with `cjson`; what is written of the result reads back as the same.
pub fn fuzz_json(data: &[u8]) {
    run(b"return cjson.decode(ARGV[1])", data);
    let script = b"cjson.encode_invalid_numbers(true) cjson.encode_sparse_array(true)
        local ok, text = pcall(function() return cjson.encode(cjson.decode(ARGV[1])) end)
        return (not ok) or cjson.encode(cjson.decode(text)) == text";
    let (reply, outcome) = run(script, data);
    assert!(outcome != Outcome::Done || reply == b":1\r\n", "{}", reply.escape_ascii());
}

/// Packs and unpacks with an arbitrary format of `struct`.
pub fn fuzz_struct(data: &[u8]) {
    run(b"return {struct.unpack(ARGV[1], ARGV[1])}", data);
    run(b"return struct.pack(ARGV[1], 1, -2, 3.5, 'abc', 2^40, 'd', 7)", data);
    run(b"return struct.size(ARGV[1])", data);
}

/// Hands arbitrary bytes to a script as the reply of a command, and that to its client.
pub fn fuzz_reply(data: &[u8]) {
    run(b"redis.setresp(3) return redis.pcall('echo', ARGV[1])", data);
}

/// Runs a script, with a bound on its time and memory; its reply is one reply.
fn run(script: &[u8], argument: &[u8]) -> (Vec<u8>, Outcome) {
    let mut interpreter = Interpreter::new(Settings {
        redis_version: "7.2.4".to_owned(),
        valkey_version: "9.1.2".to_owned(),
        server_name: "fuzz".to_owned(),
        has_insecure_api: false,
        memory_limit: MEMORY_LIMIT,
    });
    let scripts = Scripts::new();
    let Ok(prepared) = interpreter.prepare(&scripts, Source::Text(script)) else {
        return (Vec::new(), Outcome::Failed);
    };
    let range = [ArgRange { start: 0, len: argument.len() }];
    let mut output = Output::new();
    let call = Call {
        keys: Request { buffer: b"", ranges: &[] },
        args: Request { buffer: argument, ranges: &range },
        host: &mut Mirror { polls_left: POLLS_MAX },
        reply: &mut Reply::new(&mut output, Protocol::Resp3),
    };
    let outcome = interpreter.run(prepared, call);
    let mut bytes = Vec::new();
    while !output.is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let count = output.front_slices(&mut slices, usize::MAX);
        slices[..count].iter().for_each(|it| bytes.extend_from_slice(it));
        let len = slices[..count].iter().map(|it| it.len()).sum();
        output.advance(len);
    }
    if let Ok(decoded) = decode(&bytes) {
        assert_eq!(decoded.map(|(_, len)| len), Some(bytes.len()), "{}", bytes.escape_ascii());
    }
    assert!(interpreter.script_memory() < 2 * MEMORY_LIMIT);
    (bytes, outcome)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{fuzz_json, fuzz_msgpack, fuzz_reply, fuzz_source, fuzz_struct};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bytes_do_no_harm(data: Vec<u8>) {
            fuzz_source(&data);
            fuzz_msgpack(&data);
            fuzz_json(&data);
            fuzz_struct(&data);
            fuzz_reply(&data);
        }

        #[test]
        fn formats_do_no_harm(format in "[bBhHlLTiIfdscx!<> 0-9]{0,12}") {
            fuzz_struct(format.as_bytes());
        }

        #[test]
        fn documents_do_no_harm(document in "[\\[\\]{},:\"0-9.eE+\\-ntfaul\\\\ ]{0,24}") {
            fuzz_json(document.as_bytes());
        }
    }
}
