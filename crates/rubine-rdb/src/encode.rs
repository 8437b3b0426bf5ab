//! Keys with their values as bytes. One [`Encoder`] serves one thread; what it writes can be strung together in any
//! order. Small collections are written as real servers keep them, large ones element by element.

mod stream;

use std::io::Write;
use std::mem;

use rubine_base::number::DoubleText;
use rubine_structures::hash::{Hash, HashEncoding};
use rubine_structures::list::List;
use rubine_structures::pack::Pack;
use rubine_structures::set::{Member, Set, SetEncoding};
use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetEncoding};
use rubine_structures::stream::Stream;
use rubine_structures::value::ValueRef;

use crate::error::WriteError;
use crate::kind::Kind;
use crate::listpack::Builder;
use crate::read::{AccessHint, Attributes};
use crate::version::Version;
use crate::wire::{StringWriter, write_integer, write_length};
use crate::{intset, opcode};

/// An item of a list that is longer stands alone in its node.
const PACKED_ITEM_MAX: usize = 8 * 1024;
/// What a node of a quicklist says it is.
const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;
/// A buffer that is longer is not kept for the next value.
const BUFFER_KEPT_MAX: usize = 64 * 1024;
/// Where a field has no deadline.
const NO_DEADLINE: i64 = -1;

/// How keys are written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub version: Version,
    /// Whether strings are compressed: the directive `rdbcompression`.
    pub compresses: bool,
}

pub struct Encoder {
    version: Version,
    strings: StringWriter,
    /// What the next small collection is put together in, so that not each needs memory of its own.
    buffer: Vec<u8>,
}

impl Encoder {
    pub fn new(options: Options) -> Self {
        Self {
            version: options.version,
            strings: StringWriter::new(options.compresses),
            buffer: Vec::new(),
        }
    }

    /// Writes a key with all that belongs to it. If the version cannot hold the value, nothing is written.
    pub fn entry<W: Write>(
        &mut self,
        out: &mut W,
        key: &[u8],
        attributes: Attributes,
        value: ValueRef<'_>,
    ) -> Result<(), WriteError> {
        let form = Form::of(value, self.version, &mut self.buffer)?;
        if let Some(deadline) = attributes.deadline {
            out.write_all(&[opcode::EXPIRE_TIME_MS])?;
            out.write_all(&deadline.to_le_bytes())?;
        }
        match attributes.access {
            Some(AccessHint::IdleSeconds(seconds)) => {
                out.write_all(&[opcode::IDLE])?;
                write_length(out, seconds)?;
            }
            Some(AccessHint::Frequency(frequency)) => {
                out.write_all(&[opcode::FREQUENCY, frequency])?;
            }
            None => {}
        }
        out.write_all(&[form.kind().byte()])?;
        self.strings.write(out, key)?;
        self.form(out, form)
    }

    /// Writes the type of a value and the value.
    pub(crate) fn typed_value<W: Write>(
        &mut self,
        out: &mut W,
        value: ValueRef<'_>,
    ) -> Result<(), WriteError> {
        let form = Form::of(value, self.version, &mut self.buffer)?;
        out.write_all(&[form.kind().byte()])?;
        self.form(out, form)
    }

    fn form<W: Write>(&mut self, out: &mut W, form: Form<'_>) -> Result<(), WriteError> {
        match form {
            Form::Integer(integer) => Ok(write_integer(out, integer)?),
            Form::String(bytes) => Ok(self.strings.write(out, bytes)?),
            Form::Blob { bytes, .. } => {
                self.strings.write_blob(out, &bytes)?;
                self.keep(bytes);
                Ok(())
            }
            Form::List(list) => self.list(out, list),
            Form::Quicklist(list) => self.quicklist(out, list),
            Form::Set(set) => self.set(out, set),
            Form::SortedSet(set) => self.sorted_set(out, set),
            Form::Hash { hash, kind } => self.hash(out, hash, kind),
            Form::Stream { stream, generation } => self.stream(out, stream, generation),
        }
    }

    /// Takes a buffer back, unless it is so large that it would better be used elsewhere.
    fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= BUFFER_KEPT_MAX {
            self.buffer = buffer;
        }
    }

    fn list<W: Write>(&mut self, out: &mut W, list: &List) -> Result<(), WriteError> {
        write_length(out, list.len() as u64)?;
        for item in list {
            self.strings.write(out, item)?;
        }
        Ok(())
    }

    fn quicklist<W: Write>(&mut self, out: &mut W, list: &List) -> Result<(), WriteError> {
        write_length(out, list.chunks().map(node_count).sum())?;
        for chunk in list.chunks() {
            let mut node: Option<Builder> = None;
            for item in chunk {
                if is_packed(item) {
                    node.get_or_insert_with(|| Builder::new(mem::take(&mut self.buffer)))
                        .push(item);
                    continue;
                }
                self.packed_node(out, node.take())?;
                write_length(out, NODE_PLAIN)?;
                self.strings.write_blob(out, item)?;
            }
            self.packed_node(out, node)?;
        }
        Ok(())
    }

    fn packed_node<W: Write>(
        &mut self,
        out: &mut W,
        node: Option<Builder>,
    ) -> Result<(), WriteError> {
        if let Some(node) = node {
            let listpack = node.finish().expect("its items are short");
            write_length(out, NODE_PACKED)?;
            self.strings.write_blob(out, &listpack)?;
            self.keep(listpack);
        }
        Ok(())
    }

    fn set<W: Write>(&mut self, out: &mut W, set: &Set) -> Result<(), WriteError> {
        write_length(out, set.len())?;
        for member in set.iter() {
            match member {
                Member::Text(text) => self.strings.write(out, text)?,
                Member::Integer(integer) => write_integer(out, integer)?,
            }
        }
        Ok(())
    }

    /// The last element comes first, so that a skiplist that is built from them always grows at its front.
    fn sorted_set<W: Write>(&mut self, out: &mut W, set: &SortedSet) -> Result<(), WriteError> {
        write_length(out, set.len())?;
        for (member, score) in set.iter_range(0..set.len(), Direction::Descending) {
            self.strings.write(out, member)?;
            out.write_all(&score.to_le_bytes())?;
        }
        Ok(())
    }

    fn hash<W: Write>(&mut self, out: &mut W, hash: &Hash, kind: Kind) -> Result<(), WriteError> {
        let first = || hash.iter().filter_map(|element| element.deadline).min().unwrap_or(0);
        let first = if kind == Kind::HashMetadata { first() } else { 0 };
        if kind == Kind::HashMetadata {
            out.write_all(&first.to_le_bytes())?;
        }
        write_length(out, hash.len())?;
        for element in hash.iter() {
            if kind == Kind::HashMetadata {
                let behind = element.deadline.map_or(0, |at| at.abs_diff(first) + 1);
                write_length(out, behind)?;
            }
            self.strings.write(out, element.key)?;
            self.strings.write(out, element.value)?;
            if kind == Kind::HashDeadlines {
                out.write_all(&element.deadline.unwrap_or(NO_DEADLINE).to_le_bytes())?;
            }
        }
        Ok(())
    }
}

/// A value in the form that it is written in.
enum Form<'a> {
    Integer(i64),
    String(&'a [u8]),
    /// A small collection as one string.
    Blob {
        bytes: Vec<u8>,
        kind: Kind,
    },
    List(&'a List),
    Quicklist(&'a List),
    Set(&'a Set),
    SortedSet(&'a SortedSet),
    Hash {
        hash: &'a Hash,
        kind: Kind,
    },
    Stream {
        stream: &'a Stream,
        generation: u8,
    },
}

impl<'a> Form<'a> {
    /// A value that becomes a blob is put together in `buffer`, which is taken for it.
    fn of(value: ValueRef<'a>, version: Version, buffer: &mut Vec<u8>) -> Result<Self, WriteError> {
        Ok(match value {
            ValueRef::Int(integer) => Self::Integer(integer),
            ValueRef::Bytes { bytes, .. } => Self::String(bytes),
            ValueRef::Shared(bytes) => Self::String(bytes),
            ValueRef::List(list) if version.has_redis(10) => Self::Quicklist(list),
            ValueRef::List(list) => Self::List(list),
            ValueRef::Set(set) => Self::of_set(set, version, buffer),
            ValueRef::SortedSet(set) => Self::of_sorted_set(set, version, buffer),
            ValueRef::Hash(hash) => Self::of_hash(hash, version, buffer)?,
            ValueRef::Stream(stream) => {
                Self::Stream { stream, generation: stream::generation(stream, version)? }
            }
        })
    }

    fn of_set(set: &'a Set, version: Version, buffer: &mut Vec<u8>) -> Self {
        let blob = match set.encoding() {
            SetEncoding::Intset => {
                let mut integers = Vec::with_capacity(set.len() as usize);
                set.iter().for_each(|member| match member {
                    Member::Integer(integer) => integers.push(integer),
                    Member::Text(_) => unreachable!("an intset holds integers"),
                });
                Some((intset::of(&integers, mem::take(buffer)), Kind::SetIntset))
            }
            SetEncoding::Listpack if version.has_redis(11) => {
                let mut builder = Builder::new(mem::take(buffer));
                set.iter().for_each(|member| match member {
                    Member::Text(text) => builder.push(text),
                    Member::Integer(integer) => builder.push_integer(integer),
                });
                builder.finish().map(|listpack| (listpack, Kind::SetListpack))
            }
            SetEncoding::Listpack | SetEncoding::Hashtable => None,
        };
        blob.map_or(Self::Set(set), |(bytes, kind)| Self::Blob { bytes, kind })
    }

    fn of_sorted_set(set: &'a SortedSet, version: Version, buffer: &mut Vec<u8>) -> Self {
        let is_small = set.encoding() == SortedSetEncoding::Listpack;
        let listpack = (is_small && version.has_redis(10)).then(|| {
            let mut builder = Builder::new(mem::take(buffer));
            set.iter().for_each(|(member, score)| {
                builder.push(member);
                match integer_of(score) {
                    Some(integer) => builder.push_integer(integer),
                    None => builder.push(DoubleText::of(score).as_bytes()),
                }
            });
            builder.finish()
        });
        let kind = Kind::SortedSetListpack;
        listpack.flatten().map_or(Self::SortedSet(set), |bytes| Self::Blob { bytes, kind })
    }

    fn of_hash(hash: &'a Hash, version: Version, buffer: &mut Vec<u8>) -> Result<Self, WriteError> {
        if hash.has_deadlines() {
            let kind = if version.is_valkey() {
                Kind::HashDeadlines
            } else if version.has_redis(12) {
                Kind::HashMetadata
            } else {
                let what = "deadlines of the fields of a hash";
                return Err(WriteError::Unrepresentable { version, what });
            };
            return Ok(Self::Hash { hash, kind });
        }
        let is_small = hash.encoding() == HashEncoding::Listpack;
        let listpack = (is_small && version.has_redis(10)).then(|| {
            let mut builder = Builder::new(mem::take(buffer));
            hash.iter().for_each(|element| {
                builder.push(element.key);
                builder.push(element.value);
            });
            builder.finish()
        });
        let plain = Self::Hash { hash, kind: Kind::Hash };
        let kind = Kind::HashListpack;
        Ok(listpack.flatten().map_or(plain, |bytes| Self::Blob { bytes, kind }))
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Integer(_) | Self::String(_) => Kind::String,
            Self::Blob { kind, .. } | Self::Hash { kind, .. } => *kind,
            Self::List(_) => Kind::List,
            Self::Quicklist(_) => Kind::ListQuicklist2,
            Self::Set(_) => Kind::Set,
            Self::SortedSet(_) => Kind::SortedSet,
            Self::Stream { generation, .. } => Kind::Stream(*generation),
        }
    }
}

/// The integer that a score is, if all of its digits are written.
fn integer_of(score: f64) -> Option<i64> {
    const EXACT_MAX: i64 = 1 << f64::MANTISSA_DIGITS;
    let integer = score as i64;
    let is_same = (integer as f64).to_bits() == score.to_bits();
    (is_same && -EXACT_MAX < integer && integer < EXACT_MAX).then_some(integer)
}

fn is_packed(item: &[u8]) -> bool {
    item.len() <= PACKED_ITEM_MAX
}

/// How many nodes of a quicklist a chunk becomes: each item that is long, and each run of others.
fn node_count(chunk: &Pack) -> u64 {
    if chunk.data_bytes() <= PACKED_ITEM_MAX {
        return 1;
    }
    let (mut count, mut in_run) = (0, false);
    for item in chunk {
        let continues = in_run && is_packed(item);
        count += u64::from(!continues);
        in_run = is_packed(item);
    }
    count
}
