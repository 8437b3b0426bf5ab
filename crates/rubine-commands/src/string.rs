//! String commands: the list of them all, and what they share. Handlers do no I/O; their keys are already locked.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use rubine_base::SharedBytes;
use rubine_keyspace::Key;
use rubine_resp::writer::Reply;
use rubine_structures::record::RecordRef;
use rubine_structures::value::{Value, ValueRef};

use crate::command::Command;
use crate::context::Context;
use crate::error::CommandError;
use crate::event::Event;

mod condition;
mod count;
mod lcs;
pub(crate) mod part;
mod read;
mod store;

pub(crate) const COMMANDS: &[Command] = &[
    part::APPEND,
    count::DECR,
    count::DECRBY,
    condition::DELEX,
    condition::DELIFEQ,
    condition::DIGEST,
    read::GET,
    read::GETDEL,
    read::GETEX,
    part::GETRANGE,
    store::GETSET,
    count::INCR,
    count::INCRBY,
    count::INCRBYFLOAT,
    lcs::LCS,
    read::MGET,
    store::MSET,
    store::MSETEX,
    store::MSETNX,
    store::PSETEX,
    store::SET,
    store::SETEX,
    store::SETNX,
    part::SETRANGE,
    read::STRLEN,
    part::SUBSTR,
];

/// A string in a record.
#[derive(Clone, Copy)]
pub(crate) struct StringRef<'a>(ValueRef<'a>);

impl<'a> StringRef<'a> {
    /// Writes it as a bulk string; a long one by reference.
    #[inline]
    pub(crate) fn write(self, reply: &mut Reply<'_>) {
        match self.0 {
            ValueRef::Int(number) => reply.bulk_integer(number),
            ValueRef::Bytes { bytes, .. } => reply.bulk(bytes),
            ValueRef::Shared(bytes) => reply.shared(bytes),
            _ => unreachable!("expect_string lets strings pass only"),
        }
    }

    /// Its bytes; those of an integer are written for the occasion.
    #[inline]
    pub(crate) fn text(self) -> Cow<'a, [u8]> {
        match self.0 {
            ValueRef::Int(number) => {
                let mut text = Vec::new();
                rubine_base::number::write_i64(&mut text, number);
                Cow::Owned(text)
            }
            ValueRef::Bytes { bytes, .. } => Cow::Borrowed(bytes),
            ValueRef::Shared(bytes) => Cow::Borrowed(bytes),
            _ => unreachable!("expect_string lets strings pass only"),
        }
    }

    /// Whether it lies outside its record, so that a handle is not a copy.
    pub(crate) fn is_long(self) -> bool {
        matches!(self.0, ValueRef::Shared(_))
    }

    /// The string, to be kept.
    pub(crate) fn handle(self) -> StringHandle {
        match self.0 {
            ValueRef::Shared(bytes) => StringHandle::Long(bytes.clone()),
            _ => StringHandle::Short(self.text().into_owned()),
        }
    }

    /// The number of its bytes.
    pub(crate) fn len(self) -> usize {
        self.text().len()
    }
}

/// A string that stays what it is, whatever becomes of its key. A long one is not copied.
pub(crate) enum StringHandle {
    Short(Vec<u8>),
    Long(SharedBytes),
}

impl StringHandle {
    /// Whether the string is surely the same: what is long is compared by where it lies.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Short(bytes), Self::Short(other)) => bytes == other,
            (Self::Long(bytes), Self::Long(other)) => Arc::ptr_eq(bytes, other),
            _ => false,
        }
    }
}

impl Default for StringHandle {
    fn default() -> Self {
        Self::Short(Vec::new())
    }
}

impl Deref for StringHandle {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

/// The string in `record`; an error if it holds something else.
#[inline]
pub(crate) fn expect_string(record: RecordRef<'_>) -> Result<StringRef<'_>, CommandError> {
    match record.value() {
        value @ (ValueRef::Int(_) | ValueRef::Bytes { .. } | ValueRef::Shared(_)) => {
            Ok(StringRef(value))
        }
        _ => Err(CommandError::WrongType),
    }
}

/// Stores a value and tells listeners if the key is new; what else happened is the caller's to tell.
#[inline]
pub(crate) fn store(
    cx: &mut Context<'_, '_>,
    key: Key<'_>,
    value: Value<'_>,
    deadline: Option<i64>,
) {
    if cx.keys.store(key, value, deadline) {
        cx.notify(key, Event::NEW);
    }
}

/// Refuses a string of `len` bytes if it is longer than any may become.
pub(crate) fn check_len(cx: &Context<'_, '_>, len: Option<usize>) -> Result<(), CommandError> {
    match len {
        Some(len) if cx.client.is_trusted || len as u64 <= cx.limits.string_len_max => Ok(()),
        _ => Err(CommandError::StringTooLong),
    }
}
