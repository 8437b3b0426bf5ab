//! The folder of the log: its manifest, and the files that come and go with it. Never writes into one of them.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rubine_persistence::manifest::{LogFile, MANIFEST_BYTES_MAX, Manifest};

use crate::disk::Disk;
use rubine_config::Config;

/// The folder of a server's log.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) disk: Disk,
    pub(crate) path: PathBuf,
    /// What the names of all files begin with: `appendfilename`.
    pub(crate) prefix: String,
    pub(crate) manifest: Manifest,
    /// A manifest that was to be replaced could not be put back: on disk may be another one than `manifest`.
    is_unsure: bool,
}

impl Directory {
    /// The folder that the configuration names, with what its manifest says. There may be neither.
    pub(crate) fn open(config: &Config, disk: &Disk) -> Result<Self, String> {
        let path = config.dir.as_path().join(&config.appenddirname);
        let prefix = config.appendfilename.clone();
        let manifest_path = path.join(format!("{prefix}.manifest"));
        let manifest = match read_bounded(&manifest_path) {
            Ok(text) => Manifest::parse(&text).map_err(|error| {
                format!("Reading the manifest file {}: {error}", manifest_path.display())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Manifest::default(),
            Err(error) => {
                let path = manifest_path.display();
                return Err(format!("Can't open the AOF manifest file {path}: {error}"));
            }
        };
        Ok(Self { disk: disk.clone(), path, prefix, manifest, is_unsure: false })
    }

    /// The folder, which is looked at when it is first needed.
    pub(crate) fn opened<'d>(
        kept: &'d mut Option<Self>,
        config: &Config,
        disk: &Disk,
    ) -> Result<&'d mut Self, String> {
        if kept.is_none() {
            *kept = Some(Self::open(config, disk)?);
        }
        Ok(kept.as_mut().expect("it was just put there"))
    }

    /// Where a file of the log is.
    pub(crate) fn path_of(&self, file: &LogFile) -> PathBuf {
        file.path_in(&self.path)
    }

    pub(crate) fn create(&self) -> io::Result<()> {
        self.disk.create_folder(&self.path)
    }

    /// Takes in the single file of a version without manifests, if there is one and nothing else.
    pub(crate) fn upgrade(&mut self, config: &Config) -> Result<(), String> {
        let single = config.dir.as_path().join(&self.prefix);
        let is_begun = self.manifest == Manifest::of_single_file(&self.prefix)
            && !self.path.join(&self.prefix).exists();
        if !(self.manifest.is_empty() || is_begun) || !single.is_file() {
            return Ok(());
        }
        tracing::info!(
            "Taking the single append-only file {} into {}",
            self.prefix,
            self.path.display()
        );
        let fail = |error: io::Error| format!("Can't upgrade the append-only file: {error}");
        self.create().map_err(fail)?;
        // The manifest first: a crash between the two is finished by the next start.
        self.replace(Manifest::of_single_file(&self.prefix)).map_err(fail)?;
        self.disk.rename(&single, &self.path.join(&self.prefix)).map_err(fail)?;
        self.disk.sync_folder(&self.path).map_err(fail)?;
        self.disk.sync_folder(config.dir.as_path()).map_err(fail)
    }

    /// Puts another manifest in force, on disk first.
    pub(crate) fn replace(&mut self, manifest: Manifest) -> io::Result<()> {
        if let Err(error) = self.put(&manifest) {
            // Which of the two a power cut would leave is not known, and it may be the new one that is found now. So the
            // old one is put back, as well as can be, and the names in the new one are not used for anything else.
            self.manifest.skip_names_of(&manifest);
            self.is_unsure = self.put(&self.manifest).is_err();
            return Err(error);
        }
        self.manifest = manifest;
        self.is_unsure = false;
        Ok(())
    }

    fn put(&self, manifest: &Manifest) -> io::Result<()> {
        let name = format!("{}.manifest", self.prefix);
        let temporary = self.path.join(format!("temp-{name}"));
        let mut file = self.disk.create(&temporary)?;
        file.write_all(&manifest.format())?;
        file.sync_all()?;
        self.disk.rename(&temporary, &self.path.join(name))?;
        self.disk.sync_folder(&self.path)
    }

    /// Removes a file that was to become part of the log and did not.
    pub(crate) fn discard(&self, file: &LogFile) {
        if !self.is_unsure {
            // It is of no use to anybody; at worst it takes its place on the disk.
            let _ = self.disk.remove(&self.path_of(file));
        }
    }

    /// Deletes what a newer base has replaced.
    pub(crate) fn delete_history(&mut self) {
        let mut manifest = self.manifest.clone();
        for file in manifest.history.drain(..) {
            if let Err(error) = self.disk.remove(&self.path_of(&file)) {
                tracing::warn!("Can't remove {}: {error}", file.shown());
            } else {
                tracing::info!("Removed the history file {}", file.shown());
            }
        }
        if let Err(error) = self.replace(manifest) {
            tracing::warn!("Can't write the AOF manifest: {error}");
        }
    }

    /// The bytes of one file.
    pub(crate) fn size_of(&self, file: &LogFile) -> io::Result<u64> {
        Ok(fs::metadata(self.path_of(file))?.len())
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MANIFEST_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::disk::{Plan, Step};

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A manifest that could not be made durable is taken back, and what it named is never something else.
    #[test]
    fn a_manifest_that_fails_is_as_if_it_had_never_been() {
        for step in [Step::Create, Step::Write, Step::Sync, Step::Rename, Step::SyncFolder] {
            let name = format!("rubine-directory-{step:?}-{}", std::process::id());
            let folder = Folder(std::env::temp_dir().join(name));
            let disk = Disk::default();
            let (manifest, prefix) = (Manifest::default(), "a".to_owned());
            let path = folder.0.clone();
            let mut directory =
                Directory { disk: disk.clone(), path, prefix, manifest, is_unsure: false };
            directory.create().unwrap();
            let mut first = Manifest::default();
            first.add_increment("a");
            directory.replace(first.clone()).unwrap();
            let mut second = first.clone();
            let refused = second.add_increment("a");
            let plan = Plan {
                step: Some(step),
                skipped: 0,
                failing: 1,
                error: Errno::IO,
                is_short: false,
            };
            disk.plan(Some(plan));
            assert!(directory.replace(second).is_err(), "{step:?}");
            assert_eq!(disk.plan(None), 1);
            let found = fs::read(folder.0.join("a.manifest")).unwrap();
            assert_eq!(found, first.format(), "{step:?}");
            let next = directory.manifest.add_increment("a");
            assert!(refused.sequence < next.sequence, "{step:?}");
        }
    }
}
