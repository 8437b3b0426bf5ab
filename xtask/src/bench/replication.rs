//! What replicas cost: how long a full sync takes, how long clients of the master wait meanwhile and how much memory it takes,
//! and what ten replicas of one master take for its backlog. Both servers of a pair and the clients have both cores.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rubine_testing::client::Client;
use rubine_testing::server::{Server, ServerOptions};

use super::asked::Asked;
use super::latency::{probe_during, quantiles};
use super::load::{fill, info_number, resident_bytes};
use super::{Bench, Contender, verdict};
use crate::Failure;
use crate::clock::Stopwatch;

const CORES: &str = "0-1";
const SYNC_RATIO_MAX: f64 = 0.6;
const EXTRA_P99_MAX: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_millis(10);
/// What the master may take for a sync while nobody writes, as a part of what it has.
const EXTRA_MEMORY_MAX: f64 = 0.05;
/// What ten replicas may take more than one.
const TEN_RATIO_MAX: f64 = 1.01;
const QUIET: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(10);
const BACKLOG: &str = "32mb";
/// Writes of a kilobyte each, twice as many as the backlog has room for.
const STREAM_WRITES: u64 = 64 * 1024;

struct Row {
    name: &'static str,
    run: fn(&Bench) -> Result<(), Failure>,
}

const ROWS: [Row; 2] =
    [Row { name: "full sync", run: full_sync }, Row { name: "ten replicas", run: ten_replicas }];

pub(super) fn rows() -> Vec<&'static str> {
    ROWS.iter().map(|row| row.name).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    asked.of_rows(&ROWS, |row| row.name).into_iter().try_for_each(|row| (row.run)(bench))
}

fn start(contender: &Contender, directives: &[(&str, &str)]) -> Result<Server, Failure> {
    let workers = if contender.own_directives { "workers" } else { "io-threads" };
    let options = ServerOptions::new(&contender.program)
        .with(workers, "2")
        .with("repl-diskless-sync-delay", "0")
        .with("save", "");
    let options = directives.iter().fold(options, |it, (name, value)| it.with(name, value));
    Ok(options.behind(&["taskset", "--cpu-list", CORES]).start()?)
}

/// What was measured of one pair.
struct Outcome {
    sync: Duration,
    quiet_p99: Duration,
    p99: Duration,
    max: Duration,
    before: u64,
    peak: u64,
}

fn full_sync(bench: &Bench) -> Result<(), Failure> {
    let keys = bench.scaled(bench.keys);
    println!(
        "replication: a full sync of {keys} strings of 64 bytes, until the replica has all of them"
    );
    let mut outcomes = Vec::new();
    for contender in &bench.contenders {
        let outcome = measure_sync(contender, keys)?;
        let Outcome { sync, quiet_p99, p99, max, before, peak } = &outcome;
        println!(
            "{:<5} {:.2} s; a GET on the master waits p99 {:.2} ms (without a sync {:.2}), max {:.2}; memory of the master \
             {:.0} MB, at most {:.0}",
            contender.name,
            sync.as_secs_f64(),
            millis(*p99),
            millis(*quiet_p99),
            millis(*max),
            megabytes(*before),
            megabytes(*peak),
        );
        outcomes.push(outcome);
    }
    let [ours, peer] = &outcomes[..] else { return Ok(()) };
    let ratio = ours.sync.as_secs_f64() / peer.sync.as_secs_f64();
    println!(
        "sync: {ratio:.2} of the peer's time   {} (≤ {SYNC_RATIO_MAX})",
        verdict(ratio <= SYNC_RATIO_MAX)
    );
    let extra = ours.p99.saturating_sub(ours.quiet_p99);
    println!(
        "p99: {:.2} ms more than without   {}",
        millis(extra),
        verdict(extra <= EXTRA_P99_MAX)
    );
    println!("max: {:.2} ms   {}", millis(ours.max), verdict(ours.max <= WAIT_MAX));
    let grown = ours.peak.saturating_sub(ours.before) as f64 / ours.before as f64;
    println!(
        "memory of the master: {:.1} % more   {} (≤ {:.0} %)",
        grown * 100.0,
        verdict(grown <= EXTRA_MEMORY_MAX),
        EXTRA_MEMORY_MAX * 100.0
    );
    Ok(())
}

fn measure_sync(contender: &Contender, keys: u64) -> Result<Outcome, Failure> {
    let (master, replica) = (start(contender, &[])?, start(contender, &[])?);
    let request = |number| vec!["SET".to_owned(), format!("key:{number:012}"), "x".repeat(64)];
    fill(master.address(), 0..keys, request)?;
    master.client().call(&["SET", "probe", "value"])?;
    let mut quiet = probe_during(master.address(), &["GET", "probe"], || {
        std::thread::sleep(QUIET);
        Ok(())
    })?;
    let (pid, mut client) = (master.pid(), replica.client());
    let before = resident_bytes(pid)?;
    let mut peak = before;
    let mut sync = Duration::ZERO;
    let port = master.address().port().to_string();
    let mut waits = probe_during(master.address(), &["GET", "probe"], || {
        let stopwatch = Stopwatch::start();
        client.call(&["REPLICAOF", "127.0.0.1", &port])?;
        while !has_all(&mut client, keys + 1)? {
            std::thread::sleep(LOOK);
            peak = peak.max(resident_bytes(pid)?);
        }
        sync = stopwatch.elapsed();
        Ok(())
    })?;
    let (p99, max) = quantiles(&mut waits);
    let (quiet_p99, _) = quantiles(&mut quiet);
    Ok(Outcome { sync, quiet_p99, p99, max, before, peak })
}

/// Whether a replica is in order and has so many keys.
fn has_all(client: &mut Client, keys: u64) -> Result<bool, Failure> {
    let info = client.call(&["INFO", "replication"])?.as_text().unwrap_or_default();
    if !info.contains("master_link_status:up") {
        return Ok(false);
    }
    let count = client.call(&["DBSIZE"])?.as_integer().unwrap_or_default();
    if count as u64 == keys {
        return Ok(true);
    }
    Err(format!("the replica has {count} keys, the master {keys}").into())
}

fn ten_replicas(bench: &Bench) -> Result<(), Failure> {
    println!("replication: memory of a master after a stream, with a backlog of {BACKLOG}");
    for contender in &bench.contenders {
        let (one, ten) = (stream_bytes(contender, 1)?, stream_bytes(contender, 10)?);
        let ratio = ten as f64 / one as f64;
        let verdict = if contender.own_directives {
            format!("{} (≤ {TEN_RATIO_MAX})", verdict(ratio <= TEN_RATIO_MAX))
        } else {
            String::new()
        };
        println!(
            "{:<5} one replica {:.2} MB, ten {:.2} MB, {ratio:.3}   {verdict}",
            contender.name,
            megabytes(one),
            megabytes(ten)
        );
    }
    Ok(())
}

/// What a master takes more after it has sent a stream to so many replicas.
fn stream_bytes(contender: &Contender, replicas: usize) -> Result<u64, Failure> {
    let master = start(contender, &[("repl-backlog-size", BACKLOG)])?;
    let mut client = master.client();
    let request =
        |number: u64| vec!["SET".to_owned(), format!("key:{:03}", number % 1000), "x".repeat(1024)];
    fill(master.address(), 0..1000, request)?;
    let before = info_number(&mut client, "used_memory")?;
    let mut threads = Vec::new();
    for _ in 0..replicas {
        let mut stream = TcpStream::connect(master.address())?;
        // The words of before PSYNC: nothing is to be said after that.
        stream.write_all(b"SYNC\r\n")?;
        threads.push(std::thread::spawn(move || drain(&mut stream)));
    }
    let is_online = |client: &mut Client| -> Result<bool, Failure> {
        let info = client.call(&["INFO", "replication"])?.as_text().unwrap_or_default();
        Ok(info.matches("state=online").count() == replicas)
    };
    while !is_online(&mut client)? {
        std::thread::sleep(LOOK);
    }
    fill(master.address(), 0..STREAM_WRITES, request)?;
    // What replicas have not taken yet, and what goes with the clock.
    std::thread::sleep(QUIET);
    let after = info_number(&mut client, "used_memory")?;
    drop(master);
    for thread in threads {
        thread.join().map_err(|_| "a replica has panicked")?;
    }
    Ok(after.saturating_sub(before).max(1))
}

/// Takes all that comes.
fn drain(stream: &mut TcpStream) {
    let mut bytes = vec![0; 256 * 1024];
    while stream.read(&mut bytes).is_ok_and(|count| count != 0) {}
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
