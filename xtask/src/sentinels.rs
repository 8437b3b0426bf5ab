//! `cargo xtask sentinels`: groups of our Sentinels, of real ones and of both over real servers, whose master is killed. One
//! of the replicas has to become the master, all have to agree, and the old master has to follow when it comes back. Then
//! each Sentinel is started anew as one of another kind, with the file that the first has left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rubine_testing::server::{CONFIG_FILE, Server, ServerOptions};
use rubine_testing::value::Value;
use rubine_testing::words;

use crate::Failure;
use crate::build;
use crate::clock::Stopwatch;
use crate::peer::{cache_directory, valkey_program};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each group's master is killed
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only the group of this number, from 0
    #[arg(long)]
    group: Option<usize>,
    /// Watches our servers, and not Valkey's
    #[arg(long)]
    ours: bool,
    /// The cargo profile of our program
    #[arg(long, default_value = "fast")]
    profile: String,
}

/// Whose Sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    Valkey,
    Redis,
}

const GROUPS: [[Kind; 3]; 4] = [
    [Kind::Valkey, Kind::Valkey, Kind::Valkey],
    [Kind::Ours, Kind::Ours, Kind::Ours],
    [Kind::Ours, Kind::Valkey, Kind::Redis],
    [Kind::Redis, Kind::Ours, Kind::Ours],
];
const POLL: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_mins(1);

struct Programs {
    ours: PathBuf,
    valkey: PathBuf,
    redis: PathBuf,
    server: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let needed = |name: &str| valkey_program(name).ok_or(format!("`{name}` is needed"));
    let redis = cache_directory().join("redis/src/redis-sentinel");
    if !redis.is_file() {
        return Err(
            "redis-sentinel is needed: `cargo xtask compat --family redis --prepare`".into()
        );
    }
    let program = build::server(&options.profile)?;
    let programs = Programs {
        ours: named_sentinel(&program)?,
        valkey: needed("valkey-sentinel")?,
        redis,
        server: if options.ours { program } else { needed("valkey-server")? },
    };
    let is_wanted = |number: usize| options.group.is_none_or(|it| it == number);
    for (_, kinds) in GROUPS.into_iter().enumerate().filter(|it| is_wanted(it.0)) {
        let mut times = Vec::new();
        for _ in 0..options.rounds {
            times.push(fail_over(&programs, kinds)?.as_millis());
        }
        times.sort_unstable();
        println!("{kinds:?}: first write after {times:?} ms");
    }
    Ok(())
}

/// Our program under the name by which it is a Sentinel.
fn named_sentinel(program: &Path) -> Result<PathBuf, Failure> {
    let name = program.with_file_name("rubine-sentinel");
    if !name.exists() {
        std::os::unix::fs::symlink(program, &name)?;
    }
    Ok(name)
}

impl Programs {
    fn of(&self, kind: Kind) -> &PathBuf {
        match kind {
            Kind::Ours => &self.ours,
            Kind::Valkey => &self.valkey,
            Kind::Redis => &self.redis,
        }
    }
}

/// Has a group live through the end of its master. Returns how long nobody could write.
fn fail_over(programs: &Programs, kinds: [Kind; 3]) -> Result<Duration, Failure> {
    let mut master = ServerOptions::new(&programs.server).with_file("").start()?;
    let port = master.address().port();
    let follows = format!("127.0.0.1 {port}");
    let replica =
        || ServerOptions::new(&programs.server).with_file("").with("replicaof", &follows).start();
    let replicas = [replica()?, replica()?];
    let config = format!(
        "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
         sentinel down-after-milliseconds mymaster 1000\n\
         sentinel failover-timeout mymaster 10000\n"
    );
    let mut sentinels = Vec::new();
    for kind in kinds {
        sentinels.push(ServerOptions::new(programs.of(kind)).with_file(&config).start()?);
    }
    wait("the group is complete", || {
        sentinels.iter().all(|it| {
            let info = ask(it, "INFO sentinel").unwrap_or_default();
            info.contains("status=ok") && info.contains("slaves=2,sentinels=3")
        })
    })?;
    wait("the replicas are in step", || {
        replicas.iter().all(|it| {
            ask(it, "INFO replication").is_some_and(|it| it.contains("master_link_status:up"))
        })
    })?;
    // Long enough for pings and INFO to be where they usually are.
    std::thread::sleep(Duration::from_secs(3));
    master.kill();
    let stopwatch = Stopwatch::start();
    wait("a replica takes writes", || {
        replicas.iter().any(|it| ask(it, "SET key value").as_deref() == Some("OK"))
    })?;
    let elapsed = stopwatch.elapsed();
    let outcome = come_back(programs, kinds, &mut master, &mut sentinels);
    outcome.map(|()| elapsed).map_err(|error| {
        let logs = kinds.iter().zip(&sentinels).map(|(kind, it)| format!("{kind:?}\n{}", it.log()));
        let logs: String = logs.collect();
        format!("{logs}{}{error}", master.log()).into()
    })
}

/// Has all agree on a new master, and the old one follow it. Real Sentinels may fail over twice: they connect to a new master
/// up to a second after they know of it, which may be long enough to take it for down.
fn come_back(
    programs: &Programs,
    kinds: [Kind; 3],
    master: &mut Server,
    sentinels: &mut [Server],
) -> Result<(), Failure> {
    let old = master.address().port();
    wait("all know a new master", || agreed(sentinels).is_some_and(|it| it != old))?;
    master.restart()?;
    wait("the old master follows the new one", || {
        let Some(new) = agreed(sentinels) else { return false };
        let expected = format!("master_port:{new}\r\nmaster_link_status:up");
        ask(master, "INFO replication").is_some_and(|it| it.contains(&expected))
    })?;
    exchange(programs, kinds, sentinels)
}

/// Has each Sentinel go on as one of the next kind, from the file that it has.
fn exchange(
    programs: &Programs,
    kinds: [Kind; 3],
    sentinels: &mut [Server],
) -> Result<(), Failure> {
    let master = agreed(sentinels).ok_or("they do not agree")?;
    for (at, sentinel) in sentinels.iter_mut().enumerate() {
        sentinel.kill();
        let text = std::fs::read_to_string(sentinel.directory().join(CONFIG_FILE))?;
        let other = kinds[(at + 1) % kinds.len()];
        *sentinel = ServerOptions::new(programs.of(other))
            .with_file(&text)
            .start()
            .map_err(|error| format!("{other:?} does not start with {text}: {error}"))?;
        let known = ask(sentinel, "INFO sentinel").unwrap_or_default();
        let place = format!("address=127.0.0.1:{master},slaves=2,sentinels=3");
        if !known.contains(&place) {
            return Err(format!("{other:?} knows {known}, and has read {text}").into());
        }
    }
    wait("all know the master still", || agreed(sentinels) == Some(master))
}

/// The port of the master that all know, if they know one.
fn agreed(sentinels: &[Server]) -> Option<u16> {
    let request = "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster";
    let mut ports = sentinels.iter().map(|it| {
        let Ok(Value::Array(parts)) = it.client().call(&split(request)) else { return None };
        parts.get(1)?.as_text()?.parse().ok()
    });
    let first = ports.next()??;
    ports.all(|it| it == Some(first)).then_some(first)
}

/// The reply as text, if there is one.
fn ask(server: &Server, line: &str) -> Option<String> {
    let mut client = rubine_testing::client::Client::connect(server.address()).ok()?;
    let value = client.call(&split(line)).ok()?;
    match value {
        Value::Status(text) => Some(text),
        value => value.as_text(),
    }
}

fn split(line: &str) -> Vec<Vec<u8>> {
    words::split(line).expect("balanced quotes")
}

fn wait(what: &str, mut has_come: impl FnMut() -> bool) -> Result<(), Failure> {
    let stopwatch = Stopwatch::start();
    while !has_come() {
        if PATIENCE < stopwatch.elapsed() {
            return Err(format!("it never came: {what}").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
