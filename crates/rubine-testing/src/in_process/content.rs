//! What keys hold, in a form that two stores can be compared by, whatever the encoding.

use std::collections::{BTreeMap, BTreeSet};

use rubine_structures::stream::{Direction, Producers, Retention, Stream, StreamId};
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
    Stream(StreamContent),
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
            ValueRef::Stream(stream) => Self::Stream(StreamContent::of(stream)),
            ValueRef::Hash(hash) => {
                let fields = hash.iter();
                Self::Hash(fields.map(|it| (text(it.key), (text(it.value), it.deadline))).collect())
            }
        }
    }
}

/// What a stream holds, but for the times at which its consumers were seen: those are nobody's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamContent {
    entries: Vec<(StreamId, Vec<(String, String)>)>,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    groups: BTreeMap<String, GroupContent>,
    /// What is kept of producers.
    retention: Option<Retention>,
    /// What is known of them: producer, token and entry.
    records: Vec<(String, String, StreamId)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupContent {
    last_id: StreamId,
    entries_read: Option<u64>,
    consumers: Vec<String>,
    /// Entries with owner, time and number of deliveries.
    pending: Vec<(StreamId, Option<String>, i64, u64)>,
}

impl StreamContent {
    fn of(stream: &Stream) -> Self {
        let entries = stream.range(StreamId::MIN, StreamId::MAX, Direction::Ascending);
        let entries = entries.map(|entry| {
            let fields = entry.fields().map(|(name, value)| (text(name), text(value)));
            (entry.id, fields.collect())
        });
        let groups = stream.groups().map(|(name, group)| {
            let pending = group.pending_from(StreamId::MIN).map(|(id, it)| {
                let owner = it.owner().map(|owner| text(group.consumer(owner).name()));
                (id, owner, it.delivered_at, it.delivery_count)
            });
            let content = GroupContent {
                last_id: group.last_id,
                entries_read: group.entries_read,
                consumers: group.consumers().map(|(_, it)| text(it.name())).collect(),
                pending: pending.collect(),
            };
            (text(name), content)
        });
        let records = stream.producers().into_iter().flat_map(Producers::records);
        Self {
            entries: entries.collect(),
            last_id: stream.last_id(),
            max_deleted_id: stream.max_deleted_id(),
            entries_added: stream.entries_added(),
            groups: groups.collect(),
            retention: stream.producers().map(Producers::retention),
            records: records.map(|(name, token, id)| (text(name), text(token), id)).collect(),
        }
    }
}

/// Bytes as one can read them, and tell apart whatever they are.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
