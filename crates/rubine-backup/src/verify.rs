//! Reads a backup back as a restore would: from its first byte to its last, and every value of it.

use std::io::{self, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use rubine_persistence::encryption::{EncryptionError, KeyRing};
use rubine_rdb::ValueLimits;
use rubine_rdb::error::{Damage, Fault, ReadError};
use rubine_rdb::read::{Item, Reader};
use rubine_rdb::version::VersionCheck;

use crate::error::{BackupError, StoreError};
use crate::manifest::Manifest;
use crate::seal::{Summed, open_sealed};

/// Reads all of `object`, which is the dump of a backup. Returns how many keys it has.
///
/// An error that is [`BackupError::Damaged`] is about the object; any other about the way to it, so nothing is known of it.
pub(crate) fn verify(
    object: impl Read + Send + 'static,
    name: &str,
    manifest: &Manifest,
    keys: Option<&KeyRing>,
) -> Result<u64, BackupError> {
    let (object, watch) = watched(object);
    let found = read_object(object, manifest, keys).map_err(|error| watch.blame(name, error))?;
    if found != manifest.keys {
        let reason = format!("it has {found} keys, and its manifest says {}", manifest.keys);
        return Err(BackupError::damaged(name, reason));
    }
    Ok(found)
}

fn read_object(
    object: impl Read + Send + 'static,
    manifest: &Manifest,
    keys: Option<&KeyRing>,
) -> io::Result<u64> {
    let dump = &manifest.dump;
    let object = Summed::new(object, dump.bytes, &dump.sha256);
    let content = open_sealed(object, keys, dump.compression)?;
    let (mut content, found) = read_dump(content).map_err(|error| match error {
        ReadError::Io { error, .. } => error,
        ReadError::Damaged(damage) => io::Error::new(io::ErrorKind::InvalidData, damage),
    })?;
    // The sum is known to be right only at the end.
    let rest = io::copy(&mut content, &mut io::sink())?;
    if 0 < rest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{rest} bytes follow the dump"),
        ));
    }
    Ok(found)
}

/// Reads a dump to its end, every value of it, and counts the keys.
fn read_dump(content: Box<dyn Read + Send>) -> Result<(Box<dyn Read + Send>, u64), ReadError> {
    let limits = ValueLimits::default();
    let mut reader = Reader::new(content, VersionCheck::Strict)?;
    let mut keys = 0;
    while let Some(item) = reader.next_item()? {
        let Item::Entries(batch) = item else { continue };
        for entry in batch.entries() {
            keys += 1;
            match entry.key().and_then(|_| entry.decode(&limits)) {
                // Nobody writes one, and nobody would miss it.
                Ok(_) | Err(Damage { fault: Fault::Empty(_), .. }) => {}
                Err(damage) => return Err(damage.into()),
            }
        }
    }
    let (content, rest) = reader.into_rest();
    Ok((Box::new(io::Cursor::new(rest).chain(content)), keys))
}

/// Tells what is wrong with an object from what is wrong with the way to it.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Option<StoreError>>>);

/// Reads as `source` does; what the source itself says of an error is kept.
pub(crate) fn watched<R>(source: R) -> (Watched<R>, Watch) {
    let watch = Watch::default();
    (Watched { source, watch: watch.clone() }, watch)
}

pub(crate) struct Watched<R> {
    source: R,
    watch: Watch,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.source.read(out).inspect_err(|error| {
            let inner = error.get_ref().and_then(|it| it.downcast_ref::<StoreError>()).cloned();
            let error = inner.unwrap_or_else(|| StoreError::Failed(error.to_string()));
            *self.watch.0.lock() = Some(error);
        })
    }
}

impl Watch {
    /// What `error`, which came of reading, is about.
    pub(crate) fn blame(&self, name: &str, error: io::Error) -> BackupError {
        if let Some(error) = self.0.lock().take() {
            return BackupError::Store { name: name.to_owned(), error };
        }
        let encryption = error.get_ref().and_then(|it| it.downcast_ref::<EncryptionError>());
        match encryption {
            // It may be as good as ever: what is missing is here.
            Some(
                EncryptionError::NoKeys
                | EncryptionError::UnknownKey(_)
                | EncryptionError::WrongKey(_),
            ) => BackupError::Unfit(format!("{name} cannot be read: {error}")),
            _ => BackupError::damaged(name, error),
        }
    }
}
