//! `cargo xtask partitions`: a cluster of ours whose nodes are processes in network namespaces of their own, while the ways between
//! them are cut, both there and back or one way only, a primary is stopped for longer than the node timeout, killed, or finds its disk full.
//! A minority takes no writes after the timeout; with `write-quorum 1`, nothing that was confirmed is gone in the end; all nodes
//! say the same of the cluster then. Needs root; where namespaces are not to be had it says so and passes over.

mod mishaps;
mod network;
mod stage;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use self::mishaps::MISHAPS;
use self::stage::Stage;
use crate::build;
use crate::clock::Stopwatch;
use crate::clusters::lists::{self, Confirmation, Writers};
use crate::process::{find_program, output_of_both};
use crate::{Failure, process};

/// Says that the process is in the namespaces that the network is to be made in.
const INSIDE: &str = "PARTITIONS_INSIDE";
/// What is needed of the system: namespaces, a bridge and pairs of devices. What names of namespaces are kept in is hidden.
const PREPARE: &str = "mount -t tmpfs none /run && ip link add probe type bridge && ip link del probe \
                       && ip link add probe type veth peer name other && ip link del probe";

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Begins no further mishap after so many seconds
    #[arg(long)]
    budget: Option<u64>,
    /// Only mishaps whose name contains this text
    #[arg(long)]
    only: Option<String>,
    /// The server, instead of one built for it
    #[arg(long)]
    server: Option<PathBuf>,
}

impl Options {
    /// All mishaps, as far as the time goes.
    pub(crate) fn for_every_change(budget: u64) -> Self {
        Self { budget: Some(budget), only: None, server: None }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let server = build::server_or(options.server.as_deref(), "dev")?;
    if std::env::var_os(INSIDE).is_some() {
        return play(options, &server);
    }
    if let Err(reason) = probe() {
        println!("partitions: left out, since network namespaces are not to be had: {reason}");
        return Ok(());
    }
    let mut command = unshare();
    command.arg("sh").args(["-c", &format!("{PREPARE} && exec \"$@\""), "sh"]);
    command.arg(std::env::current_exe()?).arg("partitions").arg("--server").arg(server);
    command.args(options.only.iter().flat_map(|it| ["--only", it]));
    command.args(options.budget.iter().flat_map(|it| ["--budget".to_owned(), it.to_string()]));
    process::run(command.env(INSIDE, "1"))
}

/// Why there can be no network of our own.
fn probe() -> Result<(), String> {
    for name in ["unshare", "ip"] {
        find_program(name).ok_or_else(|| format!("there is no `{name}`"))?;
    }
    let probed = output_of_both(unshare().args(["sh", "-c", PREPARE]));
    probed.map(drop).map_err(|failure| {
        let text = failure.to_string();
        text.lines().next().unwrap_or("it is not permitted").to_owned()
    })
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    command
}

fn play(options: &Options, server: &std::path::Path) -> Result<(), Failure> {
    let mut stage = Stage::set(server)?;
    let is_wanted = |name: &str| options.only.as_ref().is_none_or(|it| name.contains(it.as_str()));
    let watch = Stopwatch::start();
    let budget = options.budget.map_or(Duration::MAX, Duration::from_secs);
    let writers = Writers::start(&stage.nodes, 1, Confirmation::Reply);
    let mut told = Ok(());
    for (name, mishap) in MISHAPS.iter().filter(|it| is_wanted(it.0)) {
        if budget <= watch.elapsed() {
            println!("partitions: no time for: {name}");
            continue;
        }
        let mishap_watch = Stopwatch::start();
        told = mishap(&mut stage).and_then(|told| {
            stage.settle()?;
            let seconds = mishap_watch.elapsed().as_secs();
            println!("partitions: {name}: {told}; well again, {seconds} s in all");
            Ok(())
        });
        if let Err(failure) = told {
            told = Err(format!("partitions: {name}: {failure}\n{}", stage.logs()).into());
            break;
        }
    }
    stage.network.heal()?;
    let confirmed = writers.stop()?;
    told?;
    lists::check(&stage.nodes, &confirmed)
        .map_err(|failure| format!("partitions: {failure}\n{}", stage.logs()))?;
    println!("partitions: {} confirmed writes are there once", confirmed.len());
    Ok(())
}
