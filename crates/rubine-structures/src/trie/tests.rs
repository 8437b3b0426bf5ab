//! The trie against a model from the standard library.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rubine_base::hash::HashSet;

use super::{Deadline, Element, Trie, Walk, leaf};

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, Vec<u8>, Deadline),
    SetDeadline(Vec<u8>, Option<i64>),
    Remove(Vec<u8>),
    RemoveMany(u64),
    Fill(u32),
    Expire(i64, usize),
    Clone,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..400_u32).prop_map(|n| format!("field:{n:09}").into_bytes()),
        1 => (0..300_u32).prop_map(|n| format!("collide{n}").into_bytes()),
        1 => (lengths_at_a_limit(), 0..3_u8).prop_map(|(len, byte)| vec![byte; len]),
        1 => Just(Vec::new()),
    ]
}

fn lengths_at_a_limit() -> impl Strategy<Value = usize> {
    prop_oneof![185..210_usize, 685..705_usize]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..20_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (lengths_at_a_limit(), any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (150..800_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        1 => (0..5000_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn deadline() -> impl Strategy<Value = Deadline> {
    prop_oneof![Just(Deadline::Keep), Just(Deadline::Never), (0..1000_i64).prop_map(Deadline::At)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (key(), value(), deadline()).prop_map(|(k, v, d)| Step::Insert(k, v, d)),
        10 => (key(), prop::option::of(0..1000_i64)).prop_map(|(k, d)| Step::SetDeadline(k, d)),
        20 => key().prop_map(Step::Remove),
        1 => (0..400_u64).prop_map(Step::RemoveMany),
        2 => (0..1000_u32).prop_map(Step::Fill),
        2 => (0..1000_i64, 1..200_usize).prop_map(|(now, limit)| Step::Expire(now, limit)),
        1 => Just(Step::Clone),
    ]
}

fn filler(n: u32) -> Vec<u8> {
    format!("f{n}").into_bytes()
}

fn apply(trie: &mut Trie, model: &mut Model, step: &Step) {
    match step {
        Step::Insert(key, value, deadline) => {
            let old = model.get(key).cloned();
            let at = deadline.resolve(old.as_ref().and_then(|(_, deadline)| *deadline));
            model.insert(key.clone(), (value.clone(), at));
            assert_eq!(trie.insert(key, value, *deadline), old.is_none());
        }
        Step::SetDeadline(key, deadline) => {
            let found = model.get_mut(key).map(|(_, current)| *current = *deadline);
            assert_eq!(trie.set_deadline(key, *deadline), found.is_some());
        }
        Step::Remove(key) => assert_eq!(trie.remove(key), model.remove(key).is_some()),
        Step::RemoveMany(count) => {
            for _ in 0..*count {
                let Some(key) = trie.nth(trie.len() / 2).map(|element| element.key.to_vec()) else {
                    break;
                };
                assert!(trie.remove(&key));
                assert!(model.remove(&key).is_some());
            }
        }
        Step::Fill(count) => {
            for n in 0..*count {
                trie.insert(&filler(n), b"v", Deadline::Keep);
                model.entry(filler(n)).or_default().0 = b"v".to_vec();
            }
        }
        Step::Expire(now, limit) => {
            let mut expired = Vec::new();
            let count = trie.expire_due(*now, *limit, |element| expired.push(element.key.to_vec()));
            assert_eq!(count as usize, expired.len());
            assert!(expired.len() <= *limit);
            for key in expired {
                let (_, deadline) = model.remove(&key).unwrap();
                assert!(deadline.unwrap() <= *now);
            }
            let earliest = model.values().filter_map(|(_, deadline)| *deadline).min();
            if earliest.is_some_and(|earliest| earliest <= *now) {
                assert!(trie.next_deadline().unwrap() <= *now);
            }
        }
        Step::Clone => {}
    }
}

fn entry(element: Element<'_>) -> (Vec<u8>, (Vec<u8>, Option<i64>)) {
    assert_eq!(element.shared_value.is_some(), leaf::INLINE_LEN_MAX < element.value.len());
    (element.key.to_vec(), (element.value.to_vec(), element.deadline))
}

fn check(trie: &Trie, model: &Model) {
    // A hint changes nothing and goes wherever keys lead, those that are missing too.
    let mut asked: Vec<&[u8]> = model.keys().map(Vec::as_slice).collect();
    asked.extend([b"".as_slice(), b"collide", b"missing"]);
    trie.prefetch(&asked);

    assert_eq!(trie.len() as usize, model.len());
    let entries: Vec<_> = trie.iter().map(entry).collect();
    assert_eq!(entries.len(), model.len());
    assert_eq!(&entries.iter().cloned().collect::<Model>(), model);
    for (rank, (key, (value, deadline))) in entries.iter().enumerate() {
        let found = trie.get(key).unwrap();
        assert_eq!((found.value, found.deadline), (value.as_slice(), *deadline));
        assert_eq!(trie.nth(rank as u64).unwrap().key, key);
    }
    assert!(trie.nth(trie.len()).is_none());
    let mut scanned = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = trie.scan(cursor, 10, |element| scanned.push(entry(element)));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(scanned, entries);
    let mut walked = Vec::new();
    let mut walk = Walk::new(trie.clone());
    while walk.visit_some(|element| walked.push(entry(element))) {}
    assert_eq!(walk.remaining(), 0);
    assert_eq!(walked, entries);
    if let Some(earliest) = model.values().filter_map(|(_, deadline)| *deadline).min() {
        assert!(trie.next_deadline().unwrap() <= earliest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_map(steps in prop::collection::vec(step(), 1..200)) {
        let mut trie = Trie::new();
        let mut model = Model::new();
        let mut handles = Vec::new();
        for step in &steps {
            apply(&mut trie, &mut model, step);
            if let Step::Clone = step {
                handles.push((trie.clone(), model.clone()));
            }
        }
        check(&trie, &model);
        for (handle, model) in &handles {
            check(handle, model);
        }
    }

    #[test]
    fn scan_returns_what_stays(
        steps in prop::collection::vec(step(), 0..400),
        count in 1..50_u64,
        stay in 1..500_u32,
    ) {
        let staying = |n| format!("stay{n}").into_bytes();
        let mut trie = Trie::new();
        let mut model = Model::new();
        for n in 0..stay {
            trie.insert(&staying(n), b"", Deadline::Never);
        }
        let mut seen = HashSet::default();
        let mut cursor = 0;
        let mut steps = steps.iter().filter(|step| !matches!(step, Step::RemoveMany(_)));
        loop {
            cursor = trie.scan(cursor, count, |element| {
                seen.insert(element.key.to_vec());
            });
            if cursor == 0 {
                break;
            }
            steps.by_ref().take(20).for_each(|step| apply(&mut trie, &mut model, step));
        }
        for n in 0..stay {
            prop_assert!(seen.contains(&staying(n)));
        }
    }
}

#[test]
fn gives_memory_back() {
    let key = |n: u32| format!("field:{n:09}").into_bytes();
    let mut trie = Trie::new();
    for n in 0..50_000 {
        trie.insert(&key(n), &key(n), Deadline::Never);
    }
    let full = trie.heap_bytes();
    assert!(full / 50_000 <= 42, "{} bytes an element", full / 50_000);
    for n in 500..50_000 {
        assert!(trie.remove(&key(n)));
    }
    assert!(trie.heap_bytes() < full / 50);
    for n in 0..500 {
        assert!(trie.remove(&key(n)));
    }
    assert!(trie.drop_cost() == 1 && trie.heap_bytes() < 200);
}

#[test]
fn a_writer_beside_a_handle_copies_little() {
    let key = |n: u32| format!("field:{n:09}").into_bytes();
    let mut trie = Trie::new();
    for n in 0..10_000 {
        trie.insert(&key(n), b"old", Deadline::Never);
    }
    let handle = trie.clone();
    trie.insert(&key(77), b"new", Deadline::Never);
    trie.remove(&key(78));
    assert_eq!(handle.get(&key(77)).unwrap().value, b"old");
    assert_eq!(handle.len(), 10_000);
    assert_eq!(trie.get(&key(77)).unwrap().value, b"new");
    assert!(!trie.contains(&key(78)));
}

#[test]
fn expiry_finds_what_is_due_without_looking_at_the_rest() {
    let key = |n: u32| format!("field:{n:09}").into_bytes();
    let mut trie = Trie::new();
    for n in 0..100_000 {
        trie.insert(&key(n), b"", Deadline::At(i64::from(n)));
    }
    assert_eq!(trie.next_deadline(), Some(0));
    // A budget of twice the elements allows a look at one leaf for each.
    let mut expired = Vec::new();
    trie.expire_due(99, 200, |element| expired.push(element.deadline.unwrap()));
    expired.sort_unstable();
    assert_eq!(expired, (0..100).collect::<Vec<_>>());
    assert_eq!(trie.next_deadline(), Some(100));
    while trie.next_deadline().is_some_and(|deadline| deadline <= 100_000) {
        assert!(0 < trie.expire_due(100_000, 1000, |_| {}));
    }
    assert!(trie.is_empty());
}
