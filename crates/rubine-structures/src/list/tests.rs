//! The list against a deque of byte strings, its encodings against Valkey's rules, and its sizes.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Model = VecDeque<Vec<u8>>;

#[derive(Clone, Debug)]
enum Op {
    Push(End, Vec<u8>),
    PushMany(End, usize, usize),
    Pop(End),
    PopMany(End, usize),
    Insert(usize, Vec<u8>),
    Set(usize, Vec<u8>),
    Remove(usize),
    RemoveRange(usize, usize),
    RemoveMatching(Vec<u8>, usize, End),
    Hold,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Front), Just(End::Back)]
}

fn item() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u32..200).prop_map(|number| number.to_string().into_bytes()),
        4 => vec(b'a'..b'c', 0..4),
        2 => vec(any::<u8>(), 200..600),
        1 => (0u8..4).prop_map(|byte| vec![byte; 5000]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (end(), item()).prop_map(|(end, item)| Op::Push(end, item)),
        2 => (end(), 0usize..300, 0usize..40)
            .prop_map(|(end, count, len)| Op::PushMany(end, count, len)),
        4 => end().prop_map(Op::Pop),
        1 => (end(), 0usize..300).prop_map(|(end, count)| Op::PopMany(end, count)),
        6 => (any::<usize>(), item()).prop_map(|(at, item)| Op::Insert(at, item)),
        6 => (any::<usize>(), item()).prop_map(|(at, item)| Op::Set(at, item)),
        4 => any::<usize>().prop_map(Op::Remove),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(from, len)| Op::RemoveRange(from, len)),
        2 => (item(), 1usize..50, end())
            .prop_map(|(item, count, end)| Op::RemoveMatching(item, count, end)),
        2 => Just(Op::Hold),
    ]
}

fn push(model: &mut Model, end: End, item: Vec<u8>) {
    match end {
        End::Front => model.push_front(item),
        End::Back => model.push_back(item),
    }
}

fn apply(list: &mut List, model: &mut Model, op: Op, limit: ChunkLimit) {
    match op {
        Op::Push(end, item) => {
            list.push(end, &item, limit);
            push(model, end, item);
        }
        Op::PushMany(end, count, len) => {
            let items: Vec<_> =
                (0..count).map(|number| format!("{number:len$}").into_bytes()).collect();
            list.push_all(end, items.iter().map(Vec::as_slice), limit);
            for item in items {
                push(model, end, item);
            }
        }
        Op::Pop(end) => pop(list, model, end, limit),
        Op::PopMany(end, count) => (0..count).for_each(|_| pop(list, model, end, limit)),
        Op::Insert(at, item) => {
            let at = at % (model.len() + 1);
            list.insert(at, &item, limit);
            model.insert(at, item);
        }
        Op::Set(at, item) if !model.is_empty() => {
            let at = at % model.len();
            list.set(at, &item, limit);
            model[at] = item;
        }
        Op::Remove(at) if !model.is_empty() => {
            let at = at % model.len();
            list.remove(at, limit);
            model.remove(at);
        }
        Op::RemoveRange(from, len) => {
            let from = from % (model.len() + 1);
            let to = from + len % (model.len() + 1 - from);
            list.remove_range(from..to, limit);
            model.drain(from..to);
        }
        Op::RemoveMatching(item, count, end) => {
            let removed = list.remove_matching(&item, count, end, limit);
            let mut found: Vec<_> = (0..model.len()).filter(|&i| model[i] == item).collect();
            if end == End::Back {
                found.reverse();
            }
            found.truncate(count);
            assert_eq!(removed, found.len());
            let mut index = 0;
            model.retain(|_| (!found.contains(&index), index += 1).0);
        }
        Op::Set(..) | Op::Remove(_) | Op::Hold => {}
    }
}

fn pop(list: &mut List, model: &mut Model, end: End, limit: ChunkLimit) {
    let expected = match end {
        End::Front => model.pop_front(),
        End::Back => model.pop_back(),
    };
    assert_eq!(list.item_at(end), expected.as_deref());
    assert_eq!(list.drop_item(end, limit), expected.is_some());
}

fn check(list: &List, model: &Model) {
    assert_eq!(list.len(), model.len());
    match &list.form {
        Form::Small { pack, listpack_bytes: bytes } => {
            assert_eq!(*bytes as usize, listpack_bytes(pack));
        }
        Form::Large(tree) => tree.check(),
    }
    assert!(list.iter().eq(model.iter().map(Vec::as_slice)));
    assert!(list.iter_back_from(list.len()).eq(model.iter().rev().map(Vec::as_slice)));
}

fn check_access(list: &List, model: &Model) {
    for (index, item) in model.iter().enumerate().step_by(7) {
        assert_eq!(list.get(index), Some(item.as_slice()));
        assert_eq!(list.iter_from(index).next(), Some(item.as_slice()));
        assert_eq!(list.iter_back_from(index + 1).next(), Some(item.as_slice()));
        let range = index / 2..model.len() - index / 3;
        assert_eq!(
            list.position(item, range.clone(), End::Front),
            range.clone().find(|&i| model[i] == *item)
        );
        assert_eq!(
            list.position(item, range.clone(), End::Back),
            range.clone().rfind(|&i| model[i] == *item)
        );
    }
    assert_eq!(list.get(model.len()), None);
    let mut cursor = ListCursor::new(list, 3..usize::MAX, End::Front);
    let mut read = Vec::new();
    while cursor.next_slice(10, 1000, |item| read.push(item.to_vec())) {}
    assert!(read.iter().eq(model.iter().skip(3)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn behaves_as_a_deque_and_clones_stay(
        ops in vec(op(), 1..60),
        directive in prop_oneof![Just(-1i64), Just(-2), Just(1), Just(4), Just(20)],
    ) {
        let limit = ChunkLimit::from_directive(directive);
        let mut list = List::new();
        let mut model = Model::new();
        let mut held = Vec::new();
        for op in ops {
            if matches!(op, Op::Hold) {
                held.push((list.clone(), model.clone()));
            }
            apply(&mut list, &mut model, op, limit);
            check(&list, &model);
        }
        check_access(&list, &model);
        for (list, model) in &held {
            check(list, model);
        }
    }
}

fn item_of(number: usize) -> Vec<u8> {
    format!("job:{number:09}").into_bytes()
}

fn numbered(count: usize, end: End, limit: ChunkLimit) -> List {
    let mut list = List::new();
    for number in 0..count {
        list.push(end, &item_of(number), limit);
    }
    list
}

#[test]
fn a_list_can_be_dropped_by_another_thread() {
    let list = numbered(2000, End::Back, ChunkLimit::default());
    let held = list.clone();
    let read = std::thread::spawn(move || list.get(1999).map(<[u8]>::to_vec)).join();
    assert_eq!(read.expect("it does not panic").as_deref(), held.get(1999));
}

#[test]
fn a_list_is_two_words() {
    assert_eq!(size_of::<List>(), 16);
}

#[test]
fn a_million_short_items_cost_little_more_than_a_byte_each() {
    const COUNT: usize = 200_000;
    for end in [End::Front, End::Back] {
        let list = numbered(COUNT, end, ChunkLimit::default());
        let per_item = list.heap_bytes() as f64 / COUNT as f64;
        assert!((14.0..14.25).contains(&per_item), "{per_item}");
        assert!((300..400).contains(&list.drop_cost()), "{}", list.drop_cost());
    }
}

#[test]
fn deep_trees_keep_their_counts() {
    let limit = ChunkLimit::from_directive(1);
    let mut list = numbered(5000, End::Back, limit);
    let Form::Large(tree) = &list.form else { panic!("5000 chunks are a tree") };
    assert_eq!(tree.height(), 2);
    let held = list.clone();
    for number in 0..5000 {
        assert_eq!(list.get(number), Some(&*item_of(number)));
    }
    list.remove_range(10..4990, limit);
    assert_eq!(list.len(), 20);
    assert_eq!(list.get(10), Some(&*item_of(4990)));
    assert_eq!(held.len(), 5000);
    assert_eq!(held.get(2500), Some(&*item_of(2500)));
    while list.drop_item(End::Front, limit) {}
    assert!(list.is_empty());
}

#[test]
fn removing_most_of_many_chunks_joins_the_rest() {
    let limit = ChunkLimit::default();
    let mut list = List::new();
    for number in 0..100_000 {
        let keep = number % 1000 == 0;
        list.push(End::Back, if keep { b"kept" } else { b"gone" }, limit);
    }
    let chunks = list.drop_cost();
    assert_eq!(list.remove_matching(b"gone", usize::MAX, End::Back, limit), 99_900);
    assert_eq!(list.len(), 100);
    assert!(list.drop_cost() * 4 < chunks, "{} of {chunks}", list.drop_cost());
}

/// What Valkey 9.1 answers to OBJECT ENCODING after the same commands.
#[test]
fn encodings_change_where_valkey_changes_them() {
    use ListEncoding::{Listpack, Quicklist};
    let of = |items: &[&[u8]], limit| {
        let mut list = List::new();
        list.push_all(End::Back, items.iter().copied(), limit);
        list
    };
    let three = ChunkLimit::from_directive(3);
    let mut list = of(&[b"a", b"b", b"c"], three);
    assert_eq!(list.encoding(), Listpack);
    list.push(End::Back, b"d", three);
    assert_eq!(list.encoding(), Quicklist);
    list.drop_item(End::Back, three);
    assert_eq!((list.len(), list.encoding()), (3, Quicklist));
    list.drop_item(End::Back, three);
    assert_eq!((list.len(), list.encoding()), (2, Quicklist));
    list.drop_item(End::Back, three);
    assert_eq!((list.len(), list.encoding()), (1, Listpack));

    let four_kilobytes = ChunkLimit::from_directive(-1);
    let large = [b'x'; 5000];
    let mut list = of(&[&large, b"a", b"b"], four_kilobytes);
    assert_eq!(list.encoding(), Quicklist);
    list.remove_range(1..3, four_kilobytes);
    assert_eq!(list.encoding(), Quicklist);
    list.set(0, b"c", four_kilobytes);
    assert_eq!(list.encoding(), Listpack);
    list.insert(0, &large, four_kilobytes);
    assert_eq!(list.encoding(), Quicklist);
    assert_eq!(list.remove_matching(&large, 1, End::Front, four_kilobytes), 1);
    assert_eq!(list.encoding(), Listpack);

    // The replaced item makes a quicklist of it, whose one chunk then goes over the limit: few items
    // in one chunk are a listpack again.
    let counted = ChunkLimit::from_directive(128);
    let medium = [b'x'; 1455];
    let mut list = of(&[&medium, &medium, &medium, &medium, &medium, b"a"], counted);
    list.set(5, &medium, counted);
    assert_eq!(list.encoding(), Listpack);

    let sixty_four = ChunkLimit::from_directive(-6);
    let mut list = of(&[&vec![b'x'; 60_000]], sixty_four);
    assert_eq!(list.encoding(), Listpack);
    list.push(End::Back, &[b'x'; 5536], sixty_four);
    assert_eq!(list.encoding(), Quicklist);
}

/// Numbers take less in a listpack than their digits, so more of them stay one.
#[test]
fn numbers_are_measured_as_numbers() {
    let limit = ChunkLimit::from_directive(-1);
    let mut list = List::new();
    let mut count = 0;
    while list.encoding() == ListEncoding::Listpack {
        list.push(End::Back, b"100", limit);
        count += 1;
    }
    // 7 bytes around, 2 for each, and the last one is judged by its three digits.
    assert_eq!(count, (4096 - 7 - 3) / 2 + 2);
}
