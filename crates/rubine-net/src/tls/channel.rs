//! The protocol of one connection, of either side, without a socket: records in, plain text out, and the other way.
//! Bounded by the protocol: what is kept of what came is less than two records or one message of a handshake.

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

/// One side of a connection.
pub(super) enum Channel {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Server(_)) { "Server" } else { "Client" })
    }
}

/// What is to be said.
#[derive(Clone, Copy)]
pub(super) enum Written<'a> {
    /// Plain text.
    Data(&'a [u8]),
    /// That nothing more will be sent.
    End,
}

/// What came of a piece of what was received.
#[derive(Debug)]
pub(super) struct Taken {
    /// So many bytes of it are done with; the rest has to be there again with more behind it.
    pub(super) consumed: usize,
    /// The other side sends no more.
    pub(super) is_ended: bool,
    pub(super) result: Result<(), rustls::Error>,
}

impl Channel {
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Server(side) => side.is_handshaking(),
            Self::Client(side) => side.is_handshaking(),
        }
    }

    /// The other side's certificate, once it was found good.
    pub(super) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let certificates = match self {
            Self::Server(side) => side.peer_certificates(),
            Self::Client(side) => side.peer_certificates(),
        };
        certificates?.first()
    }

    /// Takes in what was received. Hands plain text to `deliver`, and appends to `outgoing` what has to be sent.
    pub(super) fn take(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Taken {
        match self {
            Self::Server(side) => take(side, incoming, outgoing, deliver),
            Self::Client(side) => take(side, incoming, outgoing, deliver),
        }
    }

    /// Appends what is written to `outgoing`. The handshake must be over, and `incomplete` be what the last call of
    /// [`Channel::take`] left: the library keeps positions in it, and looks there.
    pub(super) fn write(
        &mut self,
        written: Written<'_>,
        incomplete: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> Result<(), rustls::Error> {
        match self {
            Self::Server(side) => write(side, written, incomplete, outgoing),
            Self::Client(side) => write(side, written, incomplete, outgoing),
        }
    }
}

/// What both sides have, though the library names it on neither's common part.
trait Side {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether the next call gives something to send.
    fn has_to_send(&self) -> bool;
}

macro_rules! side {
    ($connection:ty, $data:ty) => {
        impl Side for $connection {
            type Data = $data;

            fn process<'c, 'i>(
                &'c mut self,
                incoming: &'i mut [u8],
            ) -> UnbufferedStatus<'c, 'i, Self::Data> {
                self.process_tls_records(incoming)
            }

            fn has_to_send(&self) -> bool {
                self.wants_write()
            }
        }
    };
}

side!(UnbufferedServerConnection, rustls::server::ServerConnectionData);
side!(UnbufferedClientConnection, rustls::client::ClientConnectionData);

fn take<S: Side>(
    side: &mut S,
    incoming: &mut [u8],
    outgoing: &mut Vec<u8>,
    deliver: &mut dyn FnMut(&[u8]),
) -> Taken {
    let mut taken = Taken { consumed: 0, is_ended: false, result: Ok(()) };
    loop {
        let UnbufferedStatus { discard, state } = side.process(&mut incoming[taken.consumed..]);
        taken.consumed += discard;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => deliver(record.payload),
                        Err(error) => {
                            taken.result = Err(error);
                            return taken;
                        }
                    }
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(outgoing, |room| data.encode(room).map_err(|it| in_encoding(&it)));
            }
            // It is kept until the socket has taken it.
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => taken.is_ended = true,
            Ok(ConnectionState::Closed) => {
                taken.is_ended = true;
                return taken;
            }
            // Early data is not asked for, so that none comes.
            Ok(_) => return taken,
            Err(error) => {
                taken.result = Err(error);
                // What the other side is told of it. No more must be asked for: what came is in disorder.
                while side.has_to_send()
                    && let rest = &mut incoming[taken.consumed..]
                    && let Ok(ConnectionState::EncodeTlsData(mut data)) = side.process(rest).state
                {
                    append(outgoing, |room| data.encode(room).map_err(|it| in_encoding(&it)));
                }
                return taken;
            }
        }
    }
}

fn write<S: Side>(
    side: &mut S,
    written: Written<'_>,
    incomplete: &mut [u8],
    outgoing: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    loop {
        let UnbufferedStatus { discard, state } = side.process(incomplete);
        if discard != 0 {
            // It held no more than the beginning of something.
            return Err(rustls::Error::General("nothing was left to be taken".to_owned()));
        }
        match state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let has_room = append(outgoing, |room| {
                    let encrypted = match written {
                        Written::Data(plain) => traffic.encrypt(plain, room),
                        Written::End => traffic.queue_close_notify(room),
                    };
                    encrypted.map_err(|it| in_encrypting(&it))
                });
                return if has_room { Ok(()) } else { Err(rustls::Error::EncryptError) };
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(outgoing, |room| data.encode(room).map_err(|it| in_encoding(&it)));
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            _ => return Err(rustls::Error::HandshakeNotComplete),
        }
    }
}

/// Has `fill` write behind what there is, with as much room as it asks for. Returns whether it could.
fn append(
    outgoing: &mut Vec<u8>,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> bool {
    let start = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(start + room, 0);
        match fill(&mut outgoing[start..]) {
            Ok(count) => {
                outgoing.truncate(start + count);
                return true;
            }
            Err(Some(wanted)) if room < wanted => room = wanted,
            Err(_) => {
                outgoing.truncate(start);
                return false;
            }
        }
    }
}

fn in_encoding(error: &EncodeError) -> Option<usize> {
    match *error {
        EncodeError::InsufficientSize(InsufficientSizeError { required_size, .. }) => {
            Some(required_size)
        }
        EncodeError::AlreadyEncoded => None,
    }
}

fn in_encrypting(error: &EncryptError) -> Option<usize> {
    match *error {
        EncryptError::InsufficientSize(InsufficientSizeError { required_size, .. }) => {
            Some(required_size)
        }
        EncryptError::EncryptExhausted => None,
    }
}

#[cfg(test)]
mod tests;
