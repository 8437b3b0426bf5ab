//! `cargo xtask cluster-tools`: what operators do to a cluster with `valkey-cli --cluster` and `redis-cli --cluster`, done to
//! nodes of ours. After all of it every key is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rubine_testing::cluster::{self, Answer, Router};
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::Failure;
use crate::build;
use crate::clock::Stopwatch;
use crate::peer::{built_redis, valkey_program};
use crate::process::output;

const KEYS: usize = 500;
/// Slots that change their owner at once.
const MOVED: usize = 40;
/// For so long all may take to agree.
const AGREE_SECONDS: u64 = 60;

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// The server, instead of one built for it
    #[arg(long)]
    server: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let program = build::server_or(options.server.as_deref(), "dev")?;
    let redis = built_redis().map(|it| it.with_file_name("redis-cli")).filter(|it| it.is_file());
    let tools = [("valkey-cli", valkey_program("valkey-cli")), ("redis-cli", redis)];
    for (name, tool) in tools {
        let Some(tool) = tool else {
            println!("cluster-tools: without {name}, which is not at hand");
            continue;
        };
        let nodes = (0..4).map(|_| cluster::node(&program)?.start()).collect::<Result<_, _>>()?;
        let outside = ServerOptions::new(&program).start()?;
        let told = Cluster { tool, nodes }.go_through(&outside);
        told.map_err(|failure| format!("cluster-tools: {name}: {failure}"))?;
        println!("cluster-tools: {name} has made, checked, mended and changed a cluster");
    }
    Ok(())
}

/// Nodes, the last of which joins later, and what they are worked on with.
struct Cluster {
    tool: PathBuf,
    nodes: Vec<Server>,
}

impl Cluster {
    fn go_through(&self, outside: &Server) -> Result<(), Failure> {
        let [first, second, third, last] = &self.nodes[..] else { unreachable!("there are four") };
        let addresses = [first, second, third].map(|it| it.address().to_string());
        let [first_place, last_place] = [first, last].map(|it| it.address().to_string());
        let create: Vec<&str> = addresses.iter().map(String::as_str).collect();
        self.tool(&[&["create"], &create[..]].concat())?;
        self.agree(3)?;
        for key in (0..KEYS).map(key) {
            let set =
                Router::new(&self.nodes).call(key.as_bytes(), &[b"SET", key.as_bytes(), b"v"]);
            if !matches!(set, Answer::Reply(Value::Status(_))) {
                return Err(format!("{key} cannot be set").into());
            }
        }

        self.tool(&["add-node", &last_place, &first_place])?;
        self.agree(4)?;
        self.reshard(first, last, MOVED)?;
        expect(self.slots_of(last)? == MOVED, "the new node has slots")?;
        self.reshard(second, third, MOVED)?;
        let share = self.slots_of(second)?;
        let weights = format!("{}={}", cluster::id(last)?, MOVED as f64 / 5450.0);
        self.tool(&[
            "rebalance",
            &first_place,
            "--cluster-threshold",
            "0.1",
            "--cluster-weight",
            &weights,
        ])?;
        self.agree(4)?;
        expect(share < self.slots_of(second)?, "whoever had less has got slots back")?;

        self.mend(second, &first_place)?;
        self.tool(&["set-timeout", &first_place, "3000"])?;
        let told = self.tool(&["call", &first_place, "CONFIG", "GET", "cluster-node-timeout"])?;
        expect(told.matches("3000").count() == 4, "every node was told of a timeout")?;
        expect(self.tool(&["info", &first_place])?.contains("500 keys"), "all keys are counted")?;

        outside.client().call(&["SET", "from outside", "v"])?;
        let source = outside.address().to_string();
        self.tool(&["import", &first_place, "--cluster-from", &source, "--cluster-copy"])?;
        let key = b"from outside";
        let got = Router::new(&self.nodes).call(key, &[b"GET", key]);
        expect(matches!(got, Answer::Reply(Value::Bulk(_))), "a key was taken in")?;
        self.back_up(&first_place)?;

        let id = cluster::id(last)?;
        self.reshard(last, first, self.slots_of(last)?)?;
        self.tool(&["del-node", &first_place, &id])?;
        self.agree_among(&self.nodes[..3])?;
        self.check_keys()
    }

    fn reshard(&self, from: &Server, to: &Server, count: usize) -> Result<(), Failure> {
        let [from, to] = [cluster::id(from)?, cluster::id(to)?];
        let (place, count) = (self.nodes[0].address().to_string(), count.to_string());
        let ends = ["--cluster-from", &from, "--cluster-to", &to, "--cluster-slots", &count];
        self.tool(&[&["reshard", &place], &ends[..]].concat())?;
        self.agree(4)
    }

    /// A slot whose move somebody has begun and not ended, and one that nobody has, are what `fix` is for.
    fn mend(&self, owner: &Server, place: &str) -> Result<(), Failure> {
        let slots = owner.client().call(&["CLUSTER", "NODES"])?.as_text().unwrap_or_default();
        let line = slots.lines().find(|it| it.contains("myself")).unwrap_or_default();
        let slot = line.split(' ').nth(8).and_then(|it| it.split('-').next()).unwrap_or_default();
        let to = cluster::id(&self.nodes[0])?;
        owner.client().call(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &to])?;
        expect(self.tool(&["check", place]).is_err(), "a move that was left is seen")?;
        self.tool(&["fix", place])?;
        self.agree(4)
    }

    /// The tool asks for a dump of each primary, and writes down who has which slots.
    fn back_up(&self, place: &str) -> Result<(), Failure> {
        let folder = self.nodes[0].directory().join("backup");
        std::fs::create_dir(&folder)?;
        let path = folder.to_str().ok_or("the folder's name is no text")?;
        self.tool(&["backup", place, path])?;
        let names =
            std::fs::read_dir(&folder)?.filter_map(|it| it.ok()?.file_name().into_string().ok());
        let (dumps, others): (Vec<_>, Vec<_>) = names.partition(|it| is_dump(it));
        expect(dumps.len() == 4 && others == ["nodes.json"], "all that a backup has is there")
    }

    fn tool(&self, arguments: &[&str]) -> Result<String, Failure> {
        output(Command::new(&self.tool).arg("--cluster").args(arguments).arg("--cluster-yes"))
    }

    fn agree(&self, count: usize) -> Result<(), Failure> {
        self.agree_among(&self.nodes[..count])
    }

    /// Waits until all find the cluster well, and the tool finds nothing to mend.
    fn agree_among(&self, nodes: &[Server]) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        let place = nodes[0].address().to_string();
        let count = nodes.len().to_string();
        let is_well = |it: &Server| {
            let [state, known] = ["cluster_state", "cluster_known_nodes"]
                .map(|field| cluster::info(it, field).unwrap_or_default());
            state == "ok" && known == count
        };
        loop {
            let checked = nodes.iter().all(is_well).then(|| self.tool(&["check", &place]));
            match checked {
                Some(Ok(_)) => return Ok(()),
                _ if watch.elapsed() < Duration::from_secs(AGREE_SECONDS) => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Some(Err(failure)) => return Err(failure),
                None => return Err("the nodes do not agree".into()),
            }
        }
    }

    fn slots_of(&self, node: &Server) -> Result<usize, Failure> {
        let id = cluster::id(node)?;
        let nodes = self.nodes[0].client().call(&["CLUSTER", "NODES"])?;
        let nodes = nodes.as_text().unwrap_or_default();
        let line = nodes.lines().find(|it| it.starts_with(&id)).unwrap_or_default();
        let ranges = line.split(' ').skip(8).map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
        });
        ranges.sum::<Option<usize>>().ok_or_else(|| format!("what is {line}?").into())
    }

    fn check_keys(&self) -> Result<(), Failure> {
        let mut router = Router::new(&self.nodes[..3]);
        for key in (0..KEYS).map(key) {
            let got = router.call(key.as_bytes(), &[b"GET", key.as_bytes()]);
            expect(matches!(got, Answer::Reply(Value::Bulk(_))), &format!("{key} is there"))?;
        }
        Ok(())
    }
}

fn key(number: usize) -> String {
    format!("key:{number}")
}

fn is_dump(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|it| it == "rdb")
}

fn expect(is_so: bool, what: &str) -> Result<(), Failure> {
    if is_so { Ok(()) } else { Err(format!("it is not so: {what}").into()) }
}
