//! A client of the TLS port, and short forms of what it does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rubine_testing::papers::Papers;
use rubine_testing::server::{Server, ServerOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{call, elements, number, options};

/// No reply takes longer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client's end of a connection.
pub(super) type Line<S = TcpStream> = StreamOwned<ClientConnection, S>;

/// A server of ours that speaks TLS on one port and plain on another.
pub(super) fn prepared(papers: &Papers) -> ServerOptions {
    papers.give_to(options().with("workers", "2")).0
}

/// What a client begins with that trusts the authority of `papers`, and shows the certificate of that name of others.
pub(crate) fn client_config(papers: &Papers, shown: Option<(&str, &Papers)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&papers.path("ca.crt")) {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        Some((name, papers)) => {
            let chain = certificates(&papers.path(&format!("{name}.crt")));
            let key = PrivateKeyDer::from_pem_file(papers.path(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    Arc::new(config)
}

fn certificates(path: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(Path::new(path)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A client that shows the certificate of `client`, of the same authority as the server.
pub(super) fn known_config(papers: &Papers) -> Arc<ClientConfig> {
    client_config(papers, Some(("client", papers)))
}

/// A connection of such a client.
pub(super) fn connect(papers: &Papers, server: &Server) -> Line {
    StreamOwned::new(connection(&known_config(papers)), socket(server))
}

pub(crate) fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// The address of a server's TLS port.
pub(super) fn address(server: &Server) -> SocketAddr {
    let found = call(&mut server.client(), "CONFIG GET tls-port");
    SocketAddr::new(server.address().ip(), number(&elements(&found)[1]) as u16)
}

/// A bare connection to it.
pub(super) fn socket(server: &Server) -> TcpStream {
    socket_at(address(server))
}

pub(super) fn socket_at(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.set_write_timeout(Some(TIMEOUT)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Sends a line and expects this reply.
pub(super) fn ask<S: Read + Write>(line: &mut Line<S>, request: &str, reply: &str) {
    line.write_all(request.as_bytes()).unwrap();
    line.write_all(b"\r\n").unwrap();
    let mut room = vec![0; reply.len()];
    line.read_exact(&mut room).unwrap();
    assert_eq!(String::from_utf8_lossy(&room), reply, "{request}");
}

/// Expects that a server ends the connection without a reply.
pub(super) fn is_cut<S: Read + Write>(line: &mut Line<S>) {
    let written = line.write_all(b"PING\r\n").and_then(|()| line.flush());
    let mut room = [0; 16];
    let read = written.and_then(|()| line.read(&mut room));
    let is_timeout = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(read.as_ref().map_or_else(|it| !is_timeout(it), |it| *it == 0), "{read:?}");
}
