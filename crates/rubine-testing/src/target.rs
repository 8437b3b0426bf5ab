//! What a transcript runs against: a server in this process, or one behind a socket. Knows nothing of transcripts.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{Client, Received};
use crate::value::Value;

/// A connection of a target, numbered by the target itself.
pub type ClientIndex = usize;

/// A server that requests can be sent to, one connection at a time.
pub trait Target {
    /// Who answers, which decides what vocabulary it speaks.
    fn identity(&self) -> &Identity;

    /// Opens a connection.
    fn connect(&mut self) -> io::Result<ClientIndex>;

    /// Sends one request and does not wait.
    fn send(&mut self, client: ClientIndex, args: &[Vec<u8>]) -> io::Result<()>;

    /// The next reply or push of a connection; waits for it no longer than `timeout`.
    fn receive(&mut self, client: ClientIndex, timeout: Duration) -> io::Result<Received>;

    /// Lets time pass for the server: by a fake clock, or by waiting.
    fn advance(&mut self, time: Duration) -> io::Result<()>;

    /// Changes a directive until the next `reset`.
    fn configure(&mut self, name: &str, value: &str) -> io::Result<()>;

    /// Back to how the server started: empty, configured as it was, every connection closed.
    fn reset(&mut self) -> io::Result<()>;
}

/// A server's name and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// In lower case: `rubine`, `valkey` or `redis`.
    pub name: String,
    pub version: Version,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version([major, minor, patch]) = self.version;
        write!(formatter, "{} {major}.{minor}.{patch}", self.name)
    }
}

/// A version in three numbers; those that are not written are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl Version {
    /// Reads `9`, `9.1` or `9.1.2`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = [0; 3];
        for (idx, part) in text.split('.').enumerate() {
            *numbers.get_mut(idx)? = part.parse().ok()?;
        }
        Some(Self(numbers))
    }
}

/// A server behind a TCP socket.
pub struct TcpTarget {
    address: SocketAddr,
    identity: Identity,
    control: Client,
    clients: Vec<Client>,
    /// What `configure` replaced, oldest first.
    replaced: Vec<(String, Vec<u8>)>,
}

impl TcpTarget {
    /// Connects to a server and asks who it is.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut control = Client::connect(address)?;
        let info = control.call(&["INFO", "server"])?;
        let identity = info
            .as_text()
            .and_then(|info| identity_of(&info))
            .ok_or_else(|| io::Error::other(format!("INFO does not say who it is: {info:?}")))?;
        Ok(Self { address, identity, control, clients: Vec::new(), replaced: Vec::new() })
    }

    fn set(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        match self.control.call(&[b"CONFIG".as_slice(), b"SET", name.as_bytes(), value])? {
            Value::Error(text) => Err(io::Error::other(format!("CONFIG SET {name}: {text}"))),
            _ => Ok(()),
        }
    }
}

impl Target for TcpTarget {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn connect(&mut self) -> io::Result<ClientIndex> {
        self.clients.push(Client::connect(self.address)?);
        Ok(self.clients.len() - 1)
    }

    fn send(&mut self, client: ClientIndex, args: &[Vec<u8>]) -> io::Result<()> {
        self.clients[client].send(args)
    }

    fn receive(&mut self, client: ClientIndex, timeout: Duration) -> io::Result<Received> {
        self.clients[client].receive(timeout)
    }

    fn advance(&mut self, time: Duration) -> io::Result<()> {
        std::thread::sleep(time);
        Ok(())
    }

    fn configure(&mut self, name: &str, value: &str) -> io::Result<()> {
        let reply = self.control.call(&["CONFIG", "GET", name])?;
        let old = match reply.as_elements() {
            Some([_, old]) => old.as_bytes().unwrap_or_default().to_vec(),
            _ => return Err(io::Error::other(format!("CONFIG GET {name}: {reply:?}"))),
        };
        self.set(name, value.as_bytes())?;
        self.replaced.push((name.to_owned(), old));
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        self.clients.clear();
        while let Some((name, value)) = self.replaced.pop() {
            self.set(&name, &value)?;
        }
        match self.control.call(&["FLUSHALL"])? {
            Value::Error(text) => return Err(io::Error::other(format!("FLUSHALL: {text}"))),
            _ => self.control.call(&["SCRIPT", "FLUSH"])?,
        };
        // Neither exists in every server that transcripts run against; one that has no scripts needs no flushing.
        self.control.call(&["FUNCTION", "FLUSH"])?;
        Ok(())
    }
}

fn identity_of(info: &str) -> Option<Identity> {
    ["rubine", "valkey", "redis"].into_iter().find_map(|name| {
        let version = info.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix("_version:")
                .and_then(|text| Version::parse(text.trim()))
        })?;
        Some(Identity { name: name.to_owned(), version })
    })
}

#[cfg(test)]
mod tests {
    use super::{Version, identity_of};

    #[test]
    fn the_most_particular_name_wins() {
        let name = |info| identity_of(info).map(|identity| identity.to_string());
        assert_eq!(name("redis_version:7.0.15\r\n").as_deref(), Some("redis 7.0.15"));
        let valkey = "# Server\r\nredis_version:7.2.4\r\nvalkey_version:9.1.2\r\n";
        assert_eq!(name(valkey).as_deref(), Some("valkey 9.1.2"));
        assert_eq!(name("role:master"), None);
        assert!(Version::parse("8.4") < Version::parse("8.10"));
    }
}
