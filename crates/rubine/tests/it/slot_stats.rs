//! CLUSTER SLOT-STATS of a running node: what requests take is charged to the slots of their keys, whichever thread runs them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rubine_testing::client::Client;
use rubine_testing::cluster;
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{call, elements, integer, send, wait_for_blocked, wait_until};

/// The slot of `key`.
const SLOT: u16 = 12_539;
/// What a microsecond that is not over may hide, for each thread that has run something.
const ROUNDING_US: i64 = 8;

/// One node that has all slots, and counts from the start or not.
fn start(counts: bool) -> Server {
    let node = cluster::node(Path::new(env!("CARGO_BIN_EXE_rubine-server"))).expect("a free port");
    let counts = if counts { "yes" } else { "no" };
    let node = node.with("workers", "2").with("cluster-slot-stats-enabled", counts);
    let node = node.start().expect("a node that starts");
    call(&mut node.client(), "CLUSTER ADDSLOTSRANGE 0 16383");
    wait_until("the node serves its slots", || {
        call(&mut node.client(), "DEL key") == Value::Integer(0)
    });
    call(&mut node.client(), "CONFIG RESETSTAT");
    node
}

/// What is shown of each slot of which something but zero is shown.
fn shown(client: &mut Client) -> BTreeMap<u16, BTreeMap<String, i64>> {
    let reply = call(client, "CLUSTER SLOT-STATS SLOTSRANGE 0 16383");
    let all = elements(&reply).iter().map(|it| {
        let [slot, metrics] = elements(it) else { panic!("a pair was due, not {it:?}") };
        let metrics = elements(metrics).chunks(2);
        let metrics = metrics.map(|it| (it[0].as_text().expect("a name"), integer(&it[1])));
        (integer(slot) as u16, metrics.collect())
    });
    all.filter(|(_, metrics): &(_, BTreeMap<_, _>)| metrics.values().any(|it| *it != 0)).collect()
}

/// What is shown of the slot of `key`, which is the only one of which anything is.
fn of_key(client: &mut Client) -> [i64; 4] {
    let shown = shown(client);
    assert!(shown.keys().eq([&SLOT]), "{shown:?}");
    let names = ["key-count", "cpu-usec", "network-bytes-in", "network-bytes-out"];
    names.map(|name| shown[&SLOT][name])
}

/// The microseconds of commands, as INFO has them.
fn us_of(client: &mut Client, commands: &[&str]) -> i64 {
    let info = call(client, "INFO commandstats").as_text().expect("text");
    let us = commands.iter().map(|name| {
        let start = format!("cmdstat_{name}:");
        let line = info.lines().find_map(|it| it.strip_prefix(&start)).expect("it has run");
        let us = line.split(',').find_map(|it| it.strip_prefix("usec=")).expect("it has a time");
        us.parse::<i64>().expect("a number")
    });
    us.sum()
}

fn assert_near(one: i64, other: i64) {
    assert!((one - other).abs() <= ROUNDING_US, "{one} and {other}");
}

fn reset(client: &mut Client) {
    call(client, "FLUSHALL");
    call(client, "CONFIG RESETSTAT");
    assert!(shown(client).is_empty());
}

#[test]
fn what_all_workers_ran_is_added_up() {
    let node = start(false);
    let mut client = node.client();
    call(&mut client, "SET key value");
    // Nothing but keys is counted so far.
    assert_eq!(shown(&mut client)[&SLOT].keys().collect::<Vec<_>>(), ["key-count"]);
    let by_time = call(&mut client, "CLUSTER SLOT-STATS ORDERBY cpu-usec");
    assert_eq!(by_time, Value::Error("ERR Unrecognized sort metric for ORDERBY.".into()));
    call(&mut client, "CONFIG SET cluster-slot-stats-enabled yes");
    reset(&mut client);
    let mut clients: Vec<_> = (0..6).map(|_| node.client()).collect();
    for _ in 0..50 {
        clients.iter_mut().for_each(|it| drop(call(it, "SET key value")));
    }
    let [keys, us, bytes_in, bytes_out] = of_key(&mut client);
    assert_eq!([keys, bytes_in, bytes_out], [1, 300 * 33, 300 * 5]);
    assert_near(us, us_of(&mut client, &["set"]));
    reset(&mut client);
    // What waits is charged when it is answered, by whomever.
    send(&mut clients[0], "BLPOP key 0");
    wait_for_blocked(&mut client, 1);
    assert!(shown(&mut client).is_empty());
    call(&mut clients[1], "LPUSH key value");
    clients[0].receive(Duration::from_secs(10)).expect("a reply");
    let [_, us, bytes_in, bytes_out] = of_key(&mut client);
    assert_eq!([bytes_in, bytes_out], [31 + 35, 4 + 24]);
    assert_near(us, us_of(&mut client, &["lpush", "blpop"]));
    // What is counted no longer is not shown, and is there when it is counted again.
    call(&mut client, "CONFIG SET cluster-slot-stats-enabled no");
    assert!(shown(&mut client).is_empty());
    call(&mut client, "SET key value");
    call(&mut client, "CONFIG SET cluster-slot-stats-enabled yes");
    assert_eq!(of_key(&mut client)[2], 31 + 35);
}

#[test]
fn transactions_and_scripts_are_charged_as_one() {
    const LONG: &str = "#!lua\nfor i = 1, 20000 do redis.call('INCR', KEYS[1]) end";
    let node = start(true);
    let mut client = node.client();
    let mut other = node.client();
    for line in ["MULTI", "SET key value", "GET key", "EXEC"] {
        call(&mut other, line);
    }
    let [_, us, bytes_in, _] = of_key(&mut client);
    assert_eq!(bytes_in, 15 + 33 + 22 + 14);
    assert_near(us, us_of(&mut client, &["exec"]));
    reset(&mut client);
    // It takes longer than a worker's turn, and is gone on with by a thread for scripts.
    other.call(&["EVAL", LONG, "1", "key"]).expect("it runs");
    let [_, us, ..] = of_key(&mut client);
    assert!(1000 < us, "{us}");
    assert_near(us, us_of(&mut client, &["eval"]));
    reset(&mut client);
    call(&mut other, "MULTI");
    other.call(&["EVAL", LONG, "1", "key"]).expect("it is queued");
    call(&mut other, "GET key");
    call(&mut other, "EXEC");
    let [_, us, ..] = of_key(&mut client);
    assert_near(us, us_of(&mut client, &["exec"]));
    assert!(us_of(&mut client, &["eval"]) <= us);
    reset(&mut client);
    // What may use keys of several slots is charged to none.
    let crossing = "#!lua flags=allow-cross-slot-keys\nredis.call('GET', 'key')";
    other.call(&["EVAL", crossing, "0"]).expect("it runs");
    assert!(shown(&mut client).is_empty());
}

#[test]
fn messages_are_charged_for_each_who_gets_them() {
    let node = start(true);
    let mut client = node.client();
    let mut listeners: Vec<_> = (0..3).map(|_| node.client()).collect();
    listeners.iter_mut().for_each(|it| drop(call(it, "SSUBSCRIBE key")));
    let [_, _, bytes_in, bytes_out] = of_key(&mut client);
    assert_eq!([bytes_in, bytes_out], [3 * 30, 3 * 34]);
    call(&mut client, "CONFIG RESETSTAT");
    call(&mut client, "SPUBLISH key hello");
    assert_eq!(of_key(&mut client)[3], 4 + 3 * 38);
    call(&mut client, "CONFIG RESETSTAT");
    // Those of PUBLISH belong to no slot.
    call(&mut client, "PUBLISH key hello");
    assert!(shown(&mut client).is_empty());
}
