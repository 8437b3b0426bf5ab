//! Values for tests, and what is in them in a form that can be compared.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rubine_base::number::write_i64;
use rubine_structures::hash::Hash;
use rubine_structures::list::{End, List};
use rubine_structures::set::{Member, Set};
use rubine_structures::sorted_set::SortedSet;
use rubine_structures::stream::{self, Group, Stream, StreamId};
use rubine_structures::trie::Deadline;
use rubine_structures::value::Value;

use crate::decode::ValueLimits;

/// What a value holds, in whatever form it does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(Vec<Vec<u8>>),
    SortedSet(Vec<(Vec<u8>, f64)>),
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>),
    /// Everything in it, in words.
    Stream(Vec<String>),
}

pub(crate) fn content_of(value: &Value<'_>) -> Content {
    match value {
        Value::Int(integer) => {
            let mut text = Vec::new();
            write_i64(&mut text, *integer);
            Content::String(text)
        }
        Value::Bytes(bytes) | Value::Raw(bytes) => Content::String(bytes.to_vec()),
        Value::Shared(bytes) => Content::String(bytes.to_vec()),
        Value::List(list) => Content::List(list.iter().map(<[u8]>::to_vec).collect()),
        Value::Set(set) => {
            let mut members: Vec<_> = set.iter().map(Member::to_vec).collect();
            members.sort();
            Content::Set(members)
        }
        Value::SortedSet(set) => {
            Content::SortedSet(set.iter().map(|(it, score)| (it.to_vec(), score)).collect())
        }
        Value::Stream(stream) => Content::Stream(words_of(stream)),
        Value::Hash(hash) => Content::Hash(
            hash.iter().map(|it| (it.key.to_vec(), (it.value.to_vec(), it.deadline))).collect(),
        ),
    }
}

fn words_of(stream: &Stream) -> Vec<String> {
    let mut words = vec![format!(
        "{} {} {} {} {}",
        stream.len(),
        stream.first_id(),
        stream.last_id(),
        stream.max_deleted_id(),
        stream.entries_added()
    )];
    words.extend(stream.blocks().map(|block| format!("{} {block:?}", block.id())));
    if let Some(producers) = stream.producers() {
        let (retention, added) = (producers.retention(), producers.added);
        words.push(format!("{retention:?} {added} {}", producers.duplicates));
        words.extend(producers.records().map(|it| format!("{it:?}")));
    }
    for (name, group) in stream.groups() {
        words.push(format!("{name:?} {} {:?}", group.last_id, group.entries_read));
        words.extend(group.pending_from(StreamId::MIN).map(|(id, it)| {
            let owner = it.owner().map(|owner| group.consumer(owner).name().to_vec());
            format!("{id} {} {} {owner:?}", it.delivered_at, it.delivery_count)
        }));
        words.extend(group.consumers().map(|(_, it)| {
            let pending: Vec<_> = it.pending_from(StreamId::MIN).collect();
            format!("{:?} {} {:?} {pending:?}", it.name(), it.seen_at, it.active_at)
        }));
    }
    words
}

/// Strings of all forms: numbers, short, long, repetitive.
pub(crate) fn string() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<i64>().prop_map(|it| it.to_string().into_bytes()),
        4 => (-300..300_i64).prop_map(|it| it.to_string().into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..30),
        2 => (prop::collection::vec(any::<u8>(), 1..9), 1..40_usize)
            .prop_map(|(bytes, times)| bytes.repeat(times)),
        1 => prop::collection::vec(any::<u8>(), 900..1200),
    ]
}

/// Values of all types, small and large.
pub(crate) fn value() -> impl Strategy<Value = Value<'static>> {
    let limits = ValueLimits::default();
    let strings = || {
        prop_oneof![3 => prop::collection::vec(string(), 1..10),
        1 => prop::collection::vec(string(), 130..600)]
    };
    let integers = prop::collection::btree_set(any::<i32>(), 1..600);
    let score = prop_oneof![
        any::<f64>().prop_filter("a score is a number", |score| !score.is_nan()),
        (-50..50_i32).prop_map(f64::from),
    ];
    let deadline = prop::option::of(0..(1_i64 << 46));
    prop_oneof![
        string().prop_map(|bytes| Value::string(&bytes).into_owned()),
        stream(),
        strings().prop_map(move |items| {
            let mut list = List::new();
            items.iter().for_each(|item| list.push(End::Back, item, limits.list));
            Value::List(list)
        }),
        strings().prop_map(move |members| Value::Set(set_of(&members, limits))),
        integers.prop_map(move |integers| {
            let members: Vec<_> =
                integers.iter().map(|integer| integer.to_string().into_bytes()).collect();
            Value::Set(set_of(&members, limits))
        }),
        (strings(), prop::collection::vec(score, 1..20)).prop_map(move |(members, scores)| {
            let mut set = SortedSet::new();
            for (member, score) in members.iter().zip(scores.iter().cycle()) {
                set.insert(member, *score, limits.sorted_set);
            }
            Value::SortedSet(set)
        }),
        (strings(), prop::collection::vec(string(), 1..9), any::<bool>(), deadline).prop_map(
            move |(fields, values, has_deadlines, deadline)| {
                let mut hash = Hash::new();
                for (index, (field, value)) in fields.iter().zip(values.iter().cycle()).enumerate()
                {
                    let at = deadline.filter(|_| has_deadlines && index % 3 == 0);
                    let deadline = at.map_or(Deadline::Never, |at| {
                        Deadline::At(at.saturating_sub(index as i64).max(0))
                    });
                    hash.set(field, value, deadline, limits.hash);
                }
                Value::Hash(hash)
            }
        ),
    ]
}

/// What is done to a stream, one after another.
#[derive(Clone, Debug)]
enum Step {
    Append { ms_behind: u64, seq: u64, names: u8, value: Vec<u8> },
    Delete(prop::sample::Index),
    Deliver { group: u8, consumer: Option<u8>, entry: prop::sample::Index },
    Produce { name: u8, token: u8, entry: prop::sample::Index },
}

/// Streams with deleted entries, groups, consumers and what is pending for them.
fn stream() -> impl Strategy<Value = Value<'static>> {
    let step = prop_oneof![
        5 => (0..3_u64, any::<u64>(), 0..3_u8, string()).prop_map(
            |(ms_behind, seq, names, value)| Step::Append { ms_behind, seq, names, value }
        ),
        1 => any::<prop::sample::Index>().prop_map(Step::Delete),
        2 => (0..3_u8, prop::option::weighted(0.9, 0..3_u8), any::<prop::sample::Index>())
            .prop_map(|(group, consumer, entry)| Step::Deliver { group, consumer, entry }),
    ];
    let produce = (0..3_u8, 0..5_u8, any::<prop::sample::Index>())
        .prop_map(|(name, token, entry)| Step::Produce { name, token, entry });
    // Few versions hold what is known of producers.
    let steps = prop::collection::vec(step, 0..60);
    let produced = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(produce, 1..9)];
    (steps, produced).prop_map(|(mut steps, produced)| {
        steps.extend(produced);
        let limits = stream::BlockLimits { block_bytes: 1000, block_entries: 10 };
        let (mut stream, mut ids) = (Stream::new(), Vec::new());
        for step in steps {
            take_step(&mut stream, &mut ids, step, limits);
        }
        Value::Stream(stream)
    })
}

fn take_step(
    stream: &mut Stream,
    ids: &mut Vec<StreamId>,
    step: Step,
    limits: stream::BlockLimits,
) {
    match step {
        Step::Append { ms_behind, seq, names, value } => {
            let last = stream.last_id();
            let id = StreamId::new(last.ms + ms_behind, seq);
            let next = if ms_behind == 0 { last.next() } else { Some(id) };
            let Some(id) = next else { return };
            let name = [b'f', names];
            let fields = [&name[..], &value, b"same", b"12"];
            let count = if names == 2 { 4 } else { 2 };
            stream.append(id, fields[..count].iter().copied(), limits);
            ids.push(id);
        }
        Step::Delete(index) if !ids.is_empty() => {
            stream.remove(*index.get(ids));
        }
        Step::Deliver { group, consumer, entry } if !ids.is_empty() => {
            let id = *entry.get(ids);
            let name = [b'g', group];
            stream.add_group(&name, Group::new(id, Some(7).filter(|_| group != 0)));
            stream.edit_group(&name, |group| {
                let owner = consumer.map(|name| {
                    let found = group.find_consumer(&[name]);
                    found.unwrap_or_else(|| group.add_consumer(&[name], 1000))
                });
                if let Some(owner) = owner {
                    group.note_active(owner, 2000);
                }
                group.assign(id, owner, 3000, 4);
            });
        }
        Step::Produce { name, token, entry } if !ids.is_empty() => {
            let id = *entry.get(ids);
            stream.edit_producers(|producers| {
                producers.record(&[b'p', name], &[b't', token], id, 0);
                producers.duplicates += 1;
            });
        }
        Step::Delete(_) | Step::Deliver { .. } | Step::Produce { .. } => {}
    }
}

fn set_of(members: &[Vec<u8>], limits: ValueLimits) -> Set {
    let mut set = Set::new();
    for member in members {
        set.add(member, limits.set);
    }
    set
}
