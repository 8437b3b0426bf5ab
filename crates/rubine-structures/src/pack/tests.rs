//! The pack against a vector of byte strings, and its sizes.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::block::{BOUNDS_OF_SMALL, PREFIX, unrounded_bytes};
use super::*;

#[derive(Clone, Debug)]
enum Op {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    PopBack,
    PopFront,
    Insert(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    RemoveRange(usize, usize),
    Split(usize),
    Retain(u8),
    Hold,
}

fn item() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => vec(0u8..4, 0..20),
        3 => vec(any::<u8>(), 240..300),
        1 => (0u8..4).prop_map(|byte| vec![byte; 70_000]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => item().prop_map(Op::PushBack),
        8 => item().prop_map(Op::PushFront),
        3 => Just(Op::PopBack),
        3 => Just(Op::PopFront),
        5 => (any::<usize>(), item()).prop_map(|(at, item)| Op::Insert(at, item)),
        5 => (any::<usize>(), item()).prop_map(|(at, item)| Op::Replace(at, item)),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(from, len)| Op::RemoveRange(from, len)),
        1 => any::<usize>().prop_map(Op::Split),
        1 => (0u8..4).prop_map(Op::Retain),
        2 => Just(Op::Hold),
    ]
}

fn apply(pack: &mut Pack, model: &mut VecDeque<Vec<u8>>, op: Op) {
    match op {
        Op::PushBack(item) => {
            pack.push_back(&item);
            model.push_back(item);
        }
        Op::PushFront(item) => {
            pack.push_front(&item);
            model.push_front(item);
        }
        Op::PopBack => assert_eq!(pack.pop_back(), model.pop_back()),
        Op::PopFront => assert_eq!(pack.pop_front(), model.pop_front()),
        Op::Insert(at, item) => {
            let at = at % (model.len() + 1);
            pack.insert(at, &item);
            model.insert(at, item);
        }
        Op::Replace(at, item) if !model.is_empty() => {
            let at = at % model.len();
            pack.replace(at, &item);
            model[at] = item;
        }
        Op::RemoveRange(from, len) => {
            let from = from % (model.len() + 1);
            let to = from + len % (model.len() + 1 - from);
            pack.remove_range(from..to);
            model.drain(from..to);
        }
        Op::Split(at) => {
            let at = at % (model.len() + 1);
            let tail = pack.split_off(at);
            check(&tail, &model.iter().skip(at).cloned().collect());
            pack.append(&tail);
        }
        Op::Retain(byte) => {
            pack.retain(|item| item.first() != Some(&byte));
            model.retain(|item| item.first() != Some(&byte));
        }
        Op::Replace(..) | Op::Hold => {}
    }
}

fn check(pack: &Pack, model: &VecDeque<Vec<u8>>) {
    assert_eq!(pack.len(), model.len());
    assert_eq!(pack.is_empty(), model.is_empty());
    assert!(pack.iter().eq(model.iter().map(Vec::as_slice)));
    assert!(pack.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
    assert!(pack.heap_bytes_needed() <= pack.heap_bytes());
    assert_eq!(pack.first(), model.front().map(Vec::as_slice));
    assert_eq!(pack.last(), model.back().map(Vec::as_slice));
}

fn check_access(pack: &Pack, model: &VecDeque<Vec<u8>>) {
    for (index, item) in model.iter().enumerate() {
        assert_eq!(pack.get(index), Some(item.as_slice()));
        assert_eq!(pack.iter_from(index).len(), model.len() - index);
        assert_eq!(pack.iter_from(index).next(), Some(item.as_slice()));
        assert_eq!(pack.iter_range(0..index).next_back(), index.checked_sub(1).map(|i| &*model[i]));
        let every_other = (index % 2..model.len()).step_by(2);
        assert_eq!(
            pack.find(item, index % 2, 2),
            every_other.into_iter().find(|&i| model[i] == *item)
        );
        assert_eq!(pack.find_last(item, index), (0..index).rfind(|&i| model[i] == *item));
    }
    assert_eq!(pack.get(model.len()), None);
    assert_eq!(pack.find(b"nowhere", 0, 1), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn behaves_as_a_deque_and_clones_stay(ops in vec(op(), 1..80)) {
        let mut pack = Pack::new();
        let mut model = VecDeque::new();
        let mut held = Vec::new();
        for op in ops {
            if matches!(op, Op::Hold) {
                held.push((pack.clone(), model.clone()));
            }
            apply(&mut pack, &mut model, op);
            check(&pack, &model);
        }
        check_access(&pack, &model);
        for (pack, model) in &held {
            check(pack, model);
        }
    }

    #[test]
    fn one_size_of_item_through_all_widths(count in 0usize..1500, front in any::<bool>()) {
        let mut pack = Pack::new();
        let mut model = VecDeque::new();
        for number in 0..count {
            let item = format!("job:{number:09}").into_bytes();
            if front { pack.push_front(&item); } else { pack.push_back(&item); }
            if front { model.push_front(item); } else { model.push_back(item); }
        }
        check(&pack, &model);
        if 0 < count {
            assert_eq!(pack.get(count / 3), Some(&*model[count / 3]));
        }
    }
}

#[test]
fn a_pack_is_one_pointer_and_empty_owns_nothing() {
    assert_eq!(size_of::<Pack>(), size_of::<usize>());
    assert_eq!(Pack::new().heap_bytes(), 0);
    let mut pack = Pack::new();
    pack.push_back(b"a");
    pack.drop_front();
    assert_eq!(pack.heap_bytes(), 0);
}

#[test]
fn five_short_items_cost_twenty_bytes_more_than_content_and_codes() {
    let pack: Pack = [&b"value:000000001"[..]; 5].into_iter().collect();
    assert_eq!(unrounded_bytes(5 * 16), 5 * 16 + 20);
    assert_eq!(pack.heap_bytes(), 112);
}

#[test]
fn allocation_classes_are_those_of_the_allocator() {
    let cases = [
        (1, 8),
        (9, 16),
        (17, 24),
        (33, 40),
        (64, 64),
        (65, 80),
        (128, 128),
        (129, 160),
        (161, 192),
        (257, 320),
        (512, 512),
        (513, 640),
        (4097, 5120),
        (8192, 8192),
        (16_385, 20_480),
    ];
    for (asked, given) in cases {
        assert_eq!(allocation_class(asked), given, "{asked}");
    }
}

#[test]
fn a_limit_is_filled_to_the_brim_from_both_ends() {
    for front in [false, true] {
        let mut pack = Pack::new();
        let push = |pack: &mut Pack| {
            if front {
                pack.push_front_within(b"job:000000001", 8192, Growth::Double)
            } else {
                pack.push_back_within(b"job:000000001", 8192, Growth::Double)
            }
        };
        while push(&mut pack) {}
        let unused = (8192 - PREFIX - BOUNDS_OF_SMALL) - pack.len() * 14;
        assert!(unused < if front { 8192 / 64 } else { 14 }, "{unused}");
        assert_eq!(pack.heap_bytes(), 8192);
    }
}

#[test]
fn a_queue_moves_its_items_rarely() {
    let mut pack = Pack::new();
    for _ in 0..40 {
        pack.push_back(b"job:000000001");
    }
    let mut moved = 0;
    for _ in 0..1000 {
        pack.drop_front();
        let data = pack.first().map(<[u8]>::as_ptr);
        pack.push_back(b"job:000000001");
        moved += usize::from(pack.first().map(<[u8]>::as_ptr) != data);
    }
    assert!(moved <= 500, "{moved}");
}

#[test]
fn an_emptied_pack_gives_memory_back() {
    let mut pack = Pack::new();
    for _ in 0..1000 {
        pack.push_back(b"job:000000001");
    }
    pack.remove_range(5..1000);
    assert!(pack.heap_bytes() <= 128);
}

#[test]
fn a_full_queue_asks_for_another_chunk_rather_than_moving_always() {
    let mut pack = Pack::new();
    while pack.push_back_within(b"job:000000001", 8192, Growth::Double) {}
    pack.drop_front();
    assert!(!pack.push_back_within(b"job:000000001", 8192, Growth::Double));
    pack.remove_range(0..20);
    assert!(pack.push_back_within(b"job:000000001", 8192, Growth::Double));
}

#[test]
fn copying_a_shared_block_does_not_enlarge_it() {
    let mut pack = Pack::new();
    while pack.push_back_within(b"job:000000001", 8192, Growth::Double) {}
    let held = pack.clone();
    pack.replace(100, b"job:000000002");
    assert_eq!(pack.heap_bytes(), 8192);
    assert_ne!(pack, held);
}
