//! Memory per element, by the shape of the data: the growth of `used_memory` divided by the number of elements.

use std::net::SocketAddr;
use std::time::Duration;

use rubine_testing::client::Client;

use super::asked::Asked;
use super::data::{member, score, words};
use super::load::fill;
use super::{Bench, Contender, verdict};
use crate::Failure;

const RATIO_MAX: f64 = 0.95;
const MEAN_MAX: f64 = 0.80;
const UNREAD_MB_MAX: f64 = 16.0;

/// Background freeing and statistics settle in this time.
const SETTLE: Duration = Duration::from_millis(500);

const SMALL_HASH_FIELDS: u64 = 5;
const MIDDLE_HASH_FIELDS: u64 = 100;

/// Members of small sorted sets and of sets of integers.
const SMALL_SET_MEMBERS: u64 = 100;

const UNREAD: &str = "unread reply";

/// Keys where few are held against the peer, and what we mean to reach at each number.
const FEW_KEYS: [u64; 3] = [1_000, 10_000, 50_000];
const FEW_RATIO_MAX: f64 = 1.0;

/// Requests that a server has answered before its few keys are stored, so that buffers are not counted among them.
const WARM_UP_REQUESTS: u64 = 1_000;

struct Shape {
    name: &'static str,
    /// Elements that one request makes.
    elements_per_request: u64,
    request: fn(u64) -> Vec<String>,
    /// What we mean to reach, as a ratio to the peer.
    ratio_max: f64,
}

impl Shape {
    const fn new(name: &'static str, request: fn(u64) -> Vec<String>, ratio_max: f64) -> Self {
        Self { name, elements_per_request: 1, request, ratio_max }
    }

    const fn of(self, elements_per_request: u64) -> Self {
        Self { elements_per_request, ..self }
    }
}

/// The first ones count in the mean; the others have targets of their own.
const MEAN_SHAPE_COUNT: usize = 8;
const SHAPES: [Shape; 13] = [
    Shape::new("string 8 B", |n| set(n, "x".repeat(8)), RATIO_MAX),
    Shape::new("string 64 B", |n| set(n, "x".repeat(64)), RATIO_MAX),
    Shape::new("string 64 B, TTL", set_with_ttl, RATIO_MAX),
    Shape::new("integer", |n| set(n, n.to_string()), RATIO_MAX),
    Shape::new("hash of 5 fields", small_hash, RATIO_MAX).of(SMALL_HASH_FIELDS),
    Shape::new("hash of 1M fields", large_hash, RATIO_MAX),
    Shape::new("hash, field TTLs", hash_with_field_ttls, RATIO_MAX).of(MIDDLE_HASH_FIELDS),
    Shape::new("list of 1M", list, RATIO_MAX),
    Shape::new("zset of 1M", large_sorted_set, 0.70),
    Shape::new("set of 1M", |n| words(&["SADD", "set", &member(n)]), 0.85),
    Shape::new("small zset", small_sorted_set, 1.0).of(SMALL_SET_MEMBERS),
    Shape::new("int set", integer_set, 1.0).of(SMALL_SET_MEMBERS),
    Shape::new("stream of 1M", stream, 1.0),
];

type Request = fn(u64) -> Vec<String>;

/// What is stored in few keys, a request each.
const FEW_SHAPES: [(&str, Request); 4] = [
    ("few strings 64 B", |n| set(n, "x".repeat(64))),
    ("few hashes of 5", small_hash),
    ("few zsets of 10", sorted_set_of_ten),
    ("few int sets of 20", set_of_twenty),
];

pub(super) fn rows() -> Vec<&'static str> {
    let few = FEW_SHAPES.iter().map(|shape| shape.0);
    SHAPES.iter().map(|shape| shape.name).chain(few).chain([UNREAD]).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    println!("{:<18} {:>8} {:>8} {:>6}   bytes per element", "memory", "ours", "peer", "ratio");
    let (counting, others) = SHAPES.split_at(MEAN_SHAPE_COUNT);
    let mut logarithms = Vec::new();
    for shape in asked.of_rows(counting, |shape| shape.name) {
        logarithms.push(compare(bench, shape)?.ln());
    }
    if logarithms.len() == MEAN_SHAPE_COUNT {
        let mean = (logarithms.iter().sum::<f64>() / MEAN_SHAPE_COUNT as f64).exp();
        println!(
            "{:<18} {:>8} {:>8} {mean:>6.2}   {} (≤ {MEAN_MAX})",
            "geometric mean",
            "",
            "",
            verdict(mean <= MEAN_MAX)
        );
    }
    for shape in asked.of_rows(others, |shape| shape.name) {
        compare(bench, shape)?;
    }
    for shape in asked.of_rows(&FEW_SHAPES, |shape| shape.0) {
        compare_few(bench, shape.0, shape.1)?;
    }
    if asked.has(UNREAD) {
        print_unread_reply(bench)?;
    }
    Ok(())
}

/// Prints the row of the shape, and gives the ratio.
fn compare(bench: &Bench, shape: &Shape) -> Result<f64, Failure> {
    let mut bytes = [0.0; 2];
    for (contender, bytes) in bench.contenders.iter().zip(&mut bytes) {
        *bytes = measure(bench, contender, shape)?;
    }
    let [ours, peer] = bytes;
    let ratio = ours / peer;
    println!(
        "{:<18} {ours:>8.1} {peer:>8.1} {ratio:>6.2}   {} (≤ {})",
        shape.name,
        verdict(ratio <= shape.ratio_max),
        shape.ratio_max
    );
    Ok(ratio)
}

/// Prints a line for each number of keys, in bytes a key.
fn compare_few(bench: &Bench, name: &str, request: fn(u64) -> Vec<String>) -> Result<(), Failure> {
    let mut bytes = [[0.0; FEW_KEYS.len()]; 2];
    for (contender, bytes) in bench.contenders.iter().zip(&mut bytes) {
        let server = contender.start()?;
        fill(server.address(), 0..WARM_UP_REQUESTS, |n| as_question(request(n)))?;
        let empty = used_memory(server.address())?;
        let mut stored = 0;
        for (keys, bytes) in FEW_KEYS.into_iter().zip(bytes) {
            fill(server.address(), stored..keys, request)?;
            stored = keys;
            std::thread::sleep(SETTLE);
            *bytes = (used_memory(server.address())? - empty) / keys as f64;
        }
    }
    let [ours, peer] = bytes;
    for ((keys, ours), peer) in FEW_KEYS.into_iter().zip(ours).zip(peer) {
        let ratio = ours / peer;
        println!(
            "{name:<18} {ours:>8.1} {peer:>8.1} {ratio:>6.2}   {} (≤ {FEW_RATIO_MAX}) {keys} keys",
            verdict(ratio <= FEW_RATIO_MAX)
        );
    }
    Ok(())
}

/// What a client costs that asks for much and reads nothing.
fn print_unread_reply(bench: &Bench) -> Result<(), Failure> {
    for contender in &bench.contenders {
        let server = contender.start()?;
        let fields = bench.scaled(1_000_000);
        fill(server.address(), 0..fields, large_hash)?;
        let before = used_memory(server.address())?;
        let mut client = server.client();
        client.send(&["HGETALL", "hash"])?;
        std::thread::sleep(SETTLE);
        let mb = (used_memory(server.address())? - before) / 1e6;
        println!(
            "{:<18} {:>8} {mb:>8.1} MB for a reply nobody reads   {} (≤ {UNREAD_MB_MAX})",
            "HGETALL 1M",
            contender.name,
            verdict(mb <= UNREAD_MB_MAX)
        );
    }
    Ok(())
}

fn measure(bench: &Bench, contender: &Contender, shape: &Shape) -> Result<f64, Failure> {
    let server = contender.start()?;
    // The first connection and request cost some memory themselves.
    fill(server.address(), 0..1, |_| vec!["PING".to_owned()])?;
    let empty = used_memory(server.address())?;
    let elements = bench.scaled(1_000_000);
    fill(server.address(), 0..elements / shape.elements_per_request, shape.request)?;
    std::thread::sleep(SETTLE);
    let full = used_memory(server.address())?;
    Ok((full - empty) / elements as f64)
}

fn used_memory(address: SocketAddr) -> Result<f64, Failure> {
    let info = Client::connect(address)?.call(&["INFO", "memory"])?.as_text().unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.ok_or("INFO shows no used_memory")?.trim().parse()?)
}

fn key(number: u64) -> String {
    format!("key:{number:012}")
}

fn field(number: u64) -> String {
    format!("field:{number:09}")
}

fn value(number: u64) -> String {
    format!("value:{number:09}")
}

fn set(number: u64, value: String) -> Vec<String> {
    vec!["SET".to_owned(), key(number), value]
}

fn set_with_ttl(number: u64) -> Vec<String> {
    let mut request = set(number, "x".repeat(64));
    request.extend(words(&["EX", "100000"]));
    request
}

fn small_hash(number: u64) -> Vec<String> {
    let mut request = vec!["HSET".to_owned(), key(number)];
    request.extend((0..SMALL_HASH_FIELDS).flat_map(|field| [format!("f{field}"), "x".repeat(8)]));
    request
}

fn large_hash(number: u64) -> Vec<String> {
    vec!["HSET".to_owned(), "hash".to_owned(), field(number), value(number)]
}

fn hash_with_field_ttls(number: u64) -> Vec<String> {
    let mut request = vec!["HSETEX".to_owned(), key(number)];
    request.extend(words(&["EX", "100000", "FIELDS", &MIDDLE_HASH_FIELDS.to_string()]));
    let fields = 0..MIDDLE_HASH_FIELDS;
    request.extend(fields.flat_map(|number| [field(number), value(number)]));
    request
}

fn list(number: u64) -> Vec<String> {
    vec!["RPUSH".to_owned(), "list".to_owned(), format!("job:{number:09}")]
}

fn large_sorted_set(number: u64) -> Vec<String> {
    // Of nine digits, so that hardly two are equal.
    let score = score(number) as f64 + score(number + 1) as f64 / 1e3;
    words(&["ZADD", "zset", &score.to_string(), &member(number)])
}

fn small_sorted_set(number: u64) -> Vec<String> {
    let mut request = vec!["ZADD".to_owned(), key(number)];
    let members = 0..SMALL_SET_MEMBERS;
    request.extend(members.flat_map(|it| [(score(it) % 10_000).to_string(), format!("m:{it:04}")]));
    request
}

/// A request as long as this one that stores nothing.
fn as_question(mut request: Vec<String>) -> Vec<String> {
    "EXISTS".clone_into(&mut request[0]);
    request
}

fn sorted_set_of_ten(number: u64) -> Vec<String> {
    let mut request = vec!["ZADD".to_owned(), key(number)];
    request.extend((0..10).flat_map(|it| [(f64::from(it) * 1.5).to_string(), format!("m{it}")]));
    request
}

fn set_of_twenty(number: u64) -> Vec<String> {
    let mut request = vec!["SADD".to_owned(), key(number)];
    request.extend((0..20).map(|it| (number * 20 + it).to_string()));
    request
}

fn integer_set(number: u64) -> Vec<String> {
    let mut request = vec!["SADD".to_owned(), key(number)];
    request.extend((0..SMALL_SET_MEMBERS).map(|it| (1_000_000 + score(it)).to_string()));
    request
}

fn stream(number: u64) -> Vec<String> {
    words(&["XADD", "stream", "*", "job", &format!("{number:09}")])
}
