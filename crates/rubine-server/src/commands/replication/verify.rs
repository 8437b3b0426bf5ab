//! REPLICATION: whether replicas have what this server has, and sending again what they have otherwise.

use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_replication::verify::Counts;
use rubine_resp::writer::Reply;

use crate::control::{repair, verify};
use crate::core::{ServerCommand, Session};
use crate::replication::verification::{Checked, Outcome, Phase, Report, Run};

pub(super) const REPLICATION: ServerCommand =
    ServerCommand::container("REPLICATION", never_runs, &[REPAIR, VERIFY])
        .summary("A container for commands about whether replicas have what their master has.")
        .since("1.0.0")
        .complexity("Depends on the subcommand.");

fn never_runs(_: &mut Session<'_>) -> CommandResult {
    unreachable!("containers are refused before")
}

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE);
/// Keys that are named in a reply, if the client does not say how many.
const COUNT: i64 = 100;

const VERIFY: ServerCommand = ServerCommand::declare("VERIFY", run_verify)
    .summary("Compares all replicas with this server in the background, and tells what came of it.")
    .syntax("[START|CANCEL|STATUS [COUNT count]]")
    .since("1.0.0")
    .complexity("O(1), and O(N) in the background with N the number of keys.")
    .arity(-2)
    .flag(FLAGS);

fn run_verify(session: &mut Session<'_>) -> CommandResult {
    let server = session.core.server;
    let mut options = session.args.options(2);
    let Some(action) = options.next() else { return start(session) };
    let rest = options.next();
    if action.eq_ignore_ascii_case(b"STATUS") {
        let count = match rest {
            None => COUNT,
            Some(word) if word.eq_ignore_ascii_case(b"COUNT") && session.args.len() == 5 => {
                session.args.integer(4)?
            }
            Some(_) => return Err(CommandError::Syntax),
        };
        let count = usize::try_from(count).map_err(|_| CommandError::text(BAD_COUNT))?;
        let last = server.replication.verification.last();
        write_status(&mut session.reply, last.as_deref(), count);
        return Ok(());
    }
    if rest.is_some() {
        return Err(CommandError::Syntax);
    }
    match action {
        it if it.eq_ignore_ascii_case(b"START") => start(session),
        it if it.eq_ignore_ascii_case(b"CANCEL") => cancel(session),
        _ => Err(CommandError::Syntax),
    }
}

const BAD_COUNT: &str = "ERR COUNT must not be negative";

fn start(session: &mut Session<'_>) -> CommandResult {
    verify::start(session.core.server).map_err(|reason| refusal(&reason))?;
    session.reply.simple("Background verification of replicas started");
    Ok(())
}

fn cancel(session: &mut Session<'_>) -> CommandResult {
    let last = session.core.server.replication.verification.last();
    let run = last.filter(|it| it.is_busy());
    run.ok_or(CommandError::text("ERR No verification and no repair in progress."))?.cancel();
    session.reply.ok();
    Ok(())
}

const REPAIR: ServerCommand = ServerCommand::declare("REPAIR", run_repair)
    .summary(
        "Sends replicas again the keys that the last verification has named. Returns how many.",
    )
    .since("1.0.0")
    .complexity("O(N) with N the number of keys named, and in the background with their sizes.")
    .arity(2)
    .flag(FLAGS);

fn run_repair(session: &mut Session<'_>) -> CommandResult {
    let count = repair::start(session.core.server).map_err(|reason| refusal(&reason))?;
    session.reply.integer(count as i64);
    Ok(())
}

fn refusal(reason: &str) -> CommandError {
    CommandError::Other(format!("ERR {reason}").into())
}

fn write_status(reply: &mut Reply<'_>, run: Option<&Run>, count: usize) {
    let Some(run) = run else {
        reply.map(1);
        pair(reply, "state", "none");
        return;
    };
    let report = run.report.lock();
    let failure = match &report.phase {
        Phase::Failed(reason) => Some(reason),
        _ => None,
    };
    reply.map(8 + usize::from(failure.is_some()) + usize::from(report.repair.is_some()));
    pair(reply, "state", report.phase.name());
    if let Some(reason) = failure {
        pair(reply, "reason", reason);
    }
    number(reply, "started-at", run.started_at / 1000);
    number(reply, "ended-at", report.ended_at.map_or(0, |it| it / 1000));
    number(reply, "offset", report.offset as i64);
    number(reply, "keys", report.keys as i64);
    reply.bulk(b"replicas");
    reply.array(report.replicas.len());
    report.replicas.iter().for_each(|it| write_replica(reply, it));
    number(reply, "differences", report.differences.total() as i64);
    write_keys(reply, &report, count);
    if let Some(repair) = &report.repair {
        reply.bulk(b"repair");
        reply.map(3 + usize::from(repair.failure.is_some()));
        let state = match (&repair.failure, repair.is_over) {
            (Some(_), _) => "failed",
            (None, true) => "done",
            (None, false) => "running",
        };
        pair(reply, "state", state);
        number(reply, "keys", repair.keys as i64);
        number(reply, "sent", repair.sent as i64);
        if let Some(reason) = &repair.failure {
            pair(reply, "reason", reason);
        }
    }
}

fn write_replica(reply: &mut Reply<'_>, checked: &Checked) {
    let Checked { address, outcome, counts, unexamined } = checked;
    let Counts { other, missing, extra } = *counts;
    let reason = match outcome {
        Outcome::Unable(reason) => Some(reason),
        _ => None,
    };
    reply.map(6 + usize::from(reason.is_some()));
    pair(reply, "address", address);
    pair(reply, "state", outcome.name());
    if let Some(reason) = reason {
        pair(reply, "reason", reason);
    }
    number(reply, "missing", missing as i64);
    number(reply, "extra", extra as i64);
    number(reply, "other", other as i64);
    number(reply, "unexamined-parts", *unexamined as i64);
}

/// Some of the keys that differ: where, which, and how.
fn write_keys(reply: &mut Reply<'_>, report: &Report, count: usize) {
    let named = report.differences.named();
    let shown = &named[..named.len().min(count)];
    reply.bulk(b"different-keys");
    reply.array(shown.len());
    for it in shown {
        reply.array(4);
        reply.integer(it.db.into());
        reply.bulk(&it.key);
        reply.bulk(it.kind.name().as_bytes());
        let address = report.replicas.get(it.replica).map_or("", |it| it.address.as_str());
        reply.bulk(address.as_bytes());
    }
}

fn pair(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

fn number(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}
