//! The console: pages for people, made here as a whole. What they show and do is said to the server as commands of the user
//! who is logged in. Nothing is shown that is not asked for in a bounded slice.

mod assets;
mod clients;
mod config;
mod deletion;
mod edit;
mod figures;
mod key;
mod keys;
mod logs;
mod memory;
mod page;
mod persistence;
mod replication;
mod shell;
pub(crate) mod show;
mod users;
mod value;

use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use maud::Markup;
use rubine_resp::decode::Value;

pub(crate) use self::clients::list as clients_of;
pub(crate) use self::config::list as config_of;
pub(crate) use self::figures::figures as figures_of;
pub(crate) use self::keys::{Wanted, len_of, scan};
pub(crate) use self::logs::entries as log_of;
pub(crate) use self::page::{ROOT, go_to};
pub(crate) use self::shell::{Decision, commands as commands_of, decide};
pub(crate) use self::users::list as users_of;
pub(crate) use self::value::{facts_of, part_of};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::form::Form;
use crate::host::Peer;
use crate::link::LinkError;
use crate::reply::{Reply, words};
use crate::sessions::{NoSession, Session};

/// The name of the cookie.
const COOKIE: &str = "rubine_session";

/// A request as it is looked at here.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// Below the console's root.
    pub(crate) place: &'a str,
    pub(crate) query: Form,
    pub(crate) body: Form,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: Peer,
    pub(crate) is_tls: bool,
}

/// A request of somebody who is logged in.
pub(crate) struct Visit<'a> {
    pub(crate) context: &'a Context,
    pub(crate) session: Arc<Session>,
    pub(crate) place: &'a str,
    pub(crate) query: &'a Form,
    pub(crate) body: &'a Form,
    /// Something may be changed, if the user may change it.
    pub(crate) is_writable: bool,
}

/// What a page comes to: its content, or another page.
pub(crate) enum Outcome {
    Page(&'static str, Markup),
    GoTo(String),
}

impl Visit<'_> {
    /// Runs commands as the user, in a database, and returns their replies.
    pub(crate) async fn run(
        &self,
        db: u64,
        commands: &[Vec<&[u8]>],
    ) -> Result<Vec<Value>, LinkError> {
        let db = db.to_string();
        let mut all = vec![vec![&b"SELECT"[..], db.as_bytes()]];
        all.extend(commands.iter().cloned());
        let mut link = self.session.link(self.context.host).await?;
        let mut replies = link.run_all(&all).await?;
        match replies.remove(0) {
            Value::Error(reason) if !commands.is_empty() => {
                Err(LinkError::Refused(String::from_utf8_lossy(&reason).into_owned()))
            }
            _ => Ok(replies),
        }
    }

    /// Runs one command in database 0.
    pub(crate) async fn ask(&self, args: &[&[u8]]) -> Result<Value, LinkError> {
        let mut replies = self.run(0, &[args.to_vec()]).await?;
        replies.pop().ok_or(LinkError::TooMuch("no reply came"))
    }

    /// The database that the address names.
    pub(crate) fn db(&self) -> u64 {
        self.body.number("db").or_else(|| self.query.number("db")).unwrap_or(0)
    }
}

/// Answers a request for the console.
pub(crate) async fn answer(context: &Context, asked: Asked<'_>) -> Reply {
    let is_read = matches!(*asked.method, Method::GET | Method::HEAD);
    if let Some(name) = asked.place.strip_prefix("assets/") {
        return assets::answer(name);
    }
    if !is_read && *asked.method != Method::POST {
        return words(StatusCode::METHOD_NOT_ALLOWED, "this is read, or sent as a form");
    }
    if !is_read && !comes_from_here(asked.headers) {
        return words(StatusCode::FORBIDDEN, "this form was sent by another site");
    }
    if asked.place == "login" {
        return if is_read {
            page::login(StatusCode::OK, None)
        } else {
            log_in(context, &asked).await
        };
    }
    let token = token_of(asked.headers);
    let Some(session) = token.and_then(|it| context.sessions.find(it)) else {
        return if is_read {
            go_to(&page::address("login"))
        } else {
            page::login(StatusCode::FORBIDDEN, Some("Your session has ended."))
        };
    };
    if !is_read && asked.body.text("token") != session.form_token {
        return words(StatusCode::FORBIDDEN, "this form is not of your session");
    }
    if asked.place == "logout" && !is_read {
        token.into_iter().for_each(|it| context.sessions.end(it));
        return go_to(&page::address("login"));
    }
    let visit = Visit {
        context,
        session,
        place: asked.place.split('/').next().unwrap_or_default(),
        query: &asked.query,
        body: &asked.body,
        is_writable: context.host.settings().is_console_writable,
    };
    match turn_to(&visit, asked.place, is_read).await {
        Ok(Outcome::Page(title, content)) => page::page(&visit, title, &content),
        Ok(Outcome::GoTo(address)) => go_to(&address),
        Err(error) => page::page(&visit, "This did not work", &page::fault(error.words())),
    }
}

async fn turn_to(visit: &Visit<'_>, place: &str, is_read: bool) -> Result<Outcome, LinkError> {
    // What only looks is sent as a form as well, where it is long or takes a while.
    let is_look = ["shell", "memory", "delete"].contains(&place);
    if !is_read && !visit.is_writable && !is_look {
        return Err(LinkError::Refused(
            "console-writable is no: nothing is changed here".to_owned(),
        ));
    }
    match (place, is_read) {
        ("", true) => figures::overview(visit).await,
        ("keys", true) => keys::browse(visit).await,
        ("keys/tree", true) => keys::tree(visit).await,
        ("key", true) => key::show(visit).await,
        ("key", false) => edit::change(visit).await,
        ("delete", true) => Ok(deletion::show(visit)),
        ("delete", false) => deletion::begin(visit).await,
        ("memory", true) => Ok(memory::show(visit)),
        ("memory", false) => memory::begin(visit).await,
        ("shell", true) => Ok(shell::show(visit)),
        ("shell", false) => shell::run(visit).await,
        ("clients", true) => clients::show(visit).await,
        ("clients", false) => clients::close(visit).await,
        ("logs", true) => logs::show(visit).await,
        ("persistence", true) => persistence::show(visit).await,
        ("persistence", false) => persistence::act(visit).await,
        ("replication", true) => replication::show(visit).await,
        ("users", true) => users::show(visit).await,
        ("config", true) => config::show(visit).await,
        ("config", false) => config::set(visit).await,
        _ => Err(LinkError::Refused("There is no such page.".to_owned())),
    }
}

async fn log_in(context: &Context, asked: &Asked<'_>) -> Reply {
    let credentials = Credentials {
        user: asked.body.bytes("user").to_vec(),
        password: asked.body.bytes("password").to_vec(),
    };
    if !is_named_safely(context, asked) {
        let fault = "While the default user has no password, this is for addresses that are numbers, \
                     and for localhost.";
        return page::login(StatusCode::FORBIDDEN, Some(fault));
    }
    match context.sessions.begin(context.host, asked.peer, credentials).await {
        Ok(token) => {
            let mut reply = go_to(ROOT);
            let secure = if asked.is_tls { "; Secure" } else { "" };
            let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{secure}");
            let cookie = HeaderValue::from_str(&cookie).expect("a token is hexadecimal digits");
            reply.headers_mut().insert(header::SET_COOKIE, cookie);
            reply
        }
        Err(NoSession::Refused) => {
            context.delay_refusal().await;
            page::login(StatusCode::FORBIDDEN, Some("There is no such user with that password."))
        }
        Err(NoSession::Failed(error)) => {
            page::login(StatusCode::SERVICE_UNAVAILABLE, Some(error.words()))
        }
    }
}

/// Where anybody may log in, another site must not be able to by giving its own name this server's address.
pub(crate) fn is_named_safely(context: &Context, asked: &Asked<'_>) -> bool {
    if !context.host.settings().takes_anybody {
        return true;
    }
    let host = asked.headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Whether a form was sent by a page of this server, as far as the browser tells.
pub(crate) fn comes_from_here(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    text(header::ORIGIN).is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, it)| it.eq_ignore_ascii_case(host))
    })
}

fn token_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    cookies.split(';').find_map(|it| it.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The session of a request to the API, by its cookie.
pub(crate) fn session_of(context: &Context, headers: &HeaderMap) -> Option<Arc<Session>> {
    token_of(headers).and_then(|it| context.sessions.find(it))
}
