//! The log since an image, as segments: read from the journal as it grows, and uploaded one after the other, so that there is
//! never a gap. A chain whose reader has lost its place has ended: only another image goes on.

use rubine_journal::{Reader, Slice};
use rubine_persistence::timestamp::Marks;

use crate::error::StoreError;
use crate::layout::{BackupId, SegmentName, log_of};
use crate::seal::{Form, sha256, write_sealed};
use crate::store::{Store, put};

/// Bytes that are uploaded together at most, about.
const SEGMENT_BYTES_MAX: usize = 8 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;
/// Without changes, a segment that says so comes so often.
const IDLE_MS: i64 = 60_000;
/// What is appended may be told to be of a second that has just been over.
const SECONDS_IN_DOUBT: i64 = 2;

/// The log since one image.
pub(crate) struct Chain {
    pub(crate) id: BackupId,
    reader: Reader,
    marks: Marks,
    /// Read, and not yet uploaded.
    pending: Vec<u8>,
    /// When the first byte of it was read, Unix milliseconds.
    pending_since: Option<i64>,
    /// The object that is to be uploaded: it is the same at each attempt.
    sealed: Option<(SegmentName, Vec<u8>)>,
    next_number: u64,
    /// All that happened in the seconds up to this one is in the store.
    pub(crate) covers: i64,
    /// The same, when what was read is there too.
    will_cover: i64,
    shipped_at: i64,
    /// The last second of which something was read.
    last_second: i64,
}

/// A reader that has fallen too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

impl Chain {
    /// What `reader` reads from the moment on at which an image was taken.
    pub(crate) fn new(id: BackupId, reader: Reader, taken_at_ms: i64) -> Self {
        let second = taken_at_ms / 1000 - 1;
        Self {
            id,
            reader,
            marks: Marks::default(),
            pending: Vec::new(),
            pending_since: None,
            sealed: None,
            next_number: 1,
            covers: second,
            will_cover: second,
            shipped_at: taken_at_ms,
            last_second: second,
        }
    }

    /// Takes in what has been written meanwhile, as long as there is room.
    pub(crate) fn read(&mut self, now: i64) -> Result<(), Lost> {
        let mut slices: Vec<Slice> = Vec::new();
        while self.sealed.is_none() && self.pending.len() < SEGMENT_BYTES_MAX {
            slices.clear();
            let before = self.reader.position();
            self.reader.read(READ_BYTES, &mut slices).map_err(|_| Lost)?;
            for slice in &slices {
                self.marks.write_due(slice.second, &mut self.pending);
                self.pending.extend_from_slice(slice);
                self.last_second = self.last_second.max(slice.second as i64);
                // More of the same second may follow.
                self.will_cover = self.will_cover.max(slice.second as i64 - 1);
            }
            if !slices.is_empty() {
                self.pending_since.get_or_insert(now);
            }
            if self.reader.position() == before {
                self.will_cover = self.will_cover.max(now / 1000 - SECONDS_IN_DOUBT);
                break;
            }
        }
        Ok(())
    }

    /// Whether there is something to upload at `now`.
    pub(crate) fn is_due(&self, interval_ms: i64, now: i64) -> bool {
        let has_waited = self.pending_since.is_some_and(|since| since + interval_ms <= now);
        let is_full = SEGMENT_BYTES_MAX <= self.pending.len();
        let is_idle_long = self.shipped_at + IDLE_MS.max(interval_ms) <= now;
        // What is there of the last second is known to be all of it.
        let can_tell = self.covers < self.last_second && self.last_second <= self.will_cover;
        let has_news = can_tell && self.shipped_at + interval_ms <= now;
        self.sealed.is_some() || has_waited || is_full || has_news || is_idle_long
    }

    /// Whether something was read that is not uploaded yet.
    pub(crate) fn has_pending(&self) -> bool {
        self.sealed.is_some() || !self.pending.is_empty()
    }

    /// Uploads what was read. Returns how many bytes that were. What fails can be tried again.
    pub(crate) fn ship(
        &mut self,
        store: &dyn Store,
        form: &Form,
        now: i64,
    ) -> Result<u64, StoreError> {
        let (name, object) = match self.sealed.take() {
            Some(sealed) => sealed,
            None => self.seal(form)?,
        };
        let path = format!("{}/{}", log_of(&self.id), name.format());
        if let Err(error) = put(store, &path, &object) {
            self.sealed = Some((name, object));
            return Err(error);
        }
        self.next_number += 1;
        self.covers = name.to;
        self.shipped_at = now;
        Ok(object.len() as u64)
    }

    fn seal(&mut self, form: &Form) -> Result<(SegmentName, Vec<u8>), StoreError> {
        // Who reads it has to know its form from itself: the name tells only when it is from.
        let object = vec![form.compression() as u8];
        let (object, _) = write_sealed(object, form, |out| out.write_all(&self.pending))?;
        self.pending.clear();
        self.pending_since = None;
        let mut sum = sha256(&object);
        sum.truncate(16);
        let (number, from, to) = (self.next_number, self.covers, self.will_cover);
        Ok((SegmentName { number, from, to, sum }, object))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use rubine_journal::{Effects, Hold, Journal, Start};

    use super::*;
    use crate::layout;
    use crate::restore::log::Log;
    use crate::store::faulty::{Fault, Faulty};

    const START_MS: i64 = 1_796_032_800_000;

    fn append(journal: &Journal, text: &str, second: i64) {
        let mut effects = Effects::default();
        effects.command(0, &[b"SET", text.as_bytes(), b"1"]);
        journal.append(&mut effects, second as u64);
    }

    fn content(store: &Faulty, id: &BackupId) -> (String, Option<i64>) {
        let store = store.copy();
        let log = Log::list(&store, id).unwrap();
        let mut text = String::new();
        log.open(Arc::new(store), None).read_to_string(&mut text).unwrap();
        (text, log.covers_until())
    }

    /// Whatever fails, what is there is a beginning of what happened, without a gap, and in the end all of it.
    #[test]
    fn a_log_has_no_gap_whatever_fails() {
        for failing in 1..40 {
            for fault in [Fault::Before, Fault::After] {
                let store = Faulty::default();
                store.0.lock().fails_at = Some((failing, fault));
                let journal = Journal::new(0, 0);
                let reader = journal.open_reader(Start::End, Hold::UpTo(1 << 20)).unwrap();
                let id = BackupId::new(START_MS, 1);
                let mut chain = Chain::new(id.clone(), reader, START_MS);
                let form = Form { keys: None, level: 1 };
                let mut names = Vec::new();
                for step in 0..8 {
                    let now = START_MS + step * 1000;
                    append(&journal, &format!("key{step}"), now / 1000);
                    names.push(format!("key{step}"));
                    chain.read(now).unwrap();
                    let _ = chain.ship(&store, &form, now);
                    let (text, _) = content(&store, &id);
                    let there = names.iter().filter(|it| text.contains(it.as_str())).count();
                    assert!(names[..there].iter().all(|it| text.contains(it.as_str())), "{text}");
                }
                store.0.lock().fails_at = None;
                chain.read(START_MS + 20_000).unwrap();
                while chain.has_pending() {
                    chain.ship(&store, &form, START_MS + 20_000).unwrap();
                    chain.read(START_MS + 20_000).unwrap();
                }
                chain.ship(&store, &form, START_MS + 20_000).unwrap();
                let (text, covered) = content(&store, &id);
                assert!(names.iter().all(|it| text.contains(it.as_str())), "{text}");
                assert_eq!(text.matches("key3").count(), 1);
                assert_eq!(covered, Some(START_MS / 1000 + 18));
            }
        }
    }

    /// A second counts as covered only when nothing of it can come any more.
    #[test]
    fn what_is_covered_is_never_too_much() {
        let store = Faulty::default();
        let journal = Journal::new(0, 0);
        let reader = journal.open_reader(Start::End, Hold::UpTo(1 << 20)).unwrap();
        let id = BackupId::new(START_MS, 1);
        let mut chain = Chain::new(id.clone(), reader, START_MS);
        let form = Form { keys: None, level: 0 };
        append(&journal, "a", START_MS / 1000);
        chain.read(START_MS + 100).unwrap();
        assert!(chain.is_due(50, START_MS + 200) && !chain.is_due(500, START_MS + 200));
        chain.ship(&store, &form, START_MS + 200).unwrap();
        assert_eq!(content(&store, &id).1, Some(START_MS / 1000 - 1));
        // When the second is over, that is worth a segment.
        chain.read(START_MS + 1500).unwrap();
        assert!(!chain.is_due(500, START_MS + 1500));
        chain.read(START_MS + 2500).unwrap();
        assert!(chain.is_due(500, START_MS + 2500));
        chain.ship(&store, &form, START_MS + 2500).unwrap();
        assert_eq!(content(&store, &id).1, Some(START_MS / 1000));
        // Nothing happens: a segment says so after a minute.
        chain.read(START_MS + 60_000).unwrap();
        assert!(!chain.is_due(500, START_MS + 60_000));
        chain.read(START_MS + 70_000).unwrap();
        assert!(chain.is_due(500, START_MS + 70_000));
        chain.ship(&store, &form, START_MS + 70_000).unwrap();
        assert_eq!(content(&store, &id).1, Some(START_MS / 1000 + 68));
        // A list with a gap ends before it.
        let first = store.names().into_iter().find(|it| it.starts_with(layout::LOG)).unwrap();
        store.0.lock().objects.remove(&first);
        assert_eq!(Log::list(&store, &id).unwrap(), Log::default());
    }

    #[test]
    fn a_reader_that_was_left_behind_is_lost() {
        let journal = Journal::new(0, 0);
        let reader = journal.open_reader(Start::End, Hold::UpTo(100)).unwrap();
        let mut chain = Chain::new(BackupId::new(START_MS, 1), reader, START_MS);
        for _ in 0..200_000 {
            append(&journal, "some key that is long enough", 1);
        }
        assert_eq!(chain.read(START_MS), Err(Lost));
    }
}
