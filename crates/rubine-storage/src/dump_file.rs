//! A file that is there whole or not at all: written under another name in its directory, forced to the disk, and only
//! then given its name. Knows nothing of what is in it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use crate::disk::{Disk, DiskFile, Step};

/// So much is written before it is forced to the disk, so that the last step does not have to wait for everything.
const SYNC_BYTES: u64 = 4 << 20;

/// The directory that the server works in, held so that a CONFIG SET of `dir` does not move a file half way.
#[derive(Debug)]
pub struct Directory {
    folder: OwnedFd,
    disk: Disk,
}

impl Directory {
    /// The one that is current now.
    pub fn current(disk: &Disk) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(".", flags, Mode::empty())?;
        Ok(Self { folder, disk: disk.clone() })
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) {
        // What is left behind is overwritten or seen by people; there is nothing better to do.
        let removed = self.disk.admit(Step::Remove);
        let _ = removed.and_then(|()| Ok(unlinkat(&self.folder, name, AtFlags::empty())?));
    }

    fn create(&self, name: &str) -> io::Result<DiskFile> {
        self.disk.admit(Step::Create)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::from_raw_mode(0o666))?;
        Ok(self.disk.adopt(File::from(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.admit(Step::Rename)?;
        Ok(renameat(&self.folder, from, &self.folder, to)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.admit(Step::SyncFolder)?;
        Ok(rustix::fs::fsync(&self.folder)?)
    }
}

/// A file on its way. Dropped before [`Self::publish`], it leaves nothing behind.
#[derive(Debug)]
pub struct DumpFile<'a> {
    directory: &'a Directory,
    temporary_name: &'a str,
    file: DiskFile,
    /// Whether it is forced to the disk part by part.
    syncs_parts: bool,
    unsynced_bytes: u64,
    is_published: bool,
}

impl<'a> DumpFile<'a> {
    pub fn create(
        directory: &'a Directory,
        temporary_name: &'a str,
        syncs_parts: bool,
    ) -> io::Result<Self> {
        let file = directory.create(temporary_name)?;
        let (unsynced_bytes, is_published) = (0, false);
        Ok(Self { directory, temporary_name, file, syncs_parts, unsynced_bytes, is_published })
    }

    /// Forces all to the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives the file its name, in place of whatever had it.
    pub fn publish(mut self, name: &str) -> io::Result<()> {
        self.directory.rename(self.temporary_name, name)?;
        self.is_published = true;
        self.directory.sync()
    }
}

impl Write for DumpFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced_bytes += written as u64;
        if self.syncs_parts && SYNC_BYTES <= self.unsynced_bytes {
            self.unsynced_bytes = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for DumpFile<'_> {
    fn drop(&mut self) {
        if !self.is_published {
            self.directory.remove(self.temporary_name);
        }
    }
}
