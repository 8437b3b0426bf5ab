//! `cargo xtask exchange`: dump files and append-only files of real servers in ours, and ours in theirs. They go there and
//! back, and what the real server says about its data, a digest, must be the same before and after.

use std::fs;
use std::path::{Path, PathBuf};

use rubine_testing::client::Client;
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::Failure;
use crate::build;
use crate::peer;

const FILE: &str = "dump.rdb";

/// Files of Valkey's suite that no server loads.
const DAMAGED: [&str; 4] = [
    "corrupt_empty_keys.rdb",
    "corrupt_ziplist.rdb",
    "encodings-rdb75-unknown-types.rdb",
    "encodings-rdb987-unknown-types.rdb",
];

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// The server, instead of one built for it
    #[arg(long)]
    server: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let program = build::server_or(options.server.as_deref(), "dev")?;
    let mut failures = Vec::new();
    if let Some(valkey) = peer::valkey_program("valkey-server") {
        // Without a version of its own: what is common to all, or Valkey's where the data asks for it.
        failures.extend(exchange(&program, &valkey, "auto", fill_with_deadlines)?);
        failures.extend(exchange(&program, &valkey, "auto", fill)?);
        failures.extend(exchange(&program, &valkey, "80", fill)?);
        failures.extend(load_old(&program, &valkey)?);
        failures.extend(migrate(&program, &valkey, fill_with_deadlines)?);
        for preamble in ["yes", "no"] {
            failures.extend(exchange_log(&program, &valkey, "auto", preamble, fill)?);
        }
    } else {
        println!("exchange: without Valkey, which cannot be had here");
    }
    if let Some(redis) = peer::built_redis() {
        failures.extend(exchange(&program, &redis, "auto", fill)?);
        failures.extend(exchange(&program, &redis, "12", fill_with_deadlines)?);
        failures.extend(migrate(&program, &redis, fill_with_deadlines)?);
        for preamble in ["yes", "no"] {
            failures.extend(exchange_log(&program, &redis, "auto", preamble, fill)?);
        }
    } else {
        println!("exchange: without Redis 8, which is not built");
    }
    if let Some(redis) = peer::redis_server() {
        // Debian's redis-server is 7.0, which is too old for the version that is common to newer ones.
        failures.extend(exchange(&program, &redis, "10", fill)?);
        failures.extend(exchange(&program, &redis, "9", fill)?);
        failures.extend(migrate(&program, &redis, fill_with_plain_scores)?);
        for preamble in ["yes", "no"] {
            failures.extend(exchange_log(
                &program,
                &redis,
                "10",
                preamble,
                fill_with_plain_scores,
            )?);
        }
    } else {
        println!("exchange: without an older Redis, which is not installed");
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// A file of the peer's, in our server, and back.
fn exchange(
    ours: &Path,
    peer: &Path,
    version: &str,
    fill: fn(&mut Client) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let (ours, peer) = start_both(ours, peer, version)?;
    let mut client = peer.client();
    fill(&mut client)?;
    expect_ok(&mut client, &["SAVE"])?;
    there_and_back(&ours, &peer, &format!("rdb-version {version}"))
}

/// All keys of the peer's, by MIGRATE to our server and back. Neither is told what the other reads.
fn migrate(
    ours: &Path,
    peer: &Path,
    fill: fn(&mut Client) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let (ours, peer) = start_both(ours, peer, "auto")?;
    fill(&mut peer.client())?;
    let before = state_of_first_databases(&peer)?;
    for (from, to) in [(&peer, &ours), (&ours, &peer)] {
        let mut client = from.client();
        let port = to.address().port().to_string();
        for db in FIRST_DATABASES {
            let db = db.to_string();
            expect_ok(&mut client, &["SELECT", &db])?;
            let keys = client.call(&["KEYS", "*"])?;
            let keys: Vec<_> =
                keys.as_elements().unwrap_or_default().iter().filter_map(Value::as_text).collect();
            if !keys.is_empty() {
                call_with(
                    &mut client,
                    &["MIGRATE", "127.0.0.1", &port, "", &db, "60000", "KEYS"],
                    &keys,
                )?;
            }
        }
    }
    let after = state_of_first_databases(&peer)?;
    let name = identity(&mut peer.client())?;
    if before == after {
        println!("exchange: {name}, MIGRATE: {:?} keys there and back", before.1);
        return Ok(None);
    }
    Ok(Some(format!("exchange: {name}, MIGRATE: {before:?} went there, {after:?} came back")))
}

/// Those in which [`fill`] puts keys.
const FIRST_DATABASES: std::ops::Range<u32> = 0..4;

/// A digest of all data, and the number of keys by database.
fn state_of_first_databases(server: &Server) -> Result<(String, Vec<i64>), Failure> {
    let mut client = server.client();
    let (digest, _) = state(&mut client)?;
    let mut counts = Vec::new();
    for db in FIRST_DATABASES {
        expect_ok(&mut client, &["SELECT", &db.to_string()])?;
        counts.push(state(&mut client)?.1);
    }
    Ok((digest, counts))
}

/// Files that servers of the past wrote, which Valkey keeps for its own tests.
fn load_old(ours: &Path, valkey: &Path) -> Result<Vec<String>, Failure> {
    let Some(assets) = valkey.parent().map(|it| it.join("../tests/assets")) else {
        return Ok(Vec::new());
    };
    if !assets.is_dir() {
        println!("exchange: without old files: Valkey's source is not beside its program");
        return Ok(Vec::new());
    }
    let mut paths: Vec<_> =
        fs::read_dir(assets)?.map(|entry| Ok(entry?.path())).collect::<Result<_, Failure>>()?;
    paths.sort();
    let mut failures = Vec::new();
    for path in paths {
        let name = path.file_name().map(|it| it.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let is_file = path.extension().is_some_and(|it| it == "rdb");
        let is_wanted = is_file && !DAMAGED.contains(&name.as_str());
        if !is_wanted {
            continue;
        }
        let (ours, peer) = start_both(ours, valkey, "auto")?;
        for server in [&ours, &peer] {
            expect_ok(&mut server.client(), &["CONFIG", "SET", "rdb-version-check", "relaxed"])?;
        }
        fs::copy(&path, peer.directory().join(FILE))?;
        expect_ok(&mut peer.client(), &["DEBUG", "RELOAD", "NOSAVE"])?;
        failures.extend(there_and_back(&ours, &peer, &name)?);
    }
    Ok(failures)
}

fn start_both(ours: &Path, peer: &Path, version: &str) -> Result<(Server, Server), Failure> {
    let start = |program: &Path| {
        ServerOptions::new(program).with("enable-debug-command", "yes").with("dbfilename", FILE)
    };
    Ok((start(ours).with("rdb-version", version).start()?, start(peer).start()?))
}

/// Takes the peer's file to our server, and what that writes back to the peer. Returns what is wrong.
fn there_and_back(ours: &Server, peer: &Server, what: &str) -> Result<Option<String>, Failure> {
    let (mut client, mut our_client) = (peer.client(), ours.client());
    let before = state(&mut client)?;
    fs::copy(peer.directory().join(FILE), ours.directory().join(FILE))?;
    expect_ok(&mut our_client, &["DEBUG", "RELOAD", "NOSAVE"])?;
    expect_ok(&mut our_client, &["SAVE"])?;
    fs::copy(ours.directory().join(FILE), peer.directory().join(FILE))?;
    expect_ok(&mut client, &["DEBUG", "RELOAD", "NOSAVE"])?;
    let after = state(&mut client)?;
    let name = identity(&mut client)?;
    if before == after {
        println!("exchange: {name}, {what}: {} keys there and back", before.1);
        return Ok(None);
    }
    Ok(Some(format!("exchange: {name}, {what}: {before:?} went there, {after:?} came back")))
}

/// An append-only file of the peer's in our server, which goes on with it, and back. A base, and an increment behind it.
fn exchange_log(
    ours: &Path,
    peer: &Path,
    version: &str,
    preamble: &str,
    fill: fn(&mut Client) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let (mut ours, mut peer) = start_both(ours, peer, version)?;
    for server in [&mut ours, &mut peer] {
        server.set_directive("appendonly", "yes");
        server.set_directive("appendfsync", "always");
        server.set_directive("aof-use-rdb-preamble", preamble);
        server.set_directive("aof-timestamp-enabled", "yes");
    }
    peer.restart()?;
    fill(&mut peer.client())?;
    go_on_with_log(&peer, 1)?;
    let mut before = vec![state(&mut peer.client())?];
    peer.kill();
    take_log(&peer, &mut ours)?;
    let mut found = vec![state(&mut ours.client())?];
    go_on_with_log(&ours, 2)?;
    before.push(state(&mut ours.client())?);
    ours.kill();
    take_log(&ours, &mut peer)?;
    found.push(state(&mut peer.client())?);
    let name = identity(&mut peer.client())?;
    let what = format!("append-only file, preamble {preamble}");
    if before == found {
        println!("exchange: {name}, {what}: {} keys there and back", before[0].1);
        return Ok(None);
    }
    Ok(Some(format!("exchange: {name}, {what}: {before:?} went there, {found:?} came back")))
}

/// Rewrites the log and writes something behind the base.
fn go_on_with_log(server: &Server, round: u32) -> Result<(), Failure> {
    const POLLS_MAX: u32 = 2000;
    const POLL: std::time::Duration = std::time::Duration::from_millis(10);
    let mut client = server.client();
    expect_ok(&mut client, &["BGREWRITEAOF"])?;
    let mut polls = 0;
    loop {
        std::thread::sleep(POLL);
        let info = client.run("INFO persistence")?;
        let is_over =
            info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
        if is_over {
            break;
        }
        polls += 1;
        if POLLS_MAX < polls {
            return Err("a rewrite does not end".into());
        }
    }
    let key = format!("round:{round}");
    for command in [
        vec!["RPUSH", "list", &key],
        vec!["MULTI"],
        vec!["INCR", "int8"],
        vec!["SELECT", "5"],
        vec!["SET", &key, "x"],
        vec!["SELECT", "0"],
        vec!["SPOP", "members"],
        vec!["EXEC"],
        vec!["PEXPIRE", "set", "100000000"],
        vec!["XADD", "stream", "*", "f", &key],
    ] {
        expect_ok(&mut client, &command)?;
    }
    Ok(())
}

/// Lets a server start with the log of another one.
fn take_log(from: &Server, into: &mut Server) -> Result<(), Failure> {
    const FOLDER: &str = "appendonlydir";
    into.kill();
    let folder = into.directory().join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    for file in fs::read_dir(from.directory().join(FOLDER))? {
        let file = file?;
        fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    Ok(into.restart()?)
}

/// A digest of all data, and the number of keys.
fn state(client: &mut Client) -> Result<(String, i64), Failure> {
    let digest = client.call(&["DEBUG", "DIGEST"])?;
    let Value::Integer(count) = client.call(&["DBSIZE"])? else {
        return Err("DBSIZE is no number".into());
    };
    Ok((format!("{digest:?}"), count))
}

fn identity(client: &mut Client) -> Result<String, Failure> {
    let Value::Bulk(text) = client.call(&["INFO", "server"])? else {
        return Err("INFO is no text".into());
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let field =
        |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    let valkey = field("valkey_version:").map(|version| format!("Valkey {version}"));
    let redis = || field("redis_version:").map(|version| format!("Redis {version}"));
    valkey.or_else(redis).ok_or_else(|| "INFO names no version".into())
}

fn expect_ok(client: &mut Client, command: &[&str]) -> Result<(), Failure> {
    match client.call(command)? {
        Value::Error(text) => Err(format!("{}: {text:?}", command.join(" ")).into()),
        _ => Ok(()),
    }
}

/// Every type in every encoding.
fn fill(client: &mut Client) -> Result<(), Failure> {
    fill_with_scores(client, 0.1, 1.1)
}

/// As [`fill`], with scores that Redis 7.0 writes into its digest with the same digits as later servers do.
fn fill_with_plain_scores(client: &mut Client) -> Result<(), Failure> {
    fill_with_scores(client, 0.5, 1.0)
}

fn fill_with_scores(client: &mut Client, score: f64, step: f64) -> Result<(), Failure> {
    let numbered = |prefix: &str, count: usize| -> Vec<String> {
        (0..count).map(|index| format!("{prefix}{index}")).collect()
    };
    let long = "repetition ".repeat(1000);
    for (key, value) in
        [("int8", "-5"), ("int16", "300"), ("int32", "-70000"), ("int64", "12345678901234")]
    {
        call_with(client, &["SET", key, value], &[])?;
    }
    call_with(client, &["SET", "long", &long, "PXAT", "4102444800123"], &[])?;
    call_with(client, &["RPUSH", "list", "a", "", "-4096", "12345678901234"], &[])?;
    call_with(client, &["RPUSH", "quicklist"], &numbered("item:", 3000))?;
    call_with(client, &["RPUSH", "nodes", &long, "short", "", &long], &[])?;
    call_with(client, &["SADD", "intset"], &numbered("", 100))?;
    call_with(client, &["SADD", "integers"], &numbered("", 2000))?;
    call_with(client, &["SADD", "set", "a", "b", "3"], &[])?;
    call_with(client, &["SADD", "members"], &numbered("member:", 1000))?;
    let score = score.to_string();
    call_with(client, &["ZADD", "zset", "1", "a", &score, "b", "-inf", "c", "inf", "d"], &[])?;
    let scored = (0..600).flat_map(|it| [format!("{}", f64::from(it) * step), format!("m{it}")]);
    call_with(client, &["ZADD", "skiplist"], &scored.collect::<Vec<_>>())?;
    call_with(client, &["HSET", "hash", "f", "v", "1", "2"], &[])?;
    let fields = (0..800).flat_map(|it| [format!("f{it}"), format!("{}", it * it)]);
    call_with(client, &["HSET", "fields"], &fields.collect::<Vec<_>>())?;
    for index in 1..=250 {
        let id = format!("{}-{}", 1000 + index / 3, index);
        call_with(client, &["XADD", "stream", &id, "f", &id, "g", "same"], &[])?;
        if index % 7 == 0 {
            call_with(client, &["XDEL", "stream", &id], &[])?;
        }
    }
    call_with(client, &["XGROUP", "CREATE", "stream", "group", "0"], &[])?;
    let read = ["XREADGROUP", "GROUP", "group", "alice", "COUNT", "9", "STREAMS", "stream", ">"];
    call_with(client, &read, &[])?;
    call_with(client, &["XACK", "stream", "group", "1000-2"], &[])?;
    call_with(client, &["SELECT", "3"], &[])?;
    call_with(client, &["SET", "elsewhere", "x"], &[])?;
    call_with(client, &["SELECT", "0"], &[])
}

/// As [`fill`], with deadlines of fields, which not every version can hold.
fn fill_with_deadlines(client: &mut Client) -> Result<(), Failure> {
    const DEADLINE: &str = "4102444800123";
    fill(client)?;
    for key in ["hash", "fields"] {
        let field = if key == "hash" { "f" } else { "f7" };
        call_with(client, &["HPEXPIREAT", key, DEADLINE, "FIELDS", "1", field], &[])?;
    }
    Ok(())
}

fn call_with(client: &mut Client, start: &[&str], rest: &[String]) -> Result<(), Failure> {
    let command: Vec<&str> = start.iter().copied().chain(rest.iter().map(String::as_str)).collect();
    match client.call(&command)? {
        Value::Error(text) => Err(format!("{}: {text:?}", start.join(" ")).into()),
        _ => Ok(()),
    }
}
