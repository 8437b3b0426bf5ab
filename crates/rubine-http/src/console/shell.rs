//! The command line: one command at a time, on a connection that keeps its database and transaction. What may do harm is asked
//! for twice; what would turn the connection into something else is not sent.

use maud::{Markup, html};
use rubine_base::quote::split_args;
use rubine_resp::decode::Value;

use super::page::{address, fault, form_token};
use super::show;
use super::{Outcome, Visit};
use crate::link::LinkError;

/// A line is no longer.
const LINE_BYTES_MAX: usize = 64 << 10;
/// What of a reply is shown.
const SHOWN_BYTES_MAX: usize = 256 << 10;

/// Commands after which a connection is no conversation any more, or never answers.
const NOT_HERE: [&str; 12] = [
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "MONITOR",
    "SYNC",
    "PSYNC",
    "REPLCONF",
    "AUTH",
    "HELLO",
    "QUIT",
    "CLIENT|REPLY",
    "CLIENT|TRACKING",
];

/// Commands that change nothing, though they are not marked as commands that only read data.
const LOOKS: [&str; 38] = [
    "PING",
    "ECHO",
    "TIME",
    "INFO",
    "ROLE",
    "SELECT",
    "LASTSAVE",
    "COMMAND",
    "CONFIG|GET",
    "CONFIG|HELP",
    "CLIENT|LIST",
    "CLIENT|INFO",
    "CLIENT|ID",
    "CLIENT|GETNAME",
    "CLIENT|HELP",
    "MEMORY|USAGE",
    "MEMORY|STATS",
    "MEMORY|DOCTOR",
    "OBJECT|ENCODING",
    "SLOWLOG|GET",
    "SLOWLOG|LEN",
    "COMMANDLOG|GET",
    "COMMANDLOG|LEN",
    "LATENCY|LATEST",
    "LATENCY|HISTORY",
    "LATENCY|DOCTOR",
    "LATENCY|HISTOGRAM",
    "LATENCY|GRAPH",
    "ACL|WHOAMI",
    "ACL|LIST",
    "ACL|USERS",
    "ACL|CAT",
    "ACL|GETUSER",
    "PUBSUB|CHANNELS",
    "PUBSUB|NUMSUB",
    "COMMAND|INFO",
    "COMMAND|DOCS",
    "COMMAND|COUNT",
];

/// What the server says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It only reads.
    Look,
    Change,
    /// It may do much harm, or the server counts it among what may.
    Danger,
}

pub(super) fn show(visit: &Visit<'_>) -> Outcome {
    let line = visit.query.text("line");
    Outcome::Page("Command line", content(visit, &line, None, false))
}

fn content(visit: &Visit<'_>, line: &str, reply: Option<&str>, asks: bool) -> Markup {
    html! {
        form.shell method="post" action=(address("shell")) {
            (form_token(visit))
            label.wide {
                "Command"
                input name="line" value=(line) list="commands" autocapitalize="off" autocomplete="off" spellcheck="false" autofocus required data-shell;
            }
            datalist id="commands" {}
            button.main { "Run" }
        }
        @if asks {
            form.shell method="post" action=(address("shell")) {
                (form_token(visit))
                input type="hidden" name="line" value=(line);
                input type="hidden" name="sure" value="1";
                p.fault role="alert" { "This command may do much harm, or take long. Is it what you want?" }
                button.danger { "Yes, run it" }
            }
        }
        p.note data-hint { @if !visit.is_writable { "Only commands that change nothing are run, since console-writable is no." } }
        @if let Some(reply) = reply { pre.value tabindex="0" role="log" { (reply) } }
    }
}

pub(super) async fn run(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let line = visit.body.text("line");
    let is_sure = visit.body.has("sure");
    let page = |reply: Option<&str>, asks| {
        Ok(Outcome::Page("Command line", content(visit, &line, reply, asks)))
    };
    let words = if line.len() <= LINE_BYTES_MAX { split_args(line.as_bytes()).ok() } else { None };
    let Some(words) = words.filter(|it| !it.is_empty()) else {
        return Ok(Outcome::Page(
            "Command line",
            html! { (fault("Quotes don't match, or the line is too long.")) (content(visit, &line, None, false)) },
        ));
    };
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    match decide(visit, &words, is_sure).await? {
        Decision::Ask => page(None, true),
        Decision::Refuse(reason) => page(Some(&reason), false),
        Decision::Run => {
            let reply = visit.session.shell_link(visit.context.host).await?.run(&words).await;
            let shown = match reply {
                Ok(reply) => show::reply(&reply),
                Err(error) => format!("({})", error.words()),
            };
            page(Some(cut(&shown)), false)
        }
    }
}

fn cut(shown: &str) -> &str {
    let end = (0..=SHOWN_BYTES_MAX.min(shown.len())).rev().find(|it| shown.is_char_boundary(*it));
    &shown[..end.unwrap_or(0)]
}

/// What becomes of a line.
pub(crate) enum Decision {
    Run,
    /// It has to be said twice.
    Ask,
    Refuse(String),
}

/// Decides on a command, by what the server says of it.
pub(crate) async fn decide(
    visit: &Visit<'_>,
    words: &[&[u8]],
    is_sure: bool,
) -> Result<Decision, LinkError> {
    let upper = |word: &[u8]| String::from_utf8_lossy(word).to_ascii_uppercase();
    let command = upper(words[0]);
    let with_second = words.get(1).map(|it| format!("{command}|{}", upper(it)));
    let is_among = |names: &[&str]| {
        names.contains(&command.as_str())
            || with_second.as_ref().is_some_and(|it| names.contains(&it.as_str()))
    };
    if is_among(&NOT_HERE) {
        return Ok(Decision::Refuse(format!("{command} is not for a command line in a browser.")));
    }
    let kind = if is_among(&LOOKS) {
        Kind::Look
    } else {
        kind_of(visit, &command, with_second.as_deref()).await?
    };
    Ok(match kind {
        Kind::Look => Decision::Run,
        _ if !visit.is_writable => Decision::Refuse(
            "Only commands that change nothing are run, since console-writable is no.".to_owned(),
        ),
        Kind::Danger if !is_sure => Decision::Ask,
        Kind::Change | Kind::Danger => Decision::Run,
    })
}

/// A command, for completion.
pub(crate) struct Completion {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) syntax: String,
}

/// All commands, from what the server documents.
pub(crate) async fn commands(visit: &Visit<'_>) -> Result<Vec<Completion>, LinkError> {
    let reply = visit.ask(&[b"COMMAND", b"DOCS"]).await?;
    let Value::Array(words) = reply else { return Err(LinkError::Refused(show::reply(&reply))) };
    let mut found = Vec::new();
    add_completions(&words, &mut found);
    Ok(found)
}

/// Those of names and documents in turn, and of their subcommands.
fn add_completions(words: &[Value], found: &mut Vec<Completion>) {
    let (pairs, _) = words.as_chunks::<2>();
    for [name, document] in pairs {
        let (Value::Bulk(name), Value::Array(document)) = (name, document) else { continue };
        let field = |wanted: &str| {
            let (pairs, _) = document.as_chunks::<2>();
            let is_meant =
                |it: &&[Value; 2]| matches!(&it[0], Value::Bulk(it) if it == wanted.as_bytes());
            pairs.iter().find(is_meant).map(|it| &it[1])
        };
        let summary = field("summary").cloned().and_then(super::keys::bulk).unwrap_or_default();
        let name = show::text(name).to_uppercase().replace('|', " ");
        let arguments = match field("arguments") {
            Some(Value::Array(arguments)) => arguments.as_slice(),
            _ => &[],
        };
        let mut syntax = name.clone();
        for argument in arguments {
            let Value::Array(argument) = argument else { continue };
            let (pairs, _) = argument.as_chunks::<2>();
            let part = |wanted: &[u8]| {
                let pair =
                    pairs.iter().find(|it| matches!(&it[0], Value::Bulk(it) if it == wanted))?;
                super::keys::bulk(pair[1].clone()).map(|it| show::text(&it))
            };
            let shown = part(b"token").or_else(|| part(b"display_text")).or_else(|| part(b"name"));
            syntax.push(' ');
            syntax.push_str(&shown.unwrap_or_default());
        }
        found.push(Completion { name, summary: show::text(&summary), syntax });
        if let Some(Value::Array(subcommands)) = field("subcommands") {
            add_completions(subcommands, found);
        }
    }
}

/// Asks the server. What it does not know, it will refuse itself.
async fn kind_of(
    visit: &Visit<'_>,
    command: &str,
    with_second: Option<&str>,
) -> Result<Kind, LinkError> {
    let mut args = vec![&b"COMMAND"[..], b"INFO", command.as_bytes()];
    args.extend(with_second.map(str::as_bytes));
    let Value::Array(entries) = visit.ask(&args).await? else { return Ok(Kind::Danger) };
    // That of the subcommand, where there is one.
    let entry = entries.into_iter().rev().find_map(|it| match it {
        Value::Array(entry) => Some(entry),
        _ => None,
    });
    let Some(entry) = entry else { return Ok(Kind::Look) };
    let words_at = |index: usize| -> Vec<Vec<u8>> {
        match entry.get(index) {
            Some(Value::Array(words) | Value::Set(words)) => {
                words.iter().cloned().filter_map(super::keys::bulk).collect()
            }
            _ => Vec::new(),
        }
    };
    let (flags, categories) = (words_at(2), words_at(6));
    let has = |words: &[Vec<u8>], word: &str| words.iter().any(|it| it == word.as_bytes());
    Ok(if has(&categories, "@dangerous") || has(&flags, "admin") {
        Kind::Danger
    } else if has(&flags, "readonly") {
        Kind::Look
    } else {
        Kind::Change
    })
}
