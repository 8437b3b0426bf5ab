//! Whether replicas have what their master has, is found out, and what they have otherwise is sent again: while clients
//! write, through replicas of replicas, and with keys and fields that fall due.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rubine_testing::client::Client;
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, named, options, random, wait_until};

fn text(value: &Value) -> String {
    value.as_text().unwrap_or_else(|| panic!("a string was due, not {value:?}"))
}

/// What stands behind a name.
fn field<'v>(map: &'v Value, name: &str) -> &'v Value {
    named(map, name).unwrap_or_else(|| panic!("no {name} in {map:?}"))
}

/// Sends a request that is not refused.
fn run(client: &mut Client, line: &str) {
    let reply = call(client, line);
    assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
}

fn status(client: &mut Client) -> Value {
    call(client, "REPLICATION VERIFY STATUS")
}

/// Compares, and returns what came of it.
fn verify(client: &mut Client) -> Value {
    let started = call(client, "REPLICATION VERIFY");
    assert_eq!(text(&started), "Background verification of replicas started");
    wait_until("the end of a comparison", || text(field(&status(client), "state")) != "running");
    let status = status(client);
    assert_eq!(text(field(&status, "state")), "done", "{status:?}");
    status
}

/// The states of all replicas.
fn states(status: &Value) -> Vec<String> {
    let replicas = elements(field(status, "replicas")).iter();
    let mut states: Vec<_> = replicas.map(|it| text(field(it, "state"))).collect();
    states.sort();
    states
}

/// Keys that differ, and how, in their order.
fn different(status: &Value) -> Vec<String> {
    let named = elements(field(status, "different-keys")).iter();
    let shown = |it: &Value| {
        let parts = elements(it);
        format!("{} {} {}", integer(&parts[0]), text(&parts[1]), text(&parts[2]))
    };
    let mut named: Vec<_> = named.map(shown).collect();
    named.sort();
    named
}

fn master() -> Server {
    let options = options().with("workers", "4").with("enable-debug-command", "yes");
    options.start().expect("the server starts")
}

fn replica_of(master: &Server) -> Server {
    let address = format!("127.0.0.1 {}", master.address().port());
    let replica = options().with("replicaof", &address).with("enable-debug-command", "yes");
    let replica = replica.start().expect("the server starts");
    let mut client = replica.client();
    wait_until("a link", || info(&mut client, "replication", "master_link_status") == "up");
    replica
}

/// Waits until so many replicas are served, and have said so.
fn wait_for_replicas(master: &mut Client, count: usize) {
    let are_served = |master: &mut Client| {
        let replicas = call(master, "INFO replication").as_text().expect("INFO is text");
        let is_served = |line: &&str| line.contains("state=online") && !line.contains("offset=0,");
        replicas.lines().filter(is_served).count() == count
    };
    wait_until("replicas", || are_served(master));
}

/// Writes what replicas could get wrong, until it is to end: all types, keys and fields that fall due, transactions.
fn write(mut client: Client, seed: u64, is_over: &AtomicBool) {
    let mut random = random(seed);
    call(&mut client, &format!("SELECT {}", seed % 2));
    while !is_over.load(Ordering::Relaxed) {
        let number = random.below(200);
        let command = match random.below(16) {
            0 => format!("SET k{number} {seed} PX {}", 1 + random.below(60)),
            1 => format!("INCR n{number}"),
            2 => format!("HSET h{number} a 1 b {seed} c 3"),
            3 => format!("HPEXPIRE h{number} {} FIELDS 2 a b", 1 + random.below(60)),
            4 => format!("RPUSH l{number} {seed} b c"),
            5 => format!("LTRIM l{number} -20 -1"),
            6 => format!("ZINCRBY z{number} 0.1 m{}", random.below(50)),
            7 => format!("SADD s{number} {} x", random.below(50)),
            8 => format!("SPOP s{number}"),
            9 => format!("XADD x{number} MAXLEN 50 * f {seed}"),
            10 => format!("XGROUP CREATE x{number} g 0 MKSTREAM"),
            11 => format!("XREADGROUP GROUP g c{seed} COUNT 3 STREAMS x{number} >"),
            12 => format!("XAUTOCLAIM x{number} g d{seed} 0 0 COUNT 2"),
            13 => format!(
                "EVAL \"redis.call('SET', KEYS[1], 1); return redis.call('PEXPIRE', KEYS[1], 20)\" 1 e{number}"
            ),
            14 => format!("APPEND k{number} {seed}"),
            _ => format!("UNLINK k{number} h{number}"),
        };
        call(&mut client, &command);
    }
}

/// Ends the writers, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_spoiled_replica_is_found_and_mended_under_load() {
    let master = master();
    let mut client = master.client();
    run(&mut client, "DEBUG POPULATE 20000 key 20");
    // Larger than what is written while its shard is locked.
    run(&mut client, "EVAL \"for i = 1, 20000 do redis.call('RPUSH', 'long', i) end\" 0");
    let replica = replica_of(&master);
    let chained = replica_of(&replica);
    wait_for_replicas(&mut client, 1);
    wait_for_replicas(&mut replica.client(), 1);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&is_over);
        for seed in 0..3 {
            let (writer, is_over) = (master.client(), &is_over);
            scope.spawn(move || write(writer, seed, is_over));
        }
        for _ in 0..3 {
            let same = verify(&mut client);
            assert_eq!(states(&same), ["same", "same"], "{same:?}");
            assert_eq!(different(&same), Vec::<String>::new());
            assert!(20_000 <= integer(field(&same, "keys")));
        }
        let (mut spoiled, mut below) = (replica.client(), chained.client());
        run(&mut spoiled, "CONFIG SET replica-read-only no");
        run(&mut below, "CONFIG SET replica-read-only no");
        for command in ["SET key:7 other", "DEL key:8", "SET own x PX 1000000", "LSET long -1 y"] {
            run(&mut spoiled, command);
        }
        run(&mut spoiled, "PEXPIRE key:9 100000000");
        for command in ["DEL key:7", "SELECT 3", "SADD own x"] {
            run(&mut below, command);
        }
        let found = verify(&mut client);
        assert_eq!(states(&found), ["differs", "differs"]);
        let expected = [
            "0 key:7 missing",
            "0 key:7 other",
            "0 key:8 missing",
            "0 key:9 other",
            "0 long other",
            "0 own extra",
            "3 own extra",
        ];
        assert_eq!(different(&found), expected);
        assert_eq!(integer(field(&found, "differences")), 7);
        assert_eq!(integer(&call(&mut client, "REPLICATION REPAIR")), 6);
        wait_until("the end of a repair", || {
            text(field(field(&status(&mut client), "repair"), "state")) == "done"
        });
        let mended = verify(&mut client);
        assert_eq!(states(&mended), ["same", "same"], "{mended:?}");
    });
    assert_eq!(info(&mut client, "replication", "verify_replicas_same"), "2");
    assert!(master.log().contains("key 'long' (other)"), "{}", master.log());
    let digests = || [&master, &replica, &chained].map(|it| call(&mut it.client(), "DEBUG DIGEST"));
    wait_until("equal data", || {
        let digests = digests();
        digests[0] == digests[1] && digests[0] == digests[2]
    });
}

#[test]
fn who_cannot_be_compared_is_told_with_the_reason() {
    let master = options().start().expect("the server starts");
    let mut client = master.client();
    let error = |client: &mut Client, line: &str| match call(client, line) {
        Value::Error(text) => text,
        other => panic!("an error was due, not {other:?}"),
    };
    assert_eq!(error(&mut client, "REPLICATION VERIFY"), "ERR there is no replica");
    // It speaks as a Redis does.
    let mut stranger = master.client();
    call(&mut stranger, "REPLCONF listening-port 7007");
    call(&mut stranger, "REPLCONF capa eof capa psync2");
    stranger.send_raw(b"PSYNC ? -1\r\n").expect("the master listens");
    wait_until("a replica", || info(&mut client, "replication", "connected_slaves") == "1");
    let refused = error(&mut client, "REPLICATION VERIFY");
    let expected =
        "ERR no replica can be compared: 127.0.0.1:7007 is no Rubine, and cannot be asked";
    assert_eq!(refused, expected);

    let replica = replica_of(&master);
    wait_for_replicas(&mut client, 1);
    let both = verify(&mut client);
    assert_eq!(states(&both), ["same", "unable"]);
    let refused = error(&mut replica.client(), "REPLICATION VERIFY");
    assert_eq!(refused, "ERR this server is a replica: its primary compares");
    let nothing = error(&mut client, "REPLICATION REPAIR");
    assert_eq!(nothing, "ERR the last verification found nothing to repair");
}

#[test]
fn a_replica_that_says_nothing_is_waited_for_until_somebody_cancels() {
    let master = options().start().expect("the server starts");
    let mut client = master.client();
    let mut replica = replica_of(&master);
    wait_for_replicas(&mut client, 1);
    signal(&replica, "STOP");
    call(&mut client, "REPLICATION VERIFY START");
    assert_eq!(text(field(&status(&mut client), "state")), "running");
    assert!(matches!(call(&mut client, "REPLICATION VERIFY START"), Value::Error(_)));
    assert!(matches!(call(&mut client, "REPLICATION REPAIR"), Value::Error(_)));
    assert_eq!(text(&call(&mut client, "REPLICATION VERIFY CANCEL")), "OK");
    wait_until("the end", || text(field(&status(&mut client), "state")) == "cancelled");
    signal(&replica, "CONT");
    assert_eq!(
        states(&verify(&mut client)),
        ["same"],
        "what was cancelled is in the way of nothing"
    );

    // One that goes meanwhile is not waited for.
    signal(&replica, "STOP");
    call(&mut client, "REPLICATION VERIFY START");
    replica.kill();
    wait_until("the end", || text(field(&status(&mut client), "state")) == "done");
    let left = status(&mut client);
    let reason = text(field(&elements(field(&left, "replicas"))[0], "reason"));
    assert_eq!(reason, "has lost its link meanwhile");
}

fn signal(server: &Server, name: &str) {
    let pid = server.pid().to_string();
    let status = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(status.expect("there is a kill").success());
}
