//! The data structures that keys and values live in. Knows no commands, no clock and no locks.
//!
//! Unsafe code is confined to [`pack`], [`record`] and [`table`].

pub mod bitmap;
pub mod geohash;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod ordered_map;
pub mod pack;
pub mod record;
pub mod relocation;
pub mod set;
pub mod sorted_set;
pub mod stream;
pub mod table;
pub mod trie;
pub mod value;
