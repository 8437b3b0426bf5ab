//! TLS: what the configuration means by it, and connections that speak it. What a client's certificate allows, others
//! decide.

mod certificate;
mod channel;
mod ciphers;
mod files;
pub mod fuzz;
mod key_file;
mod sessions;
pub mod stream;

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use self::files::{Authorities, Identity};
use self::sessions::Sessions;
use rubine_config::{Config, TlsAuthClients, TlsAuthClientsUser};

pub use self::certificate::CertificateFacts;
pub use rustls::ClientConfig;

/// Tickets for coming back that a client gets, as from OpenSSL.
const TICKETS: usize = 2;

/// TLS as it is in force, if it is.
#[derive(Debug, Default)]
pub struct Tls {
    current: ArcSwapOption<Contexts>,
}

/// What connections are made with.
#[derive(Debug)]
pub struct Contexts {
    pub server: Arc<ServerConfig>,
    /// For the bus of a cluster, where there is no node without a certificate; nothing without `tls-cluster`.
    pub nodes: Option<Arc<ServerConfig>>,
    /// Towards other servers.
    pub client: Arc<ClientConfig>,
    pub facts: Facts,
    /// What the files held.
    print: [u8; 32],
}

/// What INFO tells of certificates.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub server: Option<CertificateFacts>,
    /// Towards other servers, where it is another one.
    pub client: Option<CertificateFacts>,
    /// Of the authority that ends first.
    pub authority: Option<CertificateFacts>,
}

impl Tls {
    /// What is in force.
    pub fn current(&self) -> Guard<Option<Arc<Contexts>>> {
        self.current.load()
    }

    /// Puts something in force for all connections that come.
    pub fn set(&self, contexts: Option<Arc<Contexts>>) {
        self.current.store(contexts);
    }
}

/// Whether anything needs TLS.
pub fn is_wanted(config: &Config) -> bool {
    let is_for_http = config.http_port != 0 && config.http_tls;
    config.tls_port != 0 || config.tls_replication || config.tls_cluster || is_for_http
}

impl Contexts {
    /// What the configuration means; nothing if nothing needs it. Reads files. The error names the one that is wrong.
    pub fn of(config: &Config) -> Result<Option<Self>, String> {
        if is_wanted(config) { Self::load(config).map(Some) } else { Ok(None) }
    }

    fn load(config: &Config) -> Result<Self, String> {
        // Before they are read: what changes meanwhile is found changed the next time.
        let print = files::print(config);
        let Some(certificate) = &config.tls_cert_file else {
            return Err("No tls-cert-file configured!".to_owned());
        };
        let Some(key) = &config.tls_key_file else {
            return Err("No tls-key-file configured!".to_owned());
        };
        let authorities = Authorities::read(config)?;
        let asks_clients = config.tls_auth_clients != TlsAuthClients::No;
        if authorities.is_none() && (asks_clients || config.tls_cluster || config.tls_replication) {
            return Err(
                "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, \
                        tls-replication or tls-auth-clients are enabled!"
                    .to_owned(),
            );
        }
        let own = Identity::read(certificate, key, config.tls_key_file_pass.as_deref())?;
        let other = match (&config.tls_client_cert_file, &config.tls_client_key_file) {
            (Some(certificate), Some(key)) => {
                let passphrase = config.tls_client_key_file_pass.as_deref();
                Some(Identity::read(certificate, key, passphrase)?)
            }
            _ => None,
        };
        let facts = Facts {
            server: own.facts(),
            client: other.as_ref().and_then(Identity::facts),
            authority: authorities.as_ref().and_then(|it| it.facts.clone()),
        };
        let provider = Arc::new(provider(config)?);
        let roots = authorities.map_or_else(RootCertStore::empty, |it| it.roots);
        let roots = Arc::new(roots);
        let client = client_config(config, &provider, &roots, other.as_ref().unwrap_or(&own))?;
        let nodes = if config.tls_cluster {
            let nodes = server_config(config, TlsAuthClients::Yes, &provider, &roots, &own)?;
            Some(Arc::new(nodes))
        } else {
            None
        };
        let server = server_config(config, config.tls_auth_clients, &provider, &roots, &own)?;
        Ok(Self { server: Arc::new(server), nodes, client: Arc::new(client), facts, print })
    }

    /// Whether the files that it was made from hold something else by now.
    pub fn is_outdated(&self, config: &Config) -> bool {
        files::print(config) != self.print
    }
}

/// The names that a client's certificate has for its user, the best first. More than one only for URIs.
pub fn user_names(certificate: &CertificateDer<'_>, field: TlsAuthClientsUser) -> Vec<Vec<u8>> {
    match field {
        TlsAuthClientsUser::Cn => certificate::common_name(certificate).into_iter().collect(),
        TlsAuthClientsUser::Uri => certificate::uris(certificate),
        TlsAuthClientsUser::Off => Vec::new(),
    }
}

fn provider(config: &Config) -> Result<CryptoProvider, String> {
    let ciphers = config.tls_ciphers.as_deref();
    let cipher_suites = ciphers::choose(ciphers, config.tls_ciphersuites.as_deref())?;
    Ok(CryptoProvider { cipher_suites, ..rustls::crypto::ring::default_provider() })
}

fn server_config(
    config: &Config,
    asks_clients: TlsAuthClients,
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    identity: &Identity,
) -> Result<ServerConfig, String> {
    let versions = ciphers::versions(config.tls_protocols.as_deref())?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions)
        .map_err(|error| format!("Failed to configure tls-protocols: {error}"))?;
    let builder = if asks_clients == TlsAuthClients::No {
        builder.with_no_client_auth()
    } else {
        let (roots, provider) = (Arc::clone(roots), Arc::clone(provider));
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
            // A folder of authorities would make a long list, which clients have no use for.
            .clear_root_hint_subjects();
        let verifier = match asks_clients {
            TlsAuthClients::Optional => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        let verifier = verifier.build().map_err(|error| {
            format!("Failed to configure CA certificate(s) file/directory: {error}")
        })?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut server = builder
        .with_single_cert(identity.certificates.clone(), identity.key.clone_key())
        .map_err(|error| format!("Failed to load private key: {}: {error}", identity.key_path))?;
    server.ignore_client_order = config.tls_prefer_server_ciphers;
    if config.tls_session_caching {
        let (size, seconds) = (config.tls_session_cache_size, config.tls_session_cache_timeout);
        server.session_storage = Arc::new(Sessions::new(size, seconds));
        server.send_tls13_tickets = TICKETS;
    } else {
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    }
    Ok(server)
}

fn client_config(
    config: &Config,
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    identity: &Identity,
) -> Result<ClientConfig, String> {
    let versions = ciphers::versions(config.tls_protocols.as_deref())?;
    let verifier = SignedByAuthority { roots: Arc::clone(roots), provider: Arc::clone(provider) };
    let mut client = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions)
        .map_err(|error| format!("Failed to configure tls-protocols: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.certificates.clone(), identity.key.clone_key())
        .map_err(|error| format!("Failed to load private key: {}: {error}", identity.key_path))?;
    client.enable_sni = false;
    Ok(client)
}

/// Trusts servers whose certificate comes from one of the authorities, whatever they are called: they are known by
/// addresses, which certificates do not tell, and as in Redis the authority vouches for all of them.
#[derive(Debug)]
struct SignedByAuthority {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SignedByAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
