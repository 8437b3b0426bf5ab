//! The frame of every page: its head, where else one can go, and who is logged in. Has no content of its own.

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Visit;
use crate::reply::{Reply, reply, words};

pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// Where one can go, and what it is called.
const PLACES: [(&str, &str); 11] = [
    ("", "Overview"),
    ("keys", "Keys"),
    ("delete", "Delete by pattern"),
    ("memory", "Memory"),
    ("shell", "Command line"),
    ("clients", "Clients"),
    ("logs", "Slow and large"),
    ("persistence", "Persistence"),
    ("replication", "Replication"),
    ("users", "Users"),
    ("config", "Configuration"),
];

/// The console's place in addresses.
pub(crate) const ROOT: &str = "/console";

/// A page for somebody who is logged in.
pub(super) fn page(visit: &Visit<'_>, title: &str, content: &Markup) -> Reply {
    let place = visit.place;
    let body = html! {
        header {
            a.skip href="#content" { "To the content" }
            strong { a href=(ROOT) { "Rubine" } }
            span.mode { @if visit.is_writable { "changes allowed" } @else { "read only" } }
            form method="post" action={ (ROOT) "/logout" } {
                (form_token(visit))
                span { (visit.session.user()) " " }
                button { "Log out" }
            }
        }
        nav aria-label="Pages" {
            @for (path, name) in PLACES {
                @let current = (path == place || (path == "keys" && place == "key")).then_some("page");
                a href=(address(path)) aria-current=[current] { (name) }
            }
        }
        main #content { h1 { (title) } (content) }
    };
    frame(StatusCode::OK, title, &body)
}

/// The form of a login, with what was wrong about the last one.
pub(super) fn login(status: StatusCode, fault: Option<&str>) -> Reply {
    let body = html! {
        main.login {
            h1 { "Rubine" }
            @if let Some(fault) = fault { p.fault role="alert" { (fault) } }
            form method="post" action={ (ROOT) "/login" } {
                label { "User" input name="user" value="default" autocomplete="username" required; }
                label {
                    "Password"
                    input type="password" name="password" autocomplete="current-password" autofocus;
                }
                button.main { "Log in" }
            }
            p.note { "Users are those of the server, and may do here what they may do there." }
        }
    };
    frame(status, "Log in", &body)
}

fn frame(status: StatusCode, title: &str, body: &Markup) -> Reply {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Rubine" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href={ (ROOT) "/assets/console.css" };
                script type="module" src={ (ROOT) "/assets/console.js" } {}
            }
            body { (body) }
        }
    };
    reply(status, HTML, page.into_string())
}

pub(super) fn address(path: &str) -> String {
    if path.is_empty() { ROOT.to_owned() } else { format!("{ROOT}/{path}") }
}

/// What every form that changes something has in it.
pub(super) fn form_token(visit: &Visit<'_>) -> Markup {
    html! { input type="hidden" name="token" value=(visit.session.form_token); }
}

/// To another page, by GET.
pub(crate) fn go_to(address: &str) -> Reply {
    let mut reply = words(StatusCode::SEE_OTHER, "go on there");
    // What cannot stand in a header would be a mistake of ours.
    let place = HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static(ROOT));
    reply.headers_mut().insert(header::LOCATION, place);
    reply
}

/// A fault, for people.
pub(super) fn fault(words: &str) -> Markup {
    html! { p.fault role="alert" { (words) } }
}

/// A table of two columns.
pub(super) fn facts(rows: &[(&str, String)]) -> Markup {
    html! {
        table.facts {
            @for (name, value) in rows {
                tr { th scope="row" { (name) } td { (value) } }
            }
        }
    }
}

/// Nothing.
pub(super) fn nothing() -> Markup {
    PreEscaped(String::new())
}
