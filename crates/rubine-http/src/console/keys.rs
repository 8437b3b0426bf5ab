//! Keys: a list of those that match, and a tree by a separator. Each page looks at a bounded slice of the keys, and says how
//! much that was.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rubine_resp::decode::Value;

use super::page::address;
use super::show::{count, cut};
use super::{Outcome, Visit};
use crate::form::encode;
use crate::link::LinkError;

/// Keys on one page, and how many are looked at for it at most.
const SHOWN_MAX: usize = 100;
const SCANNED_MAX: u64 = 20_000;
/// What a tree looks at: so much to begin with, and at most if asked for more.
const TREE_SCANNED: u64 = 20_000;
const TREE_SCANNED_MAX: u64 = 200_000;
/// Branches of a tree that are shown.
const BRANCHES_MAX: usize = 200;
/// Keys that one SCAN looks at, at least and at most.
const SLICE_MIN: u64 = 100;
const SLICE: u64 = 1000;
/// Bytes of a name that are shown.
pub(super) const NAME_BYTES_MAX: usize = 200;
/// Types that can be asked for.
const TYPES: [&str; 6] = ["string", "list", "hash", "set", "zset", "stream"];

/// A slice of the keys, and where the next begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    pub(crate) keys: Vec<Vec<u8>>,
    /// `0` at the end.
    pub(crate) cursor: Vec<u8>,
    pub(crate) scanned: u64,
}

/// What is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) db: u64,
    pub(crate) pattern: &'a [u8],
    pub(crate) of_type: Option<&'a [u8]>,
}

/// Looks through the keys from `cursor` on, until so many are found, or so many have been looked at.
pub(crate) async fn scan(
    visit: &Visit<'_>,
    wanted: &Wanted<'_>,
    cursor: &[u8],
    found_max: usize,
    scanned_max: u64,
) -> Result<Slice, LinkError> {
    let mut step = SLICE_MIN;
    let mut slice = Slice { cursor: cursor.to_vec(), ..Slice::default() };
    while slice.scanned < scanned_max && slice.keys.len() < found_max {
        let from = std::mem::take(&mut slice.cursor);
        let (slice_size, found_before) = (step.to_string(), slice.keys.len() as u64);
        let mut args: Vec<&[u8]> =
            vec![b"SCAN", &from, b"MATCH", wanted.pattern, b"COUNT", slice_size.as_bytes()];
        if let Some(name) = wanted.of_type {
            args.extend([&b"TYPE"[..], name]);
        }
        let mut replies = visit.run(wanted.db, &[args]).await?;
        let (next, keys) = cursor_and_items(replies.pop())?;
        slice.keys.extend(keys);
        slice.scanned += step;
        // Where few match, larger steps are taken; where many do, no more are wanted than fit on a page.
        let found = slice.keys.len() as u64 - found_before;
        step = if found * 2 < step || found_max == usize::MAX { SLICE } else { SLICE_MIN };
        slice.cursor = next;
        if slice.cursor == b"0" {
            break;
        }
    }
    Ok(slice)
}

/// The reply of a SCAN of whatever.
pub(crate) fn cursor_and_items(reply: Option<Value>) -> Result<(Vec<u8>, Vec<Vec<u8>>), LinkError> {
    match reply {
        Some(Value::Array(parts)) => match <[Value; 2]>::try_from(parts) {
            Ok([Value::Bulk(cursor), Value::Array(items)]) => {
                Ok((cursor, items.into_iter().filter_map(bulk).collect()))
            }
            _ => Err(LinkError::TooMuch("the reply is no slice")),
        },
        Some(Value::Error(reason)) => {
            Err(LinkError::Refused(String::from_utf8_lossy(&reason).into_owned()))
        }
        _ => Err(LinkError::TooMuch("the reply is no slice")),
    }
}

pub(crate) fn bulk(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Bulk(bytes) | Value::Simple(bytes) => Some(bytes),
        _ => None,
    }
}

/// Keys of a database; 0 where the user may not know.
pub(crate) async fn len_of(visit: &Visit<'_>, db: u64) -> Result<u64, LinkError> {
    match visit.run(db, &[vec![b"DBSIZE"]]).await?.pop() {
        Some(Value::Integer(len)) => Ok(len.max(0) as u64),
        _ => Ok(0),
    }
}

pub(super) async fn browse(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let (db, query) = (visit.db(), visit.query);
    let pattern = match query.bytes("pattern") {
        b"" => &b"*"[..],
        pattern => pattern,
    };
    let of_type = query.get("type").filter(|it| !it.is_empty());
    let cursor = query.get("cursor").filter(|it| !it.is_empty()).unwrap_or(b"0");
    let wanted = Wanted { db, pattern, of_type };
    let slice = scan(visit, &wanted, cursor, SHOWN_MAX, SCANNED_MAX).await?;
    let rows = describe(visit, db, &slice.keys).await?;
    let all = len_of(visit, db).await?;
    let is_over = slice.cursor == b"0";
    let content = html! {
        (search(visit, pattern, of_type))
        p.note {
            @if is_over && cursor == b"0" { "All " (count(all as f64)) " keys were looked at: " }
            @else { (count(slice.scanned.min(all.max(1)) as f64)) " of " (count(all as f64)) " keys were looked at for this page: " }
            (rows.len()) " match."
        }
        (list(db, &rows))
        @if !is_over {
            p { a.next rel="next" href=(next_page(visit, &slice.cursor)) { "Look further" } }
        }
    };
    Ok(Outcome::Page("Keys", content))
}

fn next_page(visit: &Visit<'_>, cursor: &[u8]) -> String {
    let (db, query) = (visit.db(), visit.query);
    format!(
        "{}?db={db}&pattern={}&type={}&cursor={}",
        address("keys"),
        encode(query.bytes("pattern")),
        encode(query.bytes("type")),
        encode(cursor)
    )
}

fn search(visit: &Visit<'_>, pattern: &[u8], of_type: Option<&[u8]>) -> Markup {
    let db = visit.db();
    html! {
        form.search method="get" action=(address("keys")) role="search" {
            label { "Database" input type="number" name="db" min="0" value=(db); }
            label.wide { "Pattern" input name="pattern" value=(cut(pattern, NAME_BYTES_MAX)) autocapitalize="off" spellcheck="false"; }
            label {
                "Type"
                select name="type" {
                    option value="" { "any" }
                    @for name in TYPES {
                        option value=(name) selected[of_type == Some(name.as_bytes())] { (name) }
                    }
                }
            }
            button.main { "Search" }
            a href={ (address("keys/tree")) "?db=" (db) } { "As a tree" }
        }
    }
}

/// A key, and what is known of it at a glance.
pub(crate) struct Row {
    pub(crate) key: Vec<u8>,
    pub(crate) of_type: String,
    /// Milliseconds; negative for none.
    pub(crate) left_ms: i64,
}

/// What there is to say of each key, but for those that are gone.
pub(crate) async fn describe(
    visit: &Visit<'_>,
    db: u64,
    keys: &[Vec<u8>],
) -> Result<Vec<Row>, LinkError> {
    let keys = &keys[..keys.len().min(10 * SHOWN_MAX)];
    let commands: Vec<Vec<&[u8]>> =
        keys.iter().flat_map(|key| [vec![b"TYPE", key.as_slice()], vec![b"PTTL", key]]).collect();
    let replies = visit.run(db, &commands).await?;
    let rows = keys.iter().zip(replies.chunks(2)).filter_map(|(key, replies)| {
        let of_type = match &replies[0] {
            Value::Simple(name) if name != b"none" => String::from_utf8_lossy(name).into_owned(),
            Value::Error(_) => "not yours".to_owned(),
            _ => return None,
        };
        let left_ms = if let Value::Integer(left) = replies[1] { left } else { -1 };
        Some(Row { key: key.clone(), of_type, left_ms })
    });
    Ok(rows.collect())
}

fn list(db: u64, rows: &[Row]) -> Markup {
    html! {
        @if !rows.is_empty() {
            table.keys {
                thead { tr { th { "Key" } th { "Type" } th { "Time left" } } }
                tbody {
                    @for Row { key, of_type, left_ms } in rows {
                        tr {
                            td { a href=(key_address(db, key)) { (name(key)) } }
                            td { (of_type) }
                            td { @if 0 <= *left_ms { (super::show::span(*left_ms as f64 / 1000.0)) } }
                        }
                    }
                }
            }
        }
    }
}

/// A key's name as it is shown.
pub(super) fn name(key: &[u8]) -> String {
    if key.is_empty() { "(the empty key)".to_owned() } else { cut(key, NAME_BYTES_MAX) }
}

pub(super) fn key_address(db: u64, key: &[u8]) -> String {
    format!("{}?db={db}&key={}", address("key"), encode(key))
}

/// What of the keys looked at begins alike.
#[derive(Default)]
struct Branch {
    keys: u64,
    /// It is a key itself.
    is_key: bool,
}

pub(super) async fn tree(visit: &Visit<'_>) -> Result<Outcome, LinkError> {
    let (db, query) = (visit.db(), visit.query);
    let prefix = query.bytes("prefix");
    let separator = match query.bytes("separator") {
        b"" => &b":"[..],
        separator => separator,
    };
    let budget = query.number("budget").unwrap_or(TREE_SCANNED).clamp(SLICE, TREE_SCANNED_MAX);
    let pattern = [&escaped(prefix)[..], b"*"].concat();
    let wanted = Wanted { db, pattern: &pattern, of_type: None };
    let slice = scan(visit, &wanted, b"0", usize::MAX, budget).await?;
    let all = len_of(visit, db).await?;
    let is_all = slice.cursor == b"0";
    let mut branches: BTreeMap<Vec<u8>, Branch> = BTreeMap::new();
    for key in &slice.keys {
        let Some(rest) = key.strip_prefix(prefix) else { continue };
        let end = rest.windows(separator.len()).position(|it| it == separator);
        let branch = match end {
            Some(at) => &key[..prefix.len() + at + separator.len()],
            None => key,
        };
        let branch = branches.entry(branch.to_vec()).or_default();
        branch.keys += 1;
        branch.is_key |= end.is_none();
    }
    let found = branches.len();
    let mut branches: Vec<_> = branches.into_iter().collect();
    branches.sort_by(|(a, first), (b, second)| second.keys.cmp(&first.keys).then(a.cmp(b)));
    branches.truncate(BRANCHES_MAX);
    let link = |prefix: &[u8], budget: u64| {
        let (prefix, separator) = (encode(prefix), encode(separator));
        let place = address("keys/tree");
        format!("{place}?db={db}&separator={separator}&prefix={prefix}&budget={budget}")
    };
    let content = html! {
        form.search method="get" action=(address("keys/tree")) {
            label { "Database" input type="number" name="db" min="0" value=(db); }
            label { "Separator" input name="separator" value=(cut(separator, 20)); }
            label.wide { "Below" input name="prefix" value=(cut(prefix, NAME_BYTES_MAX)); }
            button.main { "Show" }
            a href={ (address("keys")) "?db=" (db) "&pattern=" (encode(&pattern)) } { "As a list" }
        }
        p.note {
            @if is_all { "All " (count(all as f64)) " keys were looked at." }
            @else {
                "Only " (count(slice.scanned as f64)) " of " (count(all as f64))
                " keys were looked at: what is shown is a sample, and branches with few keys may be missing. "
                @if budget < TREE_SCANNED_MAX { a href=(link(prefix, budget * 3)) { "Look at more" } }
            }
            @if BRANCHES_MAX < found { " The " (BRANCHES_MAX) " largest of " (found) " branches are shown." }
        }
        @if !prefix.is_empty() { p { a href=(link(b"", budget)) { "To the root" } } }
        table.keys {
            thead { tr { th { "Begins with" } th.number { "Keys" @if !is_all { " in the sample" } } } }
            tbody {
                @for (name, Branch { keys, is_key }) in &branches {
                    tr {
                        td {
                            @if *is_key && *keys == 1 { a href=(key_address(db, name)) { (self::name(name)) } }
                            @else { a href=(link(name, budget)) { (self::name(name)) "…" } }
                        }
                        td.number { (count(*keys as f64)) }
                    }
                }
            }
        }
    };
    Ok(Outcome::Page("Keys", content))
}

/// A prefix as a pattern that means just that.
fn escaped(prefix: &[u8]) -> Vec<u8> {
    let escape = |&byte: &u8| match byte {
        b'*' | b'?' | b'[' | b']' | b'\\' | b'^' => vec![b'\\', byte],
        _ => vec![byte],
    };
    prefix.iter().flat_map(escape).collect()
}
