//! The table against `BTreeMap`: random operations, growth and shrinking, snapshots taken in the middle, scans while
//! things change.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rubine_base::hash::KeyHasher;
use rubine_base::random::Random;

use super::{Stored, Table};
use crate::record::{Record, RecordRef};
use crate::relocation::Relocation;
use crate::value::{Value, ValueRef};

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

/// So many cases, unless `PROPTEST_CASES` says otherwise: a memory checker is satisfied with few.
pub(super) fn cases(count: u32) -> ProptestConfig {
    let is_told = std::env::var_os("PROPTEST_CASES").is_some();
    if is_told { ProptestConfig::default() } else { ProptestConfig::with_cases(count) }
}

fn hash_of(key: &[u8]) -> u64 {
    KeyHasher::with_seed(42).hash(key)
}

/// Few distinct hashes, so that records pile up in few buckets.
fn clumsy_hash_of(key: &[u8]) -> u64 {
    hash_of(key) & 0xe000_0000_00ff_0000
}

fn text(record: RecordRef<'_>) -> Vec<u8> {
    match record.value() {
        ValueRef::Int(number) => number.to_string().into_bytes(),
        ValueRef::Bytes { bytes, .. } => bytes.to_vec(),
        ValueRef::Shared(bytes) => bytes.to_vec(),
        other => panic!("not a string: {other:?}"),
    }
}

fn content_of(scan: impl Fn(u64, &mut dyn FnMut(RecordRef<'_>)) -> Option<u64>) -> Model {
    let mut content = Model::new();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        cursor = scan(from, &mut |record| {
            let old = content.insert(record.key().to_vec(), (text(record), record.deadline()));
            assert!(old.is_none(), "{:?} was seen twice", record.key());
        });
    }
    content
}

fn check(table: &Table, model: &Model, hash_of: fn(&[u8]) -> u64) {
    assert_eq!(table.len(), model.len());
    assert_eq!(table.volatile_len(), model.values().filter(|it| it.1.is_some()).count());
    assert_eq!(&content_of(|cursor, visit| table.scan(cursor, 7, visit)), model);
    for (key, (value, deadline)) in model {
        let record = table.find(hash_of(key), key).expect("the model has it");
        assert_eq!((&text(record), record.deadline()), (value, *deadline));
    }
}

#[derive(Clone, Debug)]
enum Step {
    StoreOne(u16, Option<i64>),
    StoreMany(u16, usize, Option<i64>),
    Remove(u16),
    SetDeadline(u16, Option<i64>),
    RemoveMany(u16),
    /// Every second, third, .. allocation moves.
    Relocate(u64),
    Snapshot,
    DropSnapshot(usize),
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let deadline = prop_oneof![Just(None), (0..100_i64).prop_map(Some)];
    let len = prop_oneof![0..30_usize, Just(1024), Just(3000)];
    prop_oneof![
        40 => (0..3000_u16, len, deadline.clone()).prop_map(|(key, len, at)| Step::StoreMany(key, len, at)),
        10 => (0..3000_u16).prop_map(Step::Remove),
        5 => (0..3000_u16, deadline).prop_map(|(key, at)| Step::SetDeadline(key, at)),
        1 => (0..3000_u16).prop_map(Step::RemoveMany),
        1 => (1..4_u64).prop_map(Step::Relocate),
        1 => Just(Step::Snapshot),
        1 => (0..4_usize).prop_map(Step::DropSnapshot),
        1 => Just(Step::Check),
    ]
}

/// So few keys that their table has a segment of one bucket or two.
fn small_step() -> impl Strategy<Value = Step> {
    let deadline = prop_oneof![Just(None), (0..100_i64).prop_map(Some)];
    prop_oneof![
        20 => (0..16_u16, deadline.clone()).prop_map(|(key, at)| Step::StoreOne(key, at)),
        20 => (0..16_u16).prop_map(Step::Remove),
        5 => (0..16_u16, deadline).prop_map(|(key, at)| Step::SetDeadline(key, at)),
        1 => Just(Step::RemoveMany(0)),
        5 => (1..4_u64).prop_map(Step::Relocate),
        3 => Just(Step::Snapshot),
        3 => (0..4_usize).prop_map(Step::DropSnapshot),
        3 => Just(Step::Check),
    ]
}

fn relocate(table: &mut Table, every: u64) {
    let mut number = 0;
    let mut is_thin = |_: *const u8| {
        number += 1;
        number % every == 0
    };
    let mut relocation = Relocation::new(&mut is_thin);
    let (mut cursor, mut seen) = (Some(0), 0);
    while let Some(from) = cursor {
        cursor = table.relocate(from, &mut relocation, |_, position, _| {
            seen += 1;
            assert_eq!(position, 0, "strings are moved at once");
        });
    }
    assert_eq!(seen, if table.has_snapshots() { 0 } else { table.len() });
}

fn run(steps: &[Step], hash_of: fn(&[u8]) -> u64) {
    let mut table = Table::new(hash_of);
    let mut model = Model::new();
    let mut snapshots = Vec::new();
    for (round, step) in steps.iter().enumerate() {
        match step {
            Step::StoreOne(key, deadline) => {
                let (key, value) = (key.to_string().into_bytes(), vec![round as u8; 5]);
                let stored =
                    table.store(hash_of(&key), &key, Value::string(&value), *deadline, |_| 0);
                let old = model.insert(key, (value, *deadline));
                assert_eq!(matches!(stored, Stored::Inserted), old.is_none());
            }
            Step::StoreMany(key, len, deadline) => {
                // Thirty neighbours at once, so that segments split within a few hundred steps.
                for key in *key..*key + 30 {
                    let (key, value) = (key.to_string().into_bytes(), vec![round as u8; *len]);
                    let value = if *len == 3 { round.to_string().into_bytes() } else { value };
                    let stored =
                        table.store(hash_of(&key), &key, Value::string(&value), *deadline, |_| 0);
                    let old = model.insert(key, (value, *deadline));
                    assert_eq!(matches!(stored, Stored::Inserted), old.is_none());
                }
            }
            Step::Remove(key) => {
                let key = key.to_string().into_bytes();
                let removed = table.remove(hash_of(&key), &key);
                let old = model.remove(&key);
                assert_eq!(removed.map(|it| text(it.as_ref())), old.map(|it| it.0));
            }
            Step::SetDeadline(key, deadline) => {
                let key = key.to_string().into_bytes();
                if let Some(mut record) = table.find_mut(hash_of(&key), &key) {
                    record.set_deadline(*deadline);
                    model.get_mut(&key).expect("the table has it").1 = *deadline;
                }
            }
            Step::RemoveMany(from) => {
                for key in *from..*from + 1500 {
                    let key = key.to_string().into_bytes();
                    assert_eq!(
                        table.remove(hash_of(&key), &key).is_some(),
                        model.remove(&key).is_some()
                    );
                }
            }
            Step::Relocate(every) => relocate(&mut table, *every),
            Step::Snapshot => snapshots.push((table.snapshot(), model.clone())),
            Step::DropSnapshot(index) => {
                if *index < snapshots.len() {
                    snapshots.remove(*index);
                }
            }
            Step::Check => check(&table, &model, hash_of),
        }
    }
    check(&table, &model, hash_of);
    // Some outlive the table.
    let late = snapshots.len() / 2;
    for (snapshot, model) in snapshots.drain(late..) {
        assert_eq!(content_of(|cursor, visit| snapshot.scan(cursor, 9, visit)), model);
    }
    drop(table);
    for (snapshot, model) in snapshots {
        assert_eq!(snapshot.len(), model.len());
        assert_eq!(content_of(|cursor, visit| snapshot.scan(cursor, 9, visit)), model);
        for key in model.keys() {
            assert!(snapshot.find(hash_of(key), key).is_some());
        }
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec(step(), 1..300)) {
        run(&steps, hash_of);
    }

    #[test]
    fn behaves_like_a_map_with_few_keys(steps in prop::collection::vec(small_step(), 1..300)) {
        run(&steps, hash_of);
    }

    #[test]
    fn behaves_like_a_map_when_hashes_collide(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps, clumsy_hash_of);
    }
}

/// A scan returns whatever is there throughout, though the table grows and shrinks by a factor of a hundred.
#[test]
fn scan_keeps_its_guarantee() {
    for seed in 0..3 {
        let mut random = Random::with_seed(seed);
        let mut table = Table::new(hash_of);
        let staying: Vec<Vec<u8>> = (0..500).map(|it| format!("stay{it}").into_bytes()).collect();
        let passing: Vec<Vec<u8>> = (0..6000).map(|it| format!("pass{it}").into_bytes()).collect();
        for key in &staying {
            table.insert(hash_of(key), Record::new(key, Value::Int(0), None, 0));
        }
        let mut seen = BTreeSet::new();
        let (mut cursor, mut present) = (Some(0), 0);
        while let Some(from) = cursor {
            cursor = table.scan(from, 1 + random.below(30) as usize, |record| {
                seen.insert(record.key().to_vec());
            });
            let target = random.below(passing.len() as u64) as usize;
            for key in passing.iter().take(present).skip(target) {
                table.remove(hash_of(key), key);
            }
            for key in passing.iter().take(target).skip(present) {
                table.insert(hash_of(key), Record::new(key, Value::Int(0), None, 0));
            }
            present = target;
        }
        assert!(staying.iter().all(|key| seen.contains(key)), "seed {seed}");
    }
}

#[test]
fn due_records_are_found_once_they_are_due() {
    let mut table = Table::new(hash_of);
    for number in 0..5000_i64 {
        let key = number.to_string().into_bytes();
        let deadline = (number % 2 == 0).then_some(number);
        table.insert(hash_of(&key), Record::new(&key, Value::Int(0), deadline, 0));
    }
    for now in [-1, 100, 2500, 10_000] {
        let mut due = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            cursor = table.due(from, now, |record| due.push(record.key().to_vec()));
        }
        for key in &due {
            assert!(table.remove(hash_of(key), key).is_some());
        }
        let left = (0..5000).filter(|it| it % 2 == 0 && now < *it).count();
        assert_eq!(table.volatile_len(), left);
    }
    assert_eq!(table.len(), 2500);
}

#[test]
fn memory_is_given_back() {
    let mut table = Table::new(hash_of);
    let keys: Vec<Vec<u8>> = (0..100_000).map(|it| format!("key:{it}").into_bytes()).collect();
    for key in &keys {
        table.insert(hash_of(key), Record::new(key, Value::Int(0), None, 0));
    }
    let shape = table.shape();
    assert!(shape.slots * 3 / 4 < shape.records, "{shape:?}");
    for key in &keys[100..] {
        table.remove(hash_of(key), key);
    }
    let shape = table.shape();
    assert!(shape.directory_len <= 4 && shape.slots < 1000, "{shape:?}");
}

#[test]
fn few_records_take_little() {
    let mut table = Table::new(hash_of);
    for (number, bytes) in [(0, 32), (1, 40), (2, 48), (3, 56), (4, 64), (5, 128)] {
        let key = [number];
        table.insert(hash_of(&key), Record::new(&key, Value::Int(0), None, 0));
        assert_eq!(table.overhead_bytes() - size_of::<u64>(), bytes);
        let mut random = Random::with_seed(1);
        assert!((0..100).all(|_| table.random(&mut random).is_some()));
    }
}

#[test]
fn random_records_are_spread() {
    let mut table = Table::new(hash_of);
    for number in 0..1000 {
        let key = number.to_string().into_bytes();
        table.insert(hash_of(&key), Record::new(&key, Value::Int(0), None, 0));
    }
    let mut random = Random::with_seed(1);
    let mut counts = BTreeMap::<Vec<u8>, usize>::new();
    for _ in 0..100_000 {
        let record = table.random(&mut random).expect("the table has records");
        *counts.entry(record.key().to_vec()).or_default() += 1;
    }
    assert_eq!(counts.len(), 1000);
    assert!(counts.values().all(|count| (40..250).contains(count)));
}
