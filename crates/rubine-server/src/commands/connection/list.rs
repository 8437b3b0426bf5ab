//! CLIENT LIST, INFO and KILL. They know other clients only by what those have published; whoever asks is published
//! afresh, so that it sees itself as it is.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rubine_commands::{CommandError, CommandResult, Flags};

use super::filter::{Asker, ClientFilter};
use crate::client::{ClientFlags, ClientInfo, NO_COMMAND};
use crate::pubsub::Kind;
use crate::server::Server;
use crate::session::{ServerCommand, Session};

const FLAGS: Flags =
    Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SENTINEL);

/// The letter of each flag, in the order in which CLIENT LIST shows them.
const LETTERS: &[(char, ClientFlags)] = &[
    ('P', ClientFlags::PUBSUB),
    ('x', ClientFlags::MULTI),
    ('b', ClientFlags::BLOCKED),
    ('d', ClientFlags::DIRTY_WATCH),
    ('c', ClientFlags::CLOSE_AFTER_REPLY),
    ('A', ClientFlags::CLOSE_NOW),
    ('U', ClientFlags::UNIX_SOCKET),
    ('r', ClientFlags::READONLY),
    ('e', ClientFlags::NO_EVICT),
    ('T', ClientFlags::NO_TOUCH),
    ('I', ClientFlags::IMPORT_SOURCE),
];

/// The bytes of a client's output that CLIENT LIST counts as its fixed buffer.
pub(crate) const FIXED_OUTPUT_BYTES: usize = 16 * 1024;

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
    add_line(&mut text, session.core.server, info, session.core.now);
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
        _ => filter.parse(session.args, 2, asker.databases)?,
    }
    publish_self(session);
    let server = session.core.server;
    let mut text = String::new();
    for info in server.clients.list() {
        if filter.lets_through(&info, asker) {
            add_line(&mut text, server, &info, asker.now);
        }
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
        filter.parse(session.args, 2, asker.databases)?;
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
    Asker {
        id: session.client.id,
        now: session.core.now,
        databases: session.core.settings.limits.databases,
    }
}

/// Publishes the client that asks as it is now.
fn publish_self(session: &mut Session<'_>) {
    let Session { client, args, core, .. } = session;
    client.last_interaction = core.now;
    client.publish();
    client.info.argument_bytes.store(args.byte_count(), Ordering::Relaxed);
}

/// Whether the flag with that letter is set.
pub(super) fn has_flag(flags: ClientFlags, letter: u8) -> bool {
    LETTERS.iter().any(|&(it, flag)| it == char::from(letter) && flags.contains(flag))
}

/// The letters of `flags`, `N` for none.
pub(super) fn flag_letters(flags: ClientFlags) -> String {
    let letters: String = LETTERS
        .iter()
        .filter(|(_, flag)| flags.contains(*flag))
        .map(|(letter, _)| letter)
        .collect();
    if letters.is_empty() { "N".to_owned() } else { letters }
}

/// Appends what is known of a client, as `id=1 addr=.. ..`, and a line end.
pub(crate) fn add_line(text: &mut String, server: &Server, info: &ClientInfo, now: i64) {
    let seconds_since = |moment: i64| (now / 1000 - moment / 1000).max(0);
    let number = |atomic: &std::sync::atomic::AtomicUsize| atomic.load(Ordering::Relaxed);
    let lossy = String::from_utf8_lossy;
    let names = info.names.lock().clone();
    let flags = info.flags();
    let capa = if flags.contains(ClientFlags::CAPA_REDIRECT) { "r" } else { "" };
    let unsent = number(&info.output_bytes) + number(&info.pinned_bytes);
    let fixed = unsent.min(FIXED_OUTPUT_BYTES);
    let queued = unsent - fixed;
    let events = if unsent == 0 { "r" } else { "rw" };
    let command = match number(&info.last_command) {
        NO_COMMAND => "NULL",
        number => server.commands.all()[number].full_name.as_str(),
    };
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} capa={capa} db={} sub={} psub={} ssub={} multi={} \
         watch={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} ",
        info.id,
        info.address,
        info.local_address,
        info.fd,
        lossy(&names.name),
        seconds_since(info.connected_at),
        seconds_since(info.last_interaction.load(Ordering::Relaxed)),
        flag_letters(flags),
        number(&info.db),
        number(&info.subscriptions[Kind::Channel.index()]),
        number(&info.subscriptions[Kind::Pattern.index()]),
        number(&info.subscriptions[Kind::ShardChannel.index()]),
        info.multi.load(Ordering::Relaxed),
        number(&info.watching),
        number(&info.query_len),
        number(&info.query_free),
        number(&info.argument_bytes),
        number(&info.multi_bytes),
    );
    let _ = writeln!(
        text,
        "rbs={} rbp={} obl={fixed} oll={} omem={queued} tot-mem={} events={events} cmd={command} user={} redir=-1 \
         resp={} lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={}",
        number(&info.reply_buffer_bytes),
        number(&info.reply_peak_bytes),
        queued.div_ceil(FIXED_OUTPUT_BYTES),
        number(&info.total_bytes),
        lossy(&names.user),
        info.protocol.load(Ordering::Relaxed),
        lossy(&names.library_name),
        lossy(&names.library_version),
        info.net_input.load(Ordering::Relaxed),
        info.net_output.load(Ordering::Relaxed),
        info.commands.load(Ordering::Relaxed),
    );
}
