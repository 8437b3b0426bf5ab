//! One message over HTTP, and its signature. Follows no redirect: what is signed for one place is not carried to another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use rubine_alerts::Webhook;
use rubine_config::reason;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Files of secrets and certificates are not larger.
const SECRET_BYTES_MAX: u64 = 4096;
const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;
/// How much of an answer is read; an error is told in the first words.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const SHOWN_CHARS_MAX: usize = 120;

/// What came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: Option<u16>,
    /// Why it is not good; empty if it is.
    pub(super) reason: String,
    /// When the receiver wants to be asked again.
    pub(super) retry_after_ms: Option<u64>,
}

impl Answer {
    pub(super) fn without_status(reason: String) -> Self {
        Self { reason, ..Self::default() }
    }

    pub(super) fn is_good(&self) -> bool {
        self.status.is_some_and(|it| (200..300).contains(&it))
    }

    /// Whether the same message may be taken later: nobody answered, or there is too much to do, or something is broken.
    pub(super) fn is_worth_another_try(&self) -> bool {
        match self.status {
            None => true,
            Some(status) => status == 408 || status == 425 || status == 429 || 500 <= status,
        }
    }
}

/// Sends to one receiver, over a connection that it keeps.
pub(super) struct Sender {
    webhook: Webhook,
    agent: ureq::Agent,
}

impl Sender {
    pub(super) fn new(webhook: &Webhook) -> Result<Self, String> {
        let timeout = Duration::from_millis(webhook.timeout_ms);
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("rubine/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(1)
            .tls_config(tls_config(webhook)?)
            .build();
        Ok(Self { webhook: webhook.clone(), agent: config.new_agent() })
    }

    /// Sends a body. `seconds` is the time on the wall, which is signed with it, so that nobody can send it again later.
    pub(super) fn send(&self, body: &str, number: u64, seconds: i64) -> Answer {
        match self.try_to_send(body, number, seconds) {
            Ok(answer) => answer,
            Err(reason) => Answer::without_status(reason),
        }
    }

    fn try_to_send(&self, body: &str, number: u64, seconds: i64) -> Result<Answer, String> {
        let mut request = self
            .agent
            .post(self.webhook.target())
            .header("Content-Type", "application/json")
            .header("X-Rubine-Delivery", number.to_string());
        if let Some(file) = &self.webhook.auth_file {
            request = request.header("Authorization", secret_text(file)?);
        }
        if let Some(file) = &self.webhook.secret_file {
            let signature = signature(&secret(file)?, seconds, body);
            request = request
                .header("X-Rubine-Timestamp", seconds.to_string())
                .header("X-Rubine-Signature", format!("sha256={signature}"));
        }
        let mut response = request.send(body).map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|it| it.to_str().ok());
        let retry_after = header("Retry-After").and_then(|it| it.trim().parse::<u64>().ok());
        let location = header("Location").map(str::to_owned);
        // The whole answer is read where it is short, so that the connection can be used again.
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let mut answer = Answer { status: Some(status), ..Answer::default() };
        answer.retry_after_ms = retry_after.and_then(|it| it.checked_mul(1000));
        if !answer.is_good() {
            answer.reason = match location {
                Some(location) if (300..400).contains(&status) => {
                    format!("it sends elsewhere, which is not followed: {location}")
                }
                _ => {
                    let text = text.unwrap_or_default();
                    let first = text.split_whitespace().collect::<Vec<_>>().join(" ");
                    let first: String = first.chars().take(SHOWN_CHARS_MAX).collect();
                    format!("it answers {status} {first}").trim_end().to_owned()
                }
            };
        }
        Ok(answer)
    }
}

/// Looks whether the files of a webhook can be used.
pub(super) fn check(webhook: &Webhook) -> Result<(), String> {
    if let Some(file) = &webhook.secret_file {
        secret(file)?;
    }
    if let Some(file) = &webhook.auth_file {
        secret_text(file)?;
    }
    let is_url = webhook.target().parse::<ureq::http::Uri>().is_ok_and(|it| it.host().is_some());
    if !is_url {
        return Err(format!("'{}' is no URL", webhook.shown()));
    }
    tls_config(webhook).map(drop)
}

/// The signature: HMAC with SHA-256 over the time, a dot and the body, in hexadecimal.
fn signature(secret: &[u8], seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signed = [seconds.to_string().as_bytes(), b".", body.as_bytes()].concat();
    let tag = hmac::sign(&key, &signed);
    tag.as_ref().iter().map(|it| format!("{it:02x}")).collect()
}

/// A secret, without the end of its line. It is read for each message, so that it may be changed.
fn secret(file: &Path) -> Result<Vec<u8>, String> {
    let mut secret = read(file, SECRET_BYTES_MAX)?;
    while secret.last().is_some_and(|it| matches!(it, b'\n' | b'\r')) {
        secret.pop();
    }
    if secret.is_empty() {
        return Err(format!("'{}' is empty", file.display()));
    }
    Ok(secret)
}

/// A secret that goes into a header.
fn secret_text(file: &Path) -> Result<String, String> {
    let secret = secret(file)?;
    let is_text = secret.iter().all(|it| it.is_ascii_graphic() || *it == b' ');
    let text = String::from_utf8(secret).ok().filter(|_| is_text);
    text.ok_or_else(|| format!("'{}' has more than one line of plain text", file.display()))
}

fn read(file: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let failed =
        |error: std::io::Error| format!("can't read '{}': {}", file.display(), reason(&error));
    let opened = std::fs::File::open(file).map_err(failed)?;
    let mut bytes = Vec::new();
    opened.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes_max < bytes.len() as u64 {
        return Err(format!("'{}' is too large", file.display()));
    }
    Ok(bytes)
}

/// Whom TLS trusts: the certificates of a file, or those of the system.
fn tls_config(webhook: &Webhook) -> Result<TlsConfig, String> {
    let builder = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if !webhook.url.starts_with("https://") {
        return Ok(builder.build());
    }
    let certificates: Vec<Certificate<'static>> = if let Some(file) = &webhook.ca_file {
        let bytes = read(file, CERTIFICATES_BYTES_MAX)?;
        let items = parse_pem(&bytes).filter_map(|it| match it {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        items.collect()
    } else {
        let found = rustls_native_certs::load_native_certs().certs;
        found.iter().map(|it| Certificate::from_der(it).to_owned()).collect()
    };
    if certificates.is_empty() {
        return Err(match &webhook.ca_file {
            Some(file) => format!("'{}' has no certificates", file.display()),
            None => "the system has no certificates to trust: set 'ca-file'".to_owned(),
        });
    }
    Ok(builder.root_certs(RootCerts::new_with_certs(&certificates)).build())
}

#[cfg(test)]
mod tests {
    use super::{Answer, signature};

    /// The second case of RFC 4231, put together as we sign: "what do ya want for nothing?" has no dot and no time.
    #[test]
    fn signatures_are_those_of_hmac() {
        let first = signature(b"key", 1_700_000_000, "{}");
        assert_eq!(first.len(), 64);
        assert_ne!(first, signature(b"key", 1_700_000_001, "{}"));
        assert_ne!(first, signature(b"kez", 1_700_000_000, "{}"));
        assert_ne!(first, signature(b"key", 1_700_000_000, "[]"));
    }

    #[test]
    fn what_may_be_taken_later_is_tried_again() {
        for (status, is_good, is_tried_again) in [
            (None, false, true),
            (Some(200), true, false),
            (Some(204), true, false),
            (Some(301), false, false),
            (Some(400), false, false),
            (Some(404), false, false),
            (Some(408), false, true),
            (Some(429), false, true),
            (Some(500), false, true),
            (Some(503), false, true),
        ] {
            let answer = Answer { status, ..Answer::default() };
            let is_tried = !answer.is_good() && answer.is_worth_another_try();
            assert_eq!((answer.is_good(), is_tried), (is_good, is_tried_again), "{status:?}");
        }
    }
}
