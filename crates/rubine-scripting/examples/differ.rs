//! Random scripts to our interpreter and to a real server, whose replies must be the same:
//! `cargo run -p rubine-scripting --example differ -- 127.0.0.1:6379 [SECONDS] [SEED]`. Never part of the product.

use std::io::{Read, Write};
use std::net::TcpStream;

use rubine_base::clock::monotonic_nanos;
use rubine_resp::decode::{Value, decode};
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};
use rubine_scripting::{
    Call, Called, Host, Interpreter, Permission, Request, Scripts, Settings, Source, Verdict, text,
};

/// Differences after which there is no point in going on.
const DIFFERENCES_MAX: usize = 20;

struct Echo;

impl Host for Echo {
    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Called {
        let args: Vec<&[u8]> = request.args().collect();
        match args[..] {
            [b"echo", value] => reply.bulk(value),
            [b"echo", ..] => reply.error(text::WRONG_ARITY),
            _ => reply.error(text::UNKNOWN_COMMAND),
        }
        Called::Replied
    }

    fn poll(&mut self) -> Verdict {
        Verdict::GoOn
    }

    fn check_permission(&mut self, _: Request<'_>) -> Permission {
        Permission::Granted
    }
}

struct Ours {
    interpreter: Interpreter,
    scripts: Scripts,
}

impl Ours {
    fn eval(&mut self, script: &[u8], protocol: Protocol) -> Value {
        let prepared = match self.interpreter.prepare(&self.scripts, Source::Text(script)) {
            Ok(prepared) => prepared,
            Err(error) => return Value::Error(error.reply().into_owned()),
        };
        let argument = [ArgRange { start: 0, len: 1 }];
        let mut output = Output::new();
        let call = Call {
            keys: Request { buffer: b"k", ranges: &argument },
            args: Request { buffer: b"a", ranges: &argument },
            host: &mut Echo,
            reply: &mut Reply::new(&mut output, protocol),
        };
        self.interpreter.run(prepared, call);
        let mut bytes = Vec::new();
        while !output.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[]); 16];
            let count = output.front_slices(&mut slices, usize::MAX);
            slices[..count].iter().for_each(|it| bytes.extend_from_slice(it));
            let len = slices[..count].iter().map(|it| it.len()).sum();
            output.advance(len);
        }
        match decode(&bytes) {
            Ok(Some((value, len))) if len == bytes.len() => value,
            other => panic!("not one reply: {other:?} of {}", bytes.escape_ascii()),
        }
    }
}

struct Theirs {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Theirs {
    fn ask(&mut self, args: &[&[u8]]) -> Value {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request).expect("the server listens");
        loop {
            match decode(&self.received) {
                Ok(Some((value, len))) => {
                    self.received.drain(..len);
                    return value;
                }
                Ok(None) => {}
                Err(error) => panic!("{error}: {}", self.received.escape_ascii()),
            }
            let mut part = vec![0; 64 * 1024];
            let len = self.stream.read(&mut part).expect("the server replies");
            assert!(0 < len, "the server has hung up");
            self.received.extend_from_slice(&part[..len]);
        }
    }
}

/// Makes scripts.
struct Grammar {
    state: u64,
}

impl Grammar {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn of(&mut self, bytes: &[u8]) -> u8 {
        bytes[self.below(bytes.len())]
    }

    fn one<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn number(&mut self) -> String {
        match self.below(12) {
            0..=3 => (self.below(300) as i64 - 100).to_string(),
            4 => format!("{}.{}", self.below(100), self.below(1000)),
            5 => format!("{}e{}", self.below(1000), self.below(40) as i64 - 20),
            6 => format!("(2^{})", self.below(70)),
            7 => format!("(2^{} - 1)", self.below(70)),
            8 => format!("(-2^{} - 1)", self.below(70)),
            9 => format!("({} / {})", self.below(1000), self.below(1000)),
            10 => self
                .one(&["0/0", "1/0", "-1/0", "-0", "0", "1e308", "5e-324", "0.1", "2^53 + 2"])
                .to_owned(),
            _ => self.below(usize::MAX >> 1).to_string(),
        }
    }

    fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let len = self.below(len_max + 1);
        let kind = self.below(4);
        (0..len)
            .map(|_| match kind {
                0 => self.below(256) as u8,
                1 => self.of(b"{}[]\",:\\u0123456789abcdeftrn \x00"),
                _ => b'a' + self.below(26) as u8,
            })
            .collect()
    }

    fn text(&mut self) -> String {
        let len = if self.below(20) == 0 { 120 } else { 12 };
        let bytes = self.bytes(len);
        quote(&bytes)
    }

    fn key(&mut self) -> String {
        match self.below(8) {
            0..=3 => format!(
                "['{}']",
                self.one(&["a", "b", "ok", "err", "double", "map", "set", "name", "long key"])
            ),
            4 => format!("[{}]", self.text()),
            5 => format!("[{}]", self.below(20)),
            6 => "[1.5]".to_owned(),
            _ => "[true]".to_owned(),
        }
    }

    fn value(&mut self, depth: usize) -> String {
        let choice = if depth == 0 { self.below(6) } else { self.below(14) };
        match choice {
            0 | 1 => self.number(),
            2 | 3 => self.text(),
            4 => self.one(&["true", "false", "nil"]).to_owned(),
            5 => self
                .one(&["cjson.null", "print ~= nil", "redis.status_reply('x')", "tostring"])
                .to_owned(),
            6..=8 => {
                let count = self.below(6);
                let elements: Vec<String> = (0..count).map(|_| self.value(depth - 1)).collect();
                format!("{{{}}}", elements.join(","))
            }
            9..=11 => {
                let count = self.below(6);
                let fields: Vec<String> = (0..count)
                    .map(|_| format!("{}={}", self.key(), self.value(depth - 1)))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }
            12 => format!(
                "{{{}={}}}",
                self.one(&["map", "set", "double", "ok", "err", "big_number"]),
                self.value(depth - 1)
            ),
            _ => format!("{{verbatim_string={{format={},string={}}}}}", self.text(), self.text()),
        }
        .replace("print ~= nil", "1 == 1")
    }

    fn json(&mut self, depth: usize) -> String {
        match if depth == 0 { self.below(8) } else { self.below(12) } {
            0 => self.below(10_000).to_string(),
            1 => format!("-{}.{}e{}", self.below(100), self.below(100), self.below(20)),
            2 => self
                .one(&[
                    "true", "false", "null", "nan", "Infinity", "-inf", "0x1F", "+1", "01", "1.",
                    ".5", "1e", "nul", "-", "1e400",
                ])
                .to_owned(),
            3..=5 => {
                let text: String = self.bytes(8).iter().map(|it| char::from(*it & 0x7f)).collect();
                format!("\"{}\"", text.replace(['"', '\\'], ""))
            }
            6 => format!("\"\\u{:04x}\\n\"", self.below(65536)),
            7 => format!("\"\\ud8{:02x}\\udc{:02x}\"", self.below(256), self.below(256)),
            8 | 9 => {
                let count = self.below(5);
                let elements: Vec<String> = (0..count).map(|_| self.json(depth - 1)).collect();
                format!("[{}]", elements.join(","))
            }
            _ => {
                let count = self.below(5);
                let fields: Vec<String> = (0..count)
                    .map(|_| {
                        format!(
                            "\"{}\": {}",
                            self.one(&["a", "b", "c", "key"]),
                            self.json(depth - 1)
                        )
                    })
                    .collect();
                format!("{{{}}}", fields.join(" ,"))
            }
        }
    }

    fn document(&mut self) -> String {
        let mut bytes = self.json(4).into_bytes();
        if self.below(3) == 0 && !bytes.is_empty() {
            let at = self.below(bytes.len());
            match self.below(3) {
                0 => bytes.truncate(at),
                1 => bytes[at] = self.of(b"{}[],:\"0 x\x00"),
                _ => bytes.insert(at, self.of(b"{}[],:\"0 x\\")),
            }
        }
        quote(&bytes)
    }

    fn format(&mut self) -> String {
        let count = self.below(6);
        let mut format = String::new();
        for _ in 0..count {
            format.push_str(self.one(&[
                "b", "B", "h", "H", "l", "L", "T", "i", "I", "f", "d", "s", "x", " ", "<", ">",
                "!", "!4", "!3", "c0", "c", "q", "?",
            ]));
            if self.below(3) == 0 {
                format.push_str(&self.below(40).to_string());
            }
        }
        format!("'{format}'")
    }

    fn packed(&mut self) -> String {
        match self.below(3) {
            0 => self.text(),
            1 => {
                let bytes: Vec<u8> = (0..self.below(12))
                    .map(|_| match self.below(3) {
                        0 => self.below(256) as u8,
                        1 => 0xc0 + self.below(32) as u8,
                        _ => 0x80 + self.below(64) as u8,
                    })
                    .collect();
                quote(&bytes)
            }
            _ => format!("cmsgpack.pack({})", self.value(3)),
        }
    }

    fn expression(&mut self) -> String {
        let numbers = |it: &mut Self, count: usize| {
            let numbers: Vec<String> = (0..count).map(|_| it.number()).collect();
            numbers.join(",")
        };
        match self.below(20) {
            0 | 1 => format!("cjson.encode({})", self.value(4)),
            2 => format!("cjson.decode({})", self.document()),
            3 => format!("cjson.encode(cjson.decode({}))", self.document()),
            4 => format!("cmsgpack.pack({}, {})", self.value(4), self.value(2)),
            5 => format!("cmsgpack.unpack({})", self.packed()),
            6 => format!(
                "cmsgpack.unpack_limit({}, {}, {})",
                self.packed(),
                self.below(4),
                self.below(4)
            ),
            7 => format!("cmsgpack.unpack_one({}, {})", self.packed(), self.below(4)),
            8 => {
                let values: Vec<String> = (0..self.below(5))
                    .map(|_| if self.below(3) == 0 { self.text() } else { self.number() })
                    .collect();
                format!(
                    "struct.pack({}{}{})",
                    self.format(),
                    if values.is_empty() { "" } else { "," },
                    values.join(",")
                )
            }
            9 => format!("struct.unpack({}, {}, {})", self.format(), self.text(), self.below(5)),
            10 => format!("struct.size({})", self.format()),
            11 => {
                let name = self.one(&[
                    "tobit", "bnot", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol",
                    "ror", "bswap", "tohex",
                ]);
                let count = 1 + self.below(3);
                format!("bit.{name}({})", numbers(self, count))
            }
            12 => format!(
                "redis.call('echo', {})",
                if self.below(2) == 0 { self.number() } else { self.value(1) }
            ),
            13 => format!("tostring({})", self.number()),
            14 => format!(
                "string.format('{}', {})",
                self.one(&["%.17g", "%g", "%d", "%5.1f", "%x", "%s", "%q"]),
                self.number()
            ),
            15 => format!("order({})", self.value(3)),
            16 => format!(
                "({}) {} ({})",
                self.value(1),
                self.one(&["..", "+", "<", "==", "-", "*", "%", "^", "and", "or"]),
                self.value(1)
            ),
            17 => format!("redis.error_reply({})", self.text()),
            18 => format!("math.random({})", self.one(&["", "10", "0", "5, 3", "1, 1000000"])),
            _ => format!(
                "string.{}({}, {})",
                self.one(&["find", "match", "sub", "gsub"]),
                self.text(),
                self.value(1)
            ),
        }
    }

    fn script(&mut self) -> String {
        let mut script = String::from(
            "local function order(t) local r = {} for k, v in pairs(t) do r[#r + 1] = tostring(k) end return table.concat(r, ' ') end math.randomseed(7) ",
        );
        if self.below(4) == 0 {
            script.push_str("redis.setresp(3) ");
        }
        let option = self.one(&[
            "encode_invalid_numbers(true)",
            "encode_invalid_numbers('null')",
            "encode_sparse_array(true)",
            "encode_number_precision(3)",
            "decode_invalid_numbers(false)",
            "encode_max_depth(2)",
            "decode_max_depth(2)",
            "encode_sparse_array(false, 3, 1)",
        ]);
        let json = if self.below(4) == 0 {
            format!("local cjson = cjson.new() cjson.{option} ")
        } else {
            String::new()
        };
        script.push_str(&json);
        let result = match self.below(4) {
            0 => self.value(5),
            1 => format!("{{pcall(function() return {} end)}}", self.expression()),
            2 => format!("{{{}}}", self.expression()),
            _ => self.expression(),
        };
        script + "return " + &result
    }
}

/// A text as Lua writes it.
fn quote(bytes: &[u8]) -> String {
    let letter = |byte: &u8| match byte {
        b' '..=b'!' | b'#'..=b'[' | b']'..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\{byte:03}"),
    };
    format!("\"{}\"", bytes.iter().map(letter).collect::<String>())
}

/// An error without what differs: where it was.
fn normal(value: Value) -> Value {
    match value {
        Value::Error(text) => {
            let end = text.windows(9).position(|it| it == b" script: ").unwrap_or(text.len());
            Value::Error(text[..end].trim_ascii_end().to_vec())
        }
        // No line end of a script's is let through here.
        Value::Verbatim { format, text } => {
            let blank = |it: u8| if matches!(it, b'\r' | b'\n') { b' ' } else { it };
            Value::Verbatim { format: format.map(blank), text }
        }
        Value::Array(values) => Value::Array(values.into_iter().map(normal).collect()),
        Value::Map(pairs) => {
            Value::Map(pairs.into_iter().map(|(key, value)| (normal(key), normal(value))).collect())
        }
        value => value,
    }
}

#[expect(clippy::print_stdout, reason = "it reports to a person")]
fn main() {
    let mut args = std::env::args().skip(1);
    let address = args.next().expect("the address of a server is the first argument");
    let seconds: u64 = args.next().map_or(10, |it| it.parse().expect("seconds"));
    let seed: u64 = args.next().map_or(1, |it| it.parse().expect("a seed"));
    let mut theirs =
        Theirs { stream: TcpStream::connect(address).expect("a server"), received: Vec::new() };
    let mut ours = Ours {
        interpreter: Interpreter::new(Settings {
            redis_version: "7.2.4".to_owned(),
            valkey_version: "9.1.2".to_owned(),
            server_name: "valkey".to_owned(),
            has_insecure_api: false,
            memory_limit: 0,
        }),
        scripts: Scripts::new(),
    };
    let mut grammar = Grammar { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 };
    let (mut count, mut differences) = (0_u64, 0);
    let end = monotonic_nanos() + seconds * 1_000_000_000;
    let mut protocol = Protocol::Resp2;
    while monotonic_nanos() < end && differences < DIFFERENCES_MAX {
        if count % 1000 == 0 {
            protocol = if count % 2000 == 0 { Protocol::Resp2 } else { Protocol::Resp3 };
            theirs.ask(&[b"HELLO", if protocol == Protocol::Resp2 { b"2" } else { b"3" }]);
        }
        let script = grammar.script();
        let expected = normal(theirs.ask(&[b"EVAL", script.as_bytes(), b"1", b"k", b"a"]));
        let found = normal(ours.eval(script.as_bytes(), protocol));
        // Addresses differ.
        let has_address = script.contains("tostring") && !script.contains("order(");
        if found != expected && !(has_address && format!("{expected:?}").contains("0x")) {
            differences += 1;
            let body = &script[script.find("(7) ").map_or(0, |it| it + 4)..];
            println!("--- {body}\n  theirs {}\n  ours   {}", show(&expected), show(&found));
        }
        count += 1;
    }
    println!("{count} scripts, {differences} differences");
    std::process::exit(i32::from(0 < differences));
}

fn show(value: &Value) -> String {
    let list = |values: &[Value]| values.iter().map(show).collect::<Vec<_>>().join(", ");
    match value {
        Value::Simple(text) => format!("+{}", text.escape_ascii()),
        Value::Error(text) | Value::BulkError(text) => format!("-{}", text.escape_ascii()),
        Value::Bulk(text) => format!("'{}'", text.escape_ascii()),
        Value::Array(values) => format!("[{}]", list(values)),
        Value::Set(values) => format!("~[{}]", list(values)),
        Value::Double(text) => format!(",{}", text.escape_ascii()),
        Value::BigNumber(text) => format!("({}", text.escape_ascii()),
        other => format!("{other:?}"),
    }
}
