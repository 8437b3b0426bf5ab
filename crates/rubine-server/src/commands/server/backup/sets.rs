//! BACKUP in Redis's form: a set of files beside the data, which somebody else copies away. Writes none itself.

use std::os::unix::ffi::OsStrExt as _;

use rubine_commands::{CommandError, CommandResult, Flags};

use crate::core::{ServerCommand, Session};
use crate::server::Asker;

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);

const fn declare(name: &'static str, run: crate::core::SessionHandler) -> ServerCommand {
    ServerCommand::declare(name, run).since("8.10.0").complexity("O(1)").arity(2).flag(FLAGS)
}

pub(super) const START: ServerCommand = declare("START", start)
    .summary("Begins a set of files in backupdirname: a base, and what happens from then on.");

fn start(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    server.operating.backups.set.start(server.storage()).map_err(|it| refusal(&it))?;
    session.reply.ok();
    Ok(())
}

pub(super) const SEAL: ServerCommand = declare("SEAL", seal)
    .summary("Completes the set: what happened up to now is in it, and nothing later.")
    .flag(FLAGS.union(Flags::NO_MULTI));

fn seal(session: &mut Session<'_>) -> CommandResult {
    let core = &mut *session.core;
    let asker =
        Asker { worker: core.index, client: session.client.id, protocol: session.client.protocol };
    core.block_until_answered(session.client);
    let server = core.server;
    let on_sealed = Box::new(move |sealed: Result<(), String>| {
        asker.answer(&server.workers, |reply| match sealed {
            Ok(()) => reply.ok(),
            Err(reason) => reply.error(&format!("ERR {reason}")),
        });
    });
    server.operating.backups.set.seal(server.journal.end(), on_sealed);
    Ok(())
}

pub(super) const STATUS: ServerCommand =
    declare("STATUS", status).summary("Returns how far the set is.");

fn status(session: &mut Session<'_>) -> CommandResult {
    let status = session.core.server.operating.backups.set.status();
    let reply = &mut session.reply;
    reply.map(4);
    reply.bulk(b"state");
    reply.bulk(status.phase.name().as_bytes());
    reply.bulk(b"error");
    reply.bulk(status.error.as_bytes());
    reply.bulk(b"start_time");
    reply.integer(status.start_time);
    reply.bulk(b"end_time");
    reply.integer(status.end_time);
    Ok(())
}

pub(super) const LIST: ServerCommand = declare("LIST", list)
    .summary("Returns the paths of the set's files that will not change any more.");

fn list(session: &mut Session<'_>) -> CommandResult {
    let files = session.core.server.operating.backups.set.files();
    session.reply.array(files.len());
    files.iter().for_each(|path| session.reply.bulk(path.as_os_str().as_bytes()));
    Ok(())
}

pub(super) const ABORT: ServerCommand =
    declare("ABORT", abort).summary("Gives up the set that is being made, and removes its files.");

fn abort(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    server.operating.backups.set.abort(server.storage()).map_err(|it| refusal(&it))?;
    session.reply.ok();
    Ok(())
}

pub(super) const CLEANUP: ServerCommand =
    declare("CLEANUP", cleanup).summary("Removes the files of a set that is sealed, or failed.");

fn cleanup(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    server.operating.backups.set.clean_up(server.storage()).map_err(|it| refusal(&it))?;
    session.reply.ok();
    Ok(())
}

fn refusal(reason: &str) -> CommandError {
    CommandError::quoting(&[b"ERR ", reason.as_bytes()])
}
