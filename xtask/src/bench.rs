//! `cargo xtask bench`: our server against a real Valkey on this machine, turn by turn, so that what slows one slows both.
//! Only ratios of one run are worth comparing; the absolute numbers belong to the machine.

mod algebra;
mod asked;
mod data;
mod fragmentation;
mod latency;
mod load;
mod memory;
mod persistence;
mod replication;
mod scaling;
mod sweep;
mod tenants;
mod throughput;
mod watched;

use std::path::PathBuf;
use std::process::Command;

use asked::{Asked, names, slug};
use rubine_testing::server::{Server, ServerOptions};

use crate::compat::{self, Family};
use crate::process::{find_program, output};
use crate::{Failure, build, peer};

/// Where the server runs, and where the load comes from.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Modes (throughput, algebra, memory, fragmentation, latency, scaling, persistence, replication,
    /// tenants, watched, sweep), or rows of them: set,
    /// zset-of-1m, latency/xrange-1m; everything but sweep by default
    names: Vec<String>,
    /// Our server, instead of building it
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// The server to compare with, instead of Valkey
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// A tenth of the data and one round: enough to see that something broke
    #[arg(long)]
    quick: bool,
    /// Keys of persistence
    #[arg(long, default_value_t = 5_000_000)]
    keys: u64,
    /// Pipeline depths of throughput
    #[arg(long, value_delimiter = ',', default_values_t = [64, 16, 1])]
    pipeline: Vec<u32>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    check_names(&options.names)?;
    find_program("taskset").ok_or("`taskset` is needed to pin processes")?;
    let bench = Bench {
        contenders: [
            Contender::new("ours", our_server(options)?),
            Contender::new("peer", peer_server(options)?),
        ],
        benchmark: benchmark_program()?,
        quick: options.quick,
        keys: options.keys,
        pipelines: options.pipeline.clone(),
    };
    pin_this_process()?;
    for mode in &MODES {
        let asked = Asked::of(mode.name, &options.names);
        let is_chosen = mode.name != SWEEP || !options.names.is_empty();
        if is_chosen && (mode.rows)().iter().any(|row| asked.has(row)) {
            (mode.run)(&bench, &asked)?;
        }
    }
    Ok(())
}

/// One topic, whose rows are run together or one by one.
struct Mode {
    name: &'static str,
    rows: fn() -> Vec<&'static str>,
    /// Runs those rows that are asked for.
    run: fn(&Bench, &Asked<'_>) -> Result<(), Failure>,
}

/// Runs only if it is asked for: it looks at what other modes measure with care.
const SWEEP: &str = "sweep";

const MODES: [Mode; 11] = [
    Mode { name: "throughput", rows: throughput::rows, run: throughput::run },
    Mode { name: "algebra", rows: algebra::rows, run: algebra::run },
    Mode { name: "memory", rows: memory::rows, run: memory::run },
    Mode { name: "fragmentation", rows: fragmentation::rows, run: fragmentation::run },
    Mode { name: "latency", rows: latency::rows, run: latency::run },
    Mode { name: "scaling", rows: scaling::rows, run: scaling::run },
    Mode { name: "persistence", rows: persistence::rows, run: persistence::run },
    Mode { name: "replication", rows: replication::rows, run: replication::run },
    Mode { name: "tenants", rows: tenants::rows, run: tenants::run },
    Mode { name: "watched", rows: watched::rows, run: watched::run },
    Mode { name: SWEEP, rows: sweep::rows, run: sweep::run },
];

/// Refuses a name that stands for no row, before anything runs.
fn check_names(asked: &[String]) -> Result<(), Failure> {
    let stands_for_a_row = |name: &String| {
        MODES.iter().any(|mode| (mode.rows)().iter().any(|row| names(name, mode.name, row)))
    };
    let Some(unknown) = asked.iter().find(|name| !stands_for_a_row(name)) else { return Ok(()) };
    let modes = MODES.iter().map(|mode| {
        let rows: Vec<_> = (mode.rows)().iter().map(|row| slug(row)).collect();
        format!("\n  {}: {}", mode.name, rows.join(" "))
    });
    let known: String = modes.collect();
    Err(format!("no benchmark is called `{unknown}`; there are{known}").into())
}

/// What every benchmark needs to know.
struct Bench {
    /// Ours, then the other.
    contenders: [Contender; 2],
    /// The load generator.
    benchmark: PathBuf,
    quick: bool,
    /// Keys of persistence.
    keys: u64,
    /// Depths of throughput.
    pipelines: Vec<u32>,
}

struct Contender {
    name: &'static str,
    program: PathBuf,
    /// Whether it knows our own directives.
    own_directives: bool,
}

impl Bench {
    /// A tenth of `count` in a quick run.
    fn scaled(&self, count: u64) -> u64 {
        if self.quick { count / 10 } else { count }
    }

    /// An odd number, so that there is a middle one.
    fn rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }
}

impl Contender {
    /// Any program may take either place, so that two builds of ours can be compared, or Valkey with itself.
    fn new(name: &'static str, program: PathBuf) -> Self {
        let own_directives = program.file_name().is_some_and(|name| name == "rubine-server");
        Self { name, program, own_directives }
    }

    /// Starts it with one worker on the server's core.
    fn start(&self) -> Result<Server, Failure> {
        self.start_on(SERVER_CORE, 1)
    }

    fn start_on(&self, cores: &str, workers: u32) -> Result<Server, Failure> {
        let directive = if self.own_directives { "workers" } else { "io-threads" };
        let options = ServerOptions::new(&self.program)
            .with(directive, &workers.to_string())
            .behind(&["taskset", "--cpu-list", cores]);
        Ok(options.start()?)
    }
}

fn our_server(options: &Options) -> Result<PathBuf, Failure> {
    match &options.server {
        Some(server) => Ok(std::path::absolute(server)?),
        None => build::server("release"),
    }
}

fn peer_server(options: &Options) -> Result<PathBuf, Failure> {
    match options.peer.clone().or_else(|| peer::valkey_program("valkey-server")) {
        // Servers are started in folders of their own.
        Some(server) => Ok(std::path::absolute(server)?),
        None => Ok(compat::prepare(Family::Valkey)?.join("src/valkey-server")),
    }
}

fn benchmark_program() -> Result<PathBuf, Failure> {
    match peer::valkey_program("valkey-benchmark") {
        Some(program) => Ok(program),
        None => Ok(compat::prepare(Family::Valkey)?.join("src/valkey-benchmark")),
    }
}

/// Where a value must lie, and whether it does.
fn verdict(is_met: bool) -> &'static str {
    if is_met { "ok" } else { "MISSED" }
}

/// Our own clients are load too, and must not take the server's core.
fn pin_this_process() -> Result<(), Failure> {
    let pid = std::process::id().to_string();
    output(Command::new("taskset").args(["--cpu-list", "--pid", CLIENT_CORE, &pid]))?;
    Ok(())
}
