//! What the append-only file costs those who write.

use super::start;
use crate::Failure;
use crate::bench::load::{median, rate};
use crate::bench::{Bench, verdict};

const ALWAYS_RATIO_MIN: f64 = 1.3;
const EVERY_SECOND_RATIO_MIN: f64 = 0.85;

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
            rates.push(rate(bench, &server, bench.scaled(ALWAYS_REQUESTS), 1, SET)?);
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
            rates.push(rate(bench, &server, bench.scaled(EVERY_SECOND_REQUESTS), 64, SET)?);
        }
    }
    print_ratio("appendfsync everysec", &rates, "with it, without", EVERY_SECOND_RATIO_MIN);
    Ok(())
}

fn print_ratio(name: &str, rates: &[Vec<f64>; 2], which: &str, ratio_min: f64) {
    let [one, other] = rates.each_ref().map(|rates| median(rates));
    let ratio = one / other;
    println!(
        "{name:<21} {one:>10.0} {other:>10.0} {ratio:>6.2}   requests/s: {which}   {} (≥ {ratio_min})",
        verdict(ratio_min <= ratio)
    );
}
