//! A session of the debugger of scripts: the client that debugs, as the thread sees it on which the script runs. It reads from
//! and writes to the client's connection itself, which the client's worker leaves alone meanwhile.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use rubine_resp::parser::{Limits, Parsed, Parser, Sender};
use rubine_scripting::Console;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::server::Server;

/// A command of the debugger that is longer ends the session.
const COMMAND_BYTES_MAX: usize = 1 << 20;
/// How often it is looked whether the server is to end, while the client says nothing.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// A client that takes nothing for so many looks has gone.
const LOOKS_MAX: usize = 50;

/// The connection of a client that debugs.
pub(super) struct Debugging {
    server: &'static Server,
    connection: OwnedFd,
    /// What has come and was not looked at.
    received: Vec<u8>,
}

impl Debugging {
    pub(super) fn new(server: &'static Server, connection: OwnedFd) -> Self {
        Self { server, connection, received: Vec::new() }
    }

    /// Says that the session is over.
    pub(super) fn end(&mut self) {
        self.write(&[b"<endsession>".to_vec()]);
    }

    fn is_over(&self) -> bool {
        self.server.shutdown.is_under_way.load(Ordering::Acquire)
    }

    /// Waits until the connection is ready. Returns false if nothing was for one look.
    fn wait_for(&self, what: PollFlags) -> io::Result<bool> {
        let mut polled = [PollFd::new(&self.connection, what)];
        match poll(&mut polled, Some(&LOOK)) {
            Ok(count) => Ok(count != 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut looks_left = LOOKS_MAX;
        while !bytes.is_empty() && looks_left != 0 {
            match send(&self.connection, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    looks_left -= usize::from(!self.wait_for(PollFlags::OUT)?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives more. Returns false at the end.
    fn receive(&mut self) -> io::Result<bool> {
        while !self.is_over() && self.received.len() < COMMAND_BYTES_MAX {
            let mut room = [0; 4096];
            match recv(&self.connection, &mut room, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(false),
                Ok((count, _)) => {
                    self.received.extend_from_slice(&room[..count]);
                    return Ok(true);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    self.wait_for(PollFlags::IN)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

impl Console for Debugging {
    fn write(&mut self, lines: &[Vec<u8>]) {
        let mut bytes = format!("*{}\r\n", lines.len()).into_bytes();
        for line in lines {
            bytes.push(b'+');
            bytes
                .extend(line.iter().map(|it| if matches!(it, b'\r' | b'\n') { b' ' } else { *it }));
            bytes.extend_from_slice(b"\r\n");
        }
        // A client that has gone is noticed when something is to be read.
        let _ = self.send_all(&bytes);
    }

    fn read(&mut self) -> Option<Vec<Vec<u8>>> {
        let limits = Limits { bulk_bytes_max: COMMAND_BYTES_MAX as i64, sender: Sender::Client };
        let (mut parser, mut args) = (Parser::new(), Vec::new());
        loop {
            match parser.parse_command(&self.received, &mut args, &limits).ok()? {
                Parsed::Request { consumed, .. } => {
                    let words = args.iter().map(|it| it.of(&self.received).to_vec()).collect();
                    self.received.drain(..consumed);
                    return Some(words);
                }
                Parsed::Empty { consumed } => drop(self.received.drain(..consumed)),
                Parsed::Incomplete { .. } => {
                    if !self.receive().is_ok_and(|has_more| has_more) {
                        return None;
                    }
                }
            }
        }
    }
}
