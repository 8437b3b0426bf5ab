//! The cluster that mishaps befall: three shards of two nodes, each node behind a way of its own, and what is asked of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::cluster;
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use super::network::Network;
use crate::Failure;
use crate::clusters;
use crate::process::output_of_both;

const SHARDS: usize = 3;
pub(super) const NODES: usize = 2 * SHARDS;
const NODE_TIMEOUT_MS: &str = "1500";
/// Who stopped hearing the others at a moment takes no writes after so long: the node timeout, and what a busy machine needs.
pub(super) const MINORITY_AFTER: Duration = Duration::from_millis(1500 + 2000);
/// For so long a node is asked again and again whether it takes writes.
const ASKED_FOR: usize = 20;
const POLL: Duration = Duration::from_millis(20);
/// A node has this much room for nodes.conf.
const DISK_SIZE: &str = "256k";

pub(super) struct Stage {
    pub(super) network: Network,
    /// Those of shard `n` are `n` and `n + SHARDS`.
    pub(super) nodes: Vec<Server>,
    disks: Disks,
}

impl Stage {
    pub(super) fn set(program: &Path) -> Result<Self, Failure> {
        let network = Network::new(NODES)?;
        let disks = Disks::new()?;
        let mut options = Vec::new();
        for node in 0..NODES {
            let prefix = Network::prefix(node);
            let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
            let file = disks.folder(node).join("nodes.conf");
            options.push(
                cluster::node(program)?
                    .at(Network::address(node))
                    .behind(&prefix)
                    .with("protected-mode", "no")
                    .with("workers", "2")
                    .with("cluster-config-file", &file.display().to_string())
                    .with("cluster-node-timeout", NODE_TIMEOUT_MS)
                    .with("cluster-allow-replica-migration", "no")
                    .with("write-quorum", "1")
                    .with("write-quorum-users", "default"),
            );
        }
        let nodes = clusters::start(options)?;
        Ok(Self { network, nodes, disks })
    }

    /// The primary of a shard, and its replica.
    pub(super) fn shard(&self, shard: usize) -> Result<(usize, usize), Failure> {
        let (one, other) = (shard, shard + SHARDS);
        let is_primary = cluster::role(&self.nodes[one])? == "master";
        Ok(if is_primary { (one, other) } else { (other, one) })
    }

    /// Waits until all nodes find the cluster well, and say the same of it.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        clusters::settle(&self.nodes)?;
        clusters::wait("all nodes say the same of the cluster", || {
            let mut views = self.nodes.iter().map(view);
            let first = views.next().transpose()?;
            Ok(views.all(|it| it.ok() == first))
        })
    }

    /// Waits until a node is a primary.
    pub(super) fn takes_over(&self, node: usize) -> Result<(), Failure> {
        clusters::wait("the replica takes the primary's place", || {
            Ok(cluster::role(&self.nodes[node])? == "master")
        })
    }

    /// A connection to a node whose writes wait for no replica: what is confirmed on it rests on the node alone.
    pub(super) fn probe(&self, shard: usize, node: usize) -> Result<Probe, Failure> {
        let mut client = self.nodes[node].client();
        client.call(&["ACL", "SETUSER", "probe", "on", "nopass", "~*", "+@all"])?;
        client.call(&["AUTH", "probe", "any"])?;
        Ok(Probe { client, key: key_of(shard) })
    }

    pub(super) fn signal(&self, node: usize, name: &str) -> Result<(), Failure> {
        let pid = self.nodes[node].pid().to_string();
        output_of_both(Command::new("kill").args([&format!("-{name}"), &pid])).map(drop)
    }

    /// Leaves a node no room for nodes.conf.
    pub(super) fn fill_disk(&self, node: usize) -> Result<(), Failure> {
        let file = self.disks.folder(node).join("filling");
        // It ends with an error, when there is no more room.
        let _ = fs::write(&file, vec![0; 1024 * 1024]);
        let is_full = fs::write(self.disks.folder(node).join("more"), b"text").is_err();
        if is_full { Ok(()) } else { Err("a disk that is full takes more".into()) }
    }

    pub(super) fn empty_disk(&self, node: usize) -> Result<(), Failure> {
        let file = |name: &str| self.disks.folder(node).join(name);
        fs::remove_file(file("more"))?;
        Ok(fs::remove_file(file("filling"))?)
    }

    pub(super) fn logs(&self) -> String {
        self.nodes.iter().map(Server::log).collect()
    }
}

/// Somebody who writes to one node only.
pub(super) struct Probe {
    client: Client,
    key: String,
}

impl Probe {
    /// Whether a write is confirmed.
    pub(super) fn is_taken(&mut self) -> bool {
        self.send().is_ok() && self.is_confirmed()
    }

    pub(super) fn send(&mut self) -> std::io::Result<()> {
        self.client.send(&["SET", &self.key, "value"])
    }

    /// Whether the reply to a write that was sent says that it is done.
    pub(super) fn is_confirmed(&mut self) -> bool {
        let reply = self.client.receive(Duration::from_secs(5));
        matches!(reply, Ok(Received::Value(Value::Status(_))))
    }

    /// Whether none of many writes is taken.
    pub(super) fn is_refused(&mut self) -> bool {
        (0..ASKED_FOR).all(|_| {
            std::thread::sleep(POLL);
            !self.is_taken()
        })
    }
}

/// A key of a shard.
fn key_of(shard: usize) -> String {
    let first = [0, 5461, 10923, 16384].map(|it| it as u16);
    let range = first[shard]..first[shard + 1];
    let mut keys = (0..).map(|number| format!("probe:{number}"));
    keys.find(|it| range.contains(&rubine_base::crc::slot_of(it.as_bytes())))
        .expect("each range has a key")
}

/// What a node says of the cluster, without what is its own business.
fn view(node: &Server) -> std::io::Result<Vec<String>> {
    let text = node.client().call(&["CLUSTER", "NODES"])?.as_text().unwrap_or_default();
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut words: Vec<&str> = line.split(' ').collect();
        if words.len() < 8 {
            continue;
        }
        words[2] = words[2].trim_start_matches("myself,");
        // When it was asked, when it answered, and the state of the connection.
        words.drain(4..6);
        lines.push(words.join(" "));
    }
    lines.sort();
    Ok(lines)
}

/// A small disk for each node's nodes.conf.
struct Disks(PathBuf);

impl Disks {
    fn new() -> Result<Self, Failure> {
        let name = format!("rubine-partitions-{}", std::process::id());
        let disks = Self(std::env::temp_dir().join(name));
        for node in 0..NODES {
            let folder = disks.folder(node);
            fs::create_dir_all(&folder)?;
            let size = format!("size={DISK_SIZE}");
            let mount = ["-t", "tmpfs", "-o", &size, "none"];
            output_of_both(Command::new("mount").args(mount).arg(folder))?;
        }
        Ok(disks)
    }

    fn folder(&self, node: usize) -> PathBuf {
        self.0.join(node.to_string())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for node in 0..NODES {
            // What is left goes with the namespace.
            let _ = output_of_both(Command::new("umount").arg("--lazy").arg(self.folder(node)));
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}
