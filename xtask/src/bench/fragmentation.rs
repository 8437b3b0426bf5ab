//! What is left of memory when most keys go: resident memory against what the server says it uses, while it is asked to
//! tidy up.

use std::time::Duration;

use rubine_testing::client::Client;
use rubine_testing::server::Server;

use super::asked::Asked;
use super::data::{score, words};
use super::latency::{probe_during, quantiles};
use super::load::{fill, info_number, resident_bytes};
use super::{Bench, Contender, verdict};
use crate::Failure;
use crate::clock::Stopwatch;

const KEYS: u64 = 2_000_000;
/// One of so many stays.
const KEPT: u64 = 10;

/// What is to be reached, and within what time.
const RATIO_MAX: f64 = 1.5;
const TIME_MAX: Duration = Duration::from_secs(30);
const P99_MAX: Duration = Duration::from_millis(1);

const POLL: Duration = Duration::from_millis(250);

/// The shapes of what is removed.
struct Shape {
    name: &'static str,
    request: fn(u64) -> Vec<String>,
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "strings of 100 bytes",
        request: |number| words(&["SET", &key(number), &"x".repeat(100)]),
    },
    Shape {
        name: "hashes of 3 fields",
        request: |number| {
            words(&["HSET", &key(number), "f0", "value0", "f1", "value1", "f2", "value2"])
        },
    },
];

pub(super) fn rows() -> Vec<&'static str> {
    SHAPES.iter().map(|shape| shape.name).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    println!(
        "{:<22} {:<5} {:>8} {:>8} {:>6} {:>6}   MB resident and used, their ratio before and after, p99 of a GET",
        "fragmentation", "", "resident", "used", "before", "after"
    );
    for shape in asked.of_rows(&SHAPES, |shape| shape.name) {
        for contender in &bench.contenders {
            measure(bench, contender, shape)?;
        }
    }
    Ok(())
}

fn measure(bench: &Bench, contender: &Contender, shape: &Shape) -> Result<(), Failure> {
    let server = contender.start()?;
    let keys = bench.scaled(KEYS);
    fill(server.address(), 0..keys, shape.request)?;
    // Which of them go has nothing to do with the order in which they came.
    let stays = |number: u64| score(number).is_multiple_of(KEPT);
    fill(server.address(), 0..keys, |number| {
        let gone = key(number);
        let command = if stays(number) { "TOUCH" } else { "UNLINK" };
        words(&[command, &gone])
    })?;
    server.client().call(&["SET", "probe", "value"])?;
    let before = Memory::of(&server)?;
    // A server that cannot do it says so, and is watched all the same.
    let is_taken = server.client().run("CONFIG SET activedefrag yes")? == "OK";
    let stopwatch = Stopwatch::start();
    let mut after = Memory::of(&server)?;
    let mut waits = probe_during(server.address(), &["GET", "probe"], || {
        while RATIO_MAX < after.ratio() && stopwatch.elapsed() < TIME_MAX && is_taken {
            std::thread::sleep(POLL);
            after = Memory::of(&server).map_err(|error| error.to_string())?;
        }
        Ok(())
    })?;
    let (p99, _) = quantiles(&mut waits);
    let is_met = after.ratio() <= RATIO_MAX && p99 <= P99_MAX;
    println!(
        "{:<22} {:<5} {:>8.0} {:>8.0} {:>6.2} {:>6.2}   {:.2} ms, {:.1} s   {}",
        shape.name,
        contender.name,
        after.resident as f64 / 1e6,
        after.used as f64 / 1e6,
        before.ratio(),
        after.ratio(),
        p99.as_secs_f64() * 1e3,
        stopwatch.elapsed().as_secs_f64(),
        match (contender.own_directives, is_taken) {
            (true, _) => verdict(is_met),
            (false, true) => "",
            (false, false) => "(it has no activedefrag)",
        }
    );
    Ok(())
}

struct Memory {
    resident: u64,
    used: u64,
}

impl Memory {
    fn of(server: &Server) -> Result<Self, Failure> {
        let mut client = Client::connect(server.address())?;
        let used = info_number(&mut client, "used_memory")?;
        Ok(Self { resident: resident_bytes(server.pid())?, used })
    }

    fn ratio(&self) -> f64 {
        self.resident as f64 / self.used as f64
    }
}

fn key(number: u64) -> String {
    format!("key:{number:012}")
}
