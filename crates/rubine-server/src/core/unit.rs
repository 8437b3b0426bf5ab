//! One unit of work under the locks of its shards: it begins, runs commands, and reaches the journal in one piece. Takes
//! and gives back no lock.

use rubine_cluster::message::Relayed;
use rubine_commands::{
    Args, ClientFacts, Command, CommandError, CommandResult, Effects, Event, EventClass, Flags,
    Occasion, Runner,
};
use rubine_journal::{Audience, Offset, Side};
use rubine_keyspace::{DueKeys, Locked, ViewOptions};
use rubine_resp::writer::{Protocol, Reply};

use super::Core;
use crate::aside::compute::STEPS_AT_ONCE_MAX;
use crate::client::away::{Away, Deferred, UnitMark};
use crate::client::subscriptions::ChannelKind;
use crate::client::{Client, ClientFlags};
use crate::cluster::Cluster;
use crate::pubsub::Notice;
use crate::server::Server;

/// In what setting a data command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// On its own.
    Alone,
    /// For a client that has waited.
    HandOff,
    /// Among others, which nothing may come between.
    Transaction,
    /// For a script. Nobody hears of it before the script's end: it may be put back.
    Script,
    /// For a script that is begun anew elsewhere if it takes long.
    ShortScript,
    /// For a master, whose word it is.
    Master,
}

impl Role {
    fn facts(self, protocol: Protocol, flags: ClientFlags) -> ClientFacts {
        let may_wait = matches!(self, Self::Alone | Self::HandOff);
        let may_end_early = matches!(self, Self::Alone | Self::ShortScript);
        let steps_at_once_max = if may_end_early { STEPS_AT_ONCE_MAX } else { u64::MAX };
        let is_script = matches!(self, Self::Script | Self::ShortScript);
        let is_trusted = self == Self::Master;
        let reads_every_key = !flags.contains(ClientFlags::SEES_SOME_KEYS);
        ClientFacts {
            protocol,
            may_wait,
            is_script,
            is_trusted,
            reads_every_key,
            steps_at_once_max,
        }
    }
}

impl Core {
    /// Runs a data command with the locks that it needs.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "passing the arguments costs as much as what is done here"
    )]
    #[expect(clippy::too_many_arguments, reason = "the parts of a context, from three owners")]
    pub(crate) fn run_data(
        &mut self,
        command: &Command,
        db: usize,
        flags: ClientFlags,
        role: Role,
        reply: &mut Reply<'_>,
        args: Args<'_>,
        locked: &mut Locked<'_>,
    ) -> CommandResult {
        let mut is_own_write = false;
        let due_keys = if role == Role::Master {
            DueKeys::Shown
        } else if self.server.replication.following.is_replica() {
            // A master says when its keys go; where clients may write, what is due makes room for what they write.
            let is_write = command.spec.flags.contains(Flags::WRITE);
            is_own_write = is_write && !self.settings.is_read_only_replica;
            if is_own_write { DueKeys::Removed } else { DueKeys::Hidden }
        } else if self.settings.import_mode {
            // Whoever brings the data says when a key goes.
            let is_source = flags.contains(ClientFlags::IMPORT_SOURCE);
            if is_source { DueKeys::Shown } else { DueKeys::Hidden }
        } else if self.server.pause.stops_writes(self.monotonic_ms) {
            DueKeys::Hidden
        } else {
            DueKeys::Removed
        };
        let notes_access = !flags.contains(ClientFlags::NO_TOUCH);
        let occasion = Occasion {
            db,
            now: self.now,
            limits: &self.settings.limits,
            access: self.settings.access,
            view: ViewOptions { notes_access, due_keys },
            client: role.facts(reply.protocol(), flags),
        };
        let result = self.runner.run(command, &occasion, reply, args, locked);
        if let Err(error) = &result {
            log_damage(error);
        }
        if is_own_write {
            self.note_own_keys(command, db, args, locked);
        }
        // What a script does is told at its end: it may be put back.
        let may_be_put_back = matches!(role, Role::Script | Role::ShortScript);
        if !self.runner.effects.events.is_empty() && !may_be_put_back {
            if self.settings.waits_for_disk {
                defer_events(&mut self.deferred, &mut self.runner.effects);
            } else {
                publish_events(self.server, &mut self.runner.effects, 0);
            }
        }
        result
    }

    /// Remembers which keys with a deadline a client of this replica has written.
    #[cold]
    fn note_own_keys(&self, command: &Command, db: usize, args: Args<'_>, locked: &Locked<'_>) {
        let own = &self.server.replication.following.own_keys;
        command.spec.for_each_key(args, |index| {
            let key = args.key(index);
            if !locked.covers(key) {
                return;
            }
            let has_deadline =
                locked.find(db, key, i64::MIN).is_some_and(|it| it.deadline().is_some());
            if has_deadline {
                own.add(db, key.bytes());
            } else if own.are_any() {
                own.remove(db, key.bytes());
            }
        });
    }

    /// Starts a unit of work: what follows reaches the journal in one piece.
    #[inline]
    pub(crate) fn begin_unit(&mut self) {
        self.runner.effects.is_journalled = self.server.journal.is_active();
        let listened = self.settings.listened;
        self.runner.effects.listened = listened.filter(|_| self.server.pubsub.has_listeners());
        let listened = self.runner.effects.listened.unwrap_or(EventClass::empty());
        self.runner.changes.notes_misses = listened.contains(EventClass::KEY_MISS);
        self.note_trackers();
    }

    /// The unit is one of several commands, for which time stands still.
    pub(crate) fn begin_several(&mut self) {
        self.unit_micros = None;
    }

    /// From now on, what the unit does can be taken back. Nobody hears of it before [`Self::keep`] and the unit's end.
    pub(crate) fn begin_undoable(&mut self) -> UnitMark {
        self.is_undoable = true;
        self.begin_several();
        UnitMark { runner: self.runner.begin_undo(), deferred_count: self.deferred.len() }
    }

    /// This moment of a unit that can be taken back.
    pub(crate) fn mark(&mut self) -> UnitMark {
        UnitMark { runner: self.runner.mark(), deferred_count: self.deferred.len() }
    }

    /// Takes back what was done since `mark`.
    pub(crate) fn undo_to(&mut self, mark: &UnitMark, locked: &mut Locked<'_>) {
        self.runner.undo_to(&mark.runner, locked);
        self.deferred.truncate(mark.deferred_count);
    }

    /// Makes the unit ready to go on on another thread, with the locks that it holds. It is one that can be taken back.
    pub(crate) fn send_away(&mut self, locked: Locked<'static>) -> Away {
        let runner = Runner::new(self.runner.random.next_u64());
        let runner = std::mem::replace(&mut self.runner, runner);
        self.is_undoable = false;
        let deferred = std::mem::take(&mut self.deferred);
        Away { runner, deferred, locked, now: self.now, micros: self.unit_micros }
    }

    /// Goes on with a unit that comes from another thread. Returns the locks that it holds.
    pub(crate) fn take_up(&mut self, away: Away) -> Locked<'static> {
        let Away { runner, deferred, locked, now, micros } = away;
        self.flush_counts();
        (self.runner, self.deferred, self.now) = (runner, deferred, now);
        self.unit_micros = micros;
        self.is_undoable = true;
        locked
    }

    /// What the unit has done stands.
    pub(crate) fn keep(&mut self) {
        self.is_undoable = false;
    }

    /// Drops what was kept to take the unit back. Best called when the locks are given back.
    pub(crate) fn forget_undo(&mut self) {
        self.runner.keep_all(&self.server.keyspace);
    }

    /// Sends a message; returns how many get it. It waits for the end of its unit where that may be taken back, or where what
    /// the unit wrote has to be on disk first. `is_within` a transaction or script there is such a unit.
    pub(crate) fn publish(
        &mut self,
        client: &Client,
        kind: ChannelKind,
        channel: &[u8],
        payload: &[u8],
        is_within: bool,
    ) -> usize {
        let server = self.server;
        let waits_for_disk = self.settings.waits_for_disk;
        // Whoever hears of it shall find what its sender has found.
        let durable_offset = if waits_for_disk { client.disk.durable_offset } else { 0 };
        if self.is_undoable || (waits_for_disk && is_within) {
            let (channel_name, payload) = (channel.into(), payload.into());
            let seen_before = durable_offset;
            let is_for_replicas = self.tells_replicas();
            let deferred =
                Deferred { kind, channel: channel_name, payload, seen_before, is_for_replicas };
            self.deferred.push(deferred);
            return server.pubsub.receiver_count(kind, channel);
        }
        if self.tells_replicas() {
            self.tell_replicas(kind, channel, payload);
        }
        let notice = Notice { kind, channel, payload, durable_offset };
        let receivers = server.pubsub.publish(&server.workers, notice);
        self.charge_message(notice, receivers);
        receivers
    }

    /// Whether replicas are to hear of what comes next in the unit, as far as its script has said.
    fn tells_replicas(&self) -> bool {
        let effects = &self.runner.effects;
        !effects.is_silenced && effects.journal.audience() != Audience::Only(Side::Disk)
    }

    /// Sends a message to replicas, whose clients listen as well. One load without them. In a cluster it goes to all nodes.
    fn tell_replicas(&mut self, kind: ChannelKind, channel: &[u8], payload: &[u8]) {
        let server = self.server;
        if let Some(cluster) = &server.cluster {
            relay(cluster, kind, channel, payload);
            self.is_relay_behind = cluster.messages.are_behind();
            return;
        }
        if !server.journal.is_followed() || server.replication.following.is_replica() {
            return;
        }
        let name: &[u8] = match kind {
            ChannelKind::ShardChannel => b"SPUBLISH",
            ChannelKind::Channel | ChannelKind::Pattern => b"PUBLISH",
        };
        server.journal.tell_replicas(&[name, channel, payload], (self.now / 1000) as u64);
    }

    /// Appends the effects of the unit to the journal, and returns where they end.
    #[inline]
    pub(crate) fn write_journal(&mut self, locked: &mut Locked<'_>) -> Option<Offset> {
        if !self.runner.changes.stale.is_empty() {
            self.tell_stale(locked);
        }
        let has_news = !self.runner.effects.events.is_empty() || !self.deferred.is_empty();
        if has_news && !self.settings.waits_for_disk {
            publish_events(self.server, &mut self.runner.effects, 0);
        }
        // Counted while the locks are held: whoever holds all of them knows how many changes an image has.
        self.stats().dirty.add(std::mem::take(&mut self.runner.changes.dirty));
        let end = if self.runner.effects.journal.is_empty() {
            None
        } else {
            Some(self.append_to_journal(locked))
        };
        if has_news {
            self.publish_deferred(locked);
        }
        end
    }

    /// Sends what the unit tells listeners, who hear of it when the disk has what it tells of.
    #[cold]
    fn publish_deferred(&mut self, locked: &Locked<'_>) {
        defer_events(&mut self.deferred, &mut self.runner.effects);
        let server = self.server;
        let seen = if self.settings.waits_for_disk { server.aof.seen_by(locked) } else { 0 };
        for deferred in std::mem::take(&mut self.deferred) {
            let Deferred { kind, channel, payload, seen_before, is_for_replicas } = deferred;
            let (channel, payload) = (&*channel, &*payload);
            if is_for_replicas {
                self.tell_replicas(kind, channel, payload);
            }
            let durable_offset = seen.max(seen_before);
            let notice = Notice { kind, channel, payload, durable_offset };
            let receivers = server.pubsub.publish(&server.workers, notice);
            self.charge_message(notice, receivers);
        }
    }

    #[inline(never)]
    fn append_to_journal(&mut self, locked: &Locked<'_>) -> Offset {
        self.runner.effects.journal.wrap_in_transaction();
        let second = (self.now / 1000) as u64;
        let server = self.server;
        if self.charges() {
            self.note_replicated();
        }
        let effects = &mut self.runner.effects.journal;
        let end = if server.replication.following.is_replica() {
            // What clients change of a replica is no part of the master's history.
            server.journal.append_for(Side::Disk, effects, second)
        } else {
            server.journal.append(effects, second)
        };
        if self.settings.waits_for_disk {
            self.server.aof.note_change(locked, end);
        }
        end
    }
}

/// Passes a message on to the other nodes of a cluster.
fn relay(cluster: &Cluster, kind: ChannelKind, channel: &[u8], payload: &[u8]) {
    let (channel, message) = (channel.to_vec(), payload.to_vec());
    let relayed = match kind {
        ChannelKind::ShardChannel => Relayed::PublishShard { channel, message },
        ChannelKind::Channel | ChannelKind::Pattern => Relayed::Publish { channel, message },
    };
    cluster.relay(relayed);
}

#[cold]
fn log_damage(error: &CommandError) {
    if let CommandError::DumpData(damage) = error {
        tracing::warn!("A payload cannot be restored: {damage}");
    }
}

/// Tells what has happened to keys to those who listen, while the shards of the keys are still locked: events of one
/// key come in the order of its changes.
#[cold]
pub(super) fn publish_events(server: &Server, effects: &mut Effects, durable_offset: Offset) {
    let kind = ChannelKind::Channel;
    take_events(effects, |channel, payload| {
        let notice = Notice { kind, channel, payload, durable_offset };
        server.pubsub.publish(&server.workers, notice);
    });
}

/// Keeps what has happened to keys until the unit is in the journal.
#[cold]
fn defer_events(deferred: &mut Vec<Deferred>, effects: &mut Effects) {
    take_events(effects, |channel, payload| {
        let (channel, payload) = (channel.into(), payload.into());
        let kind = ChannelKind::Channel;
        let (seen_before, is_for_replicas) = (0, false);
        deferred.push(Deferred { kind, channel, payload, seen_before, is_for_replicas });
    });
}

/// The messages about what has happened to keys.
fn take_events(effects: &mut Effects, mut publish: impl FnMut(&[u8], &[u8])) {
    let listened = effects.listened.unwrap_or(EventClass::empty());
    for (Event { name, .. }, db, key) in effects.events.drain(..) {
        if listened.contains(EventClass::KEYSPACE) {
            let channel = [format!("__keyspace@{db}__:").as_bytes(), &key].concat();
            publish(&channel, name.as_bytes());
        }
        if listened.contains(EventClass::KEYEVENT) {
            publish(format!("__keyevent@{db}__:{name}").as_bytes(), &key);
        }
    }
}
