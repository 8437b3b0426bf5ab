//! The server's own commands, by topic.

mod cluster;
pub(crate) mod connection;
pub(crate) mod functions;
pub(crate) mod help;
pub(crate) mod pubsub;
mod replication;
pub(crate) mod scripting;
mod scripts;
mod sentinel;
pub(crate) mod server;
pub(crate) mod transactions;

use rubine_commands::Group;

use crate::command_table::CommandTable;
use crate::core::{ServerFamily, SessionHandler};

/// Every command of the server's own.
const FAMILIES: &[ServerFamily] = &[
    ServerFamily { group: Group::Connection, commands: connection::COMMANDS },
    ServerFamily { group: Group::Generic, commands: connection::WAIT_COMMANDS },
    ServerFamily { group: Group::Cluster, commands: cluster::COMMANDS },
    ServerFamily { group: Group::Cluster, commands: connection::CLUSTER_COMMANDS },
    ServerFamily { group: Group::PubSub, commands: pubsub::COMMANDS },
    ServerFamily { group: Group::Server, commands: replication::COMMANDS },
    ServerFamily { group: Group::Scripting, commands: scripting::COMMANDS },
    ServerFamily { group: Group::Server, commands: server::COMMANDS },
    ServerFamily { group: Group::Transactions, commands: transactions::COMMANDS },
];

/// All commands, with `renamed` ones, and the handlers of the server's own by their numbers. See [`CommandTable::new`].
pub(crate) fn command_table(
    renamed: &[(Vec<u8>, Vec<u8>)],
) -> Result<(CommandTable, Vec<SessionHandler>), String> {
    CommandTable::new(FAMILIES.iter().map(|it| (it.group, it.commands)), &help::HELP, renamed)
}

/// The commands of a Sentinel: some are its own, the others those of a server. As [`command_table`].
pub(crate) fn sentinel_table(
    renamed: &[(Vec<u8>, Vec<u8>)],
) -> Result<(CommandTable, Vec<SessionHandler>), String> {
    let families = sentinel::FAMILIES.iter().chain(FAMILIES).map(|it| (it.group, it.commands));
    CommandTable::of_sentinel(families, &help::HELP, renamed)
}
