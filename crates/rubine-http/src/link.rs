//! A client's connection to the server, from the client's side: a request goes, its reply comes. The server takes it for
//! any other client; whoever is logged in on it may do what its user may.

use std::io;
use std::time::Duration;

use rubine_resp::command::{INTO_MEMORY, write_command};
use rubine_resp::decode::{Value, decode};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::credentials::Credentials;
use crate::host::{Host, Peer};

/// A reply may take so long. Whoever asks for something that takes longer is told so, and the connection is closed.
const REPLY_TIME: Duration = Duration::from_secs(10);
/// A longer reply is not taken.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// Room for what is read at once, and for what is read before it is looked at.
const READ_BYTES: usize = 16 << 10;
const RECEIVED_BYTES_MAX: usize = 2 << 20;
/// Memory that a connection keeps between two replies.
const INPUT_BYTES_KEPT: usize = 64 << 10;

/// A connection that is there.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    input: Vec<u8>,
    /// Something was not read to its end: what comes next cannot be told from it.
    is_broken: bool,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// There is no connection, or none any more.
    Closed(String),
    /// The reply did not come in time, or was too long.
    TooMuch(&'static str),
    /// The server, or the console, does not do it.
    Refused(String),
}

impl LinkError {
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Closed(words) | Self::Refused(words) => words,
            Self::TooMuch(words) => words,
        }
    }
}

impl Link {
    /// Connects as a client that comes from `peer`.
    pub(crate) fn open(host: &'static dyn Host, peer: Peer) -> Result<Self, LinkError> {
        let lost = |error: io::Error| LinkError::Closed(error.to_string());
        let stream = host.connect(peer).map_err(LinkError::Closed)?;
        stream.set_nonblocking(true).map_err(lost)?;
        let stream = UnixStream::from_std(stream).map_err(lost)?;
        Ok(Self { stream, input: Vec::new(), is_broken: false })
    }

    /// Logs in. Returns whether the server knows such a user with that password.
    pub(crate) async fn log_in(&mut self, credentials: &Credentials) -> Result<bool, LinkError> {
        let reply = self.run(&[b"AUTH", &credentials.user, &credentials.password]).await?;
        Ok(reply == Value::Simple(b"OK".to_vec()))
    }

    /// Runs a command, and returns its reply, which may be an error.
    pub(crate) async fn run(&mut self, args: &[&[u8]]) -> Result<Value, LinkError> {
        let replies = self.run_all(&[args.to_vec()]).await?;
        Ok(replies.into_iter().next().unwrap_or(Value::Null))
    }

    /// Runs commands one after the other, sent together, and returns their replies.
    pub(crate) async fn run_all(
        &mut self,
        commands: &[Vec<&[u8]>],
    ) -> Result<Vec<Value>, LinkError> {
        let mut request = Vec::new();
        for args in commands {
            write_command(args, &mut request).expect(INTO_MEMORY);
        }
        self.send_and_read(request, commands.len()).await
    }

    /// Whether it is there still.
    pub(crate) fn is_usable(&mut self) -> bool {
        let mut nothing = [0; 1];
        let mut is_silent = || {
            self.stream
                .try_read(&mut nothing)
                .is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock)
        };
        // Whatever comes without being asked for is not understood here.
        !self.is_broken && self.input.is_empty() && is_silent()
    }

    async fn send_and_read(
        &mut self,
        request: Vec<u8>,
        count: usize,
    ) -> Result<Vec<Value>, LinkError> {
        if self.is_broken {
            return Err(LinkError::Closed("the connection was closed".to_owned()));
        }
        self.is_broken = true;
        let exchanged = timeout(REPLY_TIME, self.exchange(request, count)).await;
        let values = exchanged.map_err(|_| LinkError::TooMuch("no reply came in time"))??;
        self.is_broken = false;
        Ok(values)
    }

    async fn exchange(&mut self, request: Vec<u8>, count: usize) -> Result<Vec<Value>, LinkError> {
        let lost = |error: io::Error| LinkError::Closed(error.to_string());
        let (mut values, mut sent) = (Vec::new(), 0);
        while sent < request.len() {
            // Both directions at once: the server may not take more before its replies are taken.
            let either = Interest::READABLE | Interest::WRITABLE;
            let ready = self.stream.ready(either).await.map_err(lost)?;
            if ready.is_readable() {
                self.take().map_err(lost)?;
            }
            if ready.is_writable() {
                match self.stream.try_write(&request[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(lost(error)),
                }
            }
        }
        while values.len() < count {
            values.push(self.next().await?);
        }
        Ok(values)
    }

    async fn next(&mut self) -> Result<Value, LinkError> {
        loop {
            let decoded = decode(&self.input);
            let decoded = decoded.map_err(|error| LinkError::Closed(error.to_string()))?;
            if let Some((value, len)) = decoded {
                self.input.drain(..len);
                self.input.shrink_to(INPUT_BYTES_KEPT);
                return Ok(value);
            }
            if REPLY_BYTES_MAX < self.input.len() {
                return Err(LinkError::TooMuch("the reply is too long to be shown"));
            }
            let lost = |error: io::Error| LinkError::Closed(error.to_string());
            self.stream.readable().await.map_err(lost)?;
            self.take().map_err(lost)?;
        }
    }

    /// Takes what has come, all of it up to a bound, so that a long reply is not decoded anew for each of its parts.
    fn take(&mut self) -> io::Result<()> {
        let end = self.input.len() + RECEIVED_BYTES_MAX;
        loop {
            self.input.reserve(READ_BYTES);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Err(io::Error::other("the server closed the connection")),
                Ok(_) if self.input.len() < end => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
