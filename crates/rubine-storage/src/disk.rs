//! The one door through which dump files and the log change what is on disk: every file that is made, written, forced to
//! the disk, cut, renamed or removed. So a test can let any step fail, by `DEBUG DISK-FAULT`; otherwise a step costs one
//! look at a flag besides its system call. Knows nothing of what is in a file.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::io::Errno;

/// What is done to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Create,
    Write,
    Sync,
    /// Of a folder, after names in it have changed.
    SyncFolder,
    Truncate,
    Rename,
    Remove,
}

impl Step {
    pub const ALL: [(&'static str, Self); 7] = [
        ("CREATE", Self::Create),
        ("WRITE", Self::Write),
        ("SYNC", Self::Sync),
        ("SYNC-FOLDER", Self::SyncFolder),
        ("TRUNCATE", Self::Truncate),
        ("RENAME", Self::Rename),
        ("REMOVE", Self::Remove),
    ];
}

/// Which steps fail, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// `None`: whatever it is.
    pub step: Option<Step>,
    /// So many of them go well before.
    pub skipped: u64,
    /// So many of them fail then.
    pub failing: u64,
    pub error: Errno,
    /// The first one, if it is a write, is cut short in place of failing: a disk that fills up.
    pub is_short: bool,
}

#[derive(Debug, Default)]
struct Faults {
    is_armed: AtomicBool,
    plan: Mutex<Option<Plan>>,
    /// How many steps have failed or were cut short.
    struck: Mutex<u64>,
}

/// The disk that a server writes to.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Faults>);

/// What is to become of a step.
enum Fate {
    Done,
    /// Of a write: so much of it, at most.
    Short,
    Failed(Errno),
}

impl Disk {
    /// Lets steps fail from now on, or none. Returns how many have since the last call.
    pub fn plan(&self, plan: Option<Plan>) -> u64 {
        let mut current = self.0.plan.lock();
        self.0.is_armed.store(plan.is_some(), Ordering::Release);
        *current = plan;
        std::mem::take(&mut *self.0.struck.lock())
    }

    #[inline]
    fn fate(&self, step: Step) -> Fate {
        if self.0.is_armed.load(Ordering::Acquire) { self.planned(step) } else { Fate::Done }
    }

    #[cold]
    fn planned(&self, step: Step) -> Fate {
        let mut plan = self.0.plan.lock();
        let Some(plan) = &mut *plan else { return Fate::Done };
        if plan.step.is_some_and(|it| it != step) || plan.failing == 0 {
            return Fate::Done;
        }
        if 0 < plan.skipped {
            plan.skipped -= 1;
            return Fate::Done;
        }
        *self.0.struck.lock() += 1;
        if std::mem::take(&mut plan.is_short) && step == Step::Write {
            return Fate::Short;
        }
        plan.failing -= 1;
        Fate::Failed(plan.error)
    }

    /// Lets a step happen that is done elsewhere, unless it is to fail.
    pub fn admit(&self, step: Step) -> io::Result<()> {
        match self.fate(step) {
            Fate::Done | Fate::Short => Ok(()),
            Fate::Failed(error) => Err(error.into()),
        }
    }

    /// A file that has been opened.
    pub fn adopt(&self, file: File) -> DiskFile {
        DiskFile { file, disk: self.clone() }
    }

    /// A new file, or an old one without what was in it.
    pub fn create(&self, path: &Path) -> io::Result<DiskFile> {
        self.admit(Step::Create)?;
        Ok(self.adopt(File::create(path)?))
    }

    /// A file to be appended to, new or old.
    pub fn append(&self, path: &Path) -> io::Result<DiskFile> {
        self.admit(Step::Create)?;
        Ok(self.adopt(File::options().create(true).append(true).open(path)?))
    }

    pub fn create_folder(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.and_then(|()| self.admit(Step::Create)),
        }
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.admit(Step::Rename)?;
        fs::rename(from, to)
    }

    /// Removes a file. It need not be there.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.admit(Step::Remove)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Makes names in a folder durable.
    pub fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.admit(Step::SyncFolder)?;
        File::open(path)?.sync_all()
    }
}

/// A file of a [`Disk`].
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    disk: Disk,
}

impl DiskFile {
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Forces what was written to the disk, and all that is known of the file.
    pub fn sync_all(&self) -> io::Result<()> {
        self.disk.admit(Step::Sync)?;
        self.file.sync_all()
    }

    /// Forces what was written to the disk.
    pub fn sync_data(&self) -> io::Result<()> {
        self.disk.admit(Step::Sync)?;
        self.file.sync_data()
    }

    pub fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.admit(Step::Truncate)?;
        self.file.set_len(len)
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.disk.fate(Step::Write) {
            Fate::Done => self.file.write(bytes),
            Fate::Short => self.file.write(half(bytes)),
            Fate::Failed(error) => Err(error.into()),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.disk.fate(Step::Write) {
            Fate::Done => self.file.write_vectored(slices),
            Fate::Short => {
                let whole: Vec<u8> = slices.iter().flat_map(|it| it.iter().copied()).collect();
                self.file.write(half(&whole))
            }
            Fate::Failed(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Half of what was to be written, which is not nothing.
fn half(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().div_ceil(2)]
}
