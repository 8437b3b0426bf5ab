//! Large values that several benchmarks ask about. Measures nothing.

use std::net::SocketAddr;

use super::Bench;
use super::load::fill;
use crate::Failure;

/// Elements of the large values.
pub(super) const ELEMENTS: u64 = 1_000_000;

/// Bytes of the large strings, and of the pieces in which they are sent.
const STRING_SIZE: u64 = 100 * STRING_PIECE_SIZE;
const STRING_PIECE_SIZE: u64 = 1 << 20;

pub(super) fn hash(bench: &Bench, address: SocketAddr) -> Result<(), Failure> {
    fill(address, 0..bench.scaled(ELEMENTS), |number| {
        let [field, value] = [format!("field:{number:09}"), format!("value:{number:09}")];
        words(&["HSET", "hash", &field, &value])
    })
}

pub(super) fn list(bench: &Bench, address: SocketAddr) -> Result<(), Failure> {
    fill(address, 0..bench.scaled(ELEMENTS), |number| {
        words(&["RPUSH", "list", &format!("job:{number:09}")])
    })
}

/// `a` and `b`, which have half of their members in common.
pub(super) fn sets(bench: &Bench, address: SocketAddr) -> Result<(), Failure> {
    for (key, start) in [("a", 0), ("b", 1)] {
        let first = bench.scaled(ELEMENTS) / 2 * start;
        fill(address, first..first + bench.scaled(ELEMENTS), |number| {
            words(&["SADD", key, &member(number)])
        })?;
    }
    Ok(())
}

/// As `sets`, with scores in no order of the members.
pub(super) fn sorted_sets(bench: &Bench, address: SocketAddr) -> Result<(), Failure> {
    for (key, start) in [("a", 0), ("b", 1)] {
        let first = bench.scaled(ELEMENTS) / 2 * start;
        fill(address, first..first + bench.scaled(ELEMENTS), |number| {
            words(&["ZADD", key, &score(number).to_string(), &member(number)])
        })?;
    }
    Ok(())
}

pub(super) fn stream(bench: &Bench, address: SocketAddr) -> Result<(), Failure> {
    fill(address, 0..bench.scaled(ELEMENTS), entry)
}

/// `a` and `b`, strings without long runs of anything.
pub(super) fn strings(bench: &Bench, address: SocketAddr) -> Result<(), Failure> {
    for key in ["a", "b"] {
        let pieces = bench.scaled(STRING_SIZE) / STRING_PIECE_SIZE;
        let letter = |number: u64| char::from(b'0' + (score(number) % 64) as u8);
        let piece: String = (0..STRING_PIECE_SIZE).map(letter).collect();
        fill(address, 0..pieces, |_| words(&["APPEND", key, &piece]))?;
    }
    Ok(())
}

/// The request that adds an entry to `stream`, in order of the numbers.
pub(super) fn entry(number: u64) -> Vec<String> {
    words(&["XADD", "stream", &format!("{}-0", number + 1), "field", &number.to_string()])
}

/// A name of 16 bytes.
pub(super) fn member(number: u64) -> String {
    format!("member:{number:09}")
}

/// Below a million, and the same for the same number. Those of neighbours have nothing to do with each other, so that two
/// of them make a point anywhere in a square.
pub(super) fn score(number: u64) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = number;
    for _ in 0..3 {
        mixed = (mixed ^ (mixed >> 29)).wrapping_add(1).wrapping_mul(MULTIPLIER);
    }
    (mixed >> 32) % 1_000_000
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
