//! The server's own commands, by topic.

pub(crate) mod connection;
pub(crate) mod help;
pub(crate) mod pubsub;
pub(crate) mod server;
