//! Commands that walk through whole databases, over more keys than a transcript would show: what must be found is
//! found once or at least once, whatever happens meanwhile, and chance is fair.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rubine_testing::client::Received;
use rubine_testing::in_process::{Expiry, InProcess};
use rubine_testing::target::{ClientIndex, Target};
use rubine_testing::value::Value;

struct Server {
    target: InProcess,
    client: ClientIndex,
}

impl Server {
    fn new() -> Self {
        let mut target = InProcess::new(Expiry::Lazy);
        let client = target.connect().expect("nothing can fail in this process");
        Self { target, client }
    }

    fn call(&mut self, line: &str) -> Value {
        let args: Vec<_> = line.split(' ').map(|it| it.as_bytes().to_vec()).collect();
        self.target.send(self.client, &args).expect("nothing can fail in this process");
        match self.target.receive(self.client, Duration::ZERO).expect("it is RESP") {
            Received::Value(value) => value,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// Makes `count` strings: `prefix:0`, `prefix:1` and so on.
    fn populate(&mut self, count: usize, prefix: &str) {
        for first in (0..count).step_by(1000) {
            let numbers = first..count.min(first + 1000);
            self.call(&line("MSET", numbers.map(|it| format!("{prefix}:{it} {it}"))));
        }
    }

    fn names(&mut self, line: &str) -> Vec<String> {
        names_in(&self.call(line))
    }

    /// One SCAN; the cursor to go on with and what it found.
    fn scan(&mut self, cursor: &str, options: &str) -> (String, Vec<String>) {
        let Value::Array(parts) = self.call(&format!("SCAN {cursor}{options}")) else {
            panic!("not an array")
        };
        (text(&parts[0]), names_in(&parts[1]))
    }
}

/// A command with many arguments.
fn line(start: &str, arguments: impl Iterator<Item = String>) -> String {
    arguments.fold(start.to_owned(), |line, argument| line + " " + &argument)
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().expect("a string")).into_owned()
}

fn names_in(value: &Value) -> Vec<String> {
    let Value::Array(names) = value else { panic!("not an array: {value:?}") };
    names.iter().map(text).collect()
}

#[test]
fn keys_lists_each_of_many_once() {
    let mut server = Server::new();
    server.populate(5000, "key");
    server.call("SELECT 1");
    server.populate(100, "other");
    server.call("SELECT 0");
    let expected: BTreeSet<_> = (0..5000).map(|it| format!("key:{it}")).collect();
    for pattern in ["*", "key:*"] {
        let names = server.names(&format!("KEYS {pattern}"));
        assert_eq!(names.len(), 5000);
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    assert_eq!(server.names("KEYS key:1??").len(), 100);
    assert_eq!(server.names("KEYS nothing*").len(), 0);
    for index in 0..1000 {
        server.call(&format!("PEXPIRE key:{index} 10"));
    }
    assert_eq!(server.names("KEYS *").len(), 5000);
    server.target.advance(Duration::from_millis(20)).unwrap();
    assert_eq!(
        server.call("DBSIZE"),
        Value::Integer(5000),
        "nobody came across those that are due"
    );
    assert_eq!(server.names("KEYS *").len(), 4000);
    assert_eq!(server.names("KEYS key:???").len(), 0);
}

#[test]
fn scan_finds_what_stays_while_the_rest_changes() {
    let mut server = Server::new();
    server.populate(600, "stays");
    server.populate(6000, "goes");
    let mut found = BTreeSet::new();
    let (mut cursor, mut calls) = ("0".to_owned(), 0);
    loop {
        let (next, names) = server.scan(&cursor, " COUNT 37");
        found.extend(names.into_iter().filter(|it| it.starts_with("stays")));
        calls += 1;
        // Tables shrink in the first half, and grow in the second.
        if calls <= 60 {
            let doomed = (0..100).map(|it| format!("goes:{}", calls * 100 - it));
            server.call(&line("DEL", doomed));
        } else {
            server.populate(50, &format!("new{calls}"));
        }
        if next == "0" {
            break;
        }
        cursor = next;
    }
    assert_eq!(found.len(), 600, "after {calls} calls");
}

#[test]
fn scan_looks_at_a_bounded_number_of_keys() {
    let mut server = Server::new();
    server.populate(20_000, "key");
    let (next, names) = server.scan("0", " COUNT 1000000");
    assert_ne!(next, "0");
    assert!((16_000..18_000).contains(&names.len()), "{}", names.len());
    let (next, names) = server.scan("0", " COUNT 100");
    assert_ne!(next, "0");
    assert!((100..400).contains(&names.len()), "{}", names.len());
}

#[test]
fn scan_removes_the_due_keys_that_it_was_asked_for() {
    let mut server = Server::new();
    server.call("RPUSH list x");
    server.call("PEXPIRE list 10");
    server.call("SET string x PX 10");
    server.call("SET other x PX 10");
    server.target.advance(Duration::from_millis(20)).unwrap();
    server.scan("0", " COUNT 1000 TYPE string MATCH s*");
    assert_eq!(server.call("DBSIZE"), Value::Integer(2));
    server.scan("0", " COUNT 1000");
    assert_eq!(server.call("DBSIZE"), Value::Integer(0));
}

#[test]
fn random_keys_are_spread_evenly() {
    for (key_count, draws) in [(3, 3_000), (500, 5_000), (40_000, 3_000)] {
        let mut server = Server::new();
        server.populate(key_count, "key");
        let mut counts = BTreeMap::<String, u32>::new();
        for _ in 0..draws {
            *counts.entry(text(&server.call("RANDOMKEY"))).or_default() += 1;
        }
        // Keys are put together into groups, so that each group is drawn about a thousand times.
        let group_count = (draws / 1000).min(key_count);
        let mut groups = vec![0.0; group_count];
        for (key, count) in counts {
            let number: usize = key["key:".len()..].parse().unwrap();
            groups[number % group_count] += f64::from(count);
        }
        let mean = draws as f64 / group_count as f64;
        for count in groups {
            let deviation = (count - mean) / mean.sqrt();
            assert!(deviation.abs() < 6.0, "{key_count} keys: {count} draws of about {mean}");
        }
    }
}

/// Groups of keys by number are alike whatever the table looks like; here it counts how often each single key came.
#[test]
fn no_random_key_is_much_likelier_than_another() {
    let mut server = Server::new();
    server.populate(300, "key");
    let mut counts = BTreeMap::<String, f64>::new();
    let draws = 6_000;
    for _ in 0..draws {
        *counts.entry(text(&server.call("RANDOMKEY"))).or_default() += 1.0;
    }
    let mean = f64::from(draws) / 300.0;
    let missing = (300 - counts.len()) as f64;
    let squares: f64 = counts.values().map(|it| (it - mean).powi(2)).sum();
    let variance = (squares + missing * mean.powi(2)) / 300.0;
    // Where every key is equally likely, the variance is the mean.
    assert!((0.7..1.3).contains(&(variance / mean)), "{variance} for a mean of {mean}");
}

#[test]
fn a_random_key_is_found_among_many_that_are_due() {
    let mut server = Server::new();
    server.populate(3_000, "key");
    for index in 0..2999 {
        server.call(&format!("PEXPIRE key:{index} 10"));
    }
    server.target.advance(Duration::from_millis(20)).unwrap();
    assert_eq!(text(&server.call("RANDOMKEY")), "key:2999");
}

#[test]
fn digests_do_not_depend_on_order_or_encoding() {
    let digest_after = |lines: &[&str], count: usize| {
        let mut server = Server::new();
        for line in lines {
            server.call(line);
        }
        server.populate(count, "key");
        text(&server.call("DEBUG DIGEST"))
    };
    let push = line("RPUSH list", (0..2000).map(|it| format!("item:{it}")));
    let first = digest_after(&[&push, "SET n 1", "EXPIRE n 100"], 3000);
    let push = line("LPUSH list", (0..2000).rev().map(|it| format!("item:{it}")));
    let second = digest_after(&["SET key:7 7", "SET n 0", "INCR n", "EXPIRE n 900", &push], 3000);
    assert_eq!(first, second);
    assert_ne!(first, digest_after(&["SET n 1", &push], 3000));
    assert_ne!(first, digest_after(&[&push, "SET n 1", "EXPIRE n 100"], 2999));
}
