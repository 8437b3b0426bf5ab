//! The server as its users meet it: a child process, its sockets, its files. Never looks inside.

#![forbid(unsafe_code)]

mod alerts;
mod append_only;
mod audit;
mod backups;
mod bad_disk;
mod blocking;
mod busy_shards;
mod channels;
mod cluster;
mod cluster_bus;
mod cluster_rebalance;
mod computing;
mod disk_backlog;
mod following;
mod histories;
mod history;
mod http;
mod isolation;
mod life;
mod limits;
mod listening;
mod log_begun;
mod long_arguments;
mod messages;
mod migrate;
mod observing;
mod old_files;
mod process;
mod quotas;
mod replicas;
mod saving;
mod scripts;
mod sentinel;
mod slot_migration;
mod slot_stats;
mod starting;
mod support;
mod tls;
mod tracking;
mod transcripts;
mod users;
mod verification;
mod waiting;
