//! What a key can hold: the owned form that goes into a record and the borrowed form that comes out of one.
//! Knows no command and no reply format.

use std::borrow::Cow;

use rubine_base::SharedBytes;
use rubine_base::number::parse_i64;

use crate::hash::Hash;
use crate::list::{List, ListEncoding};
use crate::set::Set;
use crate::sorted_set::SortedSet;
use crate::stream::Stream;

/// Strings up to this many bytes live inside their record; longer ones are shared buffers of their own.
pub const INLINE_LEN_MAX: usize = 1024;

/// Strings up to this many bytes are reported as `embstr`.
const EMBSTR_LEN_MAX: usize = 44;

/// A value on its way into a record.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A string that is the text of a 64-bit signed integer.
    Int(i64),
    /// A string of at most [`INLINE_LEN_MAX`] bytes, as a client stored it.
    Bytes(Cow<'a, [u8]>),
    /// Like `Bytes`, but it was edited in place: reported as `raw` whatever its length.
    Raw(Cow<'a, [u8]>),
    /// A longer string.
    Shared(SharedBytes),
    List(List),
    Set(Set),
    Hash(Hash),
    SortedSet(SortedSet),
    Stream(Stream),
}

impl<'a> Value<'a> {
    /// The most compact form of a string: integer, inline or shared.
    #[inline]
    pub fn string(bytes: &'a [u8]) -> Self {
        match parse_i64(bytes) {
            Some(number) => Self::Int(number),
            None => Self::text(bytes),
        }
    }

    /// A string that stays text even where it reads as a number.
    #[inline]
    pub fn text(bytes: &'a [u8]) -> Self {
        if bytes.len() <= INLINE_LEN_MAX {
            Self::Bytes(Cow::Borrowed(bytes))
        } else {
            Self::Shared(SharedBytes::new(bytes.to_vec()))
        }
    }

    /// A string that was edited in place, in whichever form its length asks for.
    pub fn raw(bytes: Vec<u8>) -> Value<'static> {
        if bytes.len() <= INLINE_LEN_MAX {
            Value::Raw(Cow::Owned(bytes))
        } else {
            Value::Shared(SharedBytes::new(bytes))
        }
    }

    /// The value as a record gives it out.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Int(number) => ValueRef::Int(*number),
            Self::Bytes(bytes) => ValueRef::Bytes { bytes, raw: false },
            Self::Raw(bytes) => ValueRef::Bytes { bytes, raw: true },
            Self::Shared(bytes) => ValueRef::Shared(bytes),
            Self::List(list) => ValueRef::List(list),
            Self::Set(set) => ValueRef::Set(set),
            Self::Hash(hash) => ValueRef::Hash(hash),
            Self::SortedSet(set) => ValueRef::SortedSet(set),
            Self::Stream(stream) => ValueRef::Stream(stream),
        }
    }

    /// The same value, owning its bytes.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Int(number) => Value::Int(number),
            Self::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Self::Raw(bytes) => Value::Raw(Cow::Owned(bytes.into_owned())),
            Self::Shared(bytes) => Value::Shared(bytes),
            Self::List(list) => Value::List(list),
            Self::Set(set) => Value::Set(set),
            Self::Hash(hash) => Value::Hash(hash),
            Self::SortedSet(set) => Value::SortedSet(set),
            Self::Stream(stream) => Value::Stream(stream),
        }
    }
}

/// A value as it lies in a record.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Int(i64),
    /// An inline string; `raw` where it was edited in place.
    Bytes {
        bytes: &'a [u8],
        raw: bool,
    },
    Shared(&'a SharedBytes),
    List(&'a List),
    Set(&'a Set),
    Hash(&'a Hash),
    SortedSet(&'a SortedSet),
    Stream(&'a Stream),
}

impl ValueRef<'_> {
    /// A copy to own: collections and long strings share their content with the original until one is written.
    pub fn to_value(self) -> Value<'static> {
        match self {
            Self::Int(number) => Value::Int(number),
            Self::Bytes { bytes, raw: false } => Value::Bytes(Cow::Owned(bytes.to_vec())),
            Self::Bytes { bytes, raw: true } => Value::Raw(Cow::Owned(bytes.to_vec())),
            Self::Shared(bytes) => Value::Shared(bytes.clone()),
            Self::List(list) => Value::List(list.clone()),
            Self::Set(set) => Value::Set(set.clone()),
            Self::Hash(hash) => Value::Hash(hash.clone()),
            Self::SortedSet(set) => Value::SortedSet(set.clone()),
            Self::Stream(stream) => Value::Stream(stream.clone()),
        }
    }

    /// Whether the other is surely the same value: what is short is compared, what is long by where it lies. As long as a
    /// handle of either is held, a writer copies what it changes.
    pub fn is_same(self, other: ValueRef<'_>) -> bool {
        match (self, other) {
            (Self::Int(ours), ValueRef::Int(theirs)) => ours == theirs,
            (Self::Bytes { bytes: ours, .. }, ValueRef::Bytes { bytes: theirs, .. }) => {
                ours == theirs
            }
            (Self::Shared(ours), ValueRef::Shared(theirs)) => std::sync::Arc::ptr_eq(ours, theirs),
            (Self::List(ours), ValueRef::List(theirs)) => ours.is_same(theirs),
            (Self::Set(ours), ValueRef::Set(theirs)) => ours.is_same(theirs),
            (Self::Hash(ours), ValueRef::Hash(theirs)) => ours.is_same(theirs),
            (Self::SortedSet(ours), ValueRef::SortedSet(theirs)) => ours.is_same(theirs),
            (Self::Stream(ours), ValueRef::Stream(theirs)) => ours.is_same(theirs),
            _ => false,
        }
    }

    /// Asks the processor to fetch what looking up `members` of a large collection will read.
    pub fn prefetch(self, members: &[&[u8]]) {
        match self {
            Self::Set(set) => set.prefetch(members),
            Self::Hash(hash) => hash.prefetch(members),
            Self::SortedSet(set) => set.prefetch(members),
            Self::Int(_)
            | Self::Bytes { .. }
            | Self::Shared(_)
            | Self::List(_)
            | Self::Stream(_) => {}
        }
    }

    /// Asks the processor to fetch what a small collection has outside its record, or the first of it. Reads none of that.
    #[inline]
    pub fn prefetch_small(self) {
        match self {
            Self::List(list) => list.prefetch_small(),
            Self::Set(set) => set.prefetch_small(),
            Self::Hash(hash) => hash.prefetch_small(),
            Self::SortedSet(set) => set.prefetch_small(),
            Self::Int(_) | Self::Bytes { .. } | Self::Shared(_) | Self::Stream(_) => {}
        }
    }

    /// The type that `TYPE` reports.
    pub fn type_of(self) -> Type {
        match self {
            Self::Int(_) | Self::Bytes { .. } | Self::Shared(_) => Type::String,
            Self::List(_) => Type::List,
            Self::Set(_) => Type::Set,
            Self::Hash(_) => Type::Hash,
            Self::SortedSet(_) => Type::SortedSet,
            Self::Stream(_) => Type::Stream,
        }
    }

    /// The encoding that `OBJECT ENCODING` reports.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Bytes { bytes, raw } if bytes.len() <= EMBSTR_LEN_MAX && !raw => "embstr",
            Self::Bytes { .. } | Self::Shared(_) => "raw",
            Self::List(list) => match list.encoding() {
                ListEncoding::Listpack => "listpack",
                ListEncoding::Quicklist => "quicklist",
            },
            Self::Set(set) => set.encoding().name(),
            Self::Hash(hash) => hash.encoding().name(),
            Self::SortedSet(set) => set.encoding().name(),
            Self::Stream(_) => "stream",
        }
    }

    /// Whether an element has a deadline of its own.
    pub fn has_inner_deadlines(self) -> bool {
        matches!(self, Self::Hash(hash) if hash.has_deadlines())
    }

    /// How many allocations go when the value goes: what decides whether a background thread frees it.
    pub fn drop_cost(self) -> usize {
        match self {
            Self::Int(_) | Self::Bytes { .. } => 0,
            Self::Shared(_) => 1,
            Self::List(list) => list.drop_cost(),
            Self::Set(set) => set.drop_cost(),
            Self::Hash(hash) => hash.drop_cost(),
            Self::SortedSet(set) => set.drop_cost(),
            Self::Stream(stream) => stream.drop_cost(),
        }
    }

    /// Bytes on the heap behind the record.
    pub fn heap_bytes(self) -> usize {
        match self {
            Self::Int(_) | Self::Bytes { .. } => 0,
            Self::Shared(bytes) => bytes.capacity() + size_of::<Vec<u8>>() + 2 * size_of::<usize>(),
            Self::List(list) => list.heap_bytes(),
            Self::Set(set) => set.heap_bytes(),
            Self::Hash(hash) => hash.heap_bytes(),
            Self::SortedSet(set) => set.heap_bytes(),
            Self::Stream(stream) => stream.heap_bytes(),
        }
    }
}

/// The data types of Redis, in the order of their numbers in dump files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
}

impl Type {
    const ALL: [Self; 6] =
        [Self::String, Self::List, Self::Set, Self::SortedSet, Self::Hash, Self::Stream];

    /// The type of this name, in capitals or not.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name that `TYPE` and `SCAN ... TYPE` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }
}
