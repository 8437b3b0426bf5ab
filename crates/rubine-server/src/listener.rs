//! The sockets that the server listens on. Accepting is worker 0's; which worker serves a connection is decided here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};

use crate::config::Config;
use crate::socket::Socket;

/// One listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    /// The client's address and the server's, as CLIENT LIST shows them.
    pub(crate) addresses: (String, String),
    /// The client's IP address; `None` for a unix socket.
    pub(crate) ip: Option<IpAddr>,
}

/// Opens every socket that the configuration names. Fails with a sentence that says which one and why.
pub(crate) fn open_all(config: &Config) -> Result<Vec<Listener>, String> {
    let mut listeners = open_tcp(config, &config.bind, config.port)?;
    if let Some(path) = &config.unixsocket {
        listeners.push(open_unix(config, path)?);
    }
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".to_owned());
    }
    Ok(listeners)
}

/// Opens the TCP sockets on `port` at all addresses of `bind`. An address with a `-` in front may be missing.
pub(crate) fn open_tcp(
    config: &Config,
    bind: &[String],
    port: u16,
) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    if port == 0 {
        return Ok(listeners);
    }
    for address in bind {
        let (name, is_optional) = match address.strip_prefix('-') {
            Some(name) => (name, true),
            None => (address.as_str(), false),
        };
        match open_at(config, name, port) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_optional && is_unavailable(&error) => {}
            Err(error) => {
                return Err(format!(
                    "Could not create server TCP listening socket {name}:{port}: {error}"
                ));
            }
        }
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

fn open_at(config: &Config, name: &str, port: u16) -> io::Result<Listener> {
    let address = match name {
        "*" => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        "::*" => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)),
        name => (name, port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?,
    };
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if config.tcp_fastopen != 0 {
        set_fast_open(&socket, config.tcp_fastopen)?;
    }
    if !config.tcp_congestion.is_empty() {
        socket.set_tcp_congestion(config.tcp_congestion.as_bytes())?;
    }
    socket.listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))?;
    Ok(Listener::Tcp(TcpListener::from_std(socket.into()), address))
}

fn set_fast_open(socket: &RawSocket, queue_len: u32) -> io::Result<()> {
    crate::sys::process::set_tcp_fast_open(socket, queue_len)
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
    Ok(Listener::Unix(listener, PathBuf::from(path)))
}

impl Listener {
    /// The next connection, if one has come.
    pub(crate) fn accept(&self, config: &Config) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, peer) = listener.accept()?;
                let local =
                    stream.local_addr().map_or_else(|_| "?:0".to_owned(), |it| it.to_string());
                tune(config, &stream)?;
                let addresses = (peer.to_string(), local);
                let ip = Some(peer.ip().to_canonical());
                Ok(Accepted { socket: Socket::Tcp(stream), addresses, ip })
            }
            Self::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                let name = format!("{}:0", path.display());
                let addresses = (name.clone(), name);
                Ok(Accepted { socket: Socket::Unix(stream), addresses, ip: None })
            }
        }
    }

    /// What INFO says of it: `name=tcp,bind=127.0.0.1,port=6379`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Tcp(_, address) => {
                format!("name=tcp,bind={},port={}", address.ip(), address.port())
            }
            Self::Unix(_, path) => format!("name=unix,bind={}", path.display()),
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn mio::event::Source {
        match self {
            Self::Tcp(listener, _) => listener,
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
