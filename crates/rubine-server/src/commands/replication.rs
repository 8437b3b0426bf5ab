//! Commands about replication: what replicas say to their master, and who follows whom.

mod failover;
mod replconf;
pub(crate) mod replicaof;
mod sync;
mod verify;

use crate::client::ClientInfo;
use crate::core::ServerCommand;

/// All of them, in order of name.
pub(crate) const COMMANDS: &[ServerCommand] = &[
    failover::FAILOVER,
    sync::PSYNC,
    replconf::REPLCONF,
    replicaof::REPLICAOF,
    verify::REPLICATION,
    replicaof::SLAVEOF,
    sync::SYNC,
];

/// The host that a client comes from.
fn host(info: &ClientInfo) -> &str {
    info.address.rsplit_once(':').map_or(&info.address, |(host, _)| host)
}
