//! Throughput, and the processor time a request costs, by command and pipeline depth.

use std::process::Command;

use rubine_testing::server::Server;

use super::load::{ProcessorTime, fill, median};
use super::{Bench, CLIENT_CORE, Contender, verdict};
use crate::Failure;
use crate::process::output;

/// Keys that exist before anything is measured, and as many counters.
const KEYS: u64 = 1_000_000;

const CONNECTIONS: &str = "50";
const VALUE_SIZE: &str = "64";

/// A test of valkey-benchmark, and what we mean to reach in it, as ratios to the peer.
pub(super) struct Test {
    pub(super) name: &'static str,
    /// For the deepest pipeline: least throughput, most user time.
    deep: Target,
}

#[derive(Clone, Copy)]
struct Target {
    throughput_min: f64,
    user_max: f64,
}

const SIMPLE: Target = Target { throughput_min: 1.7, user_max: 0.45 };
const COMPOUND: Target = Target { throughput_min: 1.4, user_max: 0.7 };
const MEDIUM_PIPELINE: Target = Target { throughput_min: 1.1, user_max: 0.6 };
const NO_PIPELINE: Target = Target { throughput_min: 1.0, user_max: 0.75 };

/// LPUSH stands before RPOP, which takes what it has left.
pub(super) const TESTS: [Test; 8] = [
    Test { name: "set", deep: SIMPLE },
    Test { name: "get", deep: SIMPLE },
    Test { name: "incr", deep: SIMPLE },
    Test { name: "hset", deep: COMPOUND },
    Test { name: "lpush", deep: COMPOUND },
    Test { name: "rpop", deep: COMPOUND },
    Test { name: "mget", deep: COMPOUND },
    Test { name: "mset", deep: COMPOUND },
];

impl Test {
    fn target(&self, pipeline: u32) -> Target {
        match pipeline {
            64.. => self.deep,
            2..64 => MEDIUM_PIPELINE,
            _ => NO_PIPELINE,
        }
    }
}

/// One run of one server.
struct Sample {
    requests_per_second: f64,
    user_ns: f64,
    total_ns: f64,
}

pub(super) fn run(bench: &Bench, tests: &[&Test], pipelines: &[u32]) -> Result<(), Failure> {
    for contender in &bench.contenders {
        println!("{}: {}", contender.name, contender.program.display());
    }
    let servers = start(bench)?;
    println!(
        "{:<6} {:>3}  {:>10} {:>10} {:>6}  {:>8} {:>8} {:>6}  {:>8} {:>8} {:>6}",
        "test",
        "P",
        "ours/s",
        "peer/s",
        "ratio",
        "user ns",
        "peer",
        "ratio",
        "cpu ns",
        "peer",
        "ratio"
    );
    for &pipeline in pipelines {
        for test in tests {
            let samples = measure(bench, &servers, test, pipeline)?;
            print_row(test, pipeline, &samples);
        }
    }
    Ok(())
}

fn start(bench: &Bench) -> Result<Vec<Server>, Failure> {
    let value = "x".repeat(64);
    let mut servers = Vec::new();
    for contender in &bench.contenders {
        let server = contender.start()?;
        let set = |number| vec!["SET".to_owned(), format!("key:{number:012}"), value.clone()];
        fill(server.address(), 0..bench.scaled(KEYS), set)?;
        let count =
            |number| vec!["SET".to_owned(), format!("counter:{number:012}"), "1".to_owned()];
        fill(server.address(), 0..bench.scaled(KEYS), count)?;
        servers.push(server);
    }
    Ok(servers)
}

/// The samples of each contender, taken in turns.
fn measure(
    bench: &Bench,
    servers: &[Server],
    test: &Test,
    pipeline: u32,
) -> Result<[Vec<Sample>; 2], Failure> {
    let requests = bench.scaled(match pipeline {
        64.. => 4_000_000,
        2..64 => 2_000_000,
        _ => 250_000,
    });
    // Processor time is counted in hundredths of a second; fewer requests than this would show nothing.
    let requests = requests.max(100_000);
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..bench.rounds() {
        for ((contender, server), samples) in bench.contenders.iter().zip(servers).zip(&mut samples)
        {
            if test.name == "rpop" {
                load(bench, server, "lpush", 64, requests)?;
            }
            samples.push(sample(bench, contender, server, test, pipeline, requests)?);
            if ["lpush", "rpop"].contains(&test.name) {
                server.client().call(&["DEL", "mylist"])?;
            }
        }
    }
    Ok(samples)
}

fn sample(
    bench: &Bench,
    contender: &Contender,
    server: &Server,
    test: &Test,
    pipeline: u32,
    requests: u64,
) -> Result<Sample, Failure> {
    let start = ProcessorTime::of(server.pid())?;
    let printed = load(bench, server, test.name, pipeline, requests)?;
    let used = ProcessorTime::of(server.pid())?.since(start);
    let requests_per_second = requests_per_second(&printed).ok_or_else(|| {
        format!("{}: valkey-benchmark printed no rate:\n{printed}", contender.name)
    })?;
    let per_request = |seconds: f64| seconds * 1e9 / requests as f64;
    Ok(Sample {
        requests_per_second,
        user_ns: per_request(used.user.as_secs_f64()),
        total_ns: per_request(used.total().as_secs_f64()),
    })
}

fn load(
    bench: &Bench,
    server: &Server,
    test: &str,
    pipeline: u32,
    requests: u64,
) -> Result<String, Failure> {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", CLIENT_CORE])
        .arg(&bench.benchmark)
        .args(["-h", "127.0.0.1", "-p", &server.address().port().to_string(), "--csv"])
        .args(["-c", CONNECTIONS, "-d", VALUE_SIZE, "-r", &bench.scaled(KEYS).to_string()])
        .args(["-n", &requests.to_string(), "-P", &pipeline.to_string(), "-t", test]);
    output(&mut command)
}

/// The second column of the last line, behind the test's quoted name.
fn requests_per_second(printed: &str) -> Option<f64> {
    printed.lines().last()?.split("\",\"").nth(1)?.parse().ok()
}

fn print_row(test: &Test, pipeline: u32, samples: &[Vec<Sample>; 2]) {
    let medians = |field: fn(&Sample) -> f64| {
        [0, 1].map(|idx: usize| median(&samples[idx].iter().map(field).collect::<Vec<_>>()))
    };
    let [ours_rate, peer_rate] = medians(|sample| sample.requests_per_second);
    let [ours_user, peer_user] = medians(|sample| sample.user_ns);
    let [ours_total, peer_total] = medians(|sample| sample.total_ns);
    let target = test.target(pipeline);
    let is_met =
        target.throughput_min <= ours_rate / peer_rate && ours_user / peer_user <= target.user_max;
    println!(
        "{:<6} {pipeline:>3}  {ours_rate:>10.0} {peer_rate:>10.0} {:>6.2}  {ours_user:>8.0} {peer_user:>8.0} {:>6.2}  \
         {ours_total:>8.0} {peer_total:>8.0} {:>6.2}  {} (≥ {}, user ≤ {})",
        test.name,
        ours_rate / peer_rate,
        ours_user / peer_user,
        ours_total / peer_total,
        verdict(is_met),
        target.throughput_min,
        target.user_max,
    );
}

#[cfg(test)]
mod tests {
    use super::requests_per_second;

    #[test]
    fn the_rate_stands_behind_the_name() {
        let printed =
            "\"test\",\"rps\",\"avg_latency_ms\"\n\"MSET (10 keys)\",\"123456.79\",\"0.1\"\n";
        assert_eq!(requests_per_second(printed), Some(123_456.79));
    }
}
