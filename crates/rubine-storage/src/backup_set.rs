//! Backups in a folder beside the data, in Redis's form: a set is a base, an increment and a manifest, which together are an
//! append-only file. Whoever copies it elsewhere decides when it begins and when it ends. A thread of its own writes it, and
//! the append-only file that the server may have is none of its concern.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rubine_base::clock::unix_millis;
use rubine_journal::{Offset, Reader, Slice};
use rubine_persistence::encryption::{Encrypting, Place};
use rubine_persistence::manifest::{BaseFormat, Manifest};

use crate::aof::increment::{Durability, Increment};
use crate::backup_image::{BackupImage, Wanted};
use crate::storage::Storage;

/// How often the journal is read, and it is looked whether something is wanted.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is looked whether a sealed set has been there for long enough.
const SEALED_LOOK: Duration = Duration::from_millis(250);
/// What has happened since the image and is not written yet may be so much.
const LOG_BYTES_MAX: u64 = 1 << 30;
const READ_BYTES: usize = 4 << 20;

/// How far the set is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Idle,
    /// It begins when no save and no rewrite goes on.
    Pending,
    Snapshotting,
    /// The base is there; what happens is written.
    Incrementing,
    Sealed,
    Failed,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Pending => "pending",
            Self::Snapshotting => "snapshotting",
            Self::Incrementing => "incrementing",
            Self::Sealed => "sealed",
            Self::Failed => "failed",
        }
    }

    /// Whether a set is being made.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Pending | Self::Snapshotting | Self::Incrementing)
    }
}

/// What there is to be told of it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub phase: Phase,
    pub error: String,
    /// Unix seconds; 0 for never.
    pub start_time: i64,
    pub end_time: i64,
}

/// Told when the set is sealed, or why it is not.
pub type OnSealed = Box<dyn FnOnce(Result<(), String>) + Send>;

/// The one set that there may be.
#[derive(Default)]
pub struct BackupSet {
    state: Mutex<State>,
    changed: Condvar,
    /// Threads that have not ended: that of a set, and of one before it that was given up a moment ago.
    threads: AtomicUsize,
}

#[derive(Default)]
struct State {
    status: Status,
    /// Files that are complete.
    files: Vec<PathBuf>,
    /// All files that were made.
    made: Vec<PathBuf>,
    /// The set ends at this place of the journal.
    seal: Option<(Offset, OnSealed)>,
    /// Counts sets, so that the thread of one that was given up leaves the next alone.
    number: u64,
}

impl BackupSet {
    pub fn status(&self) -> Status {
        self.state.lock().status.clone()
    }

    /// The files that will not change any more.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().files.clone()
    }

    /// Begins a set. The image is made as soon as nothing stands in the way.
    pub fn start(&'static self, storage: Storage) -> Result<(), String> {
        let mut state = self.state.lock();
        match state.status.phase {
            Phase::Idle | Phase::Failed => {}
            Phase::Sealed => {
                return Err("A sealed backup is there, call BACKUP CLEANUP first".to_owned());
            }
            _ => return Err("A backup is already in progress".to_owned()),
        }
        let config = storage.config.load();
        let folder = config.dir.as_path().join(&config.backupdirname);
        let fail = |error: io::Error| {
            format!("Can't use the backup directory {}: {error}", folder.display())
        };
        storage.persistence.disk.create_folder(&folder).map_err(fail)?;
        if fs::read_dir(&folder).map_err(fail)?.next().is_some() {
            return Err(format!("The backup directory {} is not empty", folder.display()));
        }
        let number = state.number + 1;
        let start_time = unix_millis() / 1000;
        let status = Status { phase: Phase::Pending, start_time, ..Status::default() };
        *state = State { status, number, ..State::default() };
        let made = Mutex::default();
        let run = move || Set { storage, owner: self, folder, number, made }.run();
        self.threads.fetch_add(1, Ordering::AcqRel);
        let started = std::thread::Builder::new().name("backup set".to_owned()).spawn(run);
        if let Err(error) = started {
            self.threads.fetch_sub(1, Ordering::AcqRel);
            state.status.phase = Phase::Idle;
            return Err(format!("no thread can be started: {error}"));
        }
        Ok(())
    }

    /// Ends the set where the journal is now.
    pub fn seal(&self, end: Offset, on_sealed: OnSealed) {
        let mut state = self.state.lock();
        if state.status.phase != Phase::Incrementing || state.seal.is_some() {
            drop(state);
            return on_sealed(Err("No backup ready to seal".to_owned()));
        }
        state.seal = Some((end, on_sealed));
        self.changed.notify_all();
    }

    /// Gives up the set that is being made.
    pub fn abort(&self, storage: Storage) -> Result<(), String> {
        let mut state = self.state.lock();
        if !state.status.phase.is_under_way() {
            return Err("No backup in progress".to_owned());
        }
        state.status.phase = Phase::Failed;
        "aborted by user".clone_into(&mut state.status.error);
        state.number += 1;
        state.files.clear();
        remove(storage, &mut state)?;
        if let Some((_, on_sealed)) = state.seal.take() {
            drop(state);
            on_sealed(Err("The backup was aborted".to_owned()));
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Removes the files of a set that is sealed, or failed.
    pub fn clean_up(&self, storage: Storage) -> Result<(), String> {
        let mut state = self.state.lock();
        if state.status.phase.is_under_way() {
            return Err("A backup is in progress, call BACKUP ABORT first".to_owned());
        }
        remove(storage, &mut state)?;
        let number = state.number + 1;
        *state = State { number, ..State::default() };
        self.changed.notify_all();
        Ok(())
    }
}

/// Removes what was made, and nothing else. Who asked does not wait until the system has given the room back.
fn remove(storage: Storage, state: &mut State) -> Result<(), String> {
    let mut held = Vec::new();
    while let Some(path) = state.made.last() {
        held.extend(File::open(path));
        let removed = storage.persistence.disk.remove(path);
        removed.map_err(|error| format!("Can't remove {}: {error}", path.display()))?;
        state.made.pop();
    }
    state.files.clear();
    // A file takes its room until the last who has it open lets it go. Without a thread, that is here.
    let _ = std::thread::Builder::new().name("backup set".to_owned()).spawn(move || drop(held));
    Ok(())
}

/// The thread of one set.
struct Set {
    storage: Storage,
    owner: &'static BackupSet,
    folder: PathBuf,
    number: u64,
    /// Files that it has made or was about to.
    made: Mutex<Vec<PathBuf>>,
}

/// Why a set ends before it is sealed.
enum Stop {
    /// Somebody gave it up, or the server ends.
    GivenUp,
    Failed(String),
}

impl Set {
    fn run(self) {
        match self.make() {
            Ok(()) => {}
            Err(Stop::GivenUp) => self.leave_nothing(),
            Err(Stop::Failed(reason)) => {
                tracing::warn!("Backup set failed: {reason}");
                self.fail(reason);
            }
        }
        self.owner.threads.fetch_sub(1, Ordering::AcqRel);
    }

    /// Removes what was made after whoever gave the set up had removed what was there. One that is sealed stays at the end
    /// of the server.
    fn leave_nothing(&self) {
        let state = self.owner.state.lock();
        if state.number == self.number && state.status.phase == Phase::Sealed {
            return;
        }
        for path in self.made.lock().iter() {
            // What is left is told of when the next one is to begin.
            let _ = self.storage.persistence.disk.remove(path);
        }
    }

    fn fail(&self, reason: String) {
        let mut state = self.owner.state.lock();
        if state.number != self.number {
            return;
        }
        state.status.phase = Phase::Failed;
        state.status.error.clone_from(&reason);
        let seal = state.seal.take();
        // What is left is told of when the next one is to begin.
        let _ = remove(self.storage, &mut state);
        drop(state);
        if let Some((_, on_sealed)) = seal {
            on_sealed(Err(reason));
        }
    }

    fn make(&self) -> Result<(), Stop> {
        self.wait_for_others()?;
        self.enter(Phase::Snapshotting)?;
        let config = self.storage.config.load();
        let wanted = Wanted { is_compressed_later: false, log_bytes_max: Some(LOG_BYTES_MAX) };
        let taken =
            BackupImage::take(self.storage, wanted).map_err(|it| Stop::Failed(it.to_string()))?;
        let (image, reader) = (taken.0, taken.1.expect("it was asked for"));
        let mut manifest = Manifest::default();
        let base = manifest.replace_base(&config.appendfilename, BaseFormat::Rdb);
        let increment = manifest.add_increment(&config.appendfilename);
        let (base, increment_path) = (base.path_in(&self.folder), increment.path_in(&self.folder));
        let mut increment = self.open_increment(&increment_path, config.aof_timestamp_enabled)?;
        let mut reader = reader;
        self.write_base(image, &base, &mut reader, &mut increment)?;
        let on_sealed = self.write_until_seal(&mut reader, &mut increment)?;
        let name = format!("{}.manifest", config.appendfilename);
        let sealed = increment
            .finish()
            .and_then(|()| self.write_manifest(&name, &manifest.format()))
            .map_err(|error| error.to_string());
        if let Err(reason) = sealed {
            on_sealed(Err(reason.clone()));
            return Err(Stop::Failed(reason));
        }
        self.with_state(|state| {
            state.files = vec![base, increment_path, self.folder.join(name)];
            state.status.phase = Phase::Sealed;
            state.status.end_time = unix_millis() / 1000;
        })?;
        tracing::info!("A backup set was sealed in {}", self.folder.display());
        on_sealed(Ok(()));
        self.clean_up_when_due()
    }

    /// Changes the state, unless the set was given up.
    fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, Stop> {
        let mut state = self.owner.state.lock();
        let is_ours = state.number == self.number && !self.storage.host.is_ending();
        if is_ours { Ok(change(&mut state)) } else { Err(Stop::GivenUp) }
    }

    fn enter(&self, phase: Phase) -> Result<(), Stop> {
        self.with_state(|state| state.status.phase = phase)
    }

    /// A second image at the same time would cost memory.
    fn wait_for_others(&self) -> Result<(), Stop> {
        loop {
            let is_busy = self.storage.persistence.saves.is_busy()
                || self.storage.aof.rewrite_status().is_running
                || self.storage.persistence.is_loading()
                || 1 < self.owner.threads.load(Ordering::Acquire);
            self.with_state(|_| ())?;
            if !is_busy {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// A file is known before it is made, so that it is removed whatever comes.
    fn note_made(&self, path: &Path) -> Result<(), Stop> {
        self.made.lock().push(path.to_owned());
        self.with_state(|state| state.made.push(path.to_owned()))
    }

    fn open_increment(&self, path: &Path, has_marks: bool) -> Result<Increment, Stop> {
        self.note_made(path)?;
        let seal = self.storage.aof.keys().map(|keys| (keys, Place::default()));
        let opened = Increment::open(&self.storage.persistence.disk, path, has_marks, seal);
        opened.map_err(|error| Stop::Failed(format!("Can't make {}: {error}", path.display())))
    }

    /// Writes the base, and what happens meanwhile.
    fn write_base(
        &self,
        image: BackupImage,
        path: &Path,
        reader: &mut Reader,
        increment: &mut Increment,
    ) -> Result<(), Stop> {
        let temporary = self.folder.join("temp-base.rdb");
        self.note_made(&temporary)?;
        let image = Arc::new(image);
        let is_done = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let (of_thread, is_done) = (Arc::clone(&image), &is_done);
            let file = &temporary;
            let writing = scope.spawn(move || {
                let written = self.write_dump(&of_thread, file);
                is_done.store(true, Ordering::Release);
                written
            });
            let followed = loop {
                if is_done.load(Ordering::Acquire) {
                    break Ok(());
                }
                std::thread::sleep(LOOK);
                let step = self.with_state(|_| ()).and_then(|()| follow(reader, increment, None));
                if let Err(stopped) = step {
                    image.cancel();
                    break Err(stopped);
                }
            };
            let written = writing.join().expect("a panic aborts");
            followed.and_then(|()| {
                written.map_err(|error| Stop::Failed(format!("Can't write the base: {error}")))
            })
        });
        written?;
        self.note_made(path)?;
        let disk = &self.storage.persistence.disk;
        let placed = disk.rename(&temporary, path).and_then(|()| disk.sync_folder(&self.folder));
        placed.map_err(|error| Stop::Failed(format!("Can't write the base: {error}")))?;
        self.with_state(|state| {
            state.files = vec![path.to_owned()];
            state.status.phase = Phase::Incrementing;
        })
    }

    fn write_dump(&self, image: &BackupImage, path: &Path) -> io::Result<()> {
        let mut file = self.storage.persistence.disk.create(path)?;
        match self.storage.aof.keys() {
            None => image.write(&mut file)?,
            Some(keys) => {
                let mut out = Encrypting::new(&mut file, &keys)?;
                image.write(&mut out)?;
                out.finish()?;
            }
        }
        file.sync_all()
    }

    fn write_until_seal(
        &self,
        reader: &mut Reader,
        increment: &mut Increment,
    ) -> Result<OnSealed, Stop> {
        loop {
            let seal = {
                let mut state = self.owner.state.lock();
                if state.number != self.number || self.storage.host.is_ending() {
                    return Err(Stop::GivenUp);
                }
                if state.seal.is_none() {
                    self.owner.changed.wait_for(&mut state, LOOK);
                }
                if state.number == self.number { state.seal.take() } else { None }
            };
            let Some((end, on_sealed)) = seal else {
                follow(reader, increment, None)?;
                continue;
            };
            // What was written since the order came is there too: a few commands more than were asked for.
            let followed = follow(reader, increment, Some(end.max(reader.position())));
            return match followed {
                Ok(()) => Ok(on_sealed),
                Err(stopped) => {
                    let reason = match &stopped {
                        Stop::GivenUp => "The backup was aborted".to_owned(),
                        Stop::Failed(reason) => reason.clone(),
                    };
                    on_sealed(Err(reason));
                    Err(stopped)
                }
            };
        }
    }

    fn write_manifest(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let path = self.folder.join(name);
        let temporary = self.folder.join("temp-manifest");
        for path in [&temporary, &path] {
            self.note_made(path).map_err(|_| io::Error::other("the backup was aborted"))?;
        }
        let disk = &self.storage.persistence.disk;
        let mut file = disk.create(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        disk.rename(&temporary, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes the set when `backup-sealed-ttl` says so, unless somebody has before.
    fn clean_up_when_due(&self) -> Result<(), Stop> {
        loop {
            let ttl = i64::from(self.storage.config.load().backup_sealed_ttl);
            let sealed_at = self.with_state(|state| state.status.end_time)?;
            if 0 < ttl && sealed_at + ttl <= unix_millis() / 1000 {
                tracing::info!("The backup set has been sealed for {ttl} seconds, and is removed");
                return self.owner.clean_up(self.storage).map_err(Stop::Failed);
            }
            let mut state = self.owner.state.lock();
            if state.number == self.number {
                self.owner.changed.wait_for(&mut state, SEALED_LOOK);
            }
        }
    }
}

/// Writes what has happened, up to `until` at most.
fn follow(
    reader: &mut Reader,
    increment: &mut Increment,
    until: Option<Offset>,
) -> Result<(), Stop> {
    let mut slices: Vec<Slice> = Vec::new();
    loop {
        slices.clear();
        let before = reader.position();
        let read = reader.read_until(until.unwrap_or(Offset::MAX), READ_BYTES, &mut slices);
        read.map_err(|lost| Stop::Failed(lost.to_string()))?;
        if reader.position() == before {
            return Ok(());
        }
        let appended = increment.append(&slices, Durability::System);
        appended.map_err(|error| Stop::Failed(format!("Can't write the increment: {error}")))?;
    }
}
