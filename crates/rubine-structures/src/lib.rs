//! The crate's front door.

pub mod pack;
pub mod trie;
