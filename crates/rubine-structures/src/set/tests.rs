//! The set against a model from the standard library.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Member, Set, SetEncoding, SetLimits, SetWalk};

const LIMITS: SetLimits = SetLimits { intset_entries: 40, listpack_entries: 20, value_bytes: 16 };

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Clone,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let integer = prop_oneof![
        20 => -20..20_i64,
        5 => -40_000..40_000_i64,
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>()],
    ];
    let integer = integer.prop_map(|n| n.to_string().into_bytes());
    let text = prop_oneof![
        20 => (0..30_u32).prop_map(|n| format!("m{n}").into_bytes()),
        5 => (0..1000_u32).prop_map(|n| format!("m{n}").into_bytes()),
        1 => prop_oneof![Just(b"007".to_vec()), Just(b"-0".to_vec()), Just(Vec::new())],
        1 => (0..400_usize).prop_map(|len| vec![b'x'; len]),
    ];
    (prop_oneof![Just(0.0), Just(0.03), Just(0.9)], 0..200_usize).prop_flat_map(
        move |(texts, count)| {
            let (integer, text) = (integer.clone(), text.clone());
            let member = prop::bool::weighted(texts).prop_flat_map(move |is_text| {
                if is_text { text.clone().boxed() } else { integer.clone().boxed() }
            });
            let step = prop_oneof![
                20 => member.clone().prop_map(Step::Add),
                12 => member.prop_map(Step::Remove),
                1 => Just(Step::Clone),
            ];
            prop::collection::vec(step, count)
        },
    )
}

fn check(set: &Set, model: &BTreeSet<Vec<u8>>) {
    assert_eq!(set.len() as usize, model.len());
    assert_eq!(set.is_empty(), model.is_empty());
    let order: Vec<_> = set.iter().map(Member::to_vec).collect();
    assert_eq!(order.len(), model.len());
    assert_eq!(&order.iter().cloned().collect::<BTreeSet<_>>(), model);
    assert!(model.iter().all(|member| set.contains(member)));
    for absent in [&b"none"[..], b"01", b"99999999999999999999"] {
        assert!(!set.contains(absent));
    }
    let ranked: Vec<_> = (0..set.len()).map(|rank| set.nth(rank).unwrap().to_vec()).collect();
    assert_eq!(ranked, order);
    assert!(set.nth(set.len()).is_none());
    let mut scanned = Vec::new();
    let mut cursor = set.scan(0, 10, |member| scanned.push(member.to_vec()));
    while cursor != 0 {
        cursor = set.scan(cursor, 10, |member| scanned.push(member.to_vec()));
    }
    assert_eq!(scanned, order);
    let mut walk = SetWalk::new(set);
    let mut walked = Vec::new();
    while walk.visit_some(|member| walked.push(member.to_vec())) {}
    assert_eq!((walked, walk.remaining()), (order.clone(), 0));
    match set.encoding() {
        SetEncoding::Intset => {
            assert!(set.len() as usize <= LIMITS.intset_entries);
            assert!(
                order
                    .is_sorted_by_key(|text| str::from_utf8(text).unwrap().parse::<i64>().unwrap())
            );
        }
        SetEncoding::Listpack => {
            assert!(set.len() as usize <= LIMITS.listpack_entries);
            assert!(order.iter().all(|member| member.len() <= LIMITS.value_bytes));
        }
        SetEncoding::Hashtable => {}
    }
}

proptest! {
    #[test]
    fn equals_a_set(steps in steps()) {
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        let mut handles = Vec::new();
        for step in steps {
            match step {
                Step::Add(member) => {
                    assert_eq!(set.add(&member, LIMITS), model.insert(member));
                }
                Step::Remove(member) => assert_eq!(set.remove(&member), model.remove(&member)),
                Step::Clone => handles.push((set.clone(), model.clone())),
            }
        }
        check(&set, &model);
        for (handle, model) in &handles {
            check(handle, model);
        }
    }
}

fn encoding_of(members: impl IntoIterator<Item = String>) -> &'static str {
    let mut set = Set::new();
    for member in members {
        set.add(member.as_bytes(), LIMITS);
    }
    set.encoding().name()
}

#[test]
fn encoding_follows_the_limits() {
    let integers = |count: u32| (0..count).map(|n| n.to_string());
    let texts = |count: u32| (0..count).map(|n| format!("m{n}"));
    let long = |len| [String::from("1"), "x".repeat(len)];
    let wide = i64::MIN.to_string();
    assert_eq!(encoding_of(integers(40)), "intset");
    assert_eq!(encoding_of(integers(41)), "hashtable");
    assert_eq!(encoding_of(integers(19).chain(texts(1))), "listpack");
    assert_eq!(encoding_of(integers(20).chain(texts(1))), "hashtable");
    assert_eq!(encoding_of(texts(20)), "listpack");
    assert_eq!(encoding_of(texts(21)), "hashtable");
    assert_eq!(encoding_of(long(16)), "listpack");
    assert_eq!(encoding_of(long(17)), "hashtable");
    assert_eq!(encoding_of([wide.clone()]), "intset");
    assert_eq!(encoding_of([wide, String::from("x")]), "hashtable");
}

#[test]
fn a_hint_decides_the_first_form() {
    let form = |first: &[u8], count| Set::for_members(first, count, LIMITS).encoding().name();
    assert_eq!(form(b"1", 40), "intset");
    assert_eq!(form(b"1", 41), "hashtable");
    assert_eq!(form(b"x", 20), "listpack");
    assert_eq!(form(b"x", 21), "hashtable");
    let few_integers = SetLimits { intset_entries: 5, ..LIMITS };
    assert_eq!(Set::for_members(b"1", 6, few_integers).encoding().name(), "listpack");
    let mut set = Set::new();
    set.expect(40, LIMITS);
    assert_eq!(set.encoding().name(), "intset");
    set.expect(41, LIMITS);
    assert_eq!(set.encoding().name(), "hashtable");
}

#[test]
fn integers_are_narrow() {
    let mut set = Set::new();
    for n in 0..500_u32 {
        set.add(n.to_string().as_bytes(), SetLimits { intset_entries: 512, ..LIMITS });
    }
    assert!(set.heap_bytes() <= 1280, "{}", set.heap_bytes());
    for n in 5..500_u32 {
        set.remove(n.to_string().as_bytes());
    }
    assert!(set.heap_bytes() <= 128, "{}", set.heap_bytes());
    assert!(size_of::<Set>() <= 16);
}
