//! The thread of one lane, and what lanes tell each other: how many units of each shard are done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rubine_keyspace::{Hint, Keyspace, Reading, SHARD_COUNT};

use super::batch::{Batch, Unit};
use super::run::RunUnits;

/// Units whose keys are fetched ahead of each other.
const UNITS_AHEAD: usize = 16;
/// How a lane waits for another one: as a rule that is soon done, and a thread that sleeps is woken late.
const SPINS: u32 = 64;
const NAPS_FROM: u32 = 2 * SPINS;
const NAP: Duration = Duration::from_micros(50);

/// What all lanes of one keyspace know.
pub(super) struct Shared {
    /// How many units of each shard are done.
    turns: Box<[AtomicU64]>,
    /// How many batches of each lane are.
    done: Box<[AtomicU64]>,
    load: Mutex<Load>,
    /// Signalled when a batch is done.
    eased: Condvar,
}

/// What was sent and is not done.
#[derive(Debug, Default)]
struct Load {
    bytes: usize,
    batches: usize,
}

impl Load {
    fn is_above(&self, bytes: usize, batches: usize) -> bool {
        bytes < self.bytes || batches < self.batches
    }
}

impl Shared {
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            turns: (0..SHARD_COUNT).map(|_| AtomicU64::new(0)).collect(),
            done: (0..lanes).map(|_| AtomicU64::new(0)).collect(),
            load: Mutex::default(),
            eased: Condvar::new(),
        }
    }

    /// How many batches of a lane are done.
    pub(super) fn done(&self, lane: usize) -> u64 {
        self.done[lane].load(Ordering::Acquire)
    }

    /// A batch is being sent.
    pub(super) fn add(&self, bytes: usize) {
        let mut load = self.load.lock();
        load.bytes += bytes;
        load.batches += 1;
    }

    fn finish(&self, lane: usize, bytes: usize) {
        self.done[lane].fetch_add(1, Ordering::Release);
        let mut load = self.load.lock();
        load.bytes -= bytes;
        load.batches -= 1;
        drop(load);
        self.eased.notify_all();
    }

    /// Whether more than that is still to be done.
    pub(super) fn is_above(&self, bytes: usize, batches: usize) -> bool {
        self.load.lock().is_above(bytes, batches)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.load.lock().bytes
    }

    /// Waits until no more than that is still to be done, but not for ever. Returns whether it is so.
    pub(super) fn wait_until(&self, bytes: usize, batches: usize, patience: Duration) -> bool {
        let mut load = self.load.lock();
        let is_above = |load: &mut Load| load.is_above(bytes, batches);
        !self.eased.wait_while_for(&mut load, is_above, patience).timed_out()
    }

    /// Returns when `turn` units of a shard are done.
    fn wait_for(&self, shard: usize, turn: u64) {
        let mut tries = 0_u32;
        while self.turns[shard].load(Ordering::Acquire) != turn {
            match tries {
                0..SPINS => std::hint::spin_loop(),
                SPINS..NAPS_FROM => std::thread::yield_now(),
                _ => std::thread::park_timeout(NAP),
            }
            tries += 1;
        }
    }
}

/// Runs what is sent, until nobody sends any more.
pub(super) fn run_lane<R: RunUnits>(
    keyspace: &Keyspace,
    shared: &Shared,
    lane: usize,
    mut runner: R,
    batches: &Receiver<Batch<R::Command>>,
) {
    while let Ok(batch) = batches.recv() {
        runner.begin();
        for units in batch.units().chunks(UNITS_AHEAD) {
            prefetch::<R>(keyspace, &batch, units);
            for unit in units {
                run_unit(keyspace, shared, &mut runner, &batch, unit);
            }
        }
        shared.finish(lane, batch.weight());
    }
}

fn run_unit<R: RunUnits>(
    keyspace: &Keyspace,
    shared: &Shared,
    runner: &mut R,
    batch: &Batch<R::Command>,
    unit: &Unit,
) {
    for (shard, turn) in batch.turns(unit) {
        shared.wait_for(shard, turn);
    }
    let mut locked = keyspace.lock(&unit.shards);
    for (command, bytes, args) in batch.commands(unit) {
        runner.run(*command, bytes, args, &mut locked);
    }
    drop(locked);
    for (shard, turn) in batch.turns(unit) {
        // Nobody else counts this shard on before this is seen.
        shared.turns[shard].store(turn + 1, Ordering::Release);
    }
}

/// Asks for the keys of some units: memory is what they would wait for most.
fn prefetch<R: RunUnits>(keyspace: &Keyspace, batch: &Batch<R::Command>, units: &[Unit]) {
    let reading = Reading::new();
    let mut hints: [Option<Hint<'_>>; UNITS_AHEAD] = [const { None }; UNITS_AHEAD];
    let known = units.iter().filter_map(|unit| batch.known(unit).find_map(R::place_of));
    for ((db, place), hint) in known.zip(&mut hints) {
        *hint = keyspace.hint(&reading, db, place);
        if let Some(hint) = hint {
            hint.prefetch_bucket();
            keyspace.prefetch_shard(db, place);
        }
    }
    hints.into_iter().flatten().for_each(Hint::prefetch_record);
}
