//! Clusters in a simulated world: messages are late, lost or come twice, connections break, networks part in one or both
//! directions, processes are killed, stand still and come back with what they had on disk, at other addresses and with
//! clocks that are wrong, while clients write and slots are moved. What must hold is checked all the time, and once more
//! when all is well again.
//!
//! `RUBINE_SIMULATE_SEED=7` runs one world and tells its story; `RUBINE_SIMULATE_SEEDS=1000` runs that many.
//! `cargo xtask simulate` sets these. `RUBINE_SIMULATE_NODES=200` has `many_nodes_learn_of_a_failure` be about so many.

mod big;
mod data;
mod moves;
mod network;
mod oracle;
mod server;
mod trouble;
mod turns;
mod world;

use crate::world::World;

const SEEDS: u64 = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().expect("a number"))
}

#[test]
fn clusters_agree_whatever_happens() {
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
fn replicas_are_elected_and_slots_move() {
    let (mut elected, mut moved, mut acknowledged) = (0, 0, 0);
    for seed in 100..106 {
        let mut world = World::new(seed);
        world.run().unwrap_or_else(|reason| panic!("{}\nseed {seed}: {reason}", world.story()));
        elected += world.oracle.elected;
        moved += world.oracle.moved;
        acknowledged += world.oracle.acknowledged.len();
    }
    assert!(5 <= elected && 5 <= moved && 500 <= acknowledged, "{elected} {moved} {acknowledged}");
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

/// All nodes learn that one has failed, and as soon as the rules allow; nobody says more than the rules have him say.
#[test]
fn many_nodes_learn_of_a_failure() {
    big::run(number("RUBINE_SIMULATE_NODES").unwrap_or(24) as usize);
}
