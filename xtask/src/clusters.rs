//! `cargo xtask clusters`: clusters of our nodes and of Valkey's, each with replicas of the other family. They are written to
//! while replicas take their primaries' places, nodes are killed, and slots are moved to and fro. In the end everything that
//! was confirmed is there, once.

pub(crate) mod lists;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::cluster;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use self::lists::{Confirmation, Writers};
use crate::Failure;
use crate::build;
use crate::clock::Stopwatch;
use crate::peer::valkey_program;

/// Between two mishaps.
const QUIET: Duration = Duration::from_millis(700);
/// For so long all may take to be well again.
const SETTLE_SECONDS: u64 = 60;
/// Slots that move together by themselves.
const SLOTS_AT_ONCE_MAX: u16 = 200;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for which each cluster is written to
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Another row of mishaps
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The server, instead of one built for it
    #[arg(long)]
    server: Option<PathBuf>,
    /// Only clusters whose name contains this text
    #[arg(long)]
    only: Option<String>,
}

impl Options {
    /// So many seconds of each cluster, with other mishaps each time.
    pub(crate) fn for_every_change(seconds: u64) -> Self {
        let seed = rubine_base::random::seed_from_os() % 1_000_000;
        Self { seconds, seed, server: None, only: None }
    }
}

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rubine,
    Valkey,
}

/// Three primaries, and a replica of each.
const CLUSTERS: &[(&str, [Family; 6])] = {
    use Family::{Rubine, Valkey};
    &[
        ("ours", [Rubine, Rubine, Rubine, Rubine, Rubine, Rubine]),
        ("crosswise", [Rubine, Rubine, Valkey, Valkey, Rubine, Rubine]),
    ]
};

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let ours = build::server_or(options.server.as_deref(), "dev")?;
    let mut failures = Vec::new();
    for (name, families) in CLUSTERS {
        if options.only.as_ref().is_some_and(|it| !name.contains(it.as_str())) {
            continue;
        }
        let program = |family: &Family| match family {
            Family::Rubine => Some(ours.clone()),
            Family::Valkey => valkey_program("valkey-server"),
        };
        let programs: Option<Vec<_>> = families.iter().map(program).collect();
        let Some(programs) = programs else {
            println!("clusters: {name}: left out, since a server is not at hand");
            continue;
        };
        match play(options, &programs) {
            Ok(told) => println!("clusters: {name}: {told}"),
            Err(failure) => {
                failures.push(format!("clusters: {name}, --seed {}: {failure}", options.seed));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Plays one cluster; returns what happened in it.
fn play(options: &Options, programs: &[PathBuf]) -> Result<String, Failure> {
    let nodes = programs.iter().map(|it| cluster::node(it));
    let mut nodes = start(nodes.collect::<Result<_, _>>()?)?;
    let writers = Writers::start(&nodes, options.seed, Confirmation::Wait);
    let outcome = disturb(options, &mut nodes);
    let confirmed = writers.stop()?;
    let happened = outcome?;
    settle(&nodes)?;
    lists::check(&nodes, &confirmed)?;
    Ok(format!("{} confirmed writes are there once; {happened}", confirmed.len()))
}

/// Starts three primaries, and then a replica of each.
pub(crate) fn start(options: Vec<ServerOptions>) -> Result<Vec<Server>, Failure> {
    let nodes = options.into_iter().map(ServerOptions::start).collect::<Result<Vec<_>, _>>()?;
    for (node, range) in nodes.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]]) {
        node.client().call(&["CLUSTER", "ADDSLOTSRANGE", range[0], range[1]])?;
    }
    for node in &nodes[1..] {
        cluster::meet(&nodes[0], node)?;
    }
    let primaries = nodes.len() / 2;
    for (index, replica) in nodes[primaries..].iter().enumerate() {
        let primary = cluster::id(&nodes[index])?;
        wait("a replica takes its primary", || {
            let reply = replica.client().call(&["CLUSTER", "REPLICATE", &primary])?;
            Ok(matches!(reply, Value::Status(_)))
        })?;
    }
    settle(&nodes)?;
    Ok(nodes)
}

/// Waits until all nodes find the cluster well, and all replicas are in sync.
pub(crate) fn settle(nodes: &[Server]) -> Result<(), Failure> {
    wait("the cluster is well", || {
        let count = nodes.len().to_string();
        for node in nodes {
            let info = node.client().call(&["INFO", "replication"])?.as_text().unwrap_or_default();
            let is_well = cluster::info(node, "cluster_state")? == "ok"
                && cluster::info(node, "cluster_known_nodes")? == count
                && !info.contains("master_link_status:down");
            if !is_well {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

pub(crate) fn wait(
    what: &str,
    mut has_come: impl FnMut() -> std::io::Result<bool>,
) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    while watch.elapsed() < Duration::from_secs(SETTLE_SECONDS) {
        if has_come().unwrap_or(false) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(format!("it never came: {what}").into())
}

fn disturb(options: &Options, nodes: &mut [Server]) -> Result<String, Failure> {
    let mut random = Random::with_seed(options.seed);
    let (mut failovers, mut kills, mut moves, mut migrations) = (0, 0, 0, 0);
    let watch = Stopwatch::start();
    while watch.elapsed() < Duration::from_secs(options.seconds) {
        std::thread::sleep(QUIET);
        let index = random.below(nodes.len() as u64) as usize;
        match random.below(6) {
            0 => {
                kills += 1;
                nodes[index].kill();
                // Long enough for a replica to take its place.
                std::thread::sleep(Duration::from_secs(4));
                nodes[index].restart()?;
                settle(nodes)?;
            }
            1 => {
                settle(nodes)?;
                let roles: Vec<_> = nodes.iter().map(cluster::role).collect::<Result<_, _>>()?;
                let replicas: Vec<_> =
                    (0..nodes.len()).filter(|it| roles[*it] == "slave").collect();
                let replica = &nodes[replicas[index % replicas.len()]];
                let reply = replica.client().call(&["CLUSTER", "FAILOVER"])?;
                failovers += u64::from(matches!(reply, Value::Status(_)));
            }
            2 | 3 => {
                settle(nodes)?;
                migrations += u64::from(migrate_slots(nodes, &mut random)?);
            }
            _ => {
                settle(nodes)?;
                moves += u64::from(move_slots(nodes, &mut random)?);
            }
        }
    }
    Ok(format!(
        "{failovers} planned failovers, {kills} kills, slots moved {moves} times by hand and {migrations} times by themselves"
    ))
}

/// Has some slots move from one primary to another by themselves. Returns whether they did: where nodes do not know yet what
/// has happened just now, they may refuse.
fn migrate_slots(nodes: &[Server], random: &mut Random) -> Result<bool, Failure> {
    let mut owners = Vec::new();
    for node in nodes {
        let slots = slots_of(node)?;
        if !slots.is_empty() {
            owners.push((node, slots));
        }
    }
    if owners.len() < 2 {
        return Ok(false);
    }
    let at = random.below(owners.len() as u64) as usize;
    let (from, slots) = &owners[at];
    let to = cluster::id(owners[(at + 1) % owners.len()].0)?;
    let (first, last) = slots[random.below(slots.len() as u64) as usize];
    let first = first + random.below(u64::from(last - first) + 1) as u16;
    let last = last.min(first + random.below(u64::from(SLOTS_AT_ONCE_MAX)) as u16);
    let (first, last) = (first.to_string(), last.to_string());
    let order = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &first, &last, "NODE", &to];
    if !matches!(from.client().call(&order)?, Value::Status(_)) {
        return Ok(false);
    }
    let mut state = String::new();
    wait("a migration ends", || {
        let reply = from.client().call(&["CLUSTER", "GETSLOTMIGRATIONS"])?;
        let newest = reply.as_elements().and_then(|it| it.first()?.as_elements());
        let mut words = newest.unwrap_or_default().iter().filter_map(Value::as_text);
        state = words.find(|it| it == "state").and_then(|_| words.next()).unwrap_or_default();
        Ok(["success", "failed", "cancelled"].contains(&state.as_str()))
    })?;
    Ok(state == "success")
}

/// The ranges of slots of a primary, as it knows them itself.
fn slots_of(node: &Server) -> Result<Vec<(u16, u16)>, Failure> {
    let text = node.client().call(&["CLUSTER", "NODES"])?.as_text().unwrap_or_default();
    let line = text.lines().find(|it| it.contains("myself,master")).unwrap_or_default();
    let ranges = line.split(' ').skip(8).filter(|it| !it.starts_with('[')).filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    Ok(ranges.collect())
}

/// Moves some slots from one primary to another, as operators do.
fn move_slots(nodes: &[Server], random: &mut Random) -> Result<bool, Failure> {
    let Some(tool) = valkey_program("valkey-cli") else { return Ok(false) };
    let mut primaries = Vec::new();
    for node in nodes {
        if cluster::role(node)? == "master" {
            primaries.push(cluster::id(node)?);
        }
    }
    let from = random.below(primaries.len() as u64) as usize;
    let to = (from + 1) % primaries.len();
    let output = Command::new(tool)
        .args(["--cluster", "reshard", &nodes[0].address().to_string()])
        .args(["--cluster-from", &primaries[from], "--cluster-to", &primaries[to]])
        .args(["--cluster-slots", "20", "--cluster-yes", "--cluster-timeout", "5000"])
        .output()?;
    if output.status.success() {
        return Ok(true);
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tail: Vec<&str> = text.lines().rev().take(10).collect();
    Err(format!("slots could not be moved: {}", tail.join(" | ")).into())
}
