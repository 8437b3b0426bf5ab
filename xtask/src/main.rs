//! The one developers' tool: `cargo xtask --help`. Each command is a file; none of them is part of the product.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool prints")]

mod oracle;
mod peer;
mod process;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// Tests, checks and measures Rubine.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Runs every test of the workspace
    Test(test::Options),
    /// Plays the transcripts against real servers
    Oracle(oracle::Options),
}

/// What a command says when it fails: text for the person who called it.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Test(options) => test::run(&options),
        Command::Oracle(options) => oracle::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
