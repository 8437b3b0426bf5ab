//! Conditions on texts that their type does not carry. Each gives the text of the refusal.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::template::expand_template;

type Check = Result<(), &'static str>;

fn expect(holds: bool, otherwise: &'static str) -> Check {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn is_base_name(name: &str) -> bool {
    !name.contains(['/', '\\'])
}

/// Whether a text can stand in the cluster's state file without being taken for its syntax.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| b',' < byte && byte != 0x7f && !b";<=>?@[]^{|}~\\".contains(&byte))
}

pub(super) fn not_empty_cluster_config_file(text: &str) -> Check {
    expect(!text.is_empty(), "cluster-config-file can't be empty")
}

pub(super) fn dbfilename(text: &str) -> Check {
    expect(!text.is_empty(), "dbfilename can't be empty")?;
    expect(is_base_name(text), "dbfilename can't be a path, just a filename")
}

pub(super) fn history_file(text: &str) -> Check {
    expect(!text.is_empty(), "history-file can't be empty")?;
    expect(is_base_name(text), "history-file can't be a path, just a filename")
}

pub(super) fn appendfilename(text: &str) -> Check {
    expect(!text.is_empty(), "appendfilename can't be empty")?;
    expect(is_base_name(text), "appendfilename can't be a path, just a filename")
}

pub(super) fn appenddirname(text: &str) -> Check {
    expect(!text.is_empty(), "appenddirname can't be empty")?;
    expect(is_base_name(text), "appenddirname can't be a path, just a dirname")
}

pub(super) fn backupdirname(text: &str) -> Check {
    expect(!text.is_empty(), "backupdirname can't be empty")?;
    expect(is_base_name(text), "backupdirname can't be a path, just a dirname")
}

pub(super) fn announced_ip(text: &str) -> Check {
    expect(text.len() < 46, "cluster-announce-ip is too long")?;
    expect(is_plain(text), "cluster-announce-ip contains invalid character")
}

pub(super) fn nodename(text: &str) -> Check {
    expect(is_plain(text), "Announced human node name contained invalid character")
}

/// Real servers take any text, and then cannot read the file that they have written it into.
pub(super) fn availability_zone(text: &str) -> Check {
    expect(is_plain(text), "availability-zone contains invalid character")
}

pub(super) fn hostname(text: &str) -> Check {
    expect(text.len() < 256, "Hostnames must be less than 256 characters")?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    expect(
        text.bytes().all(is_allowed),
        "Hostnames may only contain alphanumeric characters, hyphens or dots",
    )
}

pub(super) fn ipv4(text: &str) -> Check {
    expect(text.is_empty() || text.parse::<Ipv4Addr>().is_ok(), "Invalid IPv4 address")
}

pub(super) fn ipv6(text: &str) -> Check {
    expect(text.is_empty() || text.parse::<Ipv6Addr>().is_ok(), "Invalid IPv6 address")
}

pub(super) fn hash_seed(text: &str) -> Check {
    expect(text.len() <= 256, "hash-seed must be less than or equal to 256 characters")
}

pub(super) fn congestion(text: &str) -> Check {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    expect(
        text.len() < 16 && text.bytes().all(is_allowed),
        "tcp-congestion must be the name of an algorithm, shorter than 16 characters",
    )
}

/// Every `{..}` must be a known variable, and something must be left when they are filled in.
pub(super) fn proc_title_template(text: &str) -> Check {
    const VARIABLES: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    let value_of = |name: &str| VARIABLES.contains(&name).then_some("value".into());
    let is_valid = expand_template(text, value_of).is_some_and(|it| !it.is_empty());
    expect(is_valid, "template format is invalid or contains unknown variables")
}
