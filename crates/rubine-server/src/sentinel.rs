//! What a Sentinel has beside its state machine: connections to others, programs that it has started, and names that it
//! wants to know. Decides nothing, and knows no client.

mod driver;

use std::sync::mpsc::{Receiver, Sender, channel};

use mio::{Poll, Registry};
use parking_lot::{Mutex, MutexGuard};

pub(crate) use self::driver::{Driver, link_of};

/// The parts of a Sentinel. Commands and the thread that listens to others take turns.
pub(crate) struct Sentinel {
    driver: Mutex<Driver>,
    /// Host names that are wanted.
    names: Sender<String>,
    /// Taken by the threads that need them, when they start.
    start: Mutex<Option<(Poll, Receiver<String>)>>,
}

impl Sentinel {
    pub(crate) fn new(machine: rubine_sentinel::Sentinel) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let registry: Registry = poll.registry().try_clone()?;
        let (names, wanted) = channel();
        Ok(Self {
            driver: Mutex::new(Driver::new(machine, registry)),
            names,
            start: Mutex::new(Some((poll, wanted))),
        })
    }

    /// The machine and what belongs to it, for as long as the caller needs it.
    pub(crate) fn driver(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock()
    }

    /// Has a name looked up; an event will tell.
    pub(crate) fn look_up(&self, host: String) {
        // At the end of the process nobody listens any more.
        let _ = self.names.send(host);
    }

    /// What the threads of a Sentinel work on; nothing the second time.
    pub(crate) fn take_start(&self) -> Option<(Poll, Receiver<String>)> {
        self.start.lock().take()
    }
}
