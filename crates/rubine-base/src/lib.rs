//! Missing batteries: hashing, clock, random numbers, number text, glob, quoting, CRC. Knows no Redis concept.

#![forbid(unsafe_code)]

pub mod clock;
pub mod collation;
pub mod crc;
pub mod fuzz;
pub mod glob;
pub mod hash;
pub mod number;
pub mod quote;
pub mod random;
pub mod slot_tag;

/// A large value that many may hold at once: the keyspace that owns it, replies that send it, snapshots
/// that keep it. It is never changed while its count is above one.
pub type SharedBytes = std::sync::Arc<Vec<u8>>;
