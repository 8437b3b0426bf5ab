//! CLIENT: what a connection tells of itself and asks for itself. What concerns other connections is in `list` and
//! `pause`.

use rubine_commands::{CommandError, CommandResult, Flags};

use super::{list, pause, tracking};
use crate::client::{ClientFlags, ReplyMode};
use crate::commands::help::HELP;
use crate::core::{ServerCommand, Session};

pub(super) const CLIENT: ServerCommand = ServerCommand::container(
    "CLIENT",
    bare,
    &[
        tracking::CACHING,
        CAPA,
        GETNAME,
        tracking::GETREDIR,
        HELP,
        ID,
        IMPORT_SOURCE,
        list::INFO,
        list::KILL,
        list::LIST,
        NO_EVICT,
        NO_TOUCH,
        pause::PAUSE,
        REPLY,
        SETINFO,
        SETNAME,
        tracking::TRACKING,
        tracking::TRACKINGINFO,
        pause::UNBLOCK,
        pause::UNPAUSE,
    ],
)
.summary("A container of commands about connections.")
.since("2.4.0")
.complexity("Depends on the subcommand.")
.flag(Flags::SENTINEL);

/// The flags of what is allowed at any time outside scripts.
const FLAGS: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
/// The same, for what is also allowed while a script is slow.
const FLAGS_BUSY: Flags = FLAGS.union(Flags::ALLOW_BUSY);

fn bare(_: &mut Session<'_>) -> CommandResult {
    Err(CommandError::Arity("client".into()))
}

const ID: ServerCommand = ServerCommand::declare("ID", id)
    .summary("Returns the number of the connection.")
    .since("5.0.0")
    .complexity("O(1)")
    .arity(2)
    .flag(FLAGS_BUSY.union(Flags::SENTINEL));

fn id(session: &mut Session<'_>) -> CommandResult {
    session.reply.integer(session.client.id as i64);
    Ok(())
}

const GETNAME: ServerCommand = ServerCommand::declare("GETNAME", getname)
    .summary("Returns the name of the connection.")
    .since("2.6.9")
    .complexity("O(1)")
    .arity(2)
    .flag(FLAGS_BUSY.union(Flags::SENTINEL));

fn getname(session: &mut Session<'_>) -> CommandResult {
    let names = session.client.info.names.lock();
    if names.name.is_empty() {
        session.reply.null();
    } else {
        session.reply.bulk(&names.name);
    }
    Ok(())
}

const SETNAME: ServerCommand = ServerCommand::declare("SETNAME", setname)
    .summary("Names the connection; an empty name takes the name away.")
    .syntax("connection-name")
    .since("2.6.9")
    .complexity("O(1)")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(3)
    .flag(FLAGS_BUSY.union(Flags::SENTINEL));

fn setname(session: &mut Session<'_>) -> CommandResult {
    let name = check_name(session.args.at(2))?;
    session.client.info.names.lock().name = name.to_vec();
    session.reply.ok();
    Ok(())
}

/// A name that a connection may have: nothing that would tear CLIENT LIST apart.
pub(super) fn check_name(name: &[u8]) -> Result<&[u8], CommandError> {
    if is_word(name) {
        return Ok(name);
    }
    Err(CommandError::text(
        "ERR Client names cannot contain spaces, newlines or special characters.",
    ))
}

fn is_word(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

const SETINFO: ServerCommand = ServerCommand::declare("SETINFO", setinfo)
    .summary("Tells the name or version of the library that is used.")
    .syntax("LIB-NAME libname | LIB-VER libver")
    .since("7.2.0")
    .complexity("O(1)")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(4)
    .flag(FLAGS_BUSY.union(Flags::SENTINEL));

fn setinfo(session: &mut Session<'_>) -> CommandResult {
    let (attribute, value) = (session.args.at(2), session.args.at(3));
    let shown = || String::from_utf8_lossy(attribute);
    let is_name = attribute.eq_ignore_ascii_case(b"LIB-NAME");
    if !is_name && !attribute.eq_ignore_ascii_case(b"LIB-VER") {
        return Err(CommandError::Other(format!("ERR Unrecognized option '{}'", shown()).into()));
    }
    if !is_word(value) {
        let text =
            format!("ERR {} cannot contain spaces, newlines or special characters.", shown());
        return Err(CommandError::Other(text.into()));
    }
    {
        let mut names = session.client.info.names.lock();
        let place = if is_name { &mut names.library_name } else { &mut names.library_version };
        *place = value.to_vec();
    }
    session.reply.ok();
    Ok(())
}

const NO_EVICT: ServerCommand = ServerCommand::declare("NO-EVICT", no_evict)
    .summary("Keeps the connection when connections are closed to save memory.")
    .syntax("ON | OFF")
    .since("7.0.0")
    .complexity("O(1)")
    .arity(3)
    .flag(FLAGS_BUSY.union(Flags::ADMIN).union(Flags::SENTINEL));

fn no_evict(session: &mut Session<'_>) -> CommandResult {
    switch(session, ClientFlags::NO_EVICT)
}

const NO_TOUCH: ServerCommand = ServerCommand::declare("NO-TOUCH", no_touch)
    .summary("Lets the connection's commands leave LRU and LFU values alone.")
    .syntax("ON | OFF")
    .since("7.2.0")
    .complexity("O(1)")
    .arity(3)
    .flag(FLAGS_BUSY);

fn no_touch(session: &mut Session<'_>) -> CommandResult {
    switch(session, ClientFlags::NO_TOUCH)
}

const IMPORT_SOURCE: ServerCommand = ServerCommand::declare("IMPORT-SOURCE", import_source)
    .summary("Marks the connection as one that brings data while import-mode is on.")
    .syntax("ON | OFF")
    .since("8.1.0")
    .complexity("O(1)")
    .arity(3)
    .flag(FLAGS);

fn import_source(session: &mut Session<'_>) -> CommandResult {
    let is_off = session.args.at(2).eq_ignore_ascii_case(b"OFF");
    if !is_off && !session.core.server.config.load().import_mode {
        return Err(CommandError::text("ERR Server is not in import mode"));
    }
    switch(session, ClientFlags::IMPORT_SOURCE)
}

/// Sets a flag as the argument says, ON or OFF.
fn switch(session: &mut Session<'_>, flag: ClientFlags) -> CommandResult {
    let argument = session.args.at(2);
    if argument.eq_ignore_ascii_case(b"ON") {
        session.client.flags |= flag;
    } else if argument.eq_ignore_ascii_case(b"OFF") {
        session.client.flags -= flag;
    } else {
        return Err(CommandError::Syntax);
    }
    session.reply.ok();
    Ok(())
}

const CAPA: ServerCommand = ServerCommand::declare("CAPA", capa)
    .summary("Tells what the client is able to do.")
    .syntax("capability [capability ...]")
    .since("8.0.0")
    .complexity("O(1)")
    .arity(-3)
    .flag(FLAGS_BUSY);

fn capa(session: &mut Session<'_>) -> CommandResult {
    // What is not known is none of our business: the client may be newer.
    if session.args.from(2).any(|it| it.eq_ignore_ascii_case(b"REDIRECT")) {
        session.client.flags |= ClientFlags::CAPA_REDIRECT;
    }
    session.reply.ok();
    Ok(())
}

const REPLY: ServerCommand = ServerCommand::declare("REPLY", reply)
    .summary("Turns the replies to this connection on or off, or leaves out the next.")
    .syntax("ON | OFF | SKIP")
    .since("3.2.0")
    .complexity("O(1)")
    .arity(3)
    .flag(FLAGS_BUSY.union(Flags::NO_MULTI).union(Flags::SENTINEL));

fn reply(session: &mut Session<'_>) -> CommandResult {
    let mode = session.args.at(2);
    if mode.eq_ignore_ascii_case(b"ON") {
        session.client.sending.reply_mode = ReplyMode::On;
        session.reply.ok();
    } else if mode.eq_ignore_ascii_case(b"OFF") {
        session.client.sending.reply_mode = ReplyMode::Off;
    } else if mode.eq_ignore_ascii_case(b"SKIP") {
        if session.client.sending.reply_mode != ReplyMode::Off {
            session.client.sending.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(CommandError::Syntax);
    }
    Ok(())
}
