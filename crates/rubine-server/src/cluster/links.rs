//! The connections of the bus: to other nodes, and from them. Carries packets, and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::{Registry, Token};
use rubine_base::clock::Millis;
use rubine_cluster::message::{Bounds, Decoder, Received};
use rubine_cluster::{Event, LinkId};
use rubine_net::link::{Link, Way};
use rubine_net::tls::ClientConfig;

/// What is read from one connection before others have their turn.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Connections of nodes that are not known, beyond which none is taken: anybody can connect.
const STRANGERS_MAX: usize = 1000;
/// With more that waits to be sent, a connection slows those down who publish.
const UNSENT_SLOW: usize = 4 * 1024 * 1024;
/// A connection that has taken nothing for so long is not waited for, milliseconds.
const STALLED_MS: Millis = 500;

/// All connections.
pub(crate) struct Links {
    all: BTreeMap<LinkId, Connection>,
    registry: Registry,
    /// The name of the next that comes in.
    next_inbound: LinkId,
    /// Connections that something was written to.
    unsent: BTreeSet<LinkId>,
    /// Connections on which more may have come than was read.
    readable: BTreeSet<LinkId>,
    stranger_count: usize,
    chunk: Vec<u8>,
}

struct Connection {
    link: Link,
    is_open: bool,
    /// The address of the other side, if it has connected to us.
    peer: Option<IpAddr>,
    decoder: Decoder,
    /// It has come in, and the machine does not know from whom.
    is_strange: bool,
    /// When the other side last took something.
    taken_at: Millis,
}

/// What has come of a connection.
#[derive(Default)]
pub(crate) struct GoneOn {
    /// It has just been made.
    pub(crate) opened: Option<Event>,
    /// It is over, and this is why. What had come before is to be taken first.
    pub(crate) lost: Option<String>,
    /// Bytes that wait to be sent.
    pub(crate) unsent: usize,
}

impl Links {
    pub(crate) fn new(registry: Registry) -> Self {
        let (all, unsent, readable, stranger_count, chunk) = Default::default();
        let next_inbound = LinkId::FIRST_INBOUND;
        Self { all, registry, next_inbound, unsent, readable, stranger_count, chunk }
    }

    /// Begins to connect.
    pub(crate) fn connect(
        &mut self,
        id: LinkId,
        to: SocketAddr,
        source: Option<IpAddr>,
        tls: Option<Arc<ClientConfig>>,
    ) -> io::Result<()> {
        let way = Way { source, is_multipath: false };
        let link = Link::connect_by(to, way, tls)?;
        self.watch(id, link, None)
    }

    /// Takes over what somebody has made who has connected to us.
    pub(crate) fn accept(
        &mut self,
        link: Link,
        peer: IpAddr,
        keep_alive: Duration,
    ) -> io::Result<()> {
        if STRANGERS_MAX <= self.stranger_count {
            return Err(io::Error::other("too many nodes that are not known are connected"));
        }
        link.keep_alive(keep_alive)?;
        let id = self.next_inbound;
        self.next_inbound.0 += 1;
        self.watch(id, link, Some(peer))?;
        // It may be open from the beginning, of which no event tells.
        self.readable.insert(id);
        Ok(())
    }

    fn watch(&mut self, id: LinkId, mut link: Link, peer: Option<IpAddr>) -> io::Result<()> {
        link.register(&self.registry, Token(id.0 as usize))?;
        let is_strange = peer.is_some();
        self.stranger_count += usize::from(is_strange);
        let decoder = Decoder::default();
        let connection =
            Connection { link, is_open: false, peer, decoder, is_strange, taken_at: Millis::MIN };
        self.all.insert(id, connection);
        Ok(())
    }

    pub(crate) fn close(&mut self, id: LinkId) {
        self.unsent.remove(&id);
        self.readable.remove(&id);
        if self.all.remove(&id).is_some_and(|it| it.is_strange) {
            self.stranger_count -= 1;
        }
    }

    /// Writes a packet, which leaves with [`Self::flush`]. An error says why the connection is of no use any more.
    pub(crate) fn send(&mut self, id: LinkId, packet: &[u8]) -> Result<(), String> {
        let Some(connection) = self.all.get_mut(&id) else { return Ok(()) };
        self.unsent.insert(id);
        let sent = connection.link.send_bytes(packet);
        sent.map_err(|_| "the other side takes too little of what is to be sent".to_owned())
    }

    /// Sends what was written. Returns for each of those connections how many bytes wait still, or why it is of no use any
    /// more.
    pub(crate) fn flush(&mut self, now: Millis) -> Vec<(LinkId, Result<usize, String>)> {
        let mut outcomes = Vec::new();
        for id in std::mem::take(&mut self.unsent) {
            let Some(connection) = self.all.get_mut(&id) else { continue };
            let flushed = if connection.is_open { connection.flush(now) } else { Ok(()) };
            let unsent = connection.link.unsent();
            outcomes.push((id, flushed.map(|()| unsent).map_err(|it| shown(&it))));
        }
        outcomes
    }

    /// Whether those who publish can go on: of the connections whose other sides take something, none has much to send still.
    pub(crate) fn have_room(&self, now: Millis) -> bool {
        let is_full = |it: &Connection| {
            UNSENT_SLOW < it.link.unsent() && now < it.taken_at.saturating_add(STALLED_MS)
        };
        !self.all.values().any(is_full)
    }

    /// Whether something may be read without being told so by an event.
    pub(crate) fn are_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Those on which more may have come than was read.
    pub(crate) fn take_readable(&mut self) -> BTreeSet<LinkId> {
        std::mem::take(&mut self.readable)
    }

    /// Goes on with a connection that something has happened to, for a while. Nothing if there is none any more.
    pub(crate) fn go_on(&mut self, id: LinkId, now: Millis) -> Option<GoneOn> {
        let connection = self.all.get_mut(&id)?;
        let mut outcome = GoneOn::default();
        let mut chunk = std::mem::take(&mut self.chunk);
        match connection.go_on((id, now), &mut chunk, &mut outcome) {
            Ok(true) => {
                self.readable.insert(id);
            }
            Ok(false) => {}
            Err(error) => outcome.lost = Some(shown(&error)),
        }
        connection.decoder.push(&chunk);
        outcome.unsent = connection.link.unsent();
        chunk.clear();
        self.chunk = chunk;
        Some(outcome)
    }

    /// The next packet that has come, from a node that the machine knows or from a stranger. An error says why the connection
    /// cannot go on.
    pub(crate) fn take(
        &mut self,
        id: LinkId,
        is_known: bool,
        relayed_size_max: usize,
    ) -> Result<Option<Received>, String> {
        let Some(connection) = self.all.get_mut(&id) else { return Ok(None) };
        let is_strange = connection.peer.is_some() && !is_known;
        let was_strange = std::mem::replace(&mut connection.is_strange, is_strange);
        self.stranger_count =
            self.stranger_count + usize::from(is_strange) - usize::from(was_strange);
        let bounds = if is_known { Bounds::known(relayed_size_max) } else { Bounds::STRANGER };
        connection.decoder.take(bounds).map_err(|error| error.to_string())
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Where the other side of a connection is, for the log.
    pub(crate) fn peer(&self, id: LinkId) -> String {
        let addresses = self.all.get(&id).and_then(|it| it.link.addresses().ok());
        addresses.map_or_else(|| "a node that is gone".to_owned(), |it| it.0.to_string())
    }

    /// Bytes of memory that the connections take.
    pub(crate) fn memory(&self) -> usize {
        let of = |it: &Connection| size_of::<Connection>() + it.decoder.memory() + it.link.unsent();
        self.all.values().map(of).sum()
    }
}

impl Connection {
    /// Opens it, sends what waits, and reads what has come behind `chunk`. Returns whether there may be more.
    fn go_on(
        &mut self,
        (id, now): (LinkId, Millis),
        chunk: &mut Vec<u8>,
        outcome: &mut GoneOn,
    ) -> io::Result<bool> {
        if !self.is_open {
            if !self.link.open()? {
                return Ok(false);
            }
            self.is_open = true;
            let (_, local) = self.link.addresses()?;
            let (link, local_ip) = (id, local.ip());
            outcome.opened = Some(match self.peer {
                None => Event::Connected { link, local_ip },
                Some(peer_ip) => Event::Accepted { link, peer_ip, local_ip },
            });
        }
        self.flush(now)?;
        self.link.receive_into(chunk, READ_BYTES_MAX)
    }

    fn flush(&mut self, now: Millis) -> io::Result<()> {
        let before = self.link.unsent();
        self.link.flush()?;
        if self.link.unsent() < before {
            self.taken_at = now;
        }
        Ok(())
    }
}

fn shown(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "connection closed".to_owned()
    } else {
        error.to_string()
    }
}
