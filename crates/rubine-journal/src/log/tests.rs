//! The log against a plain vector: whatever is pushed, read and trimmed, a reader sees those bytes.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::effects::Effects;

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    PushOwned(usize),
    Read { reader: usize, window: u64, bytes_max: usize },
    SetBacklog(u64),
    Second(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..100_usize, 0..3 * COPIED_BYTES_MAX, 0..2 * CHUNK_BYTES];
    let window = prop_oneof![3 => Just(u64::MAX), 1 => 0..200_000_u64];
    let bytes_max = prop_oneof![0..50_usize, 0..20_000_usize, Just(usize::MAX)];
    prop_oneof![
        4 => size.clone().prop_map(Step::Push),
        1 => size.prop_map(Step::PushOwned),
        4 => (0..3_usize, window, bytes_max)
            .prop_map(|(reader, window, bytes_max)| Step::Read { reader, window, bytes_max }),
        1 => (0..500_000_u64).prop_map(Step::SetBacklog),
        1 => (0..4_u64).prop_map(Step::Second),
    ]
}

/// Everything that was ever pushed, with the second of each byte.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    seconds: Vec<u64>,
    second: u64,
}

impl Model {
    fn next(&mut self, size: usize) -> Vec<u8> {
        let start = self.bytes.len();
        let bytes = (start..start + size).map(|at| (at * 31 + at / 251) as u8).collect::<Vec<_>>();
        self.bytes.extend_from_slice(&bytes);
        self.seconds.resize(self.bytes.len(), self.second);
        bytes
    }
}

const HOLDS: [Hold; 3] = [Hold::Everything, Hold::UpTo(300_000), Hold::UpTo(0)];

fn entry(id: usize) -> ReaderEntry {
    ReaderEntry {
        id: id as u64,
        side: Side::Disk,
        position: 0,
        hold: HOLDS[id],
        is_cut: false,
        sleeper: None,
    }
}

fn read(log: &mut Log, model: &Model, reader: usize, window: u64, bytes_max: usize) {
    let start = log.kept.readers[reader].position;
    if start < log.oldest() {
        assert_ne!(reader, 0, "whoever holds everything never loses its place");
        log.kept.readers[reader].position = log.oldest();
        return;
    }
    let mut slices = Vec::new();
    let end = log.read(Side::Disk, start, start.saturating_add(window), bytes_max, &mut slices);
    let mut position = start;
    for slice in &slices {
        assert_eq!(slice.offset, position);
        let range = position as usize..slice.end() as usize;
        assert_eq!(slice[..], model.bytes[range.clone()]);
        assert!(model.seconds[range].iter().all(|&second| second == slice.second));
        position = slice.end();
    }
    assert_eq!(position, end);
    let may_read = 0 < window && 0 < bytes_max && start < log.end();
    assert_eq!(start < end, may_read);
    assert!(end - start <= window.min(bytes_max as u64));
    log.kept.readers[reader].position = end;
    log.trim();
}

fn check_retention(log: &Log, model: &Model, backlog_bytes_max: u64) {
    let end = model.bytes.len() as u64;
    assert_eq!(log.end(), end);
    let held_by_first = end - log.kept.readers[0].position;
    assert!(log.oldest() <= log.kept.readers[0].position);
    let second_lag = end - log.kept.readers[1].position;
    // That a reader passed its limit is noticed when the next chunk begins.
    let noticed_at = 300_000 + CHUNK_BYTES as u64;
    let held_by_second = if second_lag <= noticed_at { second_lag } else { 0 };
    let wanted = backlog_bytes_max.max(held_by_first).max(held_by_second);
    // A piece goes only as a whole, and trimming happens when a chunk is full.
    let slack = 2 * 2 * CHUNK_BYTES as u64;
    assert!(end - log.oldest() <= wanted + slack, "{} kept, {wanted} wanted", end - log.oldest());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn readers_see_what_was_pushed(steps in proptest::collection::vec(step(), 1..60)) {
        let mut backlog_bytes_max = 100_000;
        let mut log = Log::new(0, backlog_bytes_max);
        log.kept.readers.extend((0..3).map(entry));
        let mut model = Model::default();
        log.mark(0);
        for step in steps {
            match step {
                Step::Push(size) => log.push(&model.next(size)),
                Step::PushOwned(size) => log.push_owned(Bytes::from(model.next(size))),
                Step::Read { reader, window, bytes_max } => {
                    read(&mut log, &model, reader, window, bytes_max);
                }
                Step::SetBacklog(bytes) => {
                    // Growing the backlog does not bring back what has gone.
                    backlog_bytes_max = bytes;
                    log.set_backlog(bytes);
                }
                Step::Second(advance) => {
                    model.second += advance;
                    log.mark(model.second);
                    log.mark(model.second.saturating_sub(2));
                }
            }
            check_retention(&log, &model, backlog_bytes_max);
        }
    }
}

#[test]
fn frequent_readers_do_not_fragment_the_log() {
    let mut log = Log::new(0, u64::MAX);
    let mut position = 0;
    for _ in 0..20_000 {
        log.push(b"*1\r\n$4\r\nPING\r\n");
        position = log.read(Side::Disk, position, Offset::MAX, usize::MAX, &mut Vec::new());
    }
    assert!(
        log.kept.pieces.len() <= 20_000 * 14 / COPIED_BYTES_MAX + 1,
        "{}",
        log.kept.pieces.len()
    );
}

#[test]
fn seconds_change_between_units_and_survive_trimming() {
    let mut log = Log::new(0, 1);
    let mut effects = Effects::new();
    let value = Arc::new(vec![b'v'; CHUNK_BYTES]);
    for second in [10, 10, 9, 12] {
        effects.begin(0, 2).argument(b"ECHO").shared(&value);
        effects.append_to(None, &mut log, second);
        effects.clear();
    }
    assert_eq!(log.kept.marks.len(), 1, "the seconds of what has gone are forgotten");
    let mut slices = Vec::new();
    log.read(Side::Disk, log.oldest(), Offset::MAX, usize::MAX, &mut slices);
    assert!(!slices.is_empty() && slices.iter().all(|slice| slice.second == 12));
}

#[test]
fn remembered_seconds_are_bounded() {
    let mut log = Log::new(0, u64::MAX);
    for second in 1..=MARKS_MAX as u64 + 5 {
        log.mark(second);
        log.push(b"x");
    }
    assert_eq!(log.kept.marks.len(), MARKS_MAX);
    let mut slices = Vec::new();
    log.read(Side::Disk, 0, Offset::MAX, 7, &mut slices);
    let seconds: Vec<_> = slices.iter().map(|slice| (slice.offset, slice.second)).collect();
    assert_eq!(seconds, [(0, 0), (5, 6), (6, 7)]);
}
