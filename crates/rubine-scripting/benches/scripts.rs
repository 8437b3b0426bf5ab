//! What it costs to run a script, less what its commands do: nanoseconds a run, with a host whose commands do nothing.
//! A part of a name chooses among them.

use rubine_base::clock::monotonic_nanos;
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};
use rubine_scripting::{
    Call, Called, Host, Interpreter, LibraryRegistry, Permission, Policy, Request, Scripts,
    Settings, Source, Verdict,
};

const ROUNDS: usize = 5;
const RUNS: u64 = 200_000;

struct Fixed;

impl Host for Fixed {
    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Called {
        match request.ranges.len() {
            2 => reply.bulk(b"value"),
            _ => reply.ok(),
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

enum What<'a> {
    Eval(&'a str),
    EvalSha(&'a str),
    Call(&'a str),
}

#[expect(clippy::print_stdout, reason = "a table for a person")]
fn main() {
    let document = format!(
        "{{\"id\":12345,\"name\":\"somebody\",\"tags\":[{}],\"nested\":{{\"a\":1.5,\"b\":true,\"c\":null}}}}",
        (0..90).map(|it| format!("\"tag{it:04}\"")).collect::<Vec<_>>().join(",")
    );
    println!("a document has {} bytes", document.len());
    let get = "return redis.call('get', KEYS[1])";
    let limiter = "local c = redis.call('incr', KEYS[1], 1) if c == 1 then redis.call('expire', KEYS[1], ARGV[1]) end return c";
    let writes = "for i = 1, 10 do redis.call('set', KEYS[1] .. i, ARGV[1]) end return 10";
    for (name, what) in [
        ("eval 'return 1'", What::Eval("return 1")),
        ("eval get", What::Eval(get)),
        ("evalsha get", What::EvalSha(get)),
        ("fcall get", What::Call("get")),
        ("rate limiter", What::EvalSha(limiter)),
        ("ten writes", What::EvalSha(writes)),
        ("cjson decode", What::EvalSha("return #cjson.decode(ARGV[1])")),
        ("cjson decode, encode", What::EvalSha("return cjson.encode(cjson.decode(ARGV[1]))")),
    ] {
        let is_chosen =
            std::env::args().skip(1).all(|it| it.starts_with('-') || name.contains(&it));
        if !is_chosen {
            continue;
        }
        let (What::Eval(text) | What::EvalSha(text) | What::Call(text)) = what;
        let argument = if text.contains("ARGV") { document.as_bytes() } else { &[] };
        let times = (0..ROUNDS).map(|_| measure(&what, argument));
        println!("{name:24} {:8} ns", times.min().unwrap_or(0));
    }
}

fn measure(what: &What<'_>, document: &[u8]) -> u64 {
    let mut interpreter = Interpreter::new(Settings {
        redis_version: "7.2.4".to_owned(),
        valkey_version: "9.1.2".to_owned(),
        server_name: "bench".to_owned(),
        has_insecure_api: false,
        memory_limit: 0,
    });
    let (scripts, libraries) = (Scripts::new(), LibraryRegistry::new());
    let code = b"#!lua name=l\nredis.register_function('get', function(keys) return redis.call('get', keys[1]) end)";
    interpreter.load_library(&libraries, code, Policy::Append, &mut Fixed).expect("it compiles");
    let request = [b"key:000001", document].concat();
    let ranges = [ArgRange { start: 0, len: 10 }, ArgRange { start: 10, len: document.len() }];
    let sha = match what {
        What::EvalSha(text) => {
            interpreter.load(&scripts, text.as_bytes()).expect("it compiles").to_hex()
        }
        _ => [0; 40],
    };
    let arg_count = usize::from(!document.is_empty());
    let mut output = Output::new();
    let start = monotonic_nanos();
    for _ in 0..RUNS {
        let prepared = match what {
            What::Eval(text) => interpreter.prepare(&scripts, Source::Text(text.as_bytes())),
            What::EvalSha(_) => interpreter.prepare(&scripts, Source::Sha(&sha)),
            What::Call(name) => interpreter.prepare_function(&libraries, name.as_bytes()),
        }
        .expect("it is there");
        let call = Call {
            keys: Request { buffer: &request, ranges: &ranges[..1] },
            args: Request { buffer: &request, ranges: &ranges[1..=arg_count] },
            host: &mut Fixed,
            reply: &mut Reply::new(&mut output, Protocol::Resp2),
        };
        interpreter.run(prepared, call);
        output.advance(output.buffered_bytes());
    }
    (monotonic_nanos() - start) / RUNS
}
