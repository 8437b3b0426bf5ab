//! QUOTA: what users, databases and prefixes of keys may take, and what they take.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_commands::{Args, CommandError, CommandResult, Flags};
use rubine_config::{QuotaRule, QuotaSubject};
use rubine_resp::writer::Reply;

use crate::core::{ServerCommand, Session};
use crate::quotas::{Kind, QUOTAS_MAX, Quota};
use crate::server::Server;

pub(super) const QUOTA: ServerCommand =
    ServerCommand::container("QUOTA", super::never_runs, &[DEL, GET, LIST, RESET, SET, USAGE])
        .summary("A container for commands about what users, databases and prefixes may take.")
        .since("1.0.0")
        .complexity("Depends on the subcommand.");

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const SET: ServerCommand = ServerCommand::declare("SET", set)
    .summary("Sets what a user, a database or the keys with a prefix may take, in place of what it was.")
    .syntax(
        "user|db|prefix name [ops=rate] [burst=count] [in=rate] [out=rate] [clients=count] [memory=size] [value=size] \
         [mode=delay|error|observe|exempt] [max-delay=time]",
    )
    .since("1.0.0")
    .complexity("O(N) with N the number of quotas and of clients.")
    .arity(-5)
    .flag(FLAGS);

fn set(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    let words: Vec<&[u8]> = session.args.from(2).collect();
    let rule = QuotaRule::parse(&words).map_err(|it| refusal(&it))?;
    if let QuotaSubject::Db(db) = rule.subject
        && session.core.settings.limits.databases <= db as usize
    {
        return Err(CommandError::text("ERR there is no database of that number"));
    }
    if !server.quotas.set(rule) {
        return Err(refusal(&format!("there are {QUOTAS_MAX} quotas, which is the most")));
    }
    announce(server);
    session.reply.ok();
    Ok(())
}

const DEL: ServerCommand = ServerCommand::declare("DEL", del)
    .summary("Removes a quota. Returns whether there was one.")
    .syntax("user|db|prefix name")
    .since("1.0.0")
    .complexity("O(N) with N the number of quotas and of clients.")
    .arity(4)
    .flag(FLAGS);

fn del(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    let was_there = server.quotas.remove(&subject(session.args)?);
    if was_there {
        announce(server);
    }
    session.reply.integer(was_there.into());
    Ok(())
}

const GET: ServerCommand = ServerCommand::declare("GET", get)
    .summary("Returns what a quota allows.")
    .syntax("user|db|prefix name")
    .since("1.0.0")
    .complexity("O(log N) with N the number of quotas.")
    .arity(4)
    .flag(FLAGS);

fn get(session: &mut Session<'_>) -> CommandResult {
    let found = find(session.core.server, session.args)?;
    let reply = &mut session.reply;
    let Some(quota) = found else {
        reply.null();
        return Ok(());
    };
    let options = quota.rule.options();
    reply.map(options.len());
    for (name, value) in options {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

const LIST: ServerCommand = ServerCommand::declare("LIST", list)
    .summary("Returns all quotas, as QUOTA SET and the configuration take them.")
    .since("1.0.0")
    .complexity("O(N) with N the number of quotas.")
    .arity(2)
    .flag(FLAGS);

fn list(session: &mut Session<'_>) -> CommandResult {
    let table = session.core.server.quotas.table();
    session.reply.array(table.quotas().len());
    for quota in table.quotas() {
        session.reply.bulk(&quota.rule.words().join(&b' '));
    }
    Ok(())
}

const USAGE: ServerCommand = ServerCommand::declare("USAGE", usage)
    .summary("Returns what has been taken of a quota, or of all, and how often more was asked for.")
    .syntax("[user|db|prefix name]")
    .since("1.0.0")
    .complexity("O(N) with N the number of quotas.")
    .arity(-2)
    .flag(FLAGS);

fn usage(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    if session.args.len() == 2 {
        let table = server.quotas.table();
        session.reply.array(table.quotas().len());
        table.quotas().iter().for_each(|quota| write_usage(&mut session.reply, quota));
        return Ok(());
    }
    match find(server, session.args)? {
        Some(quota) => write_usage(&mut session.reply, &quota),
        None => session.reply.null(),
    }
    Ok(())
}

const RESET: ServerCommand = ServerCommand::declare("RESET", reset)
    .summary("Lets the counts of a quota, or of all, start anew, and what was taken be forgotten.")
    .syntax("[user|db|prefix name]")
    .since("1.0.0")
    .complexity("O(N) with N the number of quotas.")
    .arity(-2)
    .flag(FLAGS);

fn reset(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    if session.args.len() == 2 {
        server.quotas.table().quotas().iter().for_each(|it| it.reset());
    } else {
        let quota = find(server, session.args)?;
        quota.ok_or(CommandError::text("ERR there is no such quota"))?.reset();
    }
    session.reply.ok();
    Ok(())
}

/// The quota that `args` name behind a subcommand.
fn find(server: &Server, args: Args<'_>) -> Result<Option<Arc<Quota>>, CommandError> {
    Ok(server.quotas.table().find(&subject(args)?).cloned())
}

fn subject(args: Args<'_>) -> Result<QuotaSubject, CommandError> {
    if args.len() != 4 {
        return Err(CommandError::Syntax);
    }
    QuotaSubject::parse(args.at(2), args.at(3)).map_err(|it| refusal(&it))
}

fn refusal(reason: &str) -> CommandError {
    CommandError::quoting(&[b"ERR ", reason.as_bytes()])
}

/// All workers look before they run what they have read.
fn announce(server: &Server) {
    server.settings.renew();
    server.wake_all();
}

fn write_usage(reply: &mut Reply<'_>, quota: &Quota) {
    let facts = facts(quota);
    reply.map(2 + facts.len());
    reply.bulk(b"kind");
    reply.bulk(quota.rule.subject.kind().as_bytes());
    reply.bulk(b"name");
    reply.bulk(&quota.rule.subject.name());
    for (name, value) in facts {
        reply.bulk(name.as_bytes());
        reply.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }
}

/// What is known of a quota at work, for people and INFO.
pub(super) fn facts(quota: &Quota) -> Vec<(&'static str, u64)> {
    let counts = &quota.counts;
    let taken = |kind: Kind| counts.taken[kind as usize].load(Ordering::Relaxed);
    let mut facts = vec![
        ("ops", taken(Kind::Ops)),
        ("in_bytes", taken(Kind::Input)),
        ("out_bytes", taken(Kind::Output)),
        ("delayed", counts.delayed.load(Ordering::Relaxed)),
        ("delayed_ms", counts.delayed_ms.load(Ordering::Relaxed)),
        ("refused", counts.refused.load(Ordering::Relaxed)),
        ("observed", counts.observed.load(Ordering::Relaxed)),
    ];
    if matches!(quota.rule.subject, QuotaSubject::User(_)) {
        facts.push(("clients", quota.seat_count()));
    }
    if quota.rule.memory.is_some() {
        facts.push(("memory_bytes", quota.memory()));
    }
    facts
}
