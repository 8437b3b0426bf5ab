//! Changes of one key, each by one command: its value, an element, how long it stays, its end. Decides nothing by itself: the
//! server refuses what the user may not do.

use maud::{Markup, html};
use rubine_resp::decode::Value;

use super::keys::key_address;
use super::page::{address, form_token, nothing};
use super::show;
use super::value::{Facts, Part};
use super::{Outcome, Visit};
use crate::link::LinkError;

/// A value that is edited in a form is no longer.
const EDITED_BYTES_MAX: usize = 32 << 10;

/// Whether anything may be changed here.
pub(super) fn can(visit: &Visit<'_>) -> bool {
    visit.is_writable
}

/// Begins a form that changes a key.
fn head(visit: &Visit<'_>, db: u64, key: &[u8], act: &str) -> Markup {
    html! {
        (form_token(visit))
        input type="hidden" name="db" value=(db);
        input type="hidden" name="key" value=(hex_of(key));
        input type="hidden" name="act" value=(act);
    }
}

/// Bytes as a form holds them, which is for text otherwise.
fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

fn bytes_of(hex: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = hex.as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

/// The form of a key that is not there.
pub(super) fn form_for_new(visit: &Visit<'_>, db: u64, key: &[u8]) -> Markup {
    if !can(visit) {
        return nothing();
    }
    html! {
        h2 { "Make it" }
        form.edit method="post" action=(address("key")) {
            (head(visit, db, key, "set"))
            label.wide { "Text" textarea name="value" rows="6" spellcheck="false" {} }
            button.main { "Set" }
        }
    }
}

/// All that can be done with a key that is there.
pub(super) fn forms(visit: &Visit<'_>, db: u64, key: &[u8], facts: &Facts, part: &Part) -> Markup {
    if !can(visit) {
        return nothing();
    }
    let action = address("key");
    html! {
        h2 { "Change it" }
        (value_form(visit, db, key, facts, part))
        form.edit method="post" action=(action) {
            (head(visit, db, key, "expire"))
            label { "Stays for seconds (empty: for ever)" input type="number" min="1" name="seconds"; }
            button { "Set" }
        }
        form.edit method="post" action=(action) {
            (head(visit, db, key, "rename"))
            label { "Another name" input name="name" required; }
            button { "Rename" }
        }
        details {
            summary { "Delete" }
            form.edit method="post" action=(action) {
                (head(visit, db, key, "delete"))
                p { "The key and all in it go at once." }
                button.danger { "Delete this key" }
            }
        }
    }
}

fn value_form(visit: &Visit<'_>, db: u64, key: &[u8], facts: &Facts, part: &Part) -> Markup {
    let action = address("key");
    let of_string = || {
        let bytes = part.rows.first().and_then(|it| it.first())?;
        let is_whole = bytes.len() as u64 == facts.len && bytes.len() <= EDITED_BYTES_MAX;
        std::str::from_utf8(bytes).ok().filter(|it| is_whole && !it.contains('\r'))
    };
    let fields: &[(&str, &str)] = match facts.of_type.as_str() {
        "hash" | "stream" => &[("field", "Field"), ("value", "Value")],
        "list" => &[("value", "Value, at the end")],
        "set" => &[("value", "Member")],
        "zset" => &[("score", "Score"), ("value", "Member")],
        _ => &[],
    };
    html! {
        @if facts.of_type == "string" {
            @if let Some(text) = of_string() {
                form.edit method="post" action=(action) {
                    (head(visit, db, key, "set"))
                    input type="hidden" name="keepttl" value="1";
                    label.wide { "Text" textarea name="value" rows="8" spellcheck="false" { "\n" (text) } }
                    button.main { "Save" }
                }
            } @else {
                p.note { "This value is too long, or no text, and can't be edited in a form." }
            }
        } @else {
            form.edit method="post" action=(action) {
                (head(visit, db, key, "add"))
                input type="hidden" name="type" value=(facts.of_type);
                @for (name, title) in fields { label { (title) input name=(name) required; } }
                button.main { "Add" }
            }
        }
    }
}

/// The button that removes an element.
pub(super) fn removal(
    visit: &Visit<'_>,
    db: u64,
    key: &[u8],
    facts: &Facts,
    row: &[Vec<u8>],
) -> Markup {
    let element = match facts.of_type.as_str() {
        "hash" | "set" | "stream" => row.first(),
        // An index is no name of an element: others may have come before it.
        _ => row.get(1),
    };
    let Some(element) = element.filter(|it| it.len() <= EDITED_BYTES_MAX) else { return nothing() };
    html! {
        form method="post" action=(address("key")) {
            (head(visit, db, key, "remove"))
            input type="hidden" name="type" value=(facts.of_type);
            input type="hidden" name="element" value=(hex_of(element));
            button.small aria-label={ "Remove " (show::cut(element, 40)) } { "Remove" }
        }
    }
}

pub(super) async fn change(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let (db, body) = (visit.db(), visit.body);
    let wrong = || LinkError::Refused("This form is not whole.".to_owned());
    let key = bytes_of(body.bytes("key")).ok_or_else(wrong)?;
    let element = bytes_of(body.bytes("element")).unwrap_or_default();
    // Forms send two bytes for the end of a line.
    let value = unix_lines(body.bytes("value"));
    let of_type = body.text("type");
    let (field, score) = (body.bytes("field"), body.bytes("score"));
    let seconds = body.bytes("seconds");
    let mut command: Vec<&[u8]> = match (body.text("act").as_str(), of_type.as_str()) {
        ("set", _) => vec![b"SET", &key, &value],
        ("delete", _) => vec![b"UNLINK", &key],
        ("rename", _) => vec![b"RENAMENX", &key, body.bytes("name")],
        ("expire", _) if seconds.is_empty() => vec![b"PERSIST", &key],
        ("expire", _) => vec![b"EXPIRE", &key, seconds],
        ("add", "hash") => vec![b"HSET", &key, field, &value],
        ("add", "list") => vec![b"RPUSHX", &key, &value],
        ("add", "set") => vec![b"SADD", &key, &value],
        ("add", "zset") => vec![b"ZADD", &key, score, &value],
        ("add", "stream") => vec![b"XADD", &key, b"*", field, &value],
        ("remove", "hash") => vec![b"HDEL", &key, &element],
        ("remove", "list") => vec![b"LREM", &key, b"1", &element],
        ("remove", "set") => vec![b"SREM", &key, &element],
        ("remove", "zset") => vec![b"ZREM", &key, &element],
        ("remove", "stream") => vec![b"XDEL", &key, &element],
        _ => return Err(wrong()),
    };
    if body.has("keepttl") {
        command.push(b"KEEPTTL");
    }
    let act = body.text("act");
    match visit.run(db, &[command]).await?.pop() {
        Some(Value::Error(reason)) => Err(LinkError::Refused(show::text(&reason))),
        Some(Value::Integer(0)) if act == "rename" => {
            Err(LinkError::Refused("There is a key of that name already.".to_owned()))
        }
        _ if act == "delete" => Ok(Outcome::GoTo(format!("{}?db={db}", address("keys")))),
        _ if act == "rename" => Ok(Outcome::GoTo(key_address(db, body.bytes("name")))),
        _ => Ok(Outcome::GoTo(key_address(db, &key))),
    }
}

fn unix_lines(bytes: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(bytes.len());
    for (index, &byte) in bytes.iter().enumerate() {
        if byte != b'\r' || bytes.get(index + 1) != Some(&b'\n') {
            lines.push(byte);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, hex_of, unix_lines};

    #[test]
    fn names_come_through_forms() {
        let key: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes_of(hex_of(&key).as_bytes()), Some(key));
        assert_eq!((bytes_of(b"0"), bytes_of(b"zz"), bytes_of(b"")), (None, None, Some(vec![])));
        assert_eq!(unix_lines(b"a\r\nb\rc\r"), b"a\nb\rc\r");
    }
}
