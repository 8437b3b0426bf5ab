//! The thread that writes the backlog on disk. It never holds up the journal: what it has not written is kept up to a bound,
//! beyond which it gives up and begins anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use rubine_base::clock::monotonic_millis;
use rubine_journal::{History, Hold, Reader, ReplicaStart, ReplicationOffset, Slice};

use crate::backlog::segment::{self, BLOCK_BYTES_MAX, Blocks, Header, Output, Segment};
use crate::storage::Storage;

/// What may be kept in memory because it is not written yet.
const UNWRITTEN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What is read of the journal at a time.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Smaller writes are not made one right after the other.
const SMALL_BYTES_MAX: usize = 512 * 1024;
const GATHER: Duration = Duration::from_millis(5);
/// How long it sleeps when there is nothing to do.
const SLEEP: Duration = Duration::from_millis(100);
/// How long after a failure it begins anew.
const RETRY_MS: u64 = 60_000;
/// How long the end of the server waits for what is not written yet.
const LAST_MS_MAX: u64 = 5000;
/// Files make up the whole in so many parts, of sizes between these.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

struct Writer {
    storage: Storage,
    reader: Option<Reader>,
    output: Option<Output>,
    /// The history, as it was when something was last read.
    history: Option<History>,
    /// Everything before is in files.
    end: u64,
    folder: PathBuf,
    retry_at: u64,
}

/// Takes up what is there of the history that the data is of, and starts the thread. To be called before clients change anything.
pub fn start(storage: Storage) -> Result<JoinHandle<()>, String> {
    let mut writer = Writer {
        storage,
        reader: None,
        output: None,
        history: None,
        end: 0,
        folder: PathBuf::new(),
        retry_at: 0,
    };
    let is_wanted = writer.bytes_max() != 0 && writer.open();
    // The heads of some files are read, and one of them to its end: a replica that comes first of all finds what is there.
    writer.take_up(is_wanted);
    let thread = std::thread::Builder::new().name("backlog".to_owned());
    let run = move || {
        storage.host.pin(storage.config.load().bio_cpulist.as_deref());
        writer.run();
    };
    let thread = thread.spawn(run).map_err(|error| format!("Can't start a thread: {error}"))?;
    *storage.persistence.backlog.thread.lock() = Some(thread.thread().clone());
    Ok(thread)
}

impl Writer {
    /// How much is to be kept in files; nothing while no backlog is kept at all.
    fn bytes_max(&self) -> u64 {
        let is_kept = self.storage.journal.status().backlog_bytes_max != 0;
        if is_kept { self.storage.config.load().repl_backlog_disk_size } else { 0 }
    }

    fn run(mut self) {
        let backlog = &self.storage.persistence.backlog;
        loop {
            if backlog.is_ending.load(Ordering::Acquire) {
                return self.finish();
            }
            if self.bytes_max() == 0 {
                self.close();
                backlog.files.lock().failure = None;
                self.retry_at = 0;
                std::thread::park_timeout(SLEEP);
                continue;
            }
            if self.reader.is_none() && !self.begin() {
                std::thread::park_timeout(SLEEP);
                continue;
            }
            if backlog.is_damaged.swap(false, Ordering::AcqRel) {
                self.give_up("a file of it cannot be read");
                continue;
            }
            let written = self.step();
            match &self.reader {
                Some(reader) if written == 0 => reader.wait(SLEEP),
                _ if written < SMALL_BYTES_MAX => std::thread::sleep(GATHER),
                _ => {}
            }
        }
    }

    /// Opens a reader where the journal ends. Returns whether there is one.
    fn open(&mut self) -> bool {
        let point = self.storage.journal.point();
        let start = ReplicaStart::After { id: point.history.id, offset: point.offset };
        let hold = Hold::UpTo(UNWRITTEN_BYTES_MAX);
        let opened = self.storage.journal.open_replica_reader(start, hold);
        // If it has gone on meanwhile, and kept nothing, it is tried again.
        let Ok(reader) = opened else { return false };
        self.end = point.offset.0;
        self.history = Some(point.history);
        self.reader = Some(reader);
        true
    }

    /// Begins anew, with no files. Returns whether it has begun.
    fn begin(&mut self) -> bool {
        if monotonic_millis() < self.retry_at || !self.open() {
            return false;
        }
        self.find_folder();
        self.remove_all();
        self.storage.persistence.backlog.files.lock().is_active = true;
        true
    }

    fn find_folder(&mut self) {
        self.folder = std::env::current_dir().unwrap_or_default();
    }

    /// After a start: goes on with the files that are there, if they have everything up to where the data is.
    fn take_up(&mut self, is_wanted: bool) {
        self.find_folder();
        let chain = if is_wanted { self.find_chain() } else { Vec::new() };
        let found = segment::find(&self.folder).unwrap_or_default();
        for (_, path) in &found {
            if !chain.iter().any(|it| it.path == *path) {
                self.remove(path);
            }
        }
        if let (Some(first), true) = (chain.first(), is_wanted) {
            tracing::info!(
                "The backlog on disk is gone on with: it has offsets {} to {}.",
                first.start + 1,
                self.end
            );
        } else if !found.is_empty() {
            tracing::info!(
                "The backlog on disk does not go up to where the data is, or is not wanted: it is removed."
            );
        }
        let mut files = self.storage.persistence.backlog.files.lock();
        files.segments = chain.into_iter().map(Arc::new).collect();
        files.is_active = is_wanted;
    }

    /// The files that have everything up to `end`, without gaps.
    fn find_chain(&self) -> Vec<Segment> {
        let keys = self.storage.aof.keys();
        let mut chain: Vec<Segment> = Vec::new();
        let mut last_id = None;
        for (start, path) in segment::find(&self.folder).unwrap_or_default() {
            if self.end <= start {
                break;
            }
            let header = Blocks::open(&path, keys.as_deref()).map(|it| it.header);
            let Some(header) = header.ok().filter(|it| it.start == start) else {
                chain.clear();
                continue;
            };
            match chain.last() {
                Some(before) if Some(before.start) == header.previous => before.set_end(start),
                _ => chain.clear(),
            }
            last_id = Some(header.id);
            chain.push(Segment::new(path, start, start));
        }
        let Some((last, id)) = chain.last().zip(last_id) else { return Vec::new() };
        let is_shared = self.history.is_some_and(|it| it.shares(id, ReplicationOffset(self.end)));
        let end = Blocks::open(&last.path, keys.as_deref()).map_or(0, Blocks::find_end);
        if !is_shared || end < self.end {
            return Vec::new();
        }
        // What is beyond was never acknowledged by the data that is here.
        last.set_end(self.end);
        chain
    }

    /// Writes some of what the journal has. Returns how many bytes.
    fn step(&mut self) -> usize {
        let Some(reader) = &mut self.reader else { return 0 };
        let mut slices = Vec::new();
        if reader.read(READ_BYTES_MAX, &mut slices).is_err() {
            self.note_lost();
            return 0;
        }
        // What it is called is asked for behind what was read, so that it is known where it got another name.
        let before = self.history;
        let history = self.storage.journal.point().history;
        self.history = Some(history);
        let parts_at = match before {
            Some(before) if before.id != history.id => {
                let previous = history.previous.filter(|it| it.id == before.id);
                let Some(previous) = previous else {
                    self.close();
                    return 0;
                };
                Some(previous.until.0.max(self.end))
            }
            _ => None,
        };
        let written = self.write_all(&slices, parts_at);
        written.unwrap_or_else(|error| {
            self.give_up(&format!("it cannot be written: {error}"));
            0
        })
    }

    /// Writes slices, in a new file from `parts_at` on.
    fn write_all(&mut self, slices: &[Slice], parts_at: Option<u64>) -> std::io::Result<usize> {
        let total: usize = slices.iter().map(|it| it.bytes.len()).sum();
        let mut block = Vec::with_capacity(total.min(BLOCK_BYTES_MAX));
        let mut parts_at = parts_at;
        for slice in slices {
            let mut bytes = &slice.bytes[..];
            while !bytes.is_empty() {
                let at = self.end + block.len() as u64;
                let to_part = parts_at.map_or(u64::MAX, |it| it - at);
                if to_part == 0 {
                    self.write_block(&mut block)?;
                    (self.output, parts_at) = (None, None);
                    continue;
                }
                let room = (BLOCK_BYTES_MAX - block.len()).min(bytes.len());
                let len = room.min(usize::try_from(to_part).unwrap_or(usize::MAX));
                block.extend_from_slice(&bytes[..len]);
                bytes = &bytes[len..];
                if block.len() == BLOCK_BYTES_MAX {
                    self.write_block(&mut block)?;
                }
            }
        }
        self.write_block(&mut block)?;
        if parts_at.is_some() {
            // Nothing of the new name has come yet: it begins a file.
            self.output = None;
        }
        Ok(total)
    }

    fn write_block(&mut self, block: &mut Vec<u8>) -> std::io::Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        let bytes_max = self.bytes_max();
        let segment_bytes = (bytes_max / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let backlog = &self.storage.persistence.backlog;
        let last = backlog.files.lock().segments.back().map(Arc::clone);
        let is_full = last.as_ref().is_none_or(|it| segment_bytes <= self.end - it.start);
        let segment = match last {
            Some(last) if !is_full && self.output.is_some() => last,
            _ => self.begin_file()?,
        };
        let output = self.output.as_mut().expect("a file was begun");
        output.write_block(block)?;
        self.end += block.len() as u64;
        segment.set_end(self.end);
        block.clear();
        self.trim(bytes_max);
        Ok(())
    }

    fn begin_file(&mut self) -> std::io::Result<Arc<Segment>> {
        let storage = self.storage;
        let path = self.folder.join(segment::name(self.end));
        let id = self.history.map(|it| it.id).ok_or(std::io::ErrorKind::NotFound)?;
        let (disk, keys) = (&storage.persistence.disk, storage.aof.keys());
        let previous = storage.persistence.backlog.files.lock().segments.back().map(|it| it.start);
        let header = Header { id, start: self.end, previous };
        self.output = Some(Output::create(disk, &path, keys.as_deref(), header)?);
        let segment = Arc::new(Segment::new(path, self.end, self.end));
        let mut files = storage.persistence.backlog.files.lock();
        files.segments.push_back(Arc::clone(&segment));
        Ok(segment)
    }

    /// Removes what is too old.
    fn trim(&mut self, bytes_max: u64) {
        loop {
            let removed = {
                let mut files = self.storage.persistence.backlog.files.lock();
                let is_too_much = files
                    .segments
                    .get(1)
                    .is_some_and(|second| bytes_max <= self.end - second.start);
                if is_too_much { files.segments.pop_front() } else { None }
            };
            let Some(removed) = removed else { return };
            self.remove(&removed.path);
        }
    }

    fn remove(&self, path: &Path) {
        if let Err(error) = self.storage.persistence.disk.remove(path) {
            tracing::warn!("The file {} cannot be removed: {error}", path.display());
        }
    }

    /// The reader has lost its place: the data is of another history, or the disk does not keep up.
    fn note_lost(&mut self) {
        let history = self.storage.journal.point().history;
        let is_same =
            self.history.is_some_and(|it| history.shares(it.id, ReplicationOffset(self.end)));
        if is_same {
            let kept = UNWRITTEN_BYTES_MAX >> 20;
            self.give_up(&format!("the disk is too slow: more than {kept} MB are not written yet"));
        } else {
            self.close();
        }
    }

    fn give_up(&mut self, reason: &str) {
        tracing::warn!("The backlog on disk is given up: {reason}. It begins anew in a minute.");
        self.close();
        self.retry_at = monotonic_millis() + RETRY_MS;
        self.storage.persistence.backlog.files.lock().failure = Some(reason.to_owned());
    }

    /// Writes nothing any more, and keeps nothing.
    fn close(&mut self) {
        (self.reader, self.output, self.history) = (None, None, None);
        self.remove_all();
        self.storage.persistence.backlog.files.lock().is_active = false;
    }

    fn remove_all(&self) {
        let segments = std::mem::take(&mut self.storage.persistence.backlog.files.lock().segments);
        for segment in &segments {
            self.remove(&segment.path);
        }
    }

    /// The server ends: writes what there is, if a restart can go on with it.
    fn finish(mut self) {
        let config = self.storage.config.load();
        if config.save.is_empty() && !config.appendonly {
            return self.close();
        }
        let ends_at = monotonic_millis() + LAST_MS_MAX;
        while self.reader.is_some() && monotonic_millis() < ends_at {
            let is_drained = self.reader.as_ref().is_none_or(|it| it.lag_bytes() == 0);
            if self.step() == 0 && is_drained {
                break;
            }
        }
    }
}
