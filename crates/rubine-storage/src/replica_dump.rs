//! A dump for replicas: an image of one moment, written to whoever takes the bytes. Keeps no file but one that nobody else
//! sees, where the length has to be known before the first byte leaves.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use rubine_keyspace::Snapshot;
use rubine_persistence::encryption::{self, Encrypting};
use rubine_rdb::version::Version;

use crate::dumps::dump_options;
use crate::rdb_save::{DumpOptions, Work, write_dump};
use crate::storage::Storage;

/// An image, and how it is to be written.
pub struct ReplicaDump {
    work: Work,
    options: DumpOptions,
}

/// What a dump is to have.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The version that the replicas read; `None`: the newest that the most servers read and that can hold the data.
    pub version: Option<Version>,
    pub has_data: bool,
    pub has_functions: bool,
    /// What the history is called, where it is, and the database that is selected there.
    pub remarks: Vec<(&'static str, String)>,
}

impl ReplicaDump {
    /// That of an image, made under the locks under which the image was taken.
    pub fn new(storage: Storage, image: Snapshot, wanted: Wanted) -> Self {
        let config = storage.config.load();
        let mut options = dump_options(storage, &config);
        // What the operator has chosen is for whoever has said nothing.
        options.version = wanted.version.or(options.version);
        options.remarks.extend(wanted.remarks);
        if !wanted.has_functions {
            options.functions.clear();
        }
        let work = Work::default();
        if wanted.has_data {
            work.fill(image);
        }
        Self { work, options }
    }

    /// Writes all of it.
    pub fn write<W: Write>(&self, out: W) -> io::Result<W> {
        write_dump(&self.work, out, &self.options).map_err(io::Error::other)
    }

    /// Writes it into a file without a name in the working directory, encrypted as other files are. Returns how long it is,
    /// and what reads it from its start.
    pub fn write_aside(&self, storage: Storage) -> io::Result<(u64, Box<dyn Read + Send>)> {
        let name = format!("temp-replica-{}.rdb", std::process::id());
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&name)?;
        std::fs::remove_file(&name)?;
        let keys = storage.aof.keys();
        let out = Counting { inner: &file, bytes: 0 };
        let (mut file, len) = match &keys {
            None => {
                let len = self.write(out)?.bytes;
                (file, len)
            }
            Some(keys) => {
                let out = Counting { inner: Encrypting::new(&file, keys)?, bytes: 0 };
                let out = self.write(out)?;
                let len = out.bytes;
                out.inner.finish()?;
                (file, len)
            }
        };
        file.seek(SeekFrom::Start(0))?;
        let input = encryption::Input::new(file, keys.as_deref())?.complete();
        Ok((len, Box::new(input)))
    }

    /// Nobody wants it any more: whoever writes it ends soon.
    pub fn cancel(&self) {
        self.work.cancel();
    }

    /// Bytes that were copied for its sake so far, about.
    pub fn copied_bytes(&self) -> usize {
        self.work.copied_bytes()
    }
}

/// Counts what is written.
struct Counting<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
