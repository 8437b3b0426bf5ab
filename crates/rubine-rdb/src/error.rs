//! What can be wrong with a file or payload, with its place; and what can keep a value from being written.
//! All texts are here. Where Valkey has a word for it, it is that word, since people search logs for it.

use std::io;

use crate::version::Version;

/// Something is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at offset {offset}")]
pub struct Damage {
    /// Where it was noticed: in the file, or in the bytes that were to be decoded.
    pub offset: u64,
    pub fault: Fault,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("wrong signature: this is no dump file")]
    NotDumpFile,
    #[error("can't handle RDB format version {0}")]
    UnknownVersion(Version),
    #[error("the data ends too early")]
    Truncated,
    #[error("unknown type or opcode {0}")]
    UnknownType(u8),
    #[error("invalid length encoding")]
    Length,
    #[error("unknown string encoding {0}")]
    StringEncoding(u8),
    /// Redis and Valkey hold such keys and elements.
    #[error("a key or an element of {0} bytes, which have to be shorter than 4 GiB here")]
    LongString(u64),
    #[error("invalid LZF compressed string")]
    Compressed,
    #[error("{0} bytes after the end of the value")]
    Trailing(u64),
    /// Such a key is not kept: real servers skip it in files.
    #[error("empty {0}")]
    Empty(&'static str),
    #[error("a number of elements that does not divide into {0}")]
    Uneven(&'static str),
    #[error("Duplicate {0} detected")]
    Duplicate(&'static str),
    #[error("NAN score, or none")]
    Score,
    #[error("invalid deadline of a field")]
    Deadline,
    #[error("Listpack integrity check failed: {0}")]
    Listpack(&'static str),
    #[error("Ziplist integrity check failed: {0}")]
    Ziplist(&'static str),
    #[error("Zipmap integrity check failed: {0}")]
    Zipmap(&'static str),
    #[error("Intset integrity check failed: {0}")]
    Intset(&'static str),
    #[error("Quicklist integrity check failed")]
    Quicklist,
    #[error("Stream listpack integrity check failed: {0}")]
    StreamListpack(&'static str),
    #[error("Stream integrity check failed: {0}")]
    Stream(&'static str),
    #[error("a value of the module type '{0}', which this server does not have")]
    Module(String),
    #[error("a value of a module in a form that cannot be skipped")]
    OldModule,
    #[error("invalid data of a module")]
    ModuleData,
    #[error("a value of type {0}, which this server does not have")]
    Foreign(&'static str),
    #[error("a hash refers to template {0}, which is not there")]
    Template(u64),
    #[error("function libraries of a release candidate of Redis 7.0")]
    OldFunction,
    #[error("invalid slot number")]
    Slot,
    #[error("wrong checksum: {found:016x}, and the data has {expected:016x}")]
    Checksum { found: u64, expected: u64 },
}

impl Fault {
    pub(crate) fn at(self, offset: usize) -> Damage {
        Damage { offset: offset as u64, fault: self }
    }
}

/// A file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read at offset {offset}: {error}")]
    Io { offset: u64, error: io::Error },
    #[error(transparent)]
    Damaged(#[from] Damage),
}

impl ReadError {
    pub(crate) fn damaged(offset: u64, fault: Fault) -> Self {
        Self::Damaged(Damage { offset, fault })
    }
}

/// A value cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another version can hold it: see [`Version::newest_common`].
    #[error("RDB version {version} cannot hold {what}")]
    Unrepresentable { version: Version, what: &'static str },
}
