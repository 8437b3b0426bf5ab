//! SAVE, BGSAVE, LASTSAVE: the data as a file. Saves nothing itself: threads of their own do.

use rubine_commands::{Acl, CommandError, CommandResult, Flags};
use rubine_keyspace::ShardSet;

use crate::core::{ServerCommand, Session};
use crate::server::Asker;
use rubine_storage::dumps;
use rubine_storage::saves::{Kind, Outcome, Start};

const SAVING: &str = "ERR Background save already in progress";

pub(super) const LASTSAVE: ServerCommand = ServerCommand::declare("LASTSAVE", lastsave)
    .summary("Returns when the data was last saved, or else when the server started.")
    .since("1.0.0")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(1)
    .flag(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
    .also(Acl::ADMIN.union(Acl::DANGEROUS));

fn lastsave(session: &mut Session<'_>) -> CommandResult {
    session.reply.integer(session.core.server.persistence.saves.last_saved_at());
    Ok(())
}

pub(super) const SAVE: ServerCommand = ServerCommand::declare("SAVE", save)
    .summary("Saves all data to the dump file, and replies when it is there. Nobody else waits.")
    .since("1.0.0")
    .complexity("O(N) with N the number of keys, on threads of their own.")
    .arity(1)
    .flag(
        Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI),
    );

fn save(session: &mut Session<'_>) -> CommandResult {
    // Under these locks the image is made at once.
    let Some(locked) = session.lock(&ShardSet::All) else { return Ok(()) };
    let core = &mut *session.core;
    let asker =
        Asker { worker: core.index, client: session.client.id, protocol: session.client.protocol };
    let server = core.server;
    let on_end = move |outcome| {
        asker.answer(&server.workers, |reply| match outcome {
            Outcome::Saved => reply.ok(),
            Outcome::Failed | Outcome::Cancelled => reply.error("ERR"),
        });
    };
    match dumps::start(server.storage(), Kind::Foreground, core.now, locked, Box::new(on_end)) {
        Start::Started => core.block_until_answered(session.client),
        Start::Saving => return Err(CommandError::text(SAVING)),
        Start::Rewriting | Start::Failed => return Err(CommandError::text("ERR")),
    }
    Ok(())
}

pub(super) const BGSAVE: ServerCommand = ServerCommand::declare("BGSAVE", bgsave)
    .summary("Begins to save all data to the dump file.")
    .syntax("[SCHEDULE | CANCEL]")
    .since("1.0.0")
    .complexity("O(1): the rest is done on threads of their own.")
    .arity(-1)
    .flag(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING));

fn bgsave(session: &mut Session<'_>) -> CommandResult {
    let mut is_schedule = false;
    if 1 < session.args.len() {
        let option = session.args.at(1).to_ascii_lowercase();
        match (option.as_slice(), session.args.len()) {
            (b"schedule", 2) => is_schedule = true,
            (b"cancel", 2) => return cancel(session),
            _ => return Err(CommandError::Syntax),
        }
    }
    let server = session.core.server;
    let saves = &server.persistence.saves;
    if session.locked.is_some() {
        if saves.report(session.core.now).is_saving_in_background {
            return Err(CommandError::text(SAVING));
        }
        // The image shall be one that has the whole transaction.
        tracing::info!("Background saving scheduled to run after transaction execution");
        saves.schedule();
        session.reply.simple("Background saving scheduled");
        return Ok(());
    }
    // Under these locks the image is made at once.
    let Some(locked) = session.lock(&ShardSet::All) else { return Ok(()) };
    let on_end = Box::new(|_| {});
    match dumps::start(server.storage(), Kind::Background, session.core.now, locked, on_end) {
        Start::Started => session.reply.simple("Background saving started"),
        Start::Saving => return Err(CommandError::text(SAVING)),
        Start::Rewriting if is_schedule => {
            tracing::info!("Background saving scheduled due to user request");
            saves.schedule();
            session.reply.simple("Background saving scheduled");
        }
        Start::Rewriting => {
            return Err(CommandError::text(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            ));
        }
        Start::Failed => return Err(CommandError::text("ERR")),
    }
    Ok(())
}

fn cancel(session: &mut Session<'_>) -> CommandResult {
    let saves = &session.core.server.persistence.saves;
    if saves.cancel_background() {
        tracing::info!("Background saving will be aborted due to user request");
        session.reply.simple("Background saving cancelled");
    } else if saves.take_schedule() {
        tracing::info!("Scheduled background saving will be cancelled due to user request");
        session.reply.simple("Scheduled background saving cancelled");
    } else {
        return Err(CommandError::text(
            "ERR Background saving is currently not in progress or scheduled",
        ));
    }
    Ok(())
}
