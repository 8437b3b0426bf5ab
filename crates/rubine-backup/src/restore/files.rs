//! Writes what a backup has as the files that a server starts from, in an empty folder. Until all of it is there, it lies in
//! a folder of its own, in which no server looks; a server does not start beside one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rubine_persistence::check::scan;
use rubine_persistence::encryption::{Encrypting, KeyRing};
use rubine_persistence::log::LogError;
use rubine_persistence::manifest::{BaseFormat, Manifest as LogManifest};

use super::Plan;
use crate::error::{BackupError, StoreError};
use crate::manifest::shown;
use crate::seal::{Summed, open_sealed};
use crate::store::Store;
use crate::verify::watched;

/// What is not complete lies here.
pub const UNFINISHED: &str = "restoring.tmp";
/// What may be in an empty folder: file systems put it there.
const LOST_AND_FOUND: &str = "lost+found";
const BUFFER_BYTES: usize = 1 << 20;

/// Where files go, and what they are called.
#[derive(Clone, Debug)]
pub struct Place {
    pub folder: PathBuf,
    pub dump_name: String,
    pub log_folder_name: String,
    pub log_prefix: String,
    /// The server will start from a log, even where the backup has none.
    pub is_log_wanted: bool,
    /// What backups may be encrypted with; files are encrypted with the first.
    pub keys: Option<KeyRing>,
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The server has to start from the log.
    pub is_log: bool,
    pub told: Vec<String>,
}

/// Why a server cannot start in a folder, if a restore into it was begun and not finished.
pub fn obstacle(folder: &Path) -> Option<String> {
    let unfinished = folder.join(UNFINISHED);
    unfinished.exists().then(|| {
        format!(
            "A restore into {} was not finished, so its data is missing or not all there. Restore again, or remove {} to \
             start without it",
            folder.display(),
            unfinished.display()
        )
    })
}

/// Whether the folder is one that may be restored into: not there, or empty but for what an earlier attempt has left.
pub fn check_empty(folder: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| local(folder, &error))?,
    };
    for entry in entries {
        let name = entry.map_err(|error| local(folder, &error))?.file_name();
        if name != UNFINISHED && name != LOST_AND_FOUND {
            return Err(BackupError::Unfit(format!(
                "{} is not empty: '{}' is there. Nothing was restored",
                folder.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

/// Fetches what is planned and puts it into the folder. `progress` is told how many bytes of objects were read.
pub fn restore(
    store: &Arc<dyn Store>,
    plan: &Plan,
    place: &Place,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Restored, BackupError> {
    check_empty(&place.folder)?;
    let fail = |error: io::Error| local(&place.folder, &error);
    let unfinished = place.folder.join(UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(fail)?;
    }
    fs::create_dir_all(&unfinished).map_err(fail)?;
    sync_folder(&place.folder).map_err(fail)?;
    let image = unfinished.join("image");
    fetch_image(&**store, plan, place, &image, progress)?;
    let mut restored = Restored { told: plan.told.clone(), ..Restored::default() };
    let log = match &plan.log {
        Some(log) if !log.segments.is_empty() => {
            let path = unfinished.join("log");
            fetch_log(store, plan, place, &path, &mut restored, progress)?;
            Some(path)
        }
        _ => None,
    };
    restored.is_log = log.is_some() || place.is_log_wanted;
    let placed = if restored.is_log {
        put_log_in_place(place, &unfinished, &image, log.as_deref())
    } else {
        fs::rename(&image, place.folder.join(&place.dump_name))
    };
    placed.and_then(|()| sync_folder(&place.folder)).map_err(fail)?;
    // From here on it is all there.
    fs::remove_dir_all(&unfinished).and_then(|()| sync_folder(&place.folder)).map_err(fail)?;
    Ok(restored)
}

fn local(folder: &Path, error: &io::Error) -> BackupError {
    BackupError::Unfit(format!("Can't restore into {}: {error}", folder.display()))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes the dump of the image, encrypted as other files of the server are.
fn fetch_image(
    store: &dyn Store,
    plan: &Plan,
    place: &Place,
    path: &Path,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), BackupError> {
    let (entry, name) = (&plan.entry, plan.entry.dump_name());
    let dump = &entry.manifest.dump;
    let object = match store.open(&name) {
        Err(StoreError::Missing) => return Err(BackupError::damaged(&name, "it is not there")),
        object => object.map_err(BackupError::of(&name))?,
    };
    let (object, watch) = watched(object);
    let (counted, read) = Counted::new(object);
    let object = Summed::new(counted, dump.bytes, &dump.sha256);
    let content = open_sealed(object, place.keys.as_ref(), dump.compression);
    let mut content = content.map_err(|error| watch.blame(&name, error))?;
    let mut failure = None;
    let written = write_file(path, place.keys.as_ref(), |out| {
        let copied = copy(&mut content, out, &mut || progress(read.get()));
        copied.map_err(|failed| match failed {
            Failed::Reading(error) => {
                failure = Some(watch.blame(&name, error));
                io::Error::other("the backup cannot be read")
            }
            Failed::Writing(error) => error,
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => written.map_err(|error| local(&place.folder, &error)),
    }
}

/// Writes the log up to the moment that is wanted, and never half of a unit.
fn fetch_log(
    store: &Arc<dyn Store>,
    plan: &Plan,
    place: &Place,
    path: &Path,
    restored: &mut Restored,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), BackupError> {
    let Some(log) = &plan.log else { return Ok(()) };
    let name = crate::layout::log_of(&plan.entry.id);
    let (source, watch) = watched(log.open(Arc::clone(store), place.keys.clone()));
    let until = plan.until.and_then(|it| u64::try_from(it).ok());
    let finding = scan(source, 0, until);
    match finding.problem {
        // The last unit may not have been uploaded to its end.
        None | Some(LogError::Torn { .. }) => {}
        Some(LogError::Io(error)) => return Err(watch.blame(&name, error)),
        Some(problem) => return Err(BackupError::damaged(&name, problem)),
    }
    let end = finding.later_from.unwrap_or(finding.valid_up_to);
    let (source, watch) = watched(log.open(Arc::clone(store), place.keys.clone()));
    let mut content = source.take(end);
    let mut failure = None;
    let image_bytes = plan.entry.manifest.dump.bytes;
    let written = write_file(path, place.keys.as_ref(), |out| {
        let copied = copy(&mut content, out, &mut || progress(image_bytes));
        copied.map_err(|failed| match failed {
            Failed::Reading(error) => {
                failure = Some(watch.blame(&name, error));
                io::Error::other("the log cannot be read")
            }
            Failed::Writing(error) => error,
        })
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    written.map_err(|error| local(&place.folder, &error))?;
    progress(image_bytes + log.bytes());
    let covered = plan.until.or(log.covers_until()).unwrap_or_default();
    restored.told.push(format!(
        "The log was followed for {} commands, up to {}; {} later ones were left out.",
        finding.kept.commands,
        shown(covered * 1000),
        finding.later.commands
    ));
    Ok(())
}

/// Writes a file, encrypted if there are keys, and forces it to the disk.
fn write_file(
    path: &Path,
    keys: Option<&KeyRing>,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let file = File::create(path)?;
    let file = match keys {
        None => {
            let mut file = file;
            fill(&mut file)?;
            file
        }
        Some(keys) => {
            let mut out = Encrypting::new(file, keys)?;
            fill(&mut out)?;
            out.finish()?
        }
    };
    file.sync_all()
}

enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

fn copy(from: &mut dyn Read, to: &mut dyn Write, on_step: &mut dyn FnMut()) -> Result<(), Failed> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failed::Reading(error)),
        };
        to.write_all(&buffer[..count]).map_err(Failed::Writing)?;
        on_step();
    }
}

/// Makes image and log the log that a server starts from. Its manifest comes last: without it, there is none.
fn put_log_in_place(
    place: &Place,
    unfinished: &Path,
    image: &Path,
    log: Option<&Path>,
) -> io::Result<()> {
    let folder = place.folder.join(&place.log_folder_name);
    fs::create_dir(&folder)?;
    let mut manifest = LogManifest::default();
    let base = manifest.replace_base(&place.log_prefix, BaseFormat::Rdb);
    fs::rename(image, base.path_in(&folder))?;
    if let Some(log) = log {
        let increment = manifest.add_increment(&place.log_prefix);
        fs::rename(log, increment.path_in(&folder))?;
    }
    sync_folder(&folder)?;
    let temporary = unfinished.join("manifest");
    let mut file = File::create(&temporary)?;
    file.write_all(&manifest.format())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(format!("{}.manifest", place.log_prefix)))?;
    sync_folder(&folder)
}

/// Counts what is read, for whoever shows it.
struct Counted<R> {
    source: R,
    count: Arc<std::sync::atomic::AtomicU64>,
}

struct Count(Arc<std::sync::atomic::AtomicU64>);

impl Count {
    fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl<R: Read> Counted<R> {
    fn new(source: R) -> (Self, Count) {
        let count = Arc::<std::sync::atomic::AtomicU64>::default();
        (Self { source, count: Arc::clone(&count) }, Count(count))
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(out)?;
        self.count.fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(count)
    }
}
