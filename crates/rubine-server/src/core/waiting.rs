//! Clients that wait: for keys, for the disk, for time to pass. Queues them, and ends their waits.

use std::sync::Arc;

use rubine_commands::{Args, CommandError, Nothing, Wait, awaited};
use rubine_keyspace::{Awaited, Locked, Waiter, WaiterState};
use rubine_resp::writer::{Output, Protocol, Reply};

use super::Core;
use crate::client::suspension::{Blocked, Reason, TimeoutReply};
use crate::client::{Client, ClientFlags};
use crate::replication::following::shown;

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
        let entry = self.server.commands.find(args.at(0));
        let awaited = entry.map_or(Awaited::AnyChange, |it| awaited(it.group, &wait));
        for (index, argument) in wait.rewritten {
            owned[index] = argument;
        }
        let protocol = if client.protocol == Protocol::Resp3 { 3 } else { 2 };
        let waiter =
            Waiter::new(client.id, self.index, client.db, owned, wait.keys, awaited, protocol);
        // Whoever serves it looks at its flags.
        client.publish();
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
        let waiter = self.waiter_without_keys(client);
        self.block(client, waiter, deadline, on_timeout);
    }

    /// Lets a client wait until a thread of the server sends it a reply. Nobody else can end the wait.
    pub(crate) fn block_until_answered(&mut self, client: &mut Client) {
        let waiter = self.waiter_without_keys(client);
        waiter.end(WaiterState::Served);
        self.block(client, waiter, None, TimeoutReply::Nothing(Nothing::Null));
    }

    fn waiter_without_keys(&self, client: &Client) -> Arc<Waiter> {
        let (args, keys) = (Vec::new(), Vec::new());
        let awaited = Awaited::AnyChange;
        Waiter::new(client.id, self.index, client.db, args, keys, awaited, 2)
    }

    fn block(
        &mut self,
        client: &mut Client,
        waiter: Arc<Waiter>,
        deadline: Option<i64>,
        on_timeout: TimeoutReply,
    ) {
        let deadline = deadline.map(|it| self.monotonic_at(it));
        *client.info.waiter.lock() = Some(Arc::clone(&waiter));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, client.id));
        }
        let blocked = Blocked { waiter, deadline, on_timeout, retry: None };
        self.suspend(client, None, Reason::Waiting(blocked));
    }

    /// Counts clients that begin or cease to wait, for keys or for the end of a pause.
    pub(crate) fn count_blocked(&mut self, change: i64) {
        let waiting = &self.stats().blocked_clients;
        waiting.set(waiting.get().saturating_add_signed(change));
    }

    /// Ends a client's wait, unless its command has run already and the reply is on its way. Returns what it
    /// waited for.
    pub(crate) fn stop_waiting(&mut self, client: &mut Client) -> Option<Blocked> {
        let was_waiting = client.blocked()?.waiter.cancel();
        if was_waiting { self.leave_queues(client) } else { None }
    }

    /// Takes a client whose wait has been cancelled off the queues. Returns what it waited for.
    pub(crate) fn leave_queues(&mut self, client: &mut Client) -> Option<Blocked> {
        let waiter = &client.blocked()?.waiter;
        self.server.keyspace.abandon_wait(waiter);
        self.unblock(client)
    }

    /// Ends the wait of a client that goes away, whatever has become of it.
    pub(crate) fn abandon_wait(&mut self, client: &mut Client) {
        if let Some(blocked) = client.blocked() {
            blocked.waiter.cancel();
            self.leave_queues(client);
        }
    }

    /// Forgets all that a client watches.
    pub(crate) fn unwatch_all(&mut self, client: &mut Client) {
        client.watches.abandon(&self.server.keyspace);
    }

    /// Something is due for a client that waits: the end of its wait, or another run of its command.
    pub(crate) fn end_or_retry(&mut self, client: &mut Client) {
        let Some(blocked) = client.blocked() else { return };
        let is_over = blocked.deadline.is_some_and(|deadline| deadline <= self.monotonic_ms);
        match blocked.retry {
            Some((at, interval)) if !is_over && at <= self.monotonic_ms => {
                let is_paused = self.server.pause.stops_writes(self.monotonic_ms);
                // A shard that is busy is looked at the next time.
                if !is_paused
                    && let Ok(mut locked) = self.server.keyspace.try_lock(&blocked.waiter.shards())
                {
                    locked.make_ready(&blocked.waiter);
                    let shards = locked.pending_hand_offs();
                    drop(locked);
                    self.complete_hand_offs(shards);
                }
                self.schedule_retry(client, interval);
            }
            _ => self.give_up(client),
        }
    }

    fn schedule_retry(&mut self, client: &mut Client, interval: i64) {
        let at = self.monotonic_ms.saturating_add(interval);
        if let Some(blocked) = client.blocked_mut() {
            blocked.retry = Some((at, interval));
            self.deadlines.insert((at, client.id));
        }
    }

    /// Ends a client's wait with the reply that it would get when its time is over, or with an error.
    pub(crate) fn give_up(&mut self, client: &mut Client) {
        if let Some(blocked) = self.stop_waiting(client) {
            self.answer_given_up(client, &blocked, |reply| blocked.on_timeout.write(reply));
        }
    }

    /// Answers a client whose wait was cancelled by CLIENT UNBLOCK.
    pub(crate) fn answer_unblocked(&mut self, client: &mut Client, with_error: bool) {
        let is_cancelled = |it: &Blocked| it.waiter.state() == WaiterState::Cancelled;
        if !client.blocked().is_some_and(is_cancelled) {
            return;
        }
        let Some(blocked) = self.leave_queues(client) else { return };
        if with_error {
            let error = CommandError::text("UNBLOCKED client unblocked via CLIENT UNBLOCK");
            if let Some(entry) = self.server.commands.all().get(client.traffic.last_command) {
                self.count_rejection(entry, &error);
            }
            self.answer_given_up(client, &blocked, |reply| reply.error(&error.to_string()));
        } else {
            self.answer_given_up(client, &blocked, |reply| blocked.on_timeout.write(reply));
        }
    }

    /// Ends a client's wait, and its connection, because the server is a replica from now on. Returns whether it waited.
    pub(crate) fn answer_changed_role(&mut self, client: &mut Client) -> bool {
        if self.view.is_some() {
            return self.answer_moved(client);
        }
        // Reading goes on for those who said that they only read.
        let reads_on = client.flags.contains(ClientFlags::READONLY)
            && self
                .server
                .commands
                .all()
                .get(client.traffic.last_command)
                .is_some_and(|entry| !entry.spec.flags.contains(rubine_commands::Flags::WRITE));
        if reads_on {
            return false;
        }
        let waits_for_keys = client.blocked().is_some_and(|it| !it.waiter.keys.is_empty());
        let Some(blocked) = self.stop_waiting(client) else { return false };
        if waits_for_keys && client.flags.contains(ClientFlags::CAPA_REDIRECT) {
            let config = self.server.config.load();
            let (host, port) = shown(config.replicaof.as_ref());
            let text = format!("REDIRECT {host}:{port}");
            self.answer_given_up(client, &blocked, |reply| reply.error(&text));
            return true;
        }
        let text = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
        let error = CommandError::text(text);
        if let Some(entry) = self.server.commands.all().get(client.traffic.last_command) {
            self.count_rejection(entry, &error);
        }
        self.answer_given_up(client, &blocked, |reply| reply.error(text));
        client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
        true
    }

    /// Gives a client the reply to the command that has waited.
    pub(super) fn answer_given_up(
        &mut self,
        client: &mut Client,
        blocked: &Blocked,
        write: impl FnOnce(&mut Reply<'_>),
    ) {
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, client.protocol);
        let reply_start = reply.mark();
        write(&mut reply);
        self.observe_given_up(&blocked.waiter, &mut reply, reply_start);
        client.deliver(output);
    }

    /// Takes the mark of waiting off a client whose wait has ended.
    pub(crate) fn unblock(&mut self, client: &mut Client) -> Option<Blocked> {
        client.blocked()?;
        let Some(Reason::Waiting(blocked)) = self.resume(client) else { return None };
        client.suspended = None;
        if let Some(deadline) = blocked.deadline {
            self.deadlines.remove(&(deadline, client.id));
        }
        if let Some((at, _)) = blocked.retry {
            self.deadlines.remove(&(at, client.id));
        }
        match blocked.on_timeout {
            TimeoutReply::Replicated { acknowledged: replicas, .. }
            | TimeoutReply::Durable { synced: replicas, .. } => drop(replicas.cancel(client.id)),
            TimeoutReply::Nothing(_) => {}
        }
        *client.info.waiter.lock() = None;
        Some(blocked)
    }
}
