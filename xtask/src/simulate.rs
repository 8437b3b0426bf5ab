//! `cargo xtask simulate`: worlds in which Sentinels live, from seeds. The test that makes them is in `rubine-sentinel`; here
//! it is only called.

use crate::Failure;
use crate::process::{cargo, run as run_program};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Tells the story of the world of this seed
    seed: Option<u64>,
    /// Lives through so many worlds; the first one in which something is wrong tells its story
    #[arg(long, default_value_t = 300, conflicts_with = "seed")]
    seeds: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut test = cargo();
    test.args(["test", "--quiet", "--package", "rubine-sentinel", "--test", "simulate"]);
    test.args(["--", "groups_agree", "--nocapture"]);
    match options.seed {
        Some(seed) => test.env("RUBINE_SIMULATE_SEED", seed.to_string()),
        None => test.env("RUBINE_SIMULATE_SEEDS", options.seeds.to_string()),
    };
    run_program(&mut test)
}
