//! Completing hand-offs: running the commands of waiters, first come first served, whenever their keys were changed. Knows
//! no command: [`Serve`] runs them.
//!
//! A hand-off is completed by whoever has to do with the shard next, before anything else runs there. Where a shard that it
//! takes is busy, it stays due: who came for something else stands for the busy shard, and whoever has made the change
//! ([`OwedHandOffs`]) does so too, in case nobody comes.

use std::collections::VecDeque;

use crate::busy::{OLDEST, Standing, Ticket};
use crate::keyspace::{Keyspace, Locked};
use crate::shard_set::ShardSet;
use crate::waiters::{Ready, Waiter, WaiterState};

/// Whoever can run the command of a waiter.
pub trait Serve {
    type Reply;

    /// The instant at which keys are looked at.
    fn now(&self) -> i64;

    /// The shards that the waiter's command needs.
    fn shards_of(&self, waiter: &Waiter) -> ShardSet;

    /// Runs the command of a waiter. `None` if it waits on.
    fn run(&mut self, waiter: &Waiter, locked: &mut Locked<'_>) -> Option<Self::Reply>;

    /// Sends the reply of a command whose wait has ended with it.
    fn answer(&mut self, waiter: &Waiter, reply: Self::Reply, locked: &Locked<'_>);
}

/// Completes all hand-offs that are due on `shards`, and those that follow from them. Waits for their locks as long as it
/// takes. The caller holds none.
pub fn complete_hand_offs(keyspace: &Keyspace, shards: Vec<usize>, server: &mut impl Serve) {
    let mut round = Round { keyspace, server, patience: Patience::Waits };
    let is_complete = round.complete(&mut shards.into(), Precedence::Others).is_ok();
    assert!(is_complete, "whoever waits for locks gets them");
}

/// Takes the locks of `set` when no hand-off is due there, in the order of coming; or lets the request stand where a shard
/// is busy. Then its worker is told when to call this again, with the same `standing`. The caller holds no lock.
pub fn lock_in_turn<'k>(
    keyspace: &'k Keyspace,
    set: &ShardSet,
    ticket: Ticket,
    standing: &mut Option<Standing>,
    server: &mut impl Serve,
) -> Option<Locked<'k>> {
    loop {
        let locked = match standing {
            Some(standing) => Ok(keyspace.resume(set, standing)?),
            None => keyspace.try_lock(set),
        };
        let done = locked.and_then(|locked| {
            let Some(shard) = locked.pending_hand_off() else { return Ok(Some(locked)) };
            drop(locked);
            let mut round = Round { keyspace, server, patience: Patience::Bounded };
            round.complete(&mut VecDeque::from([shard]), Precedence::Others).map(|()| None)
        });
        match done {
            Ok(None) => {}
            Ok(locked) => {
                *standing = None;
                return locked;
            }
            Err(busy) => {
                match standing {
                    Some(standing) => keyspace.stand_again(standing, busy),
                    None => *standing = Some(keyspace.stand(ticket, busy)),
                }
                return None;
            }
        }
    }
}

/// Hand-offs that a worker has to complete, since it made the changes that they are due for.
#[derive(Debug, Default)]
pub struct OwedHandOffs {
    shards: VecDeque<usize>,
    standing: Option<Standing>,
}

impl OwedHandOffs {
    /// Completes what is due on `shards`, and what was left before; returns whether all is done. If a shard is busy,
    /// `ticket` is told when to call this again. The caller holds no lock.
    pub fn complete(
        &mut self,
        keyspace: &Keyspace,
        shards: Vec<usize>,
        ticket: Ticket,
        server: &mut impl Serve,
    ) -> bool {
        self.shards.extend(shards);
        let mut round = Round { keyspace, server, patience: Patience::Bounded };
        let result = round.complete(&mut self.shards, Precedence::Others);
        match (result, &mut self.standing) {
            (Ok(()), standing) => {
                if let Some(standing) = standing.take() {
                    keyspace.withdraw(standing);
                }
            }
            (Err(busy), Some(standing)) => keyspace.stand_again(standing, busy),
            (Err(busy), standing) => *standing = Some(keyspace.stand(ticket, busy)),
        }
        result.is_ok()
    }
}

/// How long a lock is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// As long as it takes.
    Waits,
    /// Some tens of microseconds.
    Bounded,
}

/// Whether hand-offs that are due on other shards of a waiter's command come before it. Those that come first for this
/// reason let none come before them: two that wait for each other's keys would never get on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precedence {
    Others,
    None,
}

/// One go at completing hand-offs. What fails does so with the number of the shard that is busy.
struct Round<'k, 's, S> {
    keyspace: &'k Keyspace,
    server: &'s mut S,
    patience: Patience,
}

impl<'k, S: Serve> Round<'k, '_, S> {
    /// Completes what is due on `shards`, and what follows. Shards that could not be done stay in the list.
    fn complete(
        &mut self,
        shards: &mut VecDeque<usize>,
        precedence: Precedence,
    ) -> Result<(), usize> {
        let (mut left, mut result) = (VecDeque::new(), Ok(()));
        // What follows from a hand-off comes after those that were due before.
        while let Some(shard) = shards.pop_front() {
            let done = self.complete_shard(shard, shards, precedence);
            if done.is_err() {
                left.push_back(shard);
                result = result.and(done);
            }
        }
        *shards = left;
        result
    }

    /// Completes what is due on one shard; adds the others on which something is due because of it.
    fn complete_shard(
        &mut self,
        shard: usize,
        others: &mut VecDeque<usize>,
        precedence: Precedence,
    ) -> Result<(), usize> {
        // The last who was looked at, and of what hand-off.
        let mut last: Option<(Ready, u64)> = None;
        loop {
            let mut locked = self.lock(&ShardSet::of_shard(shard))?;
            let Some(ready) = locked.first_hand_off() else { return Ok(()) };
            // If the key has changed since, its first waiter may be one that could not be served before.
            let place = last.filter(|it| it.0 == ready).map_or(0, |it| it.1);
            let Some(waiter) = locked.next_waiter(&ready, place, self.server.now()) else {
                locked.settle_hand_off(&ready);
                last = None;
                continue;
            };
            last = match self.lock_for(&waiter, &ready, shard, locked, others, precedence)? {
                Some(mut locked) => {
                    self.serve(&waiter, &mut locked);
                    let pending = locked.pending_hand_offs();
                    others.extend(pending.into_iter().filter(|it| *it != shard));
                    Some((ready, waiter.place()))
                }
                None => None,
            };
        }
    }

    /// Takes whatever the command of `waiter` needs beyond the shard of the key that is `ready`. Nothing if that has changed
    /// meanwhile.
    fn lock_for(
        &mut self,
        waiter: &Waiter,
        ready: &Ready,
        shard: usize,
        locked: Locked<'k>,
        others: &mut VecDeque<usize>,
        precedence: Precedence,
    ) -> Result<Option<Locked<'k>>, usize> {
        let mut shards = self.server.shards_of(waiter);
        shards.add_all(&waiter.shards());
        if shards == ShardSet::of_shard(shard) {
            return Ok(Some(locked));
        }
        drop(locked);
        loop {
            let locked = self.lock(&shards)?;
            if !locked.is_current(ready) {
                return Ok(None);
            }
            let mut first = VecDeque::new();
            if precedence == Precedence::Others {
                first.extend(locked.pending_hand_offs().into_iter().filter(|it| *it != shard));
            }
            if first.is_empty() {
                return Ok(Some(locked));
            }
            // Its command might take what others wait for.
            drop(locked);
            let done = self.complete(&mut first, Precedence::None);
            others.extend(first);
            done?;
        }
    }

    /// Runs the command of one waiter, if it still waits.
    fn serve(&mut self, waiter: &Waiter, locked: &mut Locked<'_>) {
        // From here on the wait ends with what the command takes, or not at all.
        let _serving = waiter.start_serving();
        if waiter.state() != WaiterState::Waiting {
            return;
        }
        let Some(reply) = self.server.run(waiter, locked) else { return };
        if waiter.end(WaiterState::Served) {
            locked.remove_waiter(waiter);
            self.server.answer(waiter, reply, locked);
        }
    }

    fn lock(&self, set: &ShardSet) -> Result<Locked<'k>, usize> {
        match self.patience {
            Patience::Waits => Ok(self.keyspace.lock(set)),
            Patience::Bounded => self.keyspace.lock_as(set, OLDEST),
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
