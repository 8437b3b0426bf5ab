//! Scripts against a host that is a map, their replies as they go out.

use std::collections::BTreeMap;

use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::{
    Call, Called, Host, Interpreter, LibraryRegistry, LogLevel, Outcome, Permission, Policy,
    Replication, Request, Scripts, Settings, Source, Verdict, text,
};

mod debugger;
mod errors;
mod functions;
mod json;
mod packed;
mod replies;
mod sandbox;

/// A server with a few commands, and `RAW`, which replies what it is given.
#[derive(Default)]
pub(crate) struct Map {
    pub(crate) values: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) log: Vec<(LogLevel, Vec<u8>)>,
    pub(crate) counted: Vec<String>,
    pub(crate) replication: Option<Replication>,
    /// After so many looks the script ends.
    pub(crate) kill_after: Option<(u32, Verdict)>,
}

impl Host for Map {
    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Called {
        let args: Vec<&[u8]> = request.args().collect();
        match (args[0].to_ascii_lowercase().as_slice(), &args[1..]) {
            (b"set", [key, value]) => {
                self.values.insert(key.to_vec(), value.to_vec());
                reply.ok();
            }
            (b"get", [key]) => match self.values.get(*key) {
                Some(value) => reply.bulk(value),
                None => reply.null(),
            },
            (b"incr", [key]) => {
                let text = self.values.get(*key).map_or("0", |it| std::str::from_utf8(it).unwrap());
                match text.parse::<i64>() {
                    Ok(value) => {
                        self.values.insert(key.to_vec(), (value + 1).to_string().into_bytes());
                        reply.integer(value + 1);
                    }
                    Err(_) => reply.error("ERR value is not an integer or out of range"),
                }
            }
            (b"echo", [value]) => reply.bulk(value),
            (b"raw", [encoded]) => reply.raw(encoded),
            (b"hgetall", []) => {
                reply.map(1);
                reply.bulk(b"f");
                reply.bulk(b"v");
            }
            (b"stop", []) => return Called::Stop,
            (b"get" | b"set" | b"incr", _) => reply.error(text::WRONG_ARITY),
            _ => reply.error(text::UNKNOWN_COMMAND),
        }
        Called::Replied
    }

    fn poll(&mut self) -> Verdict {
        match &mut self.kill_after {
            Some((0, verdict)) => *verdict,
            Some((left, _)) => {
                *left -= 1;
                Verdict::GoOn
            }
            None => Verdict::GoOn,
        }
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        self.log.push((level, text.to_vec()));
    }

    fn check_permission(&mut self, request: Request<'_>) -> Permission {
        match request.args().next().unwrap() {
            b"get" => Permission::Granted,
            b"set" => Permission::Denied,
            _ => Permission::Invalid,
        }
    }

    fn set_replication(&mut self, replication: Replication) {
        self.replication = Some(replication);
    }

    fn cpu_seconds(&mut self) -> f64 {
        1.5
    }

    fn count_error(&mut self, text: &[u8]) {
        self.counted.push(String::from_utf8_lossy(text).into_owned());
    }
}

/// One worker with its client.
pub(crate) struct Session {
    pub(crate) interpreter: Interpreter,
    pub(crate) scripts: Scripts,
    pub(crate) libraries: LibraryRegistry,
    pub(crate) host: Map,
    pub(crate) protocol: Protocol,
}

pub(crate) fn settings() -> Settings {
    Settings {
        redis_version: "7.2.4".to_owned(),
        valkey_version: "9.1.2".to_owned(),
        server_name: "rubine".to_owned(),
        has_insecure_api: false,
        memory_limit: 64 * 1024 * 1024,
    }
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            interpreter: Interpreter::new(settings()),
            scripts: Scripts::new(),
            libraries: LibraryRegistry::new(),
            host: Map::default(),
            protocol: Protocol::Resp2,
        }
    }

    /// What EVAL replies, with its escapes.
    pub(crate) fn eval(&mut self, script: &str) -> String {
        self.eval_with(script.as_bytes(), &[], &[]).0
    }

    pub(crate) fn eval_with(
        &mut self,
        script: &[u8],
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> (String, Option<Outcome>) {
        self.run_source(Source::Text(script), keys, args)
    }

    pub(crate) fn run_source(
        &mut self,
        source: Source<'_>,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> (String, Option<Outcome>) {
        match self.interpreter.prepare(&self.scripts, source) {
            Ok(prepared) => self.run(prepared, keys, args),
            Err(error) => (format!("-{error}"), None),
        }
    }

    pub(crate) fn fcall(&mut self, name: &str, keys: &[&[u8]], args: &[&[u8]]) -> String {
        match self.interpreter.prepare_function(&self.libraries, name.as_bytes()) {
            Ok(prepared) => self.run(prepared, keys, args).0,
            Err(error) => format!("-{error}"),
        }
    }

    pub(crate) fn load(&mut self, code: &str, policy: Policy) -> String {
        let Self { interpreter, libraries, host, .. } = self;
        match interpreter.load_library(libraries, code.as_bytes(), policy, host) {
            Ok(name) => String::from_utf8(name).unwrap(),
            Err(error) => format!("-{error}"),
        }
    }

    fn run(
        &mut self,
        prepared: crate::Prepared,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> (String, Option<Outcome>) {
        let mut buffer = Vec::new();
        let mut ranges = Vec::new();
        for text in keys.iter().chain(args) {
            ranges.push(ArgRange { start: buffer.len(), len: text.len() });
            buffer.extend_from_slice(text);
        }
        let (keys, args) = ranges.split_at(keys.len());
        let mut output = Output::new();
        let outcome = self.interpreter.run(
            prepared,
            Call {
                keys: Request { buffer: &buffer, ranges: keys },
                args: Request { buffer: &buffer, ranges: args },
                host: &mut self.host,
                reply: &mut Reply::new(&mut output, self.protocol),
            },
        );
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let count = output.front_slices(&mut slices, usize::MAX);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|it| it.to_vec()).collect();
        let text = bytes.escape_ascii().to_string();
        let text = text.strip_suffix("\\r\\n").map_or(text.clone(), str::to_owned);
        (text.replace("\\r\\n", " ").replace("\\'", "'").replace("\\\"", "\""), Some(outcome))
    }
}

/// Scripts and what they reply; errors without their place.
pub(crate) fn check(table: &[(&str, &str)]) {
    let mut session = Session::new();
    for (script, expected) in table {
        let reply = session.eval(script);
        let reply = match (reply.starts_with('-'), reply.find(" script: ")) {
            (true, Some(end)) => reply[..end].to_owned(),
            _ => reply,
        };
        assert_eq!(&reply, expected, "{script}");
    }
}
