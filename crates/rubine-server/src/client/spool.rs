//! Bytes that one thread makes and several replicas take, each at its own pace. What is ahead of the slowest is kept in
//! memory up to a bound; beyond it the maker waits, unless others have nothing left to take: then what the slowest lacks goes
//! to a file, so that it slows nobody.
//!
//! ```text
//! forgotten | in the file | in memory ............ |
//!           ^ slowest     ^ start                  ^ end: the fastest
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

/// Bytes that are kept in memory of a dump.
pub(crate) const MEMORY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What is read from the file at a time.
const FILE_READ_BYTES: u64 = 64 * 1024;
/// How often the maker looks again whether somebody has gone.
const WAIT: Duration = Duration::from_millis(50);

/// Wakes the worker with that number.
pub(crate) type WakeWorker = Box<dyn Fn(usize) + Send + Sync>;

pub(crate) struct Spool {
    state: Mutex<State>,
    /// Somebody has taken something, or has gone.
    taken: Condvar,
    wake: WakeWorker,
    /// What is in memory goes to a file if need be. Not where files have to be encrypted.
    may_spill: bool,
    memory_bytes_max: u64,
    /// Called when nobody takes any more.
    abandoned: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<(u64, Bytes)>,
    /// Where the first piece in memory begins.
    start: u64,
    end: u64,
    file: Option<Spill>,
    ending: Option<Ending>,
    readers: Vec<Place>,
}

/// What went to the file, from `start` on.
struct Spill {
    file: Arc<File>,
    start: u64,
}

/// How it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Complete,
    Failed,
}

struct Place {
    id: u64,
    worker: usize,
    position: u64,
    sleeps: bool,
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Found {
    Piece(Bytes),
    /// There will be more.
    Nothing,
    End,
    /// It has ended before its time.
    Broken,
}

impl Spool {
    pub(crate) fn new(wake: WakeWorker, may_spill: bool, memory_bytes_max: u64) -> Arc<Self> {
        let (state, taken, abandoned) = Default::default();
        Arc::new(Self { state, taken, wake, may_spill, memory_bytes_max, abandoned })
    }

    /// Has this called when nobody takes any more: what is made for nobody need not be.
    pub(crate) fn when_abandoned(&self, call: impl FnOnce() + Send + 'static) {
        *self.abandoned.lock() = Some(Box::new(call));
        if self.state.lock().readers.is_empty() {
            self.tell_abandoned();
        }
    }

    fn tell_abandoned(&self) {
        let call = self.abandoned.lock().take();
        if let Some(call) = call {
            call();
        }
    }

    /// A reader, of a worker, of all that there will be. To be made before anything is written.
    pub(crate) fn reader(self: &Arc<Self>, worker: usize) -> SpoolReader {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.state.lock().readers.push(Place { id, worker, position: 0, sleeps: true });
        SpoolReader { spool: Arc::clone(self), id, position: 0 }
    }

    /// Bytes in memory.
    #[cfg(test)]
    fn byte_count(&self) -> u64 {
        let state = self.state.lock();
        state.end - state.start
    }

    /// Adds a piece, when there is room for it. An error says that nobody reads any more.
    fn push(&self, piece: Bytes) -> io::Result<()> {
        let mut state = self.state.lock();
        loop {
            if state.readers.is_empty() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            state.forget_read();
            if state.end - state.start < self.memory_bytes_max {
                break;
            }
            let is_somebody_idle = state.readers.iter().any(|it| it.position == state.end);
            if self.may_spill && is_somebody_idle {
                state.spill_first()?;
            } else {
                self.taken.wait_for(&mut state, WAIT);
            }
        }
        let end = state.end;
        state.end += piece.len() as u64;
        state.pieces.push_back((end, piece));
        self.wake_readers(&mut state);
        Ok(())
    }

    /// Says that it is complete, or that there will be no more for another reason.
    pub(crate) fn end(&self, is_complete: bool) {
        let mut state = self.state.lock();
        state.ending = Some(if is_complete { Ending::Complete } else { Ending::Failed });
        self.wake_readers(&mut state);
    }

    fn wake_readers(&self, state: &mut State) {
        for reader in &mut state.readers {
            if std::mem::take(&mut reader.sleeps) {
                (self.wake)(reader.worker);
            }
        }
    }
}

impl State {
    /// Forgets what all have taken.
    fn forget_read(&mut self) {
        let slowest = self.readers.iter().map(|it| it.position).min().unwrap_or(self.end);
        while let Some((start, piece)) = self.pieces.front() {
            let end = start + piece.len() as u64;
            if slowest < end {
                break;
            }
            self.start = end;
            self.pieces.pop_front();
        }
        if self.start <= slowest {
            self.file = None;
        }
    }

    /// Puts the first piece into the file.
    fn spill_first(&mut self) -> io::Result<()> {
        let Some((start, piece)) = self.pieces.front() else { return Ok(()) };
        if self.file.is_none() {
            let name = format!("temp-spool-{}.rdb", std::process::id());
            let options =
                || File::options().read(true).write(true).create(true).truncate(true).open(&name);
            let file = options()?;
            std::fs::remove_file(&name)?;
            self.file = Some(Spill { file: Arc::new(file), start: *start });
        }
        if let Some(spill) = &self.file {
            spill.file.write_all_at(piece, start - spill.start)?;
        }
        self.start = start + piece.len() as u64;
        self.pieces.pop_front();
        Ok(())
    }
}

/// One who takes.
pub(crate) struct SpoolReader {
    spool: Arc<Spool>,
    id: u64,
    position: u64,
}

impl SpoolReader {
    /// Takes what comes next. Whoever finds nothing is woken when there is something.
    pub(crate) fn take(&mut self) -> Found {
        let mut state = self.spool.state.lock();
        if self.position == state.end {
            let found = match state.ending {
                Some(Ending::Complete) => Found::End,
                Some(Ending::Failed) => Found::Broken,
                None => Found::Nothing,
            };
            self.place(&mut state).sleeps = true;
            return found;
        }
        let piece = if self.position < state.start {
            let Some(Spill { file, start }) = &state.file else { return Found::Broken };
            let (file, at) = (Arc::clone(file), self.position - start);
            let len = (state.start - self.position).min(FILE_READ_BYTES);
            // Others go on meanwhile: what is in the file stays there.
            drop(state);
            let mut bytes = vec![0; len as usize];
            if file.read_exact_at(&mut bytes, at).is_err() {
                return Found::Broken;
            }
            state = self.spool.state.lock();
            Bytes::from(bytes)
        } else {
            let index = state.pieces.partition_point(|(start, _)| *start <= self.position) - 1;
            let (start, piece) = &state.pieces[index];
            piece.slice((self.position - start) as usize..)
        };
        self.position += piece.len() as u64;
        self.place(&mut state).position = self.position;
        if self.spool.memory_bytes_max / 2 <= state.end - state.start {
            self.spool.taken.notify_all();
        }
        Found::Piece(piece)
    }

    fn place<'a>(&self, state: &'a mut State) -> &'a mut Place {
        let mut places = state.readers.iter_mut();
        places.find(|it| it.id == self.id).expect("a place lives as long as its reader")
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.spool.state.lock();
            state.readers.retain(|it| it.id != self.id);
            state.readers.is_empty()
        };
        self.spool.taken.notify_all();
        if is_last {
            self.spool.tell_abandoned();
        }
    }
}

impl std::fmt::Debug for SpoolReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SpoolReader")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Writes into a spool.
pub(crate) struct SpoolWriter(pub(crate) Arc<Spool>);

impl Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.0.push(Bytes::copy_from_slice(bytes))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(reader: &mut SpoolReader) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match reader.take() {
                Found::Piece(piece) => all.extend_from_slice(&piece),
                Found::Nothing => std::thread::yield_now(),
                Found::End => return all,
                Found::Broken => panic!("broken"),
            }
        }
    }

    #[test]
    fn a_slow_reader_slows_nobody_and_misses_nothing() {
        let spool = Spool::new(Box::new(|_| ()), true, MEMORY_BYTES_MAX);
        let (mut slow, mut fast) = (spool.reader(0), spool.reader(1));
        let piece = |number: u64| number.to_le_bytes().repeat(8 * 1024);
        let count = 3 * MEMORY_BYTES_MAX / (64 * 1024);
        let maker = std::thread::spawn(move || {
            let mut writer = SpoolWriter(Arc::clone(&spool));
            for number in 0..count {
                writer.write_all(&piece(number)).unwrap();
            }
            spool.end(true);
            spool
        });
        let all = take_all(&mut fast);
        let spool = maker.join().unwrap();
        assert!(spool.byte_count() <= MEMORY_BYTES_MAX);
        assert_eq!(all.len() as u64, count * 64 * 1024);
        assert!(take_all(&mut slow) == all);
    }

    #[test]
    fn the_maker_waits_for_the_only_reader_and_ends_without_one() {
        let spool = Spool::new(Box::new(|_| ()), true, MEMORY_BYTES_MAX);
        let mut reader = spool.reader(0);
        let maker = std::thread::spawn(move || {
            let mut writer = SpoolWriter(spool);
            let piece = vec![1; 1 << 20];
            while writer.write_all(&piece).is_ok() {}
        });
        while matches!(reader.take(), Found::Nothing) {}
        drop(reader);
        maker.join().unwrap();
    }
}
