//! `cargo xtask bench`: our server against a real Valkey on this machine, turn by turn, so that what slows one slows both.
//! Only ratios of one run are worth comparing; the absolute numbers belong to the machine.

mod latency;
mod load;
mod memory;
mod persistence;
mod scaling;
mod throughput;

use std::path::PathBuf;
use std::process::Command;

use rubine_testing::server::{Server, ServerOptions};

use crate::process::{find_program, output};
use crate::{Failure, build, compat, peer};

/// Where the server runs, and where the load comes from.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// throughput, memory, latency, scaling, persistence, or a throughput test's name such as set; all of them by default
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
    find_program("taskset").ok_or("`taskset` is needed to pin processes")?;
    let bench = Bench {
        contenders: [
            Contender::new("ours", our_server(options)?),
            Contender::new("peer", peer_server(options)?),
        ],
        benchmark: benchmark_program()?,
        quick: options.quick,
    };
    pin_this_process()?;
    let is_asked =
        |name: &str| options.names.is_empty() || options.names.iter().any(|asked| asked == name);
    let tests: Vec<_> = throughput::TESTS
        .iter()
        .filter(|test| is_asked("throughput") || is_asked(test.name))
        .collect();
    let known = ["throughput", "memory", "latency", "scaling", "persistence"];
    let is_known = |name: &String| {
        known.contains(&name.as_str()) || throughput::TESTS.iter().any(|test| test.name == name)
    };
    if let Some(unknown) = options.names.iter().find(|name| !is_known(name)) {
        return Err(format!("no benchmark is called `{unknown}`").into());
    }
    if !tests.is_empty() {
        throughput::run(&bench, &tests, &options.pipeline)?;
    }
    if is_asked("memory") {
        memory::run(&bench)?;
    }
    if is_asked("latency") {
        latency::run(&bench)?;
    }
    if is_asked("scaling") {
        scaling::run(&bench)?;
    }
    if is_asked("persistence") {
        persistence::run(&bench, options.keys)?;
    }
    Ok(())
}

/// What every benchmark needs to know.
struct Bench {
    /// Ours, then the other.
    contenders: [Contender; 2],
    /// The load generator.
    benchmark: PathBuf,
    quick: bool,
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
        Some(server) => Ok(server.clone()),
        None => build::server("release"),
    }
}

fn peer_server(options: &Options) -> Result<PathBuf, Failure> {
    match options.peer.clone().or_else(|| peer::valkey_program("valkey-server")) {
        Some(server) => Ok(server),
        None => Ok(compat::prepare()?.join("src/valkey-server")),
    }
}

fn benchmark_program() -> Result<PathBuf, Failure> {
    match peer::valkey_program("valkey-benchmark") {
        Some(program) => Ok(program),
        None => Ok(compat::prepare()?.join("src/valkey-benchmark")),
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
