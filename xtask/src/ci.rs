//! `cargo xtask ci`: all that must hold before a change is taken. Quiet while it does; the tests' summary comes last.

use std::process::Command;

use crate::clock::Stopwatch;
use crate::compat::{self, Family};
use crate::process::{cargo, output};
use crate::{Failure, diff, e2e, exchange, fuzz, oracle, test};

/// The units of Valkey's suite that every change runs, and the seconds after which no further one is started.
const COMPAT_UNITS: &[&str] = &[
    // The longest first, so that none is left to run alone at the end.
    "unit/hashexpire",
    "unit/type/list-3",
    "unit/hyperloglog",
    "unit/fuzzer",
    "unit/aofrw",
    "unit/geo",
    "unit/maxmemory",
    "unit/type/zset",
    "unit/type/list",
    "unit/expire",
    "unit/introspection",
    "unit/obuf-limits",
    "unit/multi",
    "integration/valkey-benchmark",
    "integration/aof",
    "unit/type/stream",
    "integration/corrupt-dump-fuzzer",
    "integration/corrupt-dump",
    "unit/other",
    "unit/type/hash",
    "unit/type/list-2",
    "unit/type/set",
    "unit/type/string",
    "unit/type/stream-cgroups",
    "unit/scan",
    "unit/sort",
    "unit/client-eviction",
    "unit/introspection-2",
    "unit/querybuf",
    "integration/valkey-cli",
    "integration/aof-multi-part",
    "integration/rdb",
    "integration/aof-race",
    "integration/convert-ziplist-hash-on-load",
    "integration/convert-ziplist-zset-on-load",
    "integration/convert-zipmap-hash-on-load",
    "integration/dismiss-mem",
    "integration/logging",
    "integration/valkey-check-rdb",
    "unit/auth",
    "unit/bitfield",
    "unit/bitops",
    "unit/dump",
    "unit/info",
    "unit/info-command",
    "unit/keyspace",
    "unit/lazyfree",
    "unit/limits",
    "unit/memefficiency",
    "unit/networking",
    "unit/oom-score-adj",
    "unit/pause",
    "unit/protocol",
    "unit/pubsub",
    "unit/pubsubshard",
    "unit/quit",
    "unit/shutdown",
    "unit/type/incr",
    "unit/violations",
    "unit/wait",
];
const COMPAT_BUDGET_SECONDS: u64 = 12 * 60;

/// Seconds of random commands that every change bears.
const FUZZ_SECONDS: u64 = 30;

/// Seconds of random commands that go to Valkey, too.
const DIFF_SECONDS: u64 = 45;

pub(crate) fn run() -> Result<(), Failure> {
    let mut steps = Steps { failed: Vec::new() };
    steps.quietly("fmt", cargo().args(["fmt", "--all", "--", "--check"]));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    steps.quietly("clippy", cargo().args(clippy));
    let summary = steps.step("test", test::run_quietly).unwrap_or_default();
    steps.step("interleavings", test::run_interleavings);
    steps.step("e2e", || e2e::run(&e2e::Options::default()));
    steps.step("fuzz", || fuzz::run(&fuzz::Options::for_every_change(FUZZ_SECONDS)));
    if let Err(failure) = compat::prepare(Family::Valkey) {
        // A machine without network or compiler can still run everything else.
        println!("ci: not held against Valkey, which cannot be had here: {failure}");
    } else {
        steps.step("oracle", || oracle::run(&oracle::Options::default()));
        steps.step("exchange", || exchange::run(&exchange::Options::default()));
        steps.step("diff", || diff::run(&diff::Options::for_every_change(DIFF_SECONDS)));
        let options =
            compat::Options::for_units(Family::Valkey, COMPAT_UNITS, COMPAT_BUDGET_SECONDS);
        steps.step("compat", || compat::run(&options));
    }
    println!("{summary}");
    let failed = steps.failed;
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("ci: failed: {}", failed.join(", ")).into())
    }
}

/// Steps that all run, so that one report names all that is wrong.
struct Steps {
    failed: Vec<&'static str>,
}

impl Steps {
    fn step<T>(
        &mut self,
        name: &'static str,
        run: impl FnOnce() -> Result<T, Failure>,
    ) -> Option<T> {
        let stopwatch = Stopwatch::start();
        let result = run();
        let seconds = stopwatch.elapsed().as_secs();
        match result {
            Ok(value) => {
                println!("ci: {name} ok, {seconds} s");
                Some(value)
            }
            Err(failure) => {
                println!("{failure}\nci: {name} FAILED, {seconds} s");
                self.failed.push(name);
                None
            }
        }
    }

    fn quietly(&mut self, name: &'static str, command: &mut Command) {
        self.step(name, || output(command));
    }
}
