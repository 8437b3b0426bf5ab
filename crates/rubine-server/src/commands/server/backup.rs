//! BACKUP: backups in another place, made, looked at, verified and removed. Makes none itself: threads of their own do, and
//! only the client that asked waits for them.

mod sets;

use rubine_backup::catalog::{Catalog, Entry};
use rubine_backup::error::BackupError;
use rubine_backup::layout::BackupId;
use rubine_backup::retention::Plan;
use rubine_backup::service::{Answer, Details, Request};
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_resp::writer::Reply;

use crate::control::backup::source;
use crate::core::{ServerCommand, Session};
use crate::server::Asker;

pub(super) const BACKUP: ServerCommand =
    ServerCommand::container("BACKUP", super::never_runs, FORMS)
        .summary("A container for commands about backups.")
        .since("8.10.0")
        .complexity("Depends on the subcommand.");

const FORMS: &[ServerCommand] = &[
    sets::ABORT,
    sets::CLEANUP,
    HELP,
    sets::LIST,
    NOW,
    REMOTE,
    sets::SEAL,
    sets::START,
    sets::STATUS,
    TEST,
];

const HELP: ServerCommand = crate::commands::help::HELP;

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE).union(Flags::NO_MULTI);

const NOW: ServerCommand = ServerCommand::declare("NOW", now)
    .summary(
        "Begins a backup to backup-url. With WAIT, replies with its id when it has been read back.",
    )
    .syntax("[WAIT]")
    .since("1.0.0")
    .complexity("O(N) with N the number of keys, on threads of their own.")
    .arity(-2)
    .flag(FLAGS);

fn now(session: &mut Session<'_>) -> CommandResult {
    let waits = match session.args.len() {
        2 => false,
        3 if session.args.at(2).eq_ignore_ascii_case(b"WAIT") => true,
        _ => return Err(CommandError::Syntax),
    };
    if waits {
        ask(session, Request::Now);
        return Ok(());
    }
    let server = session.core.server;
    if server.config.load().backup_url.is_empty() {
        return Err(refusal(&BackupError::NotConfigured));
    }
    // What comes of it is in the log, and in INFO.
    server.operating.backups.service.ask(source(server), Request::Now, Box::new(|_| {}));
    session.reply.simple("Backup started");
    Ok(())
}

const TEST: ServerCommand = ServerCommand::declare("TEST", test)
    .summary("Writes, reads and removes a probe in backup-url.")
    .since("1.0.0")
    .complexity("O(1), and some requests to the store.")
    .arity(2)
    .flag(FLAGS.union(Flags::LOADING));

fn test(session: &mut Session<'_>) -> CommandResult {
    ask(session, Request::Test);
    Ok(())
}

const REMOTE: ServerCommand = ServerCommand::declare("REMOTE", remote)
    .summary("Shows, verifies or removes the backups in backup-url, or lets a suspect one count.")
    .syntax("LIST | INFO id | VERIFY id | DELETE id | ACCEPT id | PRUNE [DRYRUN]")
    .since("1.0.0")
    .complexity(
        "O(N) with N the number of backups; VERIFY reads all of one. On threads of their own.",
    )
    .arity(-3)
    .flag(FLAGS.union(Flags::LOADING));

fn remote(session: &mut Session<'_>) -> CommandResult {
    let action = session.args.at(2).to_ascii_lowercase();
    let request = match (action.as_slice(), session.args.len()) {
        (b"list", 3) => Request::List,
        (b"info", 4) => Request::Info(id(session)?),
        (b"verify", 4) => Request::Verify(id(session)?),
        (b"delete", 4) => Request::Delete(id(session)?),
        (b"accept", 4) => Request::Accept(id(session)?),
        (b"prune", 3) => Request::Prune,
        (b"prune", 4) if session.args.at(3).eq_ignore_ascii_case(b"DRYRUN") => Request::PrunePlan,
        _ => return Err(CommandError::Syntax),
    };
    ask(session, request);
    Ok(())
}

fn id(session: &Session<'_>) -> Result<BackupId, CommandError> {
    let text = std::str::from_utf8(session.args.at(3)).ok();
    text.and_then(BackupId::parse).ok_or(CommandError::text("ERR that is no id of a backup"))
}

fn refusal(error: &BackupError) -> CommandError {
    CommandError::quoting(&[b"ERR ", error.to_string().as_bytes()])
}

/// What stores say may have more than one.
fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// Has the client wait for the answer.
fn ask(session: &mut Session<'_>, request: Request) {
    let core = &mut *session.core;
    let asker =
        Asker { worker: core.index, client: session.client.id, protocol: session.client.protocol };
    core.block_until_answered(session.client);
    let server = core.server;
    let on_answer = Box::new(move |answer: Result<Answer, BackupError>| {
        asker.answer(&server.workers, |reply| match answer {
            Ok(answer) => write_answer(reply, &answer),
            Err(error) => reply.error(&one_line(&format!("ERR {error}"))),
        });
    });
    server.operating.backups.service.ask(source(server), request, on_answer);
}

fn write_answer(reply: &mut Reply<'_>, answer: &Answer) {
    match answer {
        Answer::Done => reply.ok(),
        Answer::Made(entry) => reply.bulk(entry.id.as_str().as_bytes()),
        Answer::Verified(keys) => reply.integer(number(*keys)),
        Answer::Pruned(plan) => write_plan(reply, plan),
        Answer::Listed(catalog) => write_catalog(reply, catalog),
        Answer::Info(details) => write_details(reply, details),
    }
}

fn write_plan(reply: &mut Reply<'_>, plan: &Plan) {
    reply.map(3);
    reply.bulk(b"backups");
    reply.array(plan.backups.len());
    plan.backups.iter().for_each(|id| reply.bulk(id.as_str().as_bytes()));
    reply.bulk(b"leftovers");
    reply.array(plan.leftovers.len());
    plan.leftovers.iter().for_each(|folder| reply.bulk(folder.as_bytes()));
    reply.bulk(b"stopped");
    reply.bulk(plan.stopped.as_deref().unwrap_or_default().as_bytes());
}

/// What can be restored, the newest first, and then what nobody can read.
fn write_catalog(reply: &mut Reply<'_>, catalog: &Catalog) {
    let unreadable = || catalog.others.iter().filter(|it| it.unreadable.is_some());
    reply.array(catalog.entries.len() + unreadable().count());
    for entry in catalog.entries.iter().rev() {
        reply.map(FACTS);
        write_facts(reply, entry);
    }
    for other in unreadable() {
        reply.map(2);
        text(reply, "id", other.folder.rsplit('/').next().unwrap_or_default());
        text(reply, "state", "unreadable");
    }
}

/// Pairs that a list has of each backup.
const FACTS: usize = 6;

fn write_facts(reply: &mut Reply<'_>, entry: &Entry) {
    text(reply, "id", entry.id.as_str());
    text(reply, "state", state(entry));
    text(reply, "taken_at", &entry.manifest.taken_at);
    integer(reply, "keys", entry.manifest.keys);
    integer(reply, "bytes", entry.manifest.dump.bytes);
    integer(reply, "has_log", entry.manifest.has_log.into());
}

/// In one word.
fn state(entry: &Entry) -> &'static str {
    if entry.is_suspect() { "suspect" } else { entry.condition.name() }
}

fn write_details(reply: &mut Reply<'_>, details: &Details) {
    let Details { entry, segments, segment_bytes, covers_until } = details;
    let manifest = &entry.manifest;
    reply.map(FACTS + 12);
    write_facts(reply, entry);
    text(reply, "condition", entry.condition.name());
    text(
        reply,
        "reason",
        entry.reason.as_deref().or(manifest.suspect.as_deref()).unwrap_or_default(),
    );
    text(reply, "folder", &entry.folder);
    text(reply, "made_by", &manifest.made_by);
    integer(reply, "databases", manifest.databases.into());
    integer(reply, "memory_bytes", manifest.memory_bytes);
    integer(reply, "plain_bytes", manifest.dump.plain_bytes);
    text(reply, "sha256", &manifest.dump.sha256);
    integer(reply, "is_encrypted", manifest.dump.is_encrypted.into());
    integer(reply, "log_segments", *segments);
    integer(reply, "log_bytes", *segment_bytes);
    let covered = covers_until.and_then(|it| u64::try_from(it).ok());
    integer(reply, "log_covers_until", covered.unwrap_or(0));
}

fn text(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

fn integer(reply: &mut Reply<'_>, name: &str, value: u64) {
    reply.bulk(name.as_bytes());
    reply.integer(number(value));
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
