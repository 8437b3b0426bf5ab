//! Loading a dump: one thread cuts the file into batches, others make records of them and put them into the shards.
//! Serves no client, and knows nothing of when loading is due.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use parking_lot::Mutex;
use rubine_base::crc::slot_of;
use rubine_journal::{Effects, HistoryId, ReplicationOffset};
use rubine_keyspace::{Access, Key, Place, SlotImport};
use rubine_persistence::encryption;
use rubine_rdb::ValueLimits;
use rubine_rdb::error::{Damage, Fault, ReadError};
use rubine_rdb::read::{AccessHint, Attributes, Batch, Entry, Item, Reader};
use rubine_rdb::version::Version;
use rubine_structures::record::Record;

use crate::load_delay::delay;
use crate::resuming::{self, Resumed};
use crate::storage::Storage;
use rubine_config::Config;

/// Batches that may wait for the threads that decode them, for each of these.
const BATCHES_AHEAD_MAX: usize = 4;
/// Keys without elements that each thread names in the log.
const LOGGED_EMPTY_MAX: u64 = 10;
/// Records that are put into the shards together.
const RECORDS_TOGETHER_MAX: usize = 4096;
/// Keys whose buckets are fetched ahead of each other.
const KEYS_AHEAD_MAX: usize = 32;

/// Versions of Redis that Valkey left to others.
const FOREIGN_VERSIONS: std::ops::Range<u16> = 12..80;

/// Where a dump is read from.
pub(crate) type Input = Box<dyn Read + Send>;

/// Why nothing, or not all, was loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("can't open the RDB file {name} for reading: {error}")]
    Open { name: String, error: io::Error },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "the file has keys of database {db}, and this server is configured to have {databases}"
    )]
    Database { db: u64, databases: usize },
    /// Something of a version that was let through without being known.
    #[error("unknown type or opcode {byte} at offset {offset}, in version {version}")]
    UnknownType { byte: u8, offset: u64, version: Version },
    #[error("RDB has duplicated key '{key}' in DB {db}")]
    DuplicateKey { key: String, db: usize },
    #[error("RDB has the function library '{name}', which is there already")]
    DuplicateLibrary { name: String },
    #[error("no thread can be started: {0}")]
    Thread(io::Error),
    /// The server is to end.
    #[error("loading was stopped")]
    Stopped,
}

/// How a dump is taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadOptions {
    /// Whether keys that are due already are left out. A log that goes on behind the dump may need them.
    pub(crate) drops_due: bool,
    /// Whether a key of the dump takes the place of one that is there, rather than ending the load.
    pub(crate) replaces: bool,
    /// Whether this server goes on with the history that the dump says its data is of, so that its replicas, or its master, go
    /// on with it.
    pub(crate) resumes_history: bool,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) keys: u64,
    pub(crate) expired: u64,
    /// Values without elements, which older versions may have written.
    pub(crate) empty: u64,
    pub(crate) remarks: ReplicationRemarks,
}

/// What a dump says of the stream that goes on where it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicationRemarks {
    /// The database that is selected there.
    pub database: Option<u32>,
    pub id: Option<HistoryId>,
    pub offset: Option<ReplicationOffset>,
}

impl ReplicationRemarks {
    fn note(&mut self, key: &[u8], value: &[u8]) {
        let number = || std::str::from_utf8(value).ok();
        match key {
            b"repl-stream-db" => self.database = number().and_then(|it| it.parse().ok()),
            b"repl-id" => self.id = HistoryId::parse(value),
            b"repl-offset" => {
                self.offset = number().and_then(|it| it.parse().ok()).map(ReplicationOffset);
            }
            _ => {}
        }
    }
}

/// A dump whose first bytes are known to be good.
pub(crate) struct Dump {
    reader: Reader<Input>,
    pub(crate) total_bytes: u64,
}

/// Opens a file in the working directory. `None` if there is none.
pub(crate) fn open(storage: Storage, config: &Config) -> Result<Option<Dump>, LoadError> {
    let name = &config.dbfilename;
    let open = |error| LoadError::Open { name: name.clone(), error };
    let file = match File::open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open(error)),
    };
    let total_bytes = file.metadata().map_err(open)?.len();
    let keys = storage.aof.keys();
    let input = encryption::Input::new(file, keys.as_deref()).map_err(open)?.complete();
    begin(Box::new(input), total_bytes, config).map(Some)
}

/// Looks at the first bytes of `input`.
pub(crate) fn begin(input: Input, total_bytes: u64, config: &Config) -> Result<Dump, LoadError> {
    let check = config.rdb_version_check.meaning();
    let mut reader = Reader::new(input, check)?;
    if !config.rdbchecksum {
        reader.ignore_checksum();
    }
    Ok(Dump { reader, total_bytes })
}

impl Dump {
    /// Loads everything, and gives back the input with what was read of it beyond the end.
    pub(crate) fn load(
        self,
        storage: Storage,
        options: LoadOptions,
        now: i64,
    ) -> Result<(Loaded, Input, Vec<u8>), LoadError> {
        let config = storage.config.load();
        let mut reader = self.reader;
        let shared = Shared::new(storage, &config, options, now);
        let threads = storage.host.loaders();
        let cut = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(threads * BATCHES_AHEAD_MAX);
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..threads {
                let (shared, batches) = (&shared, Arc::clone(&receiver));
                let decoder = std::thread::Builder::new().name("load decoder".to_owned());
                decoder
                    .spawn_scoped(scope, move || decode_batches(shared, &batches))
                    .map_err(LoadError::Thread)?;
            }
            drop(receiver);
            let mut send = |batch| sender.send(batch).map_err(|_| LoadError::Stopped);
            cut(&mut reader, &shared, &mut send)
        });
        // What a decoder met comes before the cutter's finding that it was to stop.
        if let Some(failure) = shared.failure.into_inner() {
            return Err(failure);
        }
        cut.map_err(|error| match error {
            LoadError::Read(ReadError::Damaged(Damage {
                fault: Fault::UnknownType(byte),
                offset,
            })) => LoadError::UnknownType { byte, offset, version: reader.version() },
            other => other,
        })?;
        if reader.is_unsummed() && config.rdbchecksum {
            tracing::info!("RDB file was saved with checksum disabled: no check performed.");
        }
        let keys_with_meta = reader.keys_with_meta();
        if keys_with_meta != 0 {
            tracing::warn!(
                "Modules kept something beside {keys_with_meta} keys of the dump, which is not kept."
            );
        }
        let (input, rest) = reader.into_rest();
        let loaded = shared.loaded.into_inner();
        storage.persistence.loading.add_keys(0, loaded.expired);
        Ok((loaded, input, rest))
    }
}

/// What the threads of one load share.
struct Shared {
    storage: Storage,
    options: LoadOptions,
    limits: ValueLimits,
    access: Access,
    databases: usize,
    now: i64,
    has_failed: AtomicBool,
    /// Keys that are due already are told of in the journal, as they are in the history that was resumed.
    tells_due: AtomicBool,
    /// Some keys are of slots that are being taken in.
    has_hidden: AtomicBool,
    failure: Mutex<Option<LoadError>>,
    loaded: Mutex<Loaded>,
}

impl Shared {
    fn new(storage: Storage, config: &Config, options: LoadOptions, now: i64) -> Self {
        Self {
            storage,
            options,
            limits: storage.host.value_limits(config),
            access: Access::new(storage.host.access_policy(config), now),
            databases: config.database_count() as usize,
            now,
            has_failed: AtomicBool::new(false),
            tells_due: AtomicBool::new(false),
            has_hidden: AtomicBool::new(false),
            failure: Mutex::new(None),
            loaded: Mutex::default(),
        }
    }

    /// The first failure is told; all stop.
    fn fail(&self, error: LoadError) {
        self.failure.lock().get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
    }

    fn must_stop(&self) -> bool {
        self.has_failed.load(Ordering::Acquire) || self.storage.host.is_ending()
    }
}

/// Reads the file from its start to its end.
fn cut(
    reader: &mut Reader<Input>,
    shared: &Shared,
    send: &mut impl FnMut(Batch) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let loading = &shared.storage.persistence.loading;
    // Remarks stand in front of the keys.
    let mut may_resume = shared.options.resumes_history;
    while let Some(item) = reader.next_item()? {
        if shared.must_stop() {
            return Err(LoadError::Stopped);
        }
        match item {
            Item::Entries(batch) => {
                if std::mem::take(&mut may_resume) {
                    resume_history(shared);
                }
                delay(shared.storage, batch.len(), || shared.must_stop());
                send(batch)?;
            }
            Item::SelectDb(db) => {
                let databases = shared.databases;
                if databases as u64 <= db {
                    return Err(LoadError::Database { db, databases });
                }
            }
            Item::Aux { key, value } => {
                shared.loaded.lock().remarks.note(&key, &value);
                note_remark(shared, &key, &value);
            }
            Item::Function(code) => {
                let functions = &shared.storage.persistence.saves.functions;
                if shared.options.replaces {
                    functions.keep(code);
                } else if let Err(name) = functions.keep_new(code) {
                    let name = name.escape_ascii().to_string();
                    return Err(LoadError::DuplicateLibrary { name });
                }
            }
            Item::ModuleAux { module } => {
                tracing::warn!("The dump has data of the module '{module}', which is not kept.");
            }
            Item::SlotImport { job, ranges } => {
                shared.storage.host.note_import(&SlotImport { name: job, ranges });
                shared.has_hidden.store(true, Ordering::Release);
            }
            Item::ResizeDb { .. } | Item::SlotInfo { .. } => {}
        }
        loading.set_loaded_bytes(reader.offset());
    }
    if may_resume {
        resume_history(shared);
    }
    loading.set_loaded_bytes(reader.offset());
    Ok(())
}

/// Goes on with the history of the dump: as the master that it was, or as the replica of one.
fn resume_history(shared: &Shared) {
    let ReplicationRemarks { database, id, offset } = shared.loaded.lock().remarks;
    let (Some(id), Some(offset)) = (id, offset) else { return };
    let resumed = resuming::resume_history(shared.storage, id, offset, database);
    shared.tells_due.store(resumed == Resumed::Own, Ordering::Release);
}

fn tell_due(shared: &Shared, db: u32, key: &[u8]) {
    let mut effects = Effects::new();
    effects.command(db, &[b"UNLINK", key]);
    shared.storage.journal.append(&mut effects, (shared.now / 1000) as u64);
}

fn note_remark(shared: &Shared, key: &[u8], value: &[u8]) {
    let value = String::from_utf8_lossy(value);
    match key {
        b"redis-ver" | b"valkey-ver" => {
            tracing::info!("Loading RDB produced by version {}", value.escape_debug());
        }
        b"rubine-ver" => tracing::info!("Loading RDB produced by Rubine {}", value.escape_debug()),
        b"ctime" => {
            let now = shared.now / 1000;
            let age = now.saturating_sub(value.parse().unwrap_or(now));
            tracing::info!("RDB age {} seconds", age.max(0));
        }
        b"used-mem" => {
            let bytes: u64 = value.parse().unwrap_or(0);
            shared.storage.persistence.loading.set_used_memory(bytes);
            tracing::info!("RDB memory usage when created {:.2} Mb", bytes as f64 / 1_048_576.0);
        }
        // Others, even unknown ones, mean nothing.
        _ => {}
    }
}

/// The work of one thread: batch after batch, until there are no more.
fn decode_batches(shared: &Shared, batches: &Mutex<Receiver<Batch>>) {
    let mut pool = Pool::default();
    loop {
        let received = batches.lock().recv();
        let Ok(batch) = received else { break };
        if shared.must_stop() {
            // What is left is taken out and dropped, so that the reader does not wait for room.
            continue;
        }
        if let Err(error) = decode_batch(shared, &batch, &mut pool) {
            shared.fail(error);
        }
    }
    if !shared.must_stop()
        && let Err(error) = pool.settle(shared)
    {
        shared.fail(error);
    }
    let mut loaded = shared.loaded.lock();
    loaded.keys += pool.loaded.keys;
    loaded.expired += pool.loaded.expired;
    loaded.empty += pool.loaded.empty;
}

fn decode_batch(shared: &Shared, batch: &Batch, pool: &mut Pool) -> Result<(), LoadError> {
    // The reader has refused databases that there are not.
    let db = batch.db() as usize;
    for entry in batch.entries() {
        match decode(shared, &entry) {
            Ok(Some((record, place))) => pool.push(db, record, place),
            Ok(None) => {
                pool.loaded.expired += 1;
                if shared.tells_due.load(Ordering::Acquire) {
                    tell_due(shared, batch.db() as u32, &entry.key().unwrap_or_default());
                }
            }
            Err(Damage { fault: Fault::Empty(_), .. }) => {
                pool.loaded.empty += 1;
                if pool.loaded.empty <= LOGGED_EMPTY_MAX {
                    let key = entry.key().unwrap_or_default();
                    tracing::info!("skipping empty key: {}", key.escape_ascii());
                }
            }
            Err(damage) => return Err(ReadError::Damaged(damage).into()),
        }
    }
    if RECORDS_TOGETHER_MAX <= pool.records.len() {
        pool.settle(shared)?;
    }
    Ok(())
}

/// The record of an entry and its place; `None` if it is due already.
fn decode(shared: &Shared, entry: &Entry<'_>) -> Result<Option<(Record, Place)>, Damage> {
    let Attributes { deadline, access } = entry.attributes;
    let is_due = deadline.is_some_and(|deadline| deadline < shared.now);
    if is_due && shared.options.drops_due {
        return Ok(None);
    }
    let key = entry.key()?;
    let value = entry.decode(&shared.limits)?;
    let access = match access {
        Some(AccessHint::IdleSeconds(seconds)) => {
            shared.access.with_idle_seconds(u32::try_from(seconds).unwrap_or(u32::MAX))
        }
        Some(AccessHint::Frequency(frequency)) => shared.access.with_frequency(frequency),
        None => shared.access.initial(),
    };
    let place = Key::new(&key).place();
    Ok(Some((Record::new(&key, value, deadline, access), place)))
}

/// Records on their way into the shards.
#[derive(Default)]
struct Pool {
    /// With database and place.
    records: Vec<(usize, Place, Record)>,
    loaded: Loaded,
}

impl Pool {
    fn push(&mut self, db: usize, record: Record, place: Place) {
        self.records.push((db, place, record));
    }

    /// Puts all records into their shards, those of one shard under one lock.
    fn settle(&mut self, shared: &Shared) -> Result<(), LoadError> {
        let keyspace = shared.storage.keyspace;
        let count = self.records.len();
        let mut duplicate = None;
        if shared.has_hidden.load(Ordering::Acquire) {
            self.hide(shared, &mut duplicate);
        }
        let shown = self.records.len();
        self.records.sort_unstable_by_key(|it| it.1.shard());
        let places: Vec<_> = self.records.iter().map(|it| (it.0, it.1)).collect();
        let mut records = self.records.drain(..).peekable();
        let (mut settled, mut fetched) = (0, 0);
        while let Some(shard) = records.peek().map(|it| it.1.shard()) {
            if fetched < settled + KEYS_AHEAD_MAX {
                let ahead = &places[fetched..shown.min(fetched + KEYS_AHEAD_MAX)];
                keyspace.prefetch_buckets(ahead);
                fetched += ahead.len();
            }
            let of_shard = std::iter::from_fn(|| {
                let (db, place, record) = records.next_if(|it| it.1.shard() == shard)?;
                settled += 1;
                Some((db, place.table_hash(), record))
            });
            keyspace.load(shard, of_shard, shared.options.replaces, |db, record| {
                duplicate.get_or_insert_with(|| duplicate_key(db, &record));
            });
        }
        drop(records);
        if let Some(error) = duplicate {
            return Err(error);
        }
        self.loaded.keys += count as u64;
        shared.storage.persistence.loading.add_keys(count as u64, 0);
        Ok(())
    }
}

impl Pool {
    /// Puts the records of slots that are being taken in where nobody sees them.
    fn hide(&mut self, shared: &Shared, duplicate: &mut Option<LoadError>) {
        let host = shared.storage.host;
        let replaces = shared.options.replaces;
        let slot_of = |record: &Record| slot_of(record.as_ref().key());
        let is_hidden = |it: &mut (usize, Place, Record)| host.hidden(slot_of(&it.2)).is_some();
        for (db, place, record) in self.records.extract_if(.., is_hidden) {
            let Some(keyspace) = host.hidden(slot_of(&record)) else { continue };
            let one = std::iter::once((db, place.table_hash(), record));
            keyspace.load(place.shard(), one, replaces, |db, record| {
                duplicate.get_or_insert_with(|| duplicate_key(db, &record));
            });
        }
    }
}

fn duplicate_key(db: usize, record: &Record) -> LoadError {
    LoadError::DuplicateKey { key: record.as_ref().key().escape_ascii().to_string(), db }
}

/// Says what is wrong and what can be done. The last line is one that people and programs look for.
pub(crate) fn log_failure(error: &LoadError, file: &str) {
    if let LoadError::UnknownType { byte, version, .. } = error {
        tracing::warn!("The dump file {file} cannot be loaded: {error}");
        match version {
            Version::Redis(number) if FOREIGN_VERSIONS.contains(number) => tracing::warn!(
                "Can't handle foreign type or opcode {byte} in RDB with version {number}"
            ),
            _ => tracing::warn!(
                "Unknown type or opcode when loading DB. Unrecoverable error, aborting now."
            ),
        }
        return;
    }
    let LoadError::Read(error) = error else {
        tracing::warn!("Can't load the data: {error}");
        return;
    };
    tracing::warn!(
        "The dump file {file} cannot be loaded: {error}. `rubine-check-rdb {file}` looks at all of it."
    );
    let ReadError::Damaged(Damage { fault, .. }) = error else { return };
    match fault {
        Fault::UnknownVersion(Version::Redis(number)) if FOREIGN_VERSIONS.contains(number) => {
            tracing::warn!(
                "Can't handle RDB format version {number}: it is none that Redis or Valkey have published"
            );
        }
        Fault::UnknownVersion(version) => {
            tracing::warn!("Can't handle RDB format version {version}");
        }
        Fault::Checksum { .. } => {
            tracing::warn!("RDB CRC error: the file is not what was written. Aborting now.");
        }
        _ => {}
    }
}
