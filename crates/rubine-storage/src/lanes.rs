//! Units of commands that come in one order, as those of a log or of a master do, run on several threads with the same
//! result: each shard's units in order, those of several shards as one. Knows no command, and takes no lock but for a
//! unit that is about to run.
//!
//! Whoever hands units in gives each one a number for every shard that it needs: how many came before it there. A unit
//! may run when that many are done. A lane is a thread with a queue; units of one shard are in one lane as a rule and find
//! their turn come, and one of several shards waits in the lane of its first shard for the others. The earliest unit that
//! is not done is the first of its lane and waits for nobody, so there is always one that can run. What needs all shards
//! runs between two barriers, on the thread that hands it in.

mod batch;
mod lane;
pub mod run;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rubine_keyspace::{Keyspace, SHARD_COUNT, ShardSet};

use self::batch::{Batch, listed};
use self::lane::{Shared, run_lane};
use self::run::{Incoming, RunUnits};

/// What is handed in and not done yet, at most; a unit that is larger waits until nothing else is.
const AHEAD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Batches that are handed in and not done yet, at most.
const BATCHES_AHEAD_MAX: usize = 256;
/// How often whoever waits looks whether a lane has died.
const LOOK: Duration = Duration::from_secs(1);

/// The lanes, for the one thread that hands units in.
pub struct Lanes<R: RunUnits> {
    keyspace: &'static Keyspace,
    queues: Vec<Lane<R::Command>>,
    shared: Arc<Shared>,
    /// How many units were handed in for each shard.
    turns: Box<[u64]>,
    /// Runs what needs all shards.
    runner: R,
    /// Where the last unit ends.
    end: u64,
}

/// A lane as it is seen from outside.
struct Lane<C> {
    /// `None` when it is to end.
    batches: Option<Sender<Batch<C>>>,
    thread: Option<JoinHandle<()>>,
    /// What is collected for it.
    filling: Batch<C>,
    sent: u64,
    /// Where each batch begins that was not done when that was last looked at.
    beginnings: VecDeque<u64>,
}

impl<R: RunUnits> Lanes<R> {
    /// As many lanes as there are runners, but for the last, which runs what needs all shards. What comes first begins at
    /// `start`.
    ///
    /// # Panics
    /// If there are not two runners.
    pub fn new(keyspace: &'static Keyspace, mut runners: Vec<R>, start: u64) -> io::Result<Self> {
        let runner = runners.pop().expect("the caller gives two or more");
        assert!(!runners.is_empty(), "there is a lane");
        let shared = Arc::new(Shared::new(runners.len()));
        let spawn = |(index, runner)| {
            let (batches, received) = channel();
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("lane {index}"));
            let run = move || run_lane(keyspace, &shared, index, runner, &received);
            Ok(Lane {
                batches: Some(batches),
                thread: Some(thread.spawn(run)?),
                filling: Batch::default(),
                sent: 0,
                beginnings: VecDeque::new(),
            })
        };
        let queues = runners.into_iter().enumerate().map(spawn).collect::<io::Result<_>>()?;
        let turns = vec![0; SHARD_COUNT].into_boxed_slice();
        Ok(Self { keyspace, queues, shared, turns, runner, end: start })
    }

    /// Hands a unit in. It is run when its turn comes, after [`Self::flush`] at the latest; one that needs all shards is
    /// run at once, after all others. Waits while too much is still to be done.
    pub fn push(&mut self, unit: &Incoming<'_, R::Command>) {
        if *unit.shards == ShardSet::All {
            self.barrier();
            self.run_alone(unit);
            self.end = unit.end;
            return;
        }
        let shards = listed(unit.shards);
        let first = shards.first().map_or(0, |it| usize::from(*it));
        let index = first * self.queues.len() / SHARD_COUNT;
        let lane = &mut self.queues[index];
        let turns = shards.iter().map(|&shard| {
            let turn = &mut self.turns[usize::from(shard)];
            *turn += 1;
            *turn - 1
        });
        lane.filling.add(unit, turns);
        self.end = unit.end;
        if lane.filling.is_full() {
            lane.send(&self.shared);
            self.hold_back();
        }
    }

    /// Lets everything run that was handed in.
    pub fn flush(&mut self) {
        for lane in &mut self.queues {
            lane.send(&self.shared);
        }
    }

    /// Returns when everything has run that was handed in: what is seen then is the state at [`Self::applied`].
    pub fn barrier(&mut self) {
        self.flush();
        self.wait_until(0, 0);
    }

    /// Everything before this offset has run.
    pub fn applied(&mut self) -> u64 {
        let shared = &self.shared;
        let unfinished = self.queues.iter_mut().enumerate().filter_map(|(index, lane)| {
            lane.forget_done(shared.done(index));
            lane.beginnings.front().copied().or_else(|| lane.filling.start())
        });
        unfinished.min().unwrap_or(self.end)
    }

    fn run_alone(&mut self, unit: &Incoming<'_, R::Command>) {
        self.runner.begin();
        let mut locked = self.keyspace.lock(&ShardSet::All);
        for &(command, bytes, args) in unit.commands {
            self.runner.run(command, bytes, args, &mut locked);
        }
    }

    /// Waits if too much is still to be done. What is collected is sent first: something may wait for it.
    fn hold_back(&mut self) {
        if self.shared.is_above(AHEAD_BYTES_MAX, BATCHES_AHEAD_MAX) {
            self.flush();
            // Not for a little room, which would be gone at once.
            self.wait_until(AHEAD_BYTES_MAX / 2, BATCHES_AHEAD_MAX / 2);
        }
        for (index, lane) in self.queues.iter_mut().enumerate() {
            lane.forget_done(self.shared.done(index));
        }
    }

    fn wait_until(&self, bytes: usize, batches: usize) {
        while !self.shared.wait_until(bytes, batches, LOOK) {
            let mut threads = self.queues.iter().filter_map(|it| it.thread.as_ref());
            assert!(threads.all(|it| !it.is_finished()), "a lane ended before its work");
        }
    }
}

impl<C> Lane<C> {
    fn send(&mut self, shared: &Shared) {
        let Some(start) = self.filling.start() else { return };
        let batch = self.filling.take();
        shared.add(batch.weight());
        self.sent += 1;
        self.beginnings.push_back(start);
        let batches = self.batches.as_ref().expect("it is taken away by the end only");
        // A lane that has died is found out by whoever waits for it.
        let _ = batches.send(batch);
    }

    /// Keeps the beginnings of those that are not done: `done` are, of all that were sent.
    fn forget_done(&mut self, done: u64) {
        let left = (self.sent - done) as usize;
        while left < self.beginnings.len() {
            self.beginnings.pop_front();
        }
    }
}

impl<R: RunUnits> Drop for Lanes<R> {
    fn drop(&mut self) {
        for lane in &mut self.queues {
            // What was begun ends: a unit is never left in the middle.
            lane.send(&self.shared);
            lane.batches = None;
        }
        for thread in self.queues.iter_mut().filter_map(|it| it.thread.take()) {
            // Its panic has been told of by itself.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
