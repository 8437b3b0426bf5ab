//! The server: threads, sockets, files, the real clock. Lets no handler lock a shard itself.

mod admission;
mod blocking;
mod client;
mod command_table;
mod commands;
pub mod config;
mod crash;
mod cron;
mod dispatch;
mod eviction;
mod gates;
mod latency;
mod limits;
mod listener;
pub mod logging;
mod mailbox;
mod pause;
mod reconfigure;
mod server;
mod session;
mod settings;
mod socket;
pub mod startup;
mod stats;
pub mod sys;
mod transaction;
mod worker;
