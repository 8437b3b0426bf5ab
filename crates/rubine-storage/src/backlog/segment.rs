//! One file of the backlog on disk: a stretch of the replication stream, in blocks. Knows no other file, and believes nothing
//! that a file says without a checksum.
//!
//! ```text
//! file     header | block | block | ..           encrypted as a whole, where files are
//!
//! header   0   8   RBNBLOG1
//!          8  40   the history that the stream is of
//!         48   8   the offset of the first byte
//!         56   8   the same of the file before, whose stream ends where this one's begins; all ones if there is none
//!
//! block    0   4   length of the content
//!          4   8   CRC-64 of the content
//!         12   n   content
//! ```
//!
//! Numbers are little endian.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rubine_base::crc::crc64;
use rubine_journal::HistoryId;
use rubine_persistence::encryption::{Encrypting, Input, KeyRing};

use crate::disk::{Disk, DiskFile};

const MAGIC: &[u8; 8] = b"RBNBLOG1";
const ID_BYTES: usize = 40;
const START_AT: usize = MAGIC.len() + ID_BYTES;
const PREVIOUS_AT: usize = START_AT + size_of::<u64>();
const HEADER_BYTES: usize = PREVIOUS_AT + size_of::<u64>();
const BLOCK_HEADER_BYTES: usize = size_of::<u32>() + size_of::<u64>();
/// The longest content of a block.
pub(crate) const BLOCK_BYTES_MAX: usize = 256 * 1024;

/// Where there is no file before.
const NONE: u64 = u64::MAX;

const PREFIX: &str = "backlog-";
const SUFFIX: &str = ".rbl";

/// A stretch of the stream that is in a file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) start: u64,
    /// Whole blocks are in the file up to here, and what is beyond is not of the stream.
    end: AtomicU64,
}

impl Segment {
    pub(crate) fn new(path: PathBuf, start: u64, end: u64) -> Self {
        Self { path, start, end: AtomicU64::new(end) }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }
}

/// The name of the file that begins at this offset.
pub(crate) fn name(start: u64) -> String {
    format!("{PREFIX}{start:016x}{SUFFIX}")
}

/// All files of a backlog in a folder, by the offset that their names tell.
pub(crate) fn find(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let digits = name.to_str().and_then(|it| it.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        if let Some(start) = digits.and_then(|it| u64::from_str_radix(it, 16).ok()) {
            found.push((start, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: HistoryId,
    pub(crate) start: u64,
    /// Where the file before begins.
    pub(crate) previous: Option<u64>,
}

/// Where blocks go.
pub(crate) enum Output {
    Plain(DiskFile),
    Encrypted(Box<Encrypting<DiskFile>>),
}

impl Output {
    /// Begins a file.
    pub(crate) fn create(
        disk: &Disk,
        path: &Path,
        keys: Option<&KeyRing>,
        header: Header,
    ) -> io::Result<Self> {
        let file = disk.create(path)?;
        let mut output = match keys {
            None => Self::Plain(file),
            Some(keys) => Self::Encrypted(Box::new(Encrypting::new(file, keys)?)),
        };
        let Header { id, start, previous } = header;
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&previous.unwrap_or(NONE).to_le_bytes());
        output.write(&bytes)?;
        Ok(output)
    }

    /// Writes a block whole, so that it can be read at once.
    pub(crate) fn write_block(&mut self, content: &[u8]) -> io::Result<()> {
        let mut block = Vec::with_capacity(BLOCK_HEADER_BYTES + content.len());
        block.extend_from_slice(&(content.len() as u32).to_le_bytes());
        block.extend_from_slice(&crc64(0, content).to_le_bytes());
        block.extend_from_slice(content);
        self.write(&block)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Encrypted(file) => {
                file.write_all(bytes)?;
                file.flush()
            }
        }
    }
}

/// Reads a file from its beginning.
pub(crate) struct Blocks {
    input: Input<BufReader<File>>,
    pub(crate) header: Header,
    /// The offset of the next block.
    pub(crate) at: u64,
}

impl Blocks {
    pub(crate) fn open(path: &Path, keys: Option<&KeyRing>) -> io::Result<Self> {
        let mut input = Input::new(BufReader::new(File::open(path)?), keys)?;
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header)?;
        let id = HistoryId::parse(&header[MAGIC.len()..START_AT]);
        let id = id.filter(|_| header.starts_with(MAGIC));
        let id = id.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it has no header"))?;
        let number = |at: usize| {
            let bytes = header[at..at + size_of::<u64>()].try_into();
            u64::from_le_bytes(bytes.expect("a header has room for its numbers"))
        };
        let (start, previous) = (number(START_AT), number(PREVIOUS_AT));
        let previous = (previous != NONE).then_some(previous);
        Ok(Self { input, header: Header { id, start, previous }, at: start })
    }

    /// The next block. Only to be asked where there is one, or where an error may say that there is none.
    pub(crate) fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; BLOCK_HEADER_BYTES];
        self.input.read_exact(&mut header)?;
        let (len, sum) = header.split_at(size_of::<u32>());
        let len = u32::from_le_bytes(len.try_into().expect("four bytes")) as usize;
        let sum = u64::from_le_bytes(sum.try_into().expect("eight bytes"));
        if len == 0 || BLOCK_BYTES_MAX < len {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a block has no length that may be",
            ));
        }
        let mut content = vec![0; len];
        self.input.read_exact(&mut content)?;
        if crc64(0, &content) != sum {
            return Err(io::Error::new(ErrorKind::InvalidData, "a block is damaged"));
        }
        self.at += len as u64;
        Ok(content)
    }

    /// Up to where there are whole blocks.
    pub(crate) fn find_end(mut self) -> u64 {
        while self.next().is_ok() {}
        self.at
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &[u8; 40] = b"0123456789012345678901234567890123456789";

    /// Whatever a file has, reading it ends with whole blocks or with an error.
    #[test]
    fn no_file_is_believed() {
        let folder = std::env::temp_dir().join(format!("rubine-segment-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name(7));
        let header = Header { id: HistoryId::parse(ID).unwrap(), start: 7, previous: Some(3) };
        let mut output = Output::create(&Disk::default(), &path, None, header).unwrap();
        output.write_block(b"first").unwrap();
        output.write_block(&vec![b'x'; BLOCK_BYTES_MAX]).unwrap();
        drop(output);
        assert_eq!(find(&folder).unwrap(), [(7, path.clone())]);
        let whole = fs::read(&path).unwrap();
        let mut blocks = Blocks::open(&path, None).unwrap();
        assert_eq!(blocks.header, header);
        assert_eq!((blocks.next().unwrap(), blocks.at), (b"first".to_vec(), 12));
        assert_eq!(blocks.find_end(), 12 + BLOCK_BYTES_MAX as u64);
        for len in (0..HEADER_BYTES + 40).chain([whole.len() - 1]) {
            fs::write(&path, &whole[..len]).unwrap();
            let end = Blocks::open(&path, None).map(Blocks::find_end);
            assert!(end.is_err() || matches!(end, Ok(7 | 12)), "{len}");
        }
        for at in 0..HEADER_BYTES + 40 {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            fs::write(&path, &bytes).unwrap();
            // Only what stands in front of the blocks is for others to doubt.
            let is_sound = Blocks::open(&path, None)
                .is_ok_and(|it| it.header != header || it.find_end() < 12 + BLOCK_BYTES_MAX as u64);
            assert!(is_sound || Blocks::open(&path, None).is_err(), "{at}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
