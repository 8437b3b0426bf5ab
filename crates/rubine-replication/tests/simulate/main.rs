//! Masters and replicas in a simulated world: the machines of this crate and the real journal, around a small model of data.
//! What they say arrives late and in pieces, connections break, networks part, servers are killed and come back with the
//! dump that they had, clocks run at different rates, and whoever is in charge promotes, repoints and hands over. What must
//! hold is checked all the time, and once more when all is well again.
//!
//! `RUBINE_SIMULATE_SEED=7` runs one world and tells its story; `RUBINE_SIMULATE_SEEDS=1000` runs that many.
//! `cargo xtask simulate` sets these.

mod data;
mod disk;
mod link;
mod master;
mod network;
mod oracle;
mod server;
mod trouble;
mod world;

use crate::world::World;

const SEEDS: u64 = 200;

#[test]
fn replicas_agree_whatever_happens() {
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
fn much_happens_in_them() {
    let mut seen = oracle::Counts::default();
    for seed in 0..10 {
        let mut world = World::new(seed);
        world.run().unwrap_or_else(|reason| panic!("{}\nseed {seed}: {reason}", world.story()));
        seen.add(&world.oracle.counts);
    }
    assert!(seen.are_worth_it(), "{seen:?}");
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
