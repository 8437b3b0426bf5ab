//! One increment, the file that is being appended to. What could not be written or forced to disk as a whole is taken
//! back, so that the file never has a gap and never half of a unit followed by another.

use std::io::{self, IoSlice, Write as _};
use std::path::Path;
use std::sync::Arc;

use rubine_journal::Slice;
use rubine_persistence::encryption::{Encryptor, KeyRing, Place};
use rubine_persistence::timestamp::Marks;

use crate::disk::{Disk, DiskFile};

/// Pieces given to the system at once.
const SLICES_MAX: usize = 512;

/// What bytes are appended to: a file, or a test's idea of a bad one.
pub(crate) trait Target: Send {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    fn sync(&mut self) -> io::Result<()>;
    /// Forgets everything from `len` on; what is written next stands there.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

impl Target for DiskFile {
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored(slices)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        // It was opened for appending, so the next write goes to the end that this makes.
        Self::truncate(self, len)
    }
}

/// An increment.
pub(crate) struct Increment {
    target: Box<dyn Target>,
    /// Bytes that are whole.
    len: u64,
    /// Behind them may be the rest of a write that failed.
    has_rest: bool,
    /// Its length before it was made complete.
    unfinished_len: u64,
    marks: Option<Marks>,
    seal: Option<Seal>,
}

/// What an encrypted increment goes on with.
struct Seal {
    keys: Arc<KeyRing>,
    /// The segment that is being written, if one is.
    encryptor: Option<Encryptor>,
    /// What the next segment follows.
    place: Place,
}

impl Increment {
    /// The file at `path`, new or to be appended to. With keys it is encrypted, from `place` on.
    pub(crate) fn open(
        disk: &Disk,
        path: &Path,
        has_marks: bool,
        seal: Option<(Arc<KeyRing>, Place)>,
    ) -> io::Result<Self> {
        let file = disk.append(path)?;
        let len = file.size()?;
        Ok(Self::on(Box::new(file), len, has_marks, seal))
    }

    pub(crate) fn on(
        target: Box<dyn Target>,
        len: u64,
        has_marks: bool,
        seal: Option<(Arc<KeyRing>, Place)>,
    ) -> Self {
        let seal = seal.map(|(keys, place)| Seal { keys, encryptor: None, place });
        let marks = has_marks.then(Marks::default);
        Self { target, len, has_rest: false, unfinished_len: len, marks, seal }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Begins or ceases to write time marks.
    pub(crate) fn set_marks(&mut self, has_marks: bool) {
        if has_marks != self.marks.is_some() {
            self.marks = has_marks.then(Marks::default);
        }
    }

    /// Appends all of `slices`, and with `Durability::Disk` forces them to disk, or leaves the file as it was.
    pub(crate) fn append(&mut self, slices: &[Slice], durability: Durability) -> io::Result<()> {
        self.drop_rest()?;
        let marks = self.marks.clone();
        let (texts, order) = self.lay_out(slices);
        let pieces: Vec<&[u8]> = order
            .iter()
            .map(|piece| match *piece {
                Piece::Mark(index) => texts[index].as_slice(),
                Piece::Slice(index) => &*slices[index],
            })
            .collect();
        let result = self.write_pieces(&pieces, durability);
        if result.is_err() {
            self.marks = marks;
        }
        result
    }

    /// Appends a line that is no command, or leaves the file as it was.
    pub(crate) fn annotate(&mut self, line: &[u8]) -> io::Result<()> {
        self.drop_rest()?;
        self.write_pieces(&[line], Durability::System)
    }

    /// Writes the mark of a complete file, if there is one, and forces all to disk. Nothing may be appended any more,
    /// unless this fails.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.drop_rest()?;
        self.unfinished_len = self.len;
        let Some(seal) = &mut self.seal else { return self.target.sync() };
        let mut sealed = Vec::new();
        let encryptor = seal.take_encryptor(&mut sealed)?;
        encryptor.finish(&mut sealed);
        self.write_whole(&[&sealed], Durability::Disk)
    }

    /// Takes the mark of a complete file back: more is to come.
    pub(crate) fn reopen(&mut self) {
        if self.unfinished_len < self.len {
            self.len = self.unfinished_len;
            self.has_rest = true;
        }
    }

    /// Goes on with other keys. False if the file cannot: it was begun without, or was to have any.
    pub(crate) fn set_keys(&mut self, keys: Option<&Arc<KeyRing>>) -> bool {
        match (&mut self.seal, keys) {
            (Some(seal), Some(keys)) => {
                if !Arc::ptr_eq(&seal.keys, keys) {
                    seal.keys = Arc::clone(keys);
                    seal.encryptor = None;
                }
                true
            }
            (None, None) => true,
            _ => false,
        }
    }

    fn write_pieces(&mut self, pieces: &[&[u8]], durability: Durability) -> io::Result<()> {
        let Some(seal) = &mut self.seal else { return self.write_whole(pieces, durability) };
        let mut sealed = Vec::new();
        let mut encryptor = seal.take_encryptor(&mut sealed)?;
        encryptor.seal(&pieces.concat(), &mut sealed);
        self.write_whole(&[&sealed], durability)?;
        if let Some(seal) = &mut self.seal {
            // Had it failed, the next attempt would begin a segment of its own: no nonce serves two contents.
            seal.place = encryptor.place();
            seal.encryptor = Some(encryptor);
        }
        Ok(())
    }

    /// Writes all of `pieces`, or leaves the file as it was.
    fn write_whole(&mut self, pieces: &[&[u8]], durability: Durability) -> io::Result<()> {
        let result = self.write_all(pieces).and_then(|()| match durability {
            Durability::Disk => self.target.sync(),
            Durability::System => Ok(()),
        });
        if result.is_ok() {
            self.len += pieces.iter().map(|it| it.len() as u64).sum::<u64>();
        } else {
            self.has_rest = true;
            // If this fails as well, it is tried again before the next write.
            let _ = self.drop_rest();
        }
        result
    }

    /// Forces to disk what was written.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.target.sync()
    }

    /// The slices with the time marks that are due between them.
    fn lay_out(&mut self, slices: &[Slice]) -> (Vec<Vec<u8>>, Vec<Piece>) {
        let (mut texts, mut order) = (Vec::new(), Vec::with_capacity(slices.len()));
        for (index, slice) in slices.iter().enumerate() {
            if let Some(marks) = &mut self.marks {
                let mut text = Vec::new();
                marks.write_due(slice.second, &mut text);
                if !text.is_empty() {
                    order.push(Piece::Mark(texts.len()));
                    texts.push(text);
                }
            }
            order.push(Piece::Slice(index));
        }
        (texts, order)
    }

    fn write_all(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        for pieces in pieces.chunks(SLICES_MAX) {
            let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|it| IoSlice::new(it)).collect();
            let mut rest = slices.as_mut_slice();
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match self.target.write(rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => IoSlice::advance_slices(&mut rest, count),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn drop_rest(&mut self) -> io::Result<()> {
        if self.has_rest {
            self.target.truncate(self.len)?;
            self.has_rest = false;
        }
        Ok(())
    }
}

impl Seal {
    /// The segment to go on with, or a new one, whose header goes into `out`.
    fn take_encryptor(&mut self, out: &mut Vec<u8>) -> io::Result<Encryptor> {
        match self.encryptor.take() {
            Some(encryptor) => Ok(encryptor),
            None => Encryptor::begin(&self.keys, self.place, out),
        }
    }
}

enum Piece {
    Mark(usize),
    Slice(usize),
}

/// How far written bytes have to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// To the operating system: they survive the end of the process.
    System,
    /// To the disk.
    Disk,
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use parking_lot::Mutex;
    use proptest::prelude::*;
    use rubine_persistence::encryption::Input;

    use super::*;

    /// A disk that fails as it is told: at some operations, after some bytes.
    #[derive(Default)]
    struct Faults {
        bytes: Vec<u8>,
        synced_len: usize,
        /// By operation: how many bytes a write takes before it fails, or that a sync or truncation fails.
        plan: Vec<Option<usize>>,
        operation: usize,
    }

    #[derive(Clone, Default)]
    struct BadDisk(Arc<Mutex<Faults>>);

    impl Faults {
        fn next(&mut self) -> Option<usize> {
            self.operation += 1;
            self.plan.get(self.operation - 1).copied().flatten()
        }
    }

    impl Target for BadDisk {
        fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut faults = self.0.lock();
            let room = faults.next();
            let whole: Vec<u8> = slices.iter().flat_map(|it| it.iter().copied()).collect();
            match room {
                Some(0) => Err(io::ErrorKind::StorageFull.into()),
                Some(room) => {
                    let count = room.min(whole.len());
                    faults.bytes.extend_from_slice(&whole[..count]);
                    Ok(count)
                }
                None => {
                    faults.bytes.extend_from_slice(&whole);
                    Ok(whole.len())
                }
            }
        }

        fn sync(&mut self) -> io::Result<()> {
            let mut faults = self.0.lock();
            if faults.next().is_some() {
                return Err(io::Error::other("the disk is gone"));
            }
            faults.synced_len = faults.bytes.len();
            Ok(())
        }

        fn truncate(&mut self, len: u64) -> io::Result<()> {
            let mut faults = self.0.lock();
            if faults.next().is_some() {
                return Err(io::Error::other("the disk is gone"));
            }
            assert!(len as usize <= faults.bytes.len(), "nothing whole is ever taken back");
            faults.bytes.truncate(len as usize);
            Ok(())
        }
    }

    fn slice(offset: u64, second: u64, text: &str) -> Slice {
        Slice { offset, second, bytes: text.as_bytes().to_vec().into() }
    }

    #[test]
    fn marks_stand_between_units() {
        let disk = BadDisk::default();
        let mut increment = Increment::on(Box::new(disk.clone()), 0, true, None);
        let slices = [slice(0, 7, "a"), slice(1, 7, "b"), slice(2, 8, "c")];
        increment.append(&slices, Durability::System).unwrap();
        assert_eq!(disk.0.lock().bytes, b"#TS:7\r\nab#TS:8\r\nc");
        assert_eq!(increment.len(), 17);
        increment.set_marks(false);
        increment.append(&[slice(3, 9, "d")], Durability::System).unwrap();
        assert!(disk.0.lock().bytes.ends_with(b"cd"));
    }

    proptest! {
        /// Whatever fails, the file is what was appended successfully, in order, and all of it is on disk.
        #[test]
        fn a_failing_disk_leaves_no_gap_and_no_half(
            plan in proptest::collection::vec(proptest::option::weighted(0.4, 0_usize..6), 0..60),
            texts in proptest::collection::vec("[a-z]{1,9}", 1..12),
            is_encrypted: bool,
        ) {
            let disk = BadDisk::default();
            disk.0.lock().plan = plan;
            let keys = KeyRing::parse(format!("a {}", "0".repeat(64)).as_bytes()).unwrap();
            let seal = is_encrypted.then(|| (Arc::new(keys.clone()), Place::default()));
            let mut increment = Increment::on(Box::new(disk.clone()), 0, true, seal);
            let mut expected = Vec::new();
            let mut marks = Marks::default();
            for (index, text) in texts.iter().enumerate() {
                let slices = [slice(0, index as u64 / 3, text), slice(0, index as u64 / 2, "!")];
                for slice in &slices {
                    marks.write_due(slice.second, &mut expected);
                    expected.extend_from_slice(&slice.bytes);
                }
                let mut attempts = 0;
                while increment.append(&slices, Durability::Disk).is_err() {
                    attempts += 1;
                    prop_assert!(attempts < 100, "the plan is over some day");
                }
                let faults = disk.0.lock();
                let mut plain = Vec::new();
                let mut input = Input::new(faults.bytes.as_slice(), Some(&keys)).unwrap();
                input.read_to_end(&mut plain).unwrap();
                prop_assert_eq!(&plain, &expected);
                prop_assert_eq!(faults.synced_len, faults.bytes.len());
                prop_assert_eq!(increment.len(), faults.bytes.len() as u64);
            }
        }
    }
}
