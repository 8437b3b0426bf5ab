//! A connection to another server, as its client: RESTORE for each key of a shipment. Bounds every wait, believes no
//! length, keeps nothing that the target says but its errors.

use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs;
use std::sync::Arc;

use rubine_base::clock::unix_millis;
use rubine_commands::{CommandError, Parcel, Shipment, Target};
use rubine_net::link::{Deadline, Greeting, Link};
use rubine_net::tls::ClientConfig;
use rubine_rdb::Version;
use rubine_rdb::dump;
use rubine_resp::decode::Value;

/// Bytes for which one timeout is given.
const CHUNK_BYTES: usize = 64 * 1024;
/// No reply that we ask for is longer.
const REPLY_BYTES_MAX: usize = 1024;
/// What a server says to a payload of a version that it does not read.
const WRONG_VERSION: &[u8] = b"DUMP payload version or checksum are wrong";
/// Why a command is always taken.
const ROOM: &str = "what was written is sent before more is than fits";

/// A connection.
pub(super) struct Connection {
    link: Link,
    is_greeted: bool,
    /// The database that is selected.
    db: Option<i64>,
    /// Versions of payloads that the target does not read.
    refused: Vec<Version>,
    has_answered: bool,
}

/// The connection failed.
pub(super) struct Broken {
    pub(super) error: CommandError,
    /// Nothing was heard, and that before the time was over: the other side may have closed it long ago.
    pub(super) may_be_stale: bool,
}

/// What was sent for a key.
struct Sent {
    /// Which of the parcels.
    index: usize,
    /// In which version, and whether it can be sent in another one.
    version: Option<Version>,
    has_others: bool,
}

impl Connection {
    /// Connects, and speaks TLS if a configuration for that is given.
    pub(super) fn open(
        target: &Target,
        timeout_ms: u64,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let invalid = || io::Error::from(ErrorKind::InvalidInput);
        let host = std::str::from_utf8(&target.host).map_err(|_| invalid())?;
        let port = std::str::from_utf8(&target.port).ok().and_then(|it| it.parse().ok());
        let mut last = io::Error::from(ErrorKind::NotFound);
        // What is no number is 0, where nobody listens.
        for address in (host, port.unwrap_or(0)).to_socket_addrs()? {
            let deadline = Deadline::after_ms(timeout_ms);
            let opened = Link::connect(address, tls.cloned()).and_then(|mut link| {
                link.by(deadline, |link| Ok(link.open()?.then_some(())))?;
                Ok(link)
            });
            match opened {
                Ok(link) => {
                    return Ok(Self {
                        link,
                        is_greeted: false,
                        db: None,
                        refused: Vec::new(),
                        has_answered: false,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether the other side keeps it open, as far as one can know. Nobody asked for anything, so there must be nothing
    /// to read, not even the end.
    pub(super) fn is_alive(&mut self) -> bool {
        self.link.is_at_rest()
    }

    /// Whether it may carry another shipment.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_greeted && self.link.input().is_empty() && self.link.unsent() == 0
    }

    /// Sends all parcels and takes in the replies.
    pub(super) fn deliver(&mut self, shipment: &mut Shipment) -> Result<(), Broken> {
        self.has_answered = false;
        let timeout_ms = shipment.timeout_ms;
        if let Some(refusal) = self.greet(shipment)? {
            shipment.refuse(refusal);
            return Ok(());
        }
        let mut indexes: Vec<usize> = (0..shipment.parcels.len()).collect();
        while !indexes.is_empty() {
            let mut sent = Vec::new();
            for index in indexes.drain(..) {
                match self.write_parcel(shipment, index) {
                    Ok(written) => sent.extend(written),
                    Err(error) => shipment.refuse(error),
                }
                if CHUNK_BYTES <= self.link.unsent() {
                    self.flush(timeout_ms)?;
                }
            }
            self.flush(timeout_ms)?;
            for Sent { index, version, has_others } in sent {
                let Err(error) = self.reply(timeout_ms)? else {
                    shipment.parcels[index].is_acknowledged = true;
                    continue;
                };
                let is_of_version = find(error.as_bytes(), WRONG_VERSION);
                if let Some(version) = version.filter(|_| is_of_version) {
                    if !self.refused.contains(&version) {
                        self.refused.push(version);
                    }
                    if has_others {
                        indexes.push(index);
                        continue;
                    }
                }
                shipment.refuse(CommandError::TargetRefused(error));
            }
        }
        Ok(())
    }

    /// Says who we are and which database is meant, if need be, and waits for the replies: if it is not that one, keys
    /// would go to another. Returns what the target has against it.
    fn greet(&mut self, shipment: &Shipment) -> Result<Option<CommandError>, Broken> {
        // Each time, as in Redis: the password may be another one by now.
        let Target { user, password, .. } = &shipment.target;
        let (user, password) = (user.as_deref(), password.as_deref());
        let mut count = self.link.greet(&Greeting { user, password, protocol: None }).expect(ROOM);
        if self.db != Some(shipment.db) {
            self.write(&[b"SELECT", shipment.db.to_string().as_bytes()]);
            count += 1;
        }
        self.flush(shipment.timeout_ms)?;
        let mut refusal = None;
        for _ in 0..count {
            if let Err(error) = self.reply(shipment.timeout_ms)? {
                refusal.get_or_insert(CommandError::TargetRefused(error));
            }
        }
        self.is_greeted = refusal.is_none();
        self.db = self.is_greeted.then_some(shipment.db);
        Ok(refusal)
    }

    /// Writes the command for a key; `None` if there is nothing to be said of it.
    fn write_parcel(
        &mut self,
        shipment: &Shipment,
        index: usize,
    ) -> Result<Option<Sent>, CommandError> {
        let Parcel { key, value, deadline, is_there, .. } = &shipment.parcels[index];
        let left = deadline.map(|deadline| deadline - unix_millis());
        let Some(value) = value.as_ref().filter(|_| left.is_none_or(|left| 0 <= left)) else {
            // In a cluster it cannot be told so, and is due there by itself.
            if !is_there || shipment.asks {
                return Ok(None);
            }
            self.write(&[b"DEL", key]);
            return Ok(Some(Sent { index, version: None, has_others: false }));
        };
        let value = value.as_ref();
        let known = match &shipment.version {
            Some(version) => std::slice::from_ref(version),
            None => Version::holding(value),
        };
        let mut readable = known.iter().filter(|it| !self.refused.contains(it));
        let version = *readable.next().unwrap_or(&known[known.len() - 1]);
        let has_others = readable.next().is_some();
        let payload = dump::encode(value, version)
            .map_err(|error| CommandError::Other(format!("ERR {error}").into()))?;
        // 0 stands for no deadline.
        let ttl = left.map_or(0, |left| left.max(1)).to_string();
        let ttl = ttl.as_bytes();
        let restore: &[u8] = if shipment.asks { b"RESTORE-ASKING" } else { b"RESTORE" };
        if shipment.replaces || *is_there {
            self.write(&[restore, key, ttl, &payload, b"REPLACE"]);
        } else {
            self.write(&[restore, key, ttl, &payload]);
        }
        Ok(Some(Sent { index, version: Some(version), has_others }))
    }

    fn write(&mut self, command: &[&[u8]]) {
        self.link.send(command).expect(ROOM);
    }

    /// Sends what was written.
    fn flush(&mut self, timeout_ms: u64) -> Result<(), Broken> {
        while 0 < self.link.unsent() {
            let left = self.link.unsent().saturating_sub(CHUNK_BYTES);
            let is_sent = |link: &mut Link| {
                link.flush()?;
                Ok((link.unsent() <= left).then_some(()))
            };
            self.link
                .by(Deadline::after_ms(timeout_ms), is_sent)
                .map_err(|error| self.broken(&error, CommandError::TargetNotWritten))?;
        }
        Ok(())
    }

    /// The next reply: whether it is an error, and which.
    fn reply(&mut self, timeout_ms: u64) -> Result<Result<(), String>, Broken> {
        let next = |link: &mut Link| {
            if let Some(reply) = link.take_reply(REPLY_BYTES_MAX)? {
                return Ok(Some(reply));
            }
            link.receive()?;
            link.take_reply(REPLY_BYTES_MAX)
        };
        let reply = self
            .link
            .by(Deadline::after_ms(timeout_ms), next)
            .map_err(|error| self.broken(&error, CommandError::TargetNotRead))?;
        self.has_answered = true;
        Ok(match reply {
            Value::Error(text) => Err(String::from_utf8_lossy(&text).into_owned()),
            _ => Ok(()),
        })
    }

    fn broken(&self, cause: &io::Error, error: CommandError) -> Broken {
        let is_timeout = matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        Broken { error, may_be_stale: !is_timeout && !self.has_answered }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|it| it == wanted)
}
