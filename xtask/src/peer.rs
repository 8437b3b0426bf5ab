//! The servers that Rubine is held against: where their programs are. Builds nothing; `compat` does.

use std::path::PathBuf;

use crate::process::{find_program, target_directory};

/// Where `compat` keeps Valkey's source and programs.
pub(crate) fn cache_directory() -> PathBuf {
    let chosen = std::env::var_os("RUBINE_COMPAT_CACHE").map(PathBuf::from);
    chosen.unwrap_or_else(|| target_directory().join("compat"))
}

/// Where one run keeps its files; the cache may be shared by several working copies.
pub(crate) fn run_directory() -> PathBuf {
    target_directory().join("compat")
}

/// One of Valkey's programs: in `VALKEY_BIN_DIR`, in the cache, or installed.
pub(crate) fn valkey_program(name: &str) -> Option<PathBuf> {
    let chosen = std::env::var_os("VALKEY_BIN_DIR").map(PathBuf::from);
    let folders = chosen.into_iter().chain([cache_directory().join("valkey/src")]);
    let program = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    program.or_else(|| find_program(name))
}

/// The redis-server that `compat` has built, or that of `REDIS_BIN_DIR`: newer than those that are installed.
pub(crate) fn built_redis() -> Option<PathBuf> {
    let chosen = std::env::var_os("REDIS_BIN_DIR").map(PathBuf::from);
    let folders = chosen.into_iter().chain([cache_directory().join("redis/src")]);
    folders.map(|folder| folder.join("redis-server")).find(|program| program.is_file())
}

/// The installed redis-server.
pub(crate) fn redis_server() -> Option<PathBuf> {
    find_program("redis-server")
}
