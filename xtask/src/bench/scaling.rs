//! What a second worker costs: processor time per request of two workers on two cores against one worker on one.

use std::process::{Child, Command, Stdio};

use super::asked::Asked;
use super::load::{ProcessorTime, fill, median};
use super::{Bench, CLIENT_CORE, SERVER_CORE, verdict};
use crate::Failure;

const KEYS: u64 = 1_000_000;
const COST_MAX: f64 = 1.3;

struct Mix {
    name: &'static str,
    /// Extra arguments of both load generators.
    arguments: &'static [&'static str],
}

/// Without `-r`, valkey-benchmark uses one key for everything.
const MIXES: [Mix; 2] = [
    Mix { name: "1M keys", arguments: &["-r", "1000000"] },
    Mix { name: "one hot key", arguments: &[] },
];

pub(super) fn rows() -> Vec<&'static str> {
    MIXES.iter().map(|mix| mix.name).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    println!(
        "{:<14} {:>10} {:>10} {:>6}   cpu ns per GET or SET, by workers",
        "scaling", "1", "2", "ratio"
    );
    let [ours, _] = &bench.contenders;
    let both_cores = format!("{SERVER_CORE},{CLIENT_CORE}");
    for mix in asked.of_rows(&MIXES, |mix| mix.name) {
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..bench.rounds() {
            for (workers, costs) in (1..).zip(&mut costs) {
                let cores = if workers == 1 { SERVER_CORE } else { &both_cores };
                let server = ours.start_on(cores, workers)?;
                let set =
                    |number| vec!["SET".to_owned(), format!("key:{number:012}"), "x".repeat(64)];
                fill(server.address(), 0..bench.scaled(KEYS), set)?;
                let start = ProcessorTime::of(server.pid())?;
                let client_cores = if workers == 1 { CLIENT_CORE } else { &both_cores };
                let requests = load(bench, server.address().port(), mix, client_cores)?;
                let used = ProcessorTime::of(server.pid())?.since(start);
                costs.push(used.total().as_secs_f64() * 1e9 / requests as f64);
            }
        }
        let [one, two] = costs.map(|costs| median(&costs));
        let ratio = two / one;
        println!(
            "{:<14} {one:>10.0} {two:>10.0} {ratio:>6.2}   {} (≤ {COST_MAX})",
            mix.name,
            verdict(ratio <= COST_MAX)
        );
    }
    Ok(())
}

/// Runs a reader and a writer at the same time and gives the number of requests of both.
fn load(bench: &Bench, port: u16, mix: &Mix, cores: &str) -> Result<u64, Failure> {
    let requests = bench.scaled(2_000_000);
    let start = |test: &str| -> Result<Child, Failure> {
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", cores])
            .arg(&bench.benchmark)
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "--csv",
                "-c",
                "25",
                "-d",
                "64",
                "-P",
                "16",
            ])
            .args(["-n", &requests.to_string(), "-t", test])
            .args(mix.arguments);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?)
    };
    let children = [start("get")?, start("set")?];
    for mut child in children {
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("valkey-benchmark: {status}").into());
        }
    }
    Ok(2 * requests)
}
