//! What the objects of backups are called. Reads and writes none.
//!
//! ```text
//! PREFIX/sets/ID/dump.rdb.zst           an image
//! PREFIX/sets/ID/manifest.json          written last: with it, the backup is one
//! PREFIX/sets/ID/verified.json          it was read back from its beginning to its end
//! PREFIX/sets/ID/damaged.json           that did not go well
//! PREFIX/sets/ID/accepted.json          somebody knows why a suspect one has so little in it
//! PREFIX/suspects/ID/..                 the same for backups that have suspiciously few keys
//! PREFIX/log/ID/NUMBER-FROM-TO-SUM.log  what happened since the image ID: one segment of many, by number and seconds
//! PREFIX/uploads/TOKEN.json             an upload in parts that is under way
//! PREFIX/probe-TOKEN                    is written, read and removed when the target is checked
//! ```
//!
//! No name is used twice: an id has the moment and random digits in it.

use std::fmt;

/// The folders under the prefix.
pub const SETS: &str = "sets";
pub const SUSPECTS: &str = "suspects";
pub const LOG: &str = "log";
pub const UPLOADS: &str = "uploads";

/// The objects of one backup.
pub const MANIFEST: &str = "manifest.json";
pub const VERIFIED: &str = "verified.json";
pub const DAMAGED: &str = "damaged.json";
pub const ACCEPTED: &str = "accepted.json";

const MOMENT: &str = "%Y%m%dT%H%M%SZ";
const MOMENT_CHARS: usize = 16;
const RANDOM_CHARS: usize = 8;

/// What a backup is called: when its image was made, to the second, and random digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(String);

impl BackupId {
    /// One for an image made at `unix_ms`, with `random` digits.
    pub fn new(unix_ms: i64, random: u32) -> Self {
        let moment =
            jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self(format!("{}-{random:08x}", moment.strftime(MOMENT)))
    }

    /// Reads one; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (moment, random) = text.split_once('-')?;
        let bytes = moment.as_bytes();
        let is_moment = bytes.len() == MOMENT_CHARS
            && bytes.iter().enumerate().all(|(index, byte)| match index {
                8 => *byte == b'T',
                15 => *byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        let is_hex = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        let is_random = random.len() == RANDOM_CHARS && random.bytes().all(is_hex);
        (is_moment && is_random).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A segment of the log, as its name tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Counted from 1, without gaps.
    pub number: u64,
    /// All that happened in the seconds up to `to` is in the segments up to this one. Unix time.
    pub from: i64,
    pub to: i64,
    /// The beginning of the SHA-256 of the object, in hexadecimal digits.
    pub sum: String,
}

impl SegmentName {
    /// The name in the folder of its image.
    pub fn format(&self) -> String {
        let Self { number, from, to, sum } = self;
        format!("{number:010}-{from}-{to}-{sum}.log")
    }

    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".log")?.split('-');
        let number = parts.next()?.parse().ok()?;
        let from = parts.next()?.parse().ok()?;
        let to = parts.next()?.parse().ok()?;
        let sum = parts.next()?.to_owned();
        parts.next().is_none().then_some(Self { number, from, to, sum })
    }
}

/// The folder of a backup.
pub fn folder_of(id: &BackupId, is_suspect: bool) -> String {
    format!("{}/{id}", if is_suspect { SUSPECTS } else { SETS })
}

/// The folder of the log since a backup.
pub fn log_of(id: &BackupId) -> String {
    format!("{LOG}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let early = BackupId::new(1_796_032_800_123, 0xffff_ffff);
        let late = BackupId::new(1_796_032_801_000, 0);
        assert_eq!(early.as_str(), "20261130T100000Z-ffffffff");
        assert!(early < late);
        assert_eq!(BackupId::parse(early.as_str()), Some(early));
        for text in [
            "",
            "20261130T100000Z",
            "20261130T100000Z-FFFFFFFF",
            "../130T100000Z-ffffffff",
            "20261130T100000Z-fffffff/",
        ] {
            assert_eq!(BackupId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_segments_sort_by_number_and_read_back() {
        let name = |number| SegmentName { number, from: 5, to: 17, sum: "0a".to_owned() };
        assert_eq!(name(9).format(), "0000000009-5-17-0a.log");
        assert!(name(9).format() < name(10).format());
        assert_eq!(SegmentName::parse(&name(9).format()), Some(name(9)));
        for text in ["1-2-3-a", "1-2-3.log", "1-2-3-a-b.log", "x-2-3-a.log"] {
            assert_eq!(SegmentName::parse(text), None, "{text}");
        }
    }
}
