//! Brings the audit log to what the configuration says: `audit-log` and `audit-log-events`.

use std::fs::File;
use std::path::PathBuf;

use rubine_config::{Config, Refusal, reason};

use crate::observing::audit::{self, Audited};
use crate::server::Server;

/// A log that can be written, if there is to be one.
pub(crate) type Prepared = Option<(PathBuf, File, Audited)>;

/// Opens the log that a configuration asks for.
pub(super) fn prepare(server: &Server, config: &Config) -> Result<Prepared, Refusal> {
    let refuse = |directive, reason| Refusal { directive, reason };
    let audited = Audited::of(&config.audit_log_events.0, &server.commands);
    let audited = audited.map_err(|it| refuse("audit-log-events", it))?;
    if config.audit_log.is_empty() {
        return Ok(None);
    }
    let path = config.dir.as_path().join(&config.audit_log);
    match audit::open(&path) {
        Ok(file) => Ok(Some((path, file, audited))),
        Err(error) => {
            let text = format!("can't open '{}': {}", path.display(), reason(&error));
            Err(refuse("audit-log", text))
        }
    }
}

/// Writes that log from now on.
pub(super) fn turn(server: &'static Server, log: Prepared) {
    if let Err(error) = server.observing.audit.set(log) {
        tracing::warn!("There is no audit log: {error}");
    }
}

/// Begins the log that the server is to have from the start.
pub(crate) fn begin(server: &'static Server) -> Result<(), String> {
    let log = prepare(server, &server.config.load());
    let log = log.map_err(|it| format!("{}: {}", it.directive, it.reason))?;
    if log.is_none() { Ok(()) } else { server.observing.audit.set(log) }
}
