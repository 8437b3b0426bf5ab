//! Backups in a folder: files that get their names when all of them is on the disk, and never in place of another.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use rubine_base::random::seed_from_os;
use rustix::fs::{CWD, RenameFlags};

use super::{Object, Store, Upload};
use crate::error::StoreError;

/// How the names of files begin that are not whole.
const UNFINISHED: &str = ".unfinished-";
/// So much is written before it is forced to the disk, so that the last step does not have to wait for everything.
const SYNC_BYTES: u64 = 4 << 20;
/// How deep folders are looked into: deeper than any object is.
const DEPTH_MAX: usize = 4;

/// A folder, which has to be there: it may be a disk that is not mounted.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn check(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(StoreError::Failed(format!("{} is no folder", self.path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.path.display();
                Err(StoreError::Unreachable(format!(
                    "the folder {path} is not there, and is not made"
                )))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where an object is, in a folder that is made if it is to be written.
    fn prepare(&self, name: &str) -> Result<PathBuf, StoreError> {
        self.check()?;
        let path = self.path.join(name);
        let mut folder = self.path.clone();
        for part in Path::new(name).parent().into_iter().flatten() {
            let above = folder.clone();
            folder.push(part);
            match fs::create_dir(&folder) {
                Ok(()) => File::open(&above)?.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(path)
    }

    /// Looks into `folder`, whose objects have names that begin with `name`.
    fn walk(folder: &Path, name: &str, depth: usize, found: &mut Vec<Object>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            // What has no plain name is not ours.
            let Ok(part) = entry.file_name().into_string() else { continue };
            let name = format!("{name}/{part}");
            let kind = entry.file_type()?;
            if kind.is_dir() && 0 < depth {
                Self::walk(&entry.path(), &name, depth - 1, found)?;
            } else if kind.is_file() {
                let Ok(facts) = entry.metadata() else { continue };
                let modified = facts.modified()?.duration_since(std::time::UNIX_EPOCH);
                let modified_at_ms = modified.map_or(0, |it| it.as_millis() as i64);
                found.push(Object { name, bytes: facts.len(), modified_at_ms });
            }
        }
        Ok(())
    }
}

impl Store for Folder {
    fn put_new(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let mut upload = Unfinished::begin(self.prepare(name)?)?;
        upload.write(content)?;
        Box::new(upload).finish()
    }

    fn begin(&self, name: &str) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(Unfinished::begin(self.prepare(name)?)?))
    }

    fn abort(&self, name: &str, token: &str) -> Result<(), StoreError> {
        self.check()?;
        if !token.starts_with(UNFINISHED) || token.contains('/') {
            return Err(StoreError::Failed("it names no unfinished file".to_owned()));
        }
        remove(&self.path.join(name).with_file_name(token))
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError> {
        self.check()?;
        Ok(Box::new(File::open(self.path.join(name))?))
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        self.check()?;
        let mut found = Vec::new();
        Self::walk(&self.path.join(folder), folder, DEPTH_MAX, &mut found)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.check()?;
        let path = self.path.join(name);
        remove(&path)?;
        // The folder of a backup goes with the last of its objects; one that has others stays.
        if let Some(folder) = path.parent().filter(|it| *it != self.path) {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => Ok(result?),
    }
}

/// A file that has yet to get its name. Dropped before, it is removed.
struct Unfinished {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    unsynced_bytes: u64,
}

impl Unfinished {
    fn begin(path: PathBuf) -> Result<Self, StoreError> {
        // One that has this name is refused before all is written, too.
        if path.exists() {
            return Err(StoreError::Exists);
        }
        let temporary = path.with_file_name(format!("{UNFINISHED}{:016x}", seed_from_os()));
        let file = File::options().write(true).create_new(true).open(&temporary)?;
        Ok(Self { path, temporary, file, unsynced_bytes: 0 })
    }

    /// Gives the file its name, unless another one has it.
    fn publish(&self) -> io::Result<()> {
        use rustix::io::Errno;
        let renamed = rustix::fs::renameat_with(
            CWD,
            &self.temporary,
            CWD,
            &self.path,
            RenameFlags::NOREPLACE,
        );
        match renamed {
            // Not all file systems know it. A second link is refused by all, where the name is taken.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::hard_link(&self.temporary, &self.path)?;
            }
            result => result?,
        }
        let folder = self.path.parent().expect("a file is in a folder");
        File::open(folder)?.sync_all()
    }
}

impl Upload for Unfinished {
    fn token(&self) -> String {
        self.temporary.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes)?;
        self.unsynced_bytes += bytes.len() as u64;
        if SYNC_BYTES <= self.unsynced_bytes {
            self.unsynced_bytes = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        self.file.sync_all()?;
        Ok(self.publish()?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it got its name, this one is gone. What cannot be removed now is found when old uploads are looked for.
        let _ = fs::remove_file(&self.temporary);
    }
}
