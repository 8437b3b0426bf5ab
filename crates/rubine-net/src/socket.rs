//! One client's socket, of whatever kind. Never blocks.

use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rubine_system::scatter;
use rustix::net::{RecvFlags, SendFlags};

use crate::tls::stream::{HandshakeError, TlsStream};

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl Socket {
    /// Reads what has arrived into the spare room of `buffer`. 0 at the end of the stream.
    pub fn read_into(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let spare = rustix::buffer::spare_capacity(buffer);
        let flags = RecvFlags::empty();
        let (read, _) = match self {
            Self::Tcp(stream) => rustix::net::recv(&*stream, spare, flags)?,
            Self::Unix(stream) => rustix::net::recv(&*stream, spare, flags)?,
            Self::Tls(stream) => {
                let room = buffer.capacity() - buffer.len();
                return stream.read_into_two(buffer, room, &mut Vec::new());
            }
        };
        Ok(read)
    }

    /// Reads what has arrived into `first`, no more than `first_room` bytes, and what comes behind that into the spare room of
    /// `second`. 0 at the end of the stream.
    pub fn read_into_two(
        &mut self,
        first: &mut Vec<u8>,
        first_room: usize,
        second: &mut Vec<u8>,
    ) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => scatter::read_into_two(stream.as_fd(), first, first_room, second),
            Self::Unix(stream) => scatter::read_into_two(stream.as_fd(), first, first_room, second),
            Self::Tls(stream) => stream.read_into_two(first, first_room, second),
        }
    }

    /// Whether a further read brings something though the kernel has nothing to show.
    #[inline]
    pub fn holds_more(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.holds_more(),
        }
    }

    /// Whether the two sides have yet to agree on how they speak.
    #[inline]
    pub fn is_handshaking(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.is_handshaking(),
        }
    }

    /// Goes on with that. Returns whether it is over.
    pub fn handshake(&mut self) -> Result<bool, HandshakeError> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(true),
            Self::Tls(stream) => stream.handshake(),
        }
    }

    /// The connection, where it is TLS.
    pub fn tls(&self) -> Option<&TlsStream> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => Some(stream),
        }
    }

    /// Offers `slices` to the socket. Returns how many bytes it has taken.
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // Most replies are one piece, which the kernel takes quicker without a list of pieces.
        if let [slice] = slices {
            let flags = SendFlags::NOSIGNAL;
            let written = match self {
                Self::Tcp(stream) => rustix::net::send(&*stream, slice, flags)?,
                Self::Unix(stream) => rustix::net::send(&*stream, slice, flags)?,
                Self::Tls(stream) => stream.write_vectored(slices)?,
            };
            return Ok(written);
        }
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
            Self::Tls(stream) => stream.write_vectored(slices),
        }
    }

    /// Whether what is written leaves at once, or may wait a little for more.
    pub fn set_nodelay(&self, nodelay: bool) {
        // A socket of another kind has no such choice, and one that is closed needs none.
        let _ = rustix::net::sockopt::set_tcp_nodelay(self.as_fd(), nodelay);
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // Edge-triggered for both directions once and for all: no system call when a socket is full for a while.
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.source().register(registry, token, interests)
    }

    pub fn deregister(&mut self, registry: &Registry) {
        // A socket that is about to be closed leaves the poll by itself.
        let _ = self.source().deregister(registry);
    }

    pub fn shutdown(&mut self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tls(stream) => return stream.shutdown(),
        };
    }

    /// Another handle of the connection, for a thread that speaks to the client by itself for a while.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.as_fd().try_clone_to_owned(),
            Self::Unix(stream) => stream.as_fd().try_clone_to_owned(),
            // What is sent and received there is not what the client says.
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The descriptor's number, as CLIENT LIST shows it.
    pub fn fd(&self) -> i32 {
        use std::os::fd::AsRawFd;
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.socket().as_raw_fd(),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Tls(stream) => stream.socket_mut(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.socket().as_fd(),
        }
    }
}
