//! Data commands that the server runs for itself, on a thread that has no clients. They are journalled as those of a client,
//! and break WATCH and copies of keys as those do, but there are no events of them: what they remove was not deleted, it is
//! elsewhere.

use std::sync::Arc;

use rubine_cluster::slots::SlotSet;
use rubine_commands::{Args, CommandError, CommandResult, shards_of};
use rubine_keyspace::{Locked, ShardSet, Tracking};
use rubine_resp::writer::{Output, Reply};

use super::unit::Role;
use super::{Core, SessionHandler};
use crate::access;
use crate::client::identity::Identity;
use crate::client::request::encode;
use crate::client::{Client, ClientInfo};
use crate::command_table::Entry;
use crate::mailbox::Message;
use crate::server::Server;

/// Who runs them.
pub(crate) struct OwnCommands {
    core: Core,
    /// A client of nobody.
    client: Client,
}

impl OwnCommands {
    /// `index` is where the counters of the thread are.
    pub(crate) fn new(
        server: &'static Server,
        handlers: &'static [SessionHandler],
        index: usize,
    ) -> std::io::Result<Self> {
        let addresses = (String::new(), String::new());
        let info = Arc::new(ClientInfo::new(0, 0, addresses, 0, true, 0));
        let trusted = access::trusted(&server.commands, &server.config.load());
        let client = Client::without_connection(info, Identity::trusted(&trusted))?;
        Ok(Self { core: Core::new(server, handlers, index), client })
    }

    /// The handlers of all commands.
    pub(crate) fn handlers(&self) -> &'static [SessionHandler] {
        self.core.handlers
    }

    /// Runs the command of a full name, such as `cluster|flushslot`, whatever it is called for clients. `words` are the
    /// request.
    pub(crate) fn run(&mut self, full_name: &'static str, words: &[&[u8]]) -> CommandResult {
        let entry = self.find(full_name)?;
        let (bytes, ranges) = encode(words.iter().copied());
        let args = Args::new(&bytes, &ranges);
        let shards = shards_of(entry.spec, args, true);
        self.in_unit(&shards, |core, client, locked| run_one(core, client, entry, args, locked))
    }

    /// Empties slots, and does something else whether that works or not, in one step for everybody who looks at their keys.
    /// That takes no longer for many keys than for few, unless clients keep copies of some and have to be told of each.
    pub(crate) fn empty_slots(&mut self, slots: &SlotSet, also: impl FnOnce()) -> CommandResult {
        let entry = self.find(FLUSHSLOT);
        let shards = ShardSet::of_slots(slots.iter());
        self.in_unit(&shards, |core, client, locked| {
            let emptied = if core.runner.changes.tracking == Tracking::Off {
                take_slots(core, slots, locked);
                Ok(())
            } else {
                entry.and_then(|entry| {
                    slots.iter().try_for_each(|slot| {
                        let (bytes, ranges) = encode(flush_of(&slot.to_string()).into_iter());
                        run_one(core, client, entry, Args::new(&bytes, &ranges), locked)
                    })
                })
            };
            also();
            emptied
        })
    }

    /// Empties a slot.
    pub(crate) fn empty_slot(&mut self, slot: u16) -> CommandResult {
        self.run(FLUSHSLOT, &flush_of(&slot.to_string()))
    }

    fn find(&self, full_name: &'static str) -> Result<&'static Entry, CommandError> {
        let mut entries = self.core.server.commands.all().iter();
        let entry = entries.find(|it| it.full_name == full_name).copied();
        entry.ok_or_else(|| CommandError::Other(full_name.into()))
    }

    /// Does something under locks, and puts what has changed into the journal before they are given back.
    fn in_unit<T>(
        &mut self,
        shards: &ShardSet,
        work: impl FnOnce(&mut Core, &mut Client, &mut Locked<'static>) -> T,
    ) -> T {
        let Self { core, client } = self;
        let server = core.server;
        core.refresh_settings();
        core.read_time();
        core.start_clock();
        let mut locked = server.keyspace.lock(shards);
        core.begin_unit();
        core.runner.effects.listened = None;
        core.begin_several();
        let result = work(core, client, &mut locked);
        core.write_journal(&mut locked);
        let pending = locked.pending_hand_offs();
        drop(locked);
        let changes = &mut core.runner.changes;
        changes.found_due.clear();
        changes.was_flushed = false;
        changes.was_emptied = false;
        core.flush_counts();
        server.journal.notify();
        if !pending.is_empty() {
            // They are for workers to complete: those have the clients.
            let worker = pending[0] % server.workers.len();
            server.workers[worker].send(Message::HandOffs { shards: pending });
        }
        result
    }
}

const FLUSHSLOT: &str = "cluster|flushslot";

/// The command that empties a slot.
pub(crate) fn flush_of(slot: &str) -> [&[u8]; 3] {
    [b"CLUSTER", b"FLUSHSLOT", slot.as_bytes()]
}

/// Takes slots out as a whole. No client keeps copies of keys.
fn take_slots(core: &mut Core, slots: &SlotSet, locked: &mut Locked<'static>) {
    let numbers: Vec<u16> = slots.iter().collect();
    let (emptied, count) = core.server.keyspace.discard_slots_of(locked, &numbers);
    core.runner.changes.dirty += count;
    if core.runner.effects.is_journalled {
        // One by one: replicas need not see it in one step, and would hold all locks for it.
        for slot in emptied {
            core.runner.effects.journal.command(0, &flush_of(&slot.to_string()));
            core.write_journal(locked);
        }
    }
}

fn run_one(
    core: &mut Core,
    client: &mut Client,
    entry: &'static Entry,
    args: Args<'_>,
    locked: &mut Locked<'static>,
) -> CommandResult {
    let mut output = Output::new();
    let mut reply = Reply::new(&mut output, client.protocol);
    core.run_among_others(client, Role::Transaction, &mut reply, entry, args, locked)
}
