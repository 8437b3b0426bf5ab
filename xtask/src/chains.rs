//! `cargo xtask chains`: servers of all families, each the replica of another, in several orders. The master is written to while
//! links are cut and replicas are stopped and killed. In the end all have the same data: their digests are equal.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rubine_base::random::Random;
use rubine_testing::client::Client;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::Failure;
use crate::build;
use crate::clock::Stopwatch;
use crate::peer::{built_redis, redis_server, valkey_program};

/// Keys of each kind.
const KEYS: u64 = 200;
/// Between two mishaps.
const QUIET: Duration = Duration::from_millis(400);
/// For so long a replica may take to have everything in the end.
const SETTLE_SECONDS: u64 = 60;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for which each chain is written to
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Another row of mishaps
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The server, instead of one built for it
    #[arg(long)]
    server: Option<std::path::PathBuf>,
    /// Only chains whose name contains this text
    #[arg(long)]
    only: Option<String>,
}

impl Options {
    /// So many seconds of each chain, with other mishaps each time.
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
    Redis,
    /// The one that is installed, an older one.
    OldRedis,
}

/// Servers, and for each but the first the number of the one that it follows. Neither family reads the dumps of the other where
/// they are newer than those that both know.
const CHAINS: &[(&str, &[(Family, usize)])] = {
    use Family::{OldRedis, Redis, Rubine, Valkey};
    &[
        ("ours under ours", &[(Rubine, 0), (Rubine, 0), (Rubine, 1)]),
        ("all under ours", &[(Rubine, 0), (Valkey, 0), (Redis, 0), (OldRedis, 0)]),
        ("ours under Valkey", &[(Valkey, 0), (Rubine, 0), (Valkey, 1), (Redis, 1)]),
        ("ours under Redis", &[(Redis, 0), (Rubine, 0), (Valkey, 1), (Rubine, 2)]),
        ("ours under old Redis", &[(OldRedis, 0), (Rubine, 0), (Redis, 1), (OldRedis, 1)]),
        ("Valkey between ours", &[(Rubine, 0), (Valkey, 0), (Rubine, 1)]),
    ]
};

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let ours = build::server_or(options.server.as_deref(), "dev")?;
    let program = |family: Family| match family {
        Family::Rubine => Some(ours.clone()),
        Family::Valkey => valkey_program("valkey-server"),
        Family::Redis => built_redis(),
        Family::OldRedis => redis_server(),
    };
    let mut failures = Vec::new();
    for (number, (name, chain)) in CHAINS.iter().enumerate() {
        if options.only.as_ref().is_some_and(|it| !name.contains(it.as_str())) {
            continue;
        }
        let programs: Option<Vec<_>> = chain.iter().map(|(family, _)| program(*family)).collect();
        let Some(programs) = programs else {
            println!("chains: {name}: left out, since a server is not at hand");
            continue;
        };
        // Every other one, and the others with the next seed.
        let channels = if (number as u64 + options.seed).is_multiple_of(2) { "no" } else { "yes" };
        match play(options, chain, &programs, channels) {
            Ok(told) => println!("chains: {name}, two connections for a sync {channels}: {told}"),
            Err(failure) => {
                failures.push(format!("chains: {name}, --seed {}: {failure}", options.seed));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Plays one chain; returns what happened in it.
fn play(
    options: &Options,
    chain: &[(Family, usize)],
    programs: &[std::path::PathBuf],
    channels: &str,
) -> Result<String, Failure> {
    let mut servers: Vec<Server> = Vec::new();
    for (index, program) in programs.iter().enumerate() {
        let mut server = ServerOptions::new(program)
            .with("enable-debug-command", "yes")
            .with("repl-diskless-sync-delay", "0")
            .with("repl-backlog-size", "10mb");
        let family = chain[index].0;
        if matches!(family, Family::Rubine | Family::Valkey) {
            server = server.with("dual-channel-replication-enabled", channels);
        }
        if matches!(family, Family::Rubine | Family::Redis) {
            server = server.with("repl-rdb-channel", channels);
        }
        if 0 < index {
            let master = servers[chain[index].1].address();
            server = server.with("replicaof", &format!("{} {}", master.ip(), master.port()));
        }
        servers.push(server.start()?);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..2)
        .map(|number| {
            let mut client = servers[0].client();
            let (is_over, written) = (Arc::clone(&is_over), Arc::clone(&written));
            let mut random = Random::with_seed(options.seed * 100 + number);
            std::thread::spawn(move || -> std::io::Result<()> {
                while !is_over.load(Ordering::Relaxed) {
                    write(&mut client, &mut random)?;
                    written.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();
    let mut random = Random::with_seed(options.seed);
    let (mut cuts, mut stops, mut kills) = (0, 0, 0);
    let watch = Stopwatch::start();
    while watch.elapsed() < Duration::from_secs(options.seconds) {
        std::thread::sleep(QUIET);
        let whom = 1 + random.below(servers.len() as u64 - 1) as usize;
        match random.below(5) {
            0 => {
                kills += 1;
                servers[whom].restart()?;
            }
            1 => {
                stops += 1;
                signal(servers[whom].pid(), "STOP")?;
                std::thread::sleep(QUIET);
                signal(servers[whom].pid(), "CONT")?;
            }
            _ => {
                cuts += 1;
                let master = &servers[chain[whom].1];
                master.client().call(&["CLIENT", "KILL", "TYPE", "replica"])?;
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().map_err(|_| "a writer panicked")??;
    }
    let written = written.load(Ordering::Relaxed);
    let digest = settle(&servers)?;
    let happened = format!("{cuts} cuts, {stops} stops, {kills} kills");
    Ok(format!("{written} writes, {happened}; {} servers agree on {digest}", servers.len()))
}

/// Some commands that every family knows, of all types that all have.
fn write(client: &mut Client, random: &mut Random) -> std::io::Result<()> {
    let key = |kind: &str, random: &mut Random| format!("{kind}:{}", random.below(KEYS));
    let number = random.below(1000).to_string();
    let single: Vec<String> = match random.below(16) {
        0 => vec!["SET".into(), key("s", random), number],
        1 => vec!["INCR".into(), key("n", random)],
        2 => vec!["APPEND".into(), key("a", random), "x".into()],
        3 => vec!["LPUSH".into(), key("l", random), number.clone(), number],
        4 => vec!["RPOP".into(), key("l", random)],
        5 => vec!["HSET".into(), key("h", random), number.clone(), number],
        6 => vec!["HDEL".into(), key("h", random), number],
        7 => vec!["SADD".into(), key("t", random), number],
        8 => vec!["SPOP".into(), key("t", random)],
        9 => vec!["ZADD".into(), key("z", random), number.clone(), number],
        10 => vec!["ZPOPMIN".into(), key("z", random)],
        11 => vec![
            "XADD".into(),
            key("x", random),
            "MAXLEN".into(),
            "20".into(),
            "*".into(),
            "f".into(),
            number,
        ],
        12 => vec!["PEXPIRE".into(), key("s", random), number],
        13 => vec!["DEL".into(), key("h", random), key("l", random)],
        14 => {
            let script = "redis.call('INCR', KEYS[1]) return redis.call('RPUSH', KEYS[2], ARGV[1])";
            vec![
                "EVAL".into(),
                script.into(),
                "2".into(),
                key("n", random),
                key("l", random),
                number,
            ]
        }
        _ => {
            client.call(&["MULTI"])?;
            client.call(&["INCR", &key("n", random)])?;
            client.call(&["SADD", &key("t", random), &number])?;
            client.call(&["SELECT", &random.below(3).to_string()])?;
            client.call(&["INCR", &key("n", random)])?;
            vec!["EXEC".into()]
        }
    };
    client.call(&single).map(drop)
}

fn signal(pid: u32, name: &str) -> std::io::Result<()> {
    Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().map(drop)
}

/// Waits until all have everything; returns the digest that all have.
fn settle(servers: &[Server]) -> Result<String, Failure> {
    let watch = Stopwatch::start();
    let mut clients: Vec<Client> = servers.iter().map(Server::client).collect();
    // What is due goes before digests are compared.
    std::thread::sleep(Duration::from_millis(1200));
    for db in ["0", "1", "2"] {
        clients[0].call(&["SELECT", db])?;
        clients[0].call(&["KEYS", "*"])?;
    }
    loop {
        let mut digests = Vec::new();
        let mut offsets = Vec::new();
        for client in &mut clients {
            let info = client.call(&["INFO", "replication"])?.as_text().unwrap_or_default();
            let field = |name: &str| {
                let mut found = info.lines().filter_map(|line| line.strip_prefix(name));
                found.next().map(|it| it.trim().to_owned()).unwrap_or_default()
            };
            offsets.push((field("master_link_status:"), field("master_repl_offset:")));
            let digest = client.call(&["DEBUG", "DIGEST"]).ok();
            digests.push(digest.as_ref().and_then(Value::as_text).unwrap_or_default());
        }
        let are_up = offsets[1..].iter().all(|(link, _)| link == "up");
        let are_equal = digests.iter().all(|it| *it == digests[0] && !it.is_empty());
        if are_up && are_equal {
            return Ok(digests.swap_remove(0));
        }
        if Duration::from_secs(SETTLE_SECONDS) < watch.elapsed() {
            let logs: Vec<_> = servers.iter().map(|it| tail(&it.log())).collect();
            return Err(format!(
                "they do not agree: {digests:?}, {offsets:?}\n{}",
                logs.join("\n--\n")
            )
            .into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
