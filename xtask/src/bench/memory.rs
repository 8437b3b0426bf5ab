//! Memory per element, by the shape of the data: the growth of `used_memory` divided by the number of elements.

use std::net::SocketAddr;
use std::time::Duration;

use rubine_testing::client::Client;

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

struct Shape {
    name: &'static str,
    /// Elements that one request makes.
    elements_per_request: u64,
    request: fn(u64) -> Vec<String>,
}

const SHAPES: [Shape; 9] = [
    Shape { name: "string 8 B", elements_per_request: 1, request: |n| set(n, "x".repeat(8)) },
    Shape { name: "string 64 B", elements_per_request: 1, request: |n| set(n, "x".repeat(64)) },
    Shape { name: "string 64 B, TTL", elements_per_request: 1, request: set_with_ttl },
    Shape { name: "integer", elements_per_request: 1, request: |n| set(n, n.to_string()) },
    Shape {
        name: "hash of 5 fields",
        elements_per_request: SMALL_HASH_FIELDS,
        request: small_hash,
    },
    Shape { name: "hash of 1M fields", elements_per_request: 1, request: large_hash },
    Shape {
        name: "hash, field TTLs",
        elements_per_request: MIDDLE_HASH_FIELDS,
        request: hash_with_field_ttls,
    },
    Shape { name: "list of 1M", elements_per_request: 1, request: list },
    Shape { name: "stream of 1M", elements_per_request: 1, request: stream },
];

pub(super) fn run(bench: &Bench) -> Result<(), Failure> {
    println!("{:<18} {:>8} {:>8} {:>6}   bytes per element", "memory", "ours", "peer", "ratio");
    let mut logarithms = 0.0;
    for shape in &SHAPES {
        let mut bytes = [0.0; 2];
        for (contender, bytes) in bench.contenders.iter().zip(&mut bytes) {
            *bytes = measure(bench, contender, shape)?;
        }
        let [ours, peer] = bytes;
        let ratio = ours / peer;
        logarithms += ratio.ln();
        println!(
            "{:<18} {ours:>8.1} {peer:>8.1} {ratio:>6.2}   {} (≤ {RATIO_MAX})",
            shape.name,
            verdict(ratio <= RATIO_MAX)
        );
    }
    let mean = (logarithms / SHAPES.len() as f64).exp();
    println!(
        "{:<18} {:>8} {:>8} {mean:>6.2}   {} (≤ {MEAN_MAX})",
        "geometric mean",
        "",
        "",
        verdict(mean <= MEAN_MAX)
    );
    print_unread_reply(bench)
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

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
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

fn stream(number: u64) -> Vec<String> {
    let mut request = words(&["XADD", "stream", "*", "job"]);
    request.push(format!("{number:09}"));
    request
}
