//! The configuration: every directive that the user may see, with where its value comes from, and setting one.

use maud::html;
use rubine_resp::decode::Value;

use super::keys::bulk;
use super::page::{address, form_token};
use super::show::{self, cut};
use super::{Outcome, Visit};
use crate::link::LinkError;

/// A directive as it is shown.
pub(crate) struct Directive {
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
    /// Where the value comes from, in words.
    pub(crate) origin: String,
    pub(crate) is_secret: bool,
}

/// Every directive that the user may see.
pub(crate) async fn list(visit: &Visit<'_>, pattern: &str) -> Result<Vec<Directive>, LinkError> {
    let reply = visit.ask(&[b"CONFIG", b"GET", pattern.as_bytes()]).await?;
    let Value::Array(words) = reply else { return Err(LinkError::Refused(show::reply(&reply))) };
    let words: Vec<Vec<u8>> = words.into_iter().filter_map(bulk).collect();
    let host = visit.context.host;
    let (pairs, _) = words.as_chunks::<2>();
    let parse = |[name, value]: &[Vec<u8>; 2]| {
        let name = String::from_utf8_lossy(name).into_owned();
        let about = host.directive(&name);
        let value = if about.is_secret { Vec::new() } else { value.clone() };
        Directive { origin: about.origin, is_secret: about.is_secret, name, value }
    };
    Ok(pairs.iter().map(parse).collect())
}

pub(super) async fn show(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let needle = visit.query.text("find");
    let mut directives = list(visit, "*").await?;
    let is_changed_only = visit.query.has("changed");
    directives
        .retain(|it| it.name.contains(&needle) && (!is_changed_only || it.origin != "the default"));
    let content = html! {
        form.search method="get" action=(address("config")) role="search" {
            label.wide { "Name" input name="find" value=(needle); }
            label.check { input type="checkbox" name="changed" value="1" checked[is_changed_only]; " Without defaults" }
            button.main { "Find" }
        }
        p.note { (directives.len()) " directives." @if visit.is_writable { " What is set here lasts until the server ends; CONFIG REWRITE keeps it." } }
        table.values {
            thead { tr { th { "Name" } th { "Value" } th { "From" } } }
            tbody {
                @for directive in &directives {
                    tr {
                        td { (directive.name) }
                        td {
                            @if visit.is_writable {
                                form.inline method="post" action=(address("config")) {
                                    (form_token(visit))
                                    input type="hidden" name="name" value=(directive.name);
                                    @if directive.is_secret { input type="password" name="value" required placeholder="not shown" autocomplete="new-password" aria-label=(directive.name); }
                                    @else { input name="value" value=(cut(&directive.value, 2000)) aria-label=(directive.name) spellcheck="false"; }
                                    button.small { "Set" }
                                }
                            } @else if directive.is_secret { "not shown" } @else { code { (cut(&directive.value, 2000)) } }
                        }
                        td { (directive.origin) }
                    }
                }
            }
        }
    };
    Ok(Outcome::Page("Configuration", content))
}

pub(super) async fn set(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let (name, value) = (visit.body.bytes("name"), visit.body.bytes("value"));
    match visit.ask(&[b"CONFIG", b"SET", name, value]).await? {
        Value::Error(reason) => Err(LinkError::Refused(show::text(&reason))),
        _ => Ok(Outcome::GoTo(format!("{}?find={}", address("config"), crate::form::encode(name)))),
    }
}
