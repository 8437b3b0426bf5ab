//! Clients that wait for keys: queueing them, and completing hand-offs in the order of their coming.
//!
//! A hand-off is completed by whoever next has to do with the shard, before anything else runs there.

use std::collections::VecDeque;
use std::sync::Arc;

use rubine_commands::{Args, CommandError, Nothing, Wait, may_serve};
use rubine_keyspace::{Key, Locked, Ready, ShardSet, Waiter, WaiterState};
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};

use crate::client::{Blocked, Client, ClientFlags, TimeoutReply};
use crate::command_table::Run;
use crate::dispatch::{Core, Setting};
use crate::mailbox::Message;

impl Core {
    /// Lets a client wait as its command asked for, while the locks under which it found nothing are still held.
    pub(crate) fn start_waiting(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        wait: Wait,
        locked: &mut Locked<'_>,
    ) {
        let mut owned: Vec<Box<[u8]>> = args.from(0).map(Box::from).collect();
        for (index, argument) in wait.rewritten {
            owned[index] = argument;
        }
        let protocol = if client.protocol == Protocol::Resp3 { 3 } else { 2 };
        let waiter = Waiter::new(
            client.id,
            self.index,
            client.db,
            owned,
            wait.keys,
            wait.ends_on_error,
            protocol,
        );
        locked.add_waiter(&waiter);
        self.block(client, waiter, wait.deadline, TimeoutReply::Nothing(wait.on_timeout));
        if let Some(interval) = wait.retry_after {
            self.schedule_retry(client, interval);
        }
    }

    /// Lets a client wait for its deadline, or for CLIENT UNBLOCK.
    pub(crate) fn block_without_keys(
        &mut self,
        client: &mut Client,
        deadline: Option<i64>,
        on_timeout: TimeoutReply,
    ) {
        let waiter = Waiter::new(client.id, self.index, client.db, Vec::new(), Vec::new(), true, 2);
        self.block(client, waiter, deadline, on_timeout);
    }

    /// Lets a client wait until a thread of the server sends it a reply. Nobody else can end the wait.
    pub(crate) fn block_until_answered(&mut self, client: &mut Client) {
        let waiter = Waiter::new(client.id, self.index, client.db, Vec::new(), Vec::new(), true, 2);
        waiter.end(WaiterState::Served);
        self.block(client, waiter, None, TimeoutReply::Nothing(Nothing::Null));
    }

    fn block(
        &mut self,
        client: &mut Client,
        waiter: Arc<Waiter>,
        deadline: Option<i64>,
        on_timeout: TimeoutReply,
    ) {
        *client.info.waiter.lock() = Some(Arc::clone(&waiter));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, client.id));
        }
        client.blocked = Some(Blocked { waiter, deadline, on_timeout, retry: None });
        self.count_blocked(1);
    }

    /// Counts clients that begin or cease to wait, for keys or for the end of a pause.
    pub(crate) fn count_blocked(&mut self, change: i64) {
        let waiting = &self.stats().blocked_clients;
        waiting.set(waiting.get().saturating_add_signed(change));
    }

    /// Ends a client's wait, unless its command has run already and the reply is on its way. Returns what it
    /// waited for.
    pub(crate) fn stop_waiting(&mut self, client: &mut Client) -> Option<Blocked> {
        let was_waiting = client.blocked.as_ref()?.waiter.cancel();
        if was_waiting { self.leave_queues(client) } else { None }
    }

    /// Takes a client whose wait has been cancelled off the queues. Returns what it waited for.
    pub(crate) fn leave_queues(&mut self, client: &mut Client) -> Option<Blocked> {
        let waiter = &client.blocked.as_ref()?.waiter;
        self.server.keyspace.lock(&queues_of(waiter)).remove_waiter(waiter);
        self.unblock(client)
    }

    /// Ends the wait of a client that goes away, whatever has become of it.
    pub(crate) fn abandon_wait(&mut self, client: &mut Client) {
        if let Some(blocked) = &client.blocked {
            blocked.waiter.cancel();
            self.leave_queues(client);
        }
        if client.flags.contains(ClientFlags::PAUSED) {
            client.flags -= ClientFlags::PAUSED;
            self.count_blocked(-1);
        }
    }

    /// Something is due for a client that waits: the end of its wait, or another run of its command.
    pub(crate) fn end_or_retry(&mut self, client: &mut Client) {
        let Some(blocked) = &client.blocked else { return };
        let is_over = blocked.deadline.is_some_and(|deadline| deadline <= self.now);
        match blocked.retry {
            Some((at, interval)) if !is_over && at <= self.now => {
                let waiter = Arc::clone(&blocked.waiter);
                let mut locked = self.server.keyspace.lock(&queues_of(&waiter));
                locked.make_ready(&waiter);
                let shards = locked.pending_hand_offs();
                drop(locked);
                self.complete_hand_offs(shards);
                self.schedule_retry(client, interval);
            }
            _ => self.give_up(client),
        }
    }

    fn schedule_retry(&mut self, client: &mut Client, interval: i64) {
        let at = self.now.saturating_add(interval);
        if let Some(blocked) = &mut client.blocked {
            blocked.retry = Some((at, interval));
            self.deadlines.insert((at, client.id));
        }
    }

    /// Ends a client's wait with the reply that it would get when its time is over, or with an error.
    pub(crate) fn give_up(&mut self, client: &mut Client) {
        if let Some(blocked) = self.stop_waiting(client) {
            answer(client, |reply| blocked.on_timeout.write(reply));
        }
    }

    /// Answers a client whose wait was cancelled by CLIENT UNBLOCK.
    pub(crate) fn answer_unblocked(&mut self, client: &mut Client, with_error: bool) {
        let is_cancelled = |it: &Blocked| it.waiter.state() == WaiterState::Cancelled;
        if !client.blocked.as_ref().is_some_and(is_cancelled) {
            return;
        }
        let Some(blocked) = self.leave_queues(client) else { return };
        if with_error {
            let error = CommandError::text("UNBLOCKED client unblocked via CLIENT UNBLOCK");
            if let Some(entry) = self.server.commands.all().get(client.last_command) {
                self.count_rejection(entry, &error);
            }
            answer(client, |reply| reply.error(&error.to_string()));
        } else {
            answer(client, |reply| blocked.on_timeout.write(reply));
        }
    }

    /// Takes the mark of waiting off a client whose wait has ended.
    pub(crate) fn unblock(&mut self, client: &mut Client) -> Option<Blocked> {
        let blocked = client.blocked.take()?;
        if let Some(deadline) = blocked.deadline {
            self.deadlines.remove(&(deadline, client.id));
        }
        if let Some((at, _)) = blocked.retry {
            self.deadlines.remove(&(at, client.id));
        }
        *client.info.waiter.lock() = None;
        self.count_blocked(-1);
        Some(blocked)
    }

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

    /// Lets all clients that wait for keys look again.
    pub(crate) fn wake_all_waiters(&mut self) {
        let mut locked = self.server.keyspace.lock(&ShardSet::All);
        locked.make_all_ready(self.server.config.load().databases as usize);
        let shards = locked.pending_hand_offs();
        drop(locked);
        self.complete_hand_offs(shards);
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
        let (db, setting) = (waiter.db, Setting::HandOff);
        let none = ClientFlags::empty();
        let result = self.run_data(command, db, none, setting, &mut reply, args, &mut locked);
        let waits_on = self.effects.wait.take().is_some();
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

/// Gives a client the reply to the command that has waited.
fn answer(client: &mut Client, write: impl FnOnce(&mut Reply<'_>)) {
    let mut output = Output::new();
    write(&mut Reply::new(&mut output, client.protocol));
    client.deliver(output);
}

/// The shards in whose queues a waiter stands.
fn queues_of(waiter: &Waiter) -> ShardSet {
    let mut shards = ShardSet::default();
    waiter.keys.iter().for_each(|&index| shards.add(Key::new(&waiter.args[index])));
    shards
}

fn flatten(args: &[Box<[u8]>]) -> (Vec<u8>, Vec<ArgRange>) {
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for argument in args {
        ranges.push(ArgRange { start: bytes.len(), len: argument.len() });
        bytes.extend_from_slice(argument);
    }
    (bytes, ranges)
}
