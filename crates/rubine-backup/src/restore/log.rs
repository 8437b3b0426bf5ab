//! The log that follows an image, read from its segments as if it were one file.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use rubine_persistence::encryption::KeyRing;

use crate::error::BackupError;
use crate::layout::{self, BackupId, SegmentName};
use crate::manifest::Compression;
use crate::seal::{open_sealed, sha256};
use crate::store::{Store, get};

/// The longest object, and the longest content, that is believed to be a segment.
const OBJECT_BYTES_MAX: u64 = 64 << 20;
const CONTENT_BYTES_MAX: u64 = 256 << 20;

/// A segment that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The name of the object.
    pub object: String,
    pub name: SegmentName,
    pub bytes: u64,
}

/// The segments of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Invariant: numbered from 1 without a gap.
    pub segments: Vec<Segment>,
}

impl Log {
    /// What there is, up to the first gap.
    pub fn list(store: &dyn Store, id: &BackupId) -> Result<Self, BackupError> {
        let folder = layout::log_of(id);
        let objects = store.list(&folder).map_err(BackupError::of(&folder))?;
        let mut log = Self::default();
        for object in objects {
            let name = object.name.rsplit('/').next().and_then(SegmentName::parse);
            // What is being uploaded has another name.
            let Some(name) = name else { continue };
            let next = log.segments.len() as u64 + 1;
            if name.number < next {
                return Err(BackupError::damaged(
                    &object.name,
                    "there are two segments of this number",
                ));
            }
            if next < name.number {
                break;
            }
            log.segments.push(Segment { object: object.name, name, bytes: object.bytes });
        }
        Ok(log)
    }

    /// All that happened up to the end of this second is in it, Unix time.
    pub fn covers_until(&self) -> Option<i64> {
        self.segments.last().map(|it| it.name.to)
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|it| it.bytes).sum()
    }

    /// What is in it, from its beginning.
    pub fn open(&self, store: Arc<dyn Store>, keys: Option<KeyRing>) -> LogContent {
        let segments = self.segments.clone().into_iter();
        LogContent { store, keys, segments, content: Cursor::default(), read_bytes: 0 }
    }
}

/// Reads a log.
pub struct LogContent {
    store: Arc<dyn Store>,
    keys: Option<KeyRing>,
    segments: std::vec::IntoIter<Segment>,
    content: Cursor<Vec<u8>>,
    /// Bytes of objects that were fetched.
    pub read_bytes: u64,
}

impl LogContent {
    fn fetch(&self, segment: &Segment) -> io::Result<Vec<u8>> {
        let bad = |text: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {text}", segment.object))
        };
        let object = get(&*self.store, &segment.object, OBJECT_BYTES_MAX)?;
        if !sha256(&object).starts_with(&segment.name.sum) || segment.name.sum.len() < 16 {
            return Err(bad("its sum is not that of its name".to_owned()));
        }
        let compression = match object.first() {
            Some(0) => Compression::None,
            Some(1) => Compression::Zstd,
            _ => return Err(bad("it has no known form".to_owned())),
        };
        let sealed = Cursor::new(object[1..].to_vec());
        let mut content = Vec::new();
        let input = open_sealed(sealed, self.keys.as_ref(), compression)?;
        input.take(CONTENT_BYTES_MAX + 1).read_to_end(&mut content)?;
        if CONTENT_BYTES_MAX < content.len() as u64 {
            return Err(bad(format!("its content is longer than {CONTENT_BYTES_MAX} bytes")));
        }
        Ok(content)
    }
}

impl Read for LogContent {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.content.position() == self.content.get_ref().len() as u64 {
            let Some(segment) = self.segments.next() else { return Ok(0) };
            self.content = Cursor::new(self.fetch(&segment)?);
            self.read_bytes += segment.bytes;
        }
        self.content.read(out)
    }
}
