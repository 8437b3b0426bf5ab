//! One key: what it is, and a part of its value that fits on a page, whatever its size. Changes nothing.

use maud::{Markup, html};

use super::keys::{self, key_address};
use super::page::{address, facts, fault};
use super::show::{self, count, cut, size};
use super::value::{Facts, Part, facts_of, index_of, part_of};
use super::{Outcome, Visit, edit};
use crate::form::encode;
use crate::link::LinkError;

/// Bytes of one element that are shown.
const ELEMENT_BYTES_MAX: usize = 1000;

pub(super) async fn show(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let (db, key) = (visit.db(), visit.query.bytes("key"));
    let Some(facts) = facts_of(visit, db, key).await? else {
        let content = html! {
            p.key { (keys::name(key)) }
            p { "There is no such key in database " (db) ", or there is none any more." }
            (edit::form_for_new(visit, db, key))
        };
        return Ok(Outcome::Page("Key", content));
    };
    let from = visit.query.bytes("from");
    let (part, trouble) = match part_of(visit, db, key, &facts, from).await {
        Ok(part) => (part, None),
        Err(error) => (Part { rows: Vec::new(), next: None }, Some(error.words().to_owned())),
    };
    let content = html! {
        p.key { (keys::name(key)) }
        (describe(db, &facts))
        @if let Some(trouble) = &trouble { (fault(trouble)) }
        (value(visit, db, key, &facts, &part))
        @if let Some(next) = &part.next {
            p { a.next rel="next" href={ (key_address(db, key)) "&from=" (encode(next)) } { "Further" } }
        }
        (edit::forms(visit, db, key, &facts, &part))
    };
    Ok(Outcome::Page("Key", content))
}

fn describe(db: u64, known: &Facts) -> Markup {
    let len = count(known.len as f64);
    let left = match known.left_ms {
        ..0 => "for ever".to_owned(),
        left => show::span(left as f64 / 1000.0),
    };
    facts(&[
        ("Database", db.to_string()),
        ("Type", format!("{} ({})", known.of_type, known.encoding)),
        (if known.of_type == "string" { "Bytes" } else { "Elements" }, len),
        ("Memory, about", size(known.memory as f64)),
        ("Stays", left),
    ])
}

fn value(visit: &Visit<'_>, db: u64, key: &[u8], facts: &Facts, part: &Part) -> Markup {
    if facts.of_type == "string" {
        let bytes = part.rows.first().and_then(|it| it.first()).map_or(&[][..], Vec::as_slice);
        return string(visit, db, key, facts, bytes);
    }
    let columns: &[&str] = match facts.of_type.as_str() {
        "list" => &["Index", "Value"],
        "hash" => &["Field", "Value"],
        "zset" => &["Score", "Member"],
        "stream" => &["Entry", "Fields"],
        _ => &["Member"],
    };
    html! {
        h2 { "Elements" }
        table.values {
            thead { tr { @for column in columns { th { (column) } } @if edit::can(visit) { th { "" } } } }
            tbody {
                @for row in &part.rows {
                    tr {
                        @for cell in row { td { pre { (cut(cell, ELEMENT_BYTES_MAX)) } } }
                        @if edit::can(visit) { td { (edit::removal(visit, db, key, facts, row)) } }
                    }
                }
            }
        }
    }
}

fn string(visit: &Visit<'_>, db: u64, key: &[u8], facts: &Facts, bytes: &[u8]) -> Markup {
    let view = visit.query.text("view");
    let from = index_of(visit.query.bytes("from"));
    let is_whole = facts.len == bytes.len() as u64;
    let json = if is_whole { show::json(bytes) } else { None };
    let shown = match view.as_str() {
        "hex" => show::hex(&bytes[..bytes.len().min(16 << 10)]),
        "json" => {
            json.clone().unwrap_or_else(|| "This is no JSON, or not all of it is here.".to_owned())
        }
        _ => show::text(bytes),
    };
    let view_address = |view: &str| {
        format!("{}?db={db}&key={}&from={from}&view={view}", address("key"), encode(key))
    };
    html! {
        h2 { "Value" }
        p.views {
            a href=(view_address("text")) { "Text" } " "
            a href=(view_address("hex")) { "Hex" } " "
            @if json.is_some() { a href=(view_address("json")) { "JSON" } }
        }
        @if !is_whole {
            p.note { "Bytes " (count(from as f64)) " to " (count((from + bytes.len() as u64) as f64)) " of " (count(facts.len as f64)) "." }
        }
        pre.value tabindex="0" { (shown) }
    }
}
