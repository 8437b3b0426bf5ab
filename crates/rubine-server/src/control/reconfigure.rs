//! Brings the running server from one configuration to the next: what CONFIG SET means beyond the new values.
//! Either all of it is done or nothing.

use super::{audit, backup, cluster, full_sync, tls, watching};
use crate::http;
use crate::process::oom_score;
use crate::process::process_title;
use crate::server::Server;
use crate::settings::Settings;
use rubine_config::{Config, Directive, Refusal};
use rubine_storage::read_keys;
use rubine_system::collation::collation;
use rubine_system::process;

/// Applies a change. The parts that can fail come first; whoever fails has the parts before it undone.
pub(crate) fn apply(
    server: &'static Server,
    old: &Config,
    new: &Config,
    changed: &[&'static Directive],
) -> Result<(), Refusal> {
    let is_changed = |name: &str| changed.iter().any(|it| it.name == name);
    if is_changed("locale-collate") && collation(&new.locale_collate).is_err() {
        let reason = "Invalid locale name".to_owned();
        return Err(Refusal { directive: "locale-collate", reason });
    }
    if is_changed("maxclients") {
        raise_maxclients(new)?;
    }
    let keys = if is_changed("encryption-key-file") {
        let read = read_keys(new);
        let refuse = |reason| Refusal { directive: "encryption-key-file", reason };
        Some(read.map_err(refuse)?)
    } else {
        None
    };
    let tls = match changed.iter().find(|it| tls::concerns(it.name)) {
        Some(directive) => Some(tls::prepare(new, directive.name)?),
        None => None,
    };
    let backups = backup::prepare_changed(new, changed)?;
    if is_changed("dir") {
        enter(new)?;
    }
    let audit = if is_changed("audit-log") || is_changed("audit-log-events") {
        let prepared = audit::prepare(server, new);
        Some(prepared.inspect_err(|_| leave(old, is_changed("dir")))?)
    } else {
        None
    };
    let receivers = watching::prepare(new, &is_changed);
    let receivers = receivers.inspect_err(|_| leave(old, is_changed("dir")))?;
    let tls_before = server.ports.tls.current().clone();
    let has_tls = tls.is_some();
    if let Some(contexts) = tls {
        server.ports.tls.set(contexts);
    }
    if let Err(refusal) = apply_to_system(server, old, new, &is_changed) {
        if has_tls {
            server.ports.tls.set(tls_before);
        }
        leave(old, is_changed("dir"));
        return Err(refusal);
    }
    if let Some(logger) = &server.process.logger {
        logger.apply(new);
    }
    audit.into_iter().for_each(|it| audit::turn(server, it));
    watching::turn(server, new, receivers);
    let settings = Settings::of(new);
    server.observing.logs.trim(&settings.command_logs);
    server.publish(settings);
    if let Some(part) = &server.cluster {
        cluster::configure(part, new);
    }
    apply_to_users(server, new, &is_changed);
    if let Some(keys) = keys {
        server.aof.set_keys(keys);
    }
    backup::turn(server, new, backups);
    apply_to_backlog(server, new, &is_changed);
    if is_changed("appendonly") {
        server.aof.set_wanted(new.appendonly);
    }
    if is_changed("watchdog-period") {
        server.process.watchdog.set(server.worker_stats(), &server.commands, new.watchdog_period);
    }
    if ["proc-title-template", "port", "tls-port", "bind"].into_iter().any(is_changed) {
        process_title::show(new, server.config.source());
    }
    Ok(())
}

/// How much of the log is kept for replicas that come back.
fn apply_to_backlog(server: &Server, new: &Config, is_changed: &impl Fn(&str) -> bool) {
    if is_changed("repl-backlog-size") && server.journal.status().backlog_bytes_max != 0 {
        server.journal.set_backlog(full_sync::backlog_bytes(new));
    }
    if is_changed("repl-backlog-disk-size") {
        server.persistence.backlog.wake();
    }
}

fn apply_to_users(server: &Server, new: &Config, is_changed: &impl Fn(&str) -> bool) {
    if is_changed("requirepass") {
        server.access.change(|users| users.set_default_password(new.requirepass.as_deref()));
    }
    if is_changed("acl-pubsub-default") {
        server.access.set_channel_default(new);
    }
}

/// What the system may refuse, and has to be undone if something after it is refused.
fn apply_to_system(
    server: &'static Server,
    old: &Config,
    new: &Config,
    is_changed: &impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    let scored =
        ["oom-score-adj", "oom-score-adj-values"].into_iter().find(|name| is_changed(name));
    if let Some(directive) = scored {
        oom_score::check(new);
        server.process.oom_score.apply(new).map_err(|_| Refusal {
            directive,
            reason: "Failed to set current oom_score_adj. Check server logs.".to_owned(),
        })?;
    }
    let tuned = ["tcp-congestion", "tcp-fastopen"].into_iter().find(|name| is_changed(name));
    let moved = ["port", "tls-port", "bind"].into_iter().find(|name| is_changed(name));
    let http = ["http-port", "http-bind", "http-tls"].into_iter().find(|name| is_changed(name));
    let listeners = tuned
        .map_or(Ok(()), |directive| tune_listeners(server, new, directive))
        .and_then(|()| moved.map_or(Ok(()), |directive| move_listeners(server, new, directive)))
        .and_then(|()| http.map_or(Ok(()), |directive| move_http(server, new, directive)));
    listeners.inspect_err(|_| {
        if moved.is_some() {
            let _ = server.ports.listening.rebind(old);
        }
        // What was possible a moment ago is so still; the log tells if not.
        if tuned.is_some() {
            let _ = server.ports.listening.retune(old);
        }
        if scored.is_some() {
            let _ = server.process.oom_score.apply(old);
        }
    })
}

/// Goes back to where the server was, if it has gone elsewhere.
fn leave(old: &Config, is_changed: bool) {
    if is_changed {
        // It was the working directory a moment ago; if it is gone now, the new one is as good.
        let _ = std::env::set_current_dir(old.dir.as_path());
    }
}

fn tune_listeners(server: &Server, new: &Config, directive: &'static str) -> Result<(), Refusal> {
    let refuse = |error: std::io::Error| Refusal { directive, reason: error.to_string() };
    server.ports.listening.retune(new).map_err(refuse)
}

/// Makes room for more open files.
fn raise_maxclients(new: &Config) -> Result<(), Refusal> {
    let wanted = u64::from(new.maxclients) + process::RESERVED_FILES;
    let allowed = process::raise_open_files(wanted);
    if wanted <= allowed {
        return Ok(());
    }
    let reason = format!(
        "The operating system is not able to handle the specified number of clients, try with {}",
        allowed.saturating_sub(process::RESERVED_FILES)
    );
    Err(Refusal { directive: "maxclients", reason })
}

fn enter(new: &Config) -> Result<(), Refusal> {
    std::env::set_current_dir(new.dir.as_path()).map_err(|error| {
        let text = error.to_string();
        // Without the number that the standard library puts behind the words.
        let reason = text.split(" (os error").next().unwrap_or(&text).to_owned();
        Refusal { directive: "dir", reason }
    })
}

fn move_http(
    server: &'static Server,
    new: &Config,
    directive: &'static str,
) -> Result<(), Refusal> {
    http::listen(server, new).map_err(|reason| {
        tracing::warn!("{reason}");
        let reason = "Unable to listen there for HTTP. Check server logs.".to_owned();
        Refusal { directive, reason }
    })
}

fn move_listeners(server: &Server, new: &Config, directive: &'static str) -> Result<(), Refusal> {
    server.ports.listening.rebind(new).map_err(|reason| {
        tracing::warn!("{reason}");
        let reason = match directive {
            "port" | "tls-port" => "Unable to listen on this port. Check server logs.",
            _ => "Failed to bind to specified addresses.",
        };
        Refusal { directive, reason: reason.to_owned() }
    })
}
