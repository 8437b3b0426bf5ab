//! Throughput, and the processor time a request costs, by command and pipeline depth.

mod prepare;
mod table;

use std::time::Duration;

use rubine_testing::server::Server;

use super::asked::Asked;
use super::load::{Load, ProcessorTime, fill, median, rate};
use super::{Bench, verdict};
use crate::Failure;
pub(super) use table::{TESTS, Test};

/// Keys that exist before anything is measured, and as many counters.
const KEYS: u64 = 1_000_000;

/// What was deleted is freed in this time, on the core that the other server is about to need.
const SETTLE: Duration = Duration::from_millis(200);

/// One run of one server.
pub(super) struct Sample {
    pub(super) requests_per_second: f64,
    user_ns: f64,
    pub(super) total_ns: f64,
}

pub(super) fn rows() -> Vec<&'static str> {
    TESTS.iter().map(|test| test.name).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    let tests = asked.of_rows(&TESTS, |test| test.name);
    for contender in &bench.contenders {
        println!("{}: {}", contender.name, contender.program.display());
    }
    let servers = start(bench)?;
    println!(
        "{:<17} {:>3}  {:>10} {:>10} {:>6}  {:>8} {:>8} {:>6}  {:>8} {:>8} {:>6}",
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
    for &pipeline in &bench.pipelines {
        for test in tests.iter().filter(|test| test.is_for(pipeline)) {
            let samples = measure(bench, &servers, test, pipeline)?;
            print_row(test, pipeline, &samples);
        }
    }
    Ok(())
}

/// Both servers, with the keys that tests use.
pub(super) fn start(bench: &Bench) -> Result<Vec<Server>, Failure> {
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
    let requests = requests.max(100_000) / test.cost;
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..bench.rounds() {
        for (server, samples) in servers.iter().zip(&mut samples) {
            samples.push(sample(bench, server, test, pipeline, requests)?);
        }
    }
    Ok(samples)
}

/// One run of a test, from the preparation to the clearing away.
pub(super) fn sample(
    bench: &Bench,
    server: &Server,
    test: &Test,
    pipeline: u32,
    requests: u64,
) -> Result<Sample, Failure> {
    if let Some(prepare) = test.prepare {
        prepare(server.address(), requests)?;
    }
    let words: Vec<_> = match test.line {
        Some(line) => line.split(' ').collect(),
        None => vec!["-t", test.name],
    };
    let load = Load {
        clients: test.clients,
        value_size: test.value_size,
        keys: test.keys,
        ..Load::new(&words, requests, pipeline)
    };
    let start = ProcessorTime::of(server.pid())?;
    let requests_per_second = rate(bench, server, &load)?;
    let used = ProcessorTime::of(server.pid())?.since(start);
    if let Some(key) = test.key {
        server.client().call(&["DEL", key])?;
        std::thread::sleep(SETTLE);
    }
    let per_request = |seconds: f64| seconds * 1e9 / requests as f64;
    Ok(Sample {
        requests_per_second,
        user_ns: per_request(used.user.as_secs_f64()),
        total_ns: per_request(used.total().as_secs_f64()),
    })
}

fn print_row(test: &Test, pipeline: u32, samples: &[Vec<Sample>; 2]) {
    let medians = |field: fn(&Sample) -> f64| {
        [0, 1].map(|idx: usize| median(&samples[idx].iter().map(field).collect::<Vec<_>>()))
    };
    let [ours_rate, peer_rate] = medians(|sample| sample.requests_per_second);
    let [ours_user, peer_user] = medians(|sample| sample.user_ns);
    let [ours_total, peer_total] = medians(|sample| sample.total_ns);
    let [throughput, user] = [ours_rate / peer_rate, ours_user / peer_user];
    let total = ours_total / peer_total;
    print!(
        "{:<17} {pipeline:>3}  {ours_rate:>10.0} {peer_rate:>10.0} {throughput:>6.2}  \
         {ours_user:>8.0} {peer_user:>8.0} {user:>6.2}  \
         {ours_total:>8.0} {peer_total:>8.0} {total:>6.2}",
        test.name,
    );
    match test.target(pipeline) {
        Some(target) => {
            println!("  {} ({target})", verdict(target.is_met(throughput, user, total)));
        }
        None => println!(),
    }
}
