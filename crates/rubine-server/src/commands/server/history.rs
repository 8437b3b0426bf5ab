//! HISTORY: what metrics were over the last day.

use rubine_base::glob::{Case, matches};
use rubine_base::number::parse_i64;
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_history::Summary;

use crate::core::{ServerCommand, Session};

pub(super) const HISTORY: ServerCommand =
    ServerCommand::container("HISTORY", super::never_runs, &[GET, LIST])
        .summary("A container for commands about what metrics were.")
        .since("1.0.0")
        .complexity("Depends on the subcommand.");

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const GET: ServerCommand = ServerCommand::declare("GET", get)
    .summary("Returns the values of a series, or of all series of a metric, over time.")
    .syntax("metric from to step [LAST|AVG|MIN|MAX|RATE]")
    .since("1.0.0")
    .complexity("O(N) with N the number of values between the two moments.")
    .arity(-6)
    .flag(FLAGS);

const SUMMARIES: [(&str, Summary); 5] = [
    ("LAST", Summary::Last),
    ("AVG", Summary::Average),
    ("MIN", Summary::Min),
    ("MAX", Summary::Max),
    ("RATE", Summary::Rate),
];

fn get(session: &mut Session<'_>) -> CommandResult {
    let args = session.args;
    let now = session.core.now / 1000;
    let from = moment(args.at(3), now)?;
    let to = moment(args.at(4), now)?;
    let step = parse_i64(args.at(5)).and_then(|it| u64::try_from(it).ok());
    let step = step.ok_or(CommandError::NotInteger)?;
    let summary = match args.len() {
        6 => Summary::Last,
        7 => {
            let word = args.at(6);
            let found =
                SUMMARIES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
            found.ok_or(CommandError::Syntax)?.1
        }
        _ => return Err(CommandError::Syntax),
    };
    let name = String::from_utf8_lossy(args.at(2));
    let question = session.core.server.operating.recording.ask(&name);
    let answer = question.answer(from, to, step, summary).map_err(|it| refusal(&it.to_string()))?;
    let reply = &mut session.reply;
    reply.array(answer.len());
    for (name, points) in answer {
        reply.array(2);
        reply.bulk(name.as_bytes());
        reply.array(points.len());
        for (at, value) in points {
            reply.array(2);
            reply.integer(at as i64);
            reply.double(value);
        }
    }
    Ok(())
}

/// A moment in Unix seconds; one that is not after 0 is counted from now.
fn moment(text: &[u8], now: i64) -> Result<u64, CommandError> {
    let seconds = parse_i64(text).ok_or(CommandError::NotInteger)?;
    let seconds = if seconds <= 0 { now.saturating_add(seconds) } else { seconds };
    Ok(u64::try_from(seconds).unwrap_or(0))
}

const LIST: ServerCommand = ServerCommand::declare("LIST", list)
    .summary("Returns the series that there is a history of, with their first and last moment.")
    .syntax("[pattern]")
    .since("1.0.0")
    .complexity("O(N) with N the number of series.")
    .arity(-2)
    .flag(FLAGS);

fn list(session: &mut Session<'_>) -> CommandResult {
    let args = session.args;
    if 3 < args.len() {
        return Err(CommandError::Syntax);
    }
    let mut listed = session.core.server.operating.recording.list();
    if args.len() == 3 {
        listed.retain(|it| matches(args.at(2), it.name.as_bytes(), Case::Sensitive));
    }
    let reply = &mut session.reply;
    reply.array(listed.len());
    for series in listed {
        reply.array(3);
        reply.bulk(series.name.as_bytes());
        reply.integer(series.first as i64);
        reply.integer(series.last as i64);
    }
    Ok(())
}

fn refusal(reason: &str) -> CommandError {
    CommandError::quoting(&[b"ERR ", reason.as_bytes()])
}
