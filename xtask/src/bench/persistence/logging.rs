//! What the append-only file costs those who write, and how long one of commands takes to load.

use super::saving::{ALL_TYPES, DataSet, STRINGS};
use super::start;
use crate::Failure;
use crate::bench::load::{Load, fill, median, rate};
use crate::bench::{Bench, Contender, verdict};
use crate::clock::Stopwatch;

const ALWAYS_RATIO_MIN: f64 = 1.3;
const EVERY_SECOND_RATIO_MIN: f64 = 0.85;
const LOAD_RATIO_MAX: f64 = 0.6;

const ALWAYS_REQUESTS: u64 = 100_000;
const EVERY_SECOND_REQUESTS: u64 = 8_000_000;

const SET: &[&str] = &["SET", "key:__rand_int__", "__data__"];

/// Fifty clients, each of which waits until the disk has what it wrote: ours against the other.
pub(super) fn always(bench: &Bench) -> Result<(), Failure> {
    let directives = [("appendonly", "yes"), ("appendfsync", "always")];
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..bench.rounds() {
        for (contender, rates) in bench.contenders.iter().zip(&mut rates) {
            let server = start(contender, &directives)?;
            rates.push(rate(bench, &server, &Load::new(SET, bench.scaled(ALWAYS_REQUESTS), 1))?);
        }
    }
    print_ratio("appendfsync always", &rates, "ours, the peer", ALWAYS_RATIO_MIN);
    Ok(())
}

/// A file that is synced every second, and none: ours both times.
pub(super) fn every_second(bench: &Bench) -> Result<(), Failure> {
    let [ours, _] = &bench.contenders;
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..bench.rounds() {
        for (appendonly, rates) in ["yes", "no"].into_iter().zip(&mut rates) {
            let server = start(ours, &[("appendonly", appendonly), ("appendfsync", "everysec")])?;
            let requests = bench.scaled(EVERY_SECOND_REQUESTS);
            rates.push(rate(bench, &server, &Load::new(SET, requests, 64))?);
        }
    }
    print_ratio("appendfsync everysec", &rates, "with it, without", EVERY_SECOND_RATIO_MIN);
    Ok(())
}

/// A log of commands, read on two cores: ours against the other.
pub(super) fn load(bench: &Bench) -> Result<(), Failure> {
    for data in [&STRINGS, &ALL_TYPES] {
        let mut seconds = [0.0; 2];
        for (contender, seconds) in bench.contenders.iter().zip(&mut seconds) {
            *seconds = time_log(bench, contender, data)?;
        }
        let [ours, peer] = seconds;
        let ratio = ours / peer;
        println!(
            "load a log: {:<20} {ours:>7.2} {peer:>7.2} {ratio:>6.2}   seconds: ours, the peer   {} (≤ {LOAD_RATIO_MAX})",
            data.name,
            verdict(ratio <= LOAD_RATIO_MAX)
        );
    }
    Ok(())
}

/// Seconds from the start of the program until it answers with data.
fn time_log(bench: &Bench, contender: &Contender, data: &DataSet) -> Result<f64, Failure> {
    let directives =
        [("appendonly", "yes"), ("appendfsync", "no"), ("auto-aof-rewrite-percentage", "0")];
    let mut server = start(contender, &directives)?;
    let keys = (bench.scaled(bench.keys) as f64 * data.share) as u64;
    fill(server.address(), 0..keys, data.request)?;
    let stored = server.client().call(&["DBSIZE"])?;
    server.terminate()?;
    // Both find their files in the system's cache, since they have just been written.
    let stopwatch = Stopwatch::start();
    server.restart()?;
    let seconds = stopwatch.elapsed().as_secs_f64();
    let loaded = server.client().call(&["DBSIZE"])?;
    if loaded == stored {
        Ok(seconds)
    } else {
        Err(format!("{} keys of {} were loaded: {loaded:?}, {stored:?}", contender.name, data.name)
            .into())
    }
}

fn print_ratio(name: &str, rates: &[Vec<f64>; 2], which: &str, ratio_min: f64) {
    let [one, other] = rates.each_ref().map(|rates| median(rates));
    let ratio = one / other;
    println!(
        "{name:<21} {one:>10.0} {other:>10.0} {ratio:>6.2}   requests/s: {which}   {} (≥ {ratio_min})",
        verdict(ratio_min <= ratio)
    );
}
