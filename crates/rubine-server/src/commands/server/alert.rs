//! ALERT: rules, what they have found, what is not to be told for a while, and what has been told.

use rubine_alerts::{
    Alert, Matcher, NoData, RuleLine, RuleReport, State, format_duration, parse_duration,
};
use rubine_commands::{CommandError, CommandResult, Flags};
use rubine_resp::writer::Reply;

use crate::core::{ServerCommand, Session};

pub(super) const ALERT: ServerCommand = ServerCommand::container(
    "ALERT",
    super::never_runs,
    &[DEL, LIST, LOG, RULES, SET, SILENCE, SILENCES, TEST, UNSILENCE],
)
.summary("A container for commands about alerts.")
.since("1.0.0")
.complexity("Depends on the subcommand.");

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const LIST: ServerCommand = ServerCommand::declare("LIST", list)
    .summary("Returns the alerts that are pending, fire, or ended a while ago.")
    .since("1.0.0")
    .complexity("O(N) with N the number of alerts.")
    .arity(2)
    .flag(FLAGS);

fn list(session: &mut Session<'_>) -> CommandResult {
    let shown = session.core.server.operating.alerting.shown();
    session.reply.array(shown.alerts.len());
    shown.alerts.iter().for_each(|it| write_alert(&mut session.reply, it));
    Ok(())
}

const RULES: ServerCommand = ServerCommand::declare("RULES", rules)
    .summary("Returns all rules, and how they stand.")
    .since("1.0.0")
    .complexity("O(N) with N the number of rules.")
    .arity(2)
    .flag(FLAGS);

fn rules(session: &mut Session<'_>) -> CommandResult {
    let shown = session.core.server.operating.alerting.shown();
    session.reply.array(shown.rules.len());
    shown.rules.iter().for_each(|it| write_rule(&mut session.reply, it));
    Ok(())
}

const SET: ServerCommand = ServerCommand::declare("SET", set)
    .summary("Sets a rule, in place of one of the same name, or what a built-in rule is to be otherwise.")
    .syntax(
        "name [expression] [threshold number] [for time] [keep time] [severity level] [hold expression] \
         [nodata page|ok] [label name=value [label name=value ...]] [summary text] [description text] [off]",
    )
    .since("1.0.0")
    .complexity("O(N) with N the number of rules.")
    .arity(-4)
    .flag(FLAGS);

fn set(session: &mut Session<'_>) -> CommandResult {
    let words: Vec<&[u8]> = session.args.from(2).collect();
    let line = RuleLine::parse(&words).map_err(|it| refusal(&it))?;
    let set = session.core.server.operating.alerting.set_rule(line);
    set.map_err(|it| refusal(&it.to_string()))?;
    session.reply.ok();
    Ok(())
}

const DEL: ServerCommand = ServerCommand::declare("DEL", del)
    .summary("Removes a rule; a built-in one is as it was. Returns whether there was anything to remove.")
    .syntax("name")
    .since("1.0.0")
    .complexity("O(N) with N the number of rules.")
    .arity(3)
    .flag(FLAGS);

fn del(session: &mut Session<'_>) -> CommandResult {
    let name = text(session.args.at(2))?;
    let was_there = session.core.server.operating.alerting.remove_rule(&name);
    session.reply.integer(was_there.into());
    Ok(())
}

const SILENCE: ServerCommand = ServerCommand::declare("SILENCE", silence)
    .summary("Has alerts that meet all conditions not told for a while. Returns the number of the silence.")
    .syntax("time name|label=value [name|label=value ...] [COMMENT text]")
    .since("1.0.0")
    .complexity("O(N) with N the number of alerts.")
    .arity(-4)
    .flag(FLAGS);

/// No silence lasts longer: a year.
const SILENCE_MS_MAX: u64 = 365 * 86_400_000;
/// Conditions of one silence, and the length of what is said about it.
const MATCHERS_MAX: usize = 16;
const COMMENT_BYTES_MAX: usize = 1024;

fn silence(session: &mut Session<'_>) -> CommandResult {
    let time = text(session.args.at(2))?;
    let millis = parse_duration(&time).filter(|it| (1..=SILENCE_MS_MAX).contains(it));
    let millis = millis.ok_or_else(|| refusal("a silence lasts for a time such as 2h"))?;
    let mut comment = String::new();
    let mut matchers = Vec::new();
    let mut words = session.args.from(3);
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"COMMENT") {
            comment = text(words.next().ok_or(CommandError::Syntax)?)?;
            if words.next().is_some() {
                return Err(CommandError::Syntax);
            }
            break;
        }
        let word = text(word)?;
        // A word alone is the name of a rule.
        let is_condition = word.contains(['=', '!']);
        let condition = if is_condition { word } else { format!("alertname={word}") };
        matchers.push(Matcher::parse(&condition).map_err(|it| refusal(&it))?);
    }
    if matchers.is_empty() || MATCHERS_MAX < matchers.len() || COMMENT_BYTES_MAX < comment.len() {
        return Err(CommandError::Syntax);
    }
    let author = String::from_utf8_lossy(session.client.identity.user.name()).into_owned();
    let alerting = &session.core.server.operating.alerting;
    let id = alerting.silence(matchers, millis, author, comment);
    let id = id.map_err(|it| refusal(&it.to_string()))?;
    session.reply.integer(id as i64);
    Ok(())
}

const UNSILENCE: ServerCommand = ServerCommand::declare("UNSILENCE", unsilence)
    .summary("Ends a silence before its time. Returns whether there was one.")
    .syntax("number")
    .since("1.0.0")
    .complexity("O(N) with N the number of alerts.")
    .arity(3)
    .flag(FLAGS);

fn unsilence(session: &mut Session<'_>) -> CommandResult {
    let number = rubine_base::number::parse_i64(session.args.at(2));
    let number = number.ok_or(CommandError::NotInteger)?;
    let was_there =
        u64::try_from(number).is_ok_and(|it| session.core.server.operating.alerting.unsilence(it));
    session.reply.integer(was_there.into());
    Ok(())
}

const SILENCES: ServerCommand = ServerCommand::declare("SILENCES", silences)
    .summary("Returns the silences that have not ended.")
    .since("1.0.0")
    .complexity("O(N) with N the number of silences.")
    .arity(2)
    .flag(FLAGS);

fn silences(session: &mut Session<'_>) -> CommandResult {
    let now = session.core.now;
    let shown = session.core.server.operating.alerting.shown();
    let silences: Vec<_> = shown.silences.iter().filter(|it| now < it.ends_at).collect();
    let reply = &mut session.reply;
    reply.array(silences.len());
    for silence in silences {
        let conditions: Vec<String> = silence.matchers.iter().map(Matcher::to_string).collect();
        reply.map(6);
        number(reply, "id", silence.id as i64);
        word(reply, "matchers", &conditions.join(","));
        number(reply, "starts-at", silence.starts_at / 1000);
        number(reply, "ends-at", silence.ends_at / 1000);
        word(reply, "author", &silence.author);
        word(reply, "comment", &silence.comment);
    }
    Ok(())
}

const TEST: ServerCommand = ServerCommand::declare("TEST", test)
    .summary("Sends every receiver an alert for trial. Returns how many receivers there are; ALERT LOG tells what became of it.")
    .since("1.0.0")
    .complexity("O(N) with N the number of receivers.")
    .arity(2)
    .flag(FLAGS);

fn test(session: &mut Session<'_>) -> CommandResult {
    let count = session.core.server.operating.alerting.test();
    session.reply.integer(count as i64);
    Ok(())
}

const LOG: ServerCommand = ServerCommand::declare("LOG", log)
    .summary("Returns what has become of messages to receivers, the newest first.")
    .syntax("[count]")
    .since("1.0.0")
    .complexity("O(N) with N the number of entries.")
    .arity(-2)
    .flag(FLAGS);

/// Entries that are shown if nothing else is said.
const ENTRIES: usize = 10;

fn log(session: &mut Session<'_>) -> CommandResult {
    let count = match session.args.len() {
        2 => ENTRIES,
        3 => {
            let count = rubine_base::number::parse_i64(session.args.at(2));
            let count = count.and_then(|it| usize::try_from(it).ok());
            count.ok_or(CommandError::NotInteger)?
        }
        _ => return Err(CommandError::Syntax),
    };
    let entries = session.core.server.operating.alerting.log.last(count);
    let reply = &mut session.reply;
    reply.array(entries.len());
    for entry in entries {
        reply.map(10);
        number(reply, "time", entry.at / 1000);
        word(reply, "receiver", &entry.receiver);
        word(reply, "format", entry.format);
        number(reply, "message", entry.message as i64);
        number(reply, "alerts", entry.alerts as i64);
        number(reply, "attempt", entry.attempt.into());
        word(reply, "outcome", entry.outcome.name());
        number(reply, "status", entry.status.unwrap_or_default().into());
        number(reply, "milliseconds", entry.millis as i64);
        word(reply, "reason", &entry.reason);
    }
    Ok(())
}

fn write_alert(reply: &mut Reply<'_>, alert: &Alert) {
    let annotation = |name: &str| alert.annotations.get(name).map_or("", String::as_str);
    reply.map(10);
    word(reply, "name", &alert.rule);
    word(reply, "state", alert.state.name());
    word(reply, "severity", alert.severity.name());
    word(reply, "value", &alert.value.to_string());
    number(reply, "starts-at", alert.starts_at / 1000);
    number(reply, "ends-at", alert.ends_at.unwrap_or_default() / 1000);
    number(reply, "silenced", alert.is_silenced.into());
    word(reply, "summary", annotation("summary"));
    word(reply, "description", annotation("description"));
    reply.bulk(b"labels");
    reply.map(alert.labels.len());
    for (name, value) in &alert.labels {
        word(reply, name, value);
    }
}

fn write_rule(reply: &mut Reply<'_>, report: &RuleReport) {
    let state = match (&report.rule, &report.error) {
        (Err(_), _) => "skipped",
        (_, Some(_)) => "nodata",
        _ if report.firing != 0 => State::Firing.name(),
        _ if report.pending != 0 => State::Pending.name(),
        _ => "inactive",
    };
    let reason = match (&report.rule, &report.error) {
        (Err(reason), _) => *reason,
        (_, error) => error.as_deref().unwrap_or_default(),
    };
    let rule = report.rule.as_ref().ok();
    let of_rule = |value: fn(&rubine_alerts::Rule) -> String| rule.map(value).unwrap_or_default();
    reply.map(12);
    word(reply, "name", &report.name);
    word(reply, "kind", if report.is_builtin { "builtin" } else { "own" });
    word(reply, "state", state);
    word(reply, "reason", reason);
    number(reply, "pending", report.pending as i64);
    number(reply, "firing", report.firing as i64);
    word(reply, "severity", &of_rule(|it| it.severity.name().to_owned()));
    word(reply, "expression", &of_rule(|it| it.expression.text().to_owned()));
    word(reply, "hold", &of_rule(|it| it.hold.as_ref().map_or("", |it| it.text()).to_owned()));
    word(reply, "for", &of_rule(|it| format_duration(it.for_ms)));
    word(reply, "keep", &of_rule(|it| format_duration(it.keep_ms)));
    let no_data = |it: &rubine_alerts::Rule| match it.no_data {
        NoData::Page => "page".to_owned(),
        NoData::Ok => "ok".to_owned(),
    };
    word(reply, "nodata", &of_rule(no_data));
}

fn word(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

fn number(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn text(argument: &[u8]) -> Result<String, CommandError> {
    let text = std::str::from_utf8(argument).map(str::to_owned);
    text.map_err(|_| refusal("alerts are written in UTF-8"))
}

fn refusal(reason: &str) -> CommandError {
    CommandError::quoting(&[b"ERR ", reason.as_bytes()])
}
