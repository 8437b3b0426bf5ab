//! Commands that were slow or large, and keys that are asked for most.

use maud::{Markup, html};
use rubine_resp::decode::Value;

use super::keys::bulk;
use super::page::{address, fault};
use super::show::{self, count, cut};
use super::{Outcome, Visit};
use crate::link::LinkError;

/// Entries of a log that are shown.
const SHOWN: &[u8] = b"50";
/// The logs, their titles, and the units.
const LOGS: [(&str, &str, &str); 3] = [
    ("slow", "Slow", "µs"),
    ("large-request", "Large requests", "bytes"),
    ("large-reply", "Large replies", "bytes"),
];

/// An entry of a log.
pub(crate) struct Entry {
    pub(crate) id: i64,
    /// Unix seconds.
    pub(crate) at: i64,
    pub(crate) value: i64,
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) address: String,
    pub(crate) client: String,
}

/// The newest entries of a log.
pub(crate) async fn entries(visit: &Visit<'_>, log: &str) -> Result<Vec<Entry>, LinkError> {
    let reply = visit.ask(&[b"COMMANDLOG", b"GET", SHOWN, log.as_bytes()]).await?;
    let Value::Array(entries) = reply else { return Err(LinkError::Refused(show::reply(&reply))) };
    let parse = |entry: Value| {
        let Value::Array(parts) = entry else { return None };
        let number =
            |index: usize| if let Some(Value::Integer(it)) = parts.get(index) { *it } else { 0 };
        let text = |index: usize| {
            let bytes = parts.get(index).cloned().and_then(bulk).unwrap_or_default();
            show::text(&bytes)
        };
        let words = match parts.get(3) {
            Some(Value::Array(words)) => words.iter().cloned().filter_map(bulk).collect(),
            _ => Vec::new(),
        };
        Some(Entry {
            id: number(0),
            at: number(1),
            value: number(2),
            words,
            address: text(4),
            client: text(5),
        })
    };
    Ok(entries.into_iter().filter_map(parse).collect())
}

pub(super) async fn show(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let mut sections = Vec::new();
    for (log, title, unit) in LOGS {
        sections.push((title, unit, entries(visit, log).await));
    }
    let now = rubine_base::clock::unix_millis() / 1000;
    let hot = visit.ask(&[b"HOTKEYS", b"GET"]).await?;
    let content = html! {
        @for (title, unit, entries) in &sections {
            h2 { (title) }
            @match entries {
                Ok(entries) if entries.is_empty() => { p { "None so far." } },
                Ok(entries) => { (table(entries, unit, now)) },
                Err(error) => { (fault(error.words())) },
            }
        }
        h2 { "Keys that are asked for most" }
        (hot_keys(&hot))
        p { a href={ (address("config")) "?find=log" } { "Thresholds" } }
    };
    Ok(Outcome::Page("Slow and large", content))
}

fn table(entries: &[Entry], unit: &str, now: i64) -> Markup {
    html! {
        table {
            thead { tr { th { "Ago" } th.number { (unit) } th { "Command" } th { "Client" } } }
            tbody {
                @for entry in entries {
                    tr {
                        td { (show::span((now - entry.at).max(0) as f64)) }
                        td.number { (count(entry.value as f64)) }
                        td { code { (entry.words.iter().map(|it| cut(it, 200)).collect::<Vec<_>>().join(" ")) } }
                        td { (entry.address) " " (entry.client) }
                    }
                }
            }
        }
    }
}

fn hot_keys(reply: &Value) -> Markup {
    match reply {
        Value::Null | Value::NullArray => html! {
            p { "Nobody counts them. " code { "HOTKEYS START METRICS 2 CPU NET" } " begins to." }
        },
        reply => html! { pre.value tabindex="0" { (show::reply(reply)) } },
    }
}
