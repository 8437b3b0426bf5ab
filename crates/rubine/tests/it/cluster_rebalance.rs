//! Slots that are shared evenly by themselves: a node that is added gets its share, one that is to go gets rid of its own.

use std::collections::BTreeSet;

use rubine_testing::cluster;
use rubine_testing::server::{Server, ServerOptions};

use crate::cluster::{
    Router, cluster_info, error, id, is_ok, is_primary, node, start_with, wait_until_ok,
    while_written,
};
use crate::support::{call, elements, integer, named, wait_until};

/// Fast, so that all of it is over soon.
const SETTINGS: [(&str, &str); 3] = [
    ("cluster-auto-rebalance-threshold", "1"),
    ("cluster-auto-rebalance-interval", "0"),
    ("cluster-auto-rebalance-slots", "1000"),
];
const WRITERS: usize = 2;

fn fast(node: ServerOptions) -> ServerOptions {
    SETTINGS.iter().fold(node, |it, (name, value)| it.with(name, value))
}

/// How many slots a node has, as it sees it itself.
fn slots_of(node: &Server) -> usize {
    let shown = call(&mut node.client(), "CLUSTER NODES").as_text().expect("it is text");
    let line = shown.lines().find(|it| it.contains("myself")).expect("it knows itself");
    let ranges = line.split(' ').skip(8).filter(|it| !it.starts_with('['));
    let count = ranges.map(|it| {
        let (first, last) = it.split_once('-').unwrap_or((it, it));
        last.parse::<usize>().expect("a slot") + 1 - first.parse::<usize>().expect("a slot")
    });
    count.sum()
}

/// What CLUSTER REBALANCE STATUS says of one thing.
fn status(node: &Server, name: &str) -> String {
    let reply = call(&mut node.client(), "CLUSTER REBALANCE STATUS");
    let value = named(&reply, name).expect("it has one");
    value.as_text().unwrap_or_else(|| integer(value).to_string())
}

fn set_all(nodes: &[Server], name: &str, value: &str) {
    for node in nodes {
        assert!(is_ok(&call(&mut node.client(), &format!("CONFIG SET {name} {value}"))));
    }
}

/// Counts keys of many slots up while `act` runs. Keys begin with `name`. Each writer knows what it has written, and finds it again.
fn with_writers(nodes: &[Server], name: &str, act: impl FnOnce()) {
    let write = |router: &mut Router, writer, count| {
        let key = format!("{name}:{writer}:{}", count % 500);
        let value = integer(&router.call(&format!("INCR {key}")));
        assert_eq!(value, count / 500 + 1, "nothing is lost, nothing is doubled");
    };
    let written = while_written(nodes, WRITERS, |_, _| 0, write, act);
    let mut router = Router::new(nodes);
    for (writer, count) in written.into_iter().enumerate() {
        assert!(0 < count);
        for key in 0..count.min(500) {
            let expected = (count - key + 499) / 500;
            let value = router.call(&format!("GET {name}:{writer}:{key}")).as_text();
            assert_eq!(value, Some(expected.to_string()));
        }
    }
}

#[test]
fn a_node_that_is_added_gets_its_share_and_one_that_goes_gives_it_back() {
    let mut nodes = start_with(0, fast);
    nodes.push(fast(node()).start().expect("a node that starts"));
    assert!(is_ok(&cluster::meet(&nodes[0], &nodes[3]).expect("it answers")));
    wait_until("all nodes are known to all", || {
        nodes.iter().all(|it| cluster_info(it, "cluster_known_nodes") == "4")
    });
    // Nobody asks for anything yet.
    assert_eq!(status(&nodes[0], "state"), "off");
    assert_eq!(slots_of(&nodes[3]), 0);
    with_writers(&nodes, "added", || {
        set_all(&nodes, "cluster-auto-rebalance", "slots");
        wait_until("slots are shared evenly", || {
            nodes
                .iter()
                .all(|it| (4000..=4200).contains(&slots_of(it)) && status(it, "state") == "even")
        });
    });
    assert_eq!(nodes.iter().map(slots_of).sum::<usize>(), 16_384);
    let moved: u64 = nodes.iter().map(|it| status(it, "moved_slots").parse::<u64>().unwrap()).sum();
    assert!((4000..=4096).contains(&moved), "no more than need be: {moved}");
    wait_until_ok(&nodes);
    let draining = &nodes[1];
    with_writers(&nodes, "drained", || {
        assert!(is_ok(&call(&mut draining.client(), "CLUSTER DRAIN")));
        wait_until("it has no slots", || slots_of(draining) == 0);
    });
    wait_until("it may go", || {
        let lines = call(&mut draining.client(), "CLUSTER DRAIN STATUS");
        elements(&lines)[0].as_text().is_some_and(|it| it.ends_with("it may go."))
    });
    let others: Vec<_> = nodes.iter().filter(|it| id(it) != id(draining)).collect();
    assert_eq!(others.iter().map(|it| slots_of(it)).sum::<usize>(), 16_384);
    wait_until("the others have equally much", || {
        others.iter().all(|it| (5350..=5550).contains(&slots_of(it)))
    });
}

#[test]
fn it_is_told_why_nothing_moves() {
    let nodes = start_with(0, fast);
    let mut client = nodes[0].client();
    let other = call(&mut client, &format!("CLUSTER DRAIN {}", id(&nodes[1])));
    assert!(
        error(&other)
            .starts_with("ERR A node is drained by itself: send CLUSTER DRAIN to 127.0.0.1:")
    );
    let unknown = call(&mut client, "CLUSTER DRAIN nobody");
    assert_eq!(error(&unknown), "ERR Unknown node nobody");
    let cancelled = call(&mut client, "CLUSTER DRAIN CANCEL");
    assert_eq!(error(&cancelled), "ERR This node is not being drained");
    set_all(&nodes, "cluster-auto-rebalance", "slots");
    wait_until("all is even", || nodes.iter().all(|it| status(it, "state") == "even"));
    let moved: BTreeSet<_> = nodes.iter().map(|it| status(it, "moved_slots")).collect();
    assert_eq!(moved, BTreeSet::from(["0".to_owned()]));
    // With what is said in one moment taken back in the next, all slots are somewhere.
    assert!(is_ok(&call(&mut client, "CLUSTER DRAIN")));
    wait_until("some have gone", || slots_of(&nodes[0]) < 5461);
    assert!(is_ok(&call(&mut client, "CLUSTER DRAIN CANCEL")));
    wait_until("it gets them back", || (5350..=5550).contains(&slots_of(&nodes[0])));
    assert!(is_primary(&nodes[0]));
    assert_eq!(nodes.iter().map(slots_of).sum::<usize>(), 16_384);
}
