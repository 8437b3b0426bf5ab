//! The hash against a model from the standard library.

use proptest::prelude::*;

use super::{Form, Hash, HashEncoding, HashLimits, HashWalk};
use crate::trie::{Deadline, Element};

/// Fields in the order of insertion.
type Model = Vec<(Vec<u8>, Vec<u8>, Option<i64>)>;

const LIMITS: HashLimits = HashLimits { entries: 24, value_bytes: 64 };

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Vec<u8>, Deadline),
    SetDeadline(Vec<u8>, Option<i64>),
    Remove(Vec<u8>),
    Expire(i64, usize),
    Clone,
}

/// A run of steps over few fields stays small, one over many becomes large.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let field = |count: u32| (0..count).prop_map(|n| format!("field:{n}").into_bytes());
    let value = || {
        prop_oneof![
            400 => (0..64_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
            1 => (0..700_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
        ]
    };
    let deadline = |with: bool| {
        let at = if with { 0..100_i64 } else { 0..1 };
        at.prop_flat_map(move |at| {
            let some = if with { Deadline::At(at) } else { Deadline::Never };
            prop_oneof![Just(Deadline::Keep), Just(Deadline::Never), Just(some)]
        })
    };
    (prop_oneof![Just(5_u32), Just(25), Just(300)], any::<bool>()).prop_flat_map(
        move |(count, with)| {
            let at = (0..100_i64).prop_map(move |at| with.then_some(at));
            let step = prop_oneof![
                30 => (field(count), value(), deadline(with)).prop_map(|(f, v, d)| Step::Set(f, v, d)),
                5 => (field(count), at).prop_map(|(f, d)| Step::SetDeadline(f, d)),
                10 => field(count).prop_map(Step::Remove),
                1 => (0..100_i64, 1..10_usize).prop_map(|(now, limit)| Step::Expire(now, limit)),
                1 => Just(Step::Clone),
            ];
            prop::collection::vec(step, 0..250)
        },
    )
}

fn apply(hash: &mut Hash, model: &mut Model, step: &Step) {
    let index = |model: &Model, wanted: &Vec<u8>| model.iter().position(|(f, ..)| f == wanted);
    match step {
        Step::Set(field, value, deadline) => {
            let found = index(model, field);
            let at = found.unwrap_or_else(|| {
                model.push((field.clone(), Vec::new(), None));
                model.len() - 1
            });
            model[at].1.clone_from(value);
            match deadline {
                Deadline::Keep => {}
                Deadline::Never => model[at].2 = None,
                Deadline::At(time) => model[at].2 = Some(*time),
            }
            assert_eq!(hash.set(field, value, *deadline, LIMITS), found.is_none());
        }
        Step::SetDeadline(field, deadline) => {
            let found = index(model, field);
            if let Some(at) = found {
                model[at].2 = *deadline;
            }
            assert_eq!(hash.set_deadline(field, *deadline), found.is_some());
        }
        Step::Remove(field) => {
            let found = index(model, field);
            if let Some(at) = found {
                model.remove(at);
            }
            assert_eq!(hash.remove(field), found.is_some());
        }
        Step::Expire(now, limit) => {
            let mut expired = Vec::new();
            hash.expire_due(*now, *limit, |element| expired.push(element.key.to_vec()));
            assert!(expired.len() <= *limit);
            for field in expired {
                let at = index(model, &field).unwrap();
                assert!(model[at].2.unwrap() <= *now);
                model.remove(at);
            }
            if hash.next_deadline().is_none_or(|deadline| *now < deadline) {
                let due =
                    |(_, _, deadline): &_| Option::<i64>::is_some_and(*deadline, |d| d <= *now);
                assert!(!model.iter().any(due));
            }
        }
        Step::Clone => {}
    }
}

fn check(hash: &Hash, model: &Model) {
    let owned = |e: Element<'_>| (e.key.to_vec(), e.value.to_vec(), e.deadline);
    assert_eq!(hash.len() as usize, model.len());
    assert_eq!(hash.is_empty(), model.is_empty());
    let order: Model = hash.iter().map(owned).collect();
    if let Form::Small(_) = hash.form {
        assert_eq!(&order, model);
        assert!(hash.len() as usize <= LIMITS.entries);
    } else {
        let sorted = |model: &Model| {
            let mut model = model.clone();
            model.sort();
            model
        };
        assert_eq!(sorted(&order), sorted(model));
    }
    for (field, value, deadline) in model {
        let found = hash.get(field).unwrap();
        assert_eq!((found.value, found.deadline), (value.as_slice(), *deadline));
    }
    assert!(!hash.contains(b"none"));
    let ranked: Model = (0..hash.len()).map(|rank| owned(hash.nth(rank).unwrap())).collect();
    assert_eq!(ranked, order);
    assert!(hash.nth(hash.len()).is_none());
    let mut scanned = Vec::new();
    let mut cursor = hash.scan(0, 10, |element| scanned.push(owned(element)));
    while cursor != 0 {
        cursor = hash.scan(cursor, 10, |element| scanned.push(owned(element)));
    }
    assert_eq!(scanned, order);
    let mut walk = HashWalk::new(hash);
    let mut walked = Vec::new();
    while walk.visit_some(|element| walked.push(owned(element))) {}
    assert_eq!((walked, walk.remaining()), (order, 0));
    let earliest = model.iter().filter_map(|(.., deadline)| *deadline).min();
    assert!(earliest.is_none_or(|earliest| hash.next_deadline().unwrap() <= earliest));
    assert_eq!(hash.has_deadlines(), earliest.is_some());
}

proptest! {
    #[test]
    fn equals_a_map(steps in steps()) {
        let (mut hash, mut model) = (Hash::new(), Model::new());
        let mut handles = Vec::new();
        for step in &steps {
            apply(&mut hash, &mut model, step);
            if let Step::Clone = step {
                handles.push((hash.clone(), model.clone()));
            }
        }
        check(&hash, &model);
        for (handle, model) in &handles {
            check(handle, model);
        }
    }
}

#[test]
fn encoding_follows_the_limits() {
    let field = |n: u32| format!("field:{n}").into_bytes();
    let fill = |count| {
        let mut hash = Hash::new();
        for n in 0..count {
            hash.set(&field(n), b"value", Deadline::Never, LIMITS);
        }
        hash
    };
    assert_eq!(fill(24).encoding(), HashEncoding::Listpack);
    assert_eq!(fill(25).encoding(), HashEncoding::Hashtable);
    let with = |change: fn(&mut Hash)| {
        let mut hash = fill(3);
        change(&mut hash);
        hash.encoding().name()
    };
    assert_eq!(with(|_| {}), "listpack");
    assert_eq!(
        with(|h| {
            h.set(b"f", &[0; 64], Deadline::Keep, LIMITS);
        }),
        "listpack"
    );
    assert_eq!(
        with(|h| {
            h.set(b"f", &[0; 65], Deadline::Keep, LIMITS);
        }),
        "hashtable"
    );
    assert_eq!(
        with(|h| {
            h.set(&[0; 65], b"v", Deadline::Keep, LIMITS);
        }),
        "hashtable"
    );
    assert_eq!(with(|h| h.expect(24, LIMITS)), "listpack");
    assert_eq!(with(|h| h.expect(25, LIMITS)), "hashtable");
    assert_eq!(
        with(|h| {
            h.set_deadline(b"field:1", None);
        }),
        "listpack"
    );
    assert_eq!(
        with(|h| {
            h.set_deadline(b"field:9", Some(5));
        }),
        "listpack"
    );
    assert_eq!(
        with(|h| {
            h.set_deadline(b"field:1", Some(5));
        }),
        "hashtable"
    );
    // It stays what it became.
    let mut hash = fill(25);
    (1..25).for_each(|n| assert!(hash.remove(&field(n))));
    assert_eq!(hash.encoding(), HashEncoding::Hashtable);
}

#[test]
fn a_small_hash_is_small() {
    let mut hash = Hash::new();
    for n in 0..5 {
        let (field, value) = (format!("field:{n:09}"), format!("value:{n:09}"));
        hash.set(field.as_bytes(), value.as_bytes(), Deadline::Never, LIMITS);
    }
    assert!(hash.heap_bytes() <= 192, "{}", hash.heap_bytes());
    assert!(size_of::<Hash>() <= 16);
}
