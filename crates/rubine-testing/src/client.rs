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

    /// Reads a reply of any size and forgets it, without ever holding it whole: for measuring, where keeping and decoding
    /// a large reply would cost more than sending it did.
    pub fn skip_reply(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(CALL_TIMEOUT))?;
        let mut skipper = Skipper::default();
        let mut chunk = vec![0; 64 * 1024];
        let pending = std::mem::take(&mut self.pending);
        let mut used = skipper.skip(&pending);
        self.pending = pending[used..].to_vec();
        while !skipper.is_done() {
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "connection closed"));
            }
            used = skipper.skip(&chunk[..count]);
            self.pending = chunk[used..count].to_vec();
        }
        Ok(())
    }

    /// The socket itself, for tests that half-close it or stop reading.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Passes over one reply, however it is cut.
struct Skipper {
    /// Values still to come; a container adds its elements.
    missing: u64,
    /// Bytes of a string's body still to come.
    body: usize,
    line: Vec<u8>,
}

impl Default for Skipper {
    fn default() -> Self {
        Self { missing: 1, body: 0, line: Vec::new() }
    }
}

impl Skipper {
    fn is_done(&self) -> bool {
        self.missing == 0 && self.body == 0
    }

    /// Takes bytes until the reply ends; gives how many it took.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            if self.body > 0 {
                let taken = self.body.min(bytes.len() - at);
                self.body -= taken;
                at += taken;
                continue;
            }
            self.line.push(bytes[at]);
            at += 1;
            if self.line.ends_with(b"\r\n") {
                self.header();
                self.line.clear();
            }
        }
        at
    }

    fn header(&mut self) {
        let text = std::str::from_utf8(&self.line[1..self.line.len() - 2]).unwrap_or_default();
        let length: Option<usize> = text.parse().ok();
        self.missing -= 1;
        match (self.line[0], length) {
            (b'$' | b'=' | b'!', Some(length)) => self.body = length + 2,
            (b'*' | b'~' | b'>', Some(length)) => self.missing += length as u64,
            (b'%', Some(length)) => self.missing += 2 * length as u64,
            // An attribute's pairs stand in front of the value that is meant.
            (b'|', Some(length)) => self.missing += 2 * length as u64 + 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Skipper;

    #[test]
    fn a_reply_is_skipped_however_it_is_cut() {
        let reply = b"*3\r\n$3\r\na\r\n\r\n%1\r\n+k\r\n*-1\r\n*2\r\n$0\r\n\r\n:1\r\n";
        for cut in 0..=reply.len() {
            let mut skipper = Skipper::default();
            let used = skipper.skip(&reply[..cut]);
            assert_eq!(used, cut);
            assert_eq!(skipper.is_done(), cut == reply.len(), "cut at {cut}");
            let rest = [&reply[cut..], b"+next\r\n"].concat();
            assert_eq!(skipper.skip(&rest), reply.len() - cut);
            assert!(skipper.is_done());
        }
    }
}
