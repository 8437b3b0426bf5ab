//! The machine together with its connections and programs. What it wants to be done is done by whoever holds it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mio::{Registry, Token};
use rubine_net::link::Link;
use rubine_net::tls::ClientConfig;
use rubine_sentinel::{Event, JobId, LinkId, Sentinel};

/// Longer replies end their connection.
const REPLY_BYTES_MAX: usize = 256 * 1024;
/// Replies that are taken from one connection before others have their turn.
const REPLIES_MAX: usize = 1000;

pub(crate) struct Driver {
    pub(crate) machine: Sentinel,
    links: BTreeMap<LinkId, Connected>,
    /// Links that something was written to.
    unsent: Vec<LinkId>,
    registry: Registry,
    programs: Vec<Child>,
}

struct Connected {
    link: Link,
    is_open: bool,
}

/// Which connection an event is about.
pub(crate) fn link_of(token: Token) -> LinkId {
    LinkId(token.0 as u64)
}

impl Driver {
    pub(super) fn new(machine: Sentinel, registry: Registry) -> Self {
        let (links, unsent, programs) = Default::default();
        Self { machine, links, unsent, registry, programs }
    }

    /// Begins to connect.
    pub(crate) fn connect(
        &mut self,
        id: LinkId,
        to: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
    ) -> io::Result<()> {
        let mut link = Link::connect(to, tls)?;
        link.register(&self.registry, Token(id.0 as usize))?;
        self.links.insert(id, Connected { link, is_open: false });
        Ok(())
    }

    pub(crate) fn close(&mut self, id: LinkId) {
        self.links.remove(&id);
    }

    /// Writes a command, which leaves with [`Self::flush`].
    pub(crate) fn send(&mut self, id: LinkId, command: &[Vec<u8>]) {
        let Some(Connected { link, .. }) = self.links.get_mut(&id) else { return };
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        // Where so much waits already nothing gets through; the machine will give the connection up.
        if link.send(&words).is_ok() && self.unsent.last() != Some(&id) {
            self.unsent.push(id);
        }
    }

    /// Sends what was written. Returns what has come of it.
    pub(crate) fn flush(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for id in std::mem::take(&mut self.unsent) {
            if let Some(Connected { link, is_open: true }) = self.links.get_mut(&id)
                && link.flush().is_err()
            {
                self.lose(id, &mut events);
            }
        }
        events
    }

    /// Goes on with a connection that something has happened to.
    pub(crate) fn go_on(&mut self, id: LinkId) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(connected) = self.links.get_mut(&id) else { return events };
        if connected.go_on(id, &mut events).is_err() {
            self.lose(id, &mut events);
        }
        events
    }

    fn lose(&mut self, id: LinkId, events: &mut Vec<Event>) {
        self.links.remove(&id);
        events.push(Event::Closed { link: id });
    }

    /// Starts a program.
    pub(crate) fn run(&mut self, job: JobId, command: &[String]) -> Event {
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).stdin(Stdio::null());
        let started = program.spawn();
        let pid = started.as_ref().ok().map(Child::id);
        self.programs.extend(started);
        Event::Started { job, pid }
    }

    /// Ends a program that runs for too long.
    pub(crate) fn kill(&mut self, pid: u32) {
        if let Some(program) = self.programs.iter_mut().find(|it| it.id() == pid) {
            // It may just have ended by itself.
            let _ = program.kill();
        }
    }

    /// Programs that have ended.
    pub(crate) fn ended(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.programs.retain_mut(|program| {
            let Ok(Some(status)) = program.try_wait() else { return true };
            let (code, signal) = (status.code().unwrap_or(0), status.signal().unwrap_or(0));
            events.push(Event::Ended { pid: program.id(), code, signal });
            false
        });
        events
    }
}

impl Connected {
    fn go_on(&mut self, id: LinkId, events: &mut Vec<Event>) -> io::Result<()> {
        if !self.is_open {
            if !self.link.open()? {
                return Ok(());
            }
            self.is_open = true;
            if let Some(address) = self.link.local_address() {
                events.push(Event::Connected { link: id, local_ip: address.ip() });
            }
        }
        self.link.flush()?;
        while events.len() < REPLIES_MAX {
            // What came before the end is taken first.
            let received = self.link.receive();
            let before = events.len();
            while let Some(value) = self.link.take_reply(REPLY_BYTES_MAX)? {
                events.push(Event::Replied { link: id, value });
            }
            received?;
            if events.len() == before {
                return Ok(());
            }
        }
        // It talks more than anybody has asked for.
        Err(io::ErrorKind::InvalidData.into())
    }
}
