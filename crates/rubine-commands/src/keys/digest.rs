//! The digest of DEBUG DIGEST: equal for equal data, whatever its order, encoding or server. Computed in slices; never
//! looks at a shard.
//!
//! Two operations build it, both on 20 bytes: *add* xors the SHA-1 of some bytes in, so that order does not matter;
//! *chain* does that and then takes the SHA-1 of all, so that it does. A key chains its name, its type and what its
//! type says; where order is free, each element is chained for itself and added. A key with a deadline adds a fixed
//! text. The data set chains the number of each database and adds its keys.

use rubine_base::number::DoubleText;
use rubine_keyspace::{ScanCursor, Snapshot};
use rubine_structures::hash::HashWalk;
use rubine_structures::list::{End, ListCursor};
use rubine_structures::record::RecordRef;
use rubine_structures::set::SetWalk;
use rubine_structures::sorted_set::{Direction, SortedSetCursor};
use rubine_structures::stream::{self, StreamCursor, StreamId};
use rubine_structures::value::{Type, ValueRef};
use sha1::{Digest as _, Sha1};

const DIGEST_SIZE: usize = 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest([u8; DIGEST_SIZE]);

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        for (byte, other) in self.0.iter_mut().zip(Sha1::digest(bytes)) {
            *byte ^= other;
        }
    }

    fn chain(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    pub(super) fn hex(&self) -> String {
        use std::fmt::Write;
        self.0.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
    }
}

/// Items that one step works through.
const ITEMS_PER_STEP: usize = 64;
const BYTES_PER_STEP: usize = 64 * 1024;

/// The digest of one value, as far as it has come.
#[derive(Debug)]
pub(super) struct ValueDigest {
    digest: Digest,
    has_deadline: bool,
    rest: Rest,
}

/// What of a value has yet to be worked through. Every further type has its place here.
#[derive(Debug)]
enum Rest {
    Nothing,
    List(ListCursor),
    Set(SetWalk),
    Hash(HashWalk),
    SortedSet(SortedSetCursor),
    Stream(StreamCursor),
}

impl ValueDigest {
    /// Begins the digest of what `record` holds, without its key.
    pub(super) fn of_value(record: RecordRef<'_>) -> Self {
        Self::begin(Digest::default(), record)
    }

    /// Begins the digest of a record, its key included.
    fn of_record(record: RecordRef<'_>) -> Self {
        let mut digest = Digest::default();
        digest.chain(record.key());
        Self::begin(digest, record)
    }

    fn begin(mut digest: Digest, record: RecordRef<'_>) -> Self {
        let value = record.value();
        digest.chain(&type_number(value.type_of()).to_be_bytes());
        let rest = match value {
            ValueRef::Int(number) => {
                digest.chain(itoa::Buffer::new().format(number).as_bytes());
                Rest::Nothing
            }
            ValueRef::Bytes { bytes, .. } => {
                digest.chain(bytes);
                Rest::Nothing
            }
            ValueRef::Shared(bytes) => {
                digest.chain(bytes);
                Rest::Nothing
            }
            ValueRef::List(list) => Rest::List(ListCursor::new(list, 0..list.len(), End::Front)),
            ValueRef::Set(set) => Rest::Set(SetWalk::new(set)),
            ValueRef::Hash(hash) => Rest::Hash(HashWalk::new(hash)),
            ValueRef::Stream(stream) => {
                let (start, end) = (StreamId::MIN, StreamId::MAX);
                let direction = stream::Direction::Ascending;
                Rest::Stream(StreamCursor::new(stream, start, end, direction, u64::MAX))
            }
            ValueRef::SortedSet(set) => {
                Rest::SortedSet(SortedSetCursor::new(set, 0..set.len(), Direction::Ascending))
            }
        };
        Self { digest, has_deadline: record.deadline().is_some(), rest }
    }

    /// Goes on for some items. Returns the digest when it is complete.
    pub(super) fn step(&mut self, now: i64) -> Option<Digest> {
        let digest = &mut self.digest;
        let has_more = match &mut self.rest {
            Rest::Nothing => false,
            Rest::List(cursor) => {
                cursor.next_slice(ITEMS_PER_STEP, BYTES_PER_STEP, |item| digest.chain(item))
            }
            Rest::Set(walk) => {
                let mut text = Vec::new();
                walk.visit_some(|member| {
                    digest.add(member.text_in(&mut text));
                })
            }
            Rest::SortedSet(cursor) => {
                cursor.next_slice(ITEMS_PER_STEP, BYTES_PER_STEP, |member, score| {
                    let mut element = Digest::default();
                    element.chain(member);
                    element.chain(DoubleText::of_digits(score).as_bytes());
                    digest.add(&element.0);
                })
            }
            Rest::Stream(cursor) => {
                let is_empty = cursor.remaining() == 0;
                !is_empty
                    && cursor.next_slice(ITEMS_PER_STEP, BYTES_PER_STEP, |entry| {
                        digest.chain(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                        for (field, value) in entry.fields() {
                            digest.chain(field);
                            digest.chain(value);
                        }
                    })
            }
            Rest::Hash(walk) => walk.visit_some(|field| {
                if field.deadline.is_none_or(|deadline| now < deadline) {
                    let mut element = Digest::default();
                    element.chain(field.key);
                    element.chain(field.value);
                    digest.add(&element.0);
                }
            }),
        };
        if has_more {
            return None;
        }
        if self.has_deadline {
            digest.add(b"!!expire!!");
        }
        Some(*digest)
    }
}

/// The number of a type in the memory of Redis; not the one in its files.
fn type_number(type_of: Type) -> u32 {
    match type_of {
        Type::String => 0,
        Type::List => 1,
        Type::Set => 2,
        Type::SortedSet => 3,
        Type::Hash => 4,
        Type::Stream => 6,
    }
}

/// The digest of all databases of an image, as far as it has come.
#[derive(Debug)]
pub(super) struct DatasetDigest {
    image: Snapshot,
    now: i64,
    digest: Digest,
    db: usize,
    /// Where to go on in `db`; `None` before its first key.
    cursor: Option<ScanCursor>,
    /// Records that were met and are not complete.
    pending: Vec<ValueDigest>,
}

impl DatasetDigest {
    pub(super) fn new(image: Snapshot, now: i64) -> Self {
        let (digest, pending) = (Digest::default(), Vec::new());
        Self { image, now, digest, db: 0, cursor: None, pending }
    }

    /// Goes on for some records or items. Returns the digest when it is complete.
    pub(super) fn step(&mut self) -> Option<Digest> {
        if let Some(mut value) = self.pending.pop() {
            match value.step(self.now) {
                Some(digest) => self.digest.add(&digest.0),
                None => self.pending.push(value),
            }
            return None;
        }
        if self.image.db_count() <= self.db {
            return Some(self.digest);
        }
        let Some(cursor) = self.cursor else {
            if self.image.is_empty(self.db) {
                self.db += 1;
            } else {
                self.digest.chain(&(self.db as u32).to_be_bytes());
                self.cursor = Some(ScanCursor::START);
            }
            return None;
        };
        let pending = &mut self.pending;
        self.cursor = self.image.scan(self.db, cursor, ITEMS_PER_STEP, |record| {
            pending.push(ValueDigest::of_record(record));
        });
        if self.cursor.is_none() {
            self.db += 1;
        }
        None
    }
}
