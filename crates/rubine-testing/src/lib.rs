//! What tests stand on: transcripts in redis-cli notation, the targets they run against, and servers as child
//! processes. A dev-dependency only; no crate of the server may depend on it outside its tests.

#![forbid(unsafe_code)]

pub mod client;
pub mod cluster;
pub mod glob;
pub mod in_process;
pub mod mutate;
pub mod papers;
pub mod render;
pub mod server;
pub mod target;
pub mod transcript;
pub mod value;
pub mod words;
