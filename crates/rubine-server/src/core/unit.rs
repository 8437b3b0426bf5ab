//! One unit of work under the locks of its shards: it begins, runs commands, and reaches the journal in one piece. Takes
//! and gives back no lock.

use rubine_commands::{
    Args, ClientFacts, Command, CommandError, CommandResult, Effects, Event, EventClass, Occasion,
    RunnerMark,
};
use rubine_journal::Offset;
use rubine_keyspace::{DueKeys, Locked, ViewOptions};
use rubine_resp::writer::{Protocol, Reply};

use super::Core;
use crate::aside::compute::STEPS_AT_ONCE_MAX;
use crate::client::ClientFlags;
use crate::client::subscriptions::ChannelKind;
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
}

impl Role {
    fn facts(self, protocol: Protocol) -> ClientFacts {
        let may_wait = matches!(self, Self::Alone | Self::HandOff);
        let steps_at_once_max = if self == Self::Alone { STEPS_AT_ONCE_MAX } else { u64::MAX };
        ClientFacts { protocol, may_wait, is_trusted: false, steps_at_once_max }
    }
}

/// A moment of a unit that can be taken back.
pub(crate) struct UnitMark {
    runner: RunnerMark,
    message_count: usize,
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
        let due_keys = if self.settings.import_mode {
            // Whoever brings the data says when a key goes.
            let is_source = flags.contains(ClientFlags::IMPORT_SOURCE);
            if is_source { DueKeys::Shown } else { DueKeys::Hidden }
        } else if self.server.pause.stops_writes(self.now) {
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
            client: role.facts(reply.protocol()),
        };
        let result = self.runner.run(command, &occasion, reply, args, locked);
        if let Err(error) = &result {
            log_damage(error);
        }
        if !self.runner.effects.events.is_empty() && role != Role::Script {
            publish_events(self.server, &mut self.runner.effects);
        }
        result
    }

    /// Starts a unit of work: what follows reaches the journal in one piece.
    #[inline]
    pub(crate) fn begin_unit(&mut self) {
        self.runner.effects.is_journalled = self.server.journal.is_active();
        let listened = self.settings.listened;
        self.runner.effects.listened = listened.filter(|_| self.server.pubsub.has_listeners());
        let listened = self.runner.effects.listened.unwrap_or(EventClass::empty());
        self.runner.changes.notes_misses = listened.contains(EventClass::KEY_MISS);
    }

    /// From now on, what the unit does can be taken back. Nobody hears of it before [`Self::keep`].
    pub(crate) fn begin_undoable(&mut self) -> UnitMark {
        self.held_messages = Some(Vec::new());
        UnitMark { runner: self.runner.begin_undo(), message_count: 0 }
    }

    /// This moment of a unit that can be taken back.
    pub(crate) fn mark(&mut self) -> UnitMark {
        let message_count = self.held_messages.as_ref().map_or(0, Vec::len);
        UnitMark { runner: self.runner.mark(), message_count }
    }

    /// Takes back what was done since `mark`.
    pub(crate) fn undo_to(&mut self, mark: &UnitMark, locked: &mut Locked<'_>) {
        self.runner.undo_to(&mark.runner, locked);
        if let Some(messages) = &mut self.held_messages {
            messages.truncate(mark.message_count);
        }
    }

    /// What the unit has done stands: its messages are sent, while the locks are still held.
    pub(crate) fn keep(&mut self) {
        for (kind, channel, payload) in self.held_messages.take().into_iter().flatten() {
            self.server.pubsub.publish(&self.server.workers, kind, &channel, &payload);
        }
    }

    /// Drops what was kept to take the unit back. Best called when the locks are given back.
    pub(crate) fn forget_undo(&mut self) {
        self.runner.keep_all(&self.server.keyspace);
    }

    /// Sends a message; returns how many listen. In a unit that may be taken back it is held until that is kept.
    pub(crate) fn publish(&mut self, kind: ChannelKind, channel: &[u8], payload: &[u8]) -> usize {
        let server = self.server;
        let Some(messages) = &mut self.held_messages else {
            return server.pubsub.publish(&server.workers, kind, channel, payload);
        };
        messages.push((kind, channel.into(), payload.into()));
        server.pubsub.receiver_count(kind, channel)
    }

    /// Appends the effects of the unit to the journal, and returns where they end.
    #[inline]
    pub(crate) fn write_journal(&mut self, locked: &Locked<'_>) -> Option<Offset> {
        if !self.runner.effects.events.is_empty() {
            publish_events(self.server, &mut self.runner.effects);
        }
        // Counted while the locks are held: whoever holds all of them knows how many changes an image has.
        self.stats().dirty.add(std::mem::take(&mut self.runner.changes.dirty));
        if self.runner.effects.journal.is_empty() {
            None
        } else {
            Some(self.append_to_journal(locked))
        }
    }

    #[inline(never)]
    fn append_to_journal(&mut self, locked: &Locked<'_>) -> Offset {
        self.runner.effects.journal.wrap_in_transaction();
        let second = (self.now / 1000) as u64;
        let end = self.server.journal.append(&mut self.runner.effects.journal, second);
        if self.settings.waits_for_disk {
            self.server.aof.note_change(locked, end);
        }
        end
    }
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
pub(super) fn publish_events(server: &Server, effects: &mut Effects) {
    let listened = effects.listened.unwrap_or(EventClass::empty());
    for (Event { name, .. }, db, key) in effects.events.drain(..) {
        let publish = |channel: &[u8], payload: &[u8]| {
            server.pubsub.publish(&server.workers, ChannelKind::Channel, channel, payload);
        };
        if listened.contains(EventClass::KEYSPACE) {
            let channel = [format!("__keyspace@{db}__:").as_bytes(), &key].concat();
            publish(&channel, name.as_bytes());
        }
        if listened.contains(EventClass::KEYEVENT) {
            publish(format!("__keyevent@{db}__:{name}").as_bytes(), &key);
        }
    }
}
