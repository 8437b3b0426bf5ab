//! The backlog on disk: what replicas get, in files, so that one that was away for long goes on with a partial sync. A thread
//! reads the journal and writes; it is given up, with a reason, when the disk fails or does not keep up. Nobody waits for it.
//!
//! ```text
//! files:    | segment | segment | segment ....|
//!           ^first                            ^end
//! memory:                             | backlog |
//! ```
//!
//! All files are of one line of histories, without gaps. A server that starts goes on with them if they have everything up to
//! where its data is, and removes them otherwise.

pub(crate) mod segment;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use parking_lot::Mutex;
use rubine_journal::ReplicationOffset;
use rubine_persistence::encryption::KeyRing;

use self::segment::{Blocks, Segment};

/// The backlog on disk as others see it.
#[derive(Debug, Default)]
pub struct DiskBacklog {
    pub(crate) files: Mutex<Files>,
    pub(crate) thread: Mutex<Option<Thread>>,
    /// The server ends.
    pub(crate) is_ending: AtomicBool,
    /// Something was found that cannot be read: nothing of it is to be trusted any more.
    pub(crate) is_damaged: AtomicBool,
}

#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Invariant: ascending, each begins where the one before it ends.
    pub(crate) segments: VecDeque<Arc<Segment>>,
    /// Something is written.
    pub(crate) is_active: bool,
    /// Why it was given up last.
    pub(crate) failure: Option<String>,
}

/// For INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskBacklogStatus {
    pub is_active: bool,
    /// What comes after these offsets is there, up to `end`.
    pub first: u64,
    pub end: u64,
    pub failure: Option<String>,
}

/// A place from which the files are read.
pub struct Cursor {
    offset: u64,
    open: Option<(Arc<Segment>, Blocks)>,
}

impl Cursor {
    /// Everything before was read.
    pub fn offset(&self) -> ReplicationOffset {
        ReplicationOffset(self.offset)
    }
}

impl DiskBacklog {
    pub fn status(&self) -> DiskBacklogStatus {
        let files = self.files.lock();
        DiskBacklogStatus {
            is_active: files.is_active,
            first: files.segments.front().map_or(0, |it| it.start),
            end: files.segments.back().map_or(0, |it| it.end()),
            failure: files.failure.clone(),
        }
    }

    /// Has the thread look at what is wanted.
    pub fn wake(&self) {
        if let Some(thread) = &*self.thread.lock() {
            thread.unpark();
        }
    }

    /// The server ends: what is there is written, and the thread ends.
    pub fn finish(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.wake();
    }

    /// What is there cannot be read: it is given up, so that nobody tries again and again.
    pub fn note_damage(&self) {
        self.is_damaged.store(true, Ordering::Release);
        self.wake();
    }

    /// A place to read from, if what follows the offset is in files.
    pub fn cursor(&self, offset: ReplicationOffset) -> Option<Cursor> {
        let files = self.files.lock();
        let (first, last) = (files.segments.front()?, files.segments.back()?);
        let is_there = first.start <= offset.0 && offset.0 <= last.end();
        is_there.then_some(Cursor { offset: offset.0, open: None })
    }

    /// Reads on: a block at most. Nothing, if no more is written yet. An error says that what follows is gone or damaged.
    pub fn read(&self, cursor: &mut Cursor, keys: Option<&KeyRing>) -> io::Result<Option<Vec<u8>>> {
        let goes_on = cursor.open.as_ref().is_some_and(|it| cursor.offset < it.0.end());
        if !goes_on {
            let segment = {
                let files = self.files.lock();
                let index = files.segments.partition_point(|it| it.start <= cursor.offset);
                let found = index.checked_sub(1).and_then(|it| files.segments.get(it));
                found.map(Arc::clone).ok_or_else(|| io::Error::other("it is not kept any more"))?
            };
            if segment.end() <= cursor.offset {
                let is_next = segment.end() == cursor.offset;
                return if is_next { Ok(None) } else { Err(io::Error::other("it was given up")) };
            }
            let is_same = cursor.open.as_ref().is_some_and(|it| Arc::ptr_eq(&it.0, &segment));
            if !is_same {
                let blocks = Blocks::open(&segment.path, keys)?;
                if blocks.header.start != segment.start {
                    return Err(io::Error::other("a file is not what its name says"));
                }
                cursor.open = Some((segment, blocks));
            }
        }
        let (segment, blocks) = cursor.open.as_mut().expect("one is open");
        loop {
            let start = blocks.at;
            let mut content = blocks.next()?;
            if cursor.offset < blocks.at {
                // What is beyond the end is not of the stream.
                let len = segment.end().min(blocks.at) - start;
                content.truncate(len as usize);
                content.drain(..(cursor.offset - start) as usize);
                cursor.offset += content.len() as u64;
                return Ok(Some(content));
            }
        }
    }
}
