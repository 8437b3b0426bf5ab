//! What the fuzzer and the property tests call: plain functions that panic if a promise of this module is broken.
//! Never called by the server.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;

use super::Contexts;
use super::channel::{Channel, Taken, Written};

/// One end of a connection in memory, with what it has not taken yet and what it has been told.
pub(super) struct End {
    pub(super) channel: Channel,
    pub(super) incomplete: Vec<u8>,
    pub(super) outgoing: Vec<u8>,
    pub(super) told: Vec<u8>,
}

impl End {
    fn new(channel: Channel) -> Self {
        Self { channel, incomplete: Vec::new(), outgoing: Vec::new(), told: Vec::new() }
    }

    /// A client and a server that have not met.
    pub(super) fn pair(contexts: &Contexts, client: Arc<ClientConfig>) -> (Self, Self) {
        let name = ServerName::try_from("localhost").expect("it is a good name");
        let client = UnbufferedClientConnection::new(client, name);
        let client = Channel::Client(client.expect("the configuration is good"));
        let server = UnbufferedServerConnection::new(Arc::clone(&contexts.server));
        let server = Channel::Server(server.expect("the configuration is good"));
        (Self::new(client), Self::new(server))
    }

    /// Takes in a piece; returns whether it was good.
    pub(super) fn take(&mut self, piece: &[u8]) -> bool {
        self.incomplete.extend_from_slice(piece);
        let Self { channel, incomplete, outgoing, told } = self;
        let Taken { consumed, result, .. } =
            channel.take(incomplete, outgoing, &mut |text| told.extend_from_slice(text));
        incomplete.drain(..consumed);
        result.is_ok()
    }

    pub(super) fn write(&mut self, text: &[u8]) -> bool {
        let written = Written::Data(text);
        self.channel.write(written, &mut self.incomplete, &mut self.outgoing).is_ok()
    }
}

/// Has a client and a server speak, of which `data` decides what is said, where records are cut, which bytes are spoilt and what
/// is put in between. The server hears nothing that the client has not said, in order, and never less where nothing was spoilt.
pub fn fuzz_records(contexts: &Contexts, data: &[u8]) {
    let (mut client, mut server) = End::pair(contexts, Arc::clone(&contexts.client));
    let (mut asked, mut is_spoilt) = (Vec::new(), false);
    assert!(client.take(&[]), "it begins");
    let mut choices = data.iter().copied();
    while let Some(choice) = choices.next() {
        let mut next = || choices.next().unwrap_or(0);
        if !client.channel.is_handshaking() && choice & 1 != 0 {
            let text = vec![next(); usize::from(next()) * 100];
            assert!(client.write(&text), "it can always be said");
            asked.extend_from_slice(&text);
        }
        let mut sent = std::mem::take(&mut client.outgoing);
        if choice & 2 != 0 && choice & 4 != 0 && !sent.is_empty() {
            let at = (usize::from(next()) << 8 | usize::from(next())) % sent.len();
            let bits = next();
            sent[at] ^= bits;
            is_spoilt |= bits != 0;
        }
        if choice & 8 != 0 && choice & 16 != 0 {
            // What no client says.
            let foreign: Vec<u8> = (0..next()).map(|_| next()).collect();
            is_spoilt |= !foreign.is_empty();
            sent.extend_from_slice(&foreign);
        }
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let len = rest.len().min(1 + usize::from(next()) * 16);
            let (piece, behind) = rest.split_at(len);
            rest = behind;
            if !server.take(piece) {
                assert!(is_spoilt, "what is good is taken");
                assert!(asked.starts_with(&server.told));
                return;
            }
        }
        assert!(asked.starts_with(&server.told), "nothing else is heard");
        let answer = std::mem::take(&mut server.outgoing);
        if !client.take(&answer) {
            assert!(is_spoilt, "what is good is taken");
            return;
        }
    }
    if !is_spoilt && !client.channel.is_handshaking() {
        let rest = std::mem::take(&mut client.outgoing);
        assert!(server.take(&rest) && server.told == asked, "all of it is heard");
    }
}
