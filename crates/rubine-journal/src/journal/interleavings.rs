//! The journal under shuttle's scheduler: `RUSTFLAGS="--cfg shuttle" cargo test -p rubine-journal`.
//! A lost wake shows as a deadlock, since time does not pass there.

use std::time::Duration;

use shuttle::thread;

use super::*;
use crate::{Park, Progress};

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
