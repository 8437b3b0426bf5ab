//! Clients: a bounded part of them, and closing one.

use maud::html;
use rubine_resp::decode::Value;

use super::keys::bulk;
use super::page::{address, form_token};
use super::show;
use super::{Outcome, Visit};
use crate::link::LinkError;

/// Clients on one page.
const SHOWN_MAX: usize = 200;
/// What of a client is shown, by its names in CLIENT LIST.
const COLUMNS: [(&str, &str); 10] = [
    ("id", "Number"),
    ("addr", "Address"),
    ("name", "Name"),
    ("user", "User"),
    ("db", "Database"),
    ("age", "Connected, s"),
    ("idle", "Idle, s"),
    ("cmd", "Last command"),
    ("tot-mem", "Memory"),
    ("lib-name", "Library"),
];

/// A client, as CLIENT LIST tells of it.
pub(crate) struct Client<'a>(&'a str);

impl<'a> Client<'a> {
    pub(crate) fn get(&self, name: &str) -> &'a str {
        self.0
            .split(' ')
            .find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    }
}

/// The text of CLIENT LIST.
pub(crate) async fn list(visit: &Visit<'_>) -> Result<String, LinkError> {
    let reply = visit.ask(&[b"CLIENT", b"LIST"]).await?;
    match reply {
        Value::Verbatim { text, .. } => Ok(show::text(&text)),
        reply => match bulk(reply.clone()) {
            Some(text) => Ok(show::text(&text)),
            None => Err(LinkError::Refused(show::reply(&reply))),
        },
    }
}

/// The clients of a text, in the order of a column.
pub(crate) fn sorted<'a>(text: &'a str, by: &str) -> Vec<Client<'a>> {
    let mut clients: Vec<Client<'_>> = text.lines().map(Client).collect();
    let number = |it: &Client<'_>| it.get(by).parse::<i64>().unwrap_or(0);
    match by {
        "tot-mem" | "age" | "idle" => clients.sort_by_key(|it| std::cmp::Reverse(number(it))),
        "addr" | "name" | "user" | "cmd" | "lib-name" => clients.sort_by_key(|it| it.get(by)),
        _ => clients.sort_by_key(number),
    }
    clients
}

pub(super) async fn show(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let text = list(visit).await?;
    let by = visit.query.text("sort");
    let needle = visit.query.text("find");
    let mut clients = sorted(&text, &by);
    let all = clients.len();
    clients.retain(|it| needle.is_empty() || it.0.contains(&needle));
    let found = clients.len();
    clients.truncate(SHOWN_MAX);
    let content = html! {
        form.search method="get" action=(address("clients")) role="search" {
            label.wide { "Find" input name="find" value=(needle); }
            input type="hidden" name="sort" value=(by);
            button.main { "Find" }
        }
        p.note { (all) " clients, " (found) " match" @if SHOWN_MAX < found { ", the first " (SHOWN_MAX) " are shown" } "." }
        table {
            thead { tr {
                @for (name, title) in COLUMNS { th { a href={ (address("clients")) "?sort=" (name) "&find=" (crate::form::encode(needle.as_bytes())) } { (title) } } }
                @if visit.is_writable { th { "" } }
            } }
            tbody {
                @for client in &clients {
                    tr {
                        @for (name, _) in COLUMNS { td { (client.get(name)) } }
                        @if visit.is_writable {
                            td {
                                form method="post" action=(address("clients")) {
                                    (form_token(visit))
                                    input type="hidden" name="id" value=(client.get("id"));
                                    button.small aria-label={ "Close client " (client.get("id")) } { "Close" }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(Outcome::Page("Clients", content))
}

pub(super) async fn close(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    match visit.ask(&[b"CLIENT", b"KILL", b"ID", visit.body.bytes("id")]).await? {
        Value::Error(reason) => Err(LinkError::Refused(show::text(&reason))),
        _ => Ok(Outcome::GoTo(address("clients"))),
    }
}
