//! The connection of a migration with the queue of events that its thread sleeps on, at either end. Knows no key, and
//! understands nothing of what is said.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use rubine_base::clock::{Millis, unix_millis};
use rubine_cluster::View;
use rubine_cluster::migration::{JobId, Migrations};
use rubine_net::link::Link;

use crate::client::{ClientFlags, ClientInfo};
use crate::cluster::{Cluster, MigrationLink, Side};
use crate::server::Server;

const WAKER: Token = Token(0);
const LINK: Token = Token(1);
/// Events that are taken at a time.
const EVENTS: usize = 8;
/// How long it sleeps at most: somebody may have killed it, or the server may end.
const SLEEP_MAX: Duration = Duration::from_millis(100);

pub(super) struct Carrier {
    pub(super) server: &'static Server,
    pub(super) cluster: &'static Cluster,
    pub(super) job: JobId,
    pub(super) link: Link,
    /// What others order.
    pub(super) handle: Arc<MigrationLink>,
    /// How CLIENT LIST shows it.
    info: Arc<ClientInfo>,
    poll: Poll,
    events: Events,
    waker: std::task::Waker,
}

/// Wakes the thread of a connection when the journal has something.
struct WakeLink(Arc<MigrationLink>);

impl std::task::Wake for WakeLink {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

impl Carrier {
    /// Takes a connection on, which others find by its migration from now on.
    pub(super) fn new(
        server: &'static Server,
        cluster: &'static Cluster,
        job: JobId,
        mut link: Link,
        info: Arc<ClientInfo>,
        side: Side,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        link.register(poll.registry(), LINK)?;
        let handle = Arc::new(MigrationLink::new(job, side, waker));
        let waker = std::task::Waker::from(Arc::new(WakeLink(Arc::clone(&handle))));
        cluster.migrations.add_link(Arc::clone(&handle));
        let flag = match side {
            Side::Source => ClientFlags::SLOT_EXPORT,
            Side::Target => ClientFlags::SLOT_IMPORT,
        };
        info.flags.store(flag.bits(), Ordering::Relaxed);
        server.clients.add(Arc::clone(&info));
        let events = Events::with_capacity(EVENTS);
        Ok(Self { server, cluster, job, link, handle, info, poll, events, waker })
    }

    /// Whoever wakes this thread when there is more to be read of the journal.
    pub(super) fn waker(&self) -> &std::task::Waker {
        &self.waker
    }

    pub(super) fn tell<T>(&self, tell: impl FnOnce(&mut Migrations, &View, Millis) -> T) -> T {
        self.cluster.tell_migrations(&self.server.journal, tell)
    }

    /// Sleeps until something happens, if nothing is to be done.
    pub(super) fn wait(&mut self, has_work: bool) -> io::Result<()> {
        let timeout = if has_work { Duration::ZERO } else { SLEEP_MAX };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the connection is of no use any more. An error says that somebody has cut it.
    pub(super) fn is_over(&self) -> io::Result<bool> {
        if self.info.is_killed.load(Ordering::Acquire) {
            return Err(io::Error::other("the connection was killed"));
        }
        Ok(self.handle.is_closed() || self.server.shutdown.is_under_way.load(Ordering::Acquire))
    }

    /// Shows others how far it is.
    pub(super) fn show(&self, received_bytes: usize) {
        let kept = (self.link.unsent() + received_bytes) as u64;
        self.handle.kept_bytes.store(kept, Ordering::Relaxed);
        let info = &self.info;
        info.output_bytes.store(self.link.unsent(), Ordering::Relaxed);
        info.query_len.store(received_bytes, Ordering::Relaxed);
        info.last_interaction.store(unix_millis(), Ordering::Relaxed);
    }

    /// It has ended. The reason is told to the machine, if it has not ended by itself.
    pub(super) fn end(self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            let (job, reason) = (self.job, error.to_string());
            self.tell(|machine, _, now| machine.closed(job, &reason, now));
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.info.is_closed.store(true, Ordering::Release);
        self.server.clients.remove(self.info.id);
        self.cluster.migrations.remove_link(self.job);
    }
}
