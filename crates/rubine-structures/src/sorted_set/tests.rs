//! The sorted set against a model from the standard library.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    Direction, Form, Position, SortedSet, SortedSetCursor, SortedSetEncoding, SortedSetLimits,
};

type Model = BTreeMap<Vec<u8>, f64>;

const LIMITS: SortedSetLimits = SortedSetLimits { entries: 24, value_bytes: 64 };

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveRange(u64, u64),
    /// Members in ascending order behind all others.
    Append(u32),
    Clone,
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        10 => (-3..4_i32).prop_map(f64::from),
        10 => (0..100_000_i32).prop_map(f64::from),
        5 => any::<f64>().prop_map(|score| if score.is_nan() { -0.0 } else { score }),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
    ]
}

fn member(count: u32) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        300 => (0..count).prop_map(|n| n.to_string().into_bytes()),
        60 => (0..count).prop_map(|n| format!("member:{n}").into_bytes()),
        1 => (0..count, 0..3000_usize).prop_map(|(n, len)| {
            let mut long = n.to_string().into_bytes();
            long.resize(long.len() + len, b'x');
            long
        }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![Just(5_u32), Just(25), Just(3000)].prop_flat_map(|count| {
        let step = prop_oneof![
            60 => (member(count), score()).prop_map(|(m, s)| Step::Insert(m, s)),
            15 => member(count).prop_map(Step::Remove),
            1 => (any::<u64>(), 0..60_u64).prop_map(|(from, len)| Step::RemoveRange(from, len)),
            1 => (1..count).prop_map(Step::Append),
            2 => Just(Step::Clone),
        ];
        prop::collection::vec(step, 0..250)
    })
}

fn ordered(model: &Model) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
    all.sort_by(|(m, s), (n, t)| s.partial_cmp(t).unwrap().then_with(|| m.cmp(n)));
    all
}

fn apply(set: &mut SortedSet, model: &mut Model, step: &Step) {
    match step {
        Step::Insert(member, score) => {
            set.insert(member, *score, LIMITS);
            model.insert(member.clone(), *score);
        }
        Step::Remove(member) => {
            assert_eq!(set.remove(member), model.remove(member).is_some());
        }
        Step::RemoveRange(from, len) => {
            let total = set.len();
            let start = from.checked_rem(total).unwrap_or(0);
            let range = start..(start + len).min(total);
            for (member, _) in &ordered(model)[range.start as usize..range.end as usize] {
                model.remove(member);
            }
            set.remove_range(range);
        }
        Step::Append(count) => {
            for number in 0..*count {
                let member = format!("z{number:05}").into_bytes();
                set.insert(&member, 1e18, LIMITS);
                model.insert(member, 1e18);
            }
        }
        Step::Clone => {}
    }
}

fn bits(elements: &[(Vec<u8>, f64)]) -> Vec<(Vec<u8>, u64)> {
    elements.iter().map(|(m, s)| (m.clone(), (s + 0.0).to_bits())).collect()
}

fn check(set: &SortedSet, model: &Model) {
    let expected = ordered(model);
    let found: Vec<_> = set.iter().map(|(m, s)| (m.to_vec(), s)).collect();
    assert_eq!(bits(&found), bits(&expected));
    assert_eq!(set.len() as usize, model.len());
    match &set.form {
        Form::Small(small) => assert!(small.len() <= LIMITS.entries),
        Form::Large(large) => {
            large.tree.check();
            assert_eq!(large.scores.len(), large.tree.len());
        }
    }
    for (rank, (member, score)) in expected.iter().enumerate() {
        assert_eq!(set.score(member), Some(*score));
        assert_eq!(set.rank(member).map(|(rank, _)| rank), Some(rank as u64));
        assert_eq!(set.nth(rank as u64), Some((&**member, *score)));
    }
    for probe in [-1e9, -2.0, -0.0, 0.0, 1.0, 500.0, 1e18, f64::INFINITY, f64::NEG_INFINITY] {
        let below = expected.partition_point(|(_, score)| *score < probe) as u64;
        let to = expected.partition_point(|(_, score)| *score <= probe) as u64;
        assert_eq!(set.count_before(Position::BeforeScore(probe)), below);
        assert_eq!(set.count_before(Position::AfterScore(probe)), to);
    }
    let len = set.len();
    let range = len / 3..len - len / 4;
    let mut backwards = expected[range.start as usize..range.end as usize].to_vec();
    let forwards: Vec<_> =
        set.iter_range(range.clone(), Direction::Ascending).map(|(m, s)| (m.to_vec(), s)).collect();
    assert_eq!(bits(&forwards), bits(&backwards));
    backwards.reverse();
    let mut cursor = SortedSetCursor::new(set, range, Direction::Descending);
    let mut read = Vec::new();
    while cursor.remaining() != 0 {
        cursor.next_slice(7, 100, |m, s| read.push((m.to_vec(), s)));
    }
    assert_eq!(bits(&read), bits(&backwards));
    let mut scanned = Model::new();
    let mut at = 0;
    loop {
        at = set.scan(at, 10, |member, score| {
            assert!(scanned.insert(member.to_vec(), score).is_none());
        });
        if at == 0 {
            break;
        }
    }
    assert_eq!(&scanned, model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn it_equals_a_map_and_clones_stay_as_they_were(steps in steps()) {
        let (mut set, mut model) = (SortedSet::new(), Model::new());
        let mut clones = Vec::new();
        for step in &steps {
            apply(&mut set, &mut model, step);
            if let Step::Clone = step {
                check(&set, &model);
                clones.push((set.clone(), model.clone()));
            }
        }
        check(&set, &model);
        for (clone, model) in &clones {
            check(clone, model);
        }
        let whole = SortedSet::from_elements(model.clone().into_iter().collect(), LIMITS);
        check(&whole, &model);
    }

    #[test]
    fn members_of_one_score_are_found_by_their_order(
        members in prop::collection::btree_set("[a-c]{0,12}", 0..300),
        probe in "[a-d]{0,12}",
    ) {
        let mut set = SortedSet::new();
        for member in &members {
            set.insert(member.as_bytes(), 0.0, LIMITS);
        }
        let below = members.iter().filter(|it| **it < probe).count() as u64;
        let to = members.iter().filter(|it| **it <= probe).count() as u64;
        prop_assert_eq!(set.count_before(Position::BeforeMember(probe.as_bytes())), below);
        prop_assert_eq!(set.count_before(Position::AfterMember(probe.as_bytes())), to);
    }
}

#[test]
fn limits_decide_the_form() {
    let mut set = SortedSet::new();
    for number in 0..24 {
        set.insert(format!("{number}").as_bytes(), f64::from(number), LIMITS);
    }
    assert_eq!(set.encoding(), SortedSetEncoding::Listpack);
    let mut other = set.clone();
    set.insert(b"x", 0.5, LIMITS);
    assert_eq!(set.encoding(), SortedSetEncoding::Skiplist);
    other.remove(b"3");
    other.insert(&[b'm'; 65], 1.0, LIMITS);
    assert_eq!(other.encoding(), SortedSetEncoding::Skiplist);
    assert_eq!((set.len(), other.len()), (25, 24));
}

/// As in Redis: a listpack has it as an integer.
#[test]
fn zero_keeps_its_sign_in_the_large_form() {
    let mut set = SortedSet::new();
    set.insert(b"a", -0.0, LIMITS);
    assert!(set.score(b"a").unwrap().is_sign_positive());
    set.expect(25, 1, LIMITS);
    set.insert(b"a", -0.0, LIMITS);
    set.insert(b"b", 0.0, LIMITS);
    set.insert(b"A", 0.0, LIMITS);
    assert!(set.score(b"a").unwrap().is_sign_negative());
    let members: Vec<_> = set.iter().map(|(member, _)| member).collect();
    assert_eq!(members, [b"A", b"a", b"b"]);
    assert_eq!(set.count_before(Position::BeforeScore(-0.0)), 0);
    assert_eq!(set.count_before(Position::AfterScore(-0.0)), 3);
}

/// A large set costs little more than what it has to hold twice: members of 16 bytes and their scores.
#[test]
fn a_large_set_is_compact() {
    const COUNT: u64 = 200_000;
    let mut random = rubine_base::random::Random::with_seed(7);
    let mut set = SortedSet::new();
    for number in 0..COUNT {
        set.insert(format!("member:{number:09}").as_bytes(), random.next_f64(), LIMITS);
    }
    let per_element = set.heap_bytes() as f64 / COUNT as f64;
    assert!(per_element < 60.8, "{per_element} bytes an element");
    let Form::Large(large) = &set.form else { panic!("it is large") };
    assert_eq!(large.tree.len(), COUNT);
    large.tree.check();
}

/// Elements that come in ascending order leave full leaves behind.
#[test]
fn ascending_members_fill_leaves() {
    const COUNT: u64 = 20_000;
    let mut set = SortedSet::new();
    for number in 0..COUNT {
        set.insert(format!("member:{number:09}").as_bytes(), number as f64, LIMITS);
    }
    let Form::Large(large) = &set.form else { panic!("it is large") };
    large.tree.check();
    assert!(large.tree.allocations() as u64 * 40 < COUNT);
}
