//! Units on their way to a lane, copied from where they were read. Runs none of them.

use std::ops::Range;

use rubine_keyspace::ShardSet;
use rubine_resp::parser::ArgRange;

use super::run::Incoming;

/// A batch is sent when it has so much.
const BATCH_BYTES: usize = 64 * 1024;
const BATCH_UNITS: usize = 512;

/// Units that travel together.
pub(super) struct Batch<C> {
    bytes: Vec<u8>,
    args: Vec<ArgRange>,
    commands: Vec<Known<C>>,
    units: Vec<Unit>,
    /// For each unit and each of its shards, how many units are to run there before.
    turns: Vec<u64>,
    /// Where the first unit begins.
    start: u64,
}

/// A command, and where its arguments are.
struct Known<C> {
    command: C,
    args: Range<usize>,
}

/// What ends where the next begins.
pub(super) struct Unit {
    pub(super) shards: ShardSet,
    pub(super) commands: Range<usize>,
    pub(super) turns: Range<usize>,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        let (bytes, args, commands) = (Vec::new(), Vec::new(), Vec::new());
        Self { bytes, args, commands, units: Vec::new(), turns: Vec::new(), start: 0 }
    }
}

impl<C: Copy> Batch<C> {
    pub(super) fn add(&mut self, unit: &Incoming<'_, C>, turns: impl Iterator<Item = u64>) {
        if self.units.is_empty() {
            self.start = unit.start;
        }
        let first_command = self.commands.len();
        for &(command, bytes, args) in unit.commands {
            let first_arg = self.args.len();
            // The arguments stand one behind the other; what is between them comes along.
            let start = args.first().map_or(0, |it| it.start);
            let end = args.last().map_or(0, |it| it.start + it.len);
            let base = self.bytes.len();
            self.bytes.extend_from_slice(&bytes[start..end]);
            let moved = |it: &ArgRange| ArgRange { start: it.start - start + base, len: it.len };
            self.args.extend(args.iter().map(moved));
            self.commands.push(Known { command, args: first_arg..self.args.len() });
        }
        let first_turn = self.turns.len();
        self.turns.extend(turns);
        self.units.push(Unit {
            shards: unit.shards.clone(),
            commands: first_command..self.commands.len(),
            turns: first_turn..self.turns.len(),
        });
    }
}

impl<C> Batch<C> {
    pub(super) fn is_full(&self) -> bool {
        BATCH_BYTES <= self.weight() || BATCH_UNITS <= self.units.len()
    }

    /// Where the first unit begins, if there is one.
    pub(super) fn start(&self) -> Option<u64> {
        (!self.units.is_empty()).then_some(self.start)
    }

    /// Leaves an empty one, with room for as much again.
    pub(super) fn take(&mut self) -> Self {
        let next = Self {
            bytes: Vec::with_capacity(self.bytes.len().min(BATCH_BYTES)),
            args: Vec::with_capacity(self.args.len().min(BATCH_BYTES / size_of::<ArgRange>())),
            commands: Vec::with_capacity(self.commands.len().min(BATCH_UNITS)),
            units: Vec::with_capacity(self.units.len().min(BATCH_UNITS)),
            turns: Vec::with_capacity(self.turns.len().min(BATCH_UNITS)),
            start: 0,
        };
        std::mem::replace(self, next)
    }

    /// Memory that it takes, about.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.args.len() * size_of::<ArgRange>()
    }

    pub(super) fn units(&self) -> &[Unit] {
        &self.units
    }

    pub(super) fn turns(&self, unit: &Unit) -> impl Iterator<Item = (usize, u64)> {
        let shards = listed(&unit.shards).iter().map(|it| usize::from(*it));
        shards.zip(self.turns[unit.turns.clone()].iter().copied())
    }

    /// What is known of the commands of a unit.
    pub(super) fn known(&self, unit: &Unit) -> impl Iterator<Item = &C> {
        self.commands[unit.commands.clone()].iter().map(|it| &it.command)
    }

    /// The commands of a unit: what is known of each, and its arguments.
    pub(super) fn commands(&self, unit: &Unit) -> impl Iterator<Item = (&C, &[u8], &[ArgRange])> {
        let commands = self.commands[unit.commands.clone()].iter();
        commands.map(|it| (&it.command, &*self.bytes, &self.args[it.args.clone()]))
    }
}

/// The shards of a set that has not all.
pub(super) fn listed(shards: &ShardSet) -> &[u16] {
    match shards {
        ShardSet::One(shard) => std::slice::from_ref(shard),
        ShardSet::Some(shards) => shards,
        ShardSet::All => &[],
    }
}
