//! TLS as the configuration has it: made anew when that changes, or when the files do that it names. What is in force stays
//! so until all of the new has been found good.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rubine_config::{Config, Refusal};
use rubine_net::tls::Contexts;

use crate::process::logging::log;
use crate::server::Server;

/// Whether connections are made otherwise when a directive has changed.
pub(super) fn concerns(directive: &str) -> bool {
    directive.starts_with("tls-") || ["http-port", "http-tls"].contains(&directive)
}

/// Makes what `new` means, or says that it cannot be, and why in the log.
pub(super) fn prepare(
    new: &Config,
    directive: &'static str,
) -> Result<Option<Arc<Contexts>>, Refusal> {
    let made = Contexts::of(new).map_err(|reason| {
        tracing::warn!("{reason}");
        let reason = "Unable to update TLS configuration. Check server logs.".to_owned();
        Refusal { directive, reason }
    })?;
    Ok(made.map(Arc::new))
}

/// Has the files looked at that connections are made from, when their time has come. That takes a thread, as disks may.
pub(crate) fn look(server: &'static Server, now: i64) {
    let interval_ms = i64::from(server.config.load().tls_auto_reload_interval) * 1000;
    let reloads = &server.ports.tls_reloads;
    let is_due = interval_ms != 0 && reloads.looked_at.load(Ordering::Relaxed) + interval_ms <= now;
    if !is_due || server.ports.tls.current().is_none() {
        return;
    }
    if reloads.is_under_way.swap(true, Ordering::AcqRel) {
        return;
    }
    reloads.looked_at.store(now, Ordering::Relaxed);
    let reload = move || {
        reload(server);
        server.ports.tls_reloads.is_under_way.store(false, Ordering::Release);
    };
    if let Err(error) = std::thread::Builder::new().name("tls reload".to_owned()).spawn(reload) {
        log::warning!("Can't start a thread to reload TLS materials: {error}");
        reloads.is_under_way.store(false, Ordering::Release);
    }
}

/// Takes over what the files hold now, if that is something else and is good.
fn reload(server: &Server) {
    let config = server.config.load();
    if server.ports.tls.current().as_ref().is_none_or(|it| !it.is_outdated(&config)) {
        log::debug!("TLS reload skipped: materials unchanged");
        return;
    }
    log::notice!("TLS materials changed, reloading in background");
    match Contexts::of(&config) {
        Ok(contexts) => {
            let contexts = contexts.map(Arc::new);
            // Whoever has changed the configuration meanwhile has read the files too.
            if server.config.if_unchanged(&config, || server.ports.tls.set(contexts)) {
                log::notice!("TLS materials reloaded successfully");
            }
        }
        Err(reason) => {
            log::warning!("Background TLS reload failed, and what was loaded stays: {reason}");
        }
    }
}
