//! Groups of Sentinels in a simulated world: their masters and replicas are small models, messages are late, connections
//! break, networks part, processes are killed and come back with what they had on disk, clocks go wrong. What must hold is
//! checked all the time, and once more when all is well again.
//!
//! `RUBINE_SIMULATE_SEED=7` runs one world and tells its story; `RUBINE_SIMULATE_SEEDS=1000` runs that many.
//! `cargo xtask simulate` sets these.

mod oracle;
mod peer;
mod server;
mod trouble;
mod world;

use crate::world::World;

const SEEDS: u64 = 60;

#[test]
fn groups_agree_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse().expect("a number"));
    if let Some(seed) = number("RUBINE_SIMULATE_SEED") {
        let mut world = World::new(seed);
        let outcome = world.run();
        eprintln!("{}", world.story());
        outcome.unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
        return;
    }
    for seed in 0..number("RUBINE_SIMULATE_SEEDS").unwrap_or(SEEDS) {
        let mut world = World::new(seed);
        if let Err(reason) = world.run() {
            panic!("{}\nseed {seed}: {reason}", world.story());
        }
    }
}

/// The worlds are worth looking at only if something happens in them.
#[test]
fn masters_fail_and_are_replaced() {
    let mut promoted = 0;
    for seed in 0..10 {
        let mut world = World::new(seed);
        world.run().unwrap_or_else(|reason| panic!("{}\nseed {seed}: {reason}", world.story()));
        promoted += world.oracle.promotion_count();
    }
    assert!(5 <= promoted, "{promoted} promotions");
}

#[test]
fn one_seed_is_one_story() {
    let story = |seed| {
        let mut world = World::new(seed);
        world.run().expect("it goes well");
        world.story()
    };
    assert_eq!(story(3), story(3));
}
