//! Writes a new base from a snapshot while increments go on, on a thread of its own. The snapshot is taken, and the
//! journal's place noted, under all shard locks: what the base has and what the next increment has is everything, once.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use rubine_base::clock::{monotonic_nanos, unix_millis};
use rubine_journal::{Hold, Reader, Start};
use rubine_keyspace::{ScanCursor, ShardSet, SlotImport, Snapshot};
use rubine_persistence::encryption::Encrypting;
use rubine_persistence::manifest::{BaseFormat, LogFile};
use rubine_persistence::rewrite::{write_record, write_select};
use rubine_persistence::timestamp::Marks;
use rubine_resp::command::write_command;

use crate::aof::Phase;
use crate::aof::directory::Directory;
use crate::aof::job::{Job, Kind};
use crate::aof::order::Order;
use crate::dumps::dump_options;
use crate::pace::Pace;
use crate::rdb_save::{Work, write_dump};
use crate::storage::{Stall, Storage};
use rubine_config::Config;
use rubine_system::process;

/// Records that are visited between two looks at whether to go on.
const RECORDS_PER_STEP: usize = 128;
/// What is given to the file, or to be encrypted, at once.
const BUFFER_BYTES: usize = 1 << 20;
/// How long no rewrite is begun by itself after one failed; twice as long after each further one.
const PAUSE_MS: i64 = 1000;
const PAUSE_MS_MAX: i64 = 60 * 60 * 1000;

/// For how long rewrites rest after one, in times of what it took: they take a tenth of the time.
const REST_FACTOR: i64 = 9;

/// Begins a rewrite.
pub(crate) fn spawn(storage: Storage, job: &Arc<Job>) {
    let for_thread = Arc::clone(job);
    let thread = std::thread::Builder::new().name("aof rewrite".to_owned());
    let spawned = thread.spawn(move || {
        storage.host.pin(storage.config.load().aof_rewrite_cpulist.as_deref());
        let start = monotonic_nanos();
        let result = run(storage, &for_thread);
        let seconds = (monotonic_nanos() - start) / 1_000_000_000;
        conclude(storage, &for_thread, seconds, result);
    });
    if let Err(error) = spawned {
        conclude(storage, job, 0, Err(format!("Can't start a thread: {error}")));
    }
}

fn run(storage: Storage, job: &Arc<Job>) -> Result<(), String> {
    tracing::info!("Background append only file rewriting started");
    let (snapshot, reader) = begin(storage, job)?;
    let increment = match reader {
        Some(reader) => Some(hand_over(storage, job, reader)?),
        None => None,
    };
    // Nobody waits for it, and no lock of a shard is taken from here on. Threads that are started below inherit this.
    process::yield_to_others();
    let config = storage.config.load();
    let folder = {
        let mut directory = storage.aof.directory.lock();
        let directory = Directory::opened(&mut directory, &config, &storage.persistence.disk)?;
        directory.create().map_err(|error| error.to_string())?;
        directory.path.clone()
    };
    let temporary = folder.join(format!("temp-rewriteaof-bg-{}.aof", std::process::id()));
    let result = write_base(storage, snapshot, &temporary, job, &config)
        .and_then(|format| install(storage, job, &temporary, format, increment.as_ref(), &config));
    if result.is_err() {
        // It is of no use to anybody.
        let _ = storage.persistence.disk.remove(&temporary);
    }
    result
}

/// Takes the snapshot, and opens the journal for what comes after it.
fn begin(storage: Storage, job: &Job) -> Result<(Snapshot, Option<Reader>), String> {
    let mut locked = storage.keyspace.lock(&ShardSet::All);
    let start = monotonic_nanos();
    let reader = if job.kind == Kind::Detached {
        None
    } else {
        let reader = storage.journal.open_reader(Start::End, Hold::Everything);
        let reader = reader.map_err(|error| error.to_string())?;
        // Nothing is appended meanwhile, so the writer has not read beyond this.
        storage.aof.limit_reading(job, reader.position())?;
        Some(reader)
    };
    let snapshot = storage.image(&mut locked);
    drop(locked);
    storage.host.note_stall(Stall::Snapshot, monotonic_nanos() - start);
    Ok((snapshot, reader))
}

/// Lets the writer go on in a new increment, and waits until it does.
fn hand_over(storage: Storage, job: &Arc<Job>, reader: Reader) -> Result<LogFile, String> {
    let (done, answer) = mpsc::sync_channel(1);
    storage.aof.order(Order::Switch { reader, job: Arc::clone(job), done });
    let answer = answer.recv().map_err(|_| "the log was closed".to_owned())?;
    job.check()?;
    answer
}

/// Writes and completes the file of a base.
pub(crate) fn write_base(
    storage: Storage,
    snapshot: Snapshot,
    path: &Path,
    job: &Job,
    config: &Config,
) -> Result<BaseFormat, String> {
    let fail = |error: io::Error| format!("Error writing the base: {error}");
    let format = if config.aof_use_rdb_preamble { BaseFormat::Rdb } else { BaseFormat::Commands };
    let file = storage.persistence.disk.create(path).map_err(fail)?;
    let write = |out: &mut dyn io::Write| match format {
        BaseFormat::Rdb => write_dump_base(storage, snapshot, out, job, config),
        BaseFormat::Commands => write_commands(storage, &snapshot, out, job, config),
    };
    let file = match storage.aof.keys() {
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
    storage: Storage,
    snapshot: Snapshot,
    out: &mut dyn io::Write,
    job: &Job,
    config: &Config,
) -> Result<(), String> {
    job.work.fill(snapshot);
    let mut options = dump_options(storage, config);
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
    storage: Storage,
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
    for code in storage.persistence.saves.functions.codes() {
        write_command(&[b"FUNCTION", b"LOAD", &code], &mut out).map_err(fail)?;
    }
    for import in &snapshot.imports {
        write_import(import, &mut out).map_err(fail)?;
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

/// Has the keys of slots that are being taken in kept out of sight.
fn write_import(import: &SlotImport, out: &mut impl io::Write) -> io::Result<()> {
    let ranges = import.ranges.iter().flat_map(|(first, last)| [first, last]);
    let numbers: Vec<String> = ranges.map(u16::to_string).collect();
    let words = [b"CLUSTER", &b"SYNCSLOTS"[..], b"ESTABLISH", b"NAME", &import.name, b"SLOTSRANGE"];
    let words: Vec<&[u8]> = words.into_iter().chain(numbers.iter().map(String::as_bytes)).collect();
    write_command(&words, out)
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
    storage: Storage,
    job: &Job,
    temporary: &Path,
    format: BaseFormat,
    increment: Option<&LogFile>,
    config: &Config,
) -> Result<(), String> {
    job.check()?;
    let mut directory = storage.aof.directory.lock();
    let directory = Directory::opened(&mut directory, config, &storage.persistence.disk)?;
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
    let start = monotonic_nanos();
    let replaced = synced.and_then(|()| directory.replace(manifest));
    storage.host.note_stall(Stall::AofRename, monotonic_nanos() - start);
    if let Err(error) = replaced {
        directory.discard(&base);
        return Err(fail(error));
    }
    let facts = &storage.aof.facts;
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
fn conclude(storage: Storage, job: &Arc<Job>, seconds: u64, result: Result<(), String>) {
    let facts = &storage.aof.facts;
    let mut control = storage.aof.control.lock();
    let is_current = control.rewrite.as_ref().is_some_and(|it| Arc::ptr_eq(it, job));
    if is_current {
        control.rewrite = None;
    }
    facts.last_rewrite_seconds.store(seconds + 1, Ordering::Relaxed);
    facts.last_rewrite_failed.store(is_current && result.is_err(), Ordering::Relaxed);
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
        // Nobody wants it any more, which says nothing about the next one.
        Err(reason) if !is_current => {
            tracing::info!("Background AOF rewrite ended: {reason}");
            false
        }
        Err(reason) => {
            tracing::warn!("Background AOF rewrite failed: {reason}");
            control.failures = control.failures.saturating_add(1);
            let doublings = (control.failures - 1).min(12);
            control.not_before = unix_millis() + (PAUSE_MS << doublings).min(PAUSE_MS_MAX);
            job.kind == Kind::Start
        }
    };
    let failures = control.failures as usize;
    drop(control);
    facts.rewrite_failures.store(failures, Ordering::Relaxed);
    if must_abandon {
        storage.aof.order(Order::Abandon);
    }
    storage.aof.wake_writer();
}
