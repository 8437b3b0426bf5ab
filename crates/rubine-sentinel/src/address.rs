//! Where instances are: host names, addresses, and what is known of the one by the other. Resolves nothing itself: it says
//! which names it would like to know.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rubine_base::clock::Millis;

/// More names than these are not kept: some of them come from strangers.
const NAMES_MAX: usize = 4096;
/// As long as a host name can be.
const HOST_LEN_MAX: usize = 255;
/// A name is not asked for again before this time has passed.
const ASK_PERIOD_MS: Millis = 1000;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an address, as it was given.
    pub(crate) host: String,
    /// None until the name is resolved.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: u16,
}

impl Address {
    /// Whether both are one place, by address or by name.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_same_ip = self.ip.is_some() && self.ip == other.ip;
        self.port == other.port && (is_same_ip || self.host.eq_ignore_ascii_case(&other.host))
    }

    /// The address as text; empty while it is not known.
    pub(crate) fn ip_text(&self) -> String {
        self.ip.map(|it| it.to_string()).unwrap_or_default()
    }
}

/// What is known of host names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// `resolve-hostnames`: names are taken at all.
    pub(crate) resolves: bool,
    /// `announce-hostnames`: instances are shown by name.
    pub(crate) announces: bool,
    known: BTreeMap<String, Known>,
    /// Invariant: names only, each once.
    wanted: Vec<String>,
}

#[derive(Debug, Default)]
struct Known {
    ip: Option<IpAddr>,
    asked_at: Option<Millis>,
}

impl Names {
    /// The address of `host`, which may not be resolved yet. `None` if it is no address, and names are not taken.
    pub(crate) fn address(&mut self, host: &str, port: u16, now: Millis) -> Option<Address> {
        let ip = self.ip_of(host, now);
        let is_taken = ip.is_some() || (self.resolves && is_host(host));
        is_taken.then(|| Address { host: host.to_owned(), ip, port })
    }

    /// The IP address of `host`, if it is one or is known.
    pub(crate) fn ip_of(&mut self, host: &str, now: Millis) -> Option<IpAddr> {
        if let Ok(ip) = host.parse() {
            return Some(ip);
        }
        if !self.resolves || !is_host(host) {
            return None;
        }
        if let Some(Known { ip: Some(ip), .. }) = self.known.get(host) {
            return Some(*ip);
        }
        self.ask(host, now);
        None
    }

    /// Has a name looked up once more, unless that was done just before.
    pub(crate) fn ask(&mut self, host: &str, now: Millis) {
        if !self.resolves || !is_host(host) || host.parse::<IpAddr>().is_ok() {
            return;
        }
        if NAMES_MAX <= self.known.len() && !self.known.contains_key(host) {
            self.known.clear();
        }
        let known = self.known.entry(host.to_owned()).or_default();
        if known.asked_at.is_none_or(|it| !(0..ASK_PERIOD_MS).contains(&(now - it))) {
            known.asked_at = Some(now);
            self.wanted.push(host.to_owned());
        }
    }

    /// Takes over what a name stands for; what does not resolve any more stays as it was.
    pub(crate) fn learn(&mut self, host: &str, ip: Option<IpAddr>) {
        if NAMES_MAX <= self.known.len() && !self.known.contains_key(host) {
            self.known.clear();
        }
        let known = self.known.entry(host.to_owned()).or_default();
        known.ip = ip.or(known.ip);
    }

    /// The names that should be looked up.
    pub(crate) fn take_wanted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wanted)
    }

    /// Whether `host` means the place at `address`.
    pub(crate) fn means(&mut self, address: &Address, host: &str, now: Millis) -> bool {
        match self.ip_of(host, now) {
            Some(ip) => address.ip == Some(ip),
            // The best that can be done while the name is not known.
            None if self.resolves => address.host.eq_ignore_ascii_case(host),
            None => address.ip_text().eq_ignore_ascii_case(host),
        }
    }

    /// How a place is shown to others; empty where the address is to be shown and not known.
    pub(crate) fn shown(&self, address: &Address) -> String {
        if self.announces { address.host.clone() } else { address.ip_text() }
    }

    /// The same for the configuration file, which needs something that can be read again.
    pub(crate) fn kept(&self, address: &Address) -> String {
        if address.ip.is_some() { self.shown(address) } else { address.host.clone() }
    }

    /// The same with its port, as replicas are named.
    pub(crate) fn shown_with_port(&self, address: &Address) -> String {
        let host = self.shown(address);
        let port = address.port;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// Whether it can be a host at all. What others say goes into the configuration file, so it must be a word.
pub(crate) fn is_host(host: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    !host.is_empty() && host.len() <= HOST_LEN_MAX && host.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_only_where_they_are_resolved() {
        let mut names = Names::default();
        assert!(names.address("db.example", 1, 0).is_none());
        assert!(names.address("::1", 1, 0).is_some());
        names.resolves = true;
        let address = names.address("db.example", 1, 0).unwrap();
        assert_eq!((address.ip, names.take_wanted()), (None, vec!["db.example".to_owned()]));
        names.ask("db.example", 10);
        assert!(names.take_wanted().is_empty(), "it was asked for just before");
        names.learn("db.example", "10.0.0.1".parse().ok());
        names.learn("db.example", None);
        let resolved = names.address("db.example", 1, 20).unwrap();
        assert!(resolved.is_same(&address));
        assert!(names.means(&resolved, "10.0.0.1", 20));
        assert_eq!(names.shown_with_port(&resolved), "10.0.0.1:1");
        names.announces = true;
        assert_eq!(names.shown_with_port(&resolved), "db.example:1");
        assert!(names.address("a b", 1, 0).is_none() && names.address("x\ny", 1, 0).is_none());
    }
}
