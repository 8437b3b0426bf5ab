//! Commands about the connection itself: HELLO, AUTH, PING, SELECT and their relatives.

use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_resp::writer::Protocol;

use crate::client::ClientFlags;
use crate::session::{ServerCommand, Session};

pub(crate) const COMMANDS: &[ServerCommand] = &[ECHO, PING, QUIT, SELECT];

const PING: ServerCommand = ServerCommand::declare("PING", ping)
    .summary("Answers PONG, or what it is given.")
    .syntax("[message]")
    .complexity("O(1)")
    .arity(-1)
    .flag(Flags::FAST.union(Flags::SENTINEL));

fn ping(session: &mut Session<'_>) -> CommandResult {
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
    .complexity("O(1)")
    .arity(2)
    .flag(Flags::FAST.union(Flags::LOADING).union(Flags::STALE));

fn echo(session: &mut Session<'_>) -> CommandResult {
    session.reply.bulk(session.args.at(1));
    Ok(())
}

const SELECT: ServerCommand = ServerCommand::declare("SELECT", select)
    .summary("Chooses the database of this connection.")
    .syntax("index")
    .complexity("O(1)")
    .arity(2)
    .flag(Flags::FAST.union(Flags::LOADING).union(Flags::STALE));

fn select(session: &mut Session<'_>) -> CommandResult {
    let index = parse_i64(session.args.at(1)).ok_or(CommandError::NotInteger)?;
    let databases = session.core.settings.limits.databases;
    let db = usize::try_from(index).ok().filter(|&it| it < databases);
    session.client.db = db.ok_or(CommandError::DbOutOfRange)?;
    session.reply.ok();
    Ok(())
}

const QUIT: ServerCommand = ServerCommand::declare("QUIT", quit)
    .summary("Ends the connection after the replies are sent.")
    .complexity("O(1)")
    .arity(-1)
    .flag(
        Flags::ALLOW_BUSY
            .union(Flags::FAST)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::NOSCRIPT)
            .union(Flags::NO_AUTH),
    );

fn quit(session: &mut Session<'_>) -> CommandResult {
    session.client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
    session.reply.ok();
    Ok(())
}

#[expect(dead_code, reason = "HELLO comes next")]
fn _protocol(_: Protocol) {}
