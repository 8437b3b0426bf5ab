//! Writes the keys of slots, from images of them, as the commands that make them: what a node sends that gives slots away.
//! Takes no lock and waits for nothing but what it writes to.

use std::collections::VecDeque;
use std::io::{self, Write};

use rubine_keyspace::SlotImage;
use rubine_persistence::rewrite::{write_record, write_select};

/// Records between two looks at how much was written.
const RECORDS_PER_STEP: usize = 32;

/// Where the writing has come to. What is written is given back, slot by slot.
#[derive(Debug)]
pub struct SlotWriter {
    images: VecDeque<SlotImage>,
    /// Where in the first image the next record is.
    cursor: u64,
    /// The database that was selected last.
    selected: Option<usize>,
    written_keys: u64,
    keys: u64,
}

impl SlotWriter {
    /// Images come database by database, as [`rubine_keyspace::Locked::snapshot_slots`] gives them.
    pub fn new(images: Vec<SlotImage>) -> Self {
        let keys = images.iter().map(|it| it.len() as u64).sum();
        Self { images: images.into(), cursor: 0, selected: None, written_keys: 0, keys }
    }

    /// How many keys are written, and of how many.
    pub fn progress(&self) -> (u64, u64) {
        (self.written_keys, self.keys)
    }

    /// The database that is selected by what was written; none if nothing was.
    pub fn selected(&self) -> Option<usize> {
        self.selected
    }

    /// Writes some `bytes` more, though never less than a key as a whole. Returns whether there is more.
    pub fn write_some(&mut self, bytes: usize, out: &mut impl Write) -> io::Result<bool> {
        let mut out = Counted { out, count: 0 };
        while out.count < bytes
            && let Some(image) = self.images.front()
        {
            if self.selected != Some(image.db) {
                write_select(image.db, &mut out)?;
                self.selected = Some(image.db);
            }
            let mut result = Ok(());
            let next = image.scan(self.cursor, RECORDS_PER_STEP, |record| {
                if result.is_ok() {
                    result = write_record(record, &mut out);
                    self.written_keys += 1;
                }
            });
            result?;
            self.cursor = next.unwrap_or(0);
            if next.is_none() {
                self.images.pop_front();
            }
        }
        Ok(!self.images.is_empty())
    }
}

/// Counts what is written.
struct Counted<'a, W> {
    out: &'a mut W,
    count: usize,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.count += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
