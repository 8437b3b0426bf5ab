//! An image of all data for a backup, and a reader of what happens from then on. Writes no file: whoever gets it decides where
//! the bytes go.

use std::io::{self, Write};

use rubine_base::clock::{monotonic_nanos, unix_millis};
use rubine_journal::{Hold, OutOfRange, Reader, Start};
use rubine_keyspace::ShardSet;
use rubine_system::allocator;

use crate::dumps::dump_options;
use crate::rdb_save::{DumpOptions, Work, write_dump};
use crate::storage::{Stall, Storage};

/// All data at one moment.
pub struct BackupImage {
    /// Unix milliseconds.
    pub taken_at_ms: i64,
    pub keys: u64,
    /// One more than the highest database with keys.
    pub databases: u32,
    pub memory_bytes: u64,
    work: Work,
    options: DumpOptions,
}

/// What a backup's dump is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Whether whoever gets the bytes compresses them: then they are not compressed value by value before.
    pub is_compressed_later: bool,
    /// A reader of what follows, which may fall so many bytes behind.
    pub log_bytes_max: Option<u64>,
}

impl BackupImage {
    /// Takes an image under the locks of all shards, which are held for some microseconds.
    pub fn take(storage: Storage, wanted: Wanted) -> Result<(Self, Option<Reader>), OutOfRange> {
        let config = storage.config.load();
        let mut options = dump_options(storage, &config);
        options.compresses &= !wanted.is_compressed_later;
        // Without a sum, what was uploaded could not be told from what was spoilt on the way here.
        options.sums = true;
        let start = monotonic_nanos();
        let mut locked = storage.keyspace.lock(&ShardSet::All);
        let open = |bytes| storage.journal.open_reader(Start::End, Hold::UpTo(bytes));
        let reader = wanted.log_bytes_max.map(open).transpose()?;
        let taken_at_ms = unix_millis();
        let image = storage.image(&mut locked);
        drop(locked);
        storage.host.note_stall(Stall::Snapshot, monotonic_nanos() - start);
        let counts: Vec<usize> = (0..image.db_count()).map(|db| image.len(db)).collect();
        let keys = counts.iter().sum::<usize>() as u64;
        let databases = counts.iter().rposition(|it| 0 < *it).map_or(0, |it| it as u32 + 1);
        let memory_bytes = allocator::used_memory() as u64;
        for (name, value) in &mut options.remarks {
            if *name == "ctime" {
                *value = (taken_at_ms / 1000).to_string();
            }
        }
        let work = Work::default();
        work.fill(image);
        Ok((Self { taken_at_ms, keys, databases, memory_bytes, work, options }, reader))
    }

    /// Nobody wants it any more: whoever writes it ends soon.
    pub fn cancel(&self) {
        self.work.cancel();
    }

    /// Writes all of it. Without a word of the history that it was made in: whoever starts from it is another server.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        write_dump(&self.work, out, &self.options).map(drop).map_err(io::Error::other)
    }
}
