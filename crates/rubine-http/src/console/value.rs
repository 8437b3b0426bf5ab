//! What is known of a key, and parts of its value that are asked for in bounded slices, whatever its size. Shows nothing.

use rubine_resp::decode::Value;

use super::Visit;
use super::keys::{bulk, cursor_and_items};
use super::show::{self, SHOWN_BYTES_MAX};
use crate::link::LinkError;

/// Elements on one page, where they are small.
const ELEMENTS_MAX: u64 = 100;
/// Bytes that are asked for to make one page.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// What is known of a key.
pub(crate) struct Facts {
    pub(crate) of_type: String,
    pub(crate) encoding: String,
    pub(crate) left_ms: i64,
    /// Bytes in memory, about; 0 if nobody may know.
    pub(crate) memory: u64,
    /// Elements, or bytes of a string.
    pub(crate) len: u64,
}

/// A part of a value.
pub(crate) struct Part {
    /// Each element as its columns.
    pub(crate) rows: Vec<Vec<Vec<u8>>>,
    /// Where the next part begins, if there is one.
    pub(crate) next: Option<Vec<u8>>,
}

/// What is known of a key; nothing if it is not there.
pub(crate) async fn facts_of(
    visit: &Visit<'_>,
    db: u64,
    key: &[u8],
) -> Result<Option<Facts>, LinkError> {
    let commands: [Vec<&[u8]>; 4] = [
        vec![b"TYPE", key],
        vec![b"PTTL", key],
        vec![b"OBJECT", b"ENCODING", key],
        vec![b"MEMORY", b"USAGE", key],
    ];
    let replies = visit.run(db, &commands).await?;
    let of_type = match &replies[0] {
        Value::Simple(name) if name == b"none" => return Ok(None),
        Value::Simple(name) => String::from_utf8_lossy(name).into_owned(),
        other => return Err(LinkError::Refused(show::reply(other))),
    };
    let integer = |value: &Value| if let Value::Integer(number) = value { *number } else { -1 };
    let encoding = bulk(replies[2].clone()).unwrap_or_default();
    let length: Vec<&[u8]> = match of_type.as_str() {
        "string" => vec![b"STRLEN", key],
        "list" => vec![b"LLEN", key],
        "hash" => vec![b"HLEN", key],
        "set" => vec![b"SCARD", key],
        "zset" => vec![b"ZCARD", key],
        _ => vec![b"XLEN", key],
    };
    let len = visit.run(db, &[length]).await?.pop().map_or(0, |it| integer(&it).max(0));
    Ok(Some(Facts {
        of_type,
        encoding: String::from_utf8_lossy(&encoding).into_owned(),
        left_ms: integer(&replies[1]),
        memory: integer(&replies[3]).max(0) as u64,
        len: len as u64,
    }))
}

/// A part of the value, from `from` on: an index, a cursor or an id, by the type.
pub(crate) async fn part_of(
    visit: &Visit<'_>,
    db: u64,
    key: &[u8],
    facts: &Facts,
    from: &[u8],
) -> Result<Part, LinkError> {
    // So many elements as are likely to fit, by what they take on average.
    let average = facts.memory / facts.len.max(1) + 1;
    let limit = (PAGE_BYTES_MAX / average).clamp(1, ELEMENTS_MAX);
    match facts.of_type.as_str() {
        "string" => string_part(visit, db, key, facts, from).await,
        "list" | "zset" => indexed_part(visit, db, key, facts, from, limit).await,
        "hash" | "set" => scanned_part(visit, db, key, facts, from, limit).await,
        "stream" => stream_part(visit, db, key, from, limit).await,
        other => Err(LinkError::Refused(format!("A {other} can't be shown."))),
    }
}

fn refused(reply: Option<Value>) -> LinkError {
    LinkError::Refused(show::reply(&reply.unwrap_or(Value::Null)))
}

pub(super) fn index_of(from: &[u8]) -> u64 {
    std::str::from_utf8(from).ok().and_then(|it| it.parse().ok()).unwrap_or(0)
}

async fn string_part(
    visit: &Visit<'_>,
    db: u64,
    key: &[u8],
    facts: &Facts,
    from: &[u8],
) -> Result<Part, LinkError> {
    let start = index_of(from);
    let end = start + SHOWN_BYTES_MAX as u64 - 1;
    let (first, last) = (start.to_string(), end.to_string());
    let command = vec![&b"GETRANGE"[..], key, first.as_bytes(), last.as_bytes()];
    match visit.run(db, &[command]).await?.pop() {
        Some(Value::Bulk(bytes)) => {
            let next = (end + 1 < facts.len).then(|| (end + 1).to_string().into_bytes());
            Ok(Part { rows: vec![vec![bytes]], next })
        }
        other => Err(refused(other)),
    }
}

/// Of lists, and of sorted sets in order of score.
async fn indexed_part(
    visit: &Visit<'_>,
    db: u64,
    key: &[u8],
    facts: &Facts,
    from: &[u8],
    limit: u64,
) -> Result<Part, LinkError> {
    let start = index_of(from);
    let (first, last) = (start.to_string(), (start + limit - 1).to_string());
    let is_list = facts.of_type == "list";
    let mut command = if is_list { vec![&b"LRANGE"[..]] } else { vec![&b"ZRANGE"[..]] };
    command.extend([key, first.as_bytes(), last.as_bytes()]);
    if !is_list {
        command.push(b"WITHSCORES");
    }
    let items = match visit.run(db, &[command]).await?.pop() {
        Some(Value::Array(items)) => items.into_iter().filter_map(bulk).collect::<Vec<_>>(),
        other => return Err(refused(other)),
    };
    let next = (start + limit < facts.len).then(|| (start + limit).to_string().into_bytes());
    let rows = if is_list {
        let number = |index: usize| (start + index as u64).to_string().into_bytes();
        items.into_iter().enumerate().map(|(index, item)| vec![number(index), item]).collect()
    } else {
        items.chunks_exact(2).map(|pair| vec![pair[1].clone(), pair[0].clone()]).collect()
    };
    Ok(Part { rows, next })
}

async fn scanned_part(
    visit: &Visit<'_>,
    db: u64,
    key: &[u8],
    facts: &Facts,
    from: &[u8],
    limit: u64,
) -> Result<Part, LinkError> {
    let is_hash = facts.of_type == "hash";
    let command = if is_hash { &b"HSCAN"[..] } else { &b"SSCAN"[..] };
    let cursor = if from.is_empty() { b"0" } else { from };
    let limit = limit.to_string();
    let command = vec![command, key, cursor, b"COUNT", limit.as_bytes()];
    let (cursor, items) = cursor_and_items(visit.run(db, &[command]).await?.pop())?;
    let width = if is_hash { 2 } else { 1 };
    let rows = items.chunks_exact(width).map(<[Vec<u8>]>::to_vec).collect();
    Ok(Part { rows, next: (cursor != b"0").then_some(cursor) })
}

/// Entries, the newest first.
async fn stream_part(
    visit: &Visit<'_>,
    db: u64,
    key: &[u8],
    from: &[u8],
    limit: u64,
) -> Result<Part, LinkError> {
    let end = if from.is_empty() { b"+" } else { from };
    let asked = (limit + 1).to_string();
    let command = vec![&b"XREVRANGE"[..], key, end, b"-", b"COUNT", asked.as_bytes()];
    let entries = match visit.run(db, &[command]).await?.pop() {
        Some(Value::Array(entries)) => entries,
        other => return Err(refused(other)),
    };
    let mut rows = Vec::new();
    for entry in entries {
        let Value::Array(parts) = entry else { continue };
        let mut parts = parts.into_iter();
        let id = parts.next().and_then(bulk).unwrap_or_default();
        let fields = match parts.next() {
            Some(Value::Array(fields)) => fields.into_iter().filter_map(bulk).collect(),
            _ => Vec::new(),
        };
        let pairs: Vec<Vec<u8>> = fields
            .chunks_exact(2)
            .map(|it: &[Vec<u8>]| [&it[0][..], b": ", &it[1]].concat())
            .collect();
        rows.push(vec![id, pairs.join(&b'\n')]);
    }
    let next = if limit < rows.len() as u64 { rows.pop().map(|it| it[0].clone()) } else { None };
    Ok(Part { rows, next })
}
