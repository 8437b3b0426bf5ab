//! The journal under shuttle's scheduler: `RUSTFLAGS="--cfg shuttle" cargo test -p rubine-journal`.
//! A lost wake shows as a deadlock, since time does not pass there.

use std::time::Duration;

use shuttle::thread;

use super::*;
use crate::{Hold, Park, Previous, Progress, Reader, ReplicaStart, Start};

const ITERATION_COUNT: usize = 20_000;

fn append(journal: &Journal, name: &[u8]) -> Offset {
    let mut effects = Effects::new();
    effects.command(0, &[name]);
    effects.command(0, &[name]);
    journal.append(&mut effects, 1)
}

#[test]
fn a_waiting_reader_is_always_woken() {
    shuttle::check_pct(
        || {
            let journal = Journal::new(0, 0);
            let mut reader = journal.open_reader(Start::End, Hold::Everything).unwrap();
            let end = reader.position() + 23 + 2 * (2 * 11 + 2 * 11);
            let appenders = [b"A", b"B"].map(|name| {
                let journal = Arc::clone(&journal);
                thread::spawn(move || {
                    for _ in 0..2 {
                        append(&journal, name);
                        journal.notify();
                    }
                })
            });
            let mut slices = Vec::new();
            while reader.position() < end {
                reader.wait(Duration::MAX);
                reader.read(30, &mut slices).unwrap();
            }
            for appender in appenders {
                appender.join().unwrap();
            }
            assert_eq!(journal.end(), end);
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let names: Vec<_> = bytes.iter().filter(|byte| b"AB".contains(byte)).collect();
            assert_eq!(names.len(), 8);
            assert!(names.chunks(2).all(|unit| unit[0] == unit[1]), "units stand whole");
        },
        ITERATION_COUNT,
        3,
    );
}

#[test]
fn a_reader_opened_under_the_shard_lock_misses_nothing() {
    shuttle::check_pct(
        || {
            let journal = Journal::new(0, 0);
            let shard = Arc::new(Mutex::new(0));
            let writers = [0, 1].map(|_| {
                let (journal, shard) = (Arc::clone(&journal), Arc::clone(&shard));
                thread::spawn(move || {
                    let mut value = shard.lock();
                    *value += 1;
                    if journal.is_active() {
                        append(&journal, b"I");
                    }
                })
            });
            let (mut reader, snapshot) = {
                let value = shard.lock();
                (journal.open_reader(Start::End, Hold::Everything).unwrap(), *value)
            };
            for writer in writers {
                writer.join().unwrap();
            }
            let mut slices = Vec::new();
            while reader.read(100, &mut slices).unwrap() != 0 {}
            let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
            let unit_count = 2 - snapshot;
            assert_eq!(bytes, if unit_count == 0 { 0 } else { 23 + unit_count * 2 * 11 });
        },
        ITERATION_COUNT,
        3,
    );
}

#[test]
fn a_parked_reply_is_always_released() {
    shuttle::check_pct(
        || {
            let progress = Arc::new(Progress::new(0, 10));
            let advancer = {
                let progress = Arc::clone(&progress);
                thread::spawn(move || {
                    let mut released = Vec::new();
                    progress.advance(1, &mut released);
                    progress.advance(2, &mut released);
                    released
                })
            };
            let parked: Vec<_> = [2, 1]
                .into_iter()
                .filter(|&offset| progress.park(offset, offset) == Park::Parked)
                .collect();
            let mut released = advancer.join().unwrap();
            released.sort_unstable_by(|left, right| right.cmp(left));
            assert_eq!(released, parked);
        },
        ITERATION_COUNT,
        3,
    );
}

fn id(number: u8) -> HistoryId {
    HistoryId::from_random([number; 20])
}

/// A promotion meets an append and two who ask for bytes: whoever is let in by the old name has seen nothing that was
/// written under the new one, and what is asked for together fits together.
#[test]
fn a_promotion_is_one_moment() {
    shuttle::check_pct(
        || {
            let journal = Journal::new(0, 1000);
            journal.begin_history(id(1), Origin::Here);
            let writer = {
                let journal = Arc::clone(&journal);
                thread::spawn(move || {
                    append(&journal, b"A");
                    append(&journal, b"B");
                })
            };
            let promoter = {
                let journal = Arc::clone(&journal);
                thread::spawn(move || journal.begin_history(id(2), Origin::Here).offset)
            };
            let before = journal.point();
            let old = ReplicaStart::After { id: id(1), offset: before.offset };
            let joined = journal.open_replica_reader(old, Hold::Everything);
            let began = joined.as_ref().map(|reader| *reader.began());
            let until = promoter.join().unwrap();
            writer.join().unwrap();

            let previous = Some(Previous { id: id(1), until });
            let parted = History { id: id(2), previous };
            assert_eq!(journal.point().history, parted);
            for point in [Ok(before), began].into_iter().flatten() {
                let (is_old, is_new) =
                    (point.history == History::new(id(1)), point.history == parted);
                assert!(is_old || is_new);
                assert!(
                    !is_old || point.offset <= until,
                    "nothing is old behind the end of the old"
                );
                assert!(!is_new || until <= point.offset);
            }
            assert_eq!(joined.is_ok(), before.offset <= until, "only what both have is shared");
        },
        ITERATION_COUNT,
        3,
    );
}

/// A foreign history is adopted while a replica reads and another asks: none gets a byte of one history under the name of
/// the other.
#[test]
fn an_adopted_history_shares_no_byte_with_the_old() {
    shuttle::check_pct(
        || {
            let journal = Journal::new(0, 1000);
            journal.begin_history(id(1), Origin::Here);
            append(&journal, b"A");
            let start = ReplicationOffset(0);
            let old = ReplicaStart::After { id: id(1), offset: start };
            let mut reader = journal.open_replica_reader(old, Hold::Everything).unwrap();
            let adopter = {
                let journal = Arc::clone(&journal);
                thread::spawn(move || {
                    journal.adopt_history(id(2), start);
                    journal
                        .append_master(start, b"*1\r\n$1\r\nM\r\n", Audience::Both, 0, 1)
                        .unwrap();
                })
            };
            let new = ReplicaStart::After { id: id(2), offset: start };
            let readers = [(old, b'A'), (new, b'M')];
            let mut seen = Vec::new();
            for (start, letter) in readers {
                if let Ok(mut reader) = journal.open_replica_reader(start, Hold::Everything) {
                    seen.push((read_all(&mut reader), letter));
                }
            }
            seen.push((read_all(&mut reader), b'A'));
            adopter.join().unwrap();
            for (bytes, letter) in seen {
                let mut letters = bytes.iter().filter(|byte| b"AM".contains(byte));
                assert!(letters.all(|it| *it == letter));
            }
            assert_eq!(read_all(&mut reader), b"", "it has lost its place");
        },
        ITERATION_COUNT,
        3,
    );
}

/// What a reader gets until it has lost its place or has all.
fn read_all(reader: &mut Reader) -> Vec<u8> {
    let mut slices = Vec::new();
    while matches!(reader.read(100, &mut slices), Ok(1..)) {}
    slices.iter().flat_map(|slice| slice.iter().copied()).collect()
}

/// Units for one side and for both are appended while both sides read: each gets its own, whole and in order, and
/// the replicas' offset counts what they got.
#[test]
fn each_side_gets_its_own() {
    shuttle::check_pct(
        || {
            let journal = Journal::new(0, 0);
            let mut disk = journal.open_reader(Start::End, Hold::Everything).unwrap();
            let mut replica =
                journal.open_replica_reader(ReplicaStart::End, Hold::Everything).unwrap();
            let appenders = [(Side::Disk, b"D"), (Side::Replicas, b"R")].map(|(side, name)| {
                let journal = Arc::clone(&journal);
                thread::spawn(move || {
                    let mut effects = Effects::new();
                    effects.command(0, &[name]);
                    journal.append_for(side, &mut effects, 1);
                    append(&journal, b"B");
                })
            });
            let mut seen = [read_all(&mut disk), read_all(&mut replica)];
            for appender in appenders {
                appender.join().unwrap();
            }
            seen[0].extend(read_all(&mut disk));
            seen[1].extend(read_all(&mut replica));
            let count = |bytes: &[u8], name| bytes.iter().filter(|it| **it == name).count();
            assert_eq!(
                (count(&seen[0], b'D'), count(&seen[0], b'R'), count(&seen[0], b'B')),
                (1, 0, 4)
            );
            assert_eq!(
                (count(&seen[1], b'D'), count(&seen[1], b'R'), count(&seen[1], b'B')),
                (0, 1, 4)
            );
            let end = journal.end();
            assert_eq!((disk.position(), replica.position()), (end, end));
            let counted = journal.point().offset.0 - replica.began().offset.0;
            assert_eq!(counted, seen[1].len() as u64);
        },
        ITERATION_COUNT,
        3,
    );
}
