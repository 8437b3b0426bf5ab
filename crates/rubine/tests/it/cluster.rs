//! Clusters of our servers: redirections, failovers, slots that are moved by hand, restarts.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rubine_testing::cluster::{self, Answer};
use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::support::{call, elements, integer, send, wait_for_blocked, wait_until};

/// Keys of the slots 12182, 3564 and 7629: of the third, the first and the second of three primaries.
const KEYS: [(&str, u16); 3] = [("foo", 12_182), ("j", 3_564), ("k", 7_629)];

pub(crate) fn node() -> ServerOptions {
    cluster::node(Path::new(env!("CARGO_BIN_EXE_rubine-server")))
        .expect("a free port")
        .with("workers", "2")
        .with("enable-debug-command", "yes")
}

pub(crate) fn id(server: &Server) -> String {
    cluster::id(server).expect("it answers")
}

pub(crate) fn cluster_info(server: &Server, field: &str) -> String {
    cluster::info(server, field).expect("it answers")
}

pub(crate) fn is_primary(server: &Server) -> bool {
    cluster::role(server).expect("it answers") == "master"
}

pub(crate) fn is_ok(value: &Value) -> bool {
    *value == Value::Status("OK".into())
}

pub(crate) fn error(value: &Value) -> &str {
    match value {
        Value::Error(text) => text,
        other => panic!("an error was due, not {other:?}"),
    }
}

/// Introduces all nodes to the first one, and waits until all know all.
pub(crate) fn introduce(nodes: &[Server]) {
    for node in &nodes[1..] {
        assert!(is_ok(&cluster::meet(&nodes[0], node).expect("it answers")));
    }
    let count = nodes.len().to_string();
    wait_until("all nodes are known to all", || {
        nodes.iter().all(|it| cluster_info(it, "cluster_known_nodes") == count)
    });
}

/// Three primaries that share all slots, and so many replicas, of the first, the second and so on.
pub(crate) fn start(replicas: usize) -> Vec<Server> {
    start_with(replicas, |node| node)
}

/// As [`start`], with nodes that have something more.
pub(crate) fn start_with(
    replicas: usize,
    with: impl Fn(ServerOptions) -> ServerOptions,
) -> Vec<Server> {
    let nodes: Vec<_> =
        (0..3 + replicas).map(|_| with(node()).start().expect("a node that starts")).collect();
    for (node, range) in nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
        let mut client = node.client();
        assert!(is_ok(&call(&mut client, &format!("CLUSTER ADDSLOTSRANGE {range}"))));
    }
    introduce(&nodes);
    for (index, replica) in nodes[3..].iter().enumerate() {
        let primary = id(&nodes[index % 3]);
        wait_until("the replica takes its primary", || {
            is_ok(&call(&mut replica.client(), &format!("CLUSTER REPLICATE {primary}")))
        });
    }
    wait_until_ok(&nodes);
    wait_until("all nodes are connected", || {
        nodes.iter().all(|node| {
            let shown = call(&mut node.client(), "CLUSTER NODES").as_text().expect("it is text");
            !shown.contains("disconnected")
        })
    });
    for replica in &nodes[3..] {
        wait_until("the replica is in sync", || {
            let info = call(&mut replica.client(), "INFO replication").as_text().expect("text");
            info.contains("master_link_status:up")
        });
    }
    nodes
}

/// Has a replica take its primary's place. On a busy machine the time may not do, and it has to be asked again.
pub(crate) fn take_over(replica: &Server) {
    for _ in 0..10 {
        wait_until("the failover is taken", || {
            is_primary(replica) || is_ok(&call(&mut replica.client(), "CLUSTER FAILOVER"))
        });
        for _ in 0..70 {
            if is_primary(replica) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    panic!("the replica does not take over");
}

pub(crate) fn wait_until_ok(nodes: &[Server]) {
    wait_until("the cluster is well", || {
        nodes.iter().all(|it| cluster_info(it, "cluster_state") == "ok")
    });
}

/// A client that follows redirections. Here no request is lost on its way.
pub(crate) struct Router(cluster::Router);

impl Router {
    pub(crate) fn new(nodes: &[Server]) -> Self {
        Self(cluster::Router::new(nodes))
    }

    /// The second word is the key.
    pub(crate) fn call(&mut self, line: &str) -> Value {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        loop {
            if let Answer::Reply(reply) = self.0.call(words[1], &words) {
                return reply;
            }
        }
    }
}

/// Has writers write through routers of their own while `act` runs, each beginning with what `begin` counts. `write` is told what
/// the writer has come to, and sees to it that it is the next. Returns what each has come to.
pub(crate) fn while_written(
    nodes: &[Server],
    writers: usize,
    begin: impl Fn(&mut Router, usize) -> i64 + Sync,
    write: impl Fn(&mut Router, usize, i64) + Sync,
    act: impl FnOnce(),
) -> Vec<i64> {
    let (is_over, begin, write) = (&AtomicBool::new(false), &begin, &write);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || {
                    let mut router = Router::new(nodes);
                    let mut count = begin(&mut router, writer);
                    while !is_over.load(Ordering::Relaxed) {
                        write(&mut router, writer, count);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        act();
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|it| it.join().expect("it wrote")).collect()
    })
}

#[test]
fn requests_are_sent_where_they_belong() {
    let nodes = start(0);
    let addresses: Vec<_> = nodes.iter().map(|it| it.address().to_string()).collect();
    let mut client = nodes[0].client();
    let owners = [2, 0, 1];
    for ((key, slot), owner) in KEYS.into_iter().zip(owners) {
        assert_eq!(integer(&call(&mut client, &format!("CLUSTER KEYSLOT {key}"))), i64::from(slot));
        let reply = call(&mut client, &format!("SET {key} 1"));
        if owner == 0 {
            assert!(is_ok(&reply));
        } else {
            assert_eq!(error(&reply), format!("MOVED {slot} {}", addresses[owner]));
        }
    }
    assert!(error(&call(&mut client, "MGET j foo")).starts_with("CROSSSLOT "));
    assert!(is_ok(&call(&mut client, "MSET {j}a 1 {j}b 2")));
    // What is refused spoils a transaction, and keys of several slots are found at its end.
    call(&mut client, "MULTI");
    assert!(error(&call(&mut client, "SET foo 1")).starts_with("MOVED "));
    assert!(error(&call(&mut client, "EXEC")).starts_with("EXECABORT "));
    call(&mut client, "MULTI");
    call(&mut client, "SET {j}a 3");
    call(&mut client, "SET b 4");
    assert!(error(&call(&mut client, "EXEC")).starts_with("CROSSSLOT "));
    assert_eq!(call(&mut client, "GET {j}a").as_text().as_deref(), Some("1"));
    // Scripts.
    assert!(error(&call(&mut client, "EVAL \"return 1\" 2 j foo")).starts_with("CROSSSLOT "));
    let undeclared = "EVAL \"return redis.call('GET', 'foo')\" 0";
    assert!(error(&call(&mut client, undeclared)).contains("non local key"));
    assert!(error(&call(&mut client, "SELECT 1")).contains("out of range"));
    assert!(error(&call(&mut client, "SORT j BY w_*")).contains("denied in Cluster mode"));
    let slots = call(&mut client, "CLUSTER SLOTS");
    assert_eq!(elements(&slots).len(), 3);
    assert_eq!(elements(&call(&mut client, "CLUSTER SHARDS")).len(), 3);
}

#[test]
fn a_replica_takes_the_place_of_its_primary() {
    let mut nodes = start(1);
    let mut router = Router::new(&nodes);
    for number in 0..200 {
        assert!(is_ok(&router.call(&format!("SET key:{number} {number}"))));
    }
    let primary = id(&nodes[0]);
    wait_until("the replica has everything", || {
        let offset = |node: &Server| {
            let info = call(&mut node.client(), "INFO replication").as_text().expect("text");
            let line = info.lines().find(|it| it.starts_with("master_repl_offset:"));
            line.map(str::to_owned)
        };
        offset(&nodes[0]) == offset(&nodes[3])
    });
    // It reads from its primary's slots for those who ask.
    let mut reader = nodes[3].client();
    assert!(error(&call(&mut reader, "GET j")).starts_with("MOVED "));
    assert!(is_ok(&call(&mut reader, "READONLY")));
    assert_eq!(call(&mut reader, "GET j").as_text(), None);
    assert!(error(&call(&mut reader, "SET j 1")).starts_with("MOVED "));
    nodes[0].kill();
    wait_until("the replica is a primary", || is_primary(&nodes[3]));
    for number in 0..200 {
        let value = router.call(&format!("GET key:{number}"));
        assert_eq!(value.as_text(), Some(number.to_string()));
    }
    assert!(is_ok(&router.call("SET j after")));
    // The old primary comes back as a replica of the new one.
    nodes[0].restart().expect("it starts again");
    assert_eq!(id(&nodes[0]), primary);
    wait_until("the old primary follows", || !is_primary(&nodes[0]));
    wait_until_ok(&nodes);
}

/// That the cluster has made a node a replica is no reason to refuse what it is set to.
#[test]
fn a_replica_may_be_configured() {
    let nodes = start(1);
    let mut client = nodes[3].client();
    for line in ["CONFIG SET hz 20", "CONFIG SET cluster-announce-client-ipv6 cafe:1234::0"] {
        assert!(is_ok(&call(&mut client, line)), "{line}");
    }
    // An address is told as it was written.
    wait_until("the others know what clients are told", || {
        let file = nodes[0].directory().join("nodes.conf");
        std::fs::read_to_string(file).is_ok_and(|it| it.contains("client-ipv6=cafe:1234::0"))
    });
    let sent = |it: &str| cluster_info(&nodes[3], it).parse::<u64>().expect("a number");
    let before = sent("cluster_stats_messages_sent");
    assert!(is_ok(&call(&mut client, "CONFIG RESETSTAT")));
    assert!(sent("cluster_stats_messages_sent") < before);
}

#[test]
fn a_planned_failover_loses_nothing() {
    let nodes = start(1);
    let is_over = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (nodes, is_over) = (&nodes, &is_over);
                scope.spawn(move || {
                    let mut router = Router::new(nodes);
                    let mut count = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        // All in one slot of the primary that is replaced.
                        let length = router.call(&format!("RPUSH {{j}}{writer} {count}"));
                        count += 1;
                        assert_eq!(integer(&length), count, "nothing is lost, nothing is doubled");
                    }
                    count
                })
            })
            .collect();
        for round in 0..4 {
            let replica = if round % 2 == 0 { &nodes[3] } else { &nodes[0] };
            take_over(replica);
        }
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().map(|it| it.join().expect("it wrote")).collect::<Vec<_>>()
    });
    let mut router = Router::new(&nodes);
    for (writer, count) in written.into_iter().enumerate() {
        assert_eq!(integer(&router.call(&format!("LLEN {{j}}{writer}"))), count);
    }
}

#[test]
fn a_slot_is_moved_key_by_key() {
    let nodes = start(0);
    let (source, target) = (id(&nodes[0]), id(&nodes[1]));
    let (mut from, mut to) = (nodes[0].client(), nodes[1].client());
    for number in 0..10 {
        call(&mut from, &format!("SET {{j}}{number} {number}"));
    }
    assert!(is_ok(&call(&mut to, &format!("CLUSTER SETSLOT 3564 IMPORTING {source}"))));
    assert!(is_ok(&call(&mut from, &format!("CLUSTER SETSLOT 3564 MIGRATING {target}"))));
    let target_port = nodes[1].address().port();
    let migrate = format!("MIGRATE 127.0.0.1 {target_port} \"\" 0 5000 KEYS {{j}}0 {{j}}1");
    assert!(is_ok(&call(&mut from, &migrate)));
    // What has gone is asked for there, what is here is here, and both together nowhere.
    let ask = format!("ASK 3564 127.0.0.1:{target_port}");
    assert_eq!(error(&call(&mut from, "GET {j}0")), ask);
    assert_eq!(error(&call(&mut from, "SET {j}new 1")), ask);
    assert_eq!(call(&mut from, "GET {j}5").as_text().as_deref(), Some("5"));
    assert!(error(&call(&mut from, "MGET {j}0 {j}5")).starts_with("TRYAGAIN "));
    assert!(error(&call(&mut to, "GET {j}0")).starts_with("MOVED "));
    call(&mut to, "ASKING");
    assert_eq!(call(&mut to, "GET {j}0").as_text().as_deref(), Some("0"));
    assert!(error(&call(&mut to, "GET {j}0")).starts_with("MOVED "), "it is for one command");
    call(&mut to, "ASKING");
    assert!(error(&call(&mut to, "MGET {j}0 {j}5")).starts_with("TRYAGAIN "));
    call(&mut to, "ASKING");
    call(&mut to, "MULTI");
    call(&mut to, "INCR {j}0");
    call(&mut to, "INCR {j}1");
    assert_eq!(elements(&call(&mut to, "EXEC")).len(), 2);
    let keys = call(&mut from, "CLUSTER GETKEYSINSLOT 3564 100");
    assert_eq!(elements(&keys).len(), 8);
    let keys: Vec<_> = elements(&keys).iter().filter_map(Value::as_text).collect();
    let migrate = format!("MIGRATE 127.0.0.1 {target_port} \"\" 0 5000 KEYS {}", keys.join(" "));
    assert!(is_ok(&call(&mut from, &migrate)));
    assert!(is_ok(&call(&mut to, &format!("CLUSTER SETSLOT 3564 NODE {target}"))));
    assert!(is_ok(&call(&mut from, &format!("CLUSTER SETSLOT 3564 NODE {target}"))));
    let moved = format!("MOVED 3564 127.0.0.1:{target_port}");
    assert_eq!(error(&call(&mut from, "GET {j}0")), moved);
    assert_eq!(call(&mut to, "GET {j}0").as_text().as_deref(), Some("1"));
    wait_until("the third knows", || error(&call(&mut nodes[2].client(), "GET {j}0")) == moved);
}

#[test]
fn who_waits_for_a_key_hears_that_its_slot_has_gone() {
    let nodes = start(0);
    let target = id(&nodes[1]);
    let (mut from, mut waiting) = (nodes[0].client(), nodes[0].client());
    let mut listening = nodes[0].client();
    send(&mut listening, "SSUBSCRIBE {j}channel");
    assert_eq!(elements(&listening.reply().unwrap()).len(), 3);
    send(&mut waiting, "BLPOP {j}list 0");
    wait_for_blocked(&mut from, 1);
    assert!(is_ok(&call(&mut from, &format!("CLUSTER SETSLOT 3564 NODE {target}"))));
    let moved = format!("MOVED 3564 127.0.0.1:{}", nodes[1].address().port());
    assert_eq!(error(&waiting.reply().unwrap()), moved);
    let told = listening.reply().unwrap();
    assert_eq!(elements(&told)[0].as_text().as_deref(), Some("sunsubscribe"));
    assert_eq!(elements(&told)[1].as_text().as_deref(), Some("{j}channel"));
}

#[test]
fn messages_reach_every_node() {
    let nodes = start(1);
    let mut listeners: Vec<_> = nodes.iter().map(Server::client).collect();
    for listener in &mut listeners {
        send(listener, "SUBSCRIBE channel");
        listener.reply().unwrap();
    }
    call(&mut nodes[1].client(), "PUBLISH channel message");
    for listener in &mut listeners {
        let message = listener.reply().unwrap();
        assert_eq!(elements(&message)[2].as_text().as_deref(), Some("message"));
    }
    // Of a shard, its nodes only.
    let mut shard: Vec<_> = [&nodes[0], &nodes[3]].map(Server::client).into();
    for listener in &mut shard {
        send(listener, "SSUBSCRIBE j");
        listener.reply().unwrap();
    }
    call(&mut nodes[0].client(), "SPUBLISH j message");
    for listener in &mut shard {
        let message = listener.reply().unwrap();
        assert_eq!(elements(&message)[0].as_text().as_deref(), Some("smessage"));
    }
}

#[test]
fn all_nodes_come_back_at_once() {
    let mut nodes = start(1);
    let shown = |node: &Server| {
        let text = call(&mut node.client(), "CLUSTER NODES").as_text().expect("it is text");
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                // Not whether it is the one that is asked, nor times.
                let flags = words[2].replace("myself,", "");
                [words[0], &flags, words[3], words[6], &words[8..].join(" ")].join(" ")
            })
            .collect();
        lines.sort();
        lines
    };
    let before = shown(&nodes[0]);
    nodes.iter_mut().for_each(Server::kill);
    for node in &mut nodes {
        node.restart().expect("it starts again");
    }
    wait_until_ok(&nodes);
    for node in &nodes {
        wait_until("it knows what it knew", || shown(node) == before);
    }
    assert!(is_ok(&Router::new(&nodes).call("SET foo 1")));
}
