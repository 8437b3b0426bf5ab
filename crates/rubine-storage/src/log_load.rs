//! Reads the log when the server starts: files in the order of the manifest, unit by unit, each of which is handed to
//! whatever runs commands. A transaction that is not complete is not handed out. Runs no command itself.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use parking_lot::Mutex;
use rubine_base::clock::{monotonic_nanos, unix_millis};
use rubine_config::Config;
use rubine_journal::{HistoryId, Hold, ReplicationOffset, Start};
use rubine_keyspace::ShardSet;
use rubine_persistence::encryption::{Decrypting, EncryptionError, Ending, Input, KeyRing, Place};
use rubine_persistence::log::{LogError, LogReader, is_rdb};
use rubine_persistence::manifest::{BaseFormat, LogFile, Manifest};
use rubine_persistence::place::StreamPlace;

use crate::aof::Phase;
use crate::aof::directory::Directory;
use crate::aof::increment::Increment;
use crate::aof::job::{Job, Kind};
use crate::aof::order::Order;
use crate::aof::read_keys;
use crate::load_delay;
use crate::log_end::{Tail, truncate};
use crate::log_rewrite::write_base;
use crate::pace::Share;
use crate::rdb_load::{self, LoadOptions, log_failure};
use crate::resuming::resume_history;
use crate::storage::{Apply, Storage};

/// As many bytes as say that a file begins as an RDB file.
const RDB_MAGIC_BYTES: u64 = 6;
/// Units between two notes of how far it has come.
const UNITS_PER_REPORT: u32 = 1024;

/// Reads the keys that files are encrypted with.
pub fn load_keys(storage: Storage) -> Result<(), String> {
    let keys = read_keys(&storage.config.load())?;
    storage.aof.keys.store(keys.map(Arc::new));
    Ok(())
}

/// Loads the log if there is to be one, and has the writer go on where it ends.
pub fn load_at_start(storage: Storage) -> Result<(), String> {
    let config = storage.config.load();
    if !config.appendonly {
        return Ok(());
    }
    let mut directory = Directory::open(&config, &storage.persistence.disk)?;
    directory.upgrade(&config)?;
    let (tail, place) = load_files(storage, &directory, &config)?;
    if let Some(StreamPlace { history, offset, database }) = place
        && let Some(id) = HistoryId::parse(&history)
    {
        resume_history(storage, id, ReplicationOffset(offset), Some(database));
    }
    let increment = open_for_appending(storage, &mut directory, tail, &config)?;
    let aof = storage.aof;
    let bytes = |file: &LogFile| directory.size_of(file).unwrap_or(0);
    let base_bytes = directory.manifest.base.as_ref().map_or(0, bytes);
    let increments = &directory.manifest.increments;
    let closed = &increments[..increments.len().saturating_sub(1)];
    aof.facts.base_bytes.store(base_bytes, Ordering::Relaxed);
    aof.facts.rewritten_bytes.store(base_bytes, Ordering::Relaxed);
    aof.facts.closed_bytes.store(closed.iter().map(bytes).sum(), Ordering::Relaxed);
    *aof.directory.lock() = Some(directory);
    let reader = {
        let _locked = storage.keyspace.lock(&ShardSet::All);
        storage
            .journal
            .open_reader(Start::End, Hold::Everything)
            .map_err(|error| error.to_string())?
    };
    let mut control = aof.control.lock();
    (control.is_wanted, control.phase) = (true, Phase::On);
    drop(control);
    aof.order(Order::Open { reader, increment: Box::new(increment) });
    Ok(())
}

/// Drops all keys and reads the log again, after what is still to be written is in it.
pub fn reload(storage: Storage) -> Result<(), String> {
    let config = storage.config.load();
    write_all(storage)?;
    let directory = Directory::open(&config, &storage.persistence.disk)?;
    if directory.manifest.is_empty() {
        return Err("there is no append-only file".to_owned());
    }
    storage.host.begin_reload();
    storage.persistence.saves.functions.clear();
    storage.keyspace.clear();
    load_files(storage, &directory, &config).map(drop)
}

/// Has all that happened written to the log, if there is one, and forced to disk.
pub fn write_all(storage: Storage) -> Result<(), String> {
    if !storage.aof.is_enabled() {
        return Ok(());
    }
    let (done, answer) = mpsc::sync_channel(1);
    storage.journal.notify();
    storage.aof.order(Order::Write { done });
    answer.recv().map_err(|_| "the log was closed".to_owned())?
}

/// Reads all files of a log into the keyspace.
fn load_files(
    storage: Storage,
    directory: &Directory,
    config: &Config,
) -> Result<(Tail, Option<StreamPlace>), String> {
    let applier = storage.host.applier()?;
    let mut loader = Loader { storage, applier, bytes_before: 0, failures: 0, place: None };
    let mut tail = Tail::Empty;
    let loading = &storage.persistence.loading;
    let size = |file: &LogFile| directory.size_of(file).unwrap_or(0);
    loading.begin(directory.manifest.files().map(size).sum(), unix_millis());
    let count = directory.manifest.files().count();
    for (index, file) in directory.manifest.files().enumerate() {
        let start = monotonic_nanos();
        let path = directory.path_of(file);
        let name = file.shown();
        let is_last = index + 1 == count;
        let role = match (is_last, config.aof_load_truncated) {
            (false, _) => Role::Inner,
            (true, true) => Role::Last,
            (true, false) => Role::LastWhole,
        };
        tail = loader.load(&path, &name, role)?;
        let seconds = (monotonic_nanos() - start) as f64 / 1e9;
        let is_base = directory.manifest.base.as_ref() == Some(file);
        let role = if is_base { "base" } else { "incr" };
        tracing::info!("DB loaded from {role} file {name}: {seconds:.3} seconds");
    }
    loading.set_loaded_bytes(loader.bytes_before);
    loading.end(unix_millis());
    if 0 < loader.failures {
        tracing::warn!("{} commands of the append-only file failed", loader.failures);
    }
    Ok((tail, loader.place))
}

/// What place a file has in the log, and so how it may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Others follow it: it has to be whole, and complete if it is encrypted.
    Inner,
    /// It is the last one, and has to be whole.
    LastWhole,
    /// It is the last one: what is torn is cut off.
    Last,
}

/// The increment to go on with. A log that has none gets one, and a base if it has no files at all; so does one whose
/// last file cannot be appended to: it is encrypted and new ones are not, or the other way round.
fn open_for_appending(
    storage: Storage,
    directory: &mut Directory,
    tail: Tail,
    config: &Config,
) -> Result<Increment, String> {
    let fail = |error: io::Error| format!("Can't open the append-only file: {error}");
    directory.create().map_err(fail)?;
    let keys = storage.aof.keys();
    let mut manifest = directory.manifest.clone();
    if manifest.is_empty() {
        if std::path::Path::new(&config.dbfilename).exists() {
            tracing::warn!(
                "There is no append-only file yet, so the server starts without data. The dump file {} is there and is \
                 not loaded, because appendonly is yes. To take it over, start with appendonly no and then use CONFIG \
                 SET appendonly yes",
                config.dbfilename
            );
        }
        let base = add_empty_base(storage, directory, &mut manifest, config)?;
        tracing::info!("Creating AOF base file {} on server start", base.shown());
    }
    let place = match (tail, &keys) {
        (Tail::Empty, _) | (Tail::Plain, None) => Some(Place::default()),
        (Tail::Encrypted(place), Some(_)) => Some(place),
        _ => None,
    };
    let last = manifest.increments.last().cloned().zip(place);
    let (file, place) = last.unwrap_or_else(|| {
        let file = manifest.add_increment(&directory.prefix);
        tracing::info!("Creating AOF incr file {} on server start", file.shown());
        (file, Place::default())
    });
    let path = directory.path_of(&file);
    let is_new = manifest.increments.len() != directory.manifest.increments.len();
    if is_new {
        directory.disk.remove(&path).map_err(fail)?;
    }
    let seal = keys.map(|keys| (keys, place));
    let has_marks = config.aof_timestamp_enabled;
    let increment = Increment::open(&directory.disk, &path, has_marks, seal).map_err(fail)?;
    if manifest != directory.manifest {
        directory.disk.sync_folder(&directory.path).map_err(fail)?;
        directory.replace(manifest).map_err(fail)?;
    }
    if !config.aof_disable_auto_gc && !directory.manifest.history.is_empty() {
        directory.delete_history();
    }
    Ok(increment)
}

/// Adds the base of a log that begins with nothing.
fn add_empty_base(
    storage: Storage,
    directory: &Directory,
    manifest: &mut Manifest,
    config: &Config,
) -> Result<LogFile, String> {
    let format = if config.aof_use_rdb_preamble { BaseFormat::Rdb } else { BaseFormat::Commands };
    let base = manifest.replace_base(&directory.prefix, format);
    let job = Job::new(Kind::Start, Share::Half, unix_millis());
    write_base(storage, storage.keyspace.snapshot(), &directory.path_of(&base), &job, config)?;
    Ok(base)
}

/// Reads files into the keyspace.
struct Loader {
    storage: Storage,
    /// What runs their units.
    applier: Box<dyn Apply>,
    /// Bytes of the files that were read before.
    bytes_before: u64,
    /// Commands that have failed.
    failures: u64,
    /// Where in a history the data is, if the last line of the log says so.
    place: Option<StreamPlace>,
}

impl Loader {
    /// Reads all of a file: keys if it begins as a dump, and then commands.
    fn load(&mut self, path: &Path, name: &str, role: Role) -> Result<Tail, String> {
        let file = File::open(path)
            .map_err(|error| format!("The append log file {name} can't be opened: {error}"))?;
        let size = file.metadata().map_or(0, |it| it.len());
        let keys = self.storage.aof.keys();
        let input = Input::new(file, keys.as_deref()).map_err(|error| unreadable(name, &error))?;
        let mut input = SharedInput { input: Arc::new(Mutex::new(input)) };
        let mut beginning = Vec::new();
        let begun = (&mut input).take(RDB_MAGIC_BYTES).read_to_end(&mut beginning);
        begun.map_err(|error| unreadable(name, &error))?;
        self.applier.begin_file();
        let is_empty = beginning.is_empty();
        let is_dump = is_rdb(&beginning);
        let end = input.clone();
        let source = io::Cursor::new(beginning).chain(input);
        let source: Box<dyn Read + Send> = Box::new(source);
        let (source, start) =
            if is_dump { self.load_dump(source, size, name)? } else { (source, 0) };
        let mut reader = LogReader::new(source, start);
        let problem = self.run_all(&mut reader, name)?;
        self.place = reader.place().filter(|_| problem.is_none()).cloned();
        self.bytes_before += size;
        let corrupt_bytes_max = self.storage.config.load().aof_load_corrupt_tail_max_size;
        let position = reader.position();
        let place = End { path, name, role, corrupt_bytes_max, keys: keys.as_deref(), position };
        match (problem, &*end.input.lock()) {
            (Some(error), _) => place.cut(&error),
            (None, Input::Plain(_)) => Ok(if is_empty { Tail::Empty } else { Tail::Plain }),
            (None, Input::Encrypted(input)) => place.judge(input),
        }
    }

    /// Puts the keys of a dump into the keyspace, and gives back what follows it and where that is.
    fn load_dump(
        &mut self,
        source: Box<dyn Read + Send>,
        size: u64,
        name: &str,
    ) -> Result<(Box<dyn Read + Send>, u64), String> {
        let config = self.storage.config.load();
        // What comes behind may be about keys that are due already.
        let options = LoadOptions { drops_due: false, replaces: false, resumes_history: false };
        let counted = Counted { source, read: Arc::default() };
        let read = Arc::clone(&counted.read);
        let loaded = rdb_load::begin(Box::new(counted), size, &config)
            .and_then(|dump| dump.load(self.storage, options, unix_millis()));
        let (_, source, rest) = loaded.map_err(|error| {
            log_failure(&error, name);
            format!("Error reading the RDB base file {name}, AOF loading aborted")
        })?;
        let start = read.load(Ordering::Relaxed) - rest.len() as u64;
        Ok((Box::new(io::Cursor::new(rest).chain(source)), start))
    }

    /// Runs all commands that can be read. Returns why there are no more, unless the file is at its end.
    fn run_all(
        &mut self,
        reader: &mut LogReader<Box<dyn Read + Send>>,
        name: &str,
    ) -> Result<Option<LogError>, String> {
        let fail = |error| format!("Error reading the append only file {name}, error: {error}");
        let storage = self.storage;
        let mut is_delayed = load_delay::is_wanted(storage);
        let mut count = 0_u32;
        let problem = loop {
            count = count.wrapping_add(1);
            if is_delayed || count.is_multiple_of(UNITS_PER_REPORT) {
                is_delayed = load_delay::is_wanted(storage);
                let loaded = self.bytes_before + reader.position();
                self.storage.persistence.loading.set_loaded_bytes(loaded);
                if self.storage.host.is_ending() {
                    return Err("loading was stopped".to_owned());
                }
            }
            match reader.next_unit() {
                Ok(None) => break None,
                Ok(Some(unit)) => {
                    self.applier.unit(&unit).map_err(fail)?;
                    if is_delayed {
                        let must_stop = || storage.host.is_ending();
                        load_delay::delay(storage, unit.commands().len(), must_stop);
                    }
                }
                Err(error) => break Some(error),
            }
        };
        self.failures = self.applier.barrier().map_err(fail)?;
        Ok(problem)
    }
}

fn unreadable(name: &str, error: &dyn std::fmt::Display) -> String {
    format!("Unrecoverable error reading the append only file {name}: {error}")
}

/// A file that is read by one and looked at by another.
#[derive(Clone)]
struct SharedInput {
    input: Arc<Mutex<Input<File>>>,
}

impl io::Read for SharedInput {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.input.lock().read(out)
    }
}

/// Counts what is read.
struct Counted {
    source: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl io::Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(out)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Where reading a file came to its end.
struct End<'a> {
    path: &'a Path,
    name: &'a str,
    role: Role,
    /// What is no command may be cut off if it is no longer.
    corrupt_bytes_max: u64,
    keys: Option<&'a KeyRing>,
    /// Plain bytes that are whole units.
    position: u64,
}

impl End<'_> {
    /// Whether an encrypted file whose commands are whole ends as it has to.
    fn judge<R: Read>(&self, input: &Decrypting<R>) -> Result<Tail, String> {
        let incomplete = |error: EncryptionError| Err(unreadable(self.name, &error));
        match (input.ending(), self.role) {
            (Ending::Complete, _) => Ok(Tail::Complete),
            (Ending::Torn(_), _) => {
                self.cut(&LogError::Torn { valid_up_to: self.position, in_transaction: false })
            }
            (_, Role::Inner) => {
                input.expect_complete().map_or_else(incomplete, |()| Ok(Tail::Complete))
            }
            (_, Role::LastWhole | Role::Last) => Ok(Tail::Encrypted(input.place().0)),
        }
    }

    /// Cuts the torn or corrupt end off the file, or says why that is not done.
    fn cut(&self, error: &LogError) -> Result<Tail, String> {
        let name = self.name;
        let len = std::fs::metadata(self.path).map_or(0, |it| it.len());
        // In an encrypted file, places are counted without what encryption adds.
        let lost = len.saturating_sub(self.position);
        let (state, permission) = match error {
            LogError::Io(error) => {
                return Err(format!(
                    "Unrecoverable error reading the append only file {name}: {error}"
                ));
            }
            LogError::Malformed { .. }
                if self.role == Role::Inner || self.corrupt_bytes_max < lost =>
            {
                return Err(format!(
                    "Bad file format reading the append only file {name}: {error}. {lost} bytes from there on are not \
                     commands. Make a backup of it, then use rubine-check-aof --fix with the manifest, or, if it is the \
                     last file of the log, set aof-load-corrupt-tail-max-size to at least as much"
                ));
            }
            LogError::Torn { .. } if self.role != Role::Last => {
                return Err(format!(
                    "Unexpected end of file reading the append only file {name}: {error}. Make a backup of it, then \
                     use rubine-check-aof --fix with the manifest, or set aof-load-truncated to yes. Only the last \
                     file of a log is ever truncated"
                ));
            }
            LogError::Malformed { .. } => ("corrupt", "aof-load-corrupt-tail-max-size allows it"),
            LogError::Torn { .. } => ("torn", "aof-load-truncated is enabled"),
        };
        tracing::warn!(
            "The append-only file {name} is {state}: {error}. Truncating it there, {lost} bytes before its end"
        );
        let tail = truncate(self.path, self.keys, self.position);
        let tail =
            tail.map_err(|error| format!("Error truncating the append-only file {name}: {error}"))?;
        tracing::warn!("AOF {name} loaded anyway because {permission}");
        Ok(tail)
    }
}
