//! What keys hold, in a form that two stores can be compared by, whatever the encoding.

use std::collections::{BTreeMap, BTreeSet};

use rubine_structures::value::ValueRef;

/// A key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    String(String),
    List(Vec<String>),
    Set(BTreeSet<String>),
    /// Fields with value and deadline.
    Hash(BTreeMap<String, (String, Option<i64>)>),
    /// Members with the bits of their scores.
    SortedSet(Vec<(String, u64)>),
}

impl Content {
    pub(super) fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Int(number) => Self::String(number.to_string()),
            ValueRef::Bytes { bytes, .. } => Self::String(text(bytes)),
            ValueRef::Shared(bytes) => Self::String(text(bytes)),
            ValueRef::List(list) => Self::List(list.iter().map(text).collect()),
            ValueRef::Set(set) => Self::Set(set.iter().map(|it| text(&it.to_vec())).collect()),
            ValueRef::SortedSet(set) => {
                Self::SortedSet(set.iter().map(|(it, score)| (text(it), score.to_bits())).collect())
            }
            ValueRef::Hash(hash) => {
                let fields = hash.iter();
                Self::Hash(fields.map(|it| (text(it.key), (text(it.value), it.deadline))).collect())
            }
        }
    }
}

/// Bytes as one can read them, and tell apart whatever they are.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
