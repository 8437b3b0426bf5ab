//! Who a client is and how it is spoken to: AUTH, HELLO, RESET.

use rubine_acl::DEFAULT_USER;
use rubine_base::number::parse_i64;
use rubine_commands::{Args, CommandError, CommandResult, Flags};
use rubine_resp::writer::Protocol;

use super::client::check_name;
use crate::client::{Client, ClientFlags, ReplyMode};
use crate::core::Core;
use crate::core::{ServerCommand, Session};
use crate::process::identity::REDIS_VERSION;

/// The flags of what a stranger may do.
pub(super) const FLAGS: Flags = Flags::NOSCRIPT
    .union(Flags::LOADING)
    .union(Flags::STALE)
    .union(Flags::FAST)
    .union(Flags::NO_AUTH)
    .union(Flags::ALLOW_BUSY);

pub(super) const AUTH: ServerCommand = ServerCommand::declare("AUTH", auth)
    .summary("Authenticates the connection.")
    .syntax("[username] password")
    .since("1.0.0")
    .complexity("O(N) with N the number of passwords of the user.")
    .arity(-2)
    .flag(FLAGS.union(Flags::SENTINEL))
    .hides(|args, visit| (1..args.len()).for_each(visit));

fn auth(session: &mut Session<'_>) -> CommandResult {
    let Session { args, client, core, .. } = session;
    match args.len() {
        2 if core.server.access.users().default_user().takes_any_password() => {
            return Err(CommandError::text(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        2 => authenticate(core, client, *args, DEFAULT_USER, args.at(1))?,
        3 => authenticate(core, client, *args, args.at(1), args.at(2))?,
        _ => return Err(CommandError::Syntax),
    }
    session.reply.ok();
    Ok(())
}

/// Makes a client the user that it says it is, if the password is right. `args` are what it says so by.
fn authenticate(
    core: &Core,
    client: &mut Client,
    args: Args<'_>,
    user: &[u8],
    password: &[u8],
) -> CommandResult {
    if core.log_in(client, user, password)? {
        core.audit_login(&client.info, "password");
        return Ok(());
    }
    core.note_failed_login(client, args, user);
    Err(CommandError::text("WRONGPASS invalid username-password pair or user is disabled."))
}

pub(super) const HELLO: ServerCommand = ServerCommand::declare("HELLO", hello)
    .summary("Chooses the version of the protocol, and tells about the server.")
    .syntax("[protover [AUTH username password] [SETNAME clientname]]")
    .since("6.0.0")
    .complexity("O(1)")
    .arity(-1)
    .flag(FLAGS.union(Flags::SENTINEL))
    .hides(|args, visit| {
        let is_auth = |&it: &usize| args.at(it).eq_ignore_ascii_case(b"AUTH");
        (2..args.len()).filter(is_auth).for_each(|it| {
            visit(it + 1);
            visit(it + 2);
        });
    });

fn hello(session: &mut Session<'_>) -> CommandResult {
    let protocol = match session.args.get(1) {
        None => session.client.protocol,
        Some(version) => match parse_i64(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(CommandError::text("NOPROTO unsupported protocol version")),
            None => {
                return Err(CommandError::text(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        },
    };
    let (mut credentials, mut name) = (None, None);
    let mut options = session.args.options(2);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"AUTH") && 2 <= options.remaining() {
            credentials = Some((options.required()?, options.required()?));
        } else if option.eq_ignore_ascii_case(b"SETNAME") && 1 <= options.remaining() {
            name = Some(check_name(options.required()?)?);
        } else {
            let option = String::from_utf8_lossy(option);
            let text = format!("ERR Syntax error in HELLO option '{option}'");
            return Err(CommandError::Other(text.into()));
        }
    }
    let Session { client, core, args, .. } = session;
    if let Some((user, password)) = credentials {
        authenticate(core, client, *args, user, password)?;
    }
    if !client.identity.is_authenticated {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        client.info.names.lock().name = name.to_vec();
    }
    client.protocol = protocol;
    introduce(session);
    Ok(())
}

/// Tells what HELLO tells about the server.
fn introduce(session: &mut Session<'_>) {
    let Session { client, core, reply, .. } = session;
    let config = core.server.config.load();
    let zone = Some(&config.availability_zone).filter(|it| !it.is_empty());
    reply.set_protocol(client.protocol);
    let is_sentinel = core.server.sentinel.is_some();
    // A Sentinel has no part in replication.
    reply.map(6 + usize::from(!is_sentinel) + usize::from(zone.is_some()));
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(client.protocol.version());
    reply.bulk(b"id");
    reply.integer(client.id as i64);
    reply.bulk(b"mode");
    reply.bulk(core.server.mode_name().as_bytes());
    if !is_sentinel {
        reply.bulk(b"role");
        reply.bulk(b"master");
    }
    reply.bulk(b"modules");
    reply.array(0);
    if let Some(zone) = zone {
        reply.bulk(b"availability_zone");
        reply.bulk(zone);
    }
}

pub(super) const RESET: ServerCommand = ServerCommand::declare("RESET", reset)
    .summary("Makes the connection as it was when it began.")
    .since("6.2.0")
    .complexity("O(1)")
    .arity(1)
    .flag(FLAGS.union(Flags::WHILE_SUBSCRIBED).union(Flags::NEVER_QUEUED));

fn reset(session: &mut Session<'_>) -> CommandResult {
    let Session { client, core, reply, .. } = session;
    client.transaction = None;
    core.unwatch_all(client);
    core.unsubscribe_all(client);
    core.stop_watching(client);
    core.stop_tracking(client);
    client.db = 0;
    client.protocol = Protocol::Resp2;
    client.sending.reply_mode = ReplyMode::On;
    client.identity.log_out(&core.server.access.users());
    if core.bind(client).is_err() {
        // As for one that has just come.
        client.flags |= ClientFlags::CLOSE_AFTER_REPLY;
    }
    client.flags -= ClientFlags::NO_TOUCH
        | ClientFlags::NO_EVICT
        | ClientFlags::READONLY
        | ClientFlags::IMPORT_SOURCE;
    {
        let mut names = client.info.names.lock();
        // The library stays the same that it was.
        names.name.clear();
        names.user = DEFAULT_USER.to_vec();
    }
    reply.set_protocol(client.protocol);
    reply.simple("RESET");
    Ok(())
}
