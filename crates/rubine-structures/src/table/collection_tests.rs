//! Collections that are changed and moved in their table while snapshots look on: each snapshot shows what was there.

use proptest::prelude::*;
use rubine_base::hash::KeyHasher;

use super::{Table, TableSnapshot};
use crate::record::ValueMut;
use crate::relocation::Relocation;
use crate::stream::StreamId;
use crate::trie::Deadline;
use crate::value::Value;
use crate::{hash, list, set, sorted_set, stream};

const KEYS: [&[u8]; 6] = [b"hash", b"integers", b"list", b"set", b"stream", b"zset"];

const HASH_LIMITS: hash::HashLimits = hash::HashLimits { entries: 8, value_bytes: 64 };
const SET_LIMITS: set::SetLimits =
    set::SetLimits { intset_entries: 1000, listpack_entries: 8, value_bytes: 64 };
const SORTED_SET_LIMITS: sorted_set::SortedSetLimits =
    sorted_set::SortedSetLimits { entries: 8, value_bytes: 64 };
const STREAM_LIMITS: stream::BlockLimits =
    stream::BlockLimits { block_bytes: 256, block_entries: 8 };

#[derive(Clone, Debug)]
enum Step {
    /// So many elements more in one of them.
    Grow(usize, u16),
    /// The oldest go, as many as that.
    Shrink(usize, u16),
    /// Every second, third, .. allocation moves.
    Relocate(u64),
    Snapshot,
    DropSnapshot(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let count = prop_oneof![5 => 1..10_u16, 1 => 50..400_u16];
    prop_oneof![
        10 => (0..KEYS.len(), count.clone()).prop_map(|(key, count)| Step::Grow(key, count)),
        5 => (0..KEYS.len(), count).prop_map(|(key, count)| Step::Shrink(key, count)),
        5 => (1..4_u64).prop_map(Step::Relocate),
        2 => Just(Step::Snapshot),
        2 => (0..3_usize).prop_map(Step::DropSnapshot),
    ]
}

fn hash_of(key: &[u8]) -> u64 {
    KeyHasher::with_seed(7).hash(key)
}

fn empty(key: &[u8]) -> Value<'static> {
    match key {
        b"hash" => Value::Hash(hash::Hash::new()),
        b"list" => Value::List(list::List::new()),
        b"stream" => Value::Stream(stream::Stream::new()),
        b"zset" => Value::SortedSet(sorted_set::SortedSet::new()),
        _ => Value::Set(set::Set::new()),
    }
}

fn grow(value: ValueMut<'_>, key: &[u8], number: u64) {
    let text = if key == b"integers" { number.to_string() } else { format!("element {number}") };
    let text = text.as_bytes();
    match value {
        ValueMut::Hash(hash) => _ = hash.set(text, b"value", Deadline::Never, HASH_LIMITS),
        ValueMut::List(list) => list.push(list::End::Back, text, list::ChunkLimit::default()),
        ValueMut::Set(set) => _ = set.add(text, SET_LIMITS),
        ValueMut::SortedSet(set) => set.insert(text, number as f64 / 2.0, SORTED_SET_LIMITS),
        ValueMut::Stream(stream) => {
            stream.append(StreamId::new(number, 1), [text, text].into_iter(), STREAM_LIMITS);
        }
        other => panic!("not a collection: {other:?}"),
    }
}

fn shrink(value: ValueMut<'_>, key: &[u8], number: u64) {
    let text = if key == b"integers" { number.to_string() } else { format!("element {number}") };
    let text = text.as_bytes();
    match value {
        ValueMut::Hash(hash) => _ = hash.remove(text),
        ValueMut::List(list) => list.remove(0, list::ChunkLimit::default()),
        ValueMut::Set(set) => _ = set.remove(text),
        ValueMut::SortedSet(set) => _ = set.remove(text),
        ValueMut::Stream(stream) => _ = stream.remove(StreamId::new(number, 1)),
        other => panic!("not a collection: {other:?}"),
    }
}

fn relocate(table: &mut Table, every: u64) {
    let mut number = 0;
    let mut is_thin = |_: *const u8| {
        number += 1;
        number % every == 0
    };
    let mut relocation = Relocation::new(&mut is_thin);
    let mut rest = Vec::new();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        cursor = table.relocate(from, &mut relocation, |record, position, _| {
            if position != 0 {
                rest.push((record.key().to_vec(), position));
            }
        });
    }
    for (key, mut position) in rest {
        while position != 0 {
            let mut record = table.find_mut(hash_of(&key), &key).expect("it is there");
            position = record.value_mut().relocate(position, &mut relocation);
        }
    }
}

fn text(value: crate::value::ValueRef<'_>) -> String {
    format!("{value:?}")
}

fn check(snapshot: &TableSnapshot, texts: &[String]) {
    for (key, expected) in KEYS.iter().zip(texts) {
        let record = snapshot.find(hash_of(key), key).expect("it was there");
        assert_eq!(&text(record.value()), expected);
    }
}

fn run(steps: &[Step]) {
    let mut table = Table::new(hash_of);
    for key in KEYS {
        table.store(hash_of(key), key, empty(key), None, |_| 0);
    }
    let mut bounds = [(1_u64, 1_u64); KEYS.len()];
    let mut snapshots: Vec<(TableSnapshot, Vec<String>)> = Vec::new();
    let texts = |table: &Table| -> Vec<String> {
        let record = |key| table.find(hash_of(key), key).expect("it is never removed");
        KEYS.iter().map(|key| text(record(key).value())).collect()
    };
    for step in steps {
        match *step {
            Step::Grow(index, count) | Step::Shrink(index, count) => {
                let key = KEYS[index];
                let (start, end) = &mut bounds[index];
                for _ in 0..count {
                    let mut record = table.find_mut(hash_of(key), key).expect("it is there");
                    if matches!(step, Step::Grow(..)) {
                        grow(record.value_mut(), key, *end);
                        *end += 1;
                    } else if start < end {
                        shrink(record.value_mut(), key, *start);
                        *start += 1;
                    }
                }
            }
            Step::Relocate(every) => {
                let before = texts(&table);
                relocate(&mut table, every);
                assert_eq!(texts(&table), before);
            }
            Step::Snapshot => snapshots.push((table.snapshot(), texts(&table))),
            Step::DropSnapshot(index) if index < snapshots.len() => {
                let (snapshot, texts) = snapshots.swap_remove(index);
                check(&snapshot, &texts);
            }
            Step::DropSnapshot(_) => {}
        }
    }
    drop(table);
    for (snapshot, texts) in snapshots {
        check(&snapshot, &texts);
    }
}

proptest! {
    #![proptest_config(super::tests::cases(40))]

    #[test]
    fn snapshots_show_collections_as_they_were(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}
