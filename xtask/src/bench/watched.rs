//! Throughput while somebody watches: SET and GET with one client that reads what MONITOR sends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rubine_testing::server::Server;

use super::asked::Asked;
use super::load::{Load, median, rate};
use super::{Bench, verdict};
use crate::Failure;

/// Our rate in terms of the peer's.
const RATIO_MIN: f64 = 2.0;

const REQUESTS: u64 = 1_000_000;
const PIPELINE: u32 = 16;
/// The reader ends when the server does.
const READ_BYTES: usize = 256 * 1024;

struct Row {
    name: &'static str,
    test: &'static str,
}

const ROWS: [Row; 2] =
    [Row { name: "SET monitored", test: "set" }, Row { name: "GET monitored", test: "get" }];

pub(super) fn rows() -> Vec<&'static str> {
    ROWS.iter().map(|row| row.name).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    println!(
        "{:<14} {:>10} {:>10} {:>6}   requests per second with one reader of MONITOR",
        "watched", "ours/s", "peer/s", "ratio"
    );
    for row in asked.of_rows(&ROWS, |row| row.name) {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..bench.rounds() {
            for (contender, rates) in bench.contenders.iter().zip(&mut rates) {
                let server = contender.start()?;
                watch(&server)?;
                let words = ["-t", row.test];
                let load = Load::new(&words, bench.scaled(REQUESTS), PIPELINE);
                rates.push(rate(bench, &server, &load)?);
            }
        }
        let [ours, peer] = rates.map(|it| median(&it));
        let ratio = ours / peer;
        println!(
            "{:<14} {ours:>10.0} {peer:>10.0} {ratio:>6.2}   {} (≥ {RATIO_MIN})",
            row.name,
            verdict(RATIO_MIN <= ratio)
        );
    }
    Ok(())
}

/// Has a thread read what MONITOR sends until the server ends.
fn watch(server: &Server) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(server.address())?;
    stream.write_all(b"MONITOR\r\n")?;
    stream.set_read_timeout(Some(Duration::from_secs(100)))?;
    let mut bytes = vec![0; READ_BYTES];
    std::thread::spawn(move || while matches!(stream.read(&mut bytes), Ok(1..)) {});
    Ok(())
}
