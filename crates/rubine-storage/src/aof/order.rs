//! What the thread that appends to the log is asked to do. Does nothing itself.

use std::sync::{Arc, mpsc};

use rubine_journal::Reader;
use rubine_persistence::manifest::LogFile;

use super::increment::Increment;
use super::job::Job;

/// What the writer is asked to do between two writes.
pub(crate) enum Order {
    /// Append to a file of the log what `reader` reads.
    Open { reader: Reader, increment: Box<Increment> },
    /// Go on with what `reader` reads in a new increment, which is sent back, after all that comes before.
    Switch { reader: Reader, job: Arc<Job>, done: mpsc::SyncSender<Result<LogFile, String>> },
    /// Write all that has happened, and force it to disk.
    Write { done: mpsc::SyncSender<Result<(), String>> },
    /// The base for what was begun failed: there is no log.
    Abandon,
}
