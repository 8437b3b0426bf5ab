//! Certificates made for a test, in files of a folder that goes with it, and clients that show them. Checks nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rubine_testing::server::{Server, ServerOptions, free_port};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::options;

/// No reply takes longer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A folder with an authority, and those that it vouches for.
pub(super) struct Papers {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A client's end of a connection.
pub(super) type Line<S = TcpStream> = StreamOwned<ClientConnection, S>;

impl Papers {
    /// `ca`, and certificates for `server` and `client`.
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rubine-papers-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let papers = Self { folder, issuer: Issuer::new(params, key) };
        papers.issue("server", &[]);
        papers.issue("client", &[]);
        papers
    }

    /// A certificate for `name`, `NAME.crt` with the key `NAME.key`.
    pub(super) fn issue(&self, name: &str, uris: &[&str]) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = |it: &&str| SanType::URI((*it).try_into().unwrap());
        params.subject_alt_names.extend(uris.iter().map(uri));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A server of ours that speaks TLS on one port and plain on another.
    pub(super) fn server(&self) -> ServerOptions {
        options()
            .with("tls-port", &free_port().unwrap().to_string())
            .with("tls-cert-file", &self.path("server.crt"))
            .with("tls-key-file", &self.path("server.key"))
            .with("tls-ca-cert-file", &self.path("ca.crt"))
            .with("workers", "2")
    }

    /// What a client that shows the certificate of `name`, or none, begins with.
    pub(super) fn client_config(&self, name: Option<&str>) -> Arc<ClientConfig> {
        self.client_config_with(name.map(|name| (name, self)))
    }

    /// One that trusts this authority, and shows what another one has vouched for.
    pub(super) fn client_config_of(&self, name: &str, other: &Self) -> Arc<ClientConfig> {
        self.client_config_with(Some((name, other)))
    }

    fn client_config_with(&self, shown: Option<(&str, &Self)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.folder.join("ca.crt")) {
            roots.add(certificate).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            Some((name, of)) => {
                let chain = certificates(&of.folder.join(format!("{name}.crt")));
                let key = PrivateKeyDer::from_pem_file(of.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        Arc::new(config)
    }

    /// A connection of such a client.
    pub(super) fn connect(&self, server: &Server, name: Option<&str>) -> Line {
        let socket = socket(server);
        StreamOwned::new(connection(&self.client_config(name)), socket)
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().collect::<Result<_, _>>().unwrap()
}

pub(super) fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// The address of a server's TLS port.
pub(super) fn address(server: &Server) -> SocketAddr {
    let mut client = server.client();
    let port = client.run("CONFIG GET tls-port").unwrap();
    let port = port.lines().last().unwrap().trim_start_matches(|it: char| !it.is_ascii_digit());
    let port = port.trim_start_matches("2) ").trim_matches('"');
    SocketAddr::new(server.address().ip(), port.parse().unwrap())
}

/// A bare connection to it.
pub(super) fn socket(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(address(server)).unwrap();
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
