//! Slots that move from node to node by themselves, while they are written, while nodes end, and with what is kept on disk.

use rubine_testing::server::{Server, ServerOptions};
use rubine_testing::value::Value;

use crate::cluster::{
    Router, error, id, is_ok, is_primary, start, start_with, take_over, wait_until_ok,
    while_written,
};
use crate::support::{call, elements, info, integer, named, wait_until};

/// The slot of keys with the tag `{j}`, which is the first node's.
const SLOT: u16 = 3_564;
const KEYS: i64 = 2_000;

/// A field of the newest migration that a node knows of.
fn field(node: &Server, name: &str) -> String {
    let reply = call(&mut node.client(), "CLUSTER GETSLOTMIGRATIONS");
    // While it loads data, it says nothing else.
    let Some(newest) = reply.as_elements().and_then(|it| it.first()) else { return String::new() };
    named(newest, name).and_then(Value::as_text).unwrap_or_default()
}

fn wait_for(node: &Server, state: &str) {
    wait_until(state, || field(node, "state") == state);
}

/// Begins to move slots from one node to another.
fn begin(from: &Server, to: &Server) {
    let line = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {SLOT} {SLOT} NODE {}", id(to));
    let mut client = from.client();
    wait_until("the other node knows whose the slot is", || {
        let reply = call(&mut client, &line);
        assert!(is_ok(&reply), "{reply:?}");
        wait_until("it goes on", || field(from, "state") != "connecting");
        !field(from, "message").contains("does not agree")
    });
}

fn migrate(from: &Server, to: &Server) {
    begin(from, to);
    wait_for(to, "success");
    wait_for(from, "success");
}

/// Has migrations stop before writes are held, or before slots are taken over, or go on.
fn stop(nodes: &[Server], before: &str, stops: bool) {
    for node in nodes {
        let line = format!("DEBUG SLOTMIGRATION PREVENT-{before} {}", u8::from(stops));
        assert!(is_ok(&call(&mut node.client(), &line)));
    }
}

fn fill(node: &Server) {
    let mut client = node.client();
    for number in 0..KEYS {
        assert!(is_ok(&call(&mut client, &format!("SET {{j}}{number} {number}"))));
    }
}

fn count(node: &Server) -> i64 {
    integer(&call(&mut node.client(), &format!("CLUSTER COUNTKEYSINSLOT {SLOT}")))
}

fn size(node: &Server) -> i64 {
    integer(&call(&mut node.client(), "DBSIZE"))
}

fn wait_for_keys(node: &Server, keys: i64) {
    let line = format!("CLUSTER COUNTKEYSINSLOT {SLOT}");
    wait_until("the keys are there", || call(&mut node.client(), &line) == Value::Integer(keys));
}

/// Each of them is there, with its value.
fn check_keys(nodes: &[Server]) {
    let mut router = Router::new(nodes);
    for number in 0..KEYS {
        let value = router.call(&format!("GET {{j}}{number}")).as_text();
        assert_eq!(value, Some(number.to_string()));
    }
}

/// Appends to lists of the slot while `act` runs, and sees to it that nothing is lost, and nothing doubled.
fn with_writers(nodes: &[Server], writers: usize, act: impl FnOnce()) {
    let begin =
        |router: &mut Router, writer| integer(&router.call(&format!("LLEN {{j}}list:{writer}")));
    let write = |router: &mut Router, writer, count| {
        let length = integer(&router.call(&format!("RPUSH {{j}}list:{writer} {count}")));
        assert_eq!(length, count + 1, "nothing is lost, nothing is doubled");
    };
    let written = while_written(nodes, writers, begin, write, act);
    let mut router = Router::new(nodes);
    for (writer, count) in written.into_iter().enumerate() {
        let list = router.call(&format!("LRANGE {{j}}list:{writer} 0 -1"));
        let items: Vec<_> = elements(&list).iter().filter_map(Value::as_text).collect();
        let expected: Vec<_> = (0..count).map(|it| it.to_string()).collect();
        assert!(items == expected, "a list has other items than were written");
    }
}

#[test]
fn a_slot_moves_to_and_fro_while_it_is_written() {
    let nodes = start(2);
    fill(&nodes[0]);
    with_writers(&nodes, 3, || {
        for round in 0..4 {
            let (from, to) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
            migrate(&nodes[from], &nodes[to]);
            assert_eq!(
                (count(&nodes[from]), size(&nodes[from])),
                (0, 0),
                "they went as that was known"
            );
        }
        migrate(&nodes[0], &nodes[1]);
    });
    check_keys(&nodes);
    assert_eq!(size(&nodes[0]), 0);
    assert_eq!(size(&nodes[1]), KEYS + 3);
    for (replica, keys) in [(&nodes[3], 0), (&nodes[4], KEYS + 3)] {
        wait_until("the replica has the same", || size(replica) == keys && count(replica) == keys);
    }
}

#[test]
fn nobody_sees_what_has_not_all_come() {
    let nodes = start(2);
    fill(&nodes[0]);
    stop(&nodes, "PAUSE", true);
    begin(&nodes[0], &nodes[1]);
    wait_for(&nodes[0], "waiting-to-pause");
    assert_eq!(field(&nodes[1], "state"), "waiting-for-paused");
    assert!(is_ok(&call(&mut nodes[0].client(), "SET {j}late 1")));
    for node in [&nodes[1], &nodes[4]] {
        wait_for_keys(node, KEYS + 1);
        assert_eq!(size(node), 0);
        let mut client = node.client();
        // Who asks for the keys of the slot itself is told of them, as by Valkey.
        for (wanted, expected) in [(2 * KEYS, KEYS + 1), (7, 7)] {
            let listed = call(&mut client, &format!("CLUSTER GETKEYSINSLOT {SLOT} {wanted}"));
            assert_eq!(elements(&listed).len() as i64, expected);
        }
        assert!(elements(&call(&mut client, "KEYS *")).is_empty());
        assert_eq!(call(&mut client, "RANDOMKEY").as_text(), None);
        assert!(error(&call(&mut client, "GET {j}late")).starts_with("MOVED "));
    }
    assert_eq!(field(&nodes[4], "state"), "occurring-on-primary");
    let listed = call(&mut nodes[0].client(), "CLIENT LIST").as_text().unwrap();
    assert!(listed.contains("flags=E"), "{listed}");
    let listed = call(&mut nodes[1].client(), "CLIENT LIST").as_text().unwrap();
    assert!(listed.contains("flags=i"), "{listed}");
    for (node, name) in [(1, "import"), (0, "export")] {
        let name = format!("total_net_cluster_slot_{name}_bytes");
        let bytes = info(&mut nodes[node].client(), "stats", &name);
        assert!(bytes.parse::<i64>().is_ok_and(|it| 20 * KEYS < it), "{bytes}");
    }
    // Slots are not moved by hand meanwhile.
    let by_hand = format!("CLUSTER SETSLOT 1 MIGRATING {}", id(&nodes[2]));
    let refused = call(&mut nodes[0].client(), &by_hand);
    assert_eq!(error(&refused), "ERR Slot export in progress.");
    assert!(is_ok(&call(&mut nodes[0].client(), "CLUSTER CANCELSLOTMIGRATIONS")));
    assert_eq!(field(&nodes[0], "state"), "cancelled");
    wait_for(&nodes[1], "failed");
    wait_for(&nodes[4], "failed");
    for node in [&nodes[1], &nodes[4]] {
        wait_for_keys(node, 0);
    }
    check_keys(&nodes);
    stop(&nodes, "PAUSE", false);
    migrate(&nodes[0], &nodes[1]);
    check_keys(&nodes);
}

#[test]
fn a_replica_that_comes_meanwhile_gets_what_nobody_sees() {
    let nodes = start(2);
    fill(&nodes[0]);
    stop(&nodes, "PAUSE", true);
    begin(&nodes[0], &nodes[1]);
    wait_for(&nodes[0], "waiting-to-pause");
    let target = id(&nodes[1]);
    // One that was another node's, so that it gets a dump.
    assert!(is_ok(&call(&mut nodes[3].client(), &format!("CLUSTER REPLICATE {target}"))));
    wait_for(&nodes[3], "occurring-on-primary");
    wait_for_keys(&nodes[3], KEYS);
    assert_eq!(size(&nodes[3]), 0);
    // A dump on disk has it, too.
    assert!(is_ok(&call(&mut nodes[4].client(), "DEBUG RELOAD")));
    assert_eq!(count(&nodes[4]), KEYS);
    stop(&nodes, "PAUSE", false);
    wait_for(&nodes[1], "success");
    for replica in [&nodes[3], &nodes[4]] {
        wait_until("the replica shows it", || size(replica) == KEYS);
    }
    check_keys(&nodes);
}

#[test]
fn flushing_either_end_ends_it() {
    let nodes = start(2);
    stop(&nodes, "PAUSE", true);
    for (flushed, other, kept, lost) in
        [(1, 0, KEYS, "Connection lost to target"), (0, 1, 0, "Connection lost to source")]
    {
        fill(&nodes[0]);
        begin(&nodes[0], &nodes[1]);
        wait_for(&nodes[0], "waiting-to-pause");
        assert!(is_ok(&call(&mut nodes[flushed].client(), "FLUSHALL")));
        for node in &nodes[..2] {
            wait_for(node, "failed");
        }
        assert_eq!(field(&nodes[flushed], "message"), "Data was flushed");
        let message = field(&nodes[other], "message");
        assert!(message.starts_with(lost), "{message}");
        assert_eq!(count(&nodes[0]), kept);
        wait_for_keys(&nodes[1], 0);
        wait_for_keys(&nodes[4], 0);
    }
}

#[test]
fn a_target_that_is_replaced_drops_what_has_come() {
    let nodes = start(2);
    fill(&nodes[0]);
    stop(&nodes, "PAUSE", true);
    begin(&nodes[0], &nodes[1]);
    wait_for(&nodes[0], "waiting-to-pause");
    wait_for_keys(&nodes[4], KEYS);
    take_over(&nodes[4]);
    wait_for(&nodes[0], "failed");
    wait_for(&nodes[4], "failed");
    assert_eq!(field(&nodes[4], "message"), "A failover occurred during slot import");
    for node in [&nodes[1], &nodes[4]] {
        wait_for_keys(node, 0);
    }
    wait_for(&nodes[1], "failed");
    check_keys(&nodes);
    // So does a source that is replaced: its keys are at the new one.
    begin(&nodes[0], &nodes[4]);
    wait_for(&nodes[0], "waiting-to-pause");
    take_over(&nodes[3]);
    for node in [&nodes[0], &nodes[4]] {
        wait_for(node, "failed");
        assert!(!field(node, "message").is_empty());
    }
    wait_for_keys(&nodes[4], 0);
    check_keys(&nodes);
}

/// Nodes that lose nothing that they have answered when they are killed.
fn durable(options: ServerOptions) -> ServerOptions {
    options
        .with("appendonly", "yes")
        .with("appendfsync", "always")
        .with("cluster-manual-failover-timeout", "1000")
        .with("cluster-require-full-coverage", "no")
}

#[test]
fn killed_nodes_lose_and_double_nothing() {
    let mut nodes = start_with(0, durable);
    fill(&nodes[0]);
    for (before, state) in [("PAUSE", "waiting-to-pause"), ("FAILOVER", "failover-granted")] {
        for killed in [0, 1] {
            stop(&nodes, before, true);
            begin(&nodes[0], &nodes[1]);
            wait_for(&nodes[0], state);
            if killed == 1 && before == "FAILOVER" {
                assert_eq!(
                    info(&mut nodes[0].client(), "clients", "paused_reason"),
                    "slot_migration_in_progress"
                );
            }
            nodes[killed].kill();
            if killed == 0 && before == "PAUSE" {
                wait_for(&nodes[1], "failed");
                wait_for_keys(&nodes[1], 0);
            }
            if killed == 1 {
                wait_for(&nodes[0], "failed");
                assert_eq!(info(&mut nodes[0].client(), "clients", "paused_reason"), "none");
                assert!(is_ok(&call(&mut nodes[0].client(), "SET {j}0 0")), "it may write again");
            }
            nodes[killed].restart().expect("it starts again");
            stop(&nodes, before, false);
            wait_until_ok(&nodes);
            wait_for_keys(&nodes[0], KEYS);
            wait_for_keys(&nodes[1], 0);
            assert_eq!(size(&nodes[1]), 0);
            check_keys(&nodes);
        }
    }
}

#[test]
fn a_log_on_disk_says_what_was_taken_over() {
    let nodes = start_with(2, durable);
    fill(&nodes[0]);
    stop(&nodes, "PAUSE", true);
    begin(&nodes[0], &nodes[1]);
    wait_for(&nodes[0], "waiting-to-pause");
    wait_for_keys(&nodes[4], KEYS);
    // A replica keeps it out of sight when it has read its log, and its rewritten log.
    let mut replica = nodes[4].client();
    assert!(is_ok(&call(&mut replica, "DEBUG LOADAOF")));
    assert_eq!((count(&nodes[4]), size(&nodes[4])), (KEYS, 0));
    call(&mut replica, "BGREWRITEAOF");
    wait_until("the log is rewritten", || {
        info(&mut replica, "persistence", "aof_rewrite_in_progress") == "0"
            && info(&mut replica, "persistence", "aof_rewrite_scheduled") == "0"
    });
    assert!(is_ok(&call(&mut replica, "DEBUG LOADAOF")));
    assert_eq!((count(&nodes[4]), size(&nodes[4])), (KEYS, 0));
    stop(&nodes, "PAUSE", false);
    wait_for(&nodes[1], "success");
    wait_until("the replica shows it", || size(&nodes[4]) == KEYS);
    wait_until("the source has dropped it", || size(&nodes[0]) == 0);
    for node in [&nodes[0], &nodes[1], &nodes[4]] {
        let keys = size(node);
        assert!(is_ok(&call(&mut node.client(), "DEBUG LOADAOF")));
        assert_eq!(size(node), keys);
    }
    check_keys(&nodes);
    assert!(is_primary(&nodes[1]));
}

/// A field of each part of a task that a node was asked for.
fn task(node: &Server, id: &str, name: &str) -> Vec<String> {
    let reply = call(&mut node.client(), &format!("CLUSTER MIGRATION STATUS ID {id}"));
    let parts = elements(&reply).iter().map(|part| match named(part, name) {
        Some(Value::Integer(number)) => number.to_string(),
        value => value.and_then(Value::as_text).unwrap_or_default(),
    });
    parts.collect()
}

fn import(node: &Server, slots: &str) -> String {
    let line = format!("CLUSTER MIGRATION IMPORT {slots}");
    let reply = call(&mut node.client(), &line);
    let id = reply.as_text().unwrap_or_default();
    assert!(id.len() == 40 && id.bytes().all(|it| it.is_ascii_hexdigit()), "{reply:?}");
    id
}

/// Has a node take slots in, until all are its own. Whoever has them may not know it yet.
fn import_all(node: &Server, slots: &str) -> String {
    loop {
        let id = import(node, slots);
        wait_until("it is over", || !task(node, &id, "end_time").contains(&"-1".to_owned()));
        let errors = task(node, &id, "last_error");
        if task(node, &id, "state").iter().all(|it| it == "completed") {
            assert!(errors.iter().all(String::is_empty), "{errors:?}");
            return id;
        }
        assert!(errors.iter().any(|it| it.contains("not served by this node")), "{errors:?}");
    }
}

#[test]
fn whoever_wants_slots_asks_for_them() {
    let nodes = start(2);
    fill(&nodes[0]);
    let slot = format!("{SLOT} {SLOT}");
    with_writers(&nodes, 3, || {
        let asked = import_all(&nodes[1], &slot);
        wait_for(&nodes[0], "success");
        for (name, value) in [
            ("operation", "import".to_owned()),
            ("slots", format!("{SLOT}-{SLOT}")),
            ("source", id(&nodes[0])),
            ("dest", id(&nodes[1])),
        ] {
            assert_eq!(task(&nodes[1], &asked, name), [value]);
        }
        // The source knows it by another name.
        let name = field(&nodes[0], "name");
        assert_eq!(task(&nodes[0], &name, "operation"), ["migrate"]);
        assert_eq!(task(&nodes[0], &name, "state"), ["completed"]);
    });
    check_keys(&nodes);
    // Of two owners, by one command.
    let asked = import_all(&nodes[2], &format!("{slot} 0 10"));
    assert_eq!(task(&nodes[2], &asked, "state").len(), 2);
    check_keys(&nodes);
    assert_eq!(call(&mut nodes[2].client(), "CLUSTER MIGRATION CANCEL ALL"), Value::Integer(0));
}

#[test]
fn what_was_asked_for_is_cancelled_at_both_ends() {
    let nodes = start(2);
    fill(&nodes[0]);
    stop(&nodes, "PAUSE", true);
    let asked = import(&nodes[1], &format!("{SLOT} {SLOT}"));
    wait_until("it goes on", || task(&nodes[1], &asked, "state") == ["streaming-buffer"]);
    wait_for_keys(&nodes[1], KEYS);
    let mut target = nodes[1].client();
    let again = call(&mut target, &format!("CLUSTER MIGRATION IMPORT {SLOT} {SLOT}"));
    assert_eq!(
        error(&again),
        format!("ERR overlapping import exists for slot range: {SLOT}-{SLOT}")
    );
    let none = format!("CLUSTER MIGRATION CANCEL ID {}", "a".repeat(40));
    assert_eq!(call(&mut target, &none), Value::Integer(0));
    let cancel = format!("CLUSTER MIGRATION CANCEL ID {asked}");
    assert_eq!(call(&mut target, &cancel), Value::Integer(1));
    wait_for(&nodes[0], "failed");
    wait_until("it is over", || task(&nodes[1], &asked, "state") == ["canceled"]);
    wait_for_keys(&nodes[1], 0);
    check_keys(&nodes);
}

#[test]
fn what_cannot_be_asked_for_is_refused_in_redis_words() {
    let nodes = start(2);
    let other = id(&nodes[1]);
    let arity = "ERR wrong number of arguments for 'cluster|migration' command";
    let slot = "ERR Invalid or out of range slot";
    for (line, expected) in [
        ("", arity),
        ("IMPORT", arity),
        ("IMPORT 100", arity),
        ("IMPORT 100 200 300", arity),
        ("IMPORT 200 100", "ERR start slot number 200 is greater than end slot number 100"),
        ("IMPORT 14000 18000", slot),
        ("IMPORT -1 0", slot),
        ("IMPORT sd sd", slot),
        ("IMPORT 7000 7001 7001 7002", "ERR Slot 7001 specified multiple times"),
        ("IMPORT 100 200", "ERR this node is already the owner of the slot range"),
        ("IMPORT 100 7000", "ERR slots belong to different source nodes"),
        ("CANCEL", arity),
        ("CANCEL ID", arity),
        ("CANCEL ALL 1", arity),
        ("CANCEL EVERY", "ERR unknown argument"),
        ("STATUS ID", arity),
        ("STATUS SOME", "ERR unknown argument"),
        ("EXPORT 1 2", "ERR unknown argument"),
    ] {
        let reply = call(&mut nodes[0].client(), format!("CLUSTER MIGRATION {line}").trim_end());
        assert_eq!(error(&reply), expected, "{line}");
    }
    let at_replica = call(&mut nodes[3].client(), "CLUSTER MIGRATION IMPORT 7000 7001");
    assert_eq!(error(&at_replica), "ERR slot migration not allowed on replica.");
    let by_hand = format!("CLUSTER SETSLOT 7000 IMPORTING {other}");
    assert!(is_ok(&call(&mut nodes[0].client(), &by_hand)));
    let refused = call(&mut nodes[0].client(), "CLUSTER MIGRATION IMPORT 7001 7001");
    assert_eq!(
        error(&refused),
        "ERR all slot states must be STABLE to start a slot migration task."
    );
    let unknown = format!("CLUSTER MIGRATION STATUS ID {}", "a".repeat(40));
    assert!(elements(&call(&mut nodes[0].client(), &unknown)).is_empty());
}

#[test]
fn an_owner_that_refuses_is_told_of() {
    let nodes = start(2);
    let by_hand = format!("CLUSTER SETSLOT 0 MIGRATING {}", id(&nodes[1]));
    assert!(is_ok(&call(&mut nodes[0].client(), &by_hand)));
    let asked = import(&nodes[1], &format!("{SLOT} {SLOT}"));
    wait_until("it is refused", || task(&nodes[1], &asked, "state") == ["failed"]);
    let errors = task(&nodes[1], &asked, "last_error");
    assert!(errors[0].ends_with("ERR Slots are being manually migrated"), "{errors:?}");
}
