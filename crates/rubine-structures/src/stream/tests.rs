//! The stream against a model from the standard library.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    Block, BlockLimits, Direction, Exactness, Group, Parts, Stream, StreamCursor, StreamId, Trim,
};

type Fields = Vec<Vec<u8>>;

/// What a stream holds, and what is known of its past.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: BTreeMap<StreamId, Fields>,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
}

#[derive(Clone, Debug)]
enum Step {
    /// So many entries, so far apart.
    Append(u64, u64, usize, Fields),
    Remove(usize),
    RemoveRun(usize, usize),
    MaxLen(usize),
    MinId(usize, u64),
    MaxLenOfBlocks(usize, u64),
    Clone,
}

const LIMITS: BlockLimits = BlockLimits { block_bytes: 300, block_entries: 10 };

fn fields() -> impl Strategy<Value = Fields> {
    let item = prop_oneof![
        8 => "[ab]{0,3}".prop_map(String::into_bytes),
        4 => (-200_000..200_000_i64).prop_map(|it| it.to_string().into_bytes()),
        1 => (0..400_usize).prop_map(|len| vec![b'x'; len]),
    ];
    prop_oneof![
        3 => item.clone().prop_map(|value| vec![b"f".to_vec(), value]),
        2 => prop::collection::vec(item, 1..5)
            .prop_map(|items| items.into_iter().flat_map(|it| [it.clone(), it]).collect()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0..3_u64, 0..3_u64, 1..40_usize, fields())
            .prop_map(|(ms, seq, count, fields)| Step::Append(ms, seq, count, fields)),
        10 => any::<usize>().prop_map(Step::Remove),
        2 => (any::<usize>(), 0..60_usize).prop_map(|(at, len)| Step::RemoveRun(at, len)),
        1 => (0..500_usize).prop_map(Step::MaxLen),
        1 => (any::<usize>(), 0..2_u64).prop_map(|(at, by)| Step::MinId(at, by)),
        1 => (0..500_usize, 0..100_u64).prop_map(|(len, max)| Step::MaxLenOfBlocks(len, max)),
        4 => Just(Step::Clone),
    ];
    prop::collection::vec(step, 0..40)
}

impl Model {
    fn nth(&self, index: usize) -> Option<StreamId> {
        let index = index.checked_rem(self.entries.len())?;
        self.entries.keys().nth(index).copied()
    }

    fn remove(&mut self, stream: &mut Stream, id: StreamId) {
        assert_eq!(stream.remove(id), self.entries.remove(&id).is_some());
        self.max_deleted_id = self.max_deleted_id.max(id);
    }

    /// Removes what the stream says that it has removed.
    fn trim(&mut self, count: u64) {
        for _ in 0..count {
            self.entries.pop_first();
        }
    }
}

fn apply(stream: &mut Stream, model: &mut Model, step: &Step) {
    match step {
        Step::Append(ms, seq, count, fields) => {
            for _ in 0..*count {
                let last = model.last_id;
                let seq = if *ms == 0 { last.seq + seq + 1 } else { *seq };
                let id = StreamId::new(last.ms + ms, seq);
                stream.append(id, fields.iter().map(Vec::as_slice), LIMITS);
                model.entries.insert(id, fields.clone());
                model.last_id = id;
                model.entries_added += 1;
            }
        }
        Step::Remove(at) => {
            if let Some(id) = model.nth(*at) {
                model.remove(stream, id);
                assert!(!stream.remove(id));
            }
        }
        Step::RemoveRun(at, len) => {
            let Some(start) = model.nth(*at) else { return };
            let ids: Vec<_> = model.entries.range(start..).take(*len).map(|it| *it.0).collect();
            ids.into_iter().for_each(|id| model.remove(stream, id));
        }
        Step::MaxLen(max) => {
            let expected = model.entries.len().saturating_sub(*max) as u64;
            let removed = stream.trim(Trim::MaxLen(*max as u64), Exactness::Exact);
            assert_eq!(removed, expected);
            model.trim(removed);
        }
        Step::MinId(at, by) => {
            let id = model.nth(*at).unwrap_or_default();
            let id = StreamId::new(id.ms + by, id.seq);
            let expected = model.entries.range(..id).count() as u64;
            assert_eq!(stream.clone().trim(Trim::MinId(id), Exactness::Exact), expected);
            let removed = stream.trim(Trim::MinId(id), Exactness::Blocks { count_max: u64::MAX });
            assert!(removed <= expected && expected - removed < 10);
            model.trim(removed);
        }
        Step::MaxLenOfBlocks(max, count_max) => {
            let surplus = model.entries.len().saturating_sub(*max) as u64;
            let exactness = Exactness::Blocks { count_max: *count_max };
            let removed = stream.trim(Trim::MaxLen(*max as u64), exactness);
            assert!(removed <= surplus.min(*count_max));
            assert!(surplus.min(*count_max) < removed + 10);
            model.trim(removed);
        }
        Step::Clone => {}
    }
}

type Shown = (StreamId, Fields);

fn shown(entry: &super::Entry<'_>) -> Shown {
    let fields = entry.fields().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]);
    assert_eq!(entry.fields().len(), entry.field_count());
    (entry.id, fields.collect())
}

fn check(stream: &Stream, model: &Model) {
    let expected: Vec<Shown> = model.entries.iter().map(|it| (*it.0, it.1.clone())).collect();
    assert_eq!(stream.len(), expected.len() as u64);
    assert_eq!(stream.last_id(), model.last_id);
    assert_eq!(stream.max_deleted_id(), model.max_deleted_id);
    assert_eq!(stream.entries_added(), model.entries_added);
    let first = expected.first().map(|it| it.0).unwrap_or_default();
    assert_eq!(stream.first_id(), first);
    assert_eq!(stream.last_entry().map(|it| it.id), expected.last().map(|it| it.0));
    let probes = [StreamId::MIN, first, model.last_id, StreamId::MAX];
    let middle = expected.get(expected.len() / 2).map(|it| it.0).unwrap_or_default();
    for start in probes.into_iter().chain([middle, StreamId::new(middle.ms, middle.seq + 1)]) {
        for end in [middle, StreamId::MAX] {
            let mut wanted: Vec<_> =
                expected.iter().filter(|it| start <= it.0 && it.0 <= end).cloned().collect();
            assert_eq!(stream.count_between(start, end), wanted.len() as u64);
            let range = stream.range(start, end, Direction::Ascending);
            assert_eq!(range.map(|it| shown(&it)).collect::<Vec<_>>(), wanted);
            wanted.reverse();
            let range = stream.range(start, end, Direction::Descending);
            assert_eq!(range.map(|it| shown(&it)).collect::<Vec<_>>(), wanted);
        }
        assert_eq!(stream.contains(start), model.entries.contains_key(&start));
    }
    for block in stream.blocks() {
        assert!(block.entries().map(|it| it.id).eq(reversed_ids(block)));
        let live = block.entries().filter(|it| !it.is_deleted).count();
        assert_eq!((block.live(), block.deleted()), (live, block.entries().count() - live));
        assert!(block.live() + block.deleted() <= LIMITS.block_entries);
    }
    check_cursors(stream, &expected);
    check_parts(stream, &expected);
}

fn reversed_ids(block: &Block) -> Vec<StreamId> {
    let mut ids: Vec<_> = block.entries().rev().map(|it| it.id).collect();
    ids.reverse();
    ids
}

fn check_cursors(stream: &Stream, expected: &[Shown]) {
    for (direction, count_max) in [
        (Direction::Ascending, u64::MAX),
        (Direction::Descending, u64::MAX),
        (Direction::Ascending, 7),
    ] {
        let (start, end) = (StreamId::MIN, StreamId::MAX);
        let mut cursor = StreamCursor::new(stream, start, end, direction, count_max);
        let mut seen = Vec::new();
        while 0 < cursor.remaining() {
            cursor.next_slice(5, 100, |it| seen.push(shown(it)));
        }
        let mut wanted = expected.to_vec();
        if direction == Direction::Descending {
            wanted.reverse();
        }
        wanted.truncate(count_max as usize);
        assert_eq!(seen, wanted);
    }
}

/// Takes a stream apart and puts it together again, as a file would.
fn check_parts(stream: &Stream, expected: &[Shown]) {
    let blocks = stream.blocks().map(|block| {
        let names: Vec<_> = block.names().collect();
        let mut copy = Block::with_names(block.id(), names.into_iter());
        for entry in block.entries() {
            let items: Vec<&[u8]> = entry.fields().flat_map(|it| [it.0, it.1]).collect();
            copy.push(entry.id, items.into_iter());
            if entry.is_deleted {
                assert!(copy.delete(entry.id));
            }
        }
        copy
    });
    let parts = Parts {
        blocks: blocks.collect(),
        first_id: stream.first_id(),
        last_id: stream.last_id(),
        ..Parts::default()
    };
    let copy = Stream::from_parts(parts).expect("the blocks are in order");
    let range = copy.range(StreamId::MIN, StreamId::MAX, Direction::Ascending);
    assert_eq!(range.map(|it| shown(&it)).collect::<Vec<_>>(), expected);
}

proptest! {
    #[test]
    fn behaves_like_the_model(steps in steps()) {
        let (mut stream, mut model) = (Stream::new(), Model::default());
        let mut clones: Vec<(Stream, Model)> = Vec::new();
        for step in &steps {
            apply(&mut stream, &mut model, step);
            if let Step::Clone = step {
                clones.push((stream.clone(), model.clone()));
            }
        }
        check(&stream, &model);
        for (stream, model) in &clones {
            check(stream, model);
        }
    }
}

/// A consumer's name, and what is pending for it.
type GroupModel = BTreeMap<u64, (Option<u8>, i64, u64)>;

#[derive(Clone, Debug)]
enum GroupStep {
    Assign(u64, usize, Option<u8>, i64, u64),
    Acknowledge(u64, usize),
    AddConsumer(u8),
    RemoveConsumer(u8),
    PendingUntil(i64),
    Clone,
}

fn group_steps() -> impl Strategy<Value = Vec<GroupStep>> {
    let step = prop_oneof![
        20 => (0..2000_u64, 1..60_usize, prop::option::weighted(0.9, 0..5_u8), 0..9_i64, 0..9_u64)
            .prop_map(|(id, run, owner, at, n)| GroupStep::Assign(id, run, owner, at, n)),
        10 => (0..2000_u64, 1..60_usize).prop_map(|(id, run)| GroupStep::Acknowledge(id, run)),
        3 => (0..5_u8).prop_map(GroupStep::AddConsumer),
        1 => (0..5_u8).prop_map(GroupStep::RemoveConsumer),
        1 => (0..9_i64).prop_map(GroupStep::PendingUntil),
        2 => Just(GroupStep::Clone),
    ];
    prop::collection::vec(step, 0..100)
}

fn consumer(group: &mut Group, name: u8) -> super::ConsumerId {
    let found = group.find_consumer(&[name]);
    found.unwrap_or_else(|| group.add_consumer(&[name], 0))
}

fn apply_to_group(group: &mut Group, model: &mut GroupModel, step: &GroupStep) {
    match *step {
        GroupStep::Assign(first, run, owner, at, count) => {
            let id = owner.map(|it| consumer(group, it));
            for ms in first..first + run as u64 {
                group.assign(StreamId::new(ms, 0), id, at, count);
                model.insert(ms, (owner, at, count));
            }
        }
        GroupStep::Acknowledge(first, run) => {
            for ms in first..first + run as u64 {
                let was_pending = group.acknowledge(StreamId::new(ms, 0));
                assert_eq!(was_pending, model.remove(&ms).is_some());
            }
        }
        GroupStep::AddConsumer(name) => {
            consumer(group, name);
        }
        GroupStep::RemoveConsumer(name) => {
            let Some(id) = group.find_consumer(&[name]) else { return };
            let before = model.len();
            model.retain(|_, it| it.0 != Some(name));
            assert_eq!(group.remove_consumer(id), before - model.len());
        }
        GroupStep::PendingUntil(time) => {
            let due = model.iter().filter(|it| it.1.1 <= time);
            let mut due: Vec<_> = due.map(|(id, it)| (it.1, *id)).collect();
            due.sort_unstable();
            assert!(group.pending_until(time).map(|it| it.0.ms).eq(due.into_iter().map(|it| it.1)));
        }
        GroupStep::Clone => {}
    }
}

fn check_group(group: &Group, model: &GroupModel) {
    group.check();
    let shown = group.pending_from(StreamId::MIN).map(|(id, it)| {
        let owner = it.owner().map(|it| group.consumer(it).name()[0]);
        (id.ms, (owner, it.delivered_at, it.delivery_count))
    });
    assert!(shown.eq(model.iter().map(|it| (*it.0, *it.1))));
    for (_, consumer) in group.consumers() {
        let name = consumer.name()[0];
        let own = model.iter().filter(|it| it.1.0 == Some(name)).map(|it| *it.0);
        assert!(consumer.pending_from(StreamId::MIN).map(|it| it.ms).eq(own));
    }
}

proptest! {
    #[test]
    fn groups_behave_like_the_model(steps in group_steps()) {
        let (mut group, mut model) = (Group::default(), GroupModel::new());
        let mut clones: Vec<(Group, GroupModel)> = Vec::new();
        for step in &steps {
            apply_to_group(&mut group, &mut model, step);
            if let GroupStep::Clone = step {
                clones.push((group.clone(), model.clone()));
            }
        }
        check_group(&group, &model);
        for (group, model) in &clones {
            check_group(group, model);
        }
    }
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    let block = |ms: u64, last: u64| {
        let mut block = Block::new(StreamId::new(ms, 0), [b"f".as_slice(), b"v"].into_iter());
        block.push(StreamId::new(last, 0), [b"f".as_slice(), b"v"].into_iter());
        block
    };
    let of = |blocks: Vec<Block>, last: u64| {
        let last_id = StreamId::new(last, 0);
        Stream::from_parts(Parts { blocks, last_id, ..Parts::default() })
    };
    assert!(of(vec![block(1, 3), block(4, 6)], 6).is_some());
    assert!(of(vec![block(1, 4), block(4, 6)], 6).is_none());
    assert!(of(vec![block(4, 6), block(1, 3)], 6).is_none());
    assert!(of(vec![block(1, 3), block(4, 6)], 5).is_none());
    let groups = vec![(b"g".to_vec(), Group::default()), (b"g".to_vec(), Group::default())];
    assert!(Stream::from_parts(Parts { groups, ..Parts::default() }).is_none());
}

/// An entry takes no more than in Valkey, which was measured at 15.9 bytes.
#[test]
fn small_entries_are_compact() {
    let mut stream = Stream::new();
    let limits = BlockLimits { block_bytes: 4096, block_entries: 100 };
    let count = 100_000;
    for number in 0..count {
        let id = StreamId::new(1_800_000_000_000 + number / 100, number % 100);
        let value = number.to_string();
        stream.append(id, [b"f".as_slice(), value.as_bytes()].into_iter(), limits);
    }
    let per_entry = stream.heap_bytes() as f64 / count as f64;
    assert!(per_entry < 15.9, "{per_entry}");
}

/// XSETID may set the last identifier to one below that of a deleted entry, whose mark is still in its block.
#[test]
fn entries_may_come_below_deleted_ones() {
    let limits = BlockLimits { block_bytes: 4096, block_entries: 100 };
    let fields = || [b"f".as_slice(), b"v"].into_iter();
    let id = |ms| StreamId::new(ms, 0);
    let mut stream = Stream::new();
    stream.append(id(1), fields(), limits);
    stream.append(id(9), fields(), limits);
    stream.remove(id(9));
    stream.set_last_id(id(2));
    for ms in [3, 4, 9, 10] {
        stream.append(id(ms), fields(), limits);
    }
    stream.remove(id(4));
    let range = |start, end, direction| -> Vec<u64> {
        stream.range(id(start), id(end), direction).map(|it| it.id.ms).collect()
    };
    assert_eq!(range(0, 99, Direction::Ascending), [1, 3, 9, 10]);
    assert_eq!(range(0, 99, Direction::Descending), [10, 9, 3, 1]);
    assert_eq!(range(2, 9, Direction::Ascending), [3, 9]);
    assert_eq!(range(0, 5, Direction::Descending), [3, 1]);
    assert_eq!(stream.count_between(id(2), id(9)), 2);
    assert!(stream.contains(id(9)) && !stream.contains(id(4)));
    let entries: Vec<_> = stream.blocks().flat_map(Block::entries).map(|it| it.id.ms).collect();
    assert_eq!(entries, [1, 3, 4, 9, 10]);
    let parts = Parts {
        blocks: stream.blocks().cloned().collect(),
        last_id: stream.last_id(),
        ..Parts::default()
    };
    assert_eq!(Stream::from_parts(parts).map(|it| it.len()), Some(4));
    assert_eq!(stream.trim(Trim::MinId(id(9)), Exactness::Exact), 2);
    assert_eq!(stream.first_id(), id(9));
}

#[test]
fn the_number_of_entries_ever_may_have_come_from_anywhere() {
    let mut stream = Stream::new();
    stream.set_entries_added(u64::MAX);
    stream.append(StreamId::new(1, 0), [b"f".as_slice(), b"v"].into_iter(), LIMITS);
    assert_eq!((stream.len(), stream.entries_added()), (1, 0));
    assert_eq!(stream.entries_until(StreamId::new(1, 0)), Some(0));
}
