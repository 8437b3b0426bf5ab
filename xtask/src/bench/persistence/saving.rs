//! Saving and loading: how long a save in the background takes under a load of writes, how long others wait meanwhile, how
//! much memory it takes, and how long the same file takes to load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rubine_testing::server::Server;

use super::start;
use crate::Failure;
use crate::bench::data::{member, score, words};
use crate::bench::latency::{probe_during, quantiles};
use crate::bench::load::{fill, info_number, memory_field, resident_bytes};
use crate::bench::{Bench, Contender, verdict};
use crate::clock::Stopwatch;

const SAVE_RATIO_MAX: f64 = 1.0;
const LOAD_RATIO_MAX: f64 = 0.6;
const EXTRA_P99_MAX: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_millis(10);
/// What a save may take beyond what was overwritten meanwhile, as a part of the data set.
const EXTRA_MEMORY_MAX: f64 = 0.1;

/// Clients that write while a save goes on.
const WRITERS: &str = "50";
/// How long others are watched without a save, to know what they wait anyway.
const QUIET: Duration = Duration::from_secs(3);

/// What was measured of one server.
struct Outcome {
    save: Duration,
    quiet_p99: Duration,
    p99: Duration,
    max: Duration,
    /// Resident memory before the save, and the most that it was.
    before: u64,
    peak: u64,
    /// Bytes that were written by clients while the save went on, about.
    overwritten: u64,
    load: Duration,
}

/// What is saved and loaded.
pub(super) struct DataSet {
    pub(super) name: &'static str,
    /// Keys for one that is asked for.
    pub(super) share: f64,
    pub(super) request: fn(u64) -> Vec<String>,
}

pub(super) const STRINGS: DataSet = DataSet {
    name: "strings of 64 bytes",
    share: 1.0,
    request: |number| vec!["SET".to_owned(), format!("key:{number:012}"), "x".repeat(64)],
};

/// Some ten elements in a collection.
pub(super) const ALL_TYPES: DataSet =
    DataSet { name: "keys of all types", share: 0.2, request: of_any_type };

fn of_any_type(number: u64) -> Vec<String> {
    const ELEMENTS: u64 = 10;
    let elements = number..number + ELEMENTS;
    let key = format!("key:{number:012}");
    let with_each = |command: &str, words_of: fn(u64) -> Vec<String>| {
        let start = words(&[command, &key]).into_iter();
        start.chain(elements.clone().flat_map(words_of)).collect()
    };
    match number % 8 {
        0 => words(&["SET", &key, &"x".repeat(64), "EX", "1000000"]),
        1 => words(&["SET", &key, &number.to_string()]),
        2 => with_each("RPUSH", |it| vec![format!("job:{it:09}")]),
        3 => with_each("HSET", |it| vec![format!("field:{it}"), format!("value:{it:09}")]),
        4 => with_each("SADD", |it| vec![member(it)]),
        5 => with_each("SADD", |it| vec![score(it).to_string()]),
        6 => with_each("ZADD", |it| vec![score(it).to_string(), member(it)]),
        _ => words(&["XADD", &format!("stream:{}", number / 800), "*", "job", &member(number)]),
    }
}

pub(super) fn run(bench: &Bench, data: &DataSet) -> Result<(), Failure> {
    let keys = (bench.scaled(bench.keys) as f64 * data.share) as u64;
    println!("persistence: {keys} {}, {WRITERS} clients that write", data.name);
    let mut outcomes = Vec::new();
    for contender in &bench.contenders {
        let outcome = measure(bench, contender, data, keys)?;
        print_outcome(contender, &outcome);
        outcomes.push(outcome);
    }
    let [ours, peer] = &outcomes[..] else { return Ok(()) };
    let ratio = |ours: Duration, peer: Duration| ours.as_secs_f64() / peer.as_secs_f64();
    let (save, load) = (ratio(ours.save, peer.save), ratio(ours.load, peer.load));
    println!(
        "save: {save:.2} of the peer's time   {} (≤ {SAVE_RATIO_MAX})",
        verdict(save <= SAVE_RATIO_MAX)
    );
    println!(
        "load: {load:.2} of the peer's time   {} (≤ {LOAD_RATIO_MAX})",
        verdict(load <= LOAD_RATIO_MAX)
    );
    let extra = ours.p99.saturating_sub(ours.quiet_p99);
    println!(
        "p99: {:.2} ms more than without   {}",
        millis(extra),
        verdict(extra <= EXTRA_P99_MAX)
    );
    println!("max: {:.2} ms   {}", millis(ours.max), verdict(ours.max <= WAIT_MAX));
    let grown = ours.peak.saturating_sub(ours.before);
    let allowed = ours.overwritten as f64 + ours.before as f64 * EXTRA_MEMORY_MAX;
    println!(
        "memory: {:.0} MB more, of which {:.0} MB may be what was overwritten   {}",
        megabytes(grown),
        megabytes(ours.overwritten),
        verdict(grown as f64 <= allowed)
    );
    Ok(())
}

fn measure(
    bench: &Bench,
    contender: &Contender,
    data: &DataSet,
    keys: u64,
) -> Result<Outcome, Failure> {
    let mut server = start(contender, &[])?;
    fill(server.address(), 0..keys, data.request)?;
    server.client().call(&["SET", "probe", "value"])?;
    let mut load = writers(&bench.benchmark, &server, keys)?;
    let mut quiet = probe_during(server.address(), &["GET", "probe"], || {
        std::thread::sleep(QUIET);
        Ok(())
    })?;
    let (pid, mut client) = (server.pid(), server.client());
    let before = resident_bytes(pid)?;
    let commands_before = info_number(&mut client, "total_commands_processed")?;
    let mut peak = before;
    let mut save = Duration::ZERO;
    let mut waits = probe_during(server.address(), &["GET", "probe"], || {
        let stopwatch = Stopwatch::start();
        client.run("BGSAVE")?;
        loop {
            std::thread::sleep(Duration::from_millis(20));
            peak = peak.max(resident_of_family(pid)?);
            if info_number(&mut client, "rdb_bgsave_in_progress")? == 0 {
                break;
            }
        }
        save = stopwatch.elapsed();
        Ok(())
    })?;
    let commands = info_number(&mut client, "total_commands_processed")? - commands_before;
    // Ends with the load, which has no end of its own.
    let _ = load.kill();
    let _ = load.wait();
    // A file of data at rest, so that both load the same number of keys.
    let saved = client.run("SAVE")?;
    if saved != "OK" {
        return Err(format!("SAVE: {saved}").into());
    }
    let file = server.directory().join("dump.rdb");
    let load = time_load(&mut server, &file)?;
    let (p99, max) = quantiles(&mut waits);
    let (quiet_p99, _) = quantiles(&mut quiet);
    let overwritten = commands * (64 + 16 + 16);
    Ok(Outcome { save, quiet_p99, p99, max, before, peak, overwritten, load })
}

/// Clients that overwrite random keys until they are killed.
fn writers(benchmark: &Path, server: &Server, keys: u64) -> Result<std::process::Child, Failure> {
    let child = Command::new(benchmark)
        .args(["-p", &server.address().port().to_string(), "-c", WRITERS, "-n", "1000000000"])
        .args(["-r", &keys.to_string(), "-d", "64", "-q", "SET", "key:__rand_int__", "__data__"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(child)
}

/// From the start of the program until it answers with data.
pub(super) fn time_load(server: &mut Server, file: &PathBuf) -> Result<Duration, Failure> {
    server.kill();
    // The file is read once before, so that neither server pays for a cold disk.
    drop(fs::read(file)?);
    let stopwatch = Stopwatch::start();
    server.restart()?;
    Ok(stopwatch.elapsed())
}

/// As `resident_bytes`, but what processes share is divided among them. Looking costs the process itself some time.
fn proportional_bytes(pid: u32) -> Result<u64, Failure> {
    memory_field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// The memory of a process and of those that it has forked.
fn resident_of_family(pid: u32) -> Result<u64, Failure> {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    if children.trim().is_empty() {
        return resident_bytes(pid);
    }
    let mut sum = proportional_bytes(pid)?;
    for child in children.split_whitespace() {
        // It may have ended meanwhile.
        sum += child.parse().ok().and_then(|it| proportional_bytes(it).ok()).unwrap_or(0);
    }
    Ok(sum)
}

fn print_outcome(contender: &Contender, outcome: &Outcome) {
    let Outcome { save, quiet_p99, p99, max, before, peak, overwritten, load } = outcome;
    println!(
        "{:<5} save {:.2} s, load {:.2} s; a GET waits p99 {:.2} ms (without a save {:.2}), max {:.2}; \
         memory {:.0} MB, at most {:.0}; {:.0} MB overwritten",
        contender.name,
        save.as_secs_f64(),
        load.as_secs_f64(),
        millis(*p99),
        millis(*quiet_p99),
        millis(*max),
        megabytes(*before),
        megabytes(*peak),
        megabytes(*overwritten),
    );
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
