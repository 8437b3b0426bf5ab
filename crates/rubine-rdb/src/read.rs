//! Reads a file from its start to its end, and cuts it into pieces. Decodes no value: that is done with the entries of
//! a [`Batch`], by whoever has a thread for it.

use std::borrow::Cow;
use std::io::Read;

use rubine_base::crc::SLOT_COUNT;
use rubine_structures::value::Value;

use crate::cursor::Cursor;
use crate::decode::{self, Template, Templates, ValueLimits, module_name};
use crate::error::{Damage, Fault, ReadError};
use crate::kind::Kind;
use crate::opcode;
use crate::source::Source;
use crate::version::{MAGIC_BYTES, Version, VersionCheck};

/// A batch ends after so many bytes or entries.
const BATCH_BYTES: usize = 64 * 1024;
const BATCH_ENTRIES: usize = 1024;

/// The first version whose files end with a checksum.
const CHECKSUM_SINCE: u16 = 5;
/// The first versions of Redis in which modules keep something about keys, and in which hashes share field names.
pub(crate) const KEY_META_SINCE: u16 = 13;
const HASH_TEMPLATE_SINCE: u16 = 15;

pub(crate) const KEY_META_CLASS_BYTES: u64 = 4;

/// What a file consists of.
#[derive(Debug)]
pub enum Item {
    /// A remark about the file or the server that wrote it. Unknown ones mean nothing.
    Aux { key: Vec<u8>, value: Vec<u8> },
    /// What follows belongs to this database.
    SelectDb(u64),
    /// How many keys the database has, and how many of them have deadlines: a hint.
    ResizeDb { keys: u64, expires: u64 },
    /// As [`Item::ResizeDb`], for a hash slot.
    SlotInfo { slot: u64, keys: u64, expires: u64 },
    /// Slots that the server was importing when it wrote the file: first and last of each range.
    SlotImport { job: Vec<u8>, ranges: Vec<(u16, u16)> },
    /// The code of a function library.
    Function(Vec<u8>),
    /// What a module wrote besides keys; it is not kept.
    ModuleAux { module: String },
    /// Keys of one database.
    Entries(Batch),
}

/// Reads a file.
pub struct Reader<R> {
    source: Source<R>,
    version: Version,
    db: u64,
    templates: Templates,
    /// An opcode that was read and belongs to what comes next.
    pending: Option<u8>,
    has_ended: bool,
    checks_sum: bool,
    /// The file says that no checksum was made.
    is_unsummed: bool,
    /// Keys beside which modules kept something that was passed over.
    keys_with_meta: u64,
}

/// Consecutive entries of one database.
#[derive(Debug, Default)]
pub struct Batch {
    db: u64,
    bytes: Vec<u8>,
    places: Vec<Place>,
    templates: Templates,
}

/// An entry in the bytes of its batch.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    value_start: usize,
    end: usize,
    /// Where it starts in the file.
    offset: u64,
    kind: Kind,
    attributes: Attributes,
}

/// What stands before a key, besides its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// When the key is due, Unix milliseconds.
    pub deadline: Option<i64>,
    pub access: Option<AccessHint>,
}

/// What the writer knew about accesses of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessHint {
    IdleSeconds(u64),
    Frequency(u8),
}

/// A key and its value, as they are in the file.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where the key starts in the file.
    pub offset: u64,
    pub kind: Kind,
    pub attributes: Attributes,
    key: &'a [u8],
    value: &'a [u8],
    templates: &'a Templates,
}

impl<R: Read> Reader<R> {
    /// Reads the first bytes of a file.
    pub fn new(input: R, check: VersionCheck) -> Result<Self, ReadError> {
        let mut source = Source::new(input);
        let magic: [u8; MAGIC_BYTES] = source.array()?;
        let version =
            Version::from_magic(&magic).ok_or_else(|| ReadError::damaged(0, Fault::NotDumpFile))?;
        if !version.is_read(check) {
            return Err(ReadError::damaged(0, Fault::UnknownVersion(version)));
        }
        Ok(Self {
            source,
            version,
            db: 0,
            templates: Templates::new(),
            pending: None,
            has_ended: false,
            checks_sum: true,
            is_unsummed: false,
            keys_with_meta: 0,
        })
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// Does not compare the checksum at the end: for whoever wants what can be had of a damaged file.
    pub fn ignore_checksum(&mut self) {
        self.checks_sum = false;
    }

    /// After the end: whether the file says that no checksum was made.
    pub fn is_unsummed(&self) -> bool {
        self.is_unsummed
    }

    /// Keys beside which modules kept something, which was passed over.
    pub fn keys_with_meta(&self) -> u64 {
        self.keys_with_meta
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> u64 {
        self.source.offset()
    }

    /// The input, and what was read from it beyond the end of the file: an append-only file goes on there.
    pub fn into_rest(self) -> (R, Vec<u8>) {
        self.source.into_rest()
    }

    /// The next piece. `None` after the end, when the checksum is known to be right. Nothing can be read after an
    /// error.
    pub fn next_item(&mut self) -> Result<Option<Item>, ReadError> {
        while !self.has_ended {
            self.source.kept = Vec::new();
            let opcode = match self.pending.take() {
                Some(opcode) => opcode,
                None => self.source.byte()?,
            };
            if self.begins_entry(opcode) {
                return self.read_batch(opcode).map(|batch| Some(Item::Entries(batch)));
            }
            if let Some(item) = self.read_other(opcode)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Whether `opcode` is the type of a value or something that stands before it.
    fn begins_entry(&self, opcode: u8) -> bool {
        matches!(
            opcode,
            opcode::IDLE | opcode::FREQUENCY | opcode::EXPIRE_TIME_MS | opcode::EXPIRE_TIME
        ) || self.is_key_meta(opcode)
            || Kind::of(opcode, self.version).is_some()
    }

    fn is_key_meta(&self, opcode: u8) -> bool {
        opcode == opcode::KEY_META_OR_SLOT_IMPORT && self.version.has_redis(KEY_META_SINCE)
    }

    /// Reads entries until there are enough or something else comes.
    fn read_batch(&mut self, first: u8) -> Result<Batch, ReadError> {
        let mut places = Vec::new();
        let mut opcode = first;
        loop {
            places.push(self.read_entry(opcode)?);
            if BATCH_BYTES <= self.source.kept.len() || places.len() == BATCH_ENTRIES {
                break;
            }
            opcode = self.source.byte()?;
            if !self.begins_entry(opcode) {
                self.pending = Some(opcode);
                break;
            }
        }
        let templates = self.templates.clone();
        Ok(Batch { db: self.db, bytes: std::mem::take(&mut self.source.kept), places, templates })
    }

    fn read_entry(&mut self, mut opcode: u8) -> Result<Place, ReadError> {
        let mut attributes = Attributes::default();
        let kind = loop {
            if let Some(kind) = Kind::of(opcode, self.version) {
                break kind;
            }
            match opcode {
                opcode::EXPIRE_TIME_MS => {
                    attributes.deadline = Some(i64::from_le_bytes(self.source.array()?));
                }
                opcode::EXPIRE_TIME => {
                    let seconds = i32::from_le_bytes(self.source.array()?);
                    attributes.deadline = Some(i64::from(seconds) * 1000);
                }
                opcode::FREQUENCY => {
                    attributes.access = Some(AccessHint::Frequency(self.source.byte()?));
                }
                opcode::IDLE => {
                    let before = self.source.kept.len();
                    let idle = self.source.keep_length()?;
                    self.source.kept.truncate(before);
                    attributes.access = Some(AccessHint::IdleSeconds(idle));
                }
                meta if self.is_key_meta(meta) => {
                    self.pass_key_meta()?;
                    self.keys_with_meta += 1;
                }
                other => return Err(self.unknown(other)),
            }
            opcode = self.source.byte()?;
        };
        let (offset, start) = (self.source.offset(), self.source.kept.len());
        self.source.keep_key()?;
        let value_start = self.source.kept.len();
        self.source.keep_value(kind, &self.templates)?;
        let end = self.source.kept.len();
        Ok(Place { start, value_start, end, offset, kind, attributes })
    }

    /// What modules keep about a key, each behind its identity. It is not kept.
    fn pass_key_meta(&mut self) -> Result<(), ReadError> {
        let start = self.source.kept.len();
        for _ in 0..self.source.keep_length()? {
            self.source.keep(KEY_META_CLASS_BYTES)?;
            self.source.keep_module_data()?;
            self.source.kept.truncate(start);
        }
        self.source.kept.truncate(start);
        Ok(())
    }

    /// Reads what is not an entry. `None` for what only the reader needs, and at the end.
    fn read_other(&mut self, opcode: u8) -> Result<Option<Item>, ReadError> {
        Ok(Some(match opcode {
            opcode::END => {
                self.check_end()?;
                self.has_ended = true;
                return Ok(None);
            }
            opcode::HASH_TEMPLATE if self.version.has_redis(HASH_TEMPLATE_SINCE) => {
                let number = self.source.keep_length()?;
                let mut names = Vec::new();
                for _ in 0..self.source.keep_length()? {
                    names.push(self.read_string()?);
                }
                self.templates.insert(number, Template(names.into()));
                return Ok(None);
            }
            opcode::SELECT_DB => {
                self.db = self.source.keep_length()?;
                Item::SelectDb(self.db)
            }
            opcode::RESIZE_DB => Item::ResizeDb {
                keys: self.source.keep_length()?,
                expires: self.source.keep_length()?,
            },
            opcode::AUX => Item::Aux { key: self.read_string()?, value: self.read_string()? },
            opcode::FUNCTION => Item::Function(self.read_string()?),
            opcode::FUNCTION_PRE_GA => return Err(self.source.fault(Fault::OldFunction)),
            opcode::MODULE_AUX => {
                let identity = self.source.keep_length()?;
                self.source.keep_module_data()?;
                Item::ModuleAux { module: module_name(identity) }
            }
            opcode::SLOT_INFO => Item::SlotInfo {
                slot: self.source.keep_length()?,
                keys: self.source.keep_length()?,
                expires: self.source.keep_length()?,
            },
            opcode::KEY_META_OR_SLOT_IMPORT if self.version.is_valkey() => {
                self.read_slot_import()?
            }
            other => return Err(self.unknown(other)),
        }))
    }

    fn read_slot_import(&mut self) -> Result<Item, ReadError> {
        let job = self.read_string()?;
        let mut ranges = Vec::new();
        for _ in 0..self.source.keep_length()? {
            let offset = self.source.offset();
            let (first, last) = (self.source.keep_length()?, self.source.keep_length()?);
            let is_range = first <= last && last < u64::from(SLOT_COUNT);
            if !is_range {
                return Err(ReadError::damaged(offset, Fault::Slot));
            }
            ranges.push((first as u16, last as u16));
        }
        Ok(Item::SlotImport { job, ranges })
    }

    /// A string that is no value.
    fn read_string(&mut self) -> Result<Vec<u8>, ReadError> {
        let offset = self.source.offset();
        self.source.kept.clear();
        self.source.keep_string()?;
        let string = Cursor::new(&self.source.kept).string().map(Cow::into_owned);
        string.map_err(|damage| moved(damage, offset).into())
    }

    /// Compares the checksum, if the version has one and it is not zero, which says that none was made.
    fn check_end(&mut self) -> Result<(), ReadError> {
        let has_checksum = match self.version {
            Version::Redis(number) => CHECKSUM_SINCE <= number,
            Version::Valkey(_) => true,
        };
        if !has_checksum {
            return Ok(());
        }
        let expected = self.source.checksum();
        let offset = self.source.offset();
        let found = u64::from_le_bytes(self.source.array()?);
        self.is_unsummed = found == 0;
        if self.checks_sum && found != 0 && found != expected {
            return Err(ReadError::damaged(offset, Fault::Checksum { found, expected }));
        }
        Ok(())
    }

    /// `opcode`, which was read, means nothing in this version.
    fn unknown(&self, opcode: u8) -> ReadError {
        ReadError::damaged(self.source.offset() - 1, Fault::UnknownType(opcode))
    }
}

impl Batch {
    /// The database of the entries.
    pub fn db(&self) -> u64 {
        self.db
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of keys and values, as they are in the file.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.places.iter().map(|place| Entry {
            offset: place.offset,
            kind: place.kind,
            attributes: place.attributes,
            key: &self.bytes[place.start..place.value_start],
            value: &self.bytes[place.value_start..place.end],
            templates: &self.templates,
        })
    }
}

impl<'a> Entry<'a> {
    pub fn key(&self) -> Result<Cow<'a, [u8]>, Damage> {
        Cursor::new(self.key).string().map_err(|damage| moved(damage, self.offset))
    }

    /// The value. Offsets of damage are those of the file.
    pub fn decode(&self, limits: &ValueLimits) -> Result<Value<'static>, Damage> {
        let mut cursor = Cursor::new(self.value);
        let value = decode::value(self.kind, &mut cursor, self.templates, limits);
        let value = value.and_then(|value| cursor.finish().map(|()| value));
        value.map_err(|damage| moved(damage, self.offset + self.key.len() as u64))
    }

    /// Bytes of the value as it is in the file.
    pub fn value_bytes(&self) -> usize {
        self.value.len()
    }
}

/// The same damage, counted from the start of the file.
fn moved(damage: Damage, start: u64) -> Damage {
    Damage { offset: start + damage.offset, ..damage }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
