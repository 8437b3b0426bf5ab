//! How long one command over large values takes, and the processor time it costs: one client, who waits for each reply.

use std::net::SocketAddr;
use std::time::Duration;

use rubine_testing::server::Server;
use rubine_testing::value::Value;

use super::asked::Asked;
use super::load::{ProcessorTime, median};
use super::{Bench, data, verdict};
use crate::Failure;
use crate::clock::Stopwatch;

/// As a ratio of the peer's time to ours.
const SPEED_MIN: f64 = 1.2;

struct Case {
    name: &'static str,
    prepare: fn(&Bench, SocketAddr) -> Result<(), Failure>,
    request: &'static [&'static str],
    /// Times it is sent in a round: processor time is counted in hundredths of a second.
    count: u32,
}

const CASES: [Case; 4] = [
    Case {
        name: "SUNIONSTORE 1M",
        prepare: data::sets,
        request: &["SUNIONSTORE", "to", "a", "b"],
        count: 3,
    },
    Case { name: "SINTER 1M", prepare: data::sets, request: &["SINTER", "a", "b"], count: 3 },
    Case {
        name: "ZUNIONSTORE 1M",
        prepare: data::sorted_sets,
        request: &["ZUNIONSTORE", "to", "2", "a", "b"],
        count: 3,
    },
    Case {
        name: "BITOP 100 MB",
        prepare: data::strings,
        request: &["BITOP", "OR", "to", "a", "b"],
        count: 10,
    },
];

/// Of one command, in milliseconds.
struct Sample {
    wall: f64,
    processor: f64,
}

pub(super) fn rows() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    println!(
        "{:<15} {:>9} {:>9} {:>6}  {:>9} {:>9} {:>6}   ms, and how much faster ours is",
        "algebra", "ours", "peer", "speed", "cpu", "peer", "speed"
    );
    for case in asked.of_rows(&CASES, |case| case.name) {
        let samples = measure(bench, case)?;
        print_row(case, &samples);
    }
    Ok(())
}

/// The samples of each contender, taken in turns.
fn measure(bench: &Bench, case: &Case) -> Result<[Vec<Sample>; 2], Failure> {
    let mut servers = Vec::new();
    for contender in &bench.contenders {
        let server = contender.start()?;
        (case.prepare)(bench, server.address())?;
        // The first time, the target does not exist yet; later ones replace it. And only this reply is read, so here is
        // where a refusal shows.
        if let Value::Error(error) = server.client().call(case.request)? {
            return Err(format!("{}: {error}", case.name).into());
        }
        servers.push(server);
    }
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..bench.rounds() {
        for (server, samples) in servers.iter().zip(&mut samples) {
            let start = ProcessorTime::of(server.pid())?;
            let wall = repeat(server, case.request, case.count)?;
            let processor = ProcessorTime::of(server.pid())?.since(start).total();
            let each = |span: Duration| span.as_secs_f64() * 1e3 / f64::from(case.count);
            samples.push(Sample { wall: each(wall), processor: each(processor) });
        }
    }
    Ok(samples)
}

/// Sends the request and skips its reply, as often as `count` says, and gives the time that took.
fn repeat(server: &Server, request: &[&str], count: u32) -> Result<Duration, Failure> {
    let mut client = server.client();
    let stopwatch = Stopwatch::start();
    for _ in 0..count {
        client.send(request)?;
        client.skip_reply()?;
    }
    Ok(stopwatch.elapsed())
}

fn print_row(case: &Case, samples: &[Vec<Sample>; 2]) {
    let medians = |field: fn(&Sample) -> f64| {
        [0, 1].map(|idx: usize| median(&samples[idx].iter().map(field).collect::<Vec<_>>()))
    };
    let [ours, peer] = medians(|sample| sample.wall);
    let [ours_processor, peer_processor] = medians(|sample| sample.processor);
    let speed = peer / ours;
    println!(
        "{:<15} {ours:>9.3} {peer:>9.3} {speed:>6.2}  {ours_processor:>9.3} {peer_processor:>9.3} \
         {:>6.2}   {} (≥ {SPEED_MIN})",
        case.name,
        peer_processor / ours_processor,
        verdict(SPEED_MIN <= speed)
    );
}
