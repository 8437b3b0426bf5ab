//! Brings backups to what the configuration says: the directives that begin with `backup-`.

use std::sync::OnceLock;

use rubine_backup::service::{Options, Setup};
use rubine_backup::source::Source;
use rubine_backup::store::Access;
use rubine_config::{Config, Directive, Refusal};

use crate::persistence::backup::Backed;
use crate::server::Server;

/// Whether a change of this directive concerns where and when backups are made.
fn concerns(directive: &str) -> bool {
    // The limit counts at once, and the others are about sets of Redis's form.
    let others = ["backup-rate-limit", "backup-sealed-ttl"];
    directive.starts_with("backup-") && !others.contains(&directive)
}

/// What a change of the configuration means for backups.
pub(super) enum Change {
    /// All goes on.
    Nothing,
    /// Another place or schedule, or no backups any more.
    To(Option<Box<Setup>>),
}

/// What a change asks for, if that can be followed.
pub(super) fn prepare_changed(
    new: &Config,
    changed: &[&'static Directive],
) -> Result<Change, Refusal> {
    let is_asked = changed.iter().any(|it| concerns(it.name));
    if is_asked { prepare(new).map(|it| Change::To(it.map(Box::new))) } else { Ok(Change::Nothing) }
}

/// What a configuration asks for; nothing where no backups are to be made.
fn prepare(config: &Config) -> Result<Option<Setup>, Refusal> {
    Setup::of(options(config))
        .map_err(|refusal| Refusal { directive: refusal.directive, reason: refusal.reason })
}

/// Follows it from now on.
pub(super) fn turn(server: &'static Server, new: &Config, change: Change) {
    server.operating.backups.service.set_limit(new.backup_rate_limit);
    let Change::To(setup) = change else { return };
    if let Err(error) = server.operating.backups.service.set(setup.map(|it| *it), source(server)) {
        tracing::warn!("There are no backups: no thread can be started: {error}");
    }
}

/// Begins with the backups that the server is to have from the start. A Sentinel has no data.
pub(crate) fn begin(server: &'static Server) -> Result<(), String> {
    if server.sentinel.is_some() {
        return Ok(());
    }
    let setup = prepare(&server.config.load());
    let setup = setup.map_err(|it| format!("{}: {}", it.directive, it.reason))?;
    let begun = server.operating.backups.service.set(setup, source(server));
    begun.map_err(|error| format!("Can't start a thread: {error}"))
}

/// The server as backups see it.
pub(crate) fn source(server: &'static Server) -> &'static dyn Source {
    // There is one server in a process.
    static SOURCE: OnceLock<Backed> = OnceLock::new();
    SOURCE.get_or_init(|| Backed(server))
}

/// What directives say of the store.
pub(crate) fn access(config: &Config) -> Access {
    Access {
        endpoint: config.backup_endpoint.clone(),
        region: config.backup_region.clone(),
        access_key: config.backup_access_key.clone(),
        secret_key: config.backup_secret_key.clone(),
        timeout_seconds: config.backup_timeout,
    }
}

fn options(config: &Config) -> Options {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Options {
        url: config.backup_url.clone(),
        access: access(config),
        schedule: config.backup_schedule.clone(),
        jitter_seconds: config.backup_jitter,
        retention: config.backup_retention,
        level: config.backup_compression_level,
        bytes_per_second: config.backup_rate_limit,
        has_log: config.backup_pitr,
        log_interval_seconds: config.backup_pitr_interval,
        log_buffer_bytes: config.backup_pitr_buffer,
        owner: format!("{host}:{}", config.dir.as_path().display()),
    }
}
