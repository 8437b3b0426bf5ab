//! What texts of others may look like: they come to stand in files, in packets and in replies, so nothing that separates
//! words there is taken.

use std::fmt;
use std::net::IpAddr;

/// The longest address that a packet has room for.
pub const HOST_SIZE_MAX: usize = 45;
/// The longest host name that nodes announce.
pub const HOST_NAME_SIZE_MAX: usize = 255;

/// Where a node is: an address, or a name that stands for one, which `cluster-announce-ip` may be too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Ip(IpAddr),
    /// Invariant: [`is_label`], and at most [`HOST_SIZE_MAX`] bytes.
    Name(Box<str>),
}

impl Host {
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(ip) = text.parse() {
            return Some(Self::Ip(ip));
        }
        let may_be = !text.is_empty() && text.len() <= HOST_SIZE_MAX && is_label(text);
        may_be.then(|| Self::Name(text.into()))
    }

    /// The address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Whether it may be the human name of a node, its availability zone, or an address that it announces.
pub fn is_label(text: &str) -> bool {
    text.bytes().all(|it| b',' < it && it != 0x7f && !b";<=>?@[]^{|}~\\".contains(&it))
}

/// Whether a node may announce it as its host name. The empty one means none.
pub fn is_host_name(text: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'.';
    text.len() <= HOST_NAME_SIZE_MAX && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for text in ["10.0.0.1", "fe80::1", "cache-1.example", "a_b"] {
            assert_eq!(Host::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
        assert!(matches!(Host::parse("127.0.0.1"), Some(Host::Ip(_))));
        for text in ["", "a b", "a,b", "a@b", "a\nb", "a\0", &"a".repeat(46)] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn names_hold_nothing_that_separates_words() {
        assert!(is_label("eu-west-1a") && is_label("") && is_label("küche/1:2"));
        assert!(is_host_name("Node-1.example.com") && is_host_name(""));
        for text in ["a b", "a=b", "a\tb", "a,b", "a\"b", "a\\b", "a\u{7f}"] {
            assert!(!is_label(text) && !is_host_name(text), "{text:?}");
        }
        assert!(!is_host_name("a_b") && !is_host_name(&"a".repeat(256)));
    }
}
