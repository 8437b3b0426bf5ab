//! A socket whose bytes are TLS. Never blocks; keeps what is no whole record yet, plain text that nobody has taken, and
//! records that the socket did not take, each within a bound.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};

use super::channel::{Channel, Written};

/// What one call of the system reads: at least a record, so that there is progress.
const RECEIVE_BYTES_MIN: usize = 20 * 1024;
const RECEIVE_BYTES_MAX: usize = 256 * 1024;
/// What is no whole record, or message of a handshake, after so many bytes is neither.
const INCOMPLETE_BYTES_MAX: usize = 128 * 1024;
/// Plain text that one write makes records of.
const WRITE_BYTES_MAX: usize = 128 * 1024;
/// How a handshake begins: the kind of its record.
const HANDSHAKE: u8 = 22;

thread_local! {
    /// What a thread decrypts and encrypts in, whoever it is for, so that a connection at rest keeps next to nothing.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// Invariant: bounded by the limits of a read and of a write.
struct Scratch {
    received: Vec<u8>,
    plain: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Scratch {
    const fn new() -> Self {
        Self { received: Vec::new(), plain: Vec::new(), outgoing: Vec::new() }
    }
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub enum HandshakeError {
    /// The other side closed the connection, or it broke.
    Lost,
    /// What came first is no TLS.
    NotTls,
    /// The two do not agree.
    Refused(String),
}

/// A connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that change one by one")]
pub struct TlsStream {
    socket: TcpStream,
    channel: Channel,
    is_handshaking: bool,
    /// Anything was received.
    has_heard: bool,
    /// The beginning of a record.
    incomplete: Vec<u8>,
    /// What was decrypted and is not taken yet, from `plain_start` on.
    plain: Vec<u8>,
    plain_start: usize,
    /// Records that the socket has not taken, from `unsent_start` on.
    unsent: Vec<u8>,
    unsent_start: usize,
    /// Plain text that is in `unsent` and counts as written when all of that has left. The caller offers it again.
    owed: usize,
    /// The last read left nothing in the socket, unless it was the end.
    is_drained: bool,
    /// The last read found nothing.
    is_dry: bool,
    /// What came was wrong: nothing more is asked of the channel.
    is_broken: bool,
    /// The other side sends no more.
    is_ended: bool,
}

impl TlsStream {
    /// A connection that was accepted.
    pub fn accepted(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let side = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self::new(socket, Channel::Server(side)))
    }

    /// A connection to another server, which may be on its way still.
    pub fn connecting(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let side = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::new(socket, Channel::Client(side)))
    }

    fn new(socket: TcpStream, channel: Channel) -> Self {
        Self {
            socket,
            channel,
            is_handshaking: true,
            has_heard: false,
            incomplete: Vec::new(),
            plain: Vec::new(),
            plain_start: 0,
            unsent: Vec::new(),
            unsent_start: 0,
            owed: 0,
            is_drained: false,
            is_dry: false,
            is_broken: false,
            is_ended: false,
        }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub fn is_handshaking(&self) -> bool {
        self.is_handshaking
    }

    /// Whether a further read brings something, or the end, though the socket may show nothing.
    pub fn holds_more(&self) -> bool {
        self.plain_start < self.plain.len() || !self.is_drained || self.is_ended
    }

    /// Whether the last read found nothing at all, so that there will be an event when there is.
    pub fn is_dry(&self) -> bool {
        self.is_dry
    }

    /// Whether records wait for the socket.
    pub fn has_unsent(&self) -> bool {
        self.unsent_start < self.unsent.len()
    }

    /// Memory of what is kept.
    pub fn allocated_bytes(&self) -> usize {
        self.incomplete.capacity() + self.plain.capacity() + self.unsent.capacity()
    }

    /// The other side's certificate, once the handshake has found it good.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.channel.peer_certificate()
    }

    /// Goes on with the handshake, one read at most. Returns whether it is over.
    pub fn handshake(&mut self) -> Result<bool, HandshakeError> {
        if self.is_handshaking && matches!(self.channel, Channel::Client(_)) && !self.has_heard {
            self.begin()?;
        }
        if self.flush().is_err_and(|error| !is_for_later(&error)) {
            return Err(HandshakeError::Lost);
        }
        let mut plain = std::mem::take(&mut self.plain);
        let received = self.receive(RECEIVE_BYTES_MIN, &mut |text| plain.extend_from_slice(text));
        self.plain = plain;
        match received {
            Ok(()) => {}
            Err(Trouble::Socket(error)) if is_for_later(&error) => {}
            Err(Trouble::Socket(_)) => return Err(HandshakeError::Lost),
            Err(Trouble::NotTls) => return Err(HandshakeError::NotTls),
            Err(Trouble::Tls(error)) => return Err(HandshakeError::Refused(error.to_string())),
        }
        self.is_handshaking = self.channel.is_handshaking();
        if self.is_handshaking && self.is_ended {
            return Err(HandshakeError::Lost);
        }
        Ok(!self.is_handshaking)
    }

    /// A client speaks first.
    fn begin(&mut self) -> Result<(), HandshakeError> {
        let taken = self.channel.take(&mut [], &mut self.unsent, &mut |_| {});
        taken.result.map_err(|error| HandshakeError::Refused(error.to_string()))
    }

    /// Reads into the spare room of `first`, no more than `first_room` bytes, and what comes behind that into the spare room
    /// of `second`. 0 at the end of the stream.
    pub fn read_into_two(
        &mut self,
        first: &mut Vec<u8>,
        first_room: usize,
        second: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let mut room = Room::new(first, first_room, second);
        if self.plain_start < self.plain.len() {
            self.plain_start += room.take(&self.plain[self.plain_start..]);
            if self.plain_start == self.plain.len() {
                (self.plain, self.plain_start) = (Vec::new(), 0);
                // More may have come since the socket was read, and its event be over.
                self.is_drained = false;
            }
            return Ok(room.filled);
        }
        if self.is_ended || self.is_broken {
            return Ok(0);
        }
        if self.is_handshaking {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut left_over = Vec::new();
        let wanted = room.left();
        let received = self.receive(wanted, &mut |text| {
            let taken = room.take(text);
            left_over.extend_from_slice(&text[taken..]);
        });
        let filled = room.filled;
        self.plain = left_over;
        match received {
            Ok(()) if filled == 0 && !self.is_ended => {
                // The socket may hold the rest of a record, or the end, of which no event tells after one for what came
                // before it.
                let kind = if self.is_dry { ErrorKind::WouldBlock } else { ErrorKind::Interrupted };
                Err(kind.into())
            }
            Ok(()) => Ok(filled),
            // What came before it was good is given out first; the end comes with the next read.
            Err(_) if 0 < filled || !self.plain.is_empty() => {
                self.is_ended = true;
                Ok(filled)
            }
            Err(Trouble::Socket(error)) => Err(error),
            Err(Trouble::NotTls) => Err(ErrorKind::InvalidData.into()),
            Err(Trouble::Tls(error)) => Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
    }

    /// Calls the system once, and takes in what it has.
    fn receive(&mut self, room: usize, deliver: &mut dyn FnMut(&[u8])) -> Result<(), Trouble> {
        SCRATCH.with_borrow_mut(|scratch| {
            let received = &mut scratch.received;
            let start = self.incomplete.len();
            let end = start + room.clamp(RECEIVE_BYTES_MIN, RECEIVE_BYTES_MAX);
            if received.len() < end {
                received.resize(end, 0);
            }
            received[..start].copy_from_slice(&self.incomplete);
            let flags = RecvFlags::empty();
            let called = rustix::net::recv(&self.socket, &mut received[start..end], flags);
            let count = called.map(|it| it.1).map_err(io::Error::from);
            self.is_dry = count.as_ref().is_err_and(|it| it.kind() == ErrorKind::WouldBlock);
            self.is_drained = self.is_dry || count.as_ref().is_ok_and(|it| start + it < end);
            let count = count.map_err(Trouble::Socket)?;
            if count == 0 {
                self.is_ended = true;
                return Ok(());
            }
            // A word that is no TLS is answered with none.
            if !std::mem::replace(&mut self.has_heard, true) && received[0] != HANDSHAKE {
                return Err(Trouble::NotTls);
            }
            self.take_in(&mut received[..start + count], deliver)
        })
    }

    fn take_in(
        &mut self,
        received: &mut [u8],
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Trouble> {
        let taken = self.channel.take(received, &mut self.unsent, deliver);
        self.is_ended |= taken.is_ended;
        self.is_broken = taken.result.is_err();
        let rest = &received[taken.consumed..];
        self.incomplete.clear();
        if rest.is_empty() {
            self.incomplete = Vec::new();
        } else {
            self.incomplete.extend_from_slice(rest);
        }
        // What is to be said about it is said as far as that is possible at once.
        let flushed = self.flush();
        taken.result.map_err(Trouble::Tls)?;
        if INCOMPLETE_BYTES_MAX < self.incomplete.len() {
            return Err(Trouble::NotTls);
        }
        match flushed {
            Err(error) if !is_for_later(&error) => Err(Trouble::Socket(error)),
            _ => Ok(()),
        }
    }

    /// Offers `slices`. Returns how many bytes of them have left. What was made a record and has not left is not counted,
    /// and has to be offered again.
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_handshaking {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.is_broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.flush()?;
        let offered: usize = slices.iter().map(|it| it.len()).sum();
        if 0 < self.owed {
            let paid = self.owed.min(offered);
            self.owed -= paid;
            return Ok(paid);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { plain, outgoing, .. } = scratch;
            // Small pieces make one record.
            let text: &[u8] = match slices {
                [slice] => &slice[..slice.len().min(WRITE_BYTES_MAX)],
                slices => {
                    for slice in slices {
                        let room = WRITE_BYTES_MAX - plain.len();
                        plain.extend_from_slice(&slice[..slice.len().min(room)]);
                    }
                    plain
                }
            };
            let written = self.write_records(text, outgoing);
            plain.clear();
            outgoing.clear();
            written
        })
    }

    fn write_records(&mut self, text: &[u8], outgoing: &mut Vec<u8>) -> io::Result<usize> {
        let written = Written::Data(text);
        self.channel.write(written, &mut self.incomplete, outgoing).map_err(io::Error::other)?;
        let mut sent = 0;
        while sent < outgoing.len() {
            match rustix::net::send(&self.socket, &outgoing[sent..], SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    let error = io::Error::from(error);
                    if error.kind() == ErrorKind::WouldBlock {
                        self.unsent.extend_from_slice(&outgoing[sent..]);
                        self.owed = text.len();
                    }
                    return Err(error);
                }
            }
        }
        Ok(text.len())
    }

    /// Sends what could not be sent before.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.unsent_start < self.unsent.len() {
            let left = &self.unsent[self.unsent_start..];
            match rustix::net::send(&self.socket, left, SendFlags::NOSIGNAL) {
                Ok(count) => self.unsent_start += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        (self.unsent, self.unsent_start) = (Vec::new(), 0);
        Ok(())
    }

    /// Ends the connection, with a word about it where there is room for one.
    pub fn shutdown(&mut self) {
        if !self.is_handshaking && !self.is_broken && self.flush().is_ok() {
            let mut goodbye = Vec::new();
            let said = self.channel.write(Written::End, &mut self.incomplete, &mut goodbye);
            if said.is_ok() {
                let _ = rustix::net::send(&self.socket, &goodbye, SendFlags::NOSIGNAL);
            }
        }
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Why nothing more comes.
enum Trouble {
    Socket(io::Error),
    NotTls,
    Tls(rustls::Error),
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Where plain text goes: two buffers, as far as there is room in them.
struct Room<'a> {
    first: &'a mut Vec<u8>,
    first_left: usize,
    second: &'a mut Vec<u8>,
    filled: usize,
}

impl<'a> Room<'a> {
    fn new(first: &'a mut Vec<u8>, first_room: usize, second: &'a mut Vec<u8>) -> Self {
        let first_left = first_room.min(first.capacity() - first.len());
        Self { first, first_left, second, filled: 0 }
    }

    fn left(&self) -> usize {
        self.first_left + self.second.capacity() - self.second.len()
    }

    /// Takes what there is room for; returns how much that was.
    fn take(&mut self, text: &[u8]) -> usize {
        let (first, behind) = text.split_at(text.len().min(self.first_left));
        self.first.extend_from_slice(first);
        self.first_left -= first.len();
        let second = &behind[..behind.len().min(self.second.capacity() - self.second.len())];
        self.second.extend_from_slice(second);
        let taken = first.len() + second.len();
        self.filled += taken;
        taken
    }
}

#[cfg(test)]
mod tests;
