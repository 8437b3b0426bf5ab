//! The one developers' tool: `cargo xtask --help`. Each command is a file; none of them is part of the product.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool prints")]

mod bench;
mod build;
mod chains;
mod ci;
mod clock;
mod cluster_tools;
mod clusters;
mod compat;
mod diff;
mod docs;
mod e2e;
mod exchange;
mod fuzz;
mod oracle;
mod package;
mod partitions;
mod peer;
mod process;
mod sentinels;
mod simulate;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

/// Tests, checks and measures Rubine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Runs every test of the workspace
    Test(test::Options),
    /// Checks what a person would forget
    Tidy(tidy::Options),
    /// Plays the transcripts against real servers
    Oracle(oracle::Options),
    /// Writes the reference of commands from their declarations
    Docs,
    /// Runs Valkey's test suite against our server
    Compat(compat::Options),
    /// Measures our server against a real Valkey
    Bench(bench::Options),
    /// Lets the clients that people use do what they do every day
    E2e(e2e::Options),
    /// Sends the same random commands to our server and to a real one, and compares
    Diff(diff::Options),
    /// Takes dump files to real servers and back
    Exchange(exchange::Options),
    /// Sends random commands to a server
    Fuzz(fuzz::Options),
    /// Lets servers of all families follow each other, while links are cut and replicas killed
    Chains(chains::Options),
    /// Writes to clusters of our nodes and real ones, while nodes fail over and are killed, and slots are moved
    Clusters(clusters::Options),
    /// Cuts the ways between the nodes of a cluster, in namespaces, and stops and kills them
    Partitions(partitions::Options),
    /// Lets the command line tools of both families make and change clusters of our nodes
    ClusterTools(cluster_tools::Options),
    /// Lives through worlds of Sentinels, made from seeds
    Simulate(simulate::Options),
    /// Lets groups of our Sentinels and real ones fail real servers over
    Sentinels(sentinels::Options),
    /// Makes the Debian package, with manual pages and completions
    Package(package::Options),
    /// All that must hold before a change is taken
    Ci,
}

/// What a command says when it fails: text for the person who called it.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Test(options) => test::run(&options),
        Command::Tidy(options) => tidy::run(&options),
        Command::Package(options) => package::run_package(&options),
        Command::Oracle(options) => oracle::run(&options),
        Command::Docs => docs::run(),
        Command::Compat(options) => compat::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::E2e(options) => e2e::run(&options),
        Command::Diff(options) => diff::run(&options),
        Command::Exchange(options) => exchange::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Chains(options) => chains::run(&options),
        Command::Clusters(options) => clusters::run(&options),
        Command::Partitions(options) => partitions::run(&options),
        Command::ClusterTools(options) => cluster_tools::run(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Sentinels(options) => sentinels::run(&options),
        Command::Ci => ci::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
