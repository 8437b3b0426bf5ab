//! All that a handler can see and do. It has no way to a clock, a socket, the configuration or a lock, so that the
//! same command on the same keys at the same instant does the same everywhere.

use rubine_base::random::Random;
use rubine_journal::Audience;
use rubine_keyspace::{Key, View};
use rubine_resp::writer::{Protocol, Reply};

use crate::args::Args;
use crate::computation::Task;
use crate::error::CommandResult;
use crate::event::{Event, EventClass};
use crate::limits::Limits;
use crate::shipment::Shipment;

/// What a handler works with.
pub struct Context<'a, 'k> {
    /// The arguments; number 0 is the command's name.
    pub args: Args<'a>,
    /// The keys whose shards are locked, in the selected database.
    pub keys: View<'a, 'k>,
    /// The client's output buffer.
    pub reply: Reply<'a>,
    /// What the command does beyond its reply.
    pub effects: &'a mut Effects,
    pub limits: &'a Limits,
    pub random: &'a mut Random,
    pub client: ClientFacts,
    /// The instant of the command, Unix milliseconds: one for a whole transaction.
    pub now: i64,
}

/// What handlers need to know of the client.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct ClientFacts {
    pub protocol: Protocol,
    /// Not in a transaction or script, where a command that would wait answers at once instead.
    pub may_wait: bool,
    /// For a script: what has no order of its own comes in one that is the same everywhere.
    pub is_script: bool,
    /// The command comes from a master or from a log: limits that guard against clients do not apply.
    pub is_trusted: bool,
    /// Its user may read any key, whatever its name: what needs keys that nobody can list beforehand asks for it.
    pub reads_every_key: bool,
    /// Computations of more steps than these are to be made without the locks: `u64::MAX` in a transaction or script,
    /// which nobody may come between.
    pub steps_at_once_max: u64,
}

/// What a command does beyond its reply. Collected while the locks are held, carried out by the dispatcher.
#[derive(Default)]
pub struct Effects {
    /// Commands that reproduce the change, where the command itself would not. See [`Context::replicate`].
    pub journal: rubine_journal::Effects,
    /// Whether anybody reads the journal; nothing is written to it otherwise.
    pub is_journalled: bool,
    /// Somebody does, but a script has asked that nobody hear of what it writes. What is found due goes all the same.
    pub is_silenced: bool,
    /// The handler took care of the journal: the command is not written verbatim.
    pub replaces_command: bool,
    /// Classes of events that somebody listens to.
    pub listened: Option<EventClass>,
    /// What happened to which key, in order.
    pub events: Vec<(Event, usize, Box<[u8]>)>,
    /// The client shall wait.
    pub wait: Option<Wait>,
    /// What shall be computed without the locks before the command runs again. See [`Context::compute`].
    pub task: Option<Task>,
    /// What has been computed since the command ran first.
    pub computed: Option<Task>,
    /// Keys that shall be sent to another server before the command runs again. What it has done before that stands.
    pub shipment: Option<Box<Shipment>>,
    /// What has come of sending them.
    pub shipped: Option<Box<Shipment>>,
}

/// A place between two commands of a unit, for [`Effects::truncate_to`].
#[derive(Clone, Copy, Debug)]
pub struct EffectsMark {
    journal: rubine_journal::EffectsMark,
    events_len: usize,
}

impl Effects {
    /// What was to be done until now.
    pub fn mark(&self) -> EffectsMark {
        EffectsMark { journal: self.journal.mark(), events_len: self.events.len() }
    }

    /// Takes back what came to be done since `mark`. Events are among it as far as nobody has drained them meanwhile.
    pub fn truncate_to(&mut self, mark: &EffectsMark) {
        self.journal.truncate_to(&mark.journal);
        self.events.truncate(mark.events_len);
        self.replaces_command = false;
        (self.wait, self.task, self.shipment) = (None, None, None);
    }

    /// Whether more is to be done about the command than to send its reply.
    #[inline]
    pub fn has_follow_up(&self) -> bool {
        self.wait.is_some()
            || self.task.is_some()
            || self.computed.is_some()
            || self.shipment.is_some()
            || self.shipped.is_some()
    }
}

/// A command that found nothing waits for some of its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// Numbers of the arguments that are the keys.
    pub keys: Vec<usize>,
    /// When it gives up, Unix milliseconds; `None` for never.
    pub deadline: Option<i64>,
    /// What it answers then.
    pub on_timeout: Nothing,
    /// Whether the command runs again whatever becomes of its keys, be it to fail. See [`crate::awaited`].
    pub ends_on_error: bool,
    /// Arguments that are others when the command runs again.
    pub rewritten: Vec<(usize, Box<[u8]>)>,
    /// Milliseconds after which the command is to run again, even if no key was changed.
    pub retry_after: Option<i64>,
}

/// The reply of a wait that ended without result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    Null,
    NullArray,
}

impl<'a> Context<'a, '_> {
    /// Argument number `index` as a key.
    #[inline]
    pub fn key(&self, index: usize) -> Key<'a> {
        self.args.key(index)
    }

    /// A key was changed: counts the change, breaks watches, wakes waiters, tells listeners.
    #[inline]
    pub fn touched(&mut self, key: Key<'_>, event: Event) {
        self.keys.note_change(key);
        self.notify(key, event);
    }

    /// Tells listeners of an event that is no change by itself, or a further one of the same change.
    #[inline]
    pub fn notify(&mut self, key: Key<'_>, event: Event) {
        let db = self.keys.db();
        self.notify_in(db, key, event);
    }

    /// As [`Self::notify`], for a key of another database.
    #[inline]
    pub fn notify_in(&mut self, db: usize, key: Key<'_>, event: Event) {
        if self.effects.listened.is_some_and(|it| it.contains(event.class)) {
            self.effects.events.push((event, db, key.bytes().into()));
        }
    }

    /// Writes a command to the journal in place of the one that runs. May be called several times; then all are
    /// replayed as one transaction.
    pub fn replicate(&mut self, command: &[&[u8]]) {
        self.effects.replaces_command = true;
        if self.effects.is_journalled {
            self.flush_expired();
            self.effects.journal.command(self.keys.db() as u32, command);
        }
    }

    /// Writes the running command to the journal as it stands.
    pub(crate) fn replicate_verbatim(&mut self) {
        let db = self.keys.db() as u32;
        if let Some(request) = self.args.encoded() {
            return self.effects.journal.encoded(db, request);
        }
        let mut writer = self.effects.journal.begin(db, self.args.len());
        for argument in self.args.from(0) {
            writer.argument(argument);
        }
    }

    /// Makes known which keys were found due: to the journal, before anything that follows from it, and to listeners.
    #[inline]
    pub(crate) fn flush_expired(&mut self) {
        if self.keys.has_expired() {
            self.tell_expired();
        }
    }

    #[cold]
    fn tell_expired(&mut self) {
        for (db, key) in self.keys.take_expired() {
            if self.effects.is_journalled || self.effects.is_silenced {
                let journal = &mut self.effects.journal;
                let audience = journal.audience();
                journal.set_audience(Audience::Both);
                journal.command(db as u32, &[b"UNLINK", &key]);
                journal.set_audience(audience);
            }
            self.notify_in(db, Key::new(&key), Event::EXPIRED);
        }
    }

    /// Keeps the running command out of the journal: it changed nothing that a replay would have to repeat.
    pub fn replicate_nothing(&mut self) {
        self.effects.replaces_command = true;
    }

    /// Removes `key` if its collection has become empty, with the event that goes with it.
    pub fn remove_emptied(&mut self, key: Key<'_>) {
        self.keys.remove(key);
        self.notify(key, Event::DEL);
    }

    /// Ends the command by letting the client wait until one of the keys at `keys` is changed, then it runs again.
    /// Where nobody may wait, answers as if the time were over.
    pub fn wait_for(
        &mut self,
        keys: impl IntoIterator<Item = usize>,
        deadline: Option<i64>,
        on_timeout: Nothing,
    ) -> CommandResult {
        if self.client.may_wait {
            let keys = keys.into_iter().collect();
            self.effects.wait = Some(Wait {
                keys,
                deadline,
                on_timeout,
                ends_on_error: false,
                rewritten: Vec::new(),
                retry_after: None,
            });
        } else {
            on_timeout.write(&mut self.reply);
        }
        Ok(())
    }
}

impl Nothing {
    /// Writes the reply.
    pub fn write(self, reply: &mut Reply<'_>) {
        match self {
            Self::Null => reply.null(),
            Self::NullArray => reply.null_array(),
        }
    }
}
