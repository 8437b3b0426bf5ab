//! What backups are kept in, as little as they need of it. An object is there whole or not at all, and is never changed.

mod folder;
mod s3;

#[cfg(test)]
pub(crate) mod faulty;

use std::io::{self, Read};

use crate::error::{BackupError, StoreError};
use crate::target::Target;

pub use self::folder::Folder;
pub use self::s3::{Access, Bucket};

/// A store of objects. Names have no leading slash; whatever they are put under is the store's own affair.
pub trait Store: Send + Sync {
    /// Makes an object, all of it, unless there is one of this name: then [`StoreError::Exists`].
    fn put_new(&self, name: &str, content: &[u8]) -> Result<(), StoreError>;

    /// Begins a large object, of which nothing is seen before it is finished.
    fn begin(&self, name: &str) -> Result<Box<dyn Upload>, StoreError>;

    /// Ends an upload that another run has begun and not finished. It need not be there any more.
    fn abort(&self, name: &str, token: &str) -> Result<(), StoreError>;

    /// Reads an object from its beginning.
    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, StoreError>;

    /// All objects below a folder, whose name has no slash at its end, in order of name.
    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError>;

    /// Removes an object. It need not be there.
    fn delete(&self, name: &str) -> Result<(), StoreError>;
}

/// A large object on its way. Dropped without being finished, it leaves nothing behind where the store can be reached.
pub trait Upload: Send {
    /// By what another run can end it.
    fn token(&self) -> String;

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes all that was written an object.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// An object, as a list tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub name: String,
    pub bytes: u64,
    /// Unix milliseconds.
    pub modified_at_ms: i64,
}

/// Opens the store of a target. That it is there, and does what it is asked, is not known before [`probe`].
pub fn open(target: &Target, access: &Access) -> Result<Box<dyn Store>, BackupError> {
    match target {
        Target::Folder(path) => Ok(Box::new(Folder::new(path.clone()))),
        Target::Bucket { bucket, prefix } => {
            let opened = Bucket::open(bucket, prefix, access);
            Ok(Box::new(opened.map_err(BackupError::of(&target.shown()))?))
        }
    }
}

/// Reads a small object.
pub fn get(store: &dyn Store, name: &str, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    let read = store.open(name)?.take(bytes_max + 1).read_to_end(&mut content);
    read.map_err(StoreError::from)?;
    if bytes_max < content.len() as u64 {
        return Err(StoreError::Failed(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(content)
}

/// Makes an object, all of it. One of the same name and content is what an attempt has left whose answer was lost.
pub fn put(store: &dyn Store, name: &str, content: &[u8]) -> Result<(), StoreError> {
    match store.put_new(name, content) {
        Err(StoreError::Exists) if get(store, name, content.len() as u64)? == content => Ok(()),
        result => result,
    }
}

/// Writes, reads, lists and removes an object, to know that all of that works.
pub fn probe(store: &dyn Store, name: &str) -> Result<(), BackupError> {
    const CONTENT: &[u8] =
        b"Rubine checks whether it can keep backups here. This can be removed.\n";
    store.put_new(name, CONTENT).map_err(BackupError::of("writing a probe"))?;
    let read = get(store, name, CONTENT.len() as u64);
    let listed = store.list(crate::layout::SETS);
    store.delete(name).map_err(BackupError::of("removing a probe"))?;
    listed.map_err(BackupError::of("listing objects"))?;
    if read.map_err(BackupError::of("reading a probe"))? != CONTENT {
        return Err(BackupError::damaged("the probe", "what is read is not what was written"));
    }
    Ok(())
}

/// The end of an object that came too soon, or never.
pub(crate) fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the object ends before its end")
}
