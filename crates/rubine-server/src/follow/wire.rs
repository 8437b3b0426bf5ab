//! The connection to the master with the machine that decides what is said on it, for a thread of their own that may wait. Knows
//! nothing of data.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};
use parking_lot::Mutex;
use rubine_base::clock::{monotonic_millis, unix_millis};
use rubine_config::ReplicaOf;
use rubine_net::link::{Link, Way};
use rubine_replication::follower::{Action, Event, Follower};

use crate::client::ClientInfo;
use crate::server::Server;

pub(super) const WAKER: Token = Token(0);
const LINK: Token = Token(1);

/// What is read at once.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// How long it sleeps at most: the server may end.
const SLEEP_MAX_MS: u64 = 200;

pub(super) struct Wire {
    server: &'static Server,
    poll: Poll,
    events: Events,
    link: Option<Link>,
    is_open: bool,
    /// More may have come than was read.
    is_readable: bool,
    pub(super) machine: Follower,
    /// The order that this connection is for.
    pub(super) order: u64,
    /// What came behind what the machine has taken.
    pub(super) rest: Vec<u8>,
    /// Bytes of the dump that are still to come, where that is known.
    pub(super) dump_left: Option<u64>,
}

impl Wire {
    pub(super) fn new(server: &'static Server, poll: Poll) -> Self {
        let (link, is_open, is_readable, order, rest) = Default::default();
        let dump_left = None;
        let (events, machine) = (Events::with_capacity(8), Follower::new(monotonic_millis()));
        Self { server, poll, events, link, is_open, is_readable, machine, order, rest, dump_left }
    }

    /// Whether something else is wanted by now than what this connection is for.
    pub(super) fn is_outdated(&self) -> bool {
        self.server.replication.following.order() != self.order
            || self.server.is_shutting_down.load(Ordering::Acquire)
    }

    /// Has the machine take in an event.
    pub(super) fn handle(&mut self, event: Event<'_>) -> Vec<Action> {
        self.machine.handle(event, monotonic_millis())
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, master: &ReplicaOf) -> io::Result<()> {
        let address = resolve((master.host.as_str(), master.port))?;
        let config = self.server.config.load();
        let source = config.bind_source_addr.as_deref().filter(|it| !it.is_empty());
        let source = source.map(|it| resolve((it, 0))).transpose()?.map(|it| it.ip());
        let way = Way { source, is_multipath: config.repl_mptcp };
        let mut link = Link::connect_by(address, way, self.server.tls_to_master())?;
        link.register(self.poll.registry(), LINK)?;
        self.link = Some(link);
        (self.is_open, self.is_readable) = (false, false);
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.link = None;
        self.is_open = false;
        self.rest.clear();
    }

    /// Goes on with connecting. Returns whether the connection has just been made.
    pub(super) fn open(&mut self) -> io::Result<bool> {
        let Some(link) = &mut self.link else { return Ok(false) };
        if self.is_open {
            return Ok(false);
        }
        self.is_open = link.open()?;
        self.is_readable = self.is_open;
        Ok(self.is_open)
    }

    /// Whether all that has come was read, as far as is known.
    pub(super) fn is_drained(&self) -> bool {
        !self.is_readable && self.rest.is_empty()
    }

    /// The link as one of the clients that CLIENT LIST shows.
    pub(super) fn as_client(&self) -> Option<ClientInfo> {
        let link = self.link.as_ref()?;
        let (address, local) = link.addresses().ok()?;
        let addresses = (address.to_string(), local.to_string());
        let id = self.server.clients.new_id();
        let is_local = address.ip().is_loopback();
        let info = ClientInfo::new(id, 0, addresses, link.fd(), is_local, unix_millis());
        info.names.lock().user = b"(superuser)".to_vec();
        Some(info)
    }

    /// Sends bytes, or as much as can be sent now.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(link) = self.link.as_mut().filter(|_| self.is_open) else { return Ok(()) };
        link.send_bytes(bytes).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        link.flush().map(drop)
    }

    /// Sends what is left.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.link {
            Some(link) if self.is_open && 0 < link.unsent() => link.flush().map(drop),
            _ => Ok(()),
        }
    }

    /// Reads what has come into `chunk`. Returns whether that is anything.
    pub(super) fn receive(&mut self, chunk: &mut Vec<u8>) -> io::Result<bool> {
        chunk.clear();
        if !self.rest.is_empty() {
            std::mem::swap(chunk, &mut self.rest);
            return Ok(true);
        }
        let Some(link) = self.link.as_mut().filter(|_| self.is_open && self.is_readable) else {
            return Ok(false);
        };
        self.is_readable = link.receive_into(chunk, CHUNK_BYTES)?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let facts = &self.server.replication.following.link;
        facts.heard_at.store(unix_millis(), Ordering::Relaxed);
        facts.input_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(true)
    }

    /// Sleeps until something happens or is due.
    pub(super) fn wait(&mut self, is_idle: bool) {
        let ms = if is_idle {
            SLEEP_MAX_MS
        } else if self.is_readable && self.is_open || !self.rest.is_empty() {
            0
        } else {
            self.machine.sleep_ms(monotonic_millis()).min(SLEEP_MAX_MS)
        };
        match self.poll.poll(&mut self.events, Some(Duration::from_millis(ms))) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the event queue failed: {error}"),
        }
        self.is_readable |= self.events.iter().any(|it| it.token() == LINK);
    }

    /// Says that this side lives, if it is time to. The other side is not listened to, so nothing follows from its silence.
    pub(super) fn keep_alive(&mut self) -> io::Result<()> {
        self.handle(Event::Heard);
        for action in self.handle(Event::Tick) {
            if let Action::Send(bytes) = action {
                self.send(&bytes)?;
            }
        }
        self.flush()
    }

    /// While a dump is read: waits until something of it has come.
    fn wait_for_dump(&mut self, chunk: &mut Vec<u8>) -> io::Result<()> {
        loop {
            if self.is_outdated() {
                return Err(io::Error::other("another order came"));
            }
            // Only what is due by the clock can come of this: that it is said that this side lives, or that the other does not.
            let mut actions = self.handle(Event::Tick);
            if self.receive(chunk)? {
                self.handle(Event::Heard);
                actions.retain(|it| matches!(it, Action::Send(_)));
            }
            for action in actions {
                match action {
                    Action::Send(bytes) => self.send(&bytes)?,
                    Action::Tell { text, .. } => tracing::warn!("{text}"),
                    Action::Close => return Err(ErrorKind::TimedOut.into()),
                    _ => {}
                }
            }
            if !chunk.is_empty() {
                return Ok(());
            }
            self.flush()?;
            self.wait(false);
        }
    }
}

/// Looks a name up. That may take a while.
fn resolve(name: (&str, u16)) -> io::Result<SocketAddr> {
    let mut found = name.to_socket_addrs()?;
    found.next().ok_or_else(|| io::Error::other("the name has no address"))
}

/// The dump as it comes over the wire.
pub(super) struct Feed {
    wire: Arc<Mutex<Wire>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Feed {
    pub(super) fn new(wire: &Arc<Mutex<Wire>>) -> Self {
        Self { wire: Arc::clone(wire), chunk: Vec::new(), at: 0 }
    }
}

impl Read for Feed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.wire.lock();
        if wire.dump_left == Some(0) || out.is_empty() {
            return Ok(0);
        }
        if self.at == self.chunk.len() {
            self.at = 0;
            self.chunk.clear();
            wire.wait_for_dump(&mut self.chunk)?;
        }
        let most =
            wire.dump_left.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
        let count = (self.chunk.len() - self.at).min(out.len()).min(most);
        out[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        if let Some(left) = &mut wire.dump_left {
            *left -= count as u64;
        }
        let facts = &wire.server.replication.following.syncs;
        facts.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        facts.heard_at.store(unix_millis(), Ordering::Relaxed);
        Ok(count)
    }
}

impl Drop for Feed {
    /// What was received and not read belongs to what follows the dump.
    fn drop(&mut self) {
        if self.at < self.chunk.len() {
            let mut wire = self.wire.lock();
            wire.rest.splice(..0, self.chunk.drain(self.at..));
        }
    }
}
