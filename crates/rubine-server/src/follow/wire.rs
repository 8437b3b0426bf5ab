//! The connection to the master with the machine that decides what is said on it, for a thread of their own that may wait; and
//! a second one, where the dump comes over that. Knows nothing of data.

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

use super::held::Held;
use crate::client::ClientInfo;
use crate::server::Server;

pub(super) const WAKER: Token = Token(0);
const LINK: Token = Token(1);
const CHANNEL: Token = Token(2);

/// What is read at once.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// So many of them are kept of the stream before the dump is looked at again.
const KEPT_CHUNKS_MAX: usize = 16;
/// How long it sleeps at most: the server may end.
const SLEEP_MAX_MS: u64 = 200;

/// One connection.
struct End {
    token: Token,
    link: Option<Link>,
    is_open: bool,
    /// More may have come than was read.
    is_readable: bool,
}

pub(super) struct Wire {
    server: &'static Server,
    poll: Poll,
    events: Events,
    main: End,
    /// The second connection, for a dump.
    channel: End,
    pub(super) machine: Follower,
    /// The order that these connections are for.
    pub(super) order: u64,
    /// What came behind what the machine has taken.
    pub(super) rest: Vec<u8>,
    /// Bytes of the dump that are still to come, where that is known.
    pub(super) dump_left: Option<u64>,
    /// What comes of the stream while the dump comes over the second connection, and until it is applied.
    held: Option<Held>,
    /// Why the first connection ended meanwhile, if it did.
    loss: Option<String>,
}

impl End {
    fn new(token: Token) -> Self {
        Self { token, link: None, is_open: false, is_readable: false }
    }

    fn open(&mut self) -> io::Result<bool> {
        let Some(link) = &mut self.link else { return Ok(false) };
        if self.is_open {
            return Ok(false);
        }
        self.is_open = link.open()?;
        self.is_readable = self.is_open;
        Ok(self.is_open)
    }

    fn close(&mut self) {
        self.link = None;
        self.is_open = false;
    }

    fn can_read(&self) -> bool {
        self.is_open && self.is_readable
    }

    fn receive(&mut self, chunk: &mut Vec<u8>) -> io::Result<()> {
        let Some(link) = self.link.as_mut().filter(|_| self.is_open && self.is_readable) else {
            return Ok(());
        };
        self.is_readable = link.receive_into(chunk, CHUNK_BYTES)?;
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(link) = self.link.as_mut().filter(|_| self.is_open) else { return Ok(()) };
        link.send_bytes(bytes).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        link.flush().map(drop)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.link {
            Some(link) if self.is_open && 0 < link.unsent() => link.flush().map(drop),
            _ => Ok(()),
        }
    }
}

impl Wire {
    pub(super) fn new(server: &'static Server, poll: Poll) -> Self {
        let (order, rest, dump_left, held, loss) = Default::default();
        let (events, machine) = (Events::with_capacity(8), Follower::new(monotonic_millis()));
        let (main, channel) = (End::new(LINK), End::new(CHANNEL));
        Self { server, poll, events, main, channel, machine, order, rest, dump_left, held, loss }
    }

    /// Whether something else is wanted by now than what this connection is for.
    pub(super) fn is_outdated(&self) -> bool {
        self.server.replication.following.order() != self.order
            || self.server.shutdown.is_under_way.load(Ordering::Acquire)
    }

    /// Has the machine take in an event.
    pub(super) fn handle(&mut self, event: Event<'_>) -> Vec<Action> {
        self.machine.handle(event, monotonic_millis())
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, master: &ReplicaOf) -> io::Result<()> {
        let link = self.begin_link(master, LINK)?;
        self.main = End { link: Some(link), ..End::new(LINK) };
        Ok(())
    }

    /// Begins to make the second connection.
    pub(super) fn connect_channel(&mut self, master: &ReplicaOf) -> io::Result<()> {
        let link = self.begin_link(master, CHANNEL)?;
        self.channel = End { link: Some(link), ..End::new(CHANNEL) };
        Ok(())
    }

    fn begin_link(&self, master: &ReplicaOf, token: Token) -> io::Result<Link> {
        let address = resolve((master.host.as_str(), master.port))?;
        let config = self.server.config.load();
        let source = config.bind_source_addr.as_deref().filter(|it| !it.is_empty());
        let source = source.map(|it| resolve((it, 0))).transpose()?.map(|it| it.ip());
        let way = Way { source, is_multipath: config.repl_mptcp };
        let mut link = Link::connect_by(address, way, self.server.tls_to_master())?;
        link.register(self.poll.registry(), token)?;
        Ok(link)
    }

    /// Closes both connections.
    pub(super) fn close(&mut self) {
        self.main.close();
        self.channel.close();
        self.rest.clear();
        self.end_beside();
    }

    /// Goes on with connecting. Returns whether the connection has just been made.
    pub(super) fn open(&mut self) -> io::Result<bool> {
        self.main.open()
    }

    /// The same for the second one.
    pub(super) fn open_channel(&mut self) -> io::Result<bool> {
        self.channel.open()
    }

    /// The dump comes over the second connection from now on, and what comes over the first one is kept.
    pub(super) fn begin_beside(&mut self, mut held: Held, mut stream: Vec<u8>) {
        let facts = &self.server.replication.following.syncs;
        facts.held_bytes_peak.store(0, Ordering::Relaxed);
        held.push(&mut stream, facts);
        (self.held, self.loss) = (Some(held), None);
    }

    /// All of the dump is there: the second connection is not needed any more. What is kept is to be taken.
    pub(super) fn end_dump(&mut self) {
        if self.held.is_some() {
            self.channel.close();
            self.rest.clear();
        }
    }

    /// Nothing is kept any more. Returns why the first connection has ended meanwhile, if it has.
    pub(super) fn end_beside(&mut self) -> Option<String> {
        if self.held.take().is_some() {
            self.server.replication.following.syncs.held_bytes.store(0, Ordering::Relaxed);
        }
        self.loss.take()
    }

    /// Whether there is a second connection.
    pub(super) fn has_channel(&self) -> bool {
        self.channel.is_open
    }

    /// Whether the stream comes beside the dump.
    pub(super) fn is_beside(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the next of what was kept of the stream. While it is taken, what comes is kept still, but less than that, so
    /// that there is an end to it.
    pub(super) fn take_held(&mut self) -> Option<Vec<u8>> {
        let facts = &self.server.replication.following.syncs;
        let before = self.held.as_ref()?.bytes();
        let piece = self.held.as_mut()?.take(facts)?;
        self.keep_stream(before - piece.len() as u64 / 2);
        Some(piece)
    }

    /// Keeps what has come of the stream, as long as no more than `bytes_max` are kept. That the connection has ended is
    /// noted.
    fn keep_stream(&mut self, bytes_max: u64) {
        let Self { main, held: Some(held), loss, server, .. } = self else { return };
        let following = &server.replication.following;
        let mut chunk = Vec::new();
        for _ in 0..KEPT_CHUNKS_MAX {
            let may_keep = held.has_room() && held.bytes() < bytes_max;
            if !main.can_read() || !may_keep || loss.is_some() {
                return;
            }
            let received = main.receive(&mut chunk);
            following.link.input_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            held.push(&mut chunk, &following.syncs);
            if let Err(error) = received {
                *loss = Some(error.to_string());
            }
        }
    }

    /// While the dump, all of which is there, is loaded: keeps what comes of the stream. Notes that the connection has ended.
    pub(super) fn keep_stream_beside(&mut self) {
        self.look(Duration::ZERO);
        let was_there = self.loss.is_none();
        self.keep_stream(u64::MAX);
        if was_there && self.loss.is_some() {
            tracing::info!("Aborting rdb channel sync while loading the RDB.");
            tracing::info!("After loading RDB, replica will try psync with master.");
        }
    }

    /// Whether all that has come was read, as far as is known.
    pub(super) fn is_drained(&self) -> bool {
        !self.main.is_readable && self.rest.is_empty() && self.held.is_none()
    }

    /// The link as one of the clients that CLIENT LIST shows.
    pub(super) fn as_client(&self) -> Option<ClientInfo> {
        let link = self.main.link.as_ref()?;
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
        self.main.send(bytes)
    }

    /// The same over the second connection.
    pub(super) fn send_on_channel(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.channel.send(bytes)
    }

    /// Sends what is left.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.main.flush()?;
        self.channel.flush()
    }

    /// Whether all that was to be sent has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.main.link.as_ref().is_none_or(|it| it.unsent() == 0)
    }

    /// Reads what has come into `chunk`, unless it is to wait. Returns whether that is anything.
    pub(super) fn receive(&mut self, chunk: &mut Vec<u8>) -> io::Result<bool> {
        if self.machine.reads_link() { self.receive_from(LINK, chunk) } else { Ok(false) }
    }

    /// The same of the second connection, before the dump begins.
    pub(super) fn receive_on_channel(&mut self, chunk: &mut Vec<u8>) -> io::Result<bool> {
        chunk.clear();
        if self.machine.reads_channel() { self.receive_from(CHANNEL, chunk) } else { Ok(false) }
    }

    fn receive_from(&mut self, token: Token, chunk: &mut Vec<u8>) -> io::Result<bool> {
        chunk.clear();
        if !self.rest.is_empty() {
            std::mem::swap(chunk, &mut self.rest);
            return Ok(true);
        }
        let end = if token == CHANNEL { &mut self.channel } else { &mut self.main };
        end.receive(chunk)?;
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
        } else if self.has_work() {
            0
        } else {
            self.machine.sleep_ms(monotonic_millis()).min(SLEEP_MAX_MS)
        };
        self.look(Duration::from_millis(ms));
    }

    /// Whether something has come that can be taken now.
    fn has_work(&self) -> bool {
        let takes_main = match &self.held {
            Some(held) => held.has_room() && self.loss.is_none(),
            None => self.machine.reads_link(),
        };
        let takes_channel = self.held.is_some() || self.machine.reads_channel();
        !self.rest.is_empty()
            || (self.main.can_read() && takes_main)
            || (self.channel.can_read() && takes_channel)
    }

    /// Sees what has happened to the connections, some time later at most.
    fn look(&mut self, wait: Duration) {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the event queue failed: {error}"),
        }
        for end in [&mut self.main, &mut self.channel] {
            end.is_readable |= self.events.iter().any(|it| it.token() == end.token);
        }
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
            self.keep_stream(u64::MAX);
            if let Some(loss) = &self.loss {
                tracing::info!("Aborting rdb channel sync while loading the RDB.");
                return Err(io::Error::other(format!("the stream's connection was lost: {loss}")));
            }
            let source = if self.held.is_some() { CHANNEL } else { LINK };
            if self.receive_from(source, chunk)? {
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
