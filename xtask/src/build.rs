//! Our own server, built for measuring and for other projects' suites.

use std::path::{Path, PathBuf};

use crate::Failure;
use crate::process::{cargo, run, target_directory};

/// Builds the server with a cargo profile and gives its path.
pub(crate) fn server(profile: &str) -> Result<PathBuf, Failure> {
    run(cargo().args(["build", "--quiet", "--package", "rubine", "--profile", profile]))?;
    // Cargo's one profile whose folder has another name.
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target_directory().join(folder).join("rubine-server"))
}

/// The server that was asked for, or one built with a cargo profile.
pub(crate) fn server_or(given: Option<&Path>, profile: &str) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => Ok(path.canonicalize()?),
        None => server(profile),
    }
}
