//! Saves to the dump file: one at a time, asked for by SAVE, BGSAVE, a save point or the end of the server, done on
//! threads of their own. Holds no client up but by FLUSHALL, which waits for a file without keys, and takes no lock of
//! a shard but for the moment of the image.

use std::io;
use std::sync::Arc;

use rubine_base::clock::{monotonic_nanos, unix_millis};
use rubine_config::{Config, SavePoint};
use rubine_journal::Point;
use rubine_keyspace::{Access, Locked, ShardSet};
use rubine_persistence::encryption::Encrypting;
use rubine_system::allocator;

use crate::dump_file::{Directory, DumpFile};
use crate::pace::Share;
use crate::rdb_save::{DumpOptions, SaveError, write_dump};
use crate::saves::{Job, Kind, Outcome, Start};
use crate::storage::{Stall, Storage, Trouble};

/// What is done when a save has ended.
pub type OnEnd = Box<dyn FnOnce(Outcome) + Send>;

/// Begins a save of what the keyspace holds at this moment, under the locks of all shards, which are given back as soon as
/// there is an image. `on_end` is called from a thread of the save, or not at all if it does not begin.
pub fn start(
    storage: Storage,
    kind: Kind,
    now: i64,
    locked: Locked<'static>,
    on_end: OnEnd,
) -> Start {
    let saves = &storage.persistence.saves;
    let job = match saves.reserve(kind, now, storage.aof.rewrite_status()) {
        Ok(job) => job,
        Err(refusal) => return refusal,
    };
    take_image(storage, &job, locked);
    let directory = Directory::current(&storage.persistence.disk);
    let running = Arc::clone(&job);
    let run = move || {
        storage.host.pin(storage.config.load().bgsave_cpulist.as_deref());
        let outcome = save(storage, &running, directory);
        note_end(storage, &running, outcome);
        saves.release(&running);
        log_end(kind, outcome);
        on_end(outcome);
    };
    if let Err(error) = std::thread::Builder::new().name("save".to_owned()).spawn(run) {
        tracing::warn!("Can't save: no thread can be started: {error}");
        note_end(storage, &job, Outcome::Failed);
        saves.release(&job);
        return Start::Failed;
    }
    if kind == Kind::Background {
        tracing::info!("Background saving started");
    }
    Start::Started
}

/// Makes the image of this moment.
fn take_image(storage: Storage, job: &Job, mut locked: Locked<'static>) {
    let start = monotonic_nanos();
    let dirty = storage.host.changes();
    job.fill(storage.image(&mut locked), dirty, storage.journal.point());
    drop(locked);
    storage.host.note_stall(Stall::Snapshot, monotonic_nanos() - start);
}

fn note_end(storage: Storage, job: &Job, outcome: Outcome) {
    let persistence = storage.persistence;
    let note = |has_failed| persistence.set_trouble(Trouble::SAVE_FAILED, has_failed);
    persistence.saves.note_end(job, outcome, note);
}

/// Saves on the calling thread, whatever else goes on. `DEBUG RELOAD` needs the file before it can do anything.
pub fn save_here(storage: Storage) -> Outcome {
    storage.persistence.saves.count_start();
    let job = Job::new(Kind::Foreground, unix_millis());
    take_image(storage, &job, storage.keyspace.lock(&ShardSet::All));
    let outcome = save(storage, &job, Directory::current(&storage.persistence.disk));
    note_end(storage, &job, outcome);
    outcome
}

/// All keys have been removed: a save that goes on would bring them back, and one is due if any are. When the client hears
/// that they are gone, they are gone from the file, too. All that it has is what others have written since.
pub fn note_flush(storage: Storage, now: i64) {
    let saves = &storage.persistence.saves;
    if saves.cancel_background() {
        tracing::info!("Background saving was cancelled, since all keys were removed");
    }
    while !storage.config.load().save.is_empty() {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let on_end = Box::new(move |_| {
            // The receiver waits.
            let _ = sender.send(());
        });
        let locked = storage.keyspace.lock(&ShardSet::All);
        match start(storage, Kind::Foreground, now, locked, on_end) {
            // A save that ends without a word has failed, which is in the log.
            Start::Started => drop(receiver.recv()),
            // One that could not be ended any more has the keys, and a file of its own to put in place first.
            Start::Saving => {
                saves.wait_until_idle();
                continue;
            }
            Start::Rewriting | Start::Failed => {}
        }
        return;
    }
}

/// Begins a save that was put off, or that is due by a save point, unless a shard is busy. To be called now and then.
pub fn look(storage: Storage, now: i64) {
    if storage.persistence.is_loading() || storage.host.is_ending() {
        return;
    }
    let saves = &storage.persistence.saves;
    if saves.is_busy() || storage.aof.rewrite_status().is_running {
        return;
    }
    // If another save has begun since, that one does as well.
    let begin = |locked| {
        let _: Start = start(storage, Kind::Background, now, locked, Box::new(|_| {}));
    };
    let lock = || storage.keyspace.try_lock(&ShardSet::All).ok();
    let moment = saves.moment(storage.unsaved_changes(), now / 1000);
    if saves.is_scheduled() {
        if moment.may_try()
            && let Some(locked) = lock()
        {
            saves.take_schedule();
            begin(locked);
        }
        return;
    }
    let config = storage.config.load();
    if let Some(SavePoint { seconds, changes }) = moment.reached(&config.save)
        && let Some(locked) = lock()
    {
        tracing::info!("{changes} changes in {seconds} seconds. Saving...");
        begin(locked);
    }
}

fn save(storage: Storage, job: &Job, directory: io::Result<Directory>) -> Outcome {
    match write_file(storage, job, directory) {
        Ok(()) => {
            tracing::info!("DB saved on disk");
            Outcome::Saved
        }
        Err(SaveError::Cancelled) => Outcome::Cancelled,
        Err(error) => {
            tracing::warn!("Can't save the data: {error}");
            Outcome::Failed
        }
    }
}

fn write_file(
    storage: Storage,
    job: &Job,
    directory: io::Result<Directory>,
) -> Result<(), SaveError> {
    let config = storage.config.load();
    let directory = directory.map_err(at("Failed opening the directory"))?;
    let name = job.temporary_name();
    let file = DumpFile::create(&directory, &name, config.rdb_save_incremental_fsync)
        .map_err(at("Failed opening the temp RDB file for saving"))?;
    let mut options = dump_options(storage, &config);
    options.remarks.extend(job.point().map(stream_remarks).unwrap_or_default());
    let mut file = match storage.aof.keys() {
        None => write_dump(&job.work, file, &options)?,
        Some(keys) => write_dump(&job.work, Encrypting::new(file, &keys)?, &options)?.finish()?,
    };
    file.sync().map_err(at("Write error while saving DB to the disk (fsync)"))?;
    if !job.begin_publishing() {
        return Err(SaveError::Cancelled);
    }
    file.publish(&config.dbfilename)
        .map_err(at("Error moving the temp DB file on the final destination"))?;
    Ok(())
}

/// Says what was being done when an error came.
fn at(what: &'static str) -> impl FnOnce(io::Error) -> SaveError {
    move |error| SaveError::Io(io::Error::new(error.kind(), format!("{what}: {error}")))
}

/// How dumps are written under this configuration.
pub(crate) fn dump_options(storage: Storage, config: &Config) -> DumpOptions {
    use rubine_config::MaxmemoryPolicy::{AllkeysLfu, AllkeysLru, VolatileLfu, VolatileLru};
    let now = unix_millis();
    // Accesses are worth their bytes only where something is decided by them.
    let is_used =
        matches!(config.maxmemory_policy, AllkeysLfu | AllkeysLru | VolatileLfu | VolatileLru);
    let access = is_used.then(|| Access::new(storage.host.access_policy(config), now));
    let remarks = vec![
        ("redis-ver", storage.host.followed_version().to_owned()),
        ("rubine-ver", env!("CARGO_PKG_VERSION").to_owned()),
        ("redis-bits", usize::BITS.to_string()),
        ("ctime", (now / 1000).to_string()),
        ("used-mem", allocator::used_memory().to_string()),
        ("aof-base", "0".to_owned()),
    ];
    DumpOptions {
        version: config.rdb_version.version(),
        compresses: config.rdbcompression,
        sums: config.rdbchecksum,
        threads: save_threads(config),
        share: Share::Half,
        key_delay_us: config.rdb_key_save_delay,
        access,
        remarks,
        functions: storage.persistence.saves.functions.codes(),
    }
}

/// What a dump says of the stream that goes on where its image was made: nothing where its data is of no history.
pub(crate) fn stream_remarks(point: &Point) -> Vec<(&'static str, String)> {
    if !point.is_complete {
        return Vec::new();
    }
    vec![
        ("repl-stream-db", point.database.unwrap_or(0).to_string()),
        ("repl-id", point.history.id.to_string()),
        ("repl-offset", point.offset.0.to_string()),
    ]
}

/// As many threads as the directive says; without it, half of the processors, since clients have to be served as well.
fn save_threads(config: &Config) -> usize {
    match config.rdb_save_threads {
        0 => std::thread::available_parallelism().map_or(1, |it| it.get().div_ceil(2)),
        count => usize::from(count),
    }
}

fn log_end(kind: Kind, outcome: Outcome) {
    if kind == Kind::Foreground {
        return;
    }
    match outcome {
        Outcome::Saved => tracing::info!("Background saving terminated with success"),
        Outcome::Failed => tracing::warn!("Background saving error"),
        Outcome::Cancelled => tracing::info!("Background saving was cancelled"),
    }
}
