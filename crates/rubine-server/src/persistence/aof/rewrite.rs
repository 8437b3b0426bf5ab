//! Writes a new base from a snapshot while increments go on, on a thread of its own. The snapshot is taken, and the
//! journal's place noted, under all shard locks: what the base has and what the next increment has is everything, once.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rubine_base::clock::{monotonic_nanos, unix_millis};
use rubine_journal::{Hold, Reader, Start};
use rubine_keyspace::{ScanCursor, ShardSet, Snapshot};
use rubine_persistence::encryption::Encrypting;
use rubine_persistence::manifest::{BaseFormat, LogFile};
use rubine_persistence::rewrite::{write_record, write_select};
use rubine_persistence::timestamp::Marks;
use rubine_resp::command::write_command;

use super::Phase;
use super::writer::Order;
use crate::config::Config;
use crate::persistence::pace::{Pace, Share};
use crate::persistence::rdb_save::{Work, write_dump};
use crate::persistence::saves::dump_options;
use crate::server::Server;
use crate::sys::process;

/// Records that are visited between two looks at whether to go on.
const RECORDS_PER_STEP: usize = 128;
/// What is given to the file, or to be encrypted, at once.
const BUFFER_BYTES: usize = 1 << 20;
/// How long no rewrite is begun by itself after one failed; twice as long after each further one.
const PAUSE_MS: i64 = 1000;
const PAUSE_MS_MAX: i64 = 60 * 60 * 1000;

/// For how long rewrites rest after one, in times of what it took: they take a tenth of the time.
const REST_FACTOR: i64 = 9;

/// What a rewrite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To make the log shorter.
    Rewrite,
    /// To begin a log.
    Start,
    /// For its own sake: there is no log.
    Detached,
}

/// A rewrite that runs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(super) kind: Kind,
    /// What it takes while others want processors.
    share: Share,
    pub(super) started_at: i64,
    is_cancelled: AtomicBool,
    /// How far it is; where the base is a dump, what of the image has yet to be written, too.
    pub(super) work: Work,
}

impl Job {
    pub(super) fn new(kind: Kind, share: Share, started_at: i64) -> Self {
        Self {
            kind,
            share,
            started_at,
            is_cancelled: AtomicBool::new(false),
            work: Work::default(),
        }
    }

    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        self.work.cancel();
    }

    fn check(&self) -> Result<(), String> {
        let is_cancelled = self.is_cancelled.load(Ordering::Relaxed);
        if is_cancelled { Err("it was cancelled".to_owned()) } else { Ok(()) }
    }
}

/// Begins a rewrite.
pub(super) fn spawn(server: &'static Server, job: &Arc<Job>) {
    let for_thread = Arc::clone(job);
    let thread = std::thread::Builder::new().name("aof rewrite".to_owned());
    let spawned = thread.spawn(move || {
        crate::affinity::pin(server.config.load().aof_rewrite_cpulist.as_deref());
        let start = monotonic_nanos();
        let result = run(server, &for_thread);
        let seconds = (monotonic_nanos() - start) / 1_000_000_000;
        conclude(server, &for_thread, seconds, result);
    });
    if let Err(error) = spawned {
        conclude(server, job, 0, Err(format!("Can't start a thread: {error}")));
    }
}

fn run(server: &'static Server, job: &Job) -> Result<(), String> {
    tracing::info!("Background append only file rewriting started");
    let (snapshot, reader) = begin(server, job.kind)?;
    let increment = match reader {
        Some(reader) => Some(hand_over(server, job, reader)?),
        None => None,
    };
    // Nobody waits for it, and no lock of a shard is taken from here on. Threads that are started below inherit this.
    process::yield_to_others();
    let config = server.config.load();
    let folder = {
        let mut directory = server.aof.directory.lock();
        let directory = super::opened(&mut directory, server, &config)?;
        directory.create().map_err(|error| error.to_string())?;
        directory.path.clone()
    };
    let temporary = folder.join(format!("temp-rewriteaof-bg-{}.aof", std::process::id()));
    let result = write_base(server, snapshot, &temporary, job, &config)
        .and_then(|format| install(server, job, &temporary, format, increment.as_ref(), &config));
    if result.is_err() {
        // It is of no use to anybody.
        let _ = server.persistence.disk.remove(&temporary);
    }
    result
}

/// Takes the snapshot, and opens the journal for what comes after it.
fn begin(server: &'static Server, kind: Kind) -> Result<(Snapshot, Option<Reader>), String> {
    let mut locked = server.keyspace.lock(&ShardSet::All);
    let reader = if kind == Kind::Detached {
        None
    } else {
        let reader = server.journal.open_reader(Start::End, Hold::Everything);
        let reader = reader.map_err(|error| error.to_string())?;
        // Nothing is appended meanwhile, so the writer has not read beyond this.
        *server.aof.read_limit.lock() = reader.position();
        Some(reader)
    };
    Ok((locked.snapshot(), reader))
}

/// Lets the writer go on in a new increment, and waits until it does.
fn hand_over(server: &Server, job: &Job, reader: Reader) -> Result<LogFile, String> {
    let (done, answer) = mpsc::sync_channel(1);
    server.aof.order(Order::Switch { reader, kind: job.kind, done });
    let answer = answer.recv().map_err(|_| "the log was closed".to_owned())?;
    job.check()?;
    answer
}

/// Writes and completes the file of a base.
pub(super) fn write_base(
    server: &Server,
    snapshot: Snapshot,
    path: &Path,
    job: &Job,
    config: &Config,
) -> Result<BaseFormat, String> {
    let fail = |error: io::Error| format!("Error writing the base: {error}");
    let format = if config.aof_use_rdb_preamble { BaseFormat::Rdb } else { BaseFormat::Commands };
    let file = server.persistence.disk.create(path).map_err(fail)?;
    let write = |out: &mut dyn io::Write| match format {
        BaseFormat::Rdb => write_dump_base(server, snapshot, out, job, config),
        BaseFormat::Commands => write_commands(server, &snapshot, out, job, config),
    };
    let file = match server.aof.keys() {
        None => {
            let mut file = file;
            write(&mut file)?;
            file
        }
        Some(keys) => {
            let mut out = Encrypting::new(file, &keys).map_err(fail)?;
            write(&mut out)?;
            out.finish().map_err(fail)?
        }
    };
    file.sync_all().map_err(fail)?;
    Ok(format)
}

fn write_dump_base(
    server: &Server,
    snapshot: Snapshot,
    out: &mut dyn io::Write,
    job: &Job,
    config: &Config,
) -> Result<(), String> {
    job.work.fill(snapshot);
    let mut options = dump_options(server, config);
    options.share = job.share;
    for (name, value) in &mut options.remarks {
        match *name {
            "aof-base" => "1".clone_into(value),
            // When the image was made, since a restore asks for what was there then.
            "ctime" => *value = (job.started_at / 1000).to_string(),
            _ => {}
        }
    }
    let written = write_dump(&job.work, out, &options);
    written.map(drop).map_err(|error| format!("Error writing the base: {error}"))
}

fn write_commands(
    server: &Server,
    snapshot: &Snapshot,
    out: &mut dyn io::Write,
    job: &Job,
    config: &Config,
) -> Result<(), String> {
    let fail = |error: io::Error| format!("Error writing the base: {error}");
    let keys = (0..snapshot.db_count()).map(|db| snapshot.len(db)).sum();
    job.work.expect_keys(keys);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, Counted { out, work: &job.work });
    if config.aof_timestamp_enabled {
        let mut mark = Vec::new();
        Marks::default().write_due((job.started_at / 1000) as u64, &mut mark);
        out.write_all(&mark).map_err(fail)?;
    }
    for code in server.persistence.saves.functions.codes() {
        write_command(&[b"FUNCTION", b"LOAD", &code], &mut out).map_err(fail)?;
    }
    let mut pace = Pace::new(job.share);
    for db in (0..snapshot.db_count()).filter(|&db| !snapshot.is_empty(db)) {
        write_select(db, &mut out).map_err(fail)?;
        let mut cursor = Some(ScanCursor::START);
        while let Some(at) = cursor {
            job.check()?;
            pace.step();
            let (mut written, mut keys) = (Ok(()), 0);
            cursor = snapshot.scan(db, at, RECORDS_PER_STEP, |record| {
                if written.is_ok() {
                    written = write_record(record, &mut out);
                    keys += 1;
                }
            });
            written.map_err(fail)?;
            job.work.note_done(keys, 0);
        }
    }
    out.flush().map_err(fail)
}

/// Notes how many bytes are written.
struct Counted<'a> {
    out: &'a mut dyn io::Write,
    work: &'a Work,
}

impl io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.work.note_done(0, count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Puts the new base in force, and what it replaces out of it.
fn install(
    server: &Server,
    job: &Job,
    temporary: &Path,
    format: BaseFormat,
    increment: Option<&LogFile>,
    config: &Config,
) -> Result<(), String> {
    job.check()?;
    let mut directory = server.aof.directory.lock();
    let directory = super::opened(&mut directory, server, config)?;
    let mut manifest = directory.manifest.clone();
    let base = manifest.replace_base(&directory.prefix, format);
    if job.kind == Kind::Start {
        let begun = manifest.add_increment(&directory.prefix);
        assert!(increment == Some(&begun), "nobody else numbers increments meanwhile");
    }
    manifest.retire_increments(increment.map_or(i64::MAX, |it| it.sequence));
    let fail = |error: io::Error| format!("Can't put the new base in force: {error}");
    let path = directory.path_of(&base);
    directory.disk.rename(temporary, &path).map_err(fail)?;
    let synced = directory.disk.sync_folder(&directory.path);
    if let Err(error) = synced.and_then(|()| directory.replace(manifest)) {
        directory.discard(&base);
        return Err(fail(error));
    }
    let facts = &server.aof.facts;
    let bytes = directory.size_of(&base).map_err(fail)?;
    facts.base_bytes.store(bytes, Ordering::Relaxed);
    facts.closed_bytes.store(0, Ordering::Relaxed);
    facts.rewritten_bytes.store(facts.total_bytes(), Ordering::Relaxed);
    if !config.aof_disable_auto_gc {
        directory.delete_history();
    }
    Ok(())
}

/// Notes how it ended.
fn conclude(server: &'static Server, job: &Arc<Job>, seconds: u64, result: Result<(), String>) {
    let facts = &server.aof.facts;
    let mut control = server.aof.control.lock();
    let is_current = control.rewrite.as_ref().is_some_and(|it| Arc::ptr_eq(it, job));
    if is_current {
        control.rewrite = None;
    }
    facts.last_rewrite_seconds.store(seconds + 1, Ordering::Relaxed);
    facts.last_rewrite_failed.store(result.is_err(), Ordering::Relaxed);
    let must_abandon = match result {
        Ok(()) => {
            let now = unix_millis();
            let elapsed_ms = now - job.started_at;
            facts.note_rates(&job.work, elapsed_ms);
            facts.rewrites.fetch_add(1, Ordering::Relaxed);
            control.failures = 0;
            control.rests_until = now + REST_FACTOR * elapsed_ms.max(0);
            if is_current && job.kind == Kind::Start {
                control.phase = Phase::On;
            }
            tracing::info!("Background AOF rewrite finished successfully");
            false
        }
        Err(reason) => {
            tracing::warn!("Background AOF rewrite failed: {reason}");
            control.failures = control.failures.saturating_add(1);
            let doublings = (control.failures - 1).min(12);
            control.not_before = unix_millis() + (PAUSE_MS << doublings).min(PAUSE_MS_MAX);
            is_current && job.kind == Kind::Start
        }
    };
    let failures = control.failures as usize;
    drop(control);
    facts.rewrite_failures.store(failures, Ordering::Relaxed);
    if must_abandon {
        server.aof.order(Order::Abandon);
    }
    server.aof.wake_writer();
}
