//! What is asked of the server around.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rubine_metrics::Samples;
use tokio_rustls::rustls::ServerConfig;

use crate::health::HealthFacts;

/// The server, as it is seen from here.
pub trait Host: Sync {
    /// Called by the thread when it begins.
    fn begin_thread(&self);

    /// The directives that matter here, as they are in force.
    fn settings(&self) -> Settings;

    /// What TLS is spoken with; `None` if there is none.
    fn tls(&self) -> Option<Arc<ServerConfig>>;

    /// All metrics at this moment. May take a millisecond.
    fn metrics(&'static self) -> Samples;

    /// What health is judged by. Takes no lock that is held for long.
    fn health(&self) -> HealthFacts;

    /// What there is to say of a directive beside its value.
    fn directive(&self, name: &str) -> AboutDirective;

    /// A connection on which the server serves a client that comes from `peer`, as if that had connected to its port. The
    /// error is what such a client is told.
    fn connect(&self, peer: Peer) -> Result<UnixStream, String>;
}

/// Directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive of its own")]
pub struct Settings {
    /// Metrics are for users only that may run INFO: `http-auth`.
    pub asks_for_login: bool,
    /// A replica whose link is down for longer is not ready: `ready-max-link-down`, seconds; 0 for no limit.
    pub link_down_seconds_max: u64,
    /// There is a console: `console`.
    pub has_console: bool,
    /// Something may be changed there: `console-writable`.
    pub is_console_writable: bool,
    /// The default user takes any password.
    pub takes_anybody: bool,
}

/// What there is to say of a directive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AboutDirective {
    /// Where its value comes from, in words.
    pub origin: String,
    pub is_secret: bool,
}

/// Who sends a request, and where it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub remote: SocketAddr,
    pub local: SocketAddr,
}
