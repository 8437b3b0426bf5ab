//! ACL SETUSER and its relatives: users shown, made, changed and removed, with what becomes of their clients.

use std::sync::Arc;

use rubine_acl::{PermissionTexts, User, Users};
use rubine_commands::{CommandError, CommandResult};
use rubine_resp::writer::Reply;

use super::ADMIN_FLAGS;
use crate::core::{ServerCommand, Session};

pub(super) const SETUSER: ServerCommand = ServerCommand::declare("SETUSER", setuser)
    .summary("Makes a user, or changes one, by all of the rules or by none.")
    .syntax("username [rule [rule ...]]")
    .since("6.0.0")
    .complexity("O(N) with N the number of rules, and of users.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(-3)
    .flag(ADMIN_FLAGS)
    .hides(|args, visit| (2..args.len()).for_each(visit));

fn setuser(session: &mut Session<'_>) -> CommandResult {
    let name = session.args.at(2);
    let access = &session.core.server.access;
    let change = access.change(|users| users.set(name, session.args.from(3)));
    let change = change.map_err(|error| CommandError::quoting(&[b"ERR ", &error.text()]))?;
    let is_withdrawn =
        change.before.is_some_and(|before| change.after.withdraws_channels_of(&before));
    if is_withdrawn {
        cut_listeners(session, vec![name.into()]);
    }
    session.reply.ok();
    Ok(())
}

pub(super) const DELUSER: ServerCommand = ServerCommand::declare("DELUSER", deluser)
    .summary("Removes users, and ends their connections.")
    .syntax("username [username ...]")
    .since("6.0.0")
    .complexity("O(N) with N the number of users and connections.")
    .tips("request_policy:all_nodes response_policy:all_succeeded")
    .arity(-3)
    .flag(ADMIN_FLAGS)
    .hides(|args, visit| (2..args.len()).for_each(visit));

fn deluser(session: &mut Session<'_>) -> CommandResult {
    let names: Vec<_> = session.args.from(2).collect();
    let access = &session.core.server.access;
    let removed = access.change(|users| users.remove(&names));
    let removed =
        removed.ok_or_else(|| CommandError::text("ERR The 'default' user cannot be removed"))?;
    session.core.cut_clients_of(session.client, &access.users(), &removed);
    session.reply.integer(removed.len() as i64);
    Ok(())
}

/// Cuts the clients of users that there were before and are no more, and those that listen to what they no longer may.
pub(super) fn cut_who_lost(session: &mut Session<'_>, before: &Users) {
    let users = session.core.server.access.users();
    let gone: Vec<Arc<User>> =
        before.iter().filter(|it| users.get(it.name()).is_none()).cloned().collect();
    session.core.cut_clients_of(session.client, &users, &gone);
    let withdrawn = before
        .iter()
        .filter(|old| users.get(old.name()).is_some_and(|user| user.withdraws_channels_of(old)));
    let withdrawn: Vec<Box<[u8]>> = withdrawn.map(|it| it.name().into()).collect();
    cut_listeners(session, withdrawn);
}

fn cut_listeners(session: &mut Session<'_>, changed: Vec<Box<[u8]>>) {
    // Whoever holds locks keeps others from what they are waited for.
    let may_wait = session.locked.is_none();
    session.core.cut_listeners(session.client, changed, may_wait);
}

pub(super) const LIST: ServerCommand = ServerCommand::declare("LIST", list)
    .summary("Returns all users with their rules, as a file has them.")
    .since("6.0.0")
    .complexity("O(N) with N the number of users.")
    .arity(2)
    .flag(ADMIN_FLAGS);

fn list(session: &mut Session<'_>) -> CommandResult {
    let users = session.core.server.access.users();
    session.reply.array(users.iter().len());
    users.iter().for_each(|user| session.reply.bulk(&user.line()));
    Ok(())
}

pub(super) const USERS: ServerCommand = ServerCommand::declare("USERS", names)
    .summary("Returns the names of all users.")
    .since("6.0.0")
    .complexity("O(N) with N the number of users.")
    .arity(2)
    .flag(ADMIN_FLAGS);

fn names(session: &mut Session<'_>) -> CommandResult {
    let users = session.core.server.access.users();
    session.reply.array(users.iter().len());
    users.iter().for_each(|user| session.reply.bulk(user.name()));
    Ok(())
}

pub(super) const GETUSER: ServerCommand = ServerCommand::declare("GETUSER", getuser)
    .summary("Returns the rules of a user.")
    .syntax("username")
    .since("6.0.0")
    .complexity("O(N) with N the number of rules of the user.")
    .arity(3)
    .flag(ADMIN_FLAGS)
    .hides(|args, visit| (2..args.len()).for_each(visit));

fn getuser(session: &mut Session<'_>) -> CommandResult {
    let users = session.core.server.access.users();
    let reply = &mut session.reply;
    let Some(user) = users.get(session.args.at(2)) else {
        reply.null();
        return Ok(());
    };
    let fields = user.fields();
    reply.map(3 + PERMISSION_FIELDS);
    reply.bulk(b"flags");
    reply.set(fields.flags.len());
    fields.flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(fields.passwords.len());
    fields.passwords.iter().for_each(|hash| reply.bulk(hash));
    write_permissions(reply, &fields.root);
    reply.bulk(b"selectors");
    reply.array(fields.selectors.len());
    for selector in &fields.selectors {
        reply.map(PERMISSION_FIELDS);
        write_permissions(reply, selector);
    }
    Ok(())
}

/// The fields of one set of permissions.
const PERMISSION_FIELDS: usize = 4;

fn write_permissions(reply: &mut Reply<'_>, texts: &PermissionTexts) {
    let PermissionTexts { commands, keys, channels, databases } = texts;
    let fields: [(&str, &[u8]); PERMISSION_FIELDS] =
        [("commands", commands), ("keys", keys), ("channels", channels), ("databases", databases)];
    for (name, text) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(text);
    }
}
