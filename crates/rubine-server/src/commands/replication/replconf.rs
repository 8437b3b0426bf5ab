//! REPLCONF: a replica says who it is, and how far it has got.

use rubine_base::clock::monotonic_millis;
use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_config::Config;
use rubine_journal::ReplicationOffset;
use rubine_replication::leader::{Channels, Content, Introduction, Leader, Replica};
use rubine_replication::verify::Answer;

use super::host;
use crate::client::ClientFlags;
use crate::control::full_sync;
use crate::core::{ServerCommand, Session};
use crate::mailbox::Message;
use crate::process::logging::log;

/// The longest host name.
const HOST_BYTES_MAX: usize = 255;

pub(super) const REPLCONF: ServerCommand = ServerCommand::declare("REPLCONF", replconf)
    .summary("Tells a master about its replica: who it is, and how far it has got.")
    .since("3.0.0")
    .complexity("O(1)")
    .arity(-1)
    .flag(
        Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::ALLOW_BUSY),
    );

fn replconf(session: &mut Session<'_>) -> CommandResult {
    let args = session.args;
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    for at in (1..args.len()).step_by(2) {
        let (option, value) = (args.at(at).to_ascii_lowercase(), args.at(at + 1));
        match option.as_slice() {
            b"ack" => {
                let synced = args.get(at + 2).filter(|it| it.eq_ignore_ascii_case(b"fack"));
                let synced = synced.and_then(|_| args.get(at + 3));
                acknowledge(session, value, synced);
                return Ok(());
            }
            b"verify" => {
                verified(session, value, args.get(at + 2), args.get(at + 3));
                return Ok(());
            }
            // It is for replicas, and comes to them on their link.
            b"getack" => return Ok(()),
            _ => introduce(session, &option, value)?,
        }
    }
    session.reply.ok();
    Ok(())
}

/// A replica says up to where it has everything, and up to where on disk. There is no reply.
fn acknowledge(session: &mut Session<'_>, has: &[u8], synced: Option<&[u8]>) {
    let Session { core, client, .. } = session;
    let offset = |text: &[u8]| Some(ReplicationOffset(u64::try_from(parse_i64(text)?).ok()?));
    let Some(has) = offset(has).filter(|_| client.flags.contains(ClientFlags::REPLICA)) else {
        return;
    };
    let replicas = &core.server.replication.replicas;
    let (synced, now) = (synced.and_then(offset), monotonic_millis());
    let mut released = Vec::new();
    let journal = &core.server.journal;
    if replicas.acknowledge(journal, client.id, has, synced, now, &mut released) {
        let name = replicas.with(|it| it.get(client.id).map(Replica::name)).unwrap_or_default();
        log::notice!("Synchronization with replica {name} succeeded");
        if let Some(replica) = &mut client.replica {
            replica.begin_stream();
        }
        full_sync::count_good(core.server);
    }
    core.tell_replicated(&released);
    let quorum = &core.settings.write_quorum;
    if quorum.replicas != 0 {
        for worker in replicas.note_quorum(quorum.replicas, quorum.is_on_disk) {
            core.server.workers[worker as usize].send(Message::Wake);
        }
    }
}

/// A replica says what it has, since it was asked. There is no reply.
fn verified(session: &Session<'_>, sender: &[u8], kind: Option<&[u8]>, payload: Option<&[u8]>) {
    let Session { core, client, .. } = session;
    let (Some(kind), Some(payload)) = (kind, payload) else { return };
    if !client.flags.contains(ClientFlags::REPLICA) {
        return;
    }
    let Ok((sender, mut answer)) = Answer::parse(sender, kind, payload) else { return };
    let replication = &core.server.replication;
    if let Answer::Begun { address, .. } = &mut answer
        && address.is_empty()
    {
        *address = replication
            .replicas
            .with(|it| it.get(client.id).map(Replica::name))
            .unwrap_or_default();
    }
    if replication.following.is_replica() {
        // It is the master's question. What there is no room for is missed there, too.
        let _ = replication.outbox.pass_on(answer.command(&sender));
        replication.following.wake();
    } else {
        replication.verification.answer(client.id, sender, answer);
    }
}

/// A replica says something of itself.
fn introduce(session: &mut Session<'_>, option: &[u8], value: &[u8]) -> CommandResult {
    let info = &session.client.info;
    let server = session.core.server;
    server.replication.replicas.with(|leader| {
        if matches!(option, b"set-rdb-client-id" | b"main-ch-client-id") {
            check_other(leader, option, value)?;
        }
        let said = leader.introduce(info.id, host(info), monotonic_millis());
        if option == b"capa" {
            note_channels(said, value, &server.config.load());
        }
        note(said, option, value)
    })
}

/// Whether the other connection of a replica is one that waits for this.
fn check_other(leader: &Leader, option: &[u8], value: &[u8]) -> CommandResult {
    let id = parse_i64(value).ok_or(CommandError::NotInteger)?;
    let other = u64::try_from(id).unwrap_or_default();
    let text = match option {
        b"set-rdb-client-id" if !leader.is_held(other) => {
            format!("ERR Unrecognized RDB client id {id}")
        }
        b"main-ch-client-id" if !leader.is_awaiting_channel(other) => {
            format!("ERR Unrecognized RDB client id: {id}")
        }
        _ => return Ok(()),
    };
    Err(CommandError::Other(text.into()))
}

/// A replica takes the stream beside the dump. It is to have it so if that is switched on here at this moment; of two ways,
/// Valkey's.
fn note_channels(said: &mut Introduction, value: &[u8], config: &Config) {
    let is_dual = value.eq_ignore_ascii_case(b"dual-channel");
    if is_dual && config.dual_channel_replication_enabled && !config.repl_diskless_sync {
        log::notice!("Dual channel capability ignored: repl-diskless-sync disabled");
    }
    let wanted = if is_dual {
        config.dual_channel_replication_enabled.then_some(Channels::Dual)
    } else {
        let is_rdb = value.eq_ignore_ascii_case(b"rdb-channel-repl") && config.repl_rdb_channel;
        is_rdb.then_some(Channels::Rdb)
    };
    if config.repl_diskless_sync && (is_dual || said.takes_channels.is_none()) {
        said.takes_channels = wanted.or(said.takes_channels);
    }
}

fn note(said: &mut Introduction, option: &[u8], value: &[u8]) -> CommandResult {
    match option {
        b"listening-port" => {
            let port = parse_i64(value).ok_or(CommandError::NotInteger)?;
            said.port = u16::try_from(port).unwrap_or_default();
        }
        b"ip-address" => {
            if HOST_BYTES_MAX <= value.len() {
                let text = format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                );
                return Err(CommandError::Other(text.into()));
            }
            let address = String::from_utf8_lossy(value).into_owned();
            said.address = Some(address).filter(|it| !it.is_empty());
        }
        // What is not understood is something that need not be.
        b"capa" => {
            said.takes_mark |= value.eq_ignore_ascii_case(b"eof");
            said.takes_new_history |= value.eq_ignore_ascii_case(b"psync2");
            said.reads_everything |= value.eq_ignore_ascii_case(b"rubine");
        }
        b"rdb-channel" => said.is_for_dump = flag(value)?,
        b"main-ch-client-id" => said.main = parse_i64(value).and_then(|it| it.try_into().ok()),
        b"set-rdb-client-id" => said.dump = parse_i64(value).and_then(|it| it.try_into().ok()),
        b"rdb-only" => said.wants_dump_only = flag(value)?,
        b"rdb-filter-only" => said.content = content(value)?,
        b"version" => said.version = Some(version(value)?),
        // Others know the node by the bus, and nobody follows a node that it does not know.
        b"set-cluster-node-id" => said.node_id = Some(value.into()),
        _ => {
            let shown = String::from_utf8_lossy(option);
            let text = format!("ERR Unrecognized REPLCONF option: {shown}");
            return Err(CommandError::Other(text.into()));
        }
    }
    Ok(())
}

fn flag(value: &[u8]) -> Result<bool, CommandError> {
    match parse_i64(value) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(CommandError::text("ERR value is out of range, value must between 0 and 1")),
        None => Err(CommandError::NotInteger),
    }
}

/// What is wanted of a dump; nothing but what is named.
fn content(value: &[u8]) -> Result<Content, CommandError> {
    let Ok(names) = rubine_base::quote::split_args(value) else {
        return Err(CommandError::text("ERR Missing rdb-filter-only values"));
    };
    let mut content = Content { has_data: false, has_functions: false };
    for name in names {
        if !name.eq_ignore_ascii_case(b"functions") {
            let shown = String::from_utf8_lossy(&name);
            let text = format!("ERR Unsupported rdb-filter-only option: {shown}");
            return Err(CommandError::Other(text.into()));
        }
        content.has_functions = true;
    }
    Ok(content)
}

/// `9.1.2` as 0x090102.
fn version(value: &[u8]) -> Result<u32, CommandError> {
    let text = String::from_utf8_lossy(value);
    let mut parts = text.split('.');
    let mut next = || parts.next()?.parse::<u8>().ok();
    let numbers = (next(), next(), next());
    if let ((Some(major), Some(minor), Some(patch)), None) = (numbers, parts.next()) {
        return Ok(u32::from_be_bytes([0, major, minor, patch]));
    }
    Err(CommandError::Other(format!("ERR Unrecognized version format: {text}").into()))
}
