//! The threads beside the workers, for what takes long: computations, and keys that go to other servers. They take no
//! shard's lock.

pub(crate) mod compute;
pub(crate) mod defrag;
pub(crate) mod migration;
