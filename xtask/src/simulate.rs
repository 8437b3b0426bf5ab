//! `cargo xtask simulate`: worlds from seeds, in which Sentinels live, masters and replicas, or nodes of a cluster. The tests that
//! make them are in `rubine-sentinel`, `rubine-replication` and `rubine-cluster`; here they are only called.

use crate::Failure;
use crate::process::{cargo, run as run_program};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Tells the story of the world of this seed
    seed: Option<u64>,
    /// Lives through so many worlds; the first one in which something is wrong tells its story
    #[arg(long, default_value_t = 300, conflicts_with = "seed")]
    seeds: u64,
    /// Only worlds of this kind
    #[arg(long)]
    only: Option<Kind>,
}

/// Who lives in a world.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Cluster,
    Replication,
    Sentinel,
}

impl Kind {
    /// The package whose test `simulate` makes such worlds, and the name of its part.
    fn test(self) -> (&'static str, &'static str) {
        match self {
            Self::Cluster => ("rubine-cluster", "clusters_agree"),
            Self::Replication => ("rubine-replication", "replicas_agree"),
            Self::Sentinel => ("rubine-sentinel", "groups_agree"),
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    for kind in [Kind::Replication, Kind::Sentinel, Kind::Cluster] {
        if options.only.is_some_and(|it| it != kind) {
            continue;
        }
        let (package, name) = kind.test();
        let mut test = cargo();
        test.args(["test", "--quiet", "--package", package, "--test", "simulate"]);
        test.args(["--", name, "--nocapture"]);
        match options.seed {
            Some(seed) => test.env("RUBINE_SIMULATE_SEED", seed.to_string()),
            None => test.env("RUBINE_SIMULATE_SEEDS", options.seeds.to_string()),
        };
        run_program(&mut test)?;
    }
    Ok(())
}
