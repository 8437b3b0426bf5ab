//! Scripts in a log: Redis before version 5 wrote them as they came, not what they did. They run on the thread that reads the
//! log, with all shards locked, and so do the commands that stand in one unit with them.

use std::sync::Arc;

use parking_lot::Mutex;
use rubine_commands::Args;
use rubine_keyspace::ShardSet;
use rubine_resp::writer::{Output, Reply};

use super::unit::Role;
use super::{Core, SessionHandler};
use crate::access;
use crate::client::identity::Identity;
use crate::client::{Client, ClientInfo};
use crate::command_table::Entry;
use crate::server::{RunLogged, Server};

/// Who runs them: made when the first one comes.
pub(crate) fn runner_of_scripts(
    server: &'static Server,
    handlers: &'static [SessionHandler],
) -> RunLogged {
    let replaying: Mutex<Option<Replaying>> = Mutex::new(None);
    Box::new(move |db, commands| {
        let mut replaying = replaying.lock();
        if replaying.is_none() {
            *replaying = Some(Replaying::new(server, handlers).map_err(|it| it.to_string())?);
        }
        if let Some(replaying) = &mut *replaying {
            replaying.run(db, commands);
        }
        Ok(())
    })
}

struct Replaying {
    core: Core,
    /// A client of nobody.
    client: Client,
}

impl Replaying {
    fn new(server: &'static Server, handlers: &'static [SessionHandler]) -> std::io::Result<Self> {
        let addresses = (String::new(), String::new());
        let info = Arc::new(ClientInfo::new(0, 0, addresses, 0, true, 0));
        let trusted = access::trusted(&server.commands, &server.config.load());
        let identity = Identity::trusted(&trusted);
        let client = Client::without_connection(info, identity)?;
        // No script of a client runs while a log is read, so that the first thread for scripts has its counters to spare.
        let core = Core::new(server, handlers, server.workers.len());
        Ok(Self { core, client })
    }

    fn run(&mut self, db: usize, commands: &[(&'static Entry, Args<'_>)]) {
        let Self { core, client } = self;
        core.settings = core.server.settings.load_full();
        core.read_time();
        client.db = db;
        let mut locked = core.server.keyspace.lock(&ShardSet::All);
        core.begin_unit();
        // It is in the log already, and nobody listens yet.
        core.runner.effects.is_journalled = false;
        core.runner.effects.listened = None;
        core.begin_undoable();
        let mut output = Output::new();
        for &(entry, args) in commands {
            let mut reply = Reply::new(&mut output, client.protocol);
            let result =
                core.run_among_others(client, Role::Script, &mut reply, entry, args, &mut locked);
            if let Err(error) = result {
                tracing::warn!("{} of the append-only file failed: {error}", entry.full_name);
            }
            core.runner.effects.wait = None;
            output = Output::new();
        }
        core.keep();
        core.deferred.clear();
        core.runner.effects.events.clear();
        drop(locked);
        core.forget_undo();
        core.flush_counts();
    }
}
