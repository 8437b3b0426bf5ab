//! Locks taken and given back around a unit of work, and hand-offs to clients that wait, in the order of their coming.
//!
//! A hand-off is completed by whoever next has to do with the shard, before anything else runs there.

use std::collections::VecDeque;
use std::sync::Arc;

use rubine_commands::{Args, may_serve};
use rubine_keyspace::{Locked, Ready, ShardSet, Waiter, WaiterState};
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};

use super::Core;
use super::due::tell_due;
use super::unit::Role;
use super::waiting::queues_of;
use crate::client::{Client, ClientFlags};
use crate::command_table::Run;
use crate::mailbox::Message;
use crate::persistence::saves;

impl Core {
    /// Takes the locks of `shards` when no hand-off is due on any of them.
    #[inline]
    pub(crate) fn lock(&mut self, shards: &ShardSet) -> Locked<'static> {
        let mut locked = self.server.keyspace.lock(shards);
        self.let_hand_offs_pass(shards, &mut locked);
        locked
    }

    /// Completes the hand-offs that are due on `shards`, which are locked.
    #[inline]
    pub(crate) fn let_hand_offs_pass(&mut self, shards: &ShardSet, locked: &mut Locked<'static>) {
        if let Some(shard) = locked.pending_hand_off() {
            self.lock_after_hand_offs(shards, locked, shard);
        }
    }

    /// Gives the locks back that were found with a hand-off due on `shard`, and takes them again when none is.
    #[cold]
    fn lock_after_hand_offs(
        &mut self,
        shards: &ShardSet,
        locked: &mut Locked<'static>,
        mut shard: usize,
    ) {
        let keyspace = &self.server.keyspace;
        loop {
            *locked = keyspace.lock(&ShardSet::default());
            self.complete_hand_offs(vec![shard]);
            *locked = keyspace.lock(shards);
            let Some(other) = locked.pending_hand_off() else { return };
            shard = other;
        }
    }

    /// Completes all hand-offs that are due on `shards`, and those that follow from them.
    #[cold]
    pub(crate) fn complete_hand_offs(&mut self, shards: Vec<usize>) {
        self.complete(shards, Precedence::Others);
    }

    fn complete(&mut self, shards: Vec<usize>, precedence: Precedence) {
        let server = self.server;
        // What follows from a hand-off comes after those that were due before.
        let mut shards = VecDeque::from(shards);
        while let Some(index) = shards.pop_front() {
            let shard = ShardSet::of_shard(index);
            loop {
                let locked = server.keyspace.lock(&shard);
                let Some((ready, waiters)) = locked.next_hand_off() else { break };
                drop(locked);
                for waiter in &waiters {
                    let mut serving = self.serve(waiter, &ready, index, precedence);
                    while let Serving::After(others) = serving {
                        self.complete(others, Precedence::None);
                        serving = self.serve(waiter, &ready, index, precedence);
                    }
                    let Serving::Done(pending) = serving else { break };
                    shards.extend(pending.into_iter().filter(|it| *it != index));
                }
                server.keyspace.lock(&shard).settle_hand_off(&ready);
            }
        }
    }

    /// Runs the command of one waiter, if it still waits; its client gets the reply by mail.
    fn serve(
        &mut self,
        waiter: &Arc<Waiter>,
        ready: &Ready,
        index: usize,
        precedence: Precedence,
    ) -> Serving {
        let server = self.server;
        let (bytes, ranges) = flatten(&waiter.args);
        let args = Args::new(&bytes, &ranges);
        let Some(entry) = server.commands.find(&waiter.args[0]) else { return Serving::nothing() };
        let Run::Data(command) = entry.run else { return Serving::nothing() };

        let mut shards = rubine_commands::shards_of(entry.spec, args, true);
        shards.add_all(&queues_of(waiter));
        let mut locked = server.keyspace.lock(&shards);
        if !locked.is_current(ready) {
            return Serving::Outdated;
        }
        if precedence == Precedence::Others {
            let mut others = locked.pending_hand_offs();
            others.retain(|it| *it != index);
            if !others.is_empty() {
                return Serving::After(others);
            }
        }
        // From here on the wait ends with what the command takes, or not at all.
        let _serving = waiter.start_serving();
        let still_waits = waiter.state() == WaiterState::Waiting;
        if !still_waits || !may_serve(entry.group, waiter, &locked, self.now) {
            return Serving::nothing();
        }
        let protocol = if waiter.protocol == 3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, protocol);
        self.begin_unit();
        let (db, role) = (waiter.db, Role::HandOff);
        let none = ClientFlags::empty();
        let result = self.run_data(command, db, none, role, &mut reply, args, &mut locked);
        let waits_on = self.runner.effects.wait.take().is_some();
        if let Err(error) = result {
            self.count_failure(entry, error);
        }
        let written = self.write_journal(&locked);
        if !waits_on && waiter.end(WaiterState::Served) {
            locked.remove_waiter(waiter);
            let seen = if self.settings.waits_for_disk { server.aof.seen_by(&locked) } else { 0 };
            let message = Message::Served { client: waiter.client, output, written, seen };
            server.workers[waiter.worker].send(message);
        }
        Serving::Done(locked.pending_hand_offs())
    }
}

impl Core {
    /// Ends the unit of work of a client: its effects go to the journal while the locks are held, and the client waits for
    /// the disk as it is asked to.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "moving the locks costs as much as what is done here")]
    pub(crate) fn end_client_unit(&mut self, client: &mut Client, locked: Locked<'static>) {
        if let Some(end) = self.write_journal(&locked) {
            client.disk.written_offset = end;
        }
        if self.settings.waits_for_disk {
            let aof = &self.server.aof;
            // Who has walked from shard to shard may have seen anything.
            let seen = if locked.is_empty() { aof.seen_by_walk() } else { aof.seen_by(&locked) };
            client.disk.durable_offset = client.disk.durable_offset.max(seen);
        }
        self.give_back(locked);
    }

    /// Ends a unit of work: its effects go to the journal while the locks are held, then the locks are given back and
    /// whoever waited for what was changed is served.
    #[inline]
    pub(crate) fn end_unit(&mut self, locked: Locked<'static>) {
        self.write_journal(&locked);
        self.give_back(locked);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn give_back(&mut self, locked: Locked<'static>) {
        let is_done = locked.pending_hand_off().is_none()
            && self.runner.changes.found_due.is_empty()
            && !self.runner.changes.was_flushed;
        if !is_done {
            self.give_back_and_settle(locked);
        }
    }

    #[cold]
    fn give_back_and_settle(&mut self, locked: Locked<'static>) {
        let pending = locked.pending_hand_offs();
        drop(locked);
        if std::mem::take(&mut self.runner.changes.was_flushed) {
            saves::note_flush(self.server, self.now);
        }
        if !pending.is_empty() {
            // What was handed in may have fallen due while the unit ran.
            self.now = rubine_base::clock::unix_millis();
        }
        self.complete_hand_offs(pending);
        self.remove_found_due();
    }

    /// Removes the due keys that a walk has met, which held no locks that would have let it.
    #[cold]
    fn remove_found_due(&mut self) {
        let found = std::mem::take(&mut self.runner.changes.found_due);
        let (server, stats, now) = (self.server, self.stats(), self.now);
        let effects = &mut self.runner.effects;
        let is_stopped = || server.pause.stops_writes(now);
        rubine_keyspace::remove_due(&server.keyspace, &found, now, is_stopped, |due| {
            tell_due(server, stats, effects, now, &due);
        });
    }
}

/// What became of one waiter.
enum Serving {
    /// It was served, or there was nothing for it; on these shards hand-offs are due now.
    Done(Vec<usize>),
    /// The key has changed since it was looked up: an earlier waiter, for whom there was nothing, comes first again.
    Outdated,
    /// Its command might take what others wait for: on these shards hand-offs are due, and come first.
    After(Vec<usize>),
}

impl Serving {
    fn nothing() -> Self {
        Self::Done(Vec::new())
    }
}

/// Whether hand-offs that are due on other shards of a waiter's command come before it. Those that come first for this
/// reason let none come before them: two that wait for each other's keys would never get on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precedence {
    Others,
    None,
}

fn flatten(args: &[Box<[u8]>]) -> (Vec<u8>, Vec<ArgRange>) {
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for argument in args {
        ranges.push(ArgRange { start: bytes.len(), len: argument.len() });
        bytes.extend_from_slice(argument);
    }
    (bytes, ranges)
}
