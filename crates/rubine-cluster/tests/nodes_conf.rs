//! The files of real nodes, here, and ours there. Where no real server is found (in `VALKEY_BIN_DIR` or `REDIS_BIN_DIR`, in the
//! folder of `cargo xtask compat`, or on the search path), what runs one passes with a message.

use std::fs;
use std::path::{Path, PathBuf};

use rubine_cluster::{Cluster, Config, nodes_conf};
use rubine_testing::server::{Server, ServerOptions};

const VALKEY: &str = include_str!("nodes/valkey-9.1.2.conf");
const REDIS: &str = include_str!("nodes/redis-8.0.6.conf");

/// What a file says, read and written again.
fn rewritten(text: &str) -> String {
    let saved = nodes_conf::parse(text.as_bytes(), false).expect("the file is right");
    nodes_conf::write(&saved.expect("it is not empty"))
}

/// A file without the moments at which nodes were asked and have answered.
fn without_times(text: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<_> = line.split(' ').collect();
        if words[0] != "vars" {
            for word in &mut words[4..6] {
                *word = if *word == "0" { "0" } else { "1" };
            }
        }
        words.join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

#[test]
fn files_of_real_nodes_come_out_as_they_were() {
    for text in [VALKEY, REDIS] {
        assert_eq!(rewritten(text), without_times(text));
        // So does all that the machine makes of them.
        let saved = nodes_conf::parse(text.as_bytes(), false).expect("the file is right");
        let saved = saved.expect("it is not empty");
        let cluster =
            Cluster::restore(Config::default(), &saved, 1, 1_000_000).expect("it can go on");
        let id = text.lines().find(|it| it.contains("myself")).and_then(|it| it.get(..40));
        assert_eq!(Some(cluster.my_id().as_str()), id);
        let again = nodes_conf::write(&cluster.saved());
        assert_eq!(again.lines().count(), text.lines().count());
        for line in text.lines().filter(|it| it.contains(" master - ")) {
            let slots = line.split_once("connected").expect("it has a state").1;
            assert!(again.lines().any(|it| it.ends_with(slots)), "{again}");
        }
    }
}

/// A program: in the folder that the variable names, in `cache`, or on the search path.
fn program(name: &str, variable: &str, cache: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let compat = std::env::var_os("RUBINE_COMPAT_CACHE").map(PathBuf::from);
    let cache = compat.unwrap_or_else(|| target.join("compat")).join(cache);
    let chosen = std::env::var_os(variable).map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = chosen.into_iter().chain([cache]).chain(std::env::split_paths(&paths));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A real server in cluster mode, that has been stopped for its file to be changed.
fn real_node(name: &str, variable: &str, cache: &str) -> Option<(Server, PathBuf)> {
    let program = program(name, variable, cache)?;
    let bus = rubine_testing::server::free_port().expect("there is a port");
    let options = ServerOptions::new(&program)
        .with("cluster-enabled", "yes")
        .with("cluster-port", &bus.to_string());
    let mut server = options.start().expect("the server starts");
    server.kill();
    let file = server.directory().join("nodes.conf");
    Some((server, file))
}

/// A real node goes on from a file of ours, and knows what stands in it; then we go on from its file.
fn exchange(name: &str, variable: &str, cache: &str, text: &str) {
    let Some((mut server, file)) = real_node(name, variable, cache) else {
        eprintln!("no {name} was found");
        return;
    };
    fs::write(&file, rewritten(text)).expect("the file is written");
    server.restart().expect("the real node takes the file");
    let mut client = server.client();
    let nodes = client.call(&["CLUSTER", "NODES"]).expect("it answers").as_text().expect("a text");
    check_same_slots(&nodes, text);
    client.call(&["CLUSTER", "SAVECONFIG"]).expect("it saves");
    let theirs = fs::read_to_string(&file).expect("the file is there");
    check_same_slots(&rewritten(&theirs), text);
}

/// All nodes are there, with their slots and what moves.
fn check_same_slots(shown: &str, expected: &str) {
    let slots = |it: &str| it.split_once("connected").map(|it| it.1.to_owned());
    for line in expected.lines().filter(|it| !it.starts_with("vars")) {
        let same = |it: &&str| it.get(..40) == line.get(..40);
        let found =
            shown.lines().find(same).unwrap_or_else(|| panic!("{line} is missing: {shown}"));
        assert_eq!(slots(found), slots(line));
    }
}

#[test]
fn valkey_reads_what_we_write() {
    exchange("valkey-server", "VALKEY_BIN_DIR", "valkey/src", VALKEY);
}

#[test]
fn redis_reads_what_we_write() {
    exchange("redis-server", "REDIS_BIN_DIR", "redis/src", REDIS);
}
