//! The thread that appends to the log: it reads the journal, writes, forces to disk as `appendfsync` says, and looks
//! after what is due by the clock. Never takes a shard's lock.
//!
//! One write and one sync cover whatever all clients have done since the last ones. While something cannot be written,
//! it is kept and tried again, and commands that write are refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use rubine_base::clock::{monotonic_nanos, unix_millis};
use rubine_journal::{Lost, Offset, Reader, Slice};
use rubine_persistence::encryption::{KeyRing, Place};
use rubine_persistence::manifest::LogFile;
use rubine_persistence::place::StreamPlace;

use crate::aof::Phase;
use crate::aof::directory::Directory;
use crate::aof::increment::{Durability, Increment};
use crate::aof::job::{Job, Kind};
use crate::aof::order::Order;
use crate::log_rewrite;
use crate::pace::Share;
use crate::storage::{Stall, Storage};
use rubine_config::{Appendfsync, Config};
use rubine_system::process;

/// Bytes that are written, and with `always` forced to disk, at once.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Reads that make up a batch: each gives a bounded number of pieces.
const BATCH_READS_MAX: usize = 64;
/// How long it sleeps at most while there is a log.
const SLEEP: Duration = Duration::from_millis(100);
/// How long it sleeps while there is none; whoever wants one wakes it.
const IDLE_SLEEP: Duration = Duration::from_secs(10);
/// How long it waits before it tries again what has failed; twice as long after each further failure.
const RETRY_NANOS_MIN: u64 = 50_000_000;
const RETRY_NANOS_MAX: u64 = 1_000_000_000;
/// Writes that no client waits for begin so far apart, so that the workers do not wake this thread all the time.
const WRITE_EVERY_NANOS: u64 = 1_000_000;
/// How long a sync that clients wait for is put off, at most, so that it does for more of them.
const GATHER_NANOS_MAX: u64 = 300_000;
/// `appendfsync everysec`.
const SYNC_EVERY_NANOS: u64 = 1_000_000_000;
/// A sync that takes longer is counted as delayed.
const SLOW_SYNC_NANOS: u64 = 2_000_000_000;
/// While rewrites rest, the log may grow by so many times `auto-aof-rewrite-percentage`.
const RESTING_GROWTH_FACTOR: u128 = 4;
/// How often the log says where in its history it is.
const NOTE_EVERY_NANOS: u64 = 1_000_000_000;
/// The same error is logged once in this time.
const LOG_ERROR_EVERY_NANOS: u64 = 30_000_000_000;
/// Attempts to write what is left when the log is closed.
const LAST_ATTEMPTS_MAX: usize = 10;

/// Starts the thread.
pub fn start(storage: Storage) -> Result<JoinHandle<()>, String> {
    let writer = Writer::new(storage);
    let thread = std::thread::Builder::new()
        .name("aof".to_owned())
        .spawn(move || {
            storage.host.pin(storage.config.load().bio_cpulist.as_deref());
            writer.run();
        })
        .map_err(|error| format!("Can't start a thread: {error}"))?;
    *storage.aof.thread.lock() = Some(thread.thread().clone());
    // What was asked for before there was anybody to be woken.
    thread.thread().unpark();
    Ok(thread)
}

struct Writer {
    storage: Storage,
    reader: Option<Reader>,
    increment: Option<Increment>,
    /// The increment's file, where the log had no base when it was begun.
    begun: Option<LogFile>,
    /// Read, and not yet written.
    pending: Vec<Slice>,
    /// Everything before is in the file.
    written: Offset,
    /// When the last write began.
    writing_at: u64,
    /// When something was last forced to disk, or that was tried.
    synced_at: u64,
    retry_at: u64,
    /// The position at which the log says last where in its history it is.
    noted_at: Option<Offset>,
    /// When that was last looked at.
    noted_place_at: u64,
    /// How long it waits if the next attempt fails, too.
    retry_nanos: u64,
    logged_error_at: Option<u64>,
    /// What was written may not be on disk although the system says so, until so many rewrites have ended well.
    suspect_until: Option<u64>,
}

impl Writer {
    fn new(storage: Storage) -> Self {
        Self {
            storage,
            reader: None,
            increment: None,
            begun: None,
            pending: Vec::new(),
            written: 0,
            writing_at: 0,
            synced_at: 0,
            retry_at: 0,
            noted_at: None,
            noted_place_at: 0,
            retry_nanos: RETRY_NANOS_MIN,
            logged_error_at: None,
            suspect_until: None,
        }
    }

    fn run(mut self) {
        process::sleep_precisely();
        loop {
            let config = self.storage.config.load();
            let orders = std::mem::take(&mut *self.storage.aof.orders.lock());
            for order in orders {
                self.obey(order, &config);
            }
            let has_more = self.work(&config);
            if self.supervise(&config) {
                return;
            }
            if has_more {
                self.let_gather(&config);
            } else {
                self.note_place_if_due();
                self.sleep();
            }
        }
    }

    /// Lets more come together after a write.
    fn let_gather(&self, config: &Config) {
        if config.appendfsync == Appendfsync::Always {
            return self.let_clients_gather();
        }
        let next_at = self.writing_at + WRITE_EVERY_NANOS;
        let left = next_at.saturating_sub(monotonic_nanos());
        if 0 < left {
            // An order ends it.
            std::thread::park_timeout(Duration::from_nanos(left));
        }
    }

    /// Waits for a moment until a good part of the clients that keep waiting for the disk do so.
    fn let_clients_gather(&self) {
        let until = monotonic_nanos() + GATHER_NANOS_MAX;
        self.storage.aof.gathers.store(true, Ordering::Relaxed);
        while self.storage.host.lacks_waiters() {
            let left = until.saturating_sub(monotonic_nanos());
            if left == 0 {
                break;
            }
            // Whoever completes them ends it, and an order does.
            std::thread::park_timeout(Duration::from_nanos(left));
        }
        self.storage.aof.gathers.store(false, Ordering::Relaxed);
    }

    /// Notes in the log where in its history it is, if others follow that history or this server follows it: then the data of the
    /// log is gone on with from there. To be called where all is written.
    fn note_place(&mut self) -> std::io::Result<()> {
        let Some(increment) = &mut self.increment else { return Ok(()) };
        let journal = &self.storage.journal;
        if !self.pending.is_empty() || !journal.is_followed() {
            return Ok(());
        }
        let point = journal.point();
        let is_there = point.position == self.written && point.is_complete;
        if !is_there || self.noted_at == Some(point.position) {
            return Ok(());
        }
        let place = StreamPlace {
            history: point.history.id.as_bytes().to_vec(),
            offset: point.offset.0,
            database: point.database.unwrap_or(0),
        };
        increment.annotate(&place.line())?;
        self.noted_at = Some(point.position);
        self.storage.aof.facts.current_bytes.store(increment.len(), Ordering::Relaxed);
        Ok(())
    }

    /// The same by the clock, now and then.
    fn note_place_if_due(&mut self) {
        let now = monotonic_nanos();
        if self.noted_place_at + NOTE_EVERY_NANOS <= now {
            self.noted_place_at = now;
            // What cannot be written now is found out, and told of, by whoever has more to write.
            let _ = self.note_place();
        }
    }

    fn sleep(&self) {
        match &self.reader {
            Some(reader) if self.pending.is_empty() && self.retry_at <= monotonic_nanos() => {
                reader.wait(SLEEP);
            }
            Some(_) => std::thread::park_timeout(SLEEP),
            None if self.storage.aof.control.lock().is_anything_wanted() => {
                std::thread::park_timeout(SLEEP);
            }
            None => std::thread::park_timeout(IDLE_SLEEP),
        }
    }

    fn obey(&mut self, order: Order, config: &Config) {
        match order {
            Order::Open { reader, increment } => self.open(reader, *increment),
            Order::Switch { reader, job, done } => {
                // What was cancelled may come late, and is not to disturb what was begun since.
                let switched = job.check().and_then(|()| self.switch(reader, job.kind, config));
                // Whoever asked may have given up.
                let _ = done.send(switched);
            }
            Order::Write { done } => {
                let written = self.write_until(self.storage.journal.end(), config);
                let synced = written.and_then(|()| self.sync().map_err(|it| it.to_string()));
                let _ = done.send(synced);
            }
            Order::Abandon => self.close(),
        }
    }

    fn open(&mut self, reader: Reader, increment: Increment) {
        let aof = self.storage.aof;
        self.written = reader.position();
        self.noted_at = None;
        aof.read.store(self.written, Ordering::Relaxed);
        self.storage.restart(self.written);
        aof.facts.current_bytes.store(increment.len(), Ordering::Relaxed);
        self.reader = Some(reader);
        self.increment = Some(increment);
        aof.is_open.store(true, Ordering::Relaxed);
    }

    /// Ends the increment where `reader` begins, and begins another one.
    fn switch(&mut self, reader: Reader, kind: Kind, config: &Config) -> Result<LogFile, String> {
        let aof = self.storage.aof;
        let phase = aof.control.lock().phase;
        let is_expected = match kind {
            Kind::Start => phase == Phase::WaitsForBase,
            Kind::Rewrite | Kind::Detached => phase == Phase::On,
        };
        if !is_expected {
            return Err("the log was closed".to_owned());
        }
        let written = self.write_until(reader.position(), config);
        let begun = written.and_then(|()| self.begin_increment(kind, config));
        aof.lift_limit();
        let (file, increment) = begun?;
        let closed = self.increment.as_ref().map_or(0, Increment::len);
        if self.increment.is_none() {
            self.begun = Some(file.clone());
            self.open(reader, increment);
        } else {
            aof.facts.closed_bytes.fetch_add(closed, Ordering::Relaxed);
            self.noted_at = None;
            self.reader = Some(reader);
            self.increment = Some(increment);
        }
        aof.facts.current_bytes.store(0, Ordering::Relaxed);
        Ok(file)
    }

    fn new_seal(&self) -> Option<(Arc<KeyRing>, Place)> {
        self.storage.aof.keys().map(|keys| (keys, Place::default()))
    }

    fn write_until(&mut self, until: Offset, config: &Config) -> Result<(), String> {
        loop {
            self.write_out(config).map_err(|error| error.to_string())?;
            let Some(reader) = &mut self.reader else { return Ok(()) };
            if reader.position() == until {
                return Ok(());
            }
            reader
                .read_until(until, BATCH_BYTES_MAX, &mut self.pending)
                .map_err(|lost| lost.to_string())?;
        }
    }

    /// Completes the increment and makes the next one. While the log has no base yet, the manifest does not know of it.
    fn begin_increment(
        &mut self,
        kind: Kind,
        config: &Config,
    ) -> Result<(LogFile, Increment), String> {
        let seal = self.new_seal();
        let mut directory = self.storage.aof.directory.lock();
        let directory = Directory::opened(&mut directory, config, &self.storage.persistence.disk)?;
        let mut manifest = directory.manifest.clone();
        let file = manifest.add_increment(&directory.prefix);
        let path = directory.path_of(&file);
        let fail = |error: std::io::Error| format!("Can't make {}: {error}", file.shown());
        directory.create().map_err(fail)?;
        // What lies there was begun and never became part of the log.
        directory.disk.remove(&path).map_err(fail)?;
        let has_marks = config.aof_timestamp_enabled;
        let increment = Increment::open(&directory.disk, &path, has_marks, seal).map_err(fail)?;
        let finished = match &mut self.increment {
            // Only the last file of a log may be torn, or not complete.
            Some(old) => old.finish(),
            None => Ok(()),
        };
        let installed = finished.and_then(|()| match kind {
            Kind::Rewrite => directory.replace(manifest),
            Kind::Start | Kind::Detached => Ok(()),
        });
        if let Err(error) = installed {
            // The old increment goes on.
            self.increment.iter_mut().for_each(Increment::reopen);
            directory.discard(&file);
            return Err(fail(error));
        }
        self.advance();
        tracing::info!("Creating AOF incr file {} on background rewrite", file.shown());
        Ok((file, increment))
    }

    /// Writes and forces to disk what is due. Returns whether there may be more.
    fn work(&mut self, config: &Config) -> bool {
        let now = monotonic_nanos();
        if now < self.retry_at || self.reader.is_none() {
            return false;
        }
        if let Err(lost) = self.read() {
            tracing::warn!("The append-only file begins anew: {lost}");
            self.close();
            return false;
        }
        let had_work = !self.pending.is_empty();
        let result = self.write_out(config).and_then(|()| self.sync_if_due(config));
        match result {
            Ok(()) => {
                self.note_recovery();
                had_work
            }
            Err(error) => {
                self.note_error(&error);
                false
            }
        }
    }

    fn read(&mut self) -> Result<(), Lost> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let mut total = 0;
        for _ in 0..BATCH_READS_MAX {
            if !self.pending.is_empty() && total == 0 {
                // It is still there from the last attempt.
                return Ok(());
            }
            let limit = self.storage.aof.read_limit.lock();
            let count = reader.read_until(*limit, BATCH_BYTES_MAX - total, &mut self.pending)?;
            drop(limit);
            total += count;
            if count == 0 || BATCH_BYTES_MAX <= total {
                break;
            }
        }
        self.storage.aof.read.store(reader.position(), Ordering::Relaxed);
        Ok(())
    }

    /// Writes what was read.
    fn write_out(&mut self, config: &Config) -> std::io::Result<()> {
        let (Some(reader), Some(increment)) = (&self.reader, &mut self.increment) else {
            return Ok(());
        };
        if self.pending.is_empty() {
            // What only replicas get is passed over, and counts as written.
            self.written = reader.position();
            return Ok(());
        }
        self.writing_at = monotonic_nanos();
        let aof = self.storage.aof;
        let sleep_us = aof.flush_sleep_us.load(Ordering::Relaxed);
        if sleep_us != 0 {
            std::thread::sleep(Duration::from_micros(sleep_us));
        }
        increment.set_marks(config.aof_timestamp_enabled);
        // A file that was begun otherwise goes on as it was; the rewrite that new keys ask for replaces it.
        let keys = aof.keys();
        increment.set_keys(keys.as_ref());
        let waits = config.appendfsync == Appendfsync::Always;
        let spares_disk =
            config.no_appendfsync_on_rewrite && aof.rewrite_status().started_at.is_some();
        let durability = if waits && !spares_disk { Durability::Disk } else { Durability::System };
        let start = monotonic_nanos();
        let appended = increment.append(&self.pending, durability);
        let stall =
            if durability == Durability::Disk { Stall::AofFsyncAlways } else { Stall::AofWrite };
        self.storage.host.note_stall(stall, monotonic_nanos() - start);
        appended?;
        self.pending.clear();
        self.written = reader.position();
        aof.facts.current_bytes.store(increment.len(), Ordering::Relaxed);
        if waits {
            self.advance();
            self.synced_at = monotonic_nanos();
        }
        Ok(())
    }

    fn sync_if_due(&mut self, config: &Config) -> std::io::Result<()> {
        let is_due = match config.appendfsync {
            Appendfsync::Always => true,
            Appendfsync::Everysec => SYNC_EVERY_NANOS <= monotonic_nanos() - self.synced_at,
            Appendfsync::No => false,
        };
        let spares_disk = config.no_appendfsync_on_rewrite
            && self.storage.aof.rewrite_status().started_at.is_some();
        if is_due && !spares_disk { self.sync() } else { Ok(()) }
    }

    /// Forces to disk what was written.
    fn sync(&mut self) -> std::io::Result<()> {
        let aof = self.storage.aof;
        let Some(increment) = &mut self.increment else { return Ok(()) };
        if self.written <= aof.synced.reached() {
            return Ok(());
        }
        let start = monotonic_nanos();
        aof.facts.is_syncing.store(true, Ordering::Relaxed);
        let result = increment.sync();
        aof.facts.is_syncing.store(false, Ordering::Relaxed);
        self.synced_at = monotonic_nanos();
        self.storage.host.note_stall(Stall::AofFsync, self.synced_at - start);
        if SLOW_SYNC_NANOS < self.synced_at - start {
            aof.facts.delayed_syncs.fetch_add(1, Ordering::Relaxed);
            tracing::info!("Forcing the append-only file to disk is slow (disk is busy?)");
        }
        if let Err(error) = result {
            self.suspect();
            // It is due again with the next attempt.
            self.synced_at = 0;
            return Err(error);
        }
        self.advance();
        Ok(())
    }

    /// What was written is on disk: lets go whoever waited for it.
    fn advance(&mut self) {
        let rewrites = self.storage.aof.facts.rewrites.load(Ordering::Relaxed);
        match self.suspect_until {
            Some(until) if rewrites < until => {
                // After one that has failed, not at once again.
                if self.storage.aof.control.lock().not_before <= unix_millis() {
                    self.storage.aof.request_rewrite();
                }
            }
            _ => {
                self.suspect_until = None;
                self.storage.advance(self.written);
            }
        }
    }

    /// Forcing to disk has failed. The system may have dropped what it could not write, and say the next time that all is
    /// well; only what is in memory is known to be right. So the log is made anew, and until then nobody is told that
    /// anything is on disk.
    fn suspect(&mut self) {
        if self.suspect_until.is_some() {
            return;
        }
        let aof = self.storage.aof;
        // The image of a rewrite that runs may be older.
        let is_running = aof.rewrite_status().started_at.is_some();
        let rewrites = aof.facts.rewrites.load(Ordering::Relaxed);
        self.suspect_until = Some(rewrites + 1 + u64::from(is_running));
        tracing::warn!(
            "The append-only file could not be forced to disk, so what was written last may be missing there. It will be \
             rewritten"
        );
    }

    fn note_error(&mut self, error: &std::io::Error) {
        let now = monotonic_nanos();
        self.retry_at = now + self.retry_nanos;
        self.retry_nanos = RETRY_NANOS_MAX.min(2 * self.retry_nanos);
        let text = error.to_string();
        let reason = text.split(" (os error").next().unwrap_or(&text);
        if self.logged_error_at.is_none_or(|at| LOG_ERROR_EVERY_NANOS <= now - at) {
            self.logged_error_at = Some(now);
            tracing::warn!("Error writing to the AOF file: {reason}");
        }
        self.storage.aof.set_error(Some(reason.to_owned()));
    }

    fn note_recovery(&mut self) {
        self.retry_nanos = RETRY_NANOS_MIN;
        if self.storage.aof.has_error() {
            self.logged_error_at = None;
            self.storage.aof.set_error(None);
            tracing::info!("AOF write error looks solved. The server can write again.");
        }
    }

    /// Does what the configuration, commands and the clock ask for. Returns whether the thread is to end.
    fn supervise(&mut self, config: &Config) -> bool {
        let aof = self.storage.aof;
        let mut control = aof.control.lock();
        let is_over = control.is_finishing || (!control.is_wanted && control.phase != Phase::Off);
        if is_over {
            let is_finishing = control.is_finishing;
            if let Some(job) =
                control.rewrite.take_if(|it| it.kind != Kind::Detached || is_finishing)
            {
                job.cancel();
            }
            control.phase = Phase::Off;
            drop(control);
            self.write_last(config);
            self.close();
            return is_finishing;
        }
        if control.rewrite.is_some() {
            return false;
        }
        let now = unix_millis();
        let is_saving = self.storage.persistence.saves.is_busy();
        let is_requested = control.is_rewrite_requested && !is_saving;
        let (kind, share) = match (control.is_wanted, control.phase) {
            (true, Phase::Off) if control.not_before <= now => (Kind::Start, Share::Half),
            (true, Phase::On) if is_requested => (Kind::Rewrite, Share::Half),
            (false, Phase::Off) if is_requested => (Kind::Detached, Share::Half),
            (true, Phase::On)
                if !is_saving
                    && control.not_before <= now
                    && self.has_grown(config, now < control.rests_until) =>
            {
                (Kind::Rewrite, Share::Tenth)
            }
            _ => return false,
        };
        control.is_rewrite_requested = false;
        if control.phase == Phase::Off && kind == Kind::Start {
            control.phase = Phase::WaitsForBase;
        }
        let job = Arc::new(Job::new(kind, share, now));
        control.rewrite = Some(Arc::clone(&job));
        drop(control);
        log_rewrite::spawn(self.storage, &job);
        false
    }

    /// Whether the log has grown so much since the last rewrite that the next one is due. While rewrites rest it has to
    /// have grown by more.
    fn has_grown(&self, config: &Config, rests: bool) -> bool {
        let facts = &self.storage.aof.facts;
        let total = facts.total_bytes();
        if total <= config.auto_aof_rewrite_min_size {
            return false;
        }
        let growth = growth_percent(total, facts.rewritten_bytes.load(Ordering::Relaxed));
        let is_due = is_enough(growth, config.auto_aof_rewrite_percentage, rests);
        if is_due {
            tracing::info!("Starting automatic rewriting of AOF on {growth}% growth");
        }
        is_due
    }

    /// Writes what is left, and forces it to disk.
    fn write_last(&mut self, config: &Config) {
        if self.reader.is_none() {
            return;
        }
        let until = self.storage.journal.end();
        for attempt in 1..=LAST_ATTEMPTS_MAX {
            let written = self.write_until(until, config);
            match written.and_then(|()| self.sync().map_err(|error| error.to_string())) {
                Ok(()) => {
                    if let Err(error) = self.note_place() {
                        tracing::warn!(
                            "The end of the append-only file could not be written: {error}"
                        );
                    }
                    return;
                }
                Err(reason) if attempt == LAST_ATTEMPTS_MAX => {
                    tracing::warn!(
                        "The end of the append-only file could not be written: {reason}"
                    );
                }
                Err(_) => std::thread::sleep(SLEEP),
            }
        }
    }

    /// Lets go of the file and of the journal, and of whoever waits.
    fn close(&mut self) {
        let aof = self.storage.aof;
        aof.is_open.store(false, Ordering::Relaxed);
        aof.lift_limit();
        self.reader = None;
        self.increment = None;
        if let (Some(file), Some(directory)) = (self.begun.take(), &*aof.directory.lock())
            && !directory.manifest.increments.contains(&file)
        {
            // Its base never came.
            directory.discard(&file);
        }
        self.pending.clear();
        self.retry_at = 0;
        self.suspect_until = None;
        aof.set_error(None);
        self.storage.restart(self.storage.journal.end());
        aof.control.lock().phase = Phase::Off;
    }
}

fn growth_percent(total: u64, base: u64) -> u128 {
    (u128::from(total) * 100 / u128::from(base.max(1))).saturating_sub(100)
}

/// Whether a log that has grown by so much is to be rewritten.
fn is_enough(growth_percent: u128, wanted_percent: u32, rests: bool) -> bool {
    let factor = if rests { RESTING_GROWTH_FACTOR } else { 1 };
    wanted_percent != 0 && u128::from(wanted_percent) * factor <= growth_percent
}

#[cfg(test)]
mod tests {
    use super::{growth_percent, is_enough};

    #[test]
    fn rewrites_that_rest_need_four_times_the_growth() {
        assert_eq!(growth_percent(250, 100), 150);
        assert_eq!(growth_percent(50, 100), 0);
        assert_eq!(growth_percent(7, 0), 600);
        assert!(is_enough(100, 100, false) && !is_enough(99, 100, false));
        assert!(is_enough(400, 100, true) && !is_enough(399, 100, true));
        assert!(!is_enough(1000, 0, false), "it is switched off");
    }
}
