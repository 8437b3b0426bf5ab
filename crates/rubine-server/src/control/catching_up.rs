//! Replicas that lack more than the log has in memory: what they lack is read from the backlog on disk by a thread of its own, a
//! piece at a time, up to where the log goes on.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rubine_journal::{HistoryId, NotShared, ReplicaStart, ReplicationOffset};
use rubine_storage::backlog::Cursor;

use super::full_sync;
use crate::client::replica::{NextLog, Stage};
use crate::client::spool::{Spool, SpoolWriter};
use crate::mailbox::Message;
use crate::process::logging::log;
use crate::server::Server;

/// What one replica may have read for it that it has not taken.
const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long it waits for what is in neither yet, and how often.
const LOOK: Duration = Duration::from_millis(2);
const LOOKS_MAX: usize = 5000;

/// Begins to read what follows `offset` of the history `id` for a replica of this worker, if it is on disk.
pub(crate) fn begin(
    server: &'static Server,
    worker: usize,
    id: HistoryId,
    offset: ReplicationOffset,
) -> Option<Stage> {
    let line = Line { id, offset }.as_it_is_now(server)?;
    let cursor = server.persistence.backlog.cursor(offset)?;
    let wake = move |worker: usize| server.workers[worker].send(Message::Wake);
    let spool = Spool::new(Box::new(wake), false, MEMORY_BYTES_MAX);
    let (reader, next) = (spool.reader(worker), NextLog::default());
    let log = Arc::clone(&next);
    let run = move || {
        let is_complete = read(server, line, cursor, &spool, &next);
        spool.end(is_complete);
    };
    let thread = std::thread::Builder::new().name("backlog reader".to_owned());
    if let Err(error) = thread.spawn(run) {
        log::warning!("Can't read the backlog on disk: no thread can be started: {error}");
        return None;
    }
    Some(Stage::Catching { spool: reader, log })
}

/// Where the line of histories was last known to be that of the log. All files are of one line.
#[derive(Clone, Copy)]
struct Line {
    id: HistoryId,
    offset: ReplicationOffset,
}

impl Line {
    /// The same line under the name that it has now; `None` if it was left.
    fn as_it_is_now(self, server: &Server) -> Option<Self> {
        let history = server.journal.point().history;
        history.shares(self.id, self.offset).then_some(Self { id: history.id, ..self })
    }
}

/// Reads up to where the log goes on, and opens that. Returns whether it has got there.
fn read(
    server: &Server,
    mut line: Line,
    mut cursor: Cursor,
    spool: &Arc<Spool>,
    next: &NextLog,
) -> bool {
    let backlog = &server.persistence.backlog;
    let keys = server.aof.keys();
    let mut out = SpoolWriter(Arc::clone(spool));
    let mut looks = 0;
    while looks < LOOKS_MAX {
        match backlog.read(&mut cursor, keys.as_deref()) {
            Ok(Some(bytes)) => {
                looks = 0;
                // What was read may be of files that were begun for another line by now.
                let Some(now) = line.as_it_is_now(server) else { return note_left_line() };
                line = Line { offset: cursor.offset(), ..now };
                if let Err(error) = out.write_all(&bytes) {
                    log::verbose!("What a replica lacks is not read on: {error}");
                    return false;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                log::warning!("The backlog on disk cannot be read: {error}");
                // What was too old by now is in order, what should be there is not.
                if backlog.cursor(cursor.offset()).is_some() {
                    backlog.note_damage();
                }
                return false;
            }
        }
        let start = ReplicaStart::After { id: line.id, offset: cursor.offset() };
        let hold = full_sync::hold(&server.config.load());
        match server.journal.open_replica_reader(start, hold) {
            Ok(log) => {
                *next.lock() = Some(log);
                return true;
            }
            Err(NotShared::History) => return note_left_line(),
            // It is written right now.
            Err(NotShared::Range(_)) => {
                looks += 1;
                std::thread::sleep(LOOK);
            }
        }
    }
    let (offset, end) = (cursor.offset().0, server.journal.point().offset.0);
    log::warning!(
        "The backlog on disk ends at {offset}, and the log at {end} does not go on there."
    );
    false
}

fn note_left_line() -> bool {
    log::warning!("What a replica lacks is of a history that was given up meanwhile.");
    false
}
