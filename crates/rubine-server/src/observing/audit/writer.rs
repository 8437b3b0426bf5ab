//! The thread that writes the audit log.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rubine_base::clock::unix_millis;

use super::{AuditLog, open};

/// After so long the log tells again that lines are lost, in milliseconds.
const WARNING_INTERVAL_MS: i64 = 60_000;
/// At the end of the server, what waits is written unless that takes longer.
const END_WAIT_MAX: Duration = Duration::from_secs(2);

impl AuditLog {
    /// Starts the thread, unless it runs.
    pub(super) fn start(&'static self) -> Result<(), String> {
        if self.thread.get().is_some() {
            return Ok(());
        }
        let builder = std::thread::Builder::new().name("audit".to_owned());
        let started = builder.spawn(move || self.write_all());
        started.map_err(|error| format!("Can't start a thread: {error}"))?;
        // Settings are changed by one thread at a time, so nobody else has set it.
        self.thread.get_or_init(|| ());
        Ok(())
    }

    /// Waits until everything is written, but not for ever.
    pub(crate) fn finish(&self) {
        if self.thread.get().is_none() {
            return;
        }
        let mut queue = self.queue.lock();
        let is_busy = |it: &mut super::Queue| it.is_writing || !it.bytes.is_empty();
        self.emptied.wait_while_for(&mut queue, is_busy, END_WAIT_MAX);
    }

    fn write_all(&self) {
        let mut file: Option<File> = None;
        let mut spare = Vec::new();
        let mut warned_at = i64::MIN;
        loop {
            let mut queue = self.queue.lock();
            queue.is_writing = false;
            if queue.bytes.is_empty() {
                self.emptied.notify_all();
            }
            self.filled.wait_while(&mut queue, |it| it.bytes.is_empty() && !it.must_open);
            let bytes = std::mem::replace(&mut queue.bytes, spare);
            let lines = std::mem::take(&mut queue.lines);
            let (path, opened) = (queue.path.clone(), queue.opened.take());
            let must_open = std::mem::take(&mut queue.must_open);
            queue.is_writing = true;
            drop(queue);
            if must_open {
                // What was noted before goes to the file before, unless that was moved away.
                file = opened;
            }
            let written = match (&mut file, path) {
                (Some(file), _) => file.write_all(&bytes),
                (None, Some(path)) => {
                    open(&path).and_then(|opened| file.insert(opened).write_all(&bytes))
                }
                // It was just turned off.
                (None, None) => Err(std::io::ErrorKind::NotFound.into()),
            };
            match written {
                Ok(()) => _ = self.counts.written.fetch_add(lines, Ordering::Relaxed),
                Err(_) if lines == 0 => file = None,
                Err(error) => {
                    file = None;
                    self.counts.errors.fetch_add(1, Ordering::Relaxed);
                    self.counts.dropped.fetch_add(lines, Ordering::Relaxed);
                    let now = unix_millis();
                    if warned_at.saturating_add(WARNING_INTERVAL_MS) <= now {
                        warned_at = now;
                        tracing::warn!(
                            "The audit log cannot be written, {lines} lines are lost: {error}"
                        );
                    }
                }
            }
            spare = bytes;
            spare.clear();
        }
    }
}
