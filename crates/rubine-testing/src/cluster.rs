//! Clusters for tests: nodes of any family, introduced to each other, and a client that follows redirections.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::client::{CALL_TIMEOUT, Client, Received};
use crate::server::{Server, ServerOptions};
use crate::value::Value;

/// How often a request is tried until somebody answers it.
const ATTEMPTS_MAX: usize = 20_000;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(2);
/// Answers that are another one a moment later.
const PASSING: [&str; 6] =
    ["CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN", "READONLY", "NOREPLICAS"];

/// A node that is not started yet, whose bus listens on a free port.
pub fn node(program: &Path) -> io::Result<ServerOptions> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    Ok(ServerOptions::new(program)
        .with("cluster-enabled", "yes")
        .with("cluster-port", &port.to_string())
        .with("cluster-node-timeout", "2000")
        .with("repl-diskless-sync-delay", "0")
        .with("repl-timeout", "5"))
}

/// The id of a node.
pub fn id(node: &Server) -> io::Result<String> {
    Ok(node.client().call(&["CLUSTER", "MYID"])?.as_text().unwrap_or_default())
}

/// A field of CLUSTER INFO; empty if there is none.
pub fn info(node: &Server, field: &str) -> io::Result<String> {
    let text = node.client().call(&["CLUSTER", "INFO"])?.as_text().unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value.unwrap_or_default().trim().to_owned())
}

/// What a node is, as ROLE says: `master`, `slave`.
pub fn role(node: &Server) -> io::Result<String> {
    let role = node.client().call(&["ROLE"])?;
    let first = role.as_elements().and_then(|it| it.first()?.as_text());
    Ok(first.unwrap_or_default())
}

/// Has a node get to know another one.
pub fn meet(node: &Server, other: &Server) -> io::Result<Value> {
    let nodes = other.client().call(&["CLUSTER", "NODES"])?.as_text().unwrap_or_default();
    let line = nodes.lines().find(|it| it.contains("myself")).unwrap_or_default();
    let place = line.split(' ').nth(1).unwrap_or_default();
    let bus_port = place.split('@').nth(1).unwrap_or_default();
    let bus_port = bus_port.split(',').next().unwrap_or_default();
    let address = other.address();
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    node.client().call(&["CLUSTER", "MEET", &ip, &port, bus_port])
}

/// A client of a cluster: it sends each request to where the last answers said it belongs.
pub struct Router {
    connections: BTreeMap<SocketAddr, Client>,
    addresses: Vec<SocketAddr>,
    /// Who is asked first.
    at: usize,
    /// Where slots were found.
    slots: BTreeMap<u16, SocketAddr>,
    /// Who has not answered for so long is given up.
    patience: Duration,
}

/// What came of a request that was sent.
#[derive(Debug)]
pub enum Answer {
    Reply(Value),
    /// The connection broke when the request was on its way: nobody knows whether it was done.
    Unknown,
}

impl Router {
    pub fn new<'a>(nodes: impl IntoIterator<Item = &'a Server>) -> Self {
        let addresses = nodes.into_iter().map(Server::address).collect();
        let (connections, at, slots) = Default::default();
        Self { connections, addresses, at, slots, patience: CALL_TIMEOUT }
    }

    /// Gives a node up that has not answered for so long.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a request about `key` until somebody answers it otherwise than with a redirection or a refusal for the moment.
    ///
    /// # Panics
    /// If nobody does.
    pub fn call(&mut self, key: &[u8], request: &[&[u8]]) -> Answer {
        let slot = rubine_base::crc::slot_of(key);
        let mut target = None;
        let mut asks = false;
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let known = target.take().or_else(|| self.slots.get(&slot).copied());
            let address = known.unwrap_or(self.addresses[self.at]);
            let reply = match self.ask(address, request, std::mem::take(&mut asks)) {
                Ok(reply) => reply,
                Err(was_sent) => {
                    self.connections.remove(&address);
                    self.slots.remove(&slot);
                    self.at = (self.at + 1) % self.addresses.len();
                    if was_sent {
                        return Answer::Unknown;
                    }
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            let Value::Error(text) = &reply else { return Answer::Reply(reply) };
            last.clone_from(text);
            let place = text.split(' ').nth(2).and_then(|it| it.parse().ok());
            match place {
                Some(place) if text.starts_with("MOVED ") => {
                    self.slots.insert(slot, place);
                }
                Some(place) if text.starts_with("ASK ") => {
                    (target, asks) = (Some(place), true);
                }
                _ if PASSING.iter().any(|it| text.starts_with(it)) => {
                    self.slots.remove(&slot);
                    self.at = (self.at + 1) % self.addresses.len();
                    thread::sleep(PAUSE);
                }
                _ => return Answer::Reply(reply),
            }
        }
        panic!("nobody answers {}: {last}", String::from_utf8_lossy(&request.concat()));
    }

    /// Whether a replica has all that was written through this client to the node that has the slot of `key`.
    pub fn wait_for_replica(&mut self, key: &[u8]) -> bool {
        let slot = rubine_base::crc::slot_of(key);
        let address = self.slots.get(&slot).copied().unwrap_or(self.addresses[self.at]);
        let reply = self.ask(address, &[b"WAIT", b"1", b"1000"], false);
        matches!(reply, Ok(Value::Integer(count)) if 1 <= count)
    }

    /// An error says whether the request was sent.
    fn ask(&mut self, address: SocketAddr, request: &[&[u8]], asks: bool) -> Result<Value, bool> {
        let client = match self.connections.entry(address) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(Client::connect(address).map_err(|_| false)?),
        };
        if asks {
            client.call(&["ASKING"]).map_err(|_| false)?;
        }
        client.send(request).map_err(|_| true)?;
        match client.receive(self.patience) {
            Ok(Received::Value(reply)) => Ok(reply),
            _ => Err(true),
        }
    }
}
