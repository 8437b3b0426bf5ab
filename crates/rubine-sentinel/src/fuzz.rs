//! What fuzz targets call, and property tests too: whatever comes from others leads to no panic, and nothing of it brings
//! the configuration file lines of its own.

use rubine_resp::decode::Value;

use crate::machine::{Event, Identity, Sentinel};
use crate::{Action, LinkId};

/// A Sentinel with a master and a replica, and the connections that it has asked for.
fn sentinel() -> (Sentinel, Vec<LinkId>) {
    let mut sentinel = Sentinel::new(Identity { port: 26379, ..Identity::default() }, 1_000_000);
    for line in [
        &["resolve-hostnames", "yes"][..],
        &["monitor", "mymaster", "127.0.0.1", "6379", "1"],
        &["known-replica", "mymaster", "127.0.0.1", "6380"],
    ] {
        sentinel.configure(line, &|_| true).expect("the lines are right");
    }
    sentinel.begin();
    sentinel.tick(1_000_100);
    let actions = sentinel.take_effects().actions;
    let links = actions.iter().filter_map(|it| match it {
        Action::Connect { link, .. } => Some(*link),
        _ => None,
    });
    let links = links.collect();
    (sentinel, links)
}

/// What holds whatever has come.
fn check(mut sentinel: Sentinel) {
    for now in (1_000_200..1_010_000).step_by(100) {
        sentinel.tick(now);
        sentinel.take_effects();
    }
    for line in sentinel.config_lines() {
        assert!(line.starts_with("sentinel ") && !line.contains('\n'), "{line}");
    }
}

/// A hello message, from an instance or another Sentinel.
pub fn hello(bytes: &[u8]) {
    let (mut sentinel, _) = sentinel();
    sentinel.take_hello(bytes);
    for known in
        [&b"127.0.0.1,1,abc,3,mymaster,127.0.0.1,6380,"[..], b"127.0.0.1,1,abc,3,mymaster,"]
    {
        sentinel.take_hello(&[known, bytes].concat());
    }
    check(sentinel);
}

/// INFO of a master and of a replica, and whatever else they might answer.
pub fn info(bytes: &[u8]) {
    let (mut sentinel, links) = sentinel();
    for link in links {
        for value in [Value::Bulk(bytes.to_vec()), Value::Simple(bytes.to_vec()), Value::Null] {
            for _ in 0..4 {
                sentinel.handle(Event::Replied { link, value: value.clone() }, 1_000_150);
            }
        }
    }
    check(sentinel);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_that_comes_does_harm(
            bytes: Vec<u8>,
            text in "[a-z0-9,:=\\r\\n. ]{0,60}",
            lines in prop::collection::vec(
                "(role:master|role:slave|run_id:[0-9a-f]{40}|slave[0-9]:ip=[a-z0-9.]{1,9},port=[0-9]{1,5}|\
                 master_host:[a-z.]{1,9}|master_port:[0-9]{1,6}|master_link_status:up|slave_priority:-?[0-9]{1,20}|\
                 slave_repl_offset:[0-9]{1,22}|master_failover_state:[a-z-]{1,12})", 0..12),
        ) {
            super::hello(&bytes);
            super::hello(text.as_bytes());
            super::info(&bytes);
            super::info(lines.join("\r\n").as_bytes());
        }
    }
}
