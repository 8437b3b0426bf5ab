//! BGREWRITEAOF, and the forms of DEBUG that concern the append-only file.

use std::sync::atomic::Ordering;

use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult, Flags};

use crate::core::{ServerCommand, Session};
use crate::persistence::load::{
    end_reload, revive_libraries, wait_for_running_commands, wake_waiters,
};
use crate::server::Asker;
use rubine_storage::{Trouble, load, log_load};

pub(super) const BGREWRITEAOF: ServerCommand = ServerCommand::declare("BGREWRITEAOF", bgrewriteaof)
    .summary("Makes the append-only file as short as the data set allows, in the background.")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(1)
    .flag(Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::NO_ASYNC_LOADING));

fn bgrewriteaof(session: &mut Session<'_>) -> CommandResult {
    if !session.core.server.aof.request_rewrite() {
        return Err(CommandError::text(
            "ERR Background append only file rewriting already in progress",
        ));
    }
    let is_saving = session.core.server.persistence.saves.is_busy();
    session.reply.simple(if is_saving {
        "Background append only file rewriting scheduled"
    } else {
        "Background append only file rewriting started"
    });
    Ok(())
}

pub(super) const AOF_FLUSH_SLEEP: ServerCommand = super::form("AOF-FLUSH-SLEEP", aof_flush_sleep)
    .summary("Lets each write to the append-only file wait for some microseconds.")
    .syntax("microseconds")
    .arity(3);

fn aof_flush_sleep(session: &mut Session<'_>) -> CommandResult {
    let micros = parse_i64(session.args.at(2)).and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
    session.core.server.aof.flush_sleep_us.store(micros, Ordering::Relaxed);
    session.reply.ok();
    Ok(())
}

pub(super) const LOADAOF: ServerCommand = super::form("LOADAOF", loadaof)
    .summary("Drops all keys and makes them anew from the append-only file.")
    .flag(Flags::NO_MULTI);

fn loadaof(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    let asker = Asker {
        worker: session.core.index,
        client: session.client.id,
        protocol: session.client.protocol,
    };
    session.core.block_until_answered(session.client);
    let run = move || {
        load::announce(server.storage(), load::log_bytes(&server.config.load()));
        wait_for_running_commands(server);
        let outcome = log_load::reload(server.storage()).and_then(|()| revive_libraries(server));
        end_reload(server);
        server.persistence.set_trouble(Trouble::LOADING, false);
        asker.answer(&server.workers, |reply| match outcome {
            Ok(()) => {
                tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
                reply.ok();
            }
            Err(reason) => {
                tracing::warn!("DEBUG LOADAOF: {reason}");
                reply.error(FAILED);
            }
        });
        wake_waiters(server);
    };
    if let Err(error) = std::thread::Builder::new().name("reload".to_owned()).spawn(run) {
        tracing::warn!("DEBUG LOADAOF: no thread can be started: {error}");
        asker.answer(&server.workers, |reply| reply.error(FAILED));
    }
    Ok(())
}

const FAILED: &str = "ERR Error trying to load the AOF files, check server logs.";
