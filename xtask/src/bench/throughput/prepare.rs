//! The values that tests of throughput find. Measures nothing.

use std::net::SocketAddr;

use rubine_testing::client::Client;

use crate::Failure;
use crate::bench::data::{ELEMENTS, member, score, words};
use crate::bench::load::fill;

/// Fills a key of the server at the address, which so many requests will use.
pub(super) type Prepare = fn(address: SocketAddr, requests: u64) -> Result<(), Failure>;

/// Keys of large values: their sum fits into memory with room to spare, and not into the processor's caches.
pub(super) const KEYS_16_KB: u64 = 4_000;
pub(super) const KEYS_256_KB: u64 = 250;

/// Elements of what ranges are taken from, of 64 bytes each.
const RANGE_ELEMENTS: u64 = 10_000;

/// An element for each request, and some for those beyond a whole pipeline.
pub(super) fn popped_list(address: SocketAddr, requests: u64) -> Result<(), Failure> {
    const MARGIN: u64 = 10_000;
    let value = "x".repeat(64);
    fill(address, 0..requests + MARGIN, |_| words(&["LPUSH", "mylist", &value]))
}

pub(super) fn list(address: SocketAddr, _: u64) -> Result<(), Failure> {
    fill(address, 0..RANGE_ELEMENTS, |number| words(&["RPUSH", "list", &format!("{number:064}")]))
}

pub(super) fn sorted_set(address: SocketAddr, _: u64) -> Result<(), Failure> {
    fill(address, 0..RANGE_ELEMENTS, |number| {
        words(&["ZADD", "zset", &score(number).to_string(), &format!("{number:064}")])
    })
}

pub(super) fn values_of_16_kb(address: SocketAddr, _: u64) -> Result<(), Failure> {
    large_values(address, KEYS_16_KB, 16 * 1024)
}

pub(super) fn values_of_256_kb(address: SocketAddr, _: u64) -> Result<(), Failure> {
    large_values(address, KEYS_256_KB, 256 * 1024)
}

/// Strings under the names that requests with random numbers ask for.
fn large_values(address: SocketAddr, keys: u64, size: usize) -> Result<(), Failure> {
    let value = "x".repeat(size);
    fill(address, 0..keys, |number| words(&["SET", &format!("large:{number:012}"), &value]))
}

/// Not less in a quick run: that it is large is what is measured.
pub(super) fn large_sorted_set(address: SocketAddr, _: u64) -> Result<(), Failure> {
    fill(address, 0..ELEMENTS, add_to_sorted_set)
}

pub(super) fn stream(address: SocketAddr, _: u64) -> Result<(), Failure> {
    fill(address, 0..RANGE_ELEMENTS, |number| {
        let (id, value) = (format!("{}-0", number + 1), format!("{number:064}"));
        words(&["XADD", "stream", &id, "field", &value])
    })
}

/// In ten degrees by ten at the equator: a circle of 63 km around a point holds a hundred, about.
pub(super) fn places(address: SocketAddr, _: u64) -> Result<(), Failure> {
    fill(address, 0..RANGE_ELEMENTS, |number| {
        let degrees = |number| (score(number) as f64 / 1e5).to_string();
        let [longitude, latitude] = [degrees(number), degrees(number + RANGE_ELEMENTS)];
        words(&["GEOADD", "geo", &longitude, &latitude, &member(number)])
    })
}

/// HyperLogLogs `hll:0` to `hll:9`.
pub(super) fn counters(address: SocketAddr, _: u64) -> Result<(), Failure> {
    const COUNTERS: u64 = 10;
    fill(address, 0..COUNTERS * RANGE_ELEMENTS, |number| {
        let key = format!("hll:{}", number % COUNTERS);
        words(&["PFADD", &key, &format!("element:{number}")])
    })
}

fn add_to_sorted_set(number: u64) -> Vec<String> {
    // As valkey-benchmark's random numbers are written, so that its requests find these members.
    let member = format!("member:{number:012}");
    words(&["ZADD", "zset", &score(number).to_string(), &member])
}

/// The script of EVALSHA.
pub(super) fn script(address: SocketAddr, _: u64) -> Result<(), Failure> {
    call(address, &["SCRIPT", "LOAD", "return\tredis.call('get',KEYS[1])"])
}

pub(super) fn function(address: SocketAddr, _: u64) -> Result<(), Failure> {
    const LIBRARY: &str = "#!lua name=bench\nserver.register_function('bench_get', \
         function(keys) return server.call('get', keys[1]) end)";
    call(address, &["FUNCTION", "LOAD", "REPLACE", LIBRARY])
}

fn call(address: SocketAddr, request: &[&str]) -> Result<(), Failure> {
    Client::connect(address)?.call(request)?;
    Ok(())
}
