//! Commands about the connection itself: HELLO, AUTH, PING, SELECT and their relatives, CLIENT with all that is behind
//! it, WAIT. None of them touches a key.

mod auth;
mod client;
mod filter;
mod list;
mod mode;
mod pause;
mod tracking;
mod wait;

use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult, Databases, Flags};
use rubine_resp::writer::Protocol;

use crate::client::ClientFlags;
use crate::core::{ServerCommand, Session};

pub(crate) use mode::{COMMANDS as CLUSTER_COMMANDS, NO_CLUSTER};
pub(crate) use pause::timeout_ms;
pub(crate) use wait::COMMANDS as WAIT_COMMANDS;

pub(crate) const COMMANDS: &[ServerCommand] =
    &[auth::AUTH, client::CLIENT, ECHO, auth::HELLO, PING, QUIT, auth::RESET, SELECT];

const PING: ServerCommand = ServerCommand::declare("PING", ping)
    .summary("Answers PONG, or what it is given.")
    .syntax("[message]")
    .since("1.0.0")
    .complexity("O(1)")
    .tips("request_policy:all_shards response_policy:all_succeeded")
    .arity(-1)
    .flag(Flags::FAST.union(Flags::SENTINEL).union(Flags::WHILE_SUBSCRIBED))
    .flag(Flags::ASKS_FOR_HEALTH);

fn ping(session: &mut Session<'_>) -> CommandResult {
    let listens = session.client.flags.contains(ClientFlags::PUBSUB);
    if listens && session.client.protocol == Protocol::Resp2 && session.args.len() <= 2 {
        // Among messages, the answer looks like one.
        session.reply.array(2);
        session.reply.bulk(b"pong");
        session.reply.bulk(session.args.get(1).unwrap_or_default());
        return Ok(());
    }
    match session.args.len() {
        1 => session.reply.simple("PONG"),
        2 => session.reply.bulk(session.args.at(1)),
        _ => return Err(CommandError::Arity("ping".into())),
    }
    Ok(())
}

const ECHO: ServerCommand = ServerCommand::declare("ECHO", echo)
    .summary("Answers what it is given.")
    .syntax("message")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(2)
    .flag(Flags::FAST.union(Flags::LOADING).union(Flags::STALE));

fn echo(session: &mut Session<'_>) -> CommandResult {
    session.reply.bulk(session.args.at(1));
    Ok(())
}

const SELECT: ServerCommand = ServerCommand::declare("SELECT", select)
    .databases(Databases::Selects(|_, visit| visit(1)))
    .summary("Chooses the database of this connection.")
    .syntax("index")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(2)
    .flag(Flags::FAST.union(Flags::LOADING).union(Flags::STALE).union(Flags::ALLOW_BUSY));

fn select(session: &mut Session<'_>) -> CommandResult {
    let index = parse_i64(session.args.at(1)).filter(|&it| i32::try_from(it).is_ok());
    let index = index.ok_or(CommandError::NotInteger)?;
    let databases = session.core.settings.limits.databases;
    let db = usize::try_from(index).ok().filter(|&it| it < databases);
    session.client.db = db.ok_or(CommandError::DbOutOfRange)?;
    session.reply.ok();
    Ok(())
}

const QUIT: ServerCommand = ServerCommand::declare("QUIT", quit)
    .summary("Ends the connection after the replies are sent.")
    .since("1.0.0")
    .complexity("O(1)")
    .arity(-1)
    .flag(auth::FLAGS.union(Flags::WHILE_SUBSCRIBED).union(Flags::NEVER_QUEUED));

fn quit(session: &mut Session<'_>) -> CommandResult {
    session.client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
    session.reply.ok();
    Ok(())
}
