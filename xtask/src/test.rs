//! `cargo xtask test`: every test of the workspace, by nextest where it is installed.

use std::process::Command;

use crate::Failure;
use crate::process::{cargo, find_program, output_of_both, run as run_program, target_directory};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to the test runner
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    run_program(&mut build())?;
    run_program(tests().args(&options.arguments))
}

/// Runs them all and gives the runner's summary; all that was printed is part of a failure.
pub(crate) fn run_quietly() -> Result<String, Failure> {
    output_of_both(&mut build())?;
    output_of_both(&mut tests()).map(|printed| summary(&printed))
}

/// Integration tests start the server as a child; cargo builds it for its own package's tests only.
fn build() -> Command {
    let mut build = cargo();
    build.args(["build", "--quiet", "--package", "rubine"]);
    build
}

/// The crates whose interleavings shuttle explores.
const INTERLEAVED: [&str; 2] = ["rubine-journal", "rubine-keyspace"];

/// Has shuttle play through the interleavings of what threads share. In a folder of its own: other flags mean other
/// builds of everything.
pub(crate) fn run_interleavings() -> Result<(), Failure> {
    let mut tests = cargo();
    tests.env("RUSTFLAGS", "--cfg shuttle").args(["test", "--quiet", "--lib"]);
    tests.args(INTERLEAVED.iter().flat_map(|name| ["--package", name]));
    tests.arg("--target-dir").arg(target_directory().join("shuttle"));
    output_of_both(&mut tests).map(drop)
}

/// Tests whose code reads and writes raw memory: those of tables, records and hints. A name stands for all that contain it.
const RAW_MEMORY_TESTS: [&str; 3] = ["table::", "record::", "hints::"];

/// Memory that is still there at the end is no error: what a table gives back waits for readers that may come no more, and
/// pointers with tags hide what they point to.
const VALGRIND: &str = r#"target."cfg(all())".runner = ["valgrind", "--quiet", "--error-exitcode=1", "--leak-check=no"]"#;

/// Has valgrind watch the tests of raw memory.
pub(crate) fn run_under_valgrind() -> Result<(), Failure> {
    find_program("valgrind").ok_or("`valgrind` is needed: `apt-get install valgrind`")?;
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--package", "rubine-structures", "--lib"]);
    tests.args(["--config", VALGRIND, "--"]).args(RAW_MEMORY_TESTS);
    output_of_both(&mut tests).map(drop)
}

fn tests() -> Command {
    let mut tests = cargo();
    if find_program("cargo-nextest").is_some() {
        tests.args(["nextest", "run", "--workspace"]);
        if std::env::var_os("CI").is_some() {
            tests.args(["--profile", "ci"]);
        }
    } else {
        tests.args(["test", "--workspace"]);
    }
    tests
}

/// Nextest's last line, or the sum of what cargo's own runner reports for each binary.
fn summary(printed: &str) -> String {
    if let Some(line) =
        printed.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))
    {
        return line.trim().to_owned();
    }
    let results = printed.lines().filter_map(|line| line.strip_prefix("test result: "));
    let (mut passed, mut failed) = (0, 0);
    for words in results.map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        for pair in words.windows(2) {
            let count = || pair[0].parse::<u32>().unwrap_or(0);
            match pair[1].trim_end_matches(';') {
                "passed" => passed += count(),
                "failed" => failed += count(),
                _ => {}
            }
        }
    }
    format!("test result: {passed} passed; {failed} failed")
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn summaries() {
        let nextest = "PASS x\n     Summary [   0.1s] 16 tests run: 16 passed, 0 skipped\n";
        assert_eq!(summary(nextest), "Summary [   0.1s] 16 tests run: 16 passed, 0 skipped");
        let cargo = "test result: ok. 3 passed; 0 failed; 1 ignored\ntest result: ok. 4 passed; 1 failed; 0 ignored\n";
        assert_eq!(summary(cargo), "test result: 7 passed; 1 failed");
    }
}
