//! How fast the tools read files that are in order.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::saving::STRINGS;
use super::start;
use crate::Failure;
use crate::bench::load::fill;
use crate::bench::{Bench, verdict};
use crate::clock::Stopwatch;
use crate::process::output;

const MEGABYTES_PER_SECOND_MIN: f64 = 500.0;

pub(super) fn run(bench: &Bench) -> Result<(), Failure> {
    let [ours, _] = &bench.contenders;
    let directives = [
        ("appendonly", "yes"),
        ("appendfsync", "no"),
        ("rdbcompression", "no"),
        ("auto-aof-rewrite-percentage", "0"),
    ];
    let server = start(ours, &directives)?;
    fill(server.address(), 0..bench.scaled(bench.keys), STRINGS.request)?;
    let saved = server.client().run("SAVE")?;
    if saved != "OK" {
        return Err(format!("SAVE: {saved}").into());
    }
    let folder = server.directory().join("appendonlydir");
    let log = folder.join("appendonly.aof.1.incr.aof");
    let manifest = folder.join("appendonly.aof.manifest");
    let dump = server.directory().join("dump.rdb");
    check(&ours.program, server.directory(), "rubine-check-rdb", &dump, &dump)?;
    check(&ours.program, server.directory(), "rubine-check-aof", &manifest, &log)
}

/// Runs the program under the name of a tool on `argument`, and tells how fast it reads `file`.
fn check(
    program: &Path,
    folder: &Path,
    name: &str,
    argument: &Path,
    file: &Path,
) -> Result<(), Failure> {
    let tool = folder.join(name);
    symlink(program, &tool)?;
    // What is measured is the tool and not the disk.
    let bytes = std::fs::read(file)?.len();
    let stopwatch = Stopwatch::start();
    output(Command::new(&tool).arg(argument))?;
    let rate = bytes as f64 / 1e6 / stopwatch.elapsed().as_secs_f64();
    println!(
        "{name:<21} {rate:>10.0} MB/s   {} (≥ {MEGABYTES_PER_SECOND_MIN})",
        verdict(MEGABYTES_PER_SECOND_MIN <= rate)
    );
    Ok(())
}
