//! Dump files between real servers and ours, both ways: whoever loads what another one saved has the same digest.

use std::path::Path;
use std::time::Duration;

use rubine_testing::client::Client;
use rubine_testing::server::{Server, ServerOptions};

use crate::Failure;
use crate::peer;

/// Some of every type, small and large. Every server that takes part knows these.
const CONTENT: &[&str] = &[
    "SET text hello",
    "SET number 12345",
    "SET due later PX 100000000",
    "DEBUG POPULATE 2000 key 100",
    "RPUSH list a b 3 -4 5000000000",
    "SADD integers 1 2 3 70000 -5000000000",
    "SADD words a b c 1",
    "HSET hash field value 1 2",
    // Redis 7.0 prints large scores in its digest with other digits than later servers do.
    "ZADD sorted 1 a 2.5 b -inf c 1024 d",
];

/// Commands that make collections too large for their small form.
fn large(client: &mut Client) -> Result<(), Failure> {
    for number in 0..1500 {
        client.run(&format!("RPUSH large:list {number}-{}", "x".repeat(number % 100)))?;
        client.run(&format!("SADD large:set member:{number}"))?;
        client.run(&format!("HSET large:hash field:{number} value:{number}"))?;
        client.run(&format!("ZADD large:sorted {number}.5 member:{number}"))?;
    }
    client.run(&format!("SET large:text {}", "compressible ".repeat(1000)))?;
    Ok(())
}

/// What is different between the families and versions.
const STREAMS: &[&str] =
    &["XADD stream 1-1 a b", "XADD stream 1-2 c d", "XGROUP CREATE stream group 0"];

pub(super) fn run(ours: &Path) -> Result<(), Failure> {
    let valkey = peer::valkey_program("valkey-server");
    // Debian's Redis 7.0 is older than what we write by ourselves.
    let peers = [("redis-server", peer::redis_server(), "10"), ("valkey-server", valkey, "auto")];
    for (name, program, version) in peers {
        let Some(program) = program else {
            println!("e2e: dump files: without {name}, which is not installed");
            continue;
        };
        let own = options(ours).with("rdb-version", version);
        let others = options(&program);
        hand_over(&own, &others).map_err(|error| format!("from ours to {name}: {error}"))?;
        hand_over(&others, &own).map_err(|error| format!("from {name} to ours: {error}"))?;
        println!("e2e: dump files: {name} and ours load each other's");
    }
    Ok(())
}

fn options(program: &Path) -> ServerOptions {
    ServerOptions::new(program).with("enable-debug-command", "yes")
}

/// Saves with one server, loads with another, and compares.
fn hand_over(from: &ServerOptions, to: &ServerOptions) -> Result<(), Failure> {
    let writer = from.clone().start()?;
    let mut client = writer.client();
    for line in CONTENT.iter().chain(STREAMS) {
        expect_success(line, &client.run(line)?)?;
    }
    large(&mut client)?;
    client.run("SELECT 3")?;
    client.run("SET elsewhere yes")?;
    expect_success("SAVE", &client.run("SAVE")?)?;
    let expected = digest(&writer)?;
    let mut reader = to.clone().start()?;
    reader.kill();
    std::fs::copy(writer.directory().join("dump.rdb"), reader.directory().join("dump.rdb"))?;
    reader.restart()?;
    let found = digest(&reader)?;
    if found == expected {
        return Ok(());
    }
    Err(format!("the digest of what was saved is {expected}, and of what was loaded {found}")
        .into())
}

fn digest(server: &Server) -> Result<String, Failure> {
    // What was loaded may still be told of as loading for a moment.
    for _ in 0..100 {
        let digest = server.client().run("DEBUG DIGEST")?;
        if !digest.contains("LOADING") {
            return Ok(digest);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("loading takes too long".into())
}

fn expect_success(line: &str, reply: &str) -> Result<(), Failure> {
    if reply.starts_with("(error)") { Err(format!("{line}: {reply}").into()) } else { Ok(()) }
}
