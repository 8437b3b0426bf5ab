//! The server: threads, sockets, files, the real clock. Lets no handler lock a shard itself.

pub mod config;
pub mod logging;
