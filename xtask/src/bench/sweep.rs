//! A quick look at many more workloads than the other benchmarks measure with care: every row of throughput, and strings of
//! many sizes, by pipelines and clients. It names those in which our server is slower; there are no other targets.

use rubine_testing::server::Server;

use super::Bench;
use super::asked::Asked;
use super::load::median;
use super::throughput::{self, Sample, TESTS, Test};
use crate::Failure;
use crate::clock::Stopwatch;

const PIPELINES: [u32; 3] = [1, 16, 64];
const CLIENTS: [u32; 3] = [10, 50, 200];
const VALUE_SIZES: [u32; 5] = [8, 256, 4 * 1024, 16 * 1024, 256 * 1024];

/// Values of any size take about so much memory together.
const VALUE_BYTES: u64 = 64 << 20;

/// Bytes that requests of one run carry, at most.
const BYTES_MAX: u64 = 1 << 30;

/// Requests of one run, by the depth of the pipeline: about a quarter of a second.
const REQUESTS: [(u32, u64); 3] = [(1, 20_000), (16, 150_000), (64, 250_000)];

/// Pipelines in flight hold no more than this, so that it is the server that is measured and not the system's memory.
const IN_FLIGHT_MAX: u64 = 64 << 20;

/// Below this, a row is measured again before it is named: in more rounds, each of which is longer.
const SUSPECT: f64 = 1.03;
const SUSPECT_ROUNDS: usize = 3;
const SUSPECT_REQUESTS: u64 = 4;

type Cells = fn() -> Vec<Cell>;

const ROWS: [(&str, Cells); 3] =
    [("rows", rows_of_throughput), ("values", values), ("clients", clients)];

/// One workload.
struct Cell {
    test: Test,
    pipeline: u32,
}

impl Cell {
    fn requests(&self) -> u64 {
        let count = REQUESTS.iter().find(|(pipeline, _)| *pipeline == self.pipeline);
        let count = count.map_or(REQUESTS[0].1, |(_, count)| *count) / self.test.cost;
        let size_max = BYTES_MAX / u64::from(self.test.value_size);
        count.min(size_max).max(u64::from(self.test.clients * self.pipeline))
    }

    fn in_flight(&self) -> u64 {
        u64::from(self.test.clients * self.pipeline) * u64::from(self.test.value_size)
    }
}

pub(super) fn rows() -> Vec<&'static str> {
    ROWS.iter().map(|(name, _)| *name).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    let stopwatch = Stopwatch::start();
    let servers = throughput::start(bench)?;
    println!(
        "{:<17} {:>8} {:>8} {:>3}  {:>10} {:>10} {:>6} {:>6}",
        "sweep", "clients", "bytes", "P", "ours/s", "peer/s", "ratio", "cpu"
    );
    let mut slower = Vec::new();
    let mut count = 0;
    for (_, cells) in ROWS.iter().filter(|(name, _)| asked.has(name)) {
        for cell in cells() {
            let line = measure(bench, &servers, &cell)?;
            count += 1;
            println!("{}", line.text);
            slower.extend((line.ratio < 1.0).then_some(line.text));
        }
    }
    let seconds = stopwatch.elapsed().as_secs();
    println!("sweep: {} of {count} workloads below 1, {seconds} s", slower.len());
    for text in slower {
        println!("{text}");
    }
    Ok(())
}

struct Line {
    ratio: f64,
    text: String,
}

/// One round, and more of them where the first does not show that ours is faster.
fn measure(bench: &Bench, servers: &[Server], cell: &Cell) -> Result<Line, Failure> {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..=SUSPECT_ROUNDS {
        if round == 1 {
            let [ours, peer] = rates(&samples);
            if SUSPECT <= ours / peer {
                break;
            }
            // The first round may have filled what the later ones find.
            samples.iter_mut().for_each(Vec::clear);
        }
        let requests = cell.requests() * if round == 0 { 1 } else { SUSPECT_REQUESTS };
        for (server, samples) in servers.iter().zip(&mut samples) {
            samples.push(throughput::sample(bench, server, &cell.test, cell.pipeline, requests)?);
        }
    }
    let [ours, peer] = rates(&samples);
    let [ours_ns, peer_ns] = medians(&samples, |sample| sample.total_ns);
    let ratio = ours / peer;
    let Test { name, clients, value_size, .. } = cell.test;
    let text = format!(
        "{name:<17} {clients:>8} {value_size:>8} {:>3}  {ours:>10.0} {peer:>10.0} {ratio:>6.2} {:>6.2}",
        cell.pipeline,
        ours_ns / peer_ns,
    );
    Ok(Line { ratio, text })
}

fn rates(samples: &[Vec<Sample>; 2]) -> [f64; 2] {
    medians(samples, |sample| sample.requests_per_second)
}

fn medians(samples: &[Vec<Sample>; 2], field: fn(&Sample) -> f64) -> [f64; 2] {
    samples.each_ref().map(|samples| median(&samples.iter().map(field).collect::<Vec<_>>()))
}

/// All that throughput measures, at every depth that a row is about.
fn rows_of_throughput() -> Vec<Cell> {
    let cells = |test: &Test| {
        let test = *test;
        let depths = PIPELINES.into_iter().filter(move |pipeline| test.is_for(*pipeline));
        depths.map(move |pipeline| Cell { test, pipeline })
    };
    TESTS.iter().flat_map(cells).collect()
}

/// Strings of every size from few and many clients.
fn values() -> Vec<Cell> {
    let mut cells = Vec::new();
    for value_size in VALUE_SIZES {
        for clients in CLIENTS {
            for pipeline in PIPELINES {
                let keys = VALUE_BYTES / u64::from(value_size);
                // What SET has written, GET reads.
                for test in [Test::SET_VALUES, Test::GET_VALUES] {
                    let test = test.by(clients).sized(value_size, keys.min(1_000_000));
                    cells.push(Cell { test, pipeline });
                }
            }
        }
    }
    cells.retain(|cell| cell.in_flight() <= IN_FLIGHT_MAX);
    cells
}

/// The rows of throughput that send small requests, from few and many clients.
fn clients() -> Vec<Cell> {
    let small = TESTS.iter().filter(|test| test.is_small());
    let cells = small.flat_map(|test| {
        let others = CLIENTS.into_iter().filter(|clients| *clients != test.clients);
        others.map(|clients| Cell { test: test.by(clients), pipeline: 1 })
    });
    cells.collect()
}
