//! What this worker has to say in the audit log. Decides on nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_acl::{Incident, Reason};
use rubine_commands::Args;
use rubine_resp::writer::{Mark, Reply};
use rubine_system::ticks;

use super::Core;
use super::after_run::Caller;
use crate::client::ClientInfo;
use crate::command_table::Entry;
use crate::observing::REDACTED;
use crate::observing::audit::{self, Audited};
use crate::observing::command_log::{cut, shown_args};

impl Core {
    /// What is written down, if anything is.
    pub(super) fn audited(&self) -> Option<&Arc<Audited>> {
        self.audited.as_ref()
    }

    /// Writes down that a client has said who it is, by a password or a certificate.
    pub(crate) fn audit_login(&self, info: &ClientInfo, by: &str) {
        if self.audited().is_some_and(|it| it.logins) {
            let entry = self.entry("login", info).text("result", b"ok");
            self.write_down(entry.text("by", by.as_bytes()));
        }
    }

    /// Writes down what was refused to somebody.
    pub(super) fn audit_incident(&self, info: &ClientInfo, incident: &Incident) {
        let Some(audited) = self.audited() else { return };
        let Incident { reason, context, object, username, .. } = incident;
        let is_login = matches!(reason, Reason::Auth | Reason::TlsCertificate);
        let is_wanted = if is_login { audited.logins } else { audited.refusals };
        if !is_wanted {
            return;
        }
        let event = if is_login { "login" } else { "refusal" };
        let entry = self.entry(event, info).text("result", b"denied");
        let entry = entry.text("reason", reason.name().as_bytes()).text("object", object);
        let entry = entry.text("context", context.name().as_bytes());
        // As whom it wanted to come in, where that is what was refused.
        self.write_down(if is_login { entry.text("as", username) } else { entry });
    }

    /// Writes down that a client has come, or goes.
    pub(crate) fn audit_connection(&self, info: &ClientInfo, is_there: bool) {
        if self.audited().is_some_and(|it| it.connections) {
            let entry = self.entry(if is_there { "connection" } else { "disconnection" }, info);
            let entry = entry.text("local_address", info.local_address.as_bytes());
            let age_ms = u64::try_from(self.now - info.connected_at).unwrap_or(0);
            self.write_down(if is_there { entry } else { entry.number("age_ms", age_ms) });
        }
    }

    /// Writes down a command that has run to its end, if it is one of those that are.
    pub(super) fn audit_command(
        &self,
        entry: &'static Entry,
        args: Args<'_>,
        caller: Caller,
        info: &ClientInfo,
        spent_ticks: u64,
        (reply, reply_start): (&Reply<'_>, Mark),
    ) {
        let Some(event) = self.audited().and_then(|it| it.event_of(entry)) else { return };
        let has_failed = reply.is_error_at(reply_start);
        let result: &[u8] = if has_failed { b"error" } else { b"ok" };
        let mut shown = shown_args(entry.spec, args, self.settings.log_shows);
        if event == audit::USERS && !has_failed {
            show_rules(&mut shown, args, self.settings.log_shows.arg_bytes_max);
        }
        let us = (spent_ticks as f64 / ticks::per_microsecond()) as u64;
        let line = self
            .entry(event, info)
            .text("result", result)
            .text("command", entry.full_name.as_bytes())
            .texts("args", &shown)
            .number("db", info.db.load(Ordering::Relaxed) as u64)
            .number("duration_us", us);
        self.write_down(match caller {
            Caller::Client | Caller::Transaction => line,
            Caller::Script => line.text("context", b"script"),
        });
    }

    fn entry(&self, event: &str, info: &ClientInfo) -> audit::Entry {
        let names = info.names.lock();
        let entry = audit::Entry::new(self.now, event).text("user", &names.user);
        let entry = entry.number("client", info.id).text("address", info.address.as_bytes());
        if names.name.is_empty() { entry } else { entry.text("client_name", &names.name) }
    }

    fn write_down(&self, entry: audit::Entry) {
        self.server.observing.audit.note(entry);
    }
}

/// Shows a user's name and rules, which other logs hide altogether, but for passwords. They are good rules: what is no rule
/// may be a password with something missing in front.
fn show_rules(shown: &mut [Vec<u8>], args: Args<'_>, bytes_max: usize) {
    for (index, shown) in shown.iter_mut().enumerate().filter(|(_, it)| **it == REDACTED) {
        let Some(rule) = args.get(index) else { continue };
        *shown = match rule {
            [kind @ (b'>' | b'<' | b'#' | b'!'), ..] => [&[*kind], REDACTED].concat(),
            _ => cut(rule, bytes_max),
        };
    }
}
