//! A tiny blocking client for tests. Keeps no pool, retries nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::render::render;
use crate::value::{self, Value};
use crate::words;

/// How long `call` waits: long enough for a loaded machine, short enough for a test's own deadline.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What came of waiting for a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Value(Value),
    /// The time was up.
    Nothing,
    /// The server closed the connection.
    Closed,
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    /// Bytes read but not yet decoded.
    pending: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CALL_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(CALL_TIMEOUT))?;
        Ok(Self { stream, pending: Vec::new() })
    }

    /// Sends a request and waits for its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.send(args)?;
        self.reply()
    }

    /// Sends a request written with redis-cli's quoting and gives the reply as redis-cli shows it.
    pub fn run(&mut self, line: &str) -> io::Result<String> {
        let args = words::split(line).map_err(|_| {
            io::Error::new(ErrorKind::InvalidInput, format!("unbalanced quotes: {line}"))
        })?;
        self.call(&args).map(|value| render(&value))
    }

    /// Sends a request and does not wait.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        let mut request = Vec::new();
        value::encode_request(args, &mut request);
        self.stream.write_all(&request)
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next reply; an error when none comes.
    pub fn reply(&mut self) -> io::Result<Value> {
        match self.receive(CALL_TIMEOUT)? {
            Received::Value(value) => Ok(value),
            Received::Nothing => Err(io::Error::new(ErrorKind::TimedOut, "no reply")),
            Received::Closed => Err(io::Error::new(ErrorKind::UnexpectedEof, "connection closed")),
        }
    }

    /// The next reply or push. `timeout` bounds each wait for bytes, not the whole.
    pub fn receive(&mut self, timeout: Duration) -> io::Result<Received> {
        self.stream.set_read_timeout(Some(timeout))?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let decoded = value::decode(&self.pending)
                .map_err(|malformed| io::Error::new(ErrorKind::InvalidData, malformed))?;
            if let Some((value, used)) = decoded {
                self.pending.drain(..used);
                return Ok(Received::Value(value));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Received::Closed),
                Ok(count) => self.pending.extend_from_slice(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(Received::Nothing),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                        return Ok(Received::Closed);
                    }
                    ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// The socket itself, for tests that half-close it or stop reading.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}
