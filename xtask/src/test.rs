//! `cargo xtask test`: every test of the workspace, by nextest where it is installed.

use crate::Failure;
use crate::process::{cargo, find_program, run as run_program};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to the test runner
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    // Integration tests start the server as a child; cargo builds it for its own package's tests only.
    run_program(cargo().args(["build", "--quiet", "--package", "rubine"]))?;
    let mut tests = cargo();
    if find_program("cargo-nextest").is_some() {
        tests.args(["nextest", "run", "--workspace"]);
        if std::env::var_os("CI").is_some() {
            tests.args(["--profile", "ci"]);
        }
    } else {
        tests.args(["test", "--workspace", "--quiet"]);
    }
    run_program(tests.args(&options.arguments))
}
