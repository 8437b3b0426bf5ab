//! The files that the configuration names: certificates, keys, authorities. Bounded in what it reads; every error names
//! the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use rubine_base::hash::HashSet;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::CertificateFacts;
use super::key_file::parse_key;
use rubine_config::Config;

/// No file of certificates is longer, nor is a folder.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
const FOLDER_FILES_MAX: usize = 10_000;

/// Who one is: a certificate, those between it and the authority, and its key.
pub(super) struct Identity {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) key_path: String,
}

impl Identity {
    pub(super) fn read(
        certificate_path: &str,
        key_path: &str,
        passphrase: Option<&[u8]>,
    ) -> Result<Self, String> {
        let certificates = read(Path::new(certificate_path))
            .map_err(|error| error.to_string())
            .and_then(|pem| certificates_in(&pem))
            .map_err(|reason| {
                format!("Failed to load certificate: {certificate_path}: {reason}")
            })?;
        let key = read(Path::new(key_path))
            .map_err(|error| error.to_string())
            .and_then(|pem| {
                let pem = String::from_utf8_lossy(&pem);
                parse_key(&pem, passphrase).map_err(|error| error.to_string())
            })
            .map_err(|reason| format!("Failed to load private key: {key_path}: {reason}"))?;
        Ok(Self { certificates, key, key_path: key_path.to_owned() })
    }

    pub(super) fn facts(&self) -> Option<CertificateFacts> {
        CertificateFacts::of(self.certificates.first()?)
    }
}

/// Those who vouch for others.
pub(super) struct Authorities {
    pub(super) roots: RootCertStore,
    pub(super) facts: Option<CertificateFacts>,
}

impl Authorities {
    /// `None` if the configuration names none.
    pub(super) fn read(config: &Config) -> Result<Option<Self>, String> {
        let failed = |path: &str, reason: String| {
            format!("Failed to configure CA certificate(s) file/directory: {path}: {reason}")
        };
        if config.tls_ca_cert_file.is_none() && config.tls_ca_cert_dir.is_none() {
            return Ok(None);
        }
        let mut certificates = HashSet::default();
        let mut roots = RootCertStore::empty();
        if let Some(path) = &config.tls_ca_cert_file {
            let found = read(Path::new(path))
                .map_err(|error| error.to_string())
                .and_then(|pem| certificates_in(&pem))
                .map_err(|reason| failed(path, reason))?;
            for certificate in found {
                if let Err(error) = roots.add(certificate.clone()) {
                    tracing::warn!("A certificate in {path} is passed by: {error}");
                }
                certificates.insert(certificate);
            }
            if roots.is_empty() {
                return Err(failed(path, "no certificate in it is one of an authority".to_owned()));
            }
        }
        if let Some(path) = &config.tls_ca_cert_dir {
            let files =
                files_in(Path::new(path)).map_err(|error| failed(path, error.to_string()))?;
            for file in files {
                // Such folders hold other things too.
                let Ok(found) =
                    read(&file).map_err(drop).and_then(|pem| certificates_in(&pem).map_err(drop))
                else {
                    continue;
                };
                for certificate in found {
                    // Each is there under several names, as a rule.
                    if certificates.insert(certificate.clone()) {
                        let _ = roots.add(certificate);
                    }
                }
            }
            if roots.is_empty() {
                return Err(failed(path, "there is no certificate in it".to_owned()));
            }
        }
        let facts = CertificateFacts::of_first_to_end(&certificates);
        Ok(Some(Self { roots, facts }))
    }
}

/// What all files hold that the configuration names, as a number to compare.
pub(super) fn print(config: &Config) -> [u8; 32] {
    let mut print = Context::new(&SHA256);
    let mut add = |name: &str, path: &Path| {
        print.update(name.as_bytes());
        print.update(path.as_os_str().as_encoded_bytes());
        // One that cannot be read is like one that holds this.
        let contents = read(path).unwrap_or_else(|error| error.to_string().into_bytes());
        print.update(&(contents.len() as u64).to_le_bytes());
        print.update(&contents);
    };
    let files = [
        ("certificate", &config.tls_cert_file),
        ("key", &config.tls_key_file),
        ("client certificate", &config.tls_client_cert_file),
        ("client key", &config.tls_client_key_file),
        ("authorities", &config.tls_ca_cert_file),
    ];
    for (name, path) in files {
        if let Some(path) = path {
            add(name, Path::new(path));
        }
    }
    if let Some(folder) = &config.tls_ca_cert_dir {
        for path in files_in(Path::new(folder)).unwrap_or_default() {
            add("authority", &path);
        }
    }
    let digest = print.finish();
    digest.as_ref().try_into().expect("this digest has 32 bytes")
}

fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("its PEM is damaged: {error:?}"))?;
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(found)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut contents)?;
    Ok(contents)
}

/// The files of a folder, in an order that does not change.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(FOLDER_FILES_MAX) {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
