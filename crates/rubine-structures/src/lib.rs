//! The crate's front door.

pub mod hash;
pub mod list;
pub mod pack;
pub mod trie;
