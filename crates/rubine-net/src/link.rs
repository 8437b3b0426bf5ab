//! A connection to another server, as its client: commands out, replies in, plain or TLS. Never blocks, so that it can be
//! driven by an event loop; a thread of its own may wait for it with [`Link::by`]. Believes no length, and keeps no more
//! than its bounds. Which server is meant, and what is said to it, others know.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Registry, Token};
use rubine_base::clock::monotonic_nanos;
use rubine_resp::command::{INTO_MEMORY, write_command};
use rubine_resp::decode::{Value, decode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use socket2::{Domain, Protocol, TcpKeepalive, Type};

use crate::socket::Socket;
use crate::tls::stream::{HandshakeError, TlsStream};

/// Room for one read.
const READ_BYTES: usize = 16 * 1024;
/// What came and was not looked at, beyond which nothing is read.
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// What waits to be sent, beyond which no command is taken. One command may be larger.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;

const ONE_SECOND: Duration = Duration::from_secs(1);

/// A connection, or one that is on its way.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
    phase: Phase,
    /// What was received and not looked at.
    input: Vec<u8>,
    /// What was written and not sent, from `output_start` on.
    output: Vec<u8>,
    output_start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until the other side has taken the connection.
    Connecting,
    /// Until both agree on how they speak.
    Handshaking,
    Open,
}

/// Who we say we are, before anything else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greeting<'a> {
    pub user: Option<&'a [u8]>,
    pub password: Option<&'a [u8]>,
    /// The version of the protocol, if another one is wanted than that which every connection begins with.
    pub protocol: Option<u8>,
}

/// How a connection is made, where that is not left to the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// The address of this side.
    pub source: Option<IpAddr>,
    /// Several paths at once.
    pub is_multipath: bool,
}

impl Way {
    fn begin(self, address: SocketAddr) -> io::Result<TcpStream> {
        let protocol = if self.is_multipath { Protocol::MPTCP } else { Protocol::TCP };
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(protocol))?;
        socket.set_nonblocking(true)?;
        if let Some(source) = self.source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&address.into()) {
            // It is on its way.
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            connected => connected?,
        }
        Ok(TcpStream::from_std(socket.into()))
    }
}

/// There is too much to be sent already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Link {
    /// Begins to connect; with `tls`, it will be spoken.
    pub fn connect(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> io::Result<Self> {
        Self::connect_by(address, Way::default(), tls)
    }

    /// As [`Link::connect`], in this way.
    pub fn connect_by(
        address: SocketAddr,
        way: Way,
        tls: Option<Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let stream = way.begin(address)?;
        let socket = match tls {
            Some(config) => {
                let name = ServerName::from(address.ip());
                Socket::Tls(Box::new(TlsStream::connecting(stream, config, name)?))
            }
            None => Socket::Tcp(stream),
        };
        let phase = Phase::Connecting;
        Ok(Self { socket, phase, input: Vec::new(), output: Vec::new(), output_start: 0 })
    }

    /// Takes over a connection that the other side has made; with `tls`, it will be spoken.
    pub fn accepted(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = match tls {
            Some(config) => Socket::Tls(Box::new(TlsStream::accepted(stream, config)?)),
            None => Socket::Tcp(stream),
        };
        let phase = Phase::Handshaking;
        Ok(Self { socket, phase, input: Vec::new(), output: Vec::new(), output_start: 0 })
    }

    /// Goes on with a connection on which `input` has come already.
    pub fn resumed(socket: Socket, input: Vec<u8>) -> Self {
        Self { socket, phase: Phase::Open, input, output: Vec::new(), output_start: 0 }
    }

    /// Has the kernel look after so long a silence whether the other side is there still.
    pub fn keep_alive(&self, after: Duration) -> io::Result<()> {
        let keepalive =
            TcpKeepalive::new().with_time(after).with_interval((after / 3).max(ONE_SECOND));
        socket2::SockRef::from(&self.socket).set_tcp_keepalive(&keepalive.with_retries(3))
    }

    /// Has an event loop told when it is worth while to call [`Link::open`], [`Link::flush`] or [`Link::receive`].
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.register(registry, token)
    }

    /// The addresses of the other side and of this one.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let socket = socket2::SockRef::from(&self.socket);
        let known =
            |address: socket2::SockAddr| address.as_socket().ok_or(ErrorKind::AddrNotAvailable);
        Ok((known(socket.peer_addr()?)?, known(socket.local_addr()?)?))
    }

    /// The number of its socket.
    pub fn fd(&self) -> i32 {
        self.socket.as_fd().as_raw_fd()
    }

    /// Goes on until commands can be sent. Returns whether they can.
    pub fn open(&mut self) -> io::Result<bool> {
        if self.phase == Phase::Connecting {
            if !self.is_connected()? {
                return Ok(false);
            }
            self.phase = Phase::Handshaking;
        }
        if self.phase == Phase::Handshaking && self.shake_hands()? {
            self.phase = Phase::Open;
        }
        Ok(self.phase == Phase::Open)
    }

    fn is_connected(&self) -> io::Result<bool> {
        let socket = socket2::SockRef::from(&self.socket);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => {
                socket.set_tcp_nodelay(true)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn shake_hands(&mut self) -> io::Result<bool> {
        loop {
            match self.socket.handshake() {
                Ok(true) => return Ok(true),
                // What is read next may be the end, of which no event tells after one for what came before it.
                Ok(false) if self.socket.tls().is_some_and(|it| !it.is_dry()) => {}
                Ok(false) => return Ok(false),
                Err(HandshakeError::Lost) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(HandshakeError::NotTls) => {
                    return Err(io::Error::other("the other side does not speak TLS"));
                }
                Err(HandshakeError::Refused(reason)) => return Err(io::Error::other(reason)),
            }
        }
    }

    /// Writes a command, which [`Link::flush`] sends.
    pub fn send(&mut self, command: &[&[u8]]) -> Result<(), Full> {
        if OUTPUT_BYTES_MAX <= self.unsent() {
            return Err(Full);
        }
        self.forget_sent();
        write_command(command, &mut self.output).expect(INTO_MEMORY);
        Ok(())
    }

    /// Writes bytes that are made already, which [`Link::flush`] sends.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        if OUTPUT_BYTES_MAX <= self.unsent() {
            return Err(Full);
        }
        self.forget_sent();
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes who we are. Returns how many replies to that there will be.
    pub fn greet(&mut self, greeting: &Greeting<'_>) -> Result<usize, Full> {
        let Greeting { user, password, protocol } = *greeting;
        let version = protocol.map(|it| [b'0' + it]);
        let mut command: Vec<&[u8]> = Vec::new();
        if let Some(version) = &version {
            command.extend([&b"HELLO"[..], version]);
        }
        if let Some(password) = password {
            command.push(b"AUTH");
            // Both are needed behind HELLO.
            let user = user.or(version.as_ref().map(|_| &b"default"[..]));
            command.extend(user);
            command.push(password);
        }
        if command.is_empty() {
            return Ok(0);
        }
        self.send(&command).map(|()| 1)
    }

    /// Our own address there, once there is a connection.
    pub fn local_address(&self) -> Option<SocketAddr> {
        socket2::SockRef::from(&self.socket).local_addr().ok()?.as_socket()
    }

    /// Bytes that wait to be sent.
    pub fn unsent(&self) -> usize {
        self.output.len() - self.output_start
    }

    /// Gives room back that has been sent, where it is more than what waits: a connection may never have nothing to send.
    fn forget_sent(&mut self) {
        if self.unsent() < self.output_start {
            self.output.drain(..std::mem::take(&mut self.output_start));
        }
    }

    /// Sends as much as the socket takes. Returns whether all has left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.output_start < self.output.len() {
            let slice = IoSlice::new(&self.output[self.output_start..]);
            match self.socket.write_vectored(&[slice]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.output_start += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (self.output, self.output_start) = (Vec::new(), 0);
        Ok(true)
    }

    /// Reads what has come, within the bound. The end of the connection is an error, but not before all that came has been
    /// handed out.
    pub fn receive(&mut self) -> io::Result<()> {
        let before = self.input.len();
        while self.input.len() < INPUT_BYTES_MAX {
            self.input.reserve(READ_BYTES);
            match self.socket.read_into(&mut self.input) {
                Ok(0) if before < self.input.len() => break,
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) if before < self.input.len() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has come behind `out`, some `bytes_max` at most. Returns whether there may be more now. The end of the
    /// connection is an error, but not before all that came has been handed out.
    pub fn receive_into(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> io::Result<bool> {
        out.append(&mut self.input);
        let before = out.len();
        while out.len() < bytes_max {
            out.reserve(READ_BYTES);
            match self.socket.read_into(out) {
                Ok(0) if before < out.len() => return Ok(true),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) if before < out.len() => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// What was received and not taken.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes so many bytes of it.
    pub fn consume(&mut self, count: usize) {
        self.input.drain(..count);
    }

    /// Takes the next reply, if all of it has come. One that is longer than `bytes_max` is an error.
    pub fn take_reply(&mut self, bytes_max: usize) -> io::Result<Option<Value>> {
        match decode(&self.input) {
            Ok(Some((reply, len))) if len <= bytes_max => {
                self.consume(len);
                Ok(Some(reply))
            }
            Ok(None) if self.input.len() <= bytes_max.min(INPUT_BYTES_MAX) => Ok(None),
            Ok(_) => Err(ErrorKind::InvalidData.into()),
            Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
    }

    /// Whether nothing is under way in either direction, and the other side keeps the connection open as far as one can
    /// know.
    pub fn is_at_rest(&mut self) -> bool {
        let is_open = self.phase == Phase::Open && self.unsent() == 0;
        is_open && self.receive().is_ok() && self.input.is_empty()
    }

    /// Has a thread wait until `step` brings something, but not beyond the deadline.
    pub fn by<T>(
        &mut self,
        deadline: Deadline,
        mut step: impl FnMut(&mut Self) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        loop {
            if let Some(outcome) = step(self)? {
                return Ok(outcome);
            }
            let left = deadline.left()?;
            // A handshake that could not send has something to send still.
            let has_unsent = self.socket.tls().is_some_and(TlsStream::has_unsent);
            let must_send = match self.phase {
                Phase::Connecting => true,
                Phase::Handshaking => has_unsent,
                Phase::Open => 0 < self.unsent() || has_unsent,
            };
            if self.phase == Phase::Open && !must_send && self.socket.holds_more() {
                continue;
            }
            // Not both: whoever sends would be woken again and again by what it does not read.
            let wanted = if must_send { PollFlags::OUT } else { PollFlags::IN };
            let timeout = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
            match poll(&mut [PollFd::new(&self.socket.as_fd(), wanted)], Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.socket.shutdown();
    }
}

/// Until when something has to be done.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at_nanos: u64,
}

impl Deadline {
    pub fn after_ms(timeout_ms: u64) -> Self {
        const NANOS_PER_MS: u64 = 1_000_000;
        let timeout_nanos = timeout_ms.saturating_mul(NANOS_PER_MS);
        Self { at_nanos: monotonic_nanos().saturating_add(timeout_nanos) }
    }

    /// What is left; an error if that is nothing.
    pub fn left(self) -> io::Result<Duration> {
        match self.at_nanos.saturating_sub(monotonic_nanos()) {
            0 => Err(ErrorKind::TimedOut.into()),
            nanos => Ok(Duration::from_nanos(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use mio::{Events, Poll};

    use super::*;

    /// A server that reads so much and then answers this, and where it is.
    fn server(reads: usize, answer: &'static [u8]) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; reads];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(answer).unwrap();
            heard
        };
        (address, thread::spawn(serve))
    }

    const HELLO: &[u8] =
        b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$6\r\nsecret\r\n";

    #[test]
    fn an_event_loop_drives_it() {
        let (address, server) = server(HELLO.len(), b"+OK\r\n$4\r\nmore\r\n-ERR");
        let mut poll = Poll::new().unwrap();
        let mut link = Link::connect(address, None).unwrap();
        link.register(poll.registry(), Token(1)).unwrap();
        let greeting = Greeting { password: Some(b"secret"), protocol: Some(3), user: None };
        assert_eq!(link.greet(&greeting), Ok(1));
        let mut replies = Vec::new();
        let mut events = Events::with_capacity(8);
        while replies.len() < 2 {
            poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert!(!events.is_empty(), "nothing has come for a long time");
            if link.open().unwrap() {
                link.flush().unwrap();
                link.receive().unwrap();
                replies.extend(std::iter::from_fn(|| link.take_reply(100).unwrap()));
            }
        }
        assert_eq!(replies, [Value::Simple(b"OK".to_vec()), Value::Bulk(b"more".to_vec())]);
        assert_eq!(server.join().unwrap(), HELLO);
        // The other side has gone in the middle of a reply.
        let deadline = Deadline::after_ms(20_000);
        let ended = link.by(deadline, |link| link.receive().map(|()| None::<()>));
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(link.input(), b"-ERR");
        assert!(!link.is_at_rest());
    }

    #[test]
    fn waiting_replies_and_output_have_bounds() {
        let (address, _) = server(1, b"");
        let mut link = Link::connect(address, None).unwrap();
        let never = link.by(Deadline::after_ms(20), |_| Ok(None::<()>));
        assert_eq!(never.unwrap_err().kind(), ErrorKind::TimedOut);
        let large = vec![0; 1 << 20];
        let taken = (0..100).take_while(|_| link.send(&[&large]).is_ok()).count();
        assert_eq!(taken, OUTPUT_BYTES_MAX >> 20);
        link.input = b"$100000\r\nx".to_vec();
        assert!(link.take_reply(1000).unwrap().is_none());
        assert!(link.take_reply(5).is_err());
        link.input = b"?\r\n".to_vec();
        assert!(link.take_reply(1000).is_err());
    }

    /// A connection that never had nothing to send kept all that it had ever sent.
    #[test]
    fn what_was_sent_takes_no_room() {
        let (address, _) = server(1, b"");
        let mut link = Link::connect(address, None).unwrap();
        let text = [b'x'; 1000];
        for _ in 0..1000 {
            link.send_bytes(&text).unwrap();
            // Much of it is sent, but not all.
            link.output_start = link.output.len() - 10;
            assert!(link.output.len() <= 2 * text.len(), "{}", link.output.len());
        }
    }
}
