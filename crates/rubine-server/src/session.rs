//! What a handler of the server's own commands works with: the client, the server, the worker it runs on.
//! Never locks a shard.

use rubine_commands::{Args, Command, CommandResult, Group};
use rubine_keyspace::Locked;
use rubine_resp::writer::Reply;

use crate::client::Client;
use crate::command_table::Entry;
use crate::commands;
use crate::dispatch::Core;

/// The handler of a server command.
pub(crate) type SessionHandler = for<'a> fn(&mut Session<'a>) -> CommandResult;

/// The declaration of a server command.
pub(crate) type ServerCommand = Command<SessionHandler>;

/// The server commands of one group.
pub(crate) struct ServerFamily {
    pub(crate) group: Group,
    pub(crate) commands: &'static [ServerCommand],
}

/// Every server command.
pub(crate) const SERVER_FAMILIES: &[ServerFamily] = &[
    ServerFamily { group: Group::Connection, commands: commands::connection::COMMANDS },
    ServerFamily { group: Group::Generic, commands: commands::connection::WAIT_COMMANDS },
    ServerFamily { group: Group::Cluster, commands: commands::connection::CLUSTER_COMMANDS },
    ServerFamily { group: Group::PubSub, commands: commands::pubsub::COMMANDS },
    ServerFamily { group: Group::Server, commands: commands::server::COMMANDS },
    ServerFamily { group: Group::Transactions, commands: crate::transaction::COMMANDS },
];

/// What a server command can see and do.
pub(crate) struct Session<'a> {
    pub(crate) args: Args<'a>,
    pub(crate) reply: Reply<'a>,
    pub(crate) client: &'a mut Client,
    pub(crate) core: &'a mut Core,
    /// The command that runs.
    pub(crate) entry: &'static Entry,
    /// The shards that are locked around it, inside a transaction.
    pub(crate) locked: Option<&'a mut Locked<'static>>,
}
