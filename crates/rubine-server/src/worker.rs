//! A worker: one thread, one event loop, the clients that were given to it for life.
//!
//! A turn has phases, because what is left of the cost of a request is waiting for memory: read from sockets, parse a
//! batch of requests, fetch what their keys and members lead to (`batch.rs`), run the commands in order, and write to the
//! connections once their requests are done.

mod admission;
mod batch;
mod cron;
mod delivery;
mod doorway;
mod feeding;
mod handshakes;
mod limits;
mod period;
mod reading;
mod schedule;
mod sending;
mod weighing;

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};
use rubine_base::clock::monotonic_millis;
use rubine_base::hash::HashMap;
use rubine_commands::{Shipment, Task};
use rubine_journal::Offset;
use rubine_resp::writer::{Output, Reply};

use self::batch::{Batch, Run};
use self::cron::Cron;
use self::doorway::Doorway;
use self::feeding::Replicas;
use self::handshakes::Handshakes;
use self::period::Period;
use self::reading::{USUAL_QUERY_BYTES_MAX, compact, parse, read};
use self::schedule::schedule;
use self::sending::{send, send_held};
use crate::client::away::{Ran, Slot};
use crate::client::identity::Identity;
use crate::client::replica::ReplicaFeed;
use crate::client::suspension::{Brought, Reason};
use crate::client::{Client, ClientFlags};
use crate::control::cluster::migration;
use crate::control::cluster::migration::import::Arrival;
use crate::core::Core;
use crate::core::hand_offs::WORKER_ITSELF;
use crate::core::tracking::{hear_now, tell};
use crate::dispatch::Flow;
use crate::mailbox::{Message, Told};
use crate::observing::monitor::Lines;
use crate::pacing::Pacing;
use crate::publication::Publication;
use rubine_net::listener::FIRST_LISTENER;
use rubine_system::{process, ticks};

/// Clients whose requests are handled together.
const GROUP_CLIENTS_MAX: usize = 16;
/// Requests that are parsed before the first of them runs.
const BATCH_REQUESTS_MAX: usize = 32;
/// Room for so many arguments is kept from batch to batch; a request may have far more.
const ARGS_KEPT_MAX: usize = 1 << 14;
/// Replies are held back this long at most, so that those to several clients leave together.
const REPLIES_HELD_MAX_US: f64 = 250.0;
/// How soon a worker looks again whether the append-only file has caught up, or a key has moved.
const THROTTLE_MS: i64 = 10;
/// How soon a worker looks again who waits for a script that is busy.
const BUSY_LOOK_MS: i64 = 10;
/// How long a worker sleeps at most.
const SLEEP_MAX_MS: i64 = 100;

/// The token of the worker's mailbox.
pub(crate) const MAILBOX: Token = Token(usize::MAX);

/// A worker's thread.
pub(crate) struct Worker {
    core: Core,
    poll: Poll,
    clients: Vec<Option<Box<Client>>>,
    free_slots: Vec<usize>,
    slot_of: HashMap<u64, usize>,
    /// Clients that have something to do without a new event.
    scheduled: Vec<usize>,
    batch: Batch,
    /// Clients of the group that is served whose requests are done and whose replies are held back.
    answered: Vec<usize>,
    /// Since when replies are held back, in ticks, and for how long they may be.
    held_since: u64,
    held_ticks_max: u64,
    spare_buffers: Vec<Vec<u8>>,
    messages: Vec<Message>,
    cron: Cron,
    pacing: Pacing,
    settings_version: u64,
    /// When the last sleep ended, in ticks.
    woken_at: u64,
    /// Where connections come from, and go to.
    doorway: Doorway,
    /// Clients that have yet to agree with the server on how they speak.
    handshakes: Handshakes,
    /// Clients that are replicas.
    replicas: Replicas,
    /// Dropped when the turn ends.
    told_at_end: Vec<Box<dyn Send>>,
    /// Requests that were taken in this turn.
    turn_requests: usize,
    /// When it looks who waits for a script that is busy.
    busy_looks: Period,
    /// When postponed commands last tried again because time had passed, in monotonic milliseconds.
    resumed_at: i64,
}

impl Worker {
    pub(crate) fn new(core: Core, poll: Poll) -> Self {
        let cron = Cron::new(&core);
        let replicas = Replicas::new(&core);
        Self {
            core,
            replicas,
            poll,
            clients: Vec::new(),
            free_slots: Vec::new(),
            slot_of: HashMap::default(),
            scheduled: Vec::new(),
            batch: Batch::default(),
            answered: Vec::new(),
            held_since: ticks::now(),
            held_ticks_max: (REPLIES_HELD_MAX_US * ticks::per_microsecond()) as u64,
            spare_buffers: Vec::new(),
            messages: Vec::new(),
            cron,
            pacing: Pacing::new(ticks::now()),
            settings_version: 0,
            woken_at: ticks::now(),
            doorway: Doorway::default(),
            handshakes: Handshakes::default(),
            told_at_end: Vec::new(),
            turn_requests: 0,
            busy_looks: Period::new(BUSY_LOOK_MS),
            resumed_at: 0,
        }
    }

    /// Runs until the server shuts down.
    pub(crate) fn run(&mut self) {
        process::sleep_precisely();
        let mut events = Events::with_capacity(1024);
        while !self.core.server.shutdown.is_under_way.load(Ordering::Acquire) {
            self.wait(&mut events);
            self.core.read_time();
            self.refresh_settings();
            self.take_events(&events);
            self.accept();
            self.read_mail();
            self.shake_hands();
            self.core.is_throttled = self.core.server.is_throttled();
            self.core.is_relay_behind = self.core.server.is_relay_behind();
            self.release_synced();
            self.release_confirmed();
            self.end_pause();
            self.end_slow_downs();
            self.answer_for_busy_scripts();
            self.serve_scheduled();
            // Whoever waits to hear that this turn is over hears it.
            self.told_at_end.clear();
            self.core.evict_clients(self.core.settings.client_bytes_max);
            self.end_waits();
            let cron_start = ticks::now();
            self.cron.run(&mut self.core);
            self.cron.look_after(&mut self.core, &mut self.clients, &mut self.scheduled);
            self.core.stats().cron_ticks.add(ticks::now().wrapping_sub(cron_start));
            self.hear_all();
            self.core.flush_counts();
            self.core.show_observed();
            self.core.ask_for_quorum();
            self.feed_replicas();
            self.core.server.journal.notify();
        }
        self.say_goodbye();
    }

    /// Sleeps until something happens or is due.
    fn wait(&mut self, events: &mut Events) {
        let awake_ticks = ticks::now().wrapping_sub(self.woken_at);
        let stats = self.core.stats();
        stats.busy_ticks.add(awake_ticks);
        stats.turn_ticks_max.raise_to(awake_ticks);
        stats.turn_commands_max.raise_to(std::mem::take(&mut self.turn_requests) as u64);
        let is_synced = !self.core.park_unsynced() && !self.core.park_unconfirmed();
        let has_replica_work = !self.replicas.is_empty() && self.replicas.rest(&mut self.clients);
        let has_work = !self.scheduled.is_empty()
            || self.doorway.has_more()
            || !self.handshakes.is_empty()
            || has_replica_work;
        let timeout_ms = if !has_work && !self.core.must_evict_more && is_synced {
            let first = self.core.deadlines.first().map_or(i64::MAX, |it| it.0);
            let until_first = first.min(self.pause_end()).saturating_sub(monotonic_ms()).max(0);
            let until_allowed = self
                .core
                .quotas
                .first_end()
                .map_or(i64::MAX, |end| end - rubine_base::clock::unix_millis());
            let until_first = until_first.min(until_allowed.max(0));
            // Lines that are not sent yet are due soon.
            let most = match &self.core {
                core if core.has_lines() => 1,
                core if core.is_script_busy => BUSY_LOOK_MS,
                _ => SLEEP_MAX_MS,
            };
            until_first.min(self.cron.sleep_ms().min(most))
        } else {
            0
        };
        let timeout = Duration::from_millis(timeout_ms as u64);
        self.core.stats().turn_start.set(0);
        if 0 < timeout_ms
            && let Some(pause) = self.pacing.pause(ticks::now(), self.woken_at)
        {
            std::thread::sleep(pause);
        }
        match self.poll.poll(events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("the event queue failed: {error}"),
        }
        self.woken_at = ticks::now();
        self.pacing.begin_turn(self.woken_at, self.core.settings.coalesce_us);
        self.core.stats().turn_start.set(self.woken_at);
        self.core.stats().loop_turns.add(1);
    }

    /// Sends replicas what there is.
    fn feed_replicas(&mut self) {
        if self.replicas.is_empty() {
            return;
        }
        for slot in self.replicas.feed(&mut self.core, &mut self.clients) {
            self.close(slot);
        }
        if self.core.settings.maxmemory != 0 {
            self.core.server.replication.replicas.measure(&self.core.server.journal);
        }
    }

    fn refresh_settings(&mut self) {
        let version = self.core.server.settings.version();
        if version != self.settings_version {
            self.settings_version = version;
            self.core.refresh_settings();
            // The limit of memory may be lower than what is in use.
            self.core.must_evict_more = self.core.settings.maxmemory != 0;
            if self.core.refresh_quotas() {
                let clients = self.clients.iter_mut().flatten();
                clients.for_each(|client| self.core.bind_again(client));
            }
        }
    }

    fn take_events(&mut self, events: &Events) {
        for event in events {
            let token = event.token();
            if token == MAILBOX {
                continue;
            }
            if FIRST_LISTENER <= token.0 {
                self.doorway.note_arrival(token);
                continue;
            }
            let Some(client) = self.clients.get_mut(token.0).and_then(Option::as_mut) else {
                continue;
            };
            client.input.is_read_closed |= event.is_read_closed() || event.is_error();
            client.input.is_readable |= event.is_readable() || client.input.is_read_closed;
            client.sending.is_writable |= event.is_writable() || event.is_error();
            if event.is_readable() {
                self.pacing.note_arrival(&mut client.traffic.arrival_window);
            }
            if client.socket.is_handshaking() {
                self.handshakes.note_event(client, token.0);
                continue;
            }
            schedule(&mut self.scheduled, client, token.0);
        }
    }

    /// Takes connections that have come, and gives them to the workers in turn.
    fn accept(&mut self) {
        let server = self.core.server;
        while let Some((accepted, worker)) = self.doorway.next(&self.core) {
            // Whoever connects after a CONFIG SET was answered is treated by it.
            let config = server.config.load();
            let Some((socket, info)) = admission::admit(&mut self.core, &config, accepted, worker)
            else {
                continue;
            };
            self.doorway.pass_on(server.workers.len());
            if worker == self.core.index {
                self.add_client(socket, info);
            } else {
                server.workers[worker].send(Message::Connection { socket, info });
            }
        }
    }

    fn add_client(
        &mut self,
        mut socket: rubine_net::socket::Socket,
        info: std::sync::Arc<crate::client::ClientInfo>,
    ) {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        if let Err(error) = socket.register(self.poll.registry(), Token(slot)) {
            tracing::warn!("Registering a client's socket: {error}");
            self.core.server.clients.remove(info.id);
            self.free_slots.push(slot);
            return;
        }
        self.slot_of.insert(info.id, slot);
        let identity = Identity::of_stranger(&self.core.server.access.users());
        let mut client = Box::new(Client::new(socket, info, identity));
        if !client.socket.is_handshaking() {
            self.core.welcome(&mut client);
            if !client.output.is_empty() {
                schedule(&mut self.scheduled, &mut client, slot);
            }
        }
        client.publish_output();
        self.core.count_client(&mut client);
        self.core.audit_connection(&client.info, true);
        self.clients[slot] = Some(client);
    }

    /// Goes on with some handshakes, since each takes as long as hundreds of commands.
    fn shake_hands(&mut self) {
        let Self { core, clients, scheduled, handshakes, .. } = self;
        handshakes.go_on(core, clients, scheduled);
        for slot in self.handshakes.take_failed() {
            self.close(slot);
        }
    }

    fn read_mail(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        self.core.server.workers[self.core.index].take(&mut messages);
        for message in messages.drain(..) {
            match message {
                Message::Connection { socket, info } => self.add_client(socket, info),
                Message::Served { client, output, written, seen, told } => {
                    self.deliver(client, output, written, seen, &told);
                }
                Message::Unblock { client, with_error } => self.unblock(client, with_error),
                Message::Kill { client } => self.kill(client),
                Message::Computed { client, task } => self.computed(client, task),
                Message::Shipped { client, shipment } => self.shipped(client, shipment),
                Message::ShardFree { clients } => self.take_turns(&clients),
                Message::ScriptRan { client, ran } => self.script_ran(client, ran),
                Message::ScriptTurn { client, slot } => self.script_turn(client, slot),
                Message::Published(publication) => self.deliver_published(&publication),
                Message::Notified { client } => self.hear(client),
                // Looked at below.
                Message::Broadcast => {}
                Message::Overrun { kind, name, version } => {
                    let Self { core, clients, slot_of, scheduled, .. } = self;
                    delivery::cut(core, clients, slot_of, scheduled, (kind, &name, version));
                }
                Message::ChannelsWithdrawn { users, done } => {
                    self.core.cut_own_listeners(&users, None);
                    // Whoever asked may have given up.
                    let _ = done.send(());
                }
                Message::Lines(lines) => self.deliver_lines(&lines),
                Message::LinesOverrun { version } => {
                    let Self { core, clients, slot_of, scheduled, .. } = self;
                    delivery::cut_watchers(core, clients, slot_of, scheduled, version);
                }
                Message::Sleep { span } => std::thread::sleep(span),
                Message::FlushSaved { client } => self.flush_saved(client),
                Message::EndOfTurn { told } => self.told_at_end.push(told),
                Message::FullSync { client, header, feed } => {
                    self.begin_dump(client, &header, feed);
                }
                Message::KeepReplicaAlive { client } => self.keep_replica_alive(client),
                Message::Replicated { client } => self.replicated(client),
                Message::PauseChanged => self.resume_paused(),
                Message::RemoveLoadedDue { sender } => {
                    self.cron.remove_loaded_due(&mut self.core);
                    // Whoever asked may have given up.
                    let _ = sender.send(());
                }
                Message::HandOffs { shards } => self.core.complete_hand_offs(shards),
                Message::BecameReplica { sender } => {
                    self.core.follow_cluster();
                    self.tell_each(Core::answer_changed_role);
                    // Whoever asked may have given up.
                    let _ = sender.send(());
                }
                Message::ClusterChanged => {
                    self.core.follow_cluster();
                    self.tell_each(Core::answer_moved);
                }
                Message::SlotsReleased { slots } => {
                    self.core.follow_cluster();
                    self.tell_each(|core, client| core.end_listening(client, &slots));
                }
                Message::DataReplaced => self.core.wake_all_waiters(),
                Message::Acknowledge { sender } => {
                    let _ = sender.send(());
                }
                // The disk may have got to where somebody waits for it.
                Message::Wake => self.core.parked_at = None,
            }
        }
        self.messages = messages;
        self.hear_all();
    }

    /// A save that a client's reply waited for has ended.
    fn flush_saved(&mut self, id: u64) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        client.disk.saves -= 1;
        schedule(&mut self.scheduled, client, slot);
    }

    /// A dump is made for a client that is a replica.
    fn begin_dump(&mut self, id: u64, header: &[u8], feed: Box<ReplicaFeed>) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        Reply::new(&mut client.output, client.protocol).raw(header);
        if self.core.server.config.load().repl_disable_tcp_nodelay {
            client.socket.set_nodelay(false);
        }
        client.replica = Some(feed);
        self.replicas.add(slot);
    }

    /// A replica waits for a dump, and shall know that there is somebody.
    fn keep_replica_alive(&mut self, id: u64) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        if client.output.is_empty() {
            Reply::new(&mut client.output, client.protocol).raw(b"\n");
            schedule(&mut self.scheduled, client, slot);
        }
    }

    /// Replicas have what a client waits for.
    fn replicated(&mut self, id: u64) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        self.core.answer_replicated(client);
        schedule(&mut self.scheduled, client, slot);
    }

    /// A waiting client's command ran somewhere: its reply.
    fn deliver(
        &mut self,
        id: u64,
        output: Output,
        written: Option<Offset>,
        seen: Offset,
        told: &Told,
    ) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        self.core.unblock(client);
        if let Some(end) = written {
            self.core.note_written(client, end);
        }
        client.disk.durable_offset = client.disk.durable_offset.max(seen);
        tell(client, &told.before);
        client.deliver(output);
        tell(client, &told.after);
        hear_now(client);
        schedule(&mut self.scheduled, client, slot);
    }

    /// Somebody has ended a client's wait.
    fn unblock(&mut self, id: u64, with_error: bool) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        self.core.answer_unblocked(client, with_error);
        schedule(&mut self.scheduled, client, slot);
    }

    /// Tells each client what has become of the server, if `tell` has something to tell it.
    fn tell_each(&mut self, tell: impl Fn(&mut Core, &mut Client) -> bool) {
        let Self { core, clients, scheduled, .. } = self;
        for (slot, client) in clients.iter_mut().enumerate() {
            let Some(client) = client else { continue };
            if tell(core, client) {
                schedule(scheduled, client, slot);
            }
        }
    }

    /// What a client's command needs is computed: it runs again.
    fn computed(&mut self, id: u64, task: Task) {
        let slot = self.slot_of.get(&id).copied();
        let Some((slot, client)) = slot.and_then(|slot| Some((slot, self.clients[slot].as_mut()?)))
        else {
            self.core.server.aside.computations.discard(task);
            return;
        };
        self.core.resume(client);
        client.brought = Some(Brought::Computed(task));
        schedule(&mut self.scheduled, client, slot);
    }

    /// What a client's command sends to another server has been sent, or not: it runs again.
    fn shipped(&mut self, id: u64, shipment: Box<Shipment>) {
        let slot = self.slot_of.get(&id).copied();
        let Some((slot, client)) = slot.and_then(|slot| Some((slot, self.clients[slot].as_mut()?)))
        else {
            self.core.server.aside.computations.discard(shipment);
            return;
        };
        let hold = match self.core.resume(client) {
            Some(Reason::Shipping(hold)) => hold,
            _ => None,
        };
        client.brought = Some(Brought::Shipped(shipment, hold));
        schedule(&mut self.scheduled, client, slot);
    }

    /// A client's script has run on another thread: its request goes on. The client is there: until then, it is not closed.
    fn script_ran(&mut self, id: u64, ran: Box<Ran>) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        // A debugger may have read from its socket meanwhile, which then has nothing to tell.
        client.input.is_readable = true;
        if let Some(Reason::Scripting(progress)) = self.core.resume(client) {
            client.brought = Some(Brought::Ran(ran, progress));
        }
        schedule(&mut self.scheduled, client, slot);
    }

    /// A client's script may run on another thread now.
    fn script_turn(&mut self, id: u64, leave: Slot) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let Some(client) = &mut self.clients[slot] else { return };
        if matches!(client.suspension(), Some(Reason::ScriptThread)) {
            self.core.resume(client);
            client.brought = Some(Brought::Slot(leave));
            schedule(&mut self.scheduled, client, slot);
        }
    }

    /// The turn of clients at a shard has come: their requests run again.
    fn take_turns(&mut self, ids: &[u64]) {
        for &id in ids {
            if id == WORKER_ITSELF {
                self.core.complete_hand_offs(Vec::new());
                continue;
            }
            let Some(slot) = self.slot_of.get(&id).copied() else { continue };
            let Some(client) = &mut self.clients[slot] else { continue };
            if matches!(client.suspension(), Some(Reason::BusyShard)) {
                self.core.resume(client);
                schedule(&mut self.scheduled, client, slot);
            }
        }
    }

    fn deliver_published(&mut self, publication: &Publication) {
        let Self { core, clients, slot_of, scheduled, .. } = self;
        delivery::deliver(core, clients, slot_of, scheduled, publication);
    }

    fn deliver_lines(&mut self, lines: &Lines) {
        let Self { core, clients, slot_of, scheduled, .. } = self;
        delivery::deliver_lines(core, clients, slot_of, scheduled, lines);
    }

    /// Clients are told of copies of keys as far as something waits for them, and it was said in this turn so.
    fn hear_all(&mut self) {
        for id in self.core.take_notified() {
            self.hear(id);
        }
    }

    /// A client is told of copies of keys.
    fn hear(&mut self, id: u64) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        if let Some(client) = &mut self.clients[slot] {
            delivery::tell(&mut self.core, client);
            schedule(&mut self.scheduled, client, slot);
        }
    }

    fn kill(&mut self, id: u64) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        if let Some(client) = &mut self.clients[slot] {
            client.notice_kill();
            schedule(&mut self.scheduled, client, slot);
        }
    }

    /// Clients whose time is over get the reply that says so.
    fn end_waits(&mut self) {
        while let Some(&(deadline, id)) = self.core.deadlines.first() {
            if self.core.monotonic_ms < deadline {
                return;
            }
            self.core.deadlines.pop_first();
            let Some(slot) = self.slot_of.get(&id).copied() else { continue };
            if let Some(client) = &mut self.clients[slot] {
                self.core.end_or_retry(client);
                schedule(&mut self.scheduled, client, slot);
            }
        }
    }

    /// Clients whose quotas allow what they have asked for go on.
    fn end_slow_downs(&mut self) {
        while let Some(id) = self.core.quotas.take_due(self.core.now) {
            let Some(slot) = self.slot_of.get(&id).copied() else { continue };
            let Some(client) = &mut self.clients[slot] else { continue };
            if matches!(client.suspension(), Some(Reason::OverQuota)) {
                self.core.resume(client);
                schedule(&mut self.scheduled, client, slot);
            }
        }
    }

    /// Whoever waits for what a busy script holds is told so.
    fn answer_for_busy_scripts(&mut self) {
        self.core.is_script_busy = self.core.server.scripting.is_busy();
        if !self.core.is_script_busy || !self.busy_looks.has_begun(self.core.now) {
            return;
        }
        for (slot, client) in self.clients.iter_mut().enumerate() {
            if let Some(client) = client
                && self.core.refuse_busy(client)
            {
                schedule(&mut self.scheduled, client, slot);
            }
        }
    }

    /// Lets go whoever waits for replicas and need not any more.
    fn release_confirmed(&mut self) {
        while let Some((id, is_late)) = self.core.next_confirmed() {
            let Some(slot) = self.slot_of.get(&id).copied() else { continue };
            if let Some(client) = &mut self.clients[slot] {
                self.core.end_quorum_wait(client, is_late);
                schedule(&mut self.scheduled, client, slot);
            }
        }
    }

    /// Lets go whoever waits for the disk and need not any more.
    fn release_synced(&mut self) {
        if !self.core.without_base.is_empty() && !self.core.server.aof.waits_for_base() {
            for id in std::mem::take(&mut self.core.without_base) {
                self.look_at_disk(id);
            }
        }
        let reached = self.core.server.aof.synced().reached();
        while let Some(&(offset, id)) = self.core.unsynced.first() {
            if reached < offset {
                return;
            }
            self.core.unsynced.pop_first();
            self.look_at_disk(id);
        }
    }

    /// The disk has something that a client may have waited for.
    fn look_at_disk(&mut self, id: u64) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        if let Some(client) = &mut self.clients[slot] {
            client.disk.is_unsynced = false;
            self.core.answer_durable(client);
            schedule(&mut self.scheduled, client, slot);
        }
    }

    /// When the pause ends that somebody waits for, in monotonic milliseconds.
    fn pause_end(&self) -> i64 {
        if self.core.paused.is_empty() {
            return i64::MAX;
        }
        let is_behind = self.core.is_throttled || self.core.is_relay_behind;
        if is_behind || self.core.server.aside.moving.has_any() {
            return monotonic_ms() + THROTTLE_MS;
        }
        self.core.server.pause.in_force(monotonic_ms()).map_or(0, |(_, until)| until)
    }

    /// Lets postponed commands try again when a pause has run out.
    fn end_pause(&mut self) {
        let is_over = || {
            !self.core.is_throttled
                && !self.core.is_relay_behind
                && self.core.server.pause.in_force(self.core.monotonic_ms).is_none()
        };
        // Whoever waits for a key that moves is told when it has; here is who waits for something else.
        let is_held = self.core.server.aside.moving.has_any()
            && self.core.monotonic_ms < self.resumed_at + THROTTLE_MS;
        if !self.core.paused.is_empty() && !is_held && is_over() {
            self.resumed_at = self.core.monotonic_ms;
            self.resume_paused();
        }
    }

    /// Lets postponed commands try again, in the order in which they came.
    fn resume_paused(&mut self) {
        for id in std::mem::take(&mut self.core.paused) {
            let Some(slot) = self.slot_of.get(&id).copied() else { continue };
            let Some(client) = &mut self.clients[slot] else { continue };
            if matches!(client.suspension(), Some(Reason::Paused)) {
                self.core.resume(client);
            }
            schedule(&mut self.scheduled, client, slot);
        }
    }

    /// Gives every client with something to do its part of the turn.
    fn serve_scheduled(&mut self) {
        let mut scheduled = std::mem::take(&mut self.scheduled);
        for group in scheduled.chunks(GROUP_CLIENTS_MAX) {
            self.read_group(group);
            // What was read now may have been sent after another worker's CONFIG SET was answered.
            self.refresh_settings();
            self.core.start_clock();
            self.held_since = self.core.ticks();
            while self.parse_batch(group) {
                let keyspace = &self.core.server.keyspace;
                self.batch.prefetch_records(keyspace, &self.clients);
                self.batch.prefetch_members(keyspace, &self.clients);
                self.execute_batch();
            }
            self.finish_group(group);
        }
        scheduled.clear();
        // What was scheduled meanwhile stays; the allocation is kept.
        scheduled.append(&mut self.scheduled);
        self.scheduled = scheduled;
    }

    /// Reads once from every socket that has something. Whoever would need more memory than clients may have goes before
    /// what was read is run.
    fn read_group(&mut self, group: &[usize]) {
        let mut has_grown = false;
        for &slot in group {
            let Some(client) = &mut self.clients[slot] else { continue };
            client.is_scheduled = false;
            client.input.turn_requests = 0;
            client.input.turn_bytes = 0;
            client.notice_kill();
            if client.input.is_readable && client.has_room_for_requests() {
                let reads_much = USUAL_QUERY_BYTES_MAX < client.input.read_bytes;
                if client.input.query.capacity() == 0 && !reads_much {
                    client.input.query = self.spare_buffers.pop().unwrap_or_default();
                }
                let before = client.input.allocated_bytes();
                read(&self.core, client);
                if before.max(USUAL_QUERY_BYTES_MAX) < client.input.allocated_bytes() {
                    client.publish_output();
                    self.core.count_client(client);
                    has_grown = true;
                }
            }
        }
        if has_grown {
            self.core.evict_clients(self.core.settings.client_bytes_max);
        }
    }

    /// Parses requests of a group's clients until the batch is full. Returns whether there are any.
    fn parse_batch(&mut self, group: &[usize]) -> bool {
        for &slot in group {
            let Some(client) = &mut self.clients[slot] else { continue };
            let room = BATCH_REQUESTS_MAX.saturating_sub(self.batch.requests.len());
            if room == 0 {
                break;
            }
            if client.suspended.is_some() && !client.is_held() {
                self.core.run_again(client);
                self.core.catch_up();
            }
            let first = self.batch.requests.len();
            parse(&mut self.core, client, room, &mut self.batch);
            let requests = first..self.batch.requests.len();
            if !requests.is_empty() {
                self.batch.runs.push(Run { client: slot, requests });
            }
        }
        !self.batch.requests.is_empty()
    }

    /// Runs the batch, client by client, in the order of arrival.
    fn execute_batch(&mut self) {
        let Batch { requests, args, runs, .. } = &mut self.batch;
        self.turn_requests += requests.len();
        for Run { client: slot, requests: run } in runs.drain(..) {
            let Some(client) = &mut self.clients[slot] else { continue };
            let query = std::mem::take(&mut client.input.query);
            let apart = client.input.apart.take();
            let mut output = std::mem::take(&mut client.output);
            let mut reply = Reply::new(&mut output, client.protocol);
            let is_killed = client.info.is_killed.load(Ordering::Acquire);
            if is_killed {
                client.flags |= ClientFlags::CLOSE_NOW;
            }
            let mut flow = if is_killed { Flow::Stop } else { Flow::Next };
            for request in &requests[run] {
                if flow == Flow::Stop {
                    // It stays in the query and is parsed again when its turn comes.
                    break;
                }
                let view = request.args(&query, &apart, args);
                client.input.query_start = request.span.end;
                flow = self.core.execute(client, &mut reply, request.entry, view);
                reply.set_protocol(client.protocol);
                self.core.catch_up();
            }
            client.output = output;
            client.input.query = query;
            if client.input.query_start == client.input.query.len() {
                // Whoever has a reply shall find in CLIENT LIST and INFO what it was about.
                client.publish();
                self.answered.push(slot);
            }
            if self.held_ticks_max <= self.core.ticks().wrapping_sub(self.held_since) {
                self.core.show_observed();
                send_held(&mut self.core, &mut self.clients, &mut self.answered);
                self.core.start_clock();
                self.held_since = self.core.ticks();
            }
        }
        requests.clear();
        args.clear();
        args.shrink_to(ARGS_KEPT_MAX);
    }

    /// Sends what was written, and decides what becomes of each client. Readers that are woken up one by one, between the
    /// commands of others, cost more than the commands; so replies leave here, unless the group takes long.
    fn finish_group(&mut self, group: &[usize]) {
        self.core.show_observed();
        send_held(&mut self.core, &mut self.clients, &mut self.answered);
        for &slot in group {
            let Some(client) = &mut self.clients[slot] else { continue };
            compact(client, &mut self.spare_buffers);
            client.publish();
            client.sending.reply_peak =
                client.sending.reply_peak.max(client.output.buffered_bytes());
            limits::notice_end(client);
            limits::enforce(&mut self.core, client);
            let was_only_told = client.input.turn_requests == 0;
            let is_open =
                !client.flags.contains(ClientFlags::CLOSE_NOW) && send(&mut self.core, client);
            if was_only_told && self.core.settings.maxmemory != 0 && client.output.is_empty() {
                // What it takes is not worth keys that would have to go for it.
                client.output.shrink();
            }
            client.publish_output();
            self.core.count_client(client);
            if client.is_away() {
                continue;
            }
            if !is_open {
                self.close(slot);
                continue;
            }
            if client.flags.contains(ClientFlags::CLOSE_AFTER_REPLY) && client.output.is_empty() {
                self.close(slot);
                continue;
            }
            if client.migration.is_some() && client.output.is_empty() {
                self.part_with(slot);
                continue;
            }
            let Some(client) = &mut self.clients[slot] else { continue };
            if self.core.server.trackers.has_any() {
                delivery::tell(&mut self.core, client);
            }
            let may_run = client.input.may_parse && !client.is_held() && !client.is_stalled();
            let has_requests =
                may_run || (client.input.is_readable && client.has_room_for_requests());
            let has_output = client.sending.is_writable
                && !client.output.is_empty()
                && !client.disk.is_unsynced
                && !client.disk.is_unconfirmed
                && client.disk.saves == 0;
            if has_requests || has_output {
                schedule(&mut self.scheduled, client, slot);
            }
        }
    }

    /// Hands the connection of a client over to a thread of its own: it brings slots.
    fn part_with(&mut self, slot: usize) {
        let server = self.core.server;
        let Some(mut client) = self.forget(slot) else { return };
        let (Some(cluster), Some(job)) = (&server.cluster, client.migration.take()) else { return };
        let mut input = std::mem::take(&mut client.input.query);
        input.drain(..client.input.query_start);
        let Client { socket, info, .. } = *client;
        migration::import::start(server, cluster, job, Arrival { socket, info, input });
    }

    fn close(&mut self, slot: usize) {
        let Some(mut client) = self.forget(slot) else { return };
        client.socket.shutdown();
        client.info.is_closed.store(true, Ordering::Release);
        self.core.server.clients.remove(client.id);
        if let (Some(cluster), Some(job)) = (&self.core.server.cluster, client.migration) {
            migration::import::lose(self.core.server, cluster, job, "the connection was closed");
        }
    }

    /// Takes a client out, and whatever others know of it.
    fn forget(&mut self, slot: usize) -> Option<Box<Client>> {
        let mut client = self.clients[slot].take()?;
        self.core.settle_last(&mut client);
        self.core.audit_connection(&client.info, false);
        self.core.uncount_client(&mut client);
        self.core.abandon(&mut client);
        self.core.unwatch_all(&mut client);
        self.core.unsubscribe_all(&mut client);
        self.core.stop_watching(&mut client);
        self.core.stop_tracking(&mut client);
        if client.replica.is_some() {
            self.replicas.remove(slot);
        }
        if let Some(other) = self.core.server.replication.replicas.leave(client.id) {
            self.core.server.kill_id(other);
        }
        client.socket.deregister(self.poll.registry());
        self.slot_of.remove(&client.id);
        self.free_slots.push(slot);
        Some(client)
    }

    /// Sends what is still to be sent as far as sockets take it, and closes them.
    fn say_goodbye(&mut self) {
        if self.core.settings.waits_for_disk {
            self.core.server.wait_for_disk();
        }
        for slot in 0..self.clients.len() {
            if let Some(client) = &mut self.clients[slot] {
                send(&mut self.core, client);
            }
            self.close(slot);
        }
    }
}

fn monotonic_ms() -> i64 {
    monotonic_millis() as i64
}
