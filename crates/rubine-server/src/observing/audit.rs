//! The audit log: who came, what was refused, what was changed, as lines of JSON in a file. Never keeps a worker waiting: what
//! there is no room for is counted and lost.

mod wanted;
mod writer;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::{Condvar, Mutex};
use rubine_base::clock::Millis;

use crate::process::logging::{json_string, utc};

pub(crate) use self::wanted::{Audited, USERS_EVENT as USERS};

/// What waits to be written takes no more than this.
const QUEUE_BYTES_MAX: usize = 8 << 20;
/// Room for the number of a line, and for what stands around it.
const FRAME_BYTES: usize = 64;

/// The audit log of a server.
#[derive(Default)]
pub(crate) struct AuditLog {
    /// What is written down; nothing while there is no log.
    audited: ArcSwapOption<Audited>,
    queue: Mutex<Queue>,
    /// There is something to do for the writer.
    filled: Condvar,
    /// The writer has done all.
    emptied: Condvar,
    pub(crate) counts: Counts,
    thread: OnceLock<()>,
}

/// What INFO tells.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Lines that the file has.
    pub(crate) written: AtomicU64,
    /// Lines that there was no room for, or that could not be written.
    pub(crate) dropped: AtomicU64,
    /// How often the file could not be opened or written.
    pub(crate) errors: AtomicU64,
}

#[derive(Default)]
struct Queue {
    /// Whole lines.
    bytes: Vec<u8>,
    lines: u64,
    /// The number of the last line, dropped ones included: a gap shows that some are missing.
    number: u64,
    /// Where lines go.
    path: Option<PathBuf>,
    /// The file, if it has just been opened.
    opened: Option<File>,
    /// It is to be opened anew.
    must_open: bool,
    is_writing: bool,
}

/// A line as it is put together.
pub(crate) struct Entry(String);

impl Entry {
    pub(crate) fn new(now: Millis, event: &str) -> Self {
        Self(format!("\"time\":\"{}\",\"event\":{}", utc(now), json_string(event)))
    }

    pub(crate) fn text(mut self, name: &str, value: &[u8]) -> Self {
        self.name(name);
        self.0.push_str(&json_string(&String::from_utf8_lossy(value)));
        self
    }

    pub(crate) fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        self.0.push_str(&value.to_string());
        self
    }

    pub(crate) fn texts(mut self, name: &str, values: &[Vec<u8>]) -> Self {
        let values = values.iter().map(|it| json_string(&String::from_utf8_lossy(it)));
        let values = values.collect::<Vec<_>>().join(",");
        self.name(name);
        self.0.push('[');
        self.0.push_str(&values);
        self.0.push(']');
        self
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }
}

/// Opens the file of an audit log. Nobody else may read what it says of users.
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

impl AuditLog {
    /// What is written down, if anything is.
    pub(crate) fn audited(&self) -> Option<Arc<Audited>> {
        self.audited.load_full()
    }

    /// Writes down what is `audited` from now on, to a file that has been opened; or nothing.
    pub(crate) fn set(&'static self, log: Option<(PathBuf, File, Audited)>) -> Result<(), String> {
        if log.is_some() {
            self.start()?;
        }
        let mut queue = self.queue.lock();
        let (path, file, audited) = log.map_or((None, None, None), |(path, file, audited)| {
            (Some(path), Some(file), Some(Arc::new(audited)))
        });
        self.audited.store(audited);
        (queue.path, queue.opened, queue.must_open) = (path, file, true);
        self.filled.notify_one();
        Ok(())
    }

    /// Has the file opened anew, which may have been moved away.
    pub(crate) fn reopen(&self) {
        self.queue.lock().must_open = true;
        self.filled.notify_one();
    }

    /// Has a line written, if there is room for it.
    pub(crate) fn note(&self, entry: Entry) {
        let Entry(fields) = entry;
        let mut queue = self.queue.lock();
        queue.number += 1;
        if QUEUE_BYTES_MAX < queue.bytes.len() + fields.len() + FRAME_BYTES {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let number = queue.number;
        writeln!(queue.bytes, "{{\"seq\":{number},{fields}}}")
            .expect("writing to memory cannot fail");
        queue.lines += 1;
        if queue.lines == 1 {
            self.filled.notify_one();
        }
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.queue.lock().bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{AuditLog, Entry, QUEUE_BYTES_MAX};
    use std::sync::atomic::Ordering;

    #[test]
    fn a_line_is_an_object_whatever_it_quotes() {
        let entry = Entry::new(1_795_255_200_123, "login")
            .text("user", b"a\"b\\\n\x00\xff")
            .number("client", 7)
            .texts("args", &[b"SET".to_vec(), b"'".to_vec()]);
        let expected = "\"time\":\"2026-11-21T10:00:00.123Z\",\"event\":\"login\",\
                        \"user\":\"a\\\"b\\\\\\n\\u0000\u{fffd}\",\"client\":7,\"args\":[\"SET\",\"'\"]";
        assert_eq!(entry.0, expected);
    }

    #[test]
    fn what_there_is_no_room_for_leaves_a_gap() {
        let log = AuditLog::default();
        let note = |len: usize| log.note(Entry::new(0, "x").text("y", &vec![b'y'; len]));
        note(QUEUE_BYTES_MAX / 2);
        note(QUEUE_BYTES_MAX / 2);
        note(10);
        let queue = log.queue.lock();
        assert_eq!((queue.lines, queue.number), (2, 3));
        assert_eq!(log.counts.dropped.load(Ordering::Relaxed), 1);
        assert!(queue.bytes.starts_with(b"{\"seq\":1,"));
        let last = queue.bytes.split(|it| *it == b'\n').rev().nth(1);
        assert!(last.is_some_and(|it| it.starts_with(b"{\"seq\":3,") && it.ends_with(b"}")));
    }
}
