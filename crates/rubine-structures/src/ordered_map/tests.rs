//! The ordered map against a model from the standard library.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::{Child, NODE_MAX, OrderedMap, Size, Weigh};

type Model = BTreeMap<u64, u64>;

#[derive(Clone, Debug)]
struct Weighed(u64);

impl Weigh for Weighed {
    fn weight(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Append(usize),
    Edit(u64, u64),
    EditLast(u64),
    Remove(u64),
    RemoveRun(u64, usize),
    RemoveBefore(u64),
    Clone,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![Just(20_u64), Just(600), Just(20_000)].prop_flat_map(|count| {
        let step = prop_oneof![
            30 => (0..count, 0..5_u64).prop_map(|(key, weight)| Step::Insert(key, weight)),
            10 => (1..300_usize).prop_map(Step::Append),
            10 => (0..count, 0..5_u64).prop_map(|(key, weight)| Step::Edit(key, weight)),
            5 => (0..5_u64).prop_map(Step::EditLast),
            20 => (0..count).prop_map(Step::Remove),
            5 => (0..count, 0..200_usize).prop_map(|(key, len)| Step::RemoveRun(key, len)),
            2 => (0..count).prop_map(Step::RemoveBefore),
            5 => Just(Step::Clone),
        ];
        prop::collection::vec(step, 0..120)
    })
}

fn apply(map: &mut OrderedMap<u64, Weighed>, model: &mut Model, step: &Step) {
    match *step {
        Step::Insert(key, weight) => {
            let old = map.insert(key, Weighed(weight)).map(|it| it.0);
            assert_eq!(old, model.insert(key, weight));
        }
        Step::Append(count) => {
            let next = model.last_key_value().map_or(0, |last| last.0 + 1);
            for key in next..next + count as u64 {
                map.insert(key, Weighed(key % 3));
                model.insert(key, key % 3);
            }
        }
        Step::Edit(key, weight) => {
            let old = map.edit(&key, |it| std::mem::replace(&mut it.0, weight));
            assert_eq!(old, model.get_mut(&key).map(|it| std::mem::replace(it, weight)));
        }
        Step::EditLast(weight) => {
            let old = map.edit_last(|it| std::mem::replace(&mut it.0, weight));
            let last = model.last_entry();
            assert_eq!(old, last.map(|mut it| std::mem::replace(it.get_mut(), weight)));
        }
        Step::Remove(key) => {
            assert_eq!(map.remove(&key).map(|it| it.0), model.remove(&key));
        }
        Step::RemoveRun(key, len) => {
            let keys: Vec<u64> = model.range(key..).map(|it| *it.0).take(len).collect();
            for key in keys {
                assert_eq!(map.remove(&key).map(|it| it.0), model.remove(&key));
            }
        }
        Step::RemoveBefore(key) => {
            map.remove_before(&key);
            *model = model.split_off(&key);
        }
        Step::Clone => {}
    }
}

fn check(map: &OrderedMap<u64, Weighed>, model: &Model) {
    let size = Size { count: model.len(), weight: model.values().sum() };
    assert_eq!(map.size, size);
    if let Some(root) = &map.root {
        assert_eq!(check_child(root).1, size);
    }
    assert!(map.iter().map(|(key, it)| (*key, it.0)).eq(model.iter().map(|it| (*it.0, *it.1))));
    let back = map.iter_back_from(Bound::<&u64>::Unbounded);
    assert!(back.map(|it| *it.0).eq(model.keys().rev().copied()));
    assert_eq!(map.first().map(|it| *it.0), model.keys().next().copied());
    assert_eq!(map.last().map(|it| *it.0), model.keys().next_back().copied());
    let last = model.keys().next_back().copied().unwrap_or(0);
    for key in [0, 1, last / 3, last / 2, last, last + 1] {
        assert_eq!(map.get(&key).map(|it| it.0), model.get(&key).copied());
        let until = map.last_until(&key).map(|it| *it.0);
        assert_eq!(until, model.range(..=key).next_back().map(|it| *it.0));
        let from = map.iter_from(Bound::Included(&key)).map(|it| *it.0);
        assert!(from.eq(model.range(key..).map(|it| *it.0)));
        let behind = map.iter_from(Bound::Excluded(&key)).next().map(|it| *it.0);
        assert_eq!(behind, model.range(key + 1..).next().map(|it| *it.0));
        let before = map.iter_back_from(Bound::Excluded(&key)).map(|it| *it.0);
        assert!(before.eq(model.range(..key).rev().map(|it| *it.0)));
        assert_eq!(map.weight_before(&key), model.range(..key).map(|it| *it.1).sum::<u64>());
    }
    for weight in [0, 1, size.weight / 2, size.weight.saturating_sub(1), size.weight] {
        let mut before = 0;
        let expected = model.iter().find_map(|(key, it)| {
            let found = weight < before + it;
            let here = before;
            before += it;
            found.then_some((*key, here))
        });
        assert_eq!(map.at_weight(weight).map(|(key, _, before)| (*key, before)), expected);
    }
}

/// Panics if a key, a size, a node's length or a leaf's depth is wrong. Returns the height.
fn check_child(child: &Child<u64, Weighed>) -> (usize, Size) {
    assert!((1..=NODE_MAX).contains(&child.len()));
    let Child::Node(node) = child else { return (0, child.size()) };
    let heights = node.iter().map(|branch| {
        let (height, size) = check_child(&branch.child);
        assert_eq!((branch.size, branch.first), (size, *branch.child.first_key()));
        height
    });
    let heights: Vec<usize> = heights.collect();
    assert!(heights.iter().all(|it| *it == heights[0]));
    (heights[0] + 1, child.size())
}

proptest! {
    #[test]
    fn behaves_like_the_model(steps in steps()) {
        let (mut map, mut model) = (OrderedMap::new(), Model::new());
        let mut clones: Vec<(OrderedMap<u64, Weighed>, Model)> = Vec::new();
        for step in &steps {
            apply(&mut map, &mut model, step);
            if let Step::Clone = step {
                clones.push((map.clone(), model.clone()));
            }
        }
        check(&map, &model);
        for (map, model) in &clones {
            check(map, model);
        }
    }
}
