//! CLIENT LIST, INFO and KILL. They know other clients only by what those have published; whoever asks is published
//! afresh, so that it sees itself as it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rubine_acl::Users;
use rubine_commands::{CommandError, CommandResult, Flags};

use super::filter::{Asker, ClientFilter, Known};
use crate::client::line::add_line;
use crate::client::{ClientFlags, ClientInfo};
use crate::core::{ServerCommand, Session};

const FLAGS: Flags =
    Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SENTINEL);

pub(super) const INFO: ServerCommand = ServerCommand::declare("INFO", info)
    .summary("Returns what CLIENT LIST says of this connection.")
    .since("6.2.0")
    .complexity("O(1)")
    .tips("nondeterministic_output")
    .arity(2)
    .flag(FLAGS);

fn info(session: &mut Session<'_>) -> CommandResult {
    publish_self(session);
    let mut text = String::new();
    let info = &session.client.info;
    add_line(&mut text, &session.core.server.commands, info, session.core.now);
    session.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

pub(super) const LIST: ServerCommand = ServerCommand::declare("LIST", list)
    .summary("Returns a line about every connection, or about those that are asked for.")
    .syntax(
        "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]] [USER username] [ADDR ip:port] \
         [LADDR ip:port] [SKIPME <YES | NO>] [MAXAGE maxage] [NAME name] [IDLE idle] [FLAGS flags] [LIB-NAME lib-name] \
         [LIB-VER lib-ver] [DB db] [CAPA capa] [IP ip] [NOT-TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] \
         [NOT-ID client-id [client-id ...]] [NOT-USER username] [NOT-ADDR ip:port] [NOT-LADDR ip:port] [NOT-NAME name] \
         [NOT-FLAGS flags] [NOT-LIB-NAME lib-name] [NOT-LIB-VER lib-ver] [NOT-DB db] [NOT-CAPA capa] [NOT-IP ip]",
    )
    .since("2.4.0")
    .complexity("O(N) with N the number of connections.")
    .tips("nondeterministic_output")
    .arity(-2)
    .flag(FLAGS.union(Flags::ADMIN));

fn list(session: &mut Session<'_>) -> CommandResult {
    let asker = asker(session);
    let mut filter = ClientFilter::new(false);
    match session.args.len() {
        2 => {}
        3 => return Err(CommandError::Syntax),
        _ => filter.parse(session.args, 2, known(session, &session.core.server.access.users()))?,
    }
    publish_self(session);
    let server = session.core.server;
    let mut text = String::new();
    loop {
        for info in server.clients.list() {
            if filter.lets_through(&info, asker) {
                add_line(&mut text, &server.commands, &info, asker.now);
            }
        }
        // Another worker may have made a client's output longer than all may be together, and not looked at that yet.
        if !session.core.evict_clients_at_once() {
            break;
        }
        text.clear();
    }
    session.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

pub(super) const KILL: ServerCommand = ServerCommand::declare("KILL", kill)
    .summary("Closes the connection from an address, or all that are asked for.")
    .syntax(
        "ip:port | <[ID client-id [client-id ...]] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | \
         [USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | [MAXAGE maxage] | [NAME name] | \
         [IDLE idle] | [FLAGS flags] | [LIB-NAME lib-name] | [LIB-VER lib-ver] | [DB db] | [CAPA capa] | [IP ip] | \
         [NOT-ID client-id [client-id ...]] | [NOT-TYPE type] | [NOT-USER username] | [NOT-ADDR ip:port] | \
         [NOT-LADDR ip:port] | [NOT-NAME name] | [NOT-FLAGS flags] | [NOT-LIB-NAME lib-name] | [NOT-LIB-VER lib-ver] | \
         [NOT-DB db] | [NOT-CAPA capa] | [NOT-IP ip] [...]>",
    )
    .since("2.4.0")
    .complexity("O(N) with N the number of connections.")
    .arity(-3)
    .flag(FLAGS.union(Flags::ADMIN));

fn kill(session: &mut Session<'_>) -> CommandResult {
    let asker = asker(session);
    let is_old_form = session.args.len() == 3;
    let filter = if is_old_form {
        ClientFilter::of_address(session.args.at(2))
    } else {
        let mut filter = ClientFilter::new(true);
        filter.parse(session.args, 2, known(session, &session.core.server.access.users()))?;
        filter
    };
    publish_self(session);
    let server = session.core.server;
    let mut of_others = Vec::new();
    let mut killed = 0;
    for info in server.clients.list() {
        if !filter.lets_through(&info, asker) {
            continue;
        }
        killed += 1;
        if info.id == asker.id {
            // It is told how many went with it, and is gone then.
            server.clients.remove(info.id);
            session.client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
        } else {
            server.kill(&info);
            if info.worker != session.core.index {
                of_others.push(info);
            }
        }
    }
    if session.locked.is_none() {
        wait_for_end(&of_others);
    }
    match (is_old_form, killed) {
        (true, 0) => return Err(CommandError::text("ERR No such client")),
        (true, _) => session.reply.ok(),
        (false, killed) => session.reply.integer(killed),
    }
    Ok(())
}

/// Whoever has the reply shall find the connections closed, as with Redis: waits for their workers, though not for long,
/// since one of them may be waiting for this one.
fn wait_for_end(killed: &[Arc<ClientInfo>]) {
    const STEP: Duration = Duration::from_micros(50);
    const STEPS_MAX: usize = 100;
    let mut steps = 0;
    for info in killed {
        while !info.is_closed.load(Ordering::Acquire) && steps < STEPS_MAX {
            std::thread::sleep(STEP);
            steps += 1;
        }
    }
}

fn asker(session: &Session<'_>) -> Asker {
    Asker { id: session.client.id, now: session.core.now }
}

fn known<'a>(session: &Session<'_>, users: &'a Users) -> Known<'a> {
    Known { databases: session.core.settings.limits.databases, users }
}

/// Publishes the client that asks as it is now.
fn publish_self(session: &mut Session<'_>) {
    let Session { client, args, core, .. } = session;
    client.traffic.last_interaction = core.now;
    client.publish();
    client.info.argument_bytes.store(args.byte_count(), Ordering::Relaxed);
}
