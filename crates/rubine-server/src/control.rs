//! What changes the running server as a whole: new settings, and its end.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod catching_up;
pub(crate) mod cluster;
pub(crate) mod cluster_data;
pub(crate) mod defrag;
pub(crate) mod failover;
pub(crate) mod full_sync;
pub(crate) mod history;
pub(crate) mod reconfigure;
pub(crate) mod repair;
pub(crate) mod sentinel;
pub(crate) mod shutdown;
pub(crate) mod tls;
pub(crate) mod verify;
pub(crate) mod watching;
