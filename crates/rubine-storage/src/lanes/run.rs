//! What is handed in to lanes, and what runs it there. Knows nothing of lanes.

use rubine_keyspace::{Locked, Place, ShardSet};
use rubine_resp::parser::ArgRange;

/// What runs units; each lane has one.
pub trait RunUnits: Send + 'static {
    /// What is known of a command when it is handed in.
    type Command: Copy + Send + 'static;

    /// The database and place of the one key that a command looks up, if it has one.
    fn place_of(command: &Self::Command) -> Option<(usize, Place)>;

    /// Some units are about to run: the clock is looked at.
    fn begin(&mut self);

    /// Runs a command, whose arguments stand at `args` in `bytes`. The shards of its unit are locked.
    fn run(
        &mut self,
        command: Self::Command,
        bytes: &[u8],
        args: &[ArgRange],
        locked: &mut Locked<'_>,
    );
}

/// A unit that is handed in.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'u, C> {
    /// Where it begins and ends in what it is read from.
    pub start: u64,
    pub end: u64,
    /// What all its commands need.
    pub shards: &'u ShardSet,
    /// What is known of each, and its arguments: where they stand in which bytes.
    pub commands: &'u [(C, &'u [u8], &'u [ArgRange])],
}
