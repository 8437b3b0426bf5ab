//! Points of a full sync at which a process stops itself, for tests that look at the other side meanwhile. Whoever wants it to
//! go on sends it SIGCONT.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where it may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopPoint {
    /// All of a dump has left for a replica.
    DumpSent,
    /// A replica is about to ask for a dump over a second connection.
    BeforeDump,
    /// A replica is about to ask for the stream beside a dump.
    BeforeStream,
    /// A replica runs what came beside a dump.
    StreamingHeld,
}

/// Those that are wanted, a bit each.
#[derive(Default)]
pub(crate) struct Stopping(AtomicU8);

impl Stopping {
    pub(crate) fn set(&self, point: StopPoint, stops: bool) {
        let bit = 1 << point as u8;
        if stops {
            self.0.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Stops the process if that is wanted here. One load otherwise.
    pub(crate) fn at(&self, point: StopPoint) {
        if self.0.load(Ordering::Relaxed) & (1 << point as u8) == 0 {
            return;
        }
        let pid = rustix::process::getpid();
        if let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::STOP) {
            tracing::warn!("The process cannot be stopped: {error}");
        }
    }
}
