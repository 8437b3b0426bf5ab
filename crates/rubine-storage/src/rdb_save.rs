//! Writing an image of all databases as a dump: threads encode tables side by side, one strings the pieces together.
//! Takes no lock of a shard, and gives the memory of each table back as soon as it is written.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use rubine_keyspace::{Access, AccessPolicy, SlotImport, Snapshot};
use rubine_rdb::encode::{self, Encoder};
use rubine_rdb::error::WriteError;
use rubine_rdb::read::{AccessHint, Attributes};
use rubine_rdb::version::Version;
use rubine_rdb::write::{self, Writer};
use rubine_structures::record::RecordRef;
use rubine_structures::table::TableSnapshot;
use rubine_structures::value::ValueRef;

use crate::pace::{Pace, Share};

/// Records that are encoded between two looks at whether somebody has cancelled.
const RECORDS_PER_STEP: usize = 64;
/// Small values that are fetched before the first of them is encoded: memory is what a save waits for most.
const VALUES_AHEAD: usize = 16;
/// Encoded bytes that travel together.
const PIECE_BYTES: usize = 128 * 1024;
/// The last entry of a piece begins before its end. Most entries are shorter than this.
const PIECE_MARGIN_BYTES: usize = 8 * 1024;
/// A value that is longer travels in parts.
const PART_BYTES: usize = 4 * PIECE_BYTES;
/// Pieces that each encoder may be ahead of the writer.
const PIECES_AHEAD_MAX: usize = 2;
/// A long delay between two keys is slept in steps, so that cancelling does not wait for it.
const DELAY_STEP: Duration = Duration::from_millis(10);

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Unrepresentable(WriteError),
    #[error("slots are being imported, which a dump of this version cannot say")]
    SlotsAreImported,
    #[error("it was cancelled")]
    Cancelled,
}

impl From<WriteError> for SaveError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => Self::Io(error),
            error @ WriteError::Unrepresentable { .. } => Self::Unrepresentable(error),
        }
    }
}

/// How a dump is written.
#[derive(Clone, Debug)]
pub(crate) struct DumpOptions {
    /// `None`: the newest that the most servers load and that can hold the data.
    pub(crate) version: Option<Version>,
    pub(crate) compresses: bool,
    pub(crate) sums: bool,
    pub(crate) threads: usize,
    /// What encoders take while others want processors.
    pub(crate) share: Share,
    /// Microseconds that each key takes longer; below zero, one key in so many takes one more. For tests.
    pub(crate) key_delay_us: i32,
    /// How accesses are written, if they are.
    pub(crate) access: Option<Access>,
    /// Remarks in front of the keys.
    pub(crate) remarks: Vec<(&'static str, String)>,
    /// The code of function libraries.
    pub(crate) functions: Vec<Vec<u8>>,
}

/// The tables that are still to be written, and how far it has come. Shared with whoever wants to know.
#[derive(Debug, Default)]
pub(crate) struct Work {
    tables: Mutex<VecDeque<(usize, TableSnapshot)>>,
    /// By database: keys, and keys with a deadline.
    sizes: Mutex<Vec<(usize, usize)>>,
    /// Slots whose keys nobody is to see yet.
    imports: Mutex<Vec<SlotImport>>,
    keys_total: AtomicU64,
    keys_done: AtomicU64,
    bytes_done: AtomicU64,
    /// What tables had kept for this image when they were done.
    released_bytes: AtomicUsize,
    is_cancelled: AtomicBool,
}

impl Work {
    /// Takes in what is to be written.
    pub(crate) fn fill(&self, image: Snapshot) {
        let sizes: Vec<_> =
            (0..image.db_count()).map(|db| (image.len(db), image.volatile_len(db))).collect();
        let keys: usize = sizes.iter().map(|it| it.0).sum();
        self.keys_total.store(keys as u64, Ordering::Relaxed);
        *self.sizes.lock() = sizes;
        self.imports.lock().clone_from(&image.imports);
        *self.tables.lock() = image.into_tables().into();
    }

    /// So many keys are to be written by somebody else, who tells how far that is.
    pub(crate) fn expect_keys(&self, keys: usize) {
        self.keys_total.store(keys as u64, Ordering::Relaxed);
    }

    pub(crate) fn note_done(&self, keys: u64, bytes: u64) {
        self.keys_done.fetch_add(keys, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    pub(crate) fn keys_total(&self) -> u64 {
        self.keys_total.load(Ordering::Relaxed)
    }

    pub(crate) fn keys_done(&self) -> u64 {
        self.keys_done.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_done(&self) -> u64 {
        self.bytes_done.load(Ordering::Relaxed)
    }

    /// Bytes that were copied for the sake of the image so far, about.
    pub(crate) fn copied_bytes(&self) -> usize {
        let waiting = self.tables.lock();
        let retained: usize = waiting.iter().map(|(_, table)| table.retained_bytes()).sum();
        retained + self.released_bytes.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), SaveError> {
        let is_cancelled = self.is_cancelled.load(Ordering::Acquire);
        if is_cancelled { Err(SaveError::Cancelled) } else { Ok(()) }
    }

    /// The newest version that the most servers load and that can hold the data.
    fn common_version(&self, share: Share) -> Version {
        // The lock is not held meanwhile, since INFO asks for it.
        let tables = std::mem::take(&mut *self.tables.lock());
        let mut pace = Pace::new(share);
        let mut version = Version::COMMON;
        for (_, table) in &tables {
            let may_have_deadlines = table.may_have_inner_deadlines();
            let mut cursor = Some(0);
            let mut records = Vec::with_capacity(RECORDS_PER_STEP);
            while let Some(at) = cursor.filter(|_| self.check().is_ok()) {
                pace.step();
                records.clear();
                cursor = table.scan(at, RECORDS_PER_STEP, |record| {
                    record.prefetch();
                    records.push(record);
                });
                for record in &records {
                    let value = record.value();
                    let is_suspect = match value {
                        ValueRef::Stream(_) => true,
                        ValueRef::Hash(_) => may_have_deadlines,
                        _ => false,
                    };
                    if is_suspect {
                        version = version.or_holding(value);
                    }
                }
            }
        }
        *self.tables.lock() = tables;
        version
    }
}

/// Writes all that `work` holds to `out`, which need not have a buffer, and gives `out` back.
pub(crate) fn write_dump<W: Write>(
    work: &Work,
    out: W,
    options: &DumpOptions,
) -> Result<W, SaveError> {
    let imports = work.imports.lock().clone();
    let version = match options.version {
        Some(version) => version,
        None if !imports.is_empty() => Version::VALKEY_FIELD_DEADLINES,
        None => work.common_version(options.share),
    };
    if !imports.is_empty() && !version.is_valkey() {
        return Err(SaveError::SlotsAreImported);
    }
    let format = write::Options { version, compresses: options.compresses, sums: options.sums };
    let buffer = io::BufWriter::with_capacity(PIECE_BYTES, out);
    let mut writer = Writer::new(buffer, format)?;
    for (name, value) in &options.remarks {
        writer.aux(name.as_bytes(), value.as_bytes())?;
    }
    for code in &options.functions {
        writer.function(code)?;
    }
    for import in &imports {
        writer.slot_import(&import.name, &import.ranges)?;
    }
    // A delay is one for each key, not for each thread.
    let threads = if options.key_delay_us == 0 { options.threads.max(1) } else { 1 };
    let outcome = std::thread::scope(|scope| {
        let (announce, announced) = channel();
        let mut inputs = Vec::new();
        let mut encoders = Vec::new();
        for number in 0..threads {
            let (sender, input) = sync_channel(PIECES_AHEAD_MAX);
            inputs.push(input);
            let announce = announce.clone();
            let encoder = std::thread::Builder::new().name("save encoder".to_owned());
            encoders.push(encoder.spawn_scoped(scope, move || {
                let out = Outlet { number, sender, announce, bytes: Vec::new(), db: 0, parts: 0 };
                encode_tables(work, version, options, out)
            })?);
        }
        drop(announce);
        let written = string_together(work, &mut writer, &announced, &inputs);
        if written.is_err() {
            work.cancel();
        }
        // Encoders that wait for room find out that nobody reads any more.
        drop(inputs);
        let mut outcome = written;
        for encoder in encoders {
            let encoded = encoder.join().expect("an encoder panics only where all would abort");
            // Its own failure is the cause, and that the others were cancelled for it is not.
            if let Err(error) = encoded
                && (outcome.is_ok() || !matches!(error, SaveError::Cancelled))
            {
                outcome = Err(error);
            }
        }
        outcome
    });
    outcome?;
    work.check()?;
    let buffer = writer.finish()?;
    work.check()?;
    buffer.into_inner().map_err(|error| SaveError::Io(error.into_error()))
}

/// Encoded entries of one database, or a part of a large one.
struct Piece {
    db: usize,
    bytes: Vec<u8>,
    keys: u64,
    /// The last entry is not complete: the next piece of the same encoder goes on with it.
    is_open: bool,
}

/// Where an encoder's bytes go.
struct Outlet {
    /// The encoder's number.
    number: usize,
    sender: SyncSender<Piece>,
    /// Says whose piece comes next. Parts that go on with an entry are not announced.
    announce: Sender<usize>,
    bytes: Vec<u8>,
    db: usize,
    /// Parts of the current entry that are on their way.
    parts: usize,
}

impl Outlet {
    fn send(&mut self, keys: u64, is_open: bool) -> io::Result<()> {
        let empty = Vec::with_capacity(PIECE_BYTES + PIECE_MARGIN_BYTES);
        let bytes = std::mem::replace(&mut self.bytes, empty);
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let is_continued = 0 < self.parts;
        self.sender.send(Piece { db: self.db, bytes, keys, is_open }).map_err(closed)?;
        if !is_continued {
            self.announce.send(self.number).map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        self.parts = if is_open { self.parts + 1 } else { 0 };
        Ok(())
    }
}

impl Write for Outlet {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        if PART_BYTES <= self.bytes.len() {
            self.send(0, true)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The work of one thread: encodes table after table.
fn encode_tables(
    work: &Work,
    version: Version,
    options: &DumpOptions,
    mut out: Outlet,
) -> Result<(), SaveError> {
    let mut pace = Pace::new(options.share);
    let compresses = options.compresses;
    let mut encoder = Encoder::new(encode::Options { version, compresses });
    let result = (|| {
        loop {
            work.check()?;
            let next = work.tables.lock().pop_front();
            let Some((db, table)) = next else { return Ok(()) };
            encode_table(work, options, &mut encoder, &mut pace, db, &table, &mut out)?;
            work.released_bytes.fetch_add(table.retained_bytes(), Ordering::Relaxed);
        }
    })();
    match result {
        // Nobody reads any more: whoever stopped has the reason.
        Err(SaveError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(SaveError::Cancelled)
        }
        Err(error) => {
            work.cancel();
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

fn encode_table(
    work: &Work,
    options: &DumpOptions,
    encoder: &mut Encoder,
    pace: &mut Pace,
    db: usize,
    table: &TableSnapshot,
    out: &mut Outlet,
) -> Result<(), SaveError> {
    out.db = db;
    let mut cursor = Some(0);
    let mut keys = 0;
    let mut records = Vec::with_capacity(RECORDS_PER_STEP);
    while let Some(at) = cursor {
        pace.step();
        records.clear();
        cursor = table.scan(at, RECORDS_PER_STEP, |record| {
            record.prefetch();
            records.push(record);
        });
        for some in records.chunks(VALUES_AHEAD) {
            some.iter().for_each(|record| record.value().prefetch_small());
            for &record in some {
                let attributes = attributes_of(record, options.access);
                encoder.entry(out, record.key(), attributes, record.value())?;
                // Where each key takes its time, each is counted by itself.
                keys += u64::from(options.key_delay_us == 0);
                // What was sent in parts is to be closed, so that others can go on.
                if 0 < out.parts || PIECE_BYTES <= out.bytes.len() {
                    out.send(std::mem::take(&mut keys), false)?;
                }
                delay(work, options.key_delay_us)?;
            }
        }
        work.check()?;
    }
    if !out.bytes.is_empty() {
        out.send(keys, false)?;
    }
    Ok(())
}

fn attributes_of(record: RecordRef<'_>, access: Option<Access>) -> Attributes {
    let bits = record.access();
    let access = access.map(|access| match access.policy {
        AccessPolicy::Lru => AccessHint::IdleSeconds(access.idle_seconds(bits).into()),
        AccessPolicy::Lfu { .. } => AccessHint::Frequency(access.frequency(bits) as u8),
    });
    Attributes { deadline: record.deadline(), access }
}

/// Lets a key take longer, for tests; counts it at once, since it is looked at meanwhile.
fn delay(work: &Work, micros: i32) -> Result<(), SaveError> {
    if micros == 0 {
        return Ok(());
    }
    let done = work.keys_done.fetch_add(1, Ordering::Relaxed);
    let mut left = if micros < 0 {
        let is_chosen = done.is_multiple_of(u64::from(micros.unsigned_abs()));
        Duration::from_micros(u64::from(is_chosen))
    } else {
        Duration::from_micros(u64::from(micros.unsigned_abs()))
    };
    while !left.is_zero() {
        let step = left.min(DELAY_STEP);
        std::thread::sleep(step);
        left -= step;
        work.check()?;
    }
    Ok(())
}

/// Writes the pieces as they come: each entry whole, each database announced.
fn string_together<W: Write>(
    work: &Work,
    writer: &mut Writer<W>,
    announced: &Receiver<usize>,
    inputs: &[Receiver<Piece>],
) -> Result<(), SaveError> {
    let mut selected = None;
    while let Ok(number) = announced.recv() {
        work.check()?;
        loop {
            // An encoder that has failed in the middle of an entry says so by its end.
            let Ok(piece) = inputs[number].recv() else { return Err(SaveError::Cancelled) };
            if selected != Some(piece.db) {
                selected = Some(piece.db);
                let (keys, volatile) = work.sizes.lock().get(piece.db).copied().unwrap_or_default();
                writer.select_db(piece.db as u64, keys as u64, volatile as u64)?;
            }
            writer.append_encoded(&piece.bytes)?;
            work.bytes_done.store(writer.written(), Ordering::Relaxed);
            work.keys_done.fetch_add(piece.keys, Ordering::Relaxed);
            if !piece.is_open {
                break;
            }
        }
    }
    work.check()
}
