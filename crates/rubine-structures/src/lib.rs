//! The crate's front door.

pub mod list;
pub mod pack;
pub mod trie;
