//! Asks the owner of slots to begin a migration, as any client could. Waits, but not for long, so that it needs a thread of its
//! own.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use rubine_cluster::migration::Answer;
use rubine_net::link::{Deadline, Greeting, Link, Way};
use rubine_resp::decode::Value;

use super::export::source_address;
use crate::server::Server;

/// How long all of it may take.
const ASK_MS_MAX: u64 = 10_000;
/// No reply is longer.
const REPLY_BYTES_MAX: usize = 16 * 1024;

/// Has a node carry out a command, and tells in words what is in the way.
pub(super) fn ask(server: &Server, address: SocketAddr, command: &[Vec<u8>]) -> Answer {
    let deadline = Deadline::after_ms(ASK_MS_MAX);
    let mut link = match reach(server, address, deadline) {
        Ok(link) => link,
        Err(reason) => return Answer::Refused(reason),
    };
    let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    link.send(&words).expect("nothing else waits to be sent");
    match reply(&mut link, deadline) {
        Ok(None) => Answer::Agreed,
        Ok(Some(refusal)) => Answer::Refused(format!("Received error from source node: {refusal}")),
        Err(error) => Answer::Unknown(format!("Connection lost to source: {error}")),
    }
}

/// A connection to a node that knows who we are.
fn reach(server: &Server, address: SocketAddr, deadline: Deadline) -> Result<Link, String> {
    let mut link = connect(server, address, deadline)
        .map_err(|error| format!("Unable to connect to source node: {error}"))?;
    match greet(server, &mut link, deadline) {
        Ok(None) => Ok(link),
        Ok(Some(refusal)) => Err(format!("Failed to AUTH to source node: {refusal}")),
        Err(error) => Err(format!("Connection lost to source: {error}")),
    }
}

fn connect(server: &Server, address: SocketAddr, deadline: Deadline) -> io::Result<Link> {
    let way = Way { source: source_address(server)?, is_multipath: false };
    let mut link = Link::connect_by(address, way, server.tls_to_master())?;
    link.by(deadline, |link| Ok(link.open()?.then_some(())))?;
    Ok(link)
}

/// Says who we are, if a password is set. Returns what the node has against it.
fn greet(server: &Server, link: &mut Link, deadline: Deadline) -> io::Result<Option<String>> {
    let config = server.config.load();
    let user = config.primaryuser.as_deref().filter(|it| !it.is_empty());
    let password = config.primaryauth.as_deref().filter(|it| !it.is_empty());
    let greeting = Greeting { user, password, protocol: None };
    let count = link.greet(&greeting).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
    for _ in 0..count {
        if let Some(refusal) = reply(link, deadline)? {
            return Ok(Some(refusal));
        }
    }
    Ok(None)
}

/// Sends what was written, and waits for the next reply. Returns its text if it is an error.
fn reply(link: &mut Link, deadline: Deadline) -> io::Result<Option<String>> {
    link.by(deadline, |link| Ok(link.flush()?.then_some(())))?;
    let reply = link.by(deadline, |link| {
        if let Some(reply) = link.take_reply(REPLY_BYTES_MAX)? {
            return Ok(Some(reply));
        }
        link.receive()?;
        link.take_reply(REPLY_BYTES_MAX)
    })?;
    Ok(match reply {
        Value::Error(text) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => None,
    })
}
