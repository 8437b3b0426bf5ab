//! The server: threads, sockets, files, the real clock. Lets no handler lock a shard itself.
//!
//! Its modules form layers, from the ground up; `ARCHITECTURE.md` draws them.

#![forbid(unsafe_code)]

mod settings;
mod silent;
mod stats;

mod command_table;

mod access;
mod alerting;
pub mod process;
mod quotas;
mod recording;

mod observing;

mod client;

mod mailbox;
mod pacing;
mod pause;
mod publication;

mod aside;
mod cluster;
mod pubsub;
mod replication;
mod sentinel;
mod tracking;

mod server;

mod figures;

mod http;

mod persistence;

mod core;

mod follow;

mod dispatch;

mod control;

mod worker;

mod commands;

pub mod startup;
pub mod tools;
