//! Locks taken and given back around a unit of work, and hand-offs to clients that wait, in the order of their coming.
//!
//! A hand-off is completed by whoever next has to do with the shard, before anything else runs there. No worker waits for
//! a shard that somebody holds for long: the request stands in the shard's queue, and the worker serves others.

use rubine_commands::{Args, shards_of};
use rubine_journal::Offset;
use rubine_keyspace::{Key, Locked, Serve, ShardSet, Ticket, Tracking, Waiter, lock_in_turn};
use rubine_resp::parser::ArgRange;
use rubine_resp::writer::{Output, Protocol, Reply};
use rubine_structures::record::RecordRef;
use rubine_system::ticks;

use super::due::tell_due;
use super::unit::Role;
use super::{Core, Session};
use crate::client::request::encode;
use crate::client::suspension::Reason;
use crate::client::{Client, ClientFlags};
use crate::command_table::Run;
use crate::mailbox::{Message, Told};

/// Who is told, in place of a client, that a worker can complete hand-offs that it owes.
pub(crate) const WORKER_ITSELF: u64 = 0;

impl Session<'_> {
    /// Takes the locks of `shards` when no hand-off is due on any of them. `None` if one of them is busy: then the command
    /// is suspended, and has to end without a reply.
    pub(crate) fn lock(&mut self, shards: &ShardSet) -> Option<Locked<'static>> {
        let locked = self.core.lock(self.client, shards);
        if locked.is_none() {
            self.core.suspend(self.client, Some(self.args), Reason::BusyShard);
        }
        locked
    }
}

impl Core {
    /// Takes the locks of `shards` for a client's request, when no hand-off is due on any of them. `None` if one of them is
    /// busy: then the request is to be suspended, and stands in the order of its coming.
    #[inline]
    pub(crate) fn lock(
        &mut self,
        client: &mut Client,
        shards: &ShardSet,
    ) -> Option<Locked<'static>> {
        if client.standing.is_none()
            && let Ok(locked) = self.server.keyspace.try_lock(shards)
            && locked.pending_hand_off().is_none()
        {
            return Some(locked);
        }
        self.lock_in_turn(client, shards)
    }

    #[cold]
    fn lock_in_turn(&mut self, client: &mut Client, shards: &ShardSet) -> Option<Locked<'static>> {
        let start = ticks::now();
        let ticket = Ticket { worker: self.index, client: client.id };
        let keyspace = &self.server.keyspace;
        // A walk that has met a busy shard takes all at once when it comes back: of those who walk on their own, each would
        // meet the others, who stand there too.
        let shards = if shards.is_empty() { &ShardSet::All } else { shards };
        let locked = lock_in_turn(keyspace, shards, ticket, &mut client.standing, self);
        self.lock_ticks += ticks::now().wrapping_sub(start);
        locked
    }

    /// Completes hand-offs that are due on `shards`, and those that follow from them. Where a shard is busy, this worker is
    /// told when it can go on.
    #[cold]
    pub(crate) fn complete_hand_offs(&mut self, shards: Vec<usize>) {
        let mut owed = std::mem::take(&mut self.owed_hand_offs);
        let ticket = Ticket { worker: self.index, client: WORKER_ITSELF };
        owed.complete(&self.server.keyspace, shards, ticket, self);
        self.owed_hand_offs = owed;
    }
}

impl Core {
    /// Lets all clients that wait for keys look again. Where a shard is busy, it is to be tried again.
    pub(crate) fn wake_all_waiters(&mut self) {
        let locked = self.server.keyspace.try_lock(&ShardSet::All);
        self.must_wake_waiters = locked.is_err();
        let Ok(mut locked) = locked else { return };
        locked.make_all_ready(self.server.config.load().databases as usize);
        let shards = locked.pending_hand_offs();
        drop(locked);
        self.complete_hand_offs(shards);
    }
}

/// A waiter's command is run by whoever comes; its client gets the reply by mail.
impl Serve for Core {
    /// What the client is sent and told, and where what was written ends.
    type Reply = (Output, Option<Offset>, Told);

    fn now(&self) -> i64 {
        self.now
    }

    fn shards_of(&self, waiter: &Waiter) -> ShardSet {
        let Some(entry) = self.server.commands.find(&waiter.args[0]) else {
            return ShardSet::default();
        };
        let (bytes, ranges) = request_of(waiter);
        shards_of(entry.spec, Args::new(&bytes, &ranges), true)
    }

    fn run(&mut self, waiter: &Waiter, locked: &mut Locked<'_>) -> Option<Self::Reply> {
        let entry = self.server.commands.find(&waiter.args[0])?;
        let Run::Data(command) = entry.run else { return None };
        let (bytes, ranges) = request_of(waiter);
        let args = Args::new(&bytes, &ranges);
        let protocol = if waiter.protocol == 3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, protocol);
        if self.server.access.restricts()
            && let Some(error) = self.refusal_of_waiter(waiter, entry, args)
        {
            error.write(&mut reply);
            self.count_rejection(entry, &error);
            return Some((output, None, Told::default()));
        }
        let (reply_start, start) = (reply.mark(), ticks::now());
        let replicated_before = self.charging.set_apart();
        self.begin_unit();
        let (db, role) = (waiter.db, Role::HandOff);
        let none = ClientFlags::empty();
        let result = self.run_data(command, db, none, role, &mut reply, args, locked);
        let waits_on = self.runner.effects.wait.take().is_some();
        if let Err(error) = result {
            self.count_failure(entry, error);
        }
        // It is no time of the command that has brought this about.
        let ticks = ticks::now().wrapping_sub(start);
        self.lock_ticks += ticks;
        if !waits_on {
            self.count_waited(entry, ticks);
            self.observe_waited(entry, waiter, args, ticks, &mut reply, reply_start);
        }
        let mut told = Told::default();
        if !waits_on && self.runner.changes.tracking != Tracking::Off {
            told.before = self.attend_served(waiter, entry, args, locked);
        }
        let written;
        (written, told.after) = self.write_journal_of(waiter.client, locked);
        if self.charges() {
            self.charge_replicated(entry, args);
            self.charging.resume(replicated_before);
        }
        (!waits_on).then_some((output, written, told))
    }

    fn answer(
        &mut self,
        waiter: &Waiter,
        (output, written, told): Self::Reply,
        locked: &Locked<'_>,
    ) {
        let server = self.server;
        let seen = if self.settings.waits_for_disk { server.aof.seen_by(locked) } else { 0 };
        let message = Message::Served { client: waiter.client, output, written, seen, told };
        server.workers[waiter.worker].send(message);
    }
}

impl Core {
    /// Ends the unit of work of a client: its effects go to the journal while the locks are held, and the client waits for
    /// the disk as it is asked to.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "moving the locks costs as much as what is done here")]
    pub(crate) fn end_client_unit(&mut self, client: &mut Client, mut locked: Locked<'static>) {
        if let Some(end) = self.write_journal(&mut locked) {
            self.note_written(client, end);
        }
        if self.settings.waits_for_disk {
            let aof = &self.server.aof;
            // Who has walked from shard to shard may have seen anything.
            let seen = if locked.is_empty() { aof.seen_by_walk() } else { aof.seen_by(&locked) };
            client.disk.durable_offset = client.disk.durable_offset.max(seen);
        }
        self.give_back(locked, Some(client));
    }

    /// Ends a unit of work: its effects go to the journal while the locks are held, then the locks are given back and
    /// whoever waited for what was changed is served.
    #[inline]
    pub(crate) fn end_unit(&mut self, mut locked: Locked<'static>) {
        self.write_journal(&mut locked);
        self.give_back(locked, None);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn give_back(&mut self, locked: Locked<'static>, client: Option<&mut Client>) {
        let is_done = locked.pending_hand_off().is_none()
            && self.runner.changes.found_due.is_empty()
            && !self.runner.changes.was_emptied;
        if !is_done {
            self.give_back_and_settle(locked, client);
        }
    }

    #[cold]
    fn give_back_and_settle(&mut self, locked: Locked<'static>, client: Option<&mut Client>) {
        let pending = locked.pending_hand_offs();
        drop(locked);
        if std::mem::take(&mut self.runner.changes.was_emptied)
            && let Some(cluster) = &self.server.cluster
        {
            let journal = &self.server.journal;
            cluster.tell_migrations(journal, |machine, _, now| machine.flushed(now));
        }
        if std::mem::take(&mut self.runner.changes.was_flushed) {
            self.save_flush(client);
        }
        if !pending.is_empty() {
            // What was handed in may have fallen due while the unit ran.
            self.read_time();
        }
        self.complete_hand_offs(pending);
        self.remove_found_due();
    }

    /// On a replica: removes what is due of the keys that its clients have written.
    pub(crate) fn remove_own_due(&mut self) {
        /// Looked at together.
        const KEYS_MAX: usize = 1024;
        let own = &self.server.replication.following.own_keys;
        let mut due = Vec::new();
        for (db, key) in own.some(KEYS_MAX) {
            let Ok(locked) = self.server.keyspace.try_lock(&ShardSet::of(Key::new(&key))) else {
                continue;
            };
            let found = locked.find(db, Key::new(&key), i64::MIN);
            match found.and_then(RecordRef::deadline) {
                Some(deadline) if self.now < deadline => {}
                Some(_) => due.push((db, key)),
                None => own.remove(db, &key),
            }
        }
        if due.is_empty() {
            return;
        }
        self.begin_unit();
        due.iter().for_each(|(db, key)| own.remove(*db, key));
        self.runner.changes.found_due = due;
        self.remove_found_due();
    }

    /// Removes the due keys that a walk has met, which held no locks that would have let it.
    #[cold]
    fn remove_found_due(&mut self) {
        let found = std::mem::take(&mut self.runner.changes.found_due);
        let (server, stats, now) = (self.server, self.stats(), self.now);
        let (effects, outbox) = (&mut self.runner.effects, &mut self.outbox);
        let monotonic_ms = self.monotonic_ms;
        let is_stopped = || server.pause.stops_writes(monotonic_ms);
        let pending =
            rubine_keyspace::remove_due(&server.keyspace, &found, now, is_stopped, |due| {
                tell_due(server, stats, effects, outbox, now, &due);
            });
        if !pending.is_empty() {
            self.complete_hand_offs(pending);
        }
    }
}

/// What a waiter's client has asked for, as it asks for it.
pub(super) fn request_of(waiter: &Waiter) -> (Vec<u8>, Vec<ArgRange>) {
    encode(waiter.args.iter().map(|it| &**it))
}
