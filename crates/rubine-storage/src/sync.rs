//! A master's dump, taken in from the link or from a file that was received before. Replaces no data: whoever calls says what
//! becomes of what is there.

use std::io::{self, Read, Write};

use rubine_base::clock::unix_millis;
use rubine_persistence::encryption::Encrypting;
use rubine_rdb::read::{Item, Reader};
use rubine_rdb::version::VersionCheck;

use crate::dump_file::{Directory, DumpFile};
use crate::rdb_load::{self, Dump, LoadOptions, ReplicationRemarks, log_failure};
use crate::storage::Storage;

/// What is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// A dump whose first bytes are known to be good: what is there may go.
pub struct Incoming {
    dump: Dump,
    total_bytes: u64,
}

/// What was taken in.
pub struct Taken {
    pub keys: u64,
    pub remarks: ReplicationRemarks,
    /// What was read behind the dump.
    pub rest: Vec<u8>,
}

impl Incoming {
    /// A dump of `total_bytes`, 0 if nobody knows, that comes over the link.
    pub fn from_link(
        storage: Storage,
        input: Box<dyn Read + Send>,
        total_bytes: u64,
    ) -> Result<Self, String> {
        let dump = rdb_load::begin(input, total_bytes, &storage.config.load());
        let dump = dump.map_err(|error| {
            log_failure(&error, "of the primary");
            error.to_string()
        })?;
        Ok(Self { dump, total_bytes })
    }

    /// The dump that [`receive_file`] has put in place.
    pub fn from_file(storage: Storage) -> Result<Self, String> {
        let config = storage.config.load();
        let dump = rdb_load::open(storage, &config).and_then(|dump| {
            let missing = || rdb_load::LoadError::Open {
                name: config.dbfilename.clone(),
                error: io::ErrorKind::NotFound.into(),
            };
            dump.ok_or_else(missing)
        });
        let dump = dump.map_err(|error| {
            log_failure(&error, &config.dbfilename);
            error.to_string()
        })?;
        let total_bytes = dump.total_bytes;
        Ok(Self { dump, total_bytes })
    }

    /// Puts all keys into the keyspace, and libraries beside those that are kept. Keys that are due stay: the master says when
    /// they go.
    pub fn load(self, storage: Storage) -> Result<Taken, String> {
        let now = unix_millis();
        let loading = &storage.persistence.loading;
        loading.begin(self.total_bytes, now);
        let options = LoadOptions { drops_due: false, replaces: false, resumes_history: false };
        let loaded = self.dump.load(storage, options, now);
        let (loaded, _, rest) = loaded.map_err(|error| {
            log_failure(&error, "of the primary");
            error.to_string()
        })?;
        loading.end(unix_millis());
        tracing::info!(
            "Done loading RDB, keys loaded: {}, keys expired: {}.",
            loaded.keys,
            loaded.expired
        );
        Ok(Taken { keys: loaded.keys, remarks: loaded.remarks, rest })
    }
}

/// Whether a dump, which may have more behind it, has no keys. One that is damaged is not said to have none.
pub fn has_no_keys(dump: &[u8]) -> bool {
    let Ok(mut reader) = Reader::new(dump, VersionCheck::Relaxed) else { return false };
    loop {
        match reader.next_item() {
            Ok(None) => return true,
            Ok(Some(Item::Entries(_))) | Err(_) => return false,
            Ok(Some(_)) => {}
        }
    }
}

/// Writes what comes, to its end or up to `mark`, in place of the dump file.
pub fn receive_file(
    storage: Storage,
    input: &mut dyn Read,
    mark: Option<&[u8]>,
) -> Result<(), String> {
    let config = storage.config.load();
    let fail = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let directory = Directory::current(&storage.persistence.disk);
    let directory = directory.map_err(fail("Failed opening the directory"))?;
    let name = format!("temp-{}.{}.rdb", unix_millis() / 1000, std::process::id());
    let opening = "Opening the temp file needed for PRIMARY <-> REPLICA synchronization";
    let file = DumpFile::create(&directory, &name, true).map_err(fail(opening))?;
    let mut file = match storage.aof.keys() {
        None => copy(input, file, mark)?,
        Some(keys) => {
            let file = Encrypting::new(file, &keys).map_err(fail(opening))?;
            let file = copy(input, file, mark)?;
            file.finish().map_err(fail(opening))?
        }
    };
    file.sync().map_err(fail(
        "Failed trying to sync the temp DB to disk in PRIMARY <-> REPLICA synchronization",
    ))?;
    // A save of what was there before must not take its place.
    storage.persistence.saves.cancel_background();
    let name = &config.dbfilename;
    file.publish(name).map_err(|error| {
        format!("Failed trying to rename the temp DB into {name} in PRIMARY <-> REPLICA synchronization: {error}")
    })
}

fn copy<W: Write>(input: &mut dyn Read, mut out: W, mark: Option<&[u8]>) -> Result<W, String> {
    let mark = mark.unwrap_or_default();
    let mut buffer = vec![0; CHUNK_BYTES];
    // What may be the mark, or a part of it, waits at the beginning of the buffer.
    let mut kept = 0;
    loop {
        let count = match input.read(&mut buffer[kept..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("I/O error trying to sync with PRIMARY: {error}")),
        };
        let len = kept + count;
        let is_over = count == 0 || (!mark.is_empty() && buffer[..len].ends_with(mark));
        if count == 0 && !mark.is_empty() {
            return Err("I/O error trying to sync with PRIMARY: connection lost".to_owned());
        }
        kept = if count == 0 { 0 } else { mark.len().min(len) };
        let written = out.write_all(&buffer[..len - kept]);
        written.map_err(|error| {
            format!("Write error or short write writing to the DB dump file needed for PRIMARY <-> REPLICA synchronization: {error}")
        })?;
        if is_over {
            return Ok(out);
        }
        buffer.copy_within(len - kept..len, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out so many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(out.len());
            (&self.0[..count.min(self.0.len())]).read(out).inspect(|it| self.0 = &self.0[*it..])
        }
    }

    #[test]
    fn a_mark_ends_it_however_it_comes() {
        let mark = [7; 40];
        let bytes = [&b"REDIS0011 and so on"[..], &mark].concat();
        for step in [1, 3, 39, 40, 41, 1000] {
            let copied = copy(&mut Slow(&bytes, step), Vec::new(), Some(&mark));
            assert_eq!(copied.as_deref(), Ok(&b"REDIS0011 and so on"[..]), "{step}");
            let cut = copy(&mut Slow(&bytes[..bytes.len() - 1], step), Vec::new(), Some(&mark));
            assert!(cut.is_err());
            let plain = copy(&mut Slow(&bytes, step), Vec::new(), None);
            assert_eq!(plain.as_deref(), Ok(&*bytes));
        }
    }
}
