//! Values for tests, and what is in them in a form that can be compared.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rubine_base::number::write_i64;
use rubine_structures::hash::Hash;
use rubine_structures::list::{End, List};
use rubine_structures::set::{Member, Set};
use rubine_structures::sorted_set::SortedSet;
use rubine_structures::trie::Deadline;
use rubine_structures::value::{Value, ValueRef};

use crate::decode::Limits;

/// What a value holds, in whatever form it does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(Vec<Vec<u8>>),
    SortedSet(Vec<(Vec<u8>, f64)>),
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>),
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
        Value::Stream(_) => unreachable!("no test makes streams"),
        Value::Hash(hash) => Content::Hash(
            hash.iter().map(|it| (it.key.to_vec(), (it.value.to_vec(), it.deadline))).collect(),
        ),
    }
}

/// A view of a value, as a record gives one.
pub(crate) fn borrowed<'a>(value: &'a Value<'_>) -> ValueRef<'a> {
    match value {
        Value::Int(integer) => ValueRef::Int(*integer),
        Value::Bytes(bytes) => ValueRef::Bytes { bytes, raw: false },
        Value::Raw(bytes) => ValueRef::Bytes { bytes, raw: true },
        Value::Shared(bytes) => ValueRef::Shared(bytes),
        Value::List(list) => ValueRef::List(list),
        Value::Set(set) => ValueRef::Set(set),
        Value::SortedSet(set) => ValueRef::SortedSet(set),
        Value::Hash(hash) => ValueRef::Hash(hash),
        Value::Stream(stream) => ValueRef::Stream(stream),
    }
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
    let limits = Limits::default();
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

fn set_of(members: &[Vec<u8>], limits: Limits) -> Set {
    let mut set = Set::new();
    for member in members {
        set.add(member, limits.set);
    }
    set
}
