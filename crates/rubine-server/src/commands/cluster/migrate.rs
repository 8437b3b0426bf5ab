//! Slots that move by themselves: orders about it, how far it is, and what nodes say to each other for it. What it means, the
//! state machine of migrations knows.

use std::fmt::Display;

use rubine_cluster::migration::{Establish, Finish, JobReport, Migrations, Word};
use rubine_commands::{CommandError, CommandResult};
use rubine_keyspace::ShardSet;

use super::cluster_of;
use crate::client::line::short_line;
use crate::core::Session;

/// Bytes of the random part of a migration's name.
const NAME_BYTES: usize = 20;

pub(super) fn migrate(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    let server = session.core.server;
    let asker = short_line(session.client, &server.config.load());
    let args: Vec<&[u8]> = session.args.from(2).collect();
    let begun = cluster.tell_migrations(&server.journal, |machine, view, now| {
        machine.migrate(&args, view, now, || random_name(session), &asker)
    });
    begun.map_err(|it| refused(&it))?;
    session.reply.ok();
    Ok(())
}

/// What a name is made of.
pub(super) fn random_name(session: &mut Session<'_>) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    session.core.runner.random.fill(&mut bytes);
    bytes
}

pub(super) fn cancel(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    let server = session.core.server;
    let ended = cluster
        .tell_migrations(&server.journal, |machine: &mut Migrations, _, now| machine.cancel(now));
    ended.map_err(|it| refused(&it))?;
    let asker = short_line(session.client, &server.config.load());
    tracing::info!("Canceled all in progress slot migrations (user request from '{asker}')");
    session.reply.ok();
    Ok(())
}

/// What the machine has said no with, for the client.
pub(super) fn refused(error: &impl Display) -> CommandError {
    CommandError::Other(error.to_string().into())
}

pub(super) fn get(session: &mut Session<'_>) -> CommandResult {
    let migrations = &cluster_of(session)?.migrations;
    migrations.note_remaining(&session.core.server.journal);
    let reply = &mut session.reply;
    migrations.ask(|machine| {
        let reports: Vec<_> = machine.reports().collect();
        reply.array(reports.len());
        reports.iter().for_each(|it| show(reply, it));
    });
    Ok(())
}

fn show(reply: &mut rubine_resp::writer::Reply<'_>, report: &JobReport<'_>) {
    reply.map(if report.nodes.is_some() { 12 } else { 10 });
    let mut text = |name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("name", report.id.as_str());
    text("operation", report.operation.name());
    text("slot_ranges", &report.slot_ranges);
    if let Some((target, source)) = &report.nodes {
        text("target_node", target.as_str());
        text("source_node", source.as_str());
    }
    let mut number = |name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    };
    number("create_time", report.create_time);
    number("last_update_time", report.last_update_time);
    number("last_ack_time", report.last_ack_time);
    let mut text = |name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("state", report.state);
    text("message", report.message);
    let mut number = |name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    };
    // An image is no process, which would have memory of its own.
    number("cow_size", 0);
    number("remaining_repl_size", report.remaining_bytes as i64);
}

pub(super) fn sync(session: &mut Session<'_>) -> CommandResult {
    cluster_of(session)?;
    let word = session.args.at(2);
    if word.eq_ignore_ascii_case(b"ESTABLISH") {
        establish(session)
    } else if word.eq_ignore_ascii_case(b"FINISH") {
        finish(session)
    } else if session.client.identity.is_trusted() || word.eq_ignore_ascii_case(b"CAPA") {
        // What a primary has heard itself is nothing to its replicas, and there is nothing yet that a node may lack.
        Ok(())
    } else if let Some(word) = Word::parse(word) {
        let text = format!(
            "ERR CLUSTER SYNCSLOTS {} should only be used by slot migration clients",
            word.name()
        );
        Err(CommandError::Other(text.into()))
    } else {
        Err(CommandError::Syntax)
    }
}

/// A migration begins, with this client as its source; or this node's primary tells of one.
fn establish(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    let server = session.core.server;
    if session.client.identity.is_trusted() {
        cluster.hear(&server.journal, session.args).map_err(|it| refused(&it))?;
        session.reply.ok();
        return Ok(());
    }
    let args: Vec<&[u8]> = session.args.from(3).collect();
    // Whoever makes an image of all data has locked all, and sees it before this or after it.
    let locked = server.keyspace.lock(&ShardSet::One(0));
    let begun = cluster.tell_migrations(&server.journal, |machine, view, now| {
        let establish = Establish::parse(&args, view)?;
        machine.establish_import(establish, view, now)
    });
    drop(locked);
    let job = begun.map_err(|it| refused(&it))?;
    session.client.migration = Some(job);
    session.reply.ok();
    Ok(())
}

/// A migration that this node's primary, or a log, has told of is over.
fn finish(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    if !session.client.identity.is_trusted() {
        let args: Vec<&[u8]> = session.args.from(3).collect();
        let finish = Finish::parse(&args).map_err(|it| refused(&it))?;
        if cluster.migrations.ask(|machine| machine.slots_of(finish.id())).is_some() {
            return Err(CommandError::text(
                "ERR CLUSTER SYNCSLOTS FINISH should only be used by primaries",
            ));
        }
    }
    cluster.hear(&session.core.server.journal, session.args).map_err(|it| refused(&it))?;
    session.reply.ok();
    Ok(())
}
