//! What is kept on disk, as a running server keeps it: dumps that are saved and loaded, the append-only file that is
//! written, rewritten and read, and the tools that look at both. Knows no client, no worker and no command: it works on
//! the parts in [`Storage`], and asks the server around it through [`Host`].

#![forbid(unsafe_code)]

pub mod aof;
pub mod backlog;
pub mod backlog_writer;
pub mod backup_image;
pub mod backup_set;
pub mod disk;
pub mod dump_file;
pub mod dumps;
pub mod lanes;
pub mod libraries;
pub mod load;
mod load_delay;
pub mod loading;
mod log_end;
pub mod log_load;
mod log_rewrite;
pub mod log_writer;
pub mod pace;
mod rdb_load;
mod rdb_save;
pub mod replica_dump;
mod resuming;
pub mod save_points;
pub mod saves;
pub mod slot_writer;
mod storage;
pub mod sync;
pub mod tools;

pub use aof::read_keys;
pub use rdb_load::ReplicationRemarks;
pub use storage::{Apply, Host, Persistence, Stall, Storage, Trouble};
