//! How long others wait while a heavy command runs: a probe client's GETs beside HGETALL, KEYS, FLUSHALL and growth.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;

use super::asked::Asked;
use super::load::fill;
use super::{Bench, Contender, data, verdict};
use crate::Failure;
use crate::clock::Stopwatch;

const P99_MAX: Duration = Duration::from_millis(2);
const WAIT_MAX: Duration = Duration::from_millis(10);

/// While the table grows, only the longest wait counts: almost all requests are those that let it grow.
const GROWTH_P99_MAX: Duration = WAIT_MAX;

/// Between two probes; the wait of the next one counts from when it was due.
const PROBE_PAUSE: Duration = Duration::from_micros(500);

/// Keys of the scenarios that count keys.
const KEYS: u64 = 2_000_000;
const GROWTH_KEYS: u64 = 10_000_000;

struct Scenario {
    name: &'static str,
    prepare: fn(&Bench, SocketAddr) -> Result<(), Failure>,
    /// What is sent while the probe runs.
    heavy: &'static [&'static str],
}

const SCENARIOS: [Scenario; 15] = [
    Scenario { name: "HGETALL 1M", prepare: data::hash, heavy: &["HGETALL", "hash"] },
    Scenario { name: "LRANGE 1M", prepare: data::list, heavy: &["LRANGE", "list", "0", "-1"] },
    Scenario { name: "SMEMBERS 1M", prepare: data::sets, heavy: &["SMEMBERS", "a"] },
    Scenario { name: "ZRANGE 1M", prepare: data::sorted_sets, heavy: &["ZRANGE", "a", "0", "-1"] },
    Scenario { name: "SORT ALPHA 1M", prepare: data::sets, heavy: &["SORT", "a", "ALPHA"] },
    Scenario {
        name: "SUNIONSTORE 1M",
        prepare: data::sets,
        heavy: &["SUNIONSTORE", "to", "a", "b"],
    },
    Scenario {
        name: "ZUNIONSTORE 1M",
        prepare: data::sorted_sets,
        heavy: &["ZUNIONSTORE", "to", "2", "a", "b"],
    },
    Scenario { name: "XRANGE 1M", prepare: data::stream, heavy: &["XRANGE", "stream", "-", "+"] },
    Scenario {
        name: "BITOP 100 MB",
        prepare: data::strings,
        heavy: &["BITOP", "OR", "to", "a", "b"],
    },
    Scenario {
        name: "ZREMRANGE 1M",
        prepare: data::sorted_sets,
        heavy: &["ZREMRANGEBYRANK", "a", "1", "-2"],
    },
    Scenario { name: "KEYS of 2M", prepare: keys, heavy: &["KEYS", "*"] },
    Scenario { name: "DEL 1M fields", prepare: data::hash, heavy: &["DEL", "hash"] },
    Scenario { name: "FLUSHALL 2M", prepare: keys, heavy: &["FLUSHALL"] },
    Scenario {
        name: "script reads 2 s",
        prepare: nothing,
        heavy: &["EVAL", READING_SCRIPT, "1", "held"],
    },
    Scenario {
        name: "script writes 2 s",
        prepare: nothing,
        heavy: &["EVAL", WRITING_SCRIPT, "1", "held"],
    },
];

const READING_SCRIPT: &str =
    "local start = os.clock() while os.clock() - start < 2 do redis.call('GET', KEYS[1]) end";
const WRITING_SCRIPT: &str =
    "local start = os.clock() while os.clock() - start < 2 do redis.call('INCR', KEYS[1]) end";

/// Keys come one by one, so that its table grows.
const GROWTH: &str = "growth to 10M";

pub(super) fn rows() -> Vec<&'static str> {
    SCENARIOS.iter().map(|scenario| scenario.name).chain([GROWTH]).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    println!(
        "{:<16} {:<5} {:>8} {:>9} {:>9}   waits of a probe, ms",
        "latency", "", "probes", "p99", "max"
    );
    for scenario in asked.of_rows(&SCENARIOS, |scenario| scenario.name) {
        for contender in &bench.contenders {
            let server = contender.start()?;
            (scenario.prepare)(bench, server.address())?;
            set_probe_key(&server)?;
            let waits = probe_during(server.address(), &["GET", "probe"], || {
                heavy(&server, scenario.heavy)
            })?;
            print_row(scenario.name, contender, waits, P99_MAX);
        }
    }
    if asked.has(GROWTH) {
        growth(bench)?;
    }
    Ok(())
}

fn growth(bench: &Bench) -> Result<(), Failure> {
    for contender in &bench.contenders {
        let server = contender.start()?;
        let grow = || fill(server.address(), 0..bench.scaled(GROWTH_KEYS), set);
        let waits = probe_during(server.address(), &["SET", "probe", "value"], grow)?;
        print_row(GROWTH, contender, waits, GROWTH_P99_MAX);
    }
    Ok(())
}

fn set_probe_key(server: &Server) -> Result<(), Failure> {
    server.client().call(&["SET", "probe", "value"])?;
    Ok(())
}

/// Sends the command and reads its whole reply, without keeping it.
fn heavy(server: &Server, request: &[&str]) -> Result<(), Failure> {
    let mut client = server.client();
    client.send(request)?;
    client.skip_reply()?;
    Ok(())
}

/// The waits of a probe that runs a little before, during and a little after `work`.
pub(super) fn probe_during(
    address: SocketAddr,
    request: &[&str],
    work: impl FnOnce() -> Result<(), Failure> + Send,
) -> Result<Vec<Duration>, Failure> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| probe(address, request, &is_over));
        let margin = Duration::from_millis(50);
        std::thread::sleep(margin);
        let load = scope.spawn(|| {
            let result = yield_to_the_probe().and_then(|()| work());
            result.map_err(|error| error.to_string())
        });
        let result = load.join().expect("the load does not panic");
        std::thread::sleep(margin);
        is_over.store(true, Ordering::Relaxed);
        let waits = probe.join().expect("the probe does not panic");
        result?;
        waits.map_err(Failure::from)
    })
}

/// Lets the calling thread, which loads the server, have the clients' core only while the probe has no use for it: what
/// is measured is the server, not how two clients share a processor.
fn yield_to_the_probe() -> Result<(), Failure> {
    const NICE_MAX: i32 = 19;
    rustix::process::setpriority_process(None, NICE_MAX)?;
    Ok(())
}

/// Lets the calling thread, which is the probe, have a processor before other clients when an answer is there. Where the
/// system does not let us, the probe's waits are partly those for other clients.
fn come_first() {
    const NICE_MIN: i32 = -20;
    let _ = rustix::process::setpriority_process(None, NICE_MIN);
}

fn probe(
    address: SocketAddr,
    request: &[&str],
    is_over: &AtomicBool,
) -> Result<Vec<Duration>, String> {
    come_first();
    let mut client = Client::connect(address).map_err(|error| error.to_string())?;
    let mut waits = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(PROBE_PAUSE);
        let stopwatch = Stopwatch::start();
        client.send(request).map_err(|error| error.to_string())?;
        match client.receive(Duration::from_secs(30)) {
            Ok(Received::Value(_)) => waits.push(stopwatch.elapsed()),
            other => return Err(format!("the probe got no answer: {other:?}")),
        }
    }
    Ok(waits)
}

/// The wait that one of a hundred exceeds, and the longest.
pub(super) fn quantiles(waits: &mut [Duration]) -> (Duration, Duration) {
    waits.sort();
    let last = waits.len().saturating_sub(1);
    let at = |index: usize| waits.get(index).copied().unwrap_or_default();
    (at(last * 99 / 100), at(last))
}

fn print_row(name: &str, contender: &Contender, mut waits: Vec<Duration>, p99_max: Duration) {
    let (p99, max) = quantiles(&mut waits);
    let [p99_ms, max_ms] = [p99, max].map(|wait| wait.as_secs_f64() * 1e3);
    let is_met = p99 <= p99_max && max <= WAIT_MAX;
    let verdict = if contender.own_directives { verdict(is_met) } else { "" };
    println!(
        "{name:<16} {:<5} {:>8} {p99_ms:>9.2} {max_ms:>9.2}   {verdict}",
        contender.name,
        waits.len()
    );
}

fn set(number: u64) -> Vec<String> {
    vec!["SET".to_owned(), format!("key:{number:012}"), "value".to_owned()]
}

fn nothing(_: &Bench, _: SocketAddr) -> Result<(), Failure> {
    Ok(())
}

fn keys(bench: &Bench, address: SocketAddr) -> Result<(), Failure> {
    fill(address, 0..bench.scaled(KEYS), set)
}
