//! Data commands that the server runs for itself, on a thread that has no clients. They are journalled as those of a client,
//! and break WATCH and copies of keys as those do, but there are no events of them: what they remove was not deleted, it is
//! elsewhere.

use std::sync::Arc;

use rubine_commands::{Args, CommandError, CommandResult, shards_of};
use rubine_resp::writer::{Output, Reply};

use super::unit::Role;
use super::{Core, SessionHandler};
use crate::access;
use crate::client::identity::Identity;
use crate::client::request::encode;
use crate::client::{Client, ClientInfo};
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
        let Self { core, client } = self;
        let server = core.server;
        let entry = server.commands.all().iter().find(|it| it.full_name == full_name).copied();
        let entry = entry.ok_or_else(|| CommandError::Other(full_name.into()))?;
        let (bytes, ranges) = encode(words.iter().copied());
        let args = Args::new(&bytes, &ranges);
        core.refresh_settings();
        core.read_time();
        core.start_clock();
        let mut locked = server.keyspace.lock(&shards_of(entry.spec, args, true));
        core.begin_unit();
        core.runner.effects.listened = None;
        core.begin_several();
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, client.protocol);
        let role = Role::Transaction;
        let result = core.run_among_others(client, role, &mut reply, entry, args, &mut locked);
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
