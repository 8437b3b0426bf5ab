//! Where alerts go: the lines of `alert-webhook`. Sends nothing.

use std::path::PathBuf;

use crate::duration::{format_duration, parse_duration};
use crate::rule::Severity;

/// A server tells no more receivers than this.
pub const WEBHOOKS_MAX: usize = 8;

const URL_BYTES_MAX: usize = 2048;
const TIMEOUT_MS: u64 = 10_000;
const TIMEOUT_MS_MAX: u64 = 60_000;

/// The shape of what a receiver gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Version 2 of the interface of Alertmanager.
    Alertmanager,
    /// Version 4 of the message that Alertmanager itself sends to webhooks.
    Webhook4,
    /// A message for Slack, and for those who take the same.
    Slack,
}

impl Format {
    const ALL: [Self; 3] = [Self::Alertmanager, Self::Webhook4, Self::Slack];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook4 => "webhook4",
            Self::Slack => "slack",
        }
    }
}

/// A receiver of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: String,
    pub format: Format,
    /// The file that has the secret with which messages are signed.
    pub secret_file: Option<PathBuf>,
    /// The file that has what goes into the header `Authorization`.
    pub auth_file: Option<PathBuf>,
    /// The file with the certificates that a receiver's may be signed by; else those of the system.
    pub ca_file: Option<PathBuf>,
    pub timeout_ms: u64,
    /// What is less urgent is not told.
    pub severity: Severity,
    /// Whether the end of an alert is told.
    pub sends_resolved: bool,
}

impl Webhook {
    /// Whether a word begins a webhook: it is a URL.
    pub fn is_url(word: &str) -> bool {
        ["http://", "https://"].iter().any(|it| word.starts_with(it))
    }

    /// Reads a URL and `option=value` for each option.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let [url, options @ ..] = words else {
            return Err("a webhook is given as: URL option=value ...".to_owned());
        };
        check_url(url)?;
        let mut webhook = Self {
            url: (*url).to_owned(),
            format: Format::Webhook4,
            secret_file: None,
            auth_file: None,
            ca_file: None,
            timeout_ms: TIMEOUT_MS,
            severity: Severity::Info,
            sends_resolved: true,
        };
        let mut seen: Vec<&str> = Vec::new();
        for option in options {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| format!("'{option}' is no option of a webhook: option=value"))?;
            if seen.contains(&name) {
                return Err(format!("the option '{name}' is given twice"));
            }
            seen.push(name);
            webhook.assign(name, value)?;
        }
        if webhook.ca_file.is_some() && !url.starts_with("https://") {
            return Err("'ca-file' needs a URL that begins with https://".to_owned());
        }
        Ok(webhook)
    }

    fn assign(&mut self, name: &str, value: &str) -> Result<(), String> {
        let file = || {
            let path = (!value.is_empty()).then(|| PathBuf::from(value));
            path.ok_or_else(|| format!("'{name}' needs the name of a file"))
        };
        match name {
            "format" => {
                let found = Format::ALL.into_iter().find(|it| it.name() == value);
                self.format = found.ok_or_else(|| {
                    format!("'{value}' is none of alertmanager, webhook4 and slack")
                })?;
            }
            "secret-file" => self.secret_file = Some(file()?),
            "auth-file" => self.auth_file = Some(file()?),
            "ca-file" => self.ca_file = Some(file()?),
            "timeout" => {
                let millis = parse_duration(value).filter(|it| (1..=TIMEOUT_MS_MAX).contains(it));
                self.timeout_ms =
                    millis.ok_or_else(|| "'timeout' needs a time of up to a minute".to_owned())?;
            }
            "severity" => self.severity = Severity::parse(value)?,
            "resolved" => {
                self.sends_resolved = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err("'resolved' needs yes or no".to_owned()),
                };
            }
            _ => return Err(format!("'{name}' is no option of a webhook")),
        }
        Ok(())
    }

    /// The words that [`Self::parse`] makes the same of.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![self.url.clone(), format!("format={}", self.format.name())];
        let files = [
            ("secret-file", &self.secret_file),
            ("auth-file", &self.auth_file),
            ("ca-file", &self.ca_file),
        ];
        for (name, file) in files {
            words.extend(file.as_ref().map(|it| format!("{name}={}", it.display())));
        }
        if self.timeout_ms != TIMEOUT_MS {
            words.push(format!("timeout={}", format_duration(self.timeout_ms)));
        }
        if self.severity != Severity::Info {
            words.push(format!("severity={}", self.severity.name()));
        }
        if !self.sends_resolved {
            words.push("resolved=no".to_owned());
        }
        words
    }

    /// Where messages go: an Alertmanager has one place for them.
    pub fn target(&self) -> String {
        const PLACE: &str = "/api/v2/alerts";
        if self.format == Format::Alertmanager && !self.url.ends_with(PLACE) {
            return format!("{}{PLACE}", self.url.trim_end_matches('/'));
        }
        self.url.clone()
    }

    /// What logs may show of it: paths and names in a URL are often secrets.
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}")
    }
}

/// The library that sends looks closely; here is refused what would surprise.
fn check_url(url: &str) -> Result<(), String> {
    if !Webhook::is_url(url) {
        return Err(format!("'{url}' is no URL that begins with http:// or https://"));
    }
    let host = url.split_once("://").map_or("", |it| it.1).split(['/', '?', '#']).next();
    let host = host.unwrap_or_default();
    if host.is_empty() {
        return Err(format!("'{url}' names no host"));
    }
    if host.contains('@') {
        return Err("a URL has no name and password here: use 'auth-file'".to_owned());
    }
    if URL_BYTES_MAX < url.len() || !url.bytes().all(|it| it.is_ascii_graphic()) {
        return Err("a URL has up to 2048 characters of ASCII, without blanks".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Webhook;

    fn parse(text: &str) -> Result<Webhook, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        Webhook::parse(&words)
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (text, expected) in [
            ("http://a", "http://a format=webhook4"),
            (
                "https://a:1/b?c=d format=slack secret-file=/s auth-file=/a ca-file=/c timeout=3 severity=critical resolved=no",
                "https://a:1/b?c=d format=slack secret-file=/s auth-file=/a ca-file=/c timeout=3s severity=critical resolved=no",
            ),
        ] {
            let webhook = parse(text).unwrap();
            assert_eq!(webhook.words().join(" "), expected);
            assert_eq!(parse(expected), Ok(webhook));
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in [
            "",
            "ftp://a",
            "http://",
            "http:///x",
            "http://u:p@a/",
            "http://ä/",
            "http://a format",
            "http://a format=x",
            "http://a format=slack format=slack",
            "http://a timeout=0",
            "http://a timeout=2m",
            "http://a severity=x",
            "http://a resolved=x",
            "http://a secret-file=",
            "http://a ca-file=/x",
            "http://a speed=1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_alertmanager_has_one_place() {
        let target = |text| parse(text).unwrap().target();
        assert_eq!(target("http://a:9093 format=alertmanager"), "http://a:9093/api/v2/alerts");
        assert_eq!(target("http://a/p/ format=alertmanager"), "http://a/p/api/v2/alerts");
        let whole = "http://a/api/v2/alerts format=alertmanager";
        assert_eq!(target(whole), "http://a/api/v2/alerts");
        assert_eq!(target("http://a/x format=slack"), "http://a/x");
        assert_eq!(parse("https://h.example/T0/secret").unwrap().shown(), "https://h.example");
    }
}
