//! CLUSTER MIGRATION, Redis's way to move slots: whoever is to have them is asked. What it means, the state machine of migrations
//! knows.

use rubine_base::clock::Millis;
use rubine_cluster::migration::{Operation, TaskReport};
use rubine_commands::{CommandError, CommandResult};

use super::cluster_of;
use super::migrate::{random_name, refused};
use crate::client::line::short_line;
use crate::core::Session;

pub(super) fn migration(session: &mut Session<'_>) -> CommandResult {
    let word = session.args.at(2);
    let is = |it: &[u8]| word.eq_ignore_ascii_case(it);
    match () {
        () if is(b"IMPORT") => import(session),
        () if is(b"CANCEL") => cancel(session),
        () if is(b"STATUS") => status(session),
        () => Err(UNKNOWN),
    }
}

const UNKNOWN: CommandError = CommandError::text("ERR unknown argument");

fn arity() -> CommandError {
    CommandError::Arity("cluster|migration".to_owned())
}

fn import(session: &mut Session<'_>) -> CommandResult {
    let args: Vec<&[u8]> = session.args.from(3).collect();
    if !args.len().is_multiple_of(2) {
        return Err(arity());
    }
    let cluster = cluster_of(session)?;
    let server = session.core.server;
    let name = random_name(session);
    let begun = cluster.tell_migrations(&server.journal, |machine, view, now| {
        machine.import(&args, view, now, name)
    });
    let id = begun.map_err(|it| refused(&it))?;
    let asker = short_line(session.client, &server.config.load());
    tracing::info!("Slots are asked for as task {id} (user request from '{asker}')");
    session.reply.bulk(id.as_bytes());
    Ok(())
}

/// The name behind `ID`; `None` stands for `ALL`.
fn name_at_3<'a>(session: &Session<'a>) -> Result<Option<&'a [u8]>, CommandError> {
    let args = session.args;
    let is = |it: &[u8]| args.at(3).eq_ignore_ascii_case(it);
    match (args.len(), ()) {
        (6.., ()) => Err(arity()),
        (_, ()) if is(b"ID") => args.get(4).map(Some).ok_or_else(arity),
        (4, ()) if is(b"ALL") => Ok(None),
        (_, ()) if is(b"ALL") => Err(arity()),
        _ => Err(UNKNOWN),
    }
}

fn cancel(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    let name = name_at_3(session)?;
    let server = session.core.server;
    let count =
        cluster.tell_migrations(&server.journal, |machine, _, now| machine.cancel_tasks(name, now));
    let asker = short_line(session.client, &server.config.load());
    tracing::info!("Cancelled {count} tasks of moving slots (user request from '{asker}')");
    session.reply.integer(count as i64);
    Ok(())
}

fn status(session: &mut Session<'_>) -> CommandResult {
    let cluster = cluster_of(session)?;
    let name = name_at_3(session)?;
    let reports = cluster.migrations.ask(|machine| machine.task_reports(name));
    session.reply.array(reports.len());
    reports.iter().for_each(|it| show(&mut session.reply, it));
    Ok(())
}

fn show(reply: &mut rubine_resp::writer::Reply<'_>, report: &TaskReport) {
    /// What stands for a moment that has not come.
    const NEVER: Millis = -1;
    reply.map(12);
    let mut text = |name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    text("id", report.id.as_str());
    text("slots", &report.slots);
    text("source", report.source.as_ref().map_or("", |it| it.as_str()));
    text("dest", report.target.as_ref().map_or("", |it| it.as_str()));
    let operation = match report.operation {
        Operation::Export => "migrate",
        Operation::Import => "import",
    };
    text("operation", operation);
    text("state", report.state);
    text("last_error", &report.last_error);
    let mut number = |name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    };
    // What has failed is begun again by whoever wants it.
    number("retries", 0);
    number("create_time", report.created);
    number("start_time", report.started.unwrap_or(NEVER));
    number("end_time", report.ended.unwrap_or(NEVER));
    number("write_pause_ms", report.write_pause);
}
