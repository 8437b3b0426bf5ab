//! Programs beside the server, which are this program under another name, and what is done before a server starts. They
//! look at files and change them; they serve nobody.

pub(crate) mod check_system;
pub(crate) mod health_check;
pub(crate) mod restore_backup;
pub(crate) mod test_memory;

use std::process::ExitCode;

pub(crate) use rubine_storage::tools::restore;
use rubine_storage::tools::{check_aof, check_rdb};

/// A program: it gets its arguments without its name.
pub type Tool = fn(&[Vec<u8>]) -> ExitCode;

/// The tool that goes by the name of the program, if one does.
pub fn find(program: &[u8]) -> Option<Tool> {
    let name = program.rsplit(|it| *it == b'/').next().unwrap_or_default();
    match name {
        b"rubine-check-aof" | b"redis-check-aof" | b"valkey-check-aof" => Some(check_aof::main),
        b"rubine-check-rdb" | b"redis-check-rdb" | b"valkey-check-rdb" => Some(check_rdb::main),
        _ => None,
    }
}
