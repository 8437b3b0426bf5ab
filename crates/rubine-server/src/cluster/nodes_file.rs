//! The file in which a node keeps what it knows of its cluster, and the lock that keeps other nodes off it. Knows nothing of
//! what is in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rubine_storage::disk::{Disk, Step};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// More than thousands of nodes can take: nobody reads what is larger by mistake.
const SIZE_MAX: u64 = 256 * 1024 * 1024;
/// A file that is replaced whenever it was just locked is another node's.
const LOCK_ATTEMPTS_MAX: usize = 10;

/// The file, which is this node's own as long as this exists.
#[derive(Debug)]
pub(crate) struct NodesFile {
    path: PathBuf,
    /// Invariant: the file at `path`, locked.
    locked: File,
}

impl NodesFile {
    /// Takes the file for this node, and makes it if it is not there. The error is what the start ends with.
    pub(crate) fn take(name: &str) -> Result<Self, String> {
        let cannot_open =
            |error: io::Error| format!("Can't open {name} in order to acquire a lock: {error}");
        // Whoever changes the folder of dumps later does not mean this file.
        let path = std::path::absolute(name).map_err(cannot_open)?;
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let file = File::options().create(true).append(true).read(true).open(&path);
            let file = file.map_err(cannot_open)?;
            lock(&file, name)?;
            // Its owner may have put another one in its place before it let go of it.
            if is_at(&file, &path).map_err(cannot_open)? {
                return Ok(Self { path, locked: file });
            }
        }
        Err(used_by_another(name))
    }

    /// What is in it; nothing if it is new.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
        if SIZE_MAX < bytes.len() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
        }
        Ok(bytes)
    }

    /// Puts another text in its place, at once or not at all; with `is_synced`, it is there after a loss of power, too. The
    /// error says what could not be done.
    pub(crate) fn save(&mut self, disk: &Disk, text: &str, is_synced: bool) -> Result<(), String> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".tmp-{}", std::process::id()));
        let new = PathBuf::from(name);
        let saved = self.replace(disk, &new, text, is_synced);
        if saved.is_err() {
            // It is of no use, and the next one has the same name.
            let _ = std::fs::remove_file(&new);
        }
        saved
    }

    fn replace(
        &mut self,
        disk: &Disk,
        new: &Path,
        text: &str,
        is_synced: bool,
    ) -> Result<(), String> {
        let failed =
            |what: &'static str| move |error: io::Error| format!("Could not {what}: {error}");
        disk.admit(Step::Create).map_err(failed("open temp cluster config file"))?;
        let file = File::create(new).map_err(failed("open temp cluster config file"))?;
        // It is locked before it has the name, so that no moment is left for another node.
        let locked = file.try_clone().map_err(failed("open temp cluster config file"))?;
        lock(&locked, &new.display().to_string())?;
        let mut file = disk.adopt(file);
        file.write_all(text.as_bytes()).map_err(failed("write to tmp cluster config file"))?;
        if is_synced {
            file.sync_all().map_err(failed("sync tmp cluster config file"))?;
        }
        disk.rename(new, &self.path).map_err(failed("rename tmp cluster config file"))?;
        self.locked = locked;
        if is_synced {
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            disk.sync_folder(folder).map_err(failed("sync cluster config file dir"))?;
        }
        Ok(())
    }
}

/// Locks a file, as real nodes do.
fn lock(file: &File, name: &str) -> Result<(), String> {
    match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(used_by_another(name)),
        Err(error) => Err(format!("Impossible to lock {name}: {error}")),
    }
}

fn used_by_another(name: &str) -> String {
    format!(
        "Sorry, the cluster configuration file {name} is already used by a different Cluster node. Please make sure that \
         different nodes use different cluster configuration files."
    )
}

/// Whether the file has that name still.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(theirs) => Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rubine_storage::disk::Plan;

    use super::*;

    /// A folder of its own.
    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("rubine-nodes-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        path
    }

    #[test]
    fn nobody_else_takes_it_whenever_it_was_saved() {
        let folder = folder("lock");
        let name = folder.join("nodes.conf").display().to_string();
        let mut file = NodesFile::take(&name).expect("it is free");
        assert_eq!(file.read().expect("it is there"), b"");
        for text in ["one\n", "two\n"] {
            let error = NodesFile::take(&name).expect_err("it is taken");
            assert!(error.contains("is already used by a different Cluster node"), "{error}");
            file.save(&Disk::default(), text, true).expect("it is saved");
            assert_eq!(file.read().expect("it is there"), text.as_bytes());
        }
        drop(file);
        let file = NodesFile::take(&name).expect("it is free again");
        assert_eq!(file.read().expect("it is there"), b"two\n");
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1);
        drop(file);
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    /// Whichever step fails, there is a whole file, which is locked, and no other.
    #[test]
    fn what_fails_leaves_the_old_file() {
        let folder = folder("faults");
        let name = folder.join("nodes.conf").display().to_string();
        let disk = Disk::default();
        let mut file = NodesFile::take(&name).expect("it is free");
        file.save(&disk, "old\n", true).expect("it is saved");
        for (step, expected) in [
            (Step::Create, "old\n"),
            (Step::Write, "old\n"),
            (Step::Sync, "old\n"),
            (Step::Rename, "old\n"),
            (Step::SyncFolder, "new\n"),
        ] {
            let error = Errno::NOSPC;
            let plan = Plan { step: Some(step), skipped: 0, failing: 1, error, is_short: false };
            disk.plan(Some(plan));
            let reason = file.save(&disk, "new\n", true).expect_err("the step fails");
            assert!(reason.starts_with("Could not "), "{reason}");
            disk.plan(None);
            assert_eq!(file.read().expect("it is there"), expected.as_bytes(), "{step:?}");
            assert!(NodesFile::take(&name).is_err(), "{step:?}");
            assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1, "{step:?}");
        }
        std::fs::remove_dir_all(folder).expect("it is ours");
    }
}
