//! The sockets that the server listens on. Worker 0 accepts; anybody may have them moved while the server runs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};

use crate::link::Link;
use crate::socket::Socket;
use crate::tls::Tls;
use crate::tls::stream::TlsStream;
use rubine_config::Config;
use rubine_system::process;

/// One listening socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener, SocketAddr),
    Tls(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

/// A connection that was accepted.
pub struct Accepted {
    pub socket: Socket,
    /// The client's address and the server's, as CLIENT LIST shows them.
    pub addresses: (String, String),
    /// The client's IP address; `None` for a unix socket.
    pub ip: Option<IpAddr>,
}

/// Tokens from here on are listeners.
pub const FIRST_LISTENER: usize = usize::MAX / 2;

/// Every open listener, by the token of its events.
#[derive(Debug)]
pub struct Listening {
    /// The event queue of the worker that accepts.
    registry: Registry,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    listeners: Vec<(Token, Listener)>,
    /// How many there have ever been: a token is not used again, since an event may be on its way.
    token_count: usize,
}

impl Open {
    fn add(&mut self, registry: &Registry, mut listener: Listener) -> io::Result<()> {
        let token = Token(FIRST_LISTENER + self.token_count);
        registry.register(listener.source(), token, Interest::READABLE)?;
        self.token_count += 1;
        self.listeners.push((token, listener));
        Ok(())
    }

    /// Closes the listeners at `places`.
    fn close(&mut self, registry: &Registry, places: &[(Speech, SocketAddr)]) {
        self.listeners.retain_mut(|(_, listener)| {
            let closes = listener.place().is_some_and(|it| places.contains(&it));
            if closes {
                // What is closed leaves the queue by itself.
                let _ = registry.deregister(listener.source());
            }
            !closes
        });
    }

    /// Opens listeners at all of `places`; returns where.
    fn open(
        &mut self,
        registry: &Registry,
        config: &Config,
        places: &[Place],
    ) -> Result<(), (Vec<(Speech, SocketAddr)>, String)> {
        let mut opened = Vec::new();
        for place in places {
            let added = open_at(config, place).and_then(|listener| self.add(registry, listener));
            match added {
                Ok(()) => opened.push((place.speech, place.address)),
                Err(error) if place.is_optional && is_unavailable(&error) => {}
                Err(error) => return Err((opened, cannot_listen(place.address, &error))),
            }
        }
        Ok(())
    }
}

impl Listening {
    /// Starts to watch `listeners` in the event queue of `registry`.
    pub fn new(registry: Registry, listeners: Vec<Listener>) -> io::Result<Self> {
        let mut open = Open::default();
        for listener in listeners {
            open.add(&registry, listener)?;
        }
        Ok(Self { registry, open: Mutex::new(open) })
    }

    /// The next connection of the listener with that token, if one has come.
    pub fn accept(&self, token: Token, config: &Config, tls: &Tls) -> io::Result<Accepted> {
        let open = self.open.lock();
        match open.listeners.iter().find(|(it, _)| *it == token) {
            Some((_, listener)) => listener.accept(config, tls),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Listens nowhere any more.
    pub fn close_all(&self) {
        self.open.lock().listeners.clear();
    }

    /// What INFO says of each.
    pub fn describe(&self) -> Vec<String> {
        self.open.lock().listeners.iter().map(|(_, it)| it.describe()).collect()
    }

    /// Has the TCP listeners treat connections as `config` says. When that fails, some may do so already.
    pub fn retune(&self, config: &Config) -> io::Result<()> {
        let open = self.open.lock();
        let tcp = open.listeners.iter().filter_map(|(_, listener)| match listener {
            Listener::Tcp(listener, _) | Listener::Tls(listener, _) => Some(listener),
            Listener::Unix(..) => None,
        });
        tcp.map(socket2::SockRef::from).try_for_each(|socket| retune(&socket, config))
    }

    /// Moves the TCP listeners to where `config` says. When that fails they are where they were.
    pub fn rebind(&self, config: &Config) -> Result<(), String> {
        let wanted = all_places(config)?;
        let mut open = self.open.lock();
        let before: Vec<_> = open.listeners.iter().filter_map(|(_, it)| it.place()).collect();
        let is_wanted = |place: &(Speech, SocketAddr)| {
            wanted.iter().any(|it| (it.speech, it.address) == *place)
        };
        let (kept, given_up): (Vec<_>, Vec<_>) = before.into_iter().partition(is_wanted);
        let is_new = |it: &&Place| !kept.contains(&(it.speech, it.address));
        let new: Vec<_> = wanted.iter().filter(is_new).copied().collect();
        // The old ones have to go first, as a socket at every address excludes those at a single one.
        open.close(&self.registry, &given_up);
        let Err((opened, reason)) = open.open(&self.registry, config, &new) else { return Ok(()) };
        open.close(&self.registry, &opened);
        let old: Vec<_> = given_up
            .iter()
            .map(|&(speech, address)| Place { speech, address, is_optional: false })
            .collect();
        if let Err((_, reason)) = open.open(&self.registry, config, &old) {
            tracing::warn!("{reason}");
        }
        Err(reason)
    }
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Plain,
    Tls,
}

/// Where to listen.
#[derive(Clone, Copy, Debug)]
struct Place {
    speech: Speech,
    address: SocketAddr,
    /// It is no failure if this machine does not have the address.
    is_optional: bool,
}

/// Where to listen, on both ports.
fn all_places(config: &Config) -> Result<Vec<Place>, String> {
    let mut all = places(&config.bind, Speech::Plain, config.port)?;
    all.extend(places(&config.bind, Speech::Tls, config.tls_port)?);
    Ok(all)
}

/// The addresses of `bind`, with `port`, and whether each may be missing on this machine; none for port 0. For listeners
/// that are not of this module.
pub fn addresses(bind: &[String], port: u16) -> Result<Vec<(SocketAddr, bool)>, String> {
    let places = places(bind, Speech::Plain, port)?;
    Ok(places.into_iter().map(|it| (it.address, it.is_optional)).collect())
}

/// Where to listen on `port` at all addresses of `bind`. One with a `-` in front may be missing.
fn places(bind: &[String], speech: Speech, port: u16) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    if port == 0 {
        return Ok(places);
    }
    for name in bind.iter().filter(|it| !it.is_empty()) {
        let (name, is_optional) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        match resolve(name, port) {
            Ok(address) => places.push(Place { speech, address, is_optional }),
            Err(_) if is_optional => {}
            Err(error) => return Err(cannot_listen(format_args!("{name}:{port}"), &error)),
        }
    }
    Ok(places)
}

fn cannot_listen(place: impl std::fmt::Display, error: &io::Error) -> String {
    format!("Could not create server TCP listening socket {place}: {error}")
}

/// Opens every socket that the configuration names. Fails with a sentence that says which one and why.
pub fn open_all(config: &Config) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    for place in all_places(config)? {
        match open_at(config, &place) {
            Ok(listener) => listeners.push(listener),
            Err(error) if place.is_optional && is_unavailable(&error) => {}
            Err(error) => return Err(cannot_listen(place.address, &error)),
        }
    }
    if let Some(path) = &config.unixsocket {
        listeners.push(open_unix(config, path)?);
    }
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".to_owned());
    }
    Ok(listeners)
}

/// Opens the sockets at which other nodes of a cluster connect: one at each address of `bind`.
pub fn open_bus(config: &Config, port: u16) -> Result<Vec<Listener>, String> {
    let failed = |reason| format!("Failed listening on port {port} (cluster), aborting: {reason}");
    let speech = if config.tls_cluster { Speech::Tls } else { Speech::Plain };
    let mut listeners = Vec::new();
    for place in places(&config.bind, speech, port).map_err(failed)? {
        match open_at(config, &place) {
            Ok(listener) => listeners.push(listener),
            Err(error) if place.is_optional && is_unavailable(&error) => {}
            Err(error) => return Err(failed(cannot_listen(place.address, &error))),
        }
    }
    if listeners.is_empty() {
        return Err(
            "No bind address is configured, but it is required for the Cluster bus.".to_owned()
        );
    }
    Ok(listeners)
}

/// The address does not exist on this machine, or its family does not.
fn is_unavailable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)
    )
}

fn resolve(name: &str, port: u16) -> io::Result<SocketAddr> {
    match name {
        "*" => Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        "::*" => Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        name => (name, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host")),
    }
}

fn open_at(config: &Config, place: &Place) -> io::Result<Listener> {
    let address = place.address;
    let protocol = if config.mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if config.socket_mark_id != 0
        && let Err(error) = socket.set_mark(config.socket_mark_id)
    {
        tracing::warn!("Can't mark the listening socket {address}: {error}");
    }
    socket.bind(&address.into())?;
    if config.tcp_fastopen != 0 {
        set_fast_open(&socket, config)?;
    }
    if !config.tcp_congestion.is_empty() {
        set_congestion(&socket, &config.tcp_congestion)?;
    }
    socket.listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))?;
    let listener = TcpListener::from_std(socket.into());
    Ok(match place.speech {
        Speech::Plain => Listener::Tcp(listener, address),
        Speech::Tls => Listener::Tls(listener, address),
    })
}

/// Connections take over what their listener has; those that there are keep what they had.
fn retune(socket: &RawSocket, config: &Config) -> io::Result<()> {
    const OF_SYSTEM: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
    set_fast_open(socket, config)?;
    if !config.tcp_congestion.is_empty() {
        return set_congestion(socket, &config.tcp_congestion);
    }
    match std::fs::read_to_string(OF_SYSTEM) {
        Ok(name) => set_congestion(socket, name.trim()),
        // It stays with the one that it has.
        Err(_) => Ok(()),
    }
}

fn set_fast_open(socket: &RawSocket, config: &Config) -> io::Result<()> {
    process::set_tcp_fast_open(socket, config.tcp_fastopen)
        .map_err(|error| io::Error::other(format!("tcp-fastopen: {error}")))
}

fn set_congestion(socket: &RawSocket, name: &str) -> io::Result<()> {
    socket
        .set_tcp_congestion(name.as_bytes())
        .map_err(|error| io::Error::other(format!("tcp-congestion '{name}': {error}")))
}

fn open_unix(config: &Config, path: &str) -> Result<Listener, String> {
    let failed = |error: io::Error| format!("Failed opening Unix socket: bind: {path}: {error}");
    // A socket that a former run left behind would be in the way.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(failed)?;
    if config.unixsocketperm != 0 {
        let permissions = std::fs::Permissions::from_mode(config.unixsocketperm);
        std::fs::set_permissions(path, permissions).map_err(failed)?;
    }
    if let Some(group) = &config.unixsocketgroup {
        give_to_group(path, group).inspect_err(|_| {
            // Nobody shall find a socket that others could use than those it is meant for.
            let _ = std::fs::remove_file(path);
        })?;
    }
    Ok(Listener::Unix(listener, PathBuf::from(path)))
}

fn give_to_group(path: &str, group: &str) -> Result<(), String> {
    let number = process::find_group(group).ok_or_else(|| {
        format!("Failed opening Unix socket: getgrnam error for group '{group}': no such group")
    })?;
    std::os::unix::fs::chown(path, None, Some(number)).map_err(|error| {
        format!("Failed opening Unix socket: chown error for group '{group}': {error}")
    })
}

impl Listener {
    /// The next connection, if one has come.
    pub fn accept(&self, config: &Config, tls: &Tls) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, _) | Self::Tls(listener, _) => {
                let (stream, peer) = listener.accept()?;
                let local =
                    stream.local_addr().map_or_else(|_| "?:0".to_owned(), |it| it.to_string());
                if let Err(error) = tune(config, &stream) {
                    // It works without, as with some kernels a multipath connection has to.
                    tracing::debug!("Tuning the connection of {peer}: {error}");
                }
                let addresses = (peer.to_string(), local);
                let ip = Some(peer.ip().to_canonical());
                let socket = match self {
                    Self::Tls(..) => {
                        let current = tls.current();
                        // A listener that is being closed may have a last one.
                        let contexts = current.as_ref().ok_or(io::ErrorKind::ConnectionAborted)?;
                        let config = Arc::clone(&contexts.server);
                        Socket::Tls(Box::new(TlsStream::accepted(stream, config)?))
                    }
                    _ => Socket::Tcp(stream),
                };
                Ok(Accepted { socket, addresses, ip })
            }
            Self::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                let name = format!("{}:0", path.display());
                let addresses = (name.clone(), name);
                Ok(Accepted { socket: Socket::Unix(stream), addresses, ip: None })
            }
        }
    }

    /// The next connection of another node of a cluster, if one has come, and where from.
    pub fn accept_node(&self, tls: &Tls) -> io::Result<(Link, SocketAddr)> {
        let (listener, tls) = match self {
            Self::Tcp(listener, _) => (listener, None),
            Self::Tls(listener, _) => {
                let current = tls.current();
                let nodes = current.as_ref().and_then(|it| it.nodes.clone());
                (listener, Some(nodes.ok_or(io::ErrorKind::ConnectionAborted)?))
            }
            Self::Unix(..) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let (stream, peer) = listener.accept()?;
        Ok((Link::accepted(stream, tls)?, peer))
    }

    /// Has an event loop told when somebody connects.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token, Interest::READABLE)
    }

    /// Where it listens; `None` for a unix socket.
    fn place(&self) -> Option<(Speech, SocketAddr)> {
        match self {
            Self::Tcp(_, address) => Some((Speech::Plain, *address)),
            Self::Tls(_, address) => Some((Speech::Tls, *address)),
            Self::Unix(..) => None,
        }
    }

    /// What INFO says of it: `name=tcp,bind=127.0.0.1,port=6379`.
    pub fn describe(&self) -> String {
        match self {
            Self::Tcp(_, address) => {
                format!("name=tcp,bind={},port={}", address.ip(), address.port())
            }
            Self::Tls(_, address) => {
                format!("name=tls,bind={},port={}", address.ip(), address.port())
            }
            Self::Unix(_, path) => format!("name=unix,bind={}", path.display()),
        }
    }

    fn source(&mut self) -> &mut dyn mio::event::Source {
        match self {
            Self::Tcp(listener, _) | Self::Tls(listener, _) => listener,
            Self::Unix(listener, _) => listener,
        }
    }
}

fn tune(config: &Config, stream: &mio::net::TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    if config.tcp_keepalive != 0 {
        let seconds = u64::from(config.tcp_keepalive);
        let keepalive = TcpKeepalive::new()
            .with_time(std::time::Duration::from_secs(seconds))
            .with_interval(std::time::Duration::from_secs((seconds / 3).max(1)))
            .with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mio::Poll;
    use socket2::SockRef;

    use super::{Listener, Listening, open_all};
    use rubine_config::Config;

    fn config(port: u16) -> Config {
        Config { bind: vec!["127.0.0.1".to_owned()], port, ..Config::default() }
    }

    /// Listeners on a port that nobody else has.
    fn listening(config: impl Fn(u16) -> Config) -> (Listening, Config) {
        let port = rubine_testing::server::free_port().expect("a free port");
        let config = config(port);
        let listeners = open_all(&config).expect("the port is free");
        let poll = Poll::new().expect("an event queue");
        let registry = poll.registry().try_clone().expect("another handle");
        (Listening::new(registry, listeners).expect("they are watched"), config)
    }

    fn with_socket<T>(listening: &Listening, look: impl Fn(&SockRef<'_>) -> T) -> T {
        let open = listening.open.lock();
        match open.listeners.as_slice() {
            [(_, Listener::Tcp(listener, _))] => look(&SockRef::from(listener)),
            other => panic!("one listener was asked for: {other:?}"),
        }
    }

    fn congestion(listening: &Listening) -> String {
        let name = with_socket(listening, |socket| socket.tcp_congestion().expect("Linux has it"));
        String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned()
    }

    #[test]
    fn congestion_control_changes_with_the_directive() {
        let (listening, mut config) = listening(config);
        let of_system = congestion(&listening);
        config.tcp_congestion = "reno".to_owned();
        listening.retune(&config).expect("every kernel has it");
        assert_eq!(congestion(&listening), "reno");
        config.tcp_congestion = "nonsense".to_owned();
        let error = listening.retune(&config).expect_err("no kernel has it").to_string();
        assert!(error.starts_with("tcp-congestion 'nonsense': "), "{error}");
        config.tcp_congestion = String::new();
        listening.retune(&config).expect("the system's own is always there");
        assert_eq!(congestion(&listening), of_system);
    }

    #[test]
    fn sockets_are_marked_where_that_is_allowed() {
        let (listening, _) = listening(|port| Config { socket_mark_id: 4242, ..config(port) });
        let is_allowed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .is_ok_and(|socket| socket.set_mark(1).is_ok());
        let mark = with_socket(&listening, |socket| socket.mark().expect("Linux has it"));
        assert_eq!(mark, if is_allowed { 4242 } else { 0 });
    }
}
