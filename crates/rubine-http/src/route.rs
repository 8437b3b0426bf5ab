//! Which request is answered by what.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use rubine_metrics::Format;
use rubine_resp::decode::Value;
use tokio::time::timeout;

use crate::api;
use crate::console::{self, Asked};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::form::Form;
use crate::health::{Question, judge};
use crate::host::Peer;
use crate::link::{Link, LinkError};
use crate::reply::{Reply, TEXT, reply, words};

/// A body is no longer, and takes no longer to come.
const BODY_BYTES_MAX: usize = 8 << 20;
const BODY_TIME: Duration = Duration::from_secs(30);

/// Answers a request.
pub(crate) async fn answer(
    context: &Context,
    peer: Peer,
    is_tls: bool,
    request: Request<Incoming>,
) -> Reply {
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(question) = question_of(path, request.uri().query().unwrap_or_default()) {
        return if is_read { health(context, question, &request) } else { not_allowed() };
    }
    match path {
        "/metrics" if is_read => metrics(context, peer, &request).await,
        "/metrics" => not_allowed(),
        _ if context.host.settings().has_console => {
            of_console(context, peer, is_tls, request).await
        }
        _ => not_found(),
    }
}

/// The console, its API, and the way there.
async fn of_console(
    context: &Context,
    peer: Peer,
    is_tls: bool,
    request: Request<Incoming>,
) -> Reply {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/" {
        return console::go_to(console::ROOT);
    }
    let of_console =
        path.strip_prefix(console::ROOT).filter(|it| it.is_empty() || it.starts_with('/'));
    let of_api = path.strip_prefix("/api/v1/");
    if of_console.is_none() && of_api.is_none() {
        return not_found();
    }
    let collected = timeout(BODY_TIME, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return words(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or was cut");
        }
        Err(_) => return words(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    let asked = Asked {
        method: &head.method,
        place: of_api.unwrap_or_else(|| of_console.unwrap_or_default().trim_matches('/')),
        query: Form::parse(head.uri.query().unwrap_or_default().as_bytes()),
        body: if of_api.is_none() { Form::parse(&body) } else { Form::default() },
        headers: &head.headers,
        peer,
        is_tls,
    };
    if of_api.is_some() {
        api::answer(context, asked, &body).await
    } else {
        console::answer(context, asked).await
    }
}

fn not_found() -> Reply {
    words(StatusCode::NOT_FOUND, "there is nothing here")
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
    let query = Form::parse(query.as_bytes());
    query.get(name).is_some_and(|it| it != b"0")
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
        context.delay_refusal().await;
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
