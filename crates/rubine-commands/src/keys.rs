//! Commands for keys of any type and for whole databases: DEL, EXPIRE, SCAN, FLUSHALL and their relatives. Handlers do
//! no I/O; the shards that they need are locked, or they walk through a view that locks one at a time.

pub(crate) mod database;
pub(crate) mod debug;
mod digest;
pub(crate) mod dump;
pub(crate) mod expire;
pub(crate) mod migrate;
pub(crate) mod object;
pub(crate) mod presence;
pub(crate) mod relocate;
pub(crate) mod scan;
