//! What persistence costs and how fast it is: saving and loading, the append-only file, and the tools that check files.
//! Both servers have both cores here, as they would.

mod backups;
mod logging;
mod saving;
mod tools;

use rubine_testing::server::{Server, ServerOptions};

use super::asked::Asked;
use super::{Bench, Contender};
use crate::Failure;

const CORES: &str = "0-1";

struct Row {
    name: &'static str,
    run: fn(&Bench) -> Result<(), Failure>,
}

const ROWS: [Row; 7] = [
    Row { name: "save and load", run: |bench| saving::run(bench, &saving::STRINGS) },
    Row { name: "save and load all types", run: |bench| saving::run(bench, &saving::ALL_TYPES) },
    Row { name: "backups", run: backups::run },
    Row { name: "fsync always", run: logging::always },
    Row { name: "fsync everysec", run: logging::every_second },
    Row { name: "load a log", run: logging::load },
    Row { name: "check tools", run: tools::run },
];

pub(super) fn rows() -> Vec<&'static str> {
    ROWS.iter().map(|row| row.name).collect()
}

pub(super) fn run(bench: &Bench, asked: &Asked<'_>) -> Result<(), Failure> {
    asked.of_rows(&ROWS, |row| row.name).into_iter().try_for_each(|row| (row.run)(bench))
}

/// Starts a server with two workers on both cores.
fn start(contender: &Contender, directives: &[(&str, &str)]) -> Result<Server, Failure> {
    let workers = if contender.own_directives { "workers" } else { "io-threads" };
    let options = ServerOptions::new(&contender.program).with(workers, "2");
    let options = directives.iter().fold(options, |it, (name, value)| it.with(name, value));
    Ok(options.behind(&["taskset", "--cpu-list", CORES]).start()?)
}
