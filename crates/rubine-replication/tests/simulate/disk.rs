//! The log on disk of a server: what it says must always add up to what the server did.

use std::sync::Arc;

use rubine_journal::{Hold, Journal, Reader, ReplicationOffset, Start};
use rubine_replication::stream::StreamReader;

use crate::data::Write;

pub(crate) struct Disk {
    reader: Reader,
    stream: StreamReader,
    database: Option<u32>,
    /// Of what the log says since it was begun, and of what was done.
    replayed: u64,
    done: u64,
}

impl Disk {
    pub(crate) fn begin(journal: &Arc<Journal>) -> Self {
        let reader = journal.open_reader(Start::End, Hold::Everything);
        Self {
            reader: reader.expect("the end is always there"),
            stream: StreamReader::new(ReplicationOffset(0)),
            database: None,
            replayed: 0,
            done: 0,
        }
    }

    pub(crate) fn note_done(&mut self, write: Write) {
        self.done = write.hash_after(self.done);
    }

    /// Up to where it is written.
    pub(crate) fn written(&self, journal: &Journal) -> Option<ReplicationOffset> {
        journal.offset_at(self.reader.position())
    }

    /// Takes in what the journal has, and compares. A journal that has begun another history begins the log anew.
    pub(crate) fn check(&mut self, journal: &Arc<Journal>) -> Result<(), String> {
        let mut slices = Vec::new();
        loop {
            let start = self.reader.position();
            match self.reader.read(usize::MAX, &mut slices) {
                Ok(_) if self.reader.position() == start => break,
                Ok(_) => {}
                Err(_) => {
                    *self = Self::begin(journal);
                    return Ok(());
                }
            }
        }
        for slice in slices {
            self.stream.receive(&slice);
        }
        while let Some(unit) = self.stream.next_unit().map_err(|it| it.to_string())? {
            for args in unit.commands() {
                if args[0].of(unit.bytes) == b"SELECT" {
                    let text = String::from_utf8_lossy(args[1].of(unit.bytes));
                    self.database = text.parse().ok();
                    continue;
                }
                let database = self.database.ok_or("the log on disk selects no database")?;
                let write = Write::of(args, unit.bytes, database);
                let write = write.ok_or("the log on disk has what is none of its business")?;
                self.replayed = write.hash_after(self.replayed);
            }
        }
        if self.replayed != self.done {
            return Err("the log on disk does not add up to what was done".to_owned());
        }
        Ok(())
    }
}
