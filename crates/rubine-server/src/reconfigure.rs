//! Brings the running server from one configuration to the next: what CONFIG SET means beyond the new values.
//! Either all of it is done or nothing.

use crate::config::{Config, Directive, Refusal};
use crate::persistence::aof::read_keys;
use crate::server::Server;
use crate::settings::Settings;
use crate::sys::process;

/// Applies a change. The parts that can fail come first; whoever fails has the parts before it undone.
pub(crate) fn apply(
    server: &'static Server,
    old: &Config,
    new: &Config,
    changed: &[&'static Directive],
) -> Result<(), Refusal> {
    let is_changed = |name: &str| changed.iter().any(|it| it.name == name);
    if is_changed("maxclients") {
        raise_maxclients(new)?;
    }
    if is_changed("dir") {
        enter(new)?;
    }
    let keys = if is_changed("encryption-key-file") {
        let read = read_keys(new);
        let refuse = |reason| Refusal { directive: "encryption-key-file", reason };
        Some(read.map_err(refuse)?)
    } else {
        None
    };
    let moved = ["port", "bind"].into_iter().find(|name| is_changed(name));
    if let Some(directive) = moved
        && let Err(refusal) = move_listeners(server, new, directive)
    {
        if is_changed("dir") {
            // It was the working directory a moment ago; if it is gone now, the new one is as good.
            let _ = std::env::set_current_dir(old.dir.as_path());
        }
        return Err(refusal);
    }
    if let Some(logger) = &server.logger {
        logger.apply(new);
    }
    server.publish(Settings::of(new));
    if let Some(keys) = keys {
        server.aof.set_keys(keys);
    }
    if is_changed("appendonly") {
        server.aof.set_wanted(new.appendonly);
    }
    Ok(())
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

fn move_listeners(server: &Server, new: &Config, directive: &'static str) -> Result<(), Refusal> {
    server.listening.rebind(new).map_err(|reason| {
        tracing::warn!("{reason}");
        let reason = match directive {
            "port" => "Unable to listen on this port. Check server logs.",
            _ => "Failed to bind to specified addresses.",
        };
        Refusal { directive, reason: reason.to_owned() }
    })
}
