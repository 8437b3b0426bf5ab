//! Which request is answered by what.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use rubine_metrics::Format;
use rubine_resp::decode::Value;
use tokio::time::sleep;

use crate::context::Context;
use crate::credentials::Credentials;
use crate::health::{Question, judge};
use crate::host::Peer;
use crate::link::{Link, LinkError};
use crate::reply::{Reply, TEXT, reply, words};

/// Whoever gives a wrong password hears it so late.
const REFUSAL_TIME: Duration = Duration::from_millis(500);

/// Answers a request.
pub(crate) async fn answer(context: &Context, peer: Peer, request: Request<Incoming>) -> Reply {
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(question) = question_of(path, request.uri().query().unwrap_or_default()) {
        return if is_read { health(context, question, &request) } else { not_allowed() };
    }
    match path {
        "/metrics" if is_read => metrics(context, peer, &request).await,
        "/metrics" => not_allowed(),
        _ => words(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}

fn not_allowed() -> Reply {
    words(StatusCode::METHOD_NOT_ALLOWED, "this is only read")
}

/// What a path asks about health.
fn question_of(path: &str, query: &str) -> Option<Question> {
    Some(match path {
        "/health" | "/healthz" => Question::Live,
        "/startupz" => Question::Started,
        "/readyz" => Question::Ready { for_writes: asks_for(query, "write") },
        "/role/primary" | "/role/master" => Question::Primary,
        "/role/replica" => Question::Replica,
        _ => return None,
    })
}

/// Whether a query has a name, with any value but 0.
fn asks_for(query: &str, name: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(it, value)| it == name && value != "0")
}

fn health(context: &Context, question: Question, request: &Request<Incoming>) -> Reply {
    let max = context.host.settings().link_down_seconds_max;
    let verdict = judge(&context.host.health(), question, max);
    let status = if verdict.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_verbose = asks_for(request.uri().query().unwrap_or_default(), "verbose");
    reply(status, TEXT, verdict.text(is_verbose))
}

async fn metrics(context: &Context, peer: Peer, request: &Request<Incoming>) -> Reply {
    if context.host.settings().asks_for_login
        && let Err(refusal) = may_read_figures(context, peer, request).await
    {
        return refusal;
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let format = Format::of_accept(accept.unwrap_or_default());
    match context.metrics().await {
        Ok(samples) => {
            let text = rubine_metrics::write(&samples, format);
            reply(StatusCode::OK, format.content_type(), text)
        }
        Err(error) => words(StatusCode::INTERNAL_SERVER_ERROR, error.words()),
    }
}

/// Whether whoever asks is a user that may run INFO. If not, what to answer.
async fn may_read_figures(
    context: &Context,
    peer: Peer,
    request: &Request<Incoming>,
) -> Result<(), Reply> {
    let given = request.headers().get(header::AUTHORIZATION);
    let Some(credentials) = given.and_then(|it| Credentials::of_header(it.as_bytes())) else {
        return Err(ask_for_login());
    };
    let unavailable = |error: LinkError| words(StatusCode::SERVICE_UNAVAILABLE, error.words());
    let mut link = Link::open(context.host, peer).map_err(unavailable)?;
    if !link.log_in(&credentials).await.map_err(unavailable)? {
        sleep(REFUSAL_TIME).await;
        return Err(ask_for_login());
    }
    match link.run(&[b"INFO", b"modules"]).await.map_err(unavailable)? {
        Value::Error(reason) => {
            Err(words(StatusCode::FORBIDDEN, &String::from_utf8_lossy(&reason)))
        }
        _ => Ok(()),
    }
}

fn ask_for_login() -> Reply {
    let mut reply = words(StatusCode::UNAUTHORIZED, "a user and its password are needed");
    let challenge = HeaderValue::from_static("Basic realm=\"Rubine\", charset=\"UTF-8\"");
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    reply
}
