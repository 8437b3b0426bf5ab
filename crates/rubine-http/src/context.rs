//! What all requests share: the server, and bounds on what is done at a time.

use std::sync::Arc;
use std::time::Duration;

use rubine_metrics::Samples;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::host::Host;
use crate::jobs::Jobs;
use crate::link::LinkError;
use crate::sessions::Sessions;

/// Connections at a time. More wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// Whoever gives a wrong password hears it so late.
const REFUSAL_TIME: Duration = Duration::from_millis(500);
/// Metrics are collected by so many at a time.
const COLLECTORS_MAX: usize = 1;

/// What all requests share.
#[derive(Clone)]
pub(crate) struct Context(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) host: &'static dyn Host,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) sessions: Sessions,
    pub(crate) jobs: Jobs,
    collectors: Semaphore,
}

impl Context {
    pub(crate) fn new(host: &'static dyn Host) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let collectors = Semaphore::new(COLLECTORS_MAX);
        let (sessions, jobs) = Default::default();
        Self(Arc::new(Shared { host, connections, sessions, jobs, collectors }))
    }

    /// Lets whoever gave a wrong password wait.
    pub(crate) async fn delay_refusal(&self) {
        sleep(REFUSAL_TIME).await;
    }

    /// All metrics, collected on a helper: a file is looked at, which may take long where the disk is in trouble, and health
    /// does not wait for that.
    pub(crate) async fn metrics(&self) -> Result<Samples, LinkError> {
        let _turn = self.collectors.acquire().await.expect("it is never closed");
        let host = self.host;
        let collected = tokio::task::spawn_blocking(move || host.metrics()).await;
        collected.map_err(|error| LinkError::Closed(error.to_string()))
    }
}

impl std::ops::Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
