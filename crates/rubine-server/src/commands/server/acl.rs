//! ACL: users and what they may do. Which rules there are and what they mean, `rubine-acl` knows.

mod log;
mod users;

use ring::rand::{SecureRandom as _, SystemRandom};
use rubine_acl::{PASSWORD_BITS_DEFAULT, Users, password_len, write_password};
use rubine_base::number::parse_i64;
use rubine_commands::{Args, CommandError, CommandResult, Flags, shown};

use crate::access::files;
use crate::access::request::Wish;
use crate::command_table::Entry;
use crate::command_table::wrong_form;
use crate::core::{ServerCommand, Session};

pub(super) const ACL: ServerCommand = ServerCommand::container(
    "ACL",
    super::never_runs,
    &[
        CAT,
        users::DELUSER,
        DRYRUN,
        GENPASS,
        users::GETUSER,
        HELP,
        users::LIST,
        LOAD,
        log::LOG,
        SAVE,
        users::SETUSER,
        users::USERS,
        WHOAMI,
    ],
)
.summary("A container of commands about users and what they may do.")
.since("6.0.0")
.complexity("Depends on the subcommand.")
.flag(Flags::SENTINEL);

/// The flags of what anybody may use.
const FLAGS: Flags =
    Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::SENTINEL);
/// The flags of what is for administrators.
const ADMIN_FLAGS: Flags = FLAGS.union(Flags::ADMIN);

const HELP: ServerCommand = crate::commands::help::HELP.flag(Flags::SENTINEL);

const CAT: ServerCommand = ServerCommand::declare("CAT", cat)
    .summary("Returns the categories of commands, or the commands in one.")
    .syntax("[category]")
    .since("6.0.0")
    .complexity("O(1), since the categories and commands are a fixed set.")
    .arity(-2)
    .flag(FLAGS);

fn cat(session: &mut Session<'_>) -> CommandResult {
    let users = session.core.server.access.users();
    let commands = users.commands();
    let names: Vec<&str> = match (session.args.get(2), session.args.len()) {
        (None, _) => commands.categories().collect(),
        (Some(name), 3) => {
            let names = commands.in_category(name).ok_or_else(|| {
                let name = shown(&name[..name.len().min(NAME_SHOWN_MAX)]);
                CommandError::quoting(&[b"ERR Unknown category '", name, b"'"])
            })?;
            names.collect()
        }
        _ => return Err(wrong_form(session.args, "ACL")),
    };
    session.reply.array(names.len());
    names.iter().for_each(|name| session.reply.bulk(name.as_bytes()));
    Ok(())
}

/// Bytes of a name that an error shows.
const NAME_SHOWN_MAX: usize = 128;

const WHOAMI: ServerCommand = ServerCommand::declare("WHOAMI", whoami)
    .summary("Returns the name of the user that the connection is.")
    .since("6.0.0")
    .complexity("O(1)")
    .arity(2)
    .flag(FLAGS);

fn whoami(session: &mut Session<'_>) -> CommandResult {
    session.reply.bulk(session.client.identity.user.name());
    Ok(())
}

const GENPASS: ServerCommand = ServerCommand::declare("GENPASS", genpass)
    .summary("Makes a password that nobody can guess.")
    .syntax("[bits]")
    .since("6.0.0")
    .complexity("O(1)")
    .arity(-2)
    .flag(FLAGS);

fn genpass(session: &mut Session<'_>) -> CommandResult {
    let bits = match (session.args.get(2), session.args.len()) {
        (None, _) => PASSWORD_BITS_DEFAULT,
        (Some(bits), 3) => parse_i64(bits).ok_or(CommandError::NotInteger)?,
        _ => return Err(wrong_form(session.args, "ACL")),
    };
    let failed = |text: String| CommandError::Other(format!("ERR {text}").into());
    let len = password_len(bits).map_err(failed)?;
    let mut random = vec![0; len.div_ceil(2)];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| CommandError::text("ERR the system has no random numbers"))?;
    let mut password = Vec::with_capacity(len);
    write_password(&mut password, &random, len);
    session.reply.bulk(&password);
    Ok(())
}

const DRYRUN: ServerCommand = ServerCommand::declare("DRYRUN", dryrun)
    .summary("Tells whether a user may run a command, without running it.")
    .syntax("username command [arg [arg ...]]")
    .since("7.0.0")
    .complexity("O(1).")
    .arity(-4)
    .flag(ADMIN_FLAGS);

fn dryrun(session: &mut Session<'_>) -> CommandResult {
    let Session { args, core, client, .. } = session;
    let name = args.at(2);
    let users = core.server.access.users();
    let Some(user) = users.get(name) else {
        return Err(CommandError::quoting(&[b"ERR User '", shown(name), b"' not found"]));
    };
    let request = args.skip(3);
    let entry = find_command(core.server.commands.find(request.at(0)), request)?;
    let wish = Wish { args: request, ..core.wish(client, entry, request) };
    match user.check(&wish) {
        Ok(()) => session.reply.ok(),
        Err(denial) => {
            let object = request.get(denial.argument).unwrap_or_default();
            let full_name = core.server.commands.name_in_rules(entry);
            let text = denial.detailed_text(user.name(), full_name, object);
            session.reply.bulk(&text);
        }
    }
    Ok(())
}

/// The command that a request stands for, if its arguments are as many as that takes.
fn find_command(
    named: Option<&'static Entry>,
    request: Args<'_>,
) -> Result<&'static Entry, CommandError> {
    let entry = named.map(|it| it.asked_for(request));
    let Some(entry) = entry.filter(|it| it.is_command_of(request)) else {
        let name = shown(request.at(0));
        return Err(CommandError::quoting(&[b"ERR Command '", name, b"' not found"]));
    };
    if entry.spec.takes(request.len()) {
        return Ok(entry);
    }
    Err(CommandError::Arity(entry.full_name.clone()))
}

const LOAD: ServerCommand = ServerCommand::declare("LOAD", load)
    .summary("Takes all users from the file that is there for them.")
    .since("6.0.0")
    .complexity("O(N) with N the number of users.")
    .arity(2)
    .flag(ADMIN_FLAGS);

fn load(session: &mut Session<'_>) -> CommandResult {
    let path = user_file(session)?;
    let access = &session.core.server.access;
    let mut before = None;
    let loaded = access.change(|users| {
        before = Some(Users::clone(users));
        files::load(users, &path)
    });
    loaded.map_err(|errors| CommandError::quoting(&[b"ERR ", &errors]))?;
    let before = before.expect("it was kept before the file was read");
    users::cut_who_lost(session, &before);
    session.reply.ok();
    Ok(())
}

const SAVE: ServerCommand = ServerCommand::declare("SAVE", save)
    .summary("Writes all users into the file that is there for them.")
    .since("6.0.0")
    .complexity("O(N) with N the number of users.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(2)
    .flag(ADMIN_FLAGS);

fn save(session: &mut Session<'_>) -> CommandResult {
    let path = user_file(session)?;
    let access = &session.core.server.access;
    // Nobody changes users meanwhile, and so of two that save, the one that ends last has written the last state.
    let saved = access.change(|users| files::save(users, &path));
    saved.map_err(|error| {
        tracing::warn!("Writing the ACL file {path}: {error}");
        CommandError::text(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })?;
    session.reply.ok();
    Ok(())
}

/// The file of users.
fn user_file(session: &Session<'_>) -> Result<String, CommandError> {
    let path = session.core.server.config.load().aclfile.clone();
    if path.is_empty() {
        return Err(CommandError::text(
            "ERR This instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
             command and then issue a CONFIG REWRITE (assuming you have a configuration file set) in order to store \
             users in the configuration.",
        ));
    }
    Ok(path)
}
