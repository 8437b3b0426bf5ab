//! Certificates made for a test, in files of a folder that goes with them. Checks nothing.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

use crate::server::{ServerOptions, free_port};

/// A folder with an authority, `ca.crt`, and those that it vouches for.
pub struct Papers {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Papers {
    /// Also certificates for `server` and `client`.
    ///
    /// # Panics
    ///
    /// Without them no test can go on.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rubine-papers-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let mut params = CertificateParams::new([]).expect("no names are good names");
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there are random numbers");
        let certificate = params.self_signed(&key).expect("a key can sign");
        let papers = Self { folder, issuer: Issuer::new(params, key) };
        papers.write("ca.crt", &certificate.pem());
        papers.issue("server", &[]);
        papers.issue("client", &[]);
        papers
    }

    /// A certificate for `name`, `NAME.crt` with the key `NAME.key`.
    pub fn issue(&self, name: &str, uris: &[&str]) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("they are good names");
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = |it: &&str| SanType::URI((*it).try_into().expect("a URI is ASCII"));
        params.subject_alt_names.extend(uris.iter().map(uri));
        let key = KeyPair::generate().expect("there are random numbers");
        let certificate = params.signed_by(&key, &self.issuer).expect("a key can sign");
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("a file can be written");
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Has a server speak TLS on a port of its own, which is returned.
    pub fn give_to(&self, options: ServerOptions) -> (ServerOptions, u16) {
        let port = free_port().expect("a port is free");
        let options = options
            .with("tls-port", &port.to_string())
            .with("tls-cert-file", &self.path("server.crt"))
            .with("tls-key-file", &self.path("server.key"))
            .with("tls-ca-cert-file", &self.path("ca.crt"));
        (options, port)
    }
}

impl Default for Papers {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        // A folder left behind in the temporary one harms no test.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
