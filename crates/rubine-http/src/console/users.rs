//! Users and what they may do, and who was refused what.

use maud::html;
use rubine_resp::decode::Value;

use super::keys::bulk;
use super::page::fault;
use super::show::{self, cut};
use super::{Outcome, Visit};
use crate::link::LinkError;

/// Users on a page.
const SHOWN_MAX: usize = 500;
/// Refusals on a page.
const REFUSALS: &[u8] = b"20";

/// Each user and its rules, without what stands for passwords.
pub(crate) async fn list(visit: &Visit<'_>) -> Result<Vec<(String, String)>, LinkError> {
    let reply = visit.ask(&[b"ACL", b"LIST"]).await?;
    let Value::Array(lines) = reply else { return Err(LinkError::Refused(show::reply(&reply))) };
    let parse = |line: Vec<u8>| {
        let line = show::text(&line);
        let mut words = line.split(' ').skip(1);
        let name = words.next().unwrap_or_default().to_owned();
        let hide = |word: &str| {
            if word.starts_with('#') { "(password)".to_owned() } else { word.to_owned() }
        };
        (name, words.map(hide).collect::<Vec<_>>().join(" "))
    };
    Ok(lines.into_iter().filter_map(bulk).map(parse).collect())
}

pub(super) async fn show(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let users = list(visit).await?;
    let refusals = visit.ask(&[b"ACL", b"LOG", REFUSALS]).await?;
    let content = html! {
        p.note { "You are " strong { (visit.session.user()) } ". Users are changed by ACL SETUSER in the command line." }
        table {
            thead { tr { th { "User" } th { "Rules" } } }
            tbody {
                @for (name, rules) in users.iter().take(SHOWN_MAX) { tr { td { (name) } td { code { (rules) } } } }
            }
        }
        h2 { "Refused lately" }
        @match &refusals {
            Value::Array(entries) if entries.is_empty() => { p { "Nothing." } },
            Value::Array(entries) => {
                table {
                    thead { tr { th { "User" } th { "Why" } th { "What" } th { "Times" } th { "Seconds ago" } } }
                    tbody { @for entry in entries { tr { @for name in ["username", "reason", "object", "count", "age-seconds"] { td { (field(entry, name)) } } } } }
                }
            },
            other => { (fault(&show::reply(other))) },
        }
    };
    Ok(Outcome::Page("Users", content))
}

/// A field of an entry of ACL LOG.
fn field(entry: &Value, name: &str) -> String {
    let Value::Array(words) = entry else { return String::new() };
    let pair =
        words.chunks(2).find(|it| matches!(&it[0], Value::Bulk(it) if it == name.as_bytes()));
    match pair.and_then(|it| it.get(1)) {
        Some(Value::Integer(number)) => number.to_string(),
        Some(value) => cut(&bulk(value.clone()).unwrap_or_default(), 200),
        None => String::new(),
    }
}
