//! Three primaries with a replica each, all ours, for clients of clusters, which fail them over, kill them and move their slots.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rubine_testing::cluster;
use rubine_testing::server::Server;

use crate::Failure;
use crate::clock::Stopwatch;
use crate::clusters;
use crate::process::output_of_both;

/// Two for each shard.
const NODES: usize = 6;
/// A node that was killed is started again after so long, in which a replica takes its place.
const RESTART_AFTER: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(50);

/// The cluster, as long as a client uses it.
pub(super) struct Group {
    nodes: Vec<Server>,
}

impl Group {
    pub(super) fn start(program: &Path) -> Result<Self, Failure> {
        // What a client was told is at the replica, too, and so nothing is lost with a primary.
        let node = |_| Ok(cluster::node(program)?.with("write-quorum", "1").with("workers", "2"));
        let nodes = (0..NODES).map(node).collect::<Result<_, Failure>>()?;
        Ok(Self { nodes: clusters::start(nodes)? })
    }

    /// Runs a script that finds the nodes in a variable. Nodes that it kills are started again.
    pub(super) fn play(&mut self, mut script: Command) -> Result<String, Failure> {
        let ports = self.nodes.iter().map(|it| it.address().port().to_string());
        let ports: Vec<_> = ports.collect();
        let is_over = AtomicBool::new(false);
        let played = thread::scope(|scope| {
            let supervisor = scope.spawn(|| supervise(&mut self.nodes, &is_over));
            let played = output_of_both(script.env("E2E_CLUSTER", ports.join(",")));
            is_over.store(true, Ordering::Relaxed);
            let supervised = supervisor.join().map_err(|_| "the supervisor panicked")?;
            supervised?;
            played
        });
        let logs = || self.nodes.iter().map(Server::log).collect::<String>();
        played.map_err(|failure| format!("{}\n{failure}", logs()).into())
    }
}

/// Starts whoever was killed again, as a supervisor of services does.
fn supervise(nodes: &mut [Server], is_over: &AtomicBool) -> std::io::Result<()> {
    let mut dead: Option<(usize, Stopwatch)> = None;
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(POLL);
        match &dead {
            None => {
                let index = nodes.iter_mut().position(Server::has_ended);
                dead = index.map(|it| (it, Stopwatch::start()));
            }
            Some((index, since)) if RESTART_AFTER <= since.elapsed() => {
                nodes[*index].restart()?;
                dead = None;
            }
            Some(_) => {}
        }
    }
    Ok(())
}
