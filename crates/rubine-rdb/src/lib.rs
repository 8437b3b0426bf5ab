//! Dump files (RDB) and the payloads of DUMP and RESTORE: every version that Redis and Valkey wrote, read and
//! written. Does no file I/O of its own, starts no thread, reads no clock and no configuration: it is given a `Read`,
//! a `Write`, or bytes.
//!
//! A file is read in two steps, so that the second can run on many threads: [`read::Reader`] cuts it into entries
//! without looking into them, and [`read::Entry::decode`] makes a value of one. It is written in two as well:
//! [`encode::Encoder`] turns keys into bytes, on as many threads as there are, and one [`write::Writer`] strings
//! them together.

#![forbid(unsafe_code)]

mod cursor;
mod decode;
pub mod dump;
pub mod encode;
pub mod error;
pub mod fuzz;
mod intset;
pub mod kind;
mod listpack;
mod lzf;
mod opcode;
pub mod read;
mod skim;
mod source;
#[cfg(test)]
mod testing;
pub mod version;
mod wire;
pub mod write;
mod ziplist;
mod zipmap;

pub use self::decode::ValueLimits;
pub use self::version::{Version, VersionCheck};
