//! A connection to another server, as its client: RESTORE for each key of a shipment. Bounds every wait, believes no
//! length, keeps nothing that the target says but its errors.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rubine_base::clock::{monotonic_nanos, unix_millis};
use rubine_commands::{CommandError, Parcel, Shipment, Target};
use rubine_rdb::Version;
use rubine_rdb::dump;
use rubine_resp::command::{INTO_MEMORY, write_command};

/// Bytes for which one timeout is given.
const CHUNK_BYTES: usize = 64 * 1024;
/// No reply that we ask for is longer.
const LINE_BYTES_MAX: usize = 1024;
/// What a server says to a payload of a version that it does not read.
const WRONG_VERSION: &[u8] = b"DUMP payload version or checksum are wrong";

/// A connection.
pub(super) struct Connection {
    stream: TcpStream,
    is_greeted: bool,
    /// The database that is selected.
    db: Option<i64>,
    /// Versions of payloads that the target does not read.
    refused: Vec<Version>,
    /// What was received and not looked at.
    input: Vec<u8>,
    /// What was written and not sent.
    output: Vec<u8>,
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
    pub(super) fn open(target: &Target, timeout_ms: u64) -> io::Result<Self> {
        let invalid = || io::Error::from(ErrorKind::InvalidInput);
        let host = std::str::from_utf8(&target.host).map_err(|_| invalid())?;
        let port = std::str::from_utf8(&target.port).ok().and_then(|it| it.parse().ok());
        let timeout = Duration::from_millis(timeout_ms);
        let mut last = io::Error::from(ErrorKind::NotFound);
        // What is no number is 0, where nobody listens.
        for address in (host, port.unwrap_or(0)).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Self {
                        stream,
                        is_greeted: false,
                        db: None,
                        refused: Vec::new(),
                        input: Vec::new(),
                        output: Vec::new(),
                        has_answered: false,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether the other side keeps it open, as far as one can know.
    pub(super) fn is_alive(&self) -> bool {
        let look = || {
            self.stream.set_nonblocking(true)?;
            let looked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            looked
        };
        // Nobody asked for anything, so there must be nothing to read, not even the end.
        look().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Whether it may carry another shipment.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_greeted && self.input.is_empty() && self.output.is_empty()
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
                if CHUNK_BYTES <= self.output.len() {
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
        let mut count = 0;
        // Each time, as in Redis: the password may be another one by now.
        if let Target { user, password: Some(password), .. } = &shipment.target {
            let mut command: Vec<&[u8]> = vec![b"AUTH"];
            command.extend(user.as_deref());
            command.push(password);
            self.write(&command);
            count += 1;
        }
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
            if !is_there {
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
        if shipment.replaces || *is_there {
            self.write(&[b"RESTORE", key, ttl, &payload, b"REPLACE"]);
        } else {
            self.write(&[b"RESTORE", key, ttl, &payload]);
        }
        Ok(Some(Sent { index, version: Some(version), has_others }))
    }

    fn write(&mut self, command: &[&[u8]]) {
        write_command(command, &mut self.output).expect(INTO_MEMORY);
    }

    /// Sends what was written.
    fn flush(&mut self, timeout_ms: u64) -> Result<(), Broken> {
        let output = std::mem::take(&mut self.output);
        for chunk in output.chunks(CHUNK_BYTES) {
            let deadline = Deadline::after(timeout_ms);
            self.send(chunk, &deadline)
                .map_err(|error| self.broken(&error, CommandError::TargetNotWritten))?;
        }
        Ok(())
    }

    fn send(&mut self, mut bytes: &[u8], deadline: &Deadline) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(deadline.left()?))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next reply: whether it is an error, and which.
    fn reply(&mut self, timeout_ms: u64) -> Result<Result<(), String>, Broken> {
        let deadline = Deadline::after(timeout_ms);
        let line = self
            .line(&deadline)
            .map_err(|error| self.broken(&error, CommandError::TargetNotRead))?;
        self.has_answered = true;
        Ok(match line.strip_prefix(b"-") {
            Some(error) => Err(String::from_utf8_lossy(error).into_owned()),
            None => Ok(()),
        })
    }

    fn line(&mut self, deadline: &Deadline) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.input.iter().position(|it| *it == b'\n') {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.truncate(line.trim_ascii_end().len());
                return Ok(line);
            }
            if LINE_BYTES_MAX < self.input.len() {
                return Err(ErrorKind::InvalidData.into());
            }
            self.stream.set_read_timeout(Some(deadline.left()?))?;
            let mut room = [0; LINE_BYTES_MAX];
            match self.stream.read(&mut room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn broken(&self, cause: &io::Error, error: CommandError) -> Broken {
        let is_timeout = matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        Broken { error, may_be_stale: !is_timeout && !self.has_answered }
    }
}

/// Until when something has to be done.
struct Deadline {
    at_nanos: u64,
}

impl Deadline {
    fn after(timeout_ms: u64) -> Self {
        const NANOS_PER_MS: u64 = 1_000_000;
        let timeout_nanos = timeout_ms.saturating_mul(NANOS_PER_MS);
        Self { at_nanos: monotonic_nanos().saturating_add(timeout_nanos) }
    }

    /// What is left; an error if that is nothing, which sockets would take for no timeout at all.
    fn left(&self) -> io::Result<Duration> {
        match self.at_nanos.saturating_sub(monotonic_nanos()) {
            0 => Err(ErrorKind::TimedOut.into()),
            nanos => Ok(Duration::from_nanos(nanos)),
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|it| it == wanted)
}
