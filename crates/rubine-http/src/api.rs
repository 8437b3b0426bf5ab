//! The API of the console, version 1: what pages show, as JSON, and one command at a time. Who asks is logged in by the
//! console's cookie or by HTTP's basic authentication, and may do what that user may.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hyper::StatusCode;
use hyper::header;
use rubine_base::clock::unix_millis;
use rubine_resp::decode::Value;
use serde_json::{Value as Json, json};

use crate::console::{self, Asked, Visit, show};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::link::LinkError;
use crate::reply::{Reply, reply};
use crate::sessions::{NoSession, Session};

const JSON: &str = "application/json";
/// Keys of one answer, if nothing else is said, and at most.
const KEYS: u64 = 100;
const KEYS_MAX: u64 = 1000;
/// Keys that are looked at for one answer.
const SCANNED_MAX: u64 = 20_000;
/// Words of a command.
const WORDS_MAX: usize = 10_000;

/// Answers a request; `asked.place` is what follows `/api/v1/`, `body` is as it came.
pub(crate) async fn answer(context: &Context, asked: Asked<'_>, body: &[u8]) -> Reply {
    let session = match session_of(context, &asked).await {
        Ok(session) => session,
        Err(refusal) => return refusal,
    };
    let is_post = *asked.method == hyper::Method::POST;
    if is_post && !is_of_script(&asked) {
        return fault(
            StatusCode::FORBIDDEN,
            "a body of type application/json is needed, from this server's pages",
        );
    }
    let visit = Visit {
        context,
        session,
        place: asked.place,
        query: &asked.query,
        body: &asked.body,
        is_writable: context.host.settings().is_console_writable,
    };
    let answered = match (asked.place, is_post) {
        ("overview", false) => overview(&visit).await,
        ("metrics", false) => metrics(&visit).await,
        ("commands", false) => commands(&visit).await,
        ("keys", false) => keys(&visit).await,
        ("key", false) => key(&visit).await,
        ("clients", false) => clients(&visit).await,
        ("logs", false) => logs(&visit).await,
        ("users", false) => users(&visit).await,
        ("config", false) => config(&visit).await,
        ("jobs", false) => Ok(jobs(&visit)),
        ("command", true) => command(&visit, body).await,
        _ => return fault(StatusCode::NOT_FOUND, "there is nothing here"),
    };
    match answered {
        Ok(json) => reply(StatusCode::OK, JSON, json.to_string()),
        Err(LinkError::Refused(words)) => fault(StatusCode::FORBIDDEN, &words),
        Err(error) => fault(StatusCode::SERVICE_UNAVAILABLE, error.words()),
    }
}

fn fault(status: StatusCode, words: &str) -> Reply {
    reply(status, JSON, json!({ "error": words }).to_string())
}

async fn session_of(context: &Context, asked: &Asked<'_>) -> Result<Arc<Session>, Reply> {
    if let Some(session) = console::session_of(context, asked.headers) {
        return Ok(session);
    }
    let unauthorised = || fault(StatusCode::UNAUTHORIZED, "a user and its password are needed");
    if !console::is_named_safely(context, asked) {
        let words = "while the default user has no password, this is for localhost and addresses that are numbers";
        return Err(fault(StatusCode::FORBIDDEN, words));
    }
    let given = asked.headers.get(header::AUTHORIZATION);
    let credentials = given.and_then(|it| Credentials::of_header(it.as_bytes()));
    let credentials = credentials.ok_or_else(unauthorised)?;
    match Session::of_request(context.host, asked.peer, credentials).await {
        Ok(session) => Ok(session),
        Err(NoSession::Refused) => {
            context.delay_refusal().await;
            Err(unauthorised())
        }
        Err(NoSession::Failed(error)) => Err(fault(StatusCode::SERVICE_UNAVAILABLE, error.words())),
    }
}

/// Whether a request is one that a form of another site cannot make: browsers ask before they send such a type elsewhere.
fn is_of_script(asked: &Asked<'_>) -> bool {
    let content_type = asked.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let is_json =
        content_type.is_some_and(|it| it.split(';').next().is_some_and(|it| it.trim() == JSON));
    is_json && console::comes_from_here(asked.headers)
}

/// The figures that charts are made from. Counters are totals: who asks twice has a rate.
async fn overview(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let samples = console::figures_of(visit).await?;
    let value = |name: &str| samples.get(name, &[]).unwrap_or(0.0);
    let busy = samples.select("rubine_worker_busy_seconds_total", &[]);
    let (workers, busy) = busy.fold((0, 0.0), |(count, sum), it| (count + 1, sum + it.value));
    Ok(json!({
        "at_ms": unix_millis(),
        "uptime_seconds": value("redis_uptime_in_seconds"),
        "memory_used": value("redis_memory_used_bytes"),
        "memory_max": value("redis_memory_max_bytes"),
        "clients": value("redis_connected_clients"),
        "commands": value("redis_commands_processed_total"),
        "input_bytes": value("redis_net_input_bytes_total"),
        "output_bytes": value("redis_net_output_bytes_total"),
        "keyspace_hits": value("redis_keyspace_hits_total"),
        "keyspace_misses": value("redis_keyspace_misses_total"),
        "busy_seconds": busy,
        "workers": workers,
    }))
}

/// Every metric.
async fn metrics(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let samples = console::figures_of(visit).await?;
    let list = samples.iter().map(|(metric, sample)| {
        let labels: serde_json::Map<String, Json> =
            sample.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({ "name": format!("{}{}", metric.name, sample.suffix), "labels": labels, "value": sample.value })
    });
    Ok(json!({ "metrics": list.collect::<Vec<_>>() }))
}

/// Commands with their syntax, for completion.
async fn commands(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let list = console::commands_of(visit).await?;
    let list = list
        .into_iter()
        .map(|it| json!({ "name": it.name, "summary": it.summary, "syntax": it.syntax }));
    Ok(json!({ "commands": list.collect::<Vec<_>>() }))
}

/// Bytes as text where they are text, else as hexadecimal digits.
fn bytes(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|it| format!("{it:02x}")).collect::<String>() }),
    }
}

async fn keys(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let query = visit.query;
    let or = |name: &str, other: &'static [u8]| match query.bytes(name) {
        b"" => other.to_vec(),
        value => value.to_vec(),
    };
    let (pattern, cursor) = (or("pattern", b"*"), or("cursor", b"0"));
    let count = query.number("count").unwrap_or(KEYS).clamp(1, KEYS_MAX);
    let of_type = query.get("type").filter(|it| !it.is_empty());
    let wanted = console::Wanted { db: visit.db(), pattern: &pattern, of_type };
    let slice = console::scan(visit, &wanted, &cursor, count as usize, SCANNED_MAX).await?;
    Ok(json!({
        "cursor": show::text(&slice.cursor),
        "scanned": slice.scanned,
        "total": console::len_of(visit, visit.db()).await?,
        "keys": slice.keys.iter().map(|it| bytes(it)).collect::<Vec<_>>(),
    }))
}

async fn key(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let (db, key) = (visit.db(), visit.query.bytes("key"));
    let Some(facts) = console::facts_of(visit, db, key).await? else {
        return Ok(json!({ "key": bytes(key), "type": "none" }));
    };
    let part = console::part_of(visit, db, key, &facts, visit.query.bytes("from")).await?;
    let rows = part.rows.iter().map(|row| row.iter().map(|it| bytes(it)).collect::<Vec<_>>());
    Ok(json!({
        "key": bytes(key),
        "type": facts.of_type,
        "encoding": facts.encoding,
        "ttl_ms": facts.left_ms,
        "memory": facts.memory,
        "length": facts.len,
        "elements": rows.collect::<Vec<_>>(),
        "next": part.next.as_deref().map(show::text),
    }))
}

async fn clients(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let text = console::clients_of(visit).await?;
    let parse = |line: &str| {
        let fields = line.split(' ').filter_map(|it| it.split_once('='));
        fields
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
    };
    Ok(json!({ "clients": text.lines().map(parse).collect::<Vec<_>>() }))
}

async fn logs(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let mut logs = serde_json::Map::new();
    for log in ["slow", "large-request", "large-reply"] {
        let entries = console::log_of(visit, log).await?;
        let entries = entries.iter().map(|it| {
            let words: Vec<Json> = it.words.iter().map(|it| bytes(it)).collect();
            json!({ "id": it.id, "at": it.at, "value": it.value, "command": words, "address": it.address, "client": it.client })
        });
        logs.insert(log.to_owned(), Json::Array(entries.collect()));
    }
    Ok(Json::Object(logs))
}

async fn users(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let users = console::users_of(visit).await?;
    let users = users.iter().map(|(name, rules)| json!({ "name": name, "rules": rules }));
    Ok(json!({ "users": users.collect::<Vec<_>>() }))
}

async fn config(visit: &Visit<'_>) -> Result<Json, LinkError> {
    let directives = console::config_of(visit, "*").await?;
    let list = directives
        .iter()
        .map(|it| json!({ "name": it.name, "value": bytes(&it.value), "origin": it.origin }));
    Ok(json!({ "config": list.collect::<Vec<_>>() }))
}

fn jobs(visit: &Visit<'_>) -> Json {
    let jobs = visit.context.jobs.of_user(&visit.session.user());
    let list = jobs.iter().map(|job| {
        let state = job.state.lock().clone();
        json!({
            "id": job.id,
            "title": job.title,
            "percent": job.percent(),
            "scanned": job.looked_at.load(Relaxed),
            "found": job.found.load(Relaxed),
            "deleted": job.done.load(Relaxed),
            "over": state.is_over,
            "error": state.fault,
        })
    });
    json!({ "jobs": list.collect::<Vec<_>>() })
}

/// Runs `{"command": ["GET", "key"], "db": 0, "sure": false}`.
async fn command(visit: &Visit<'_>, body: &[u8]) -> Result<Json, LinkError> {
    let wrong = |words: &str| LinkError::Refused(words.to_owned());
    let request: Json =
        serde_json::from_slice(body).map_err(|error| LinkError::Refused(error.to_string()))?;
    let words = request["command"].as_array().filter(|it| !it.is_empty() && it.len() <= WORDS_MAX);
    let words = words.ok_or_else(|| wrong("'command' is a list of words"))?;
    let words: Option<Vec<&[u8]>> = words.iter().map(|it| Some(it.as_str()?.as_bytes())).collect();
    let words = words.ok_or_else(|| wrong("a word is a string"))?;
    let is_sure = request["sure"].as_bool().unwrap_or(false);
    match console::decide(visit, &words, is_sure).await? {
        console::Decision::Run => {}
        console::Decision::Ask => {
            return Err(wrong("this command may do much harm: say so by \"sure\": true"));
        }
        console::Decision::Refuse(words) => return Err(LinkError::Refused(words)),
    }
    let db = request["db"].as_u64().unwrap_or(0);
    let reply = visit.run(db, &[words]).await?.pop().unwrap_or(Value::Null);
    Ok(json!({ "reply": value(&reply) }))
}

fn value(reply: &Value) -> Json {
    let list = |items: &[Value]| Json::Array(items.iter().map(value).collect());
    match reply {
        Value::Error(text) | Value::BulkError(text) => json!({ "error": show::text(text) }),
        Value::Integer(number) => json!(number),
        Value::Simple(text)
        | Value::Bulk(text)
        | Value::Verbatim { text, .. }
        | Value::Double(text)
        | Value::BigNumber(text) => bytes(text),
        Value::Null | Value::NullArray => Json::Null,
        Value::Array(items) | Value::Set(items) | Value::Push(items) => list(items),
        Value::Map(pairs) | Value::Attribute(pairs) => Json::Array(
            pairs.iter().map(|(key, item)| Json::Array(vec![value(key), value(item)])).collect(),
        ),
        Value::Boolean(is_true) => json!(is_true),
    }
}
