//! The journal from outside: activation, loss of place, and appenders and readers on many threads.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Wake;
use std::time::Duration;

use super::*;
use crate::replay::{Replay, Replayed};
use crate::{Lost, Slice};

fn append(journal: &Journal, database: u32, name: &str) -> Offset {
    let mut effects = Effects::new();
    effects.command(database, &[name.as_bytes()]);
    journal.append(&mut effects, 1)
}

fn read_text(reader: &mut Reader) -> String {
    let mut slices = Vec::new();
    while reader.read(1 << 20, &mut slices).expect("the reader has its place") != 0 {}
    let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    String::from_utf8(bytes).expect("the tests write text").replace("\r\n", " ")
}

#[test]
fn is_active_while_somebody_wants_it() {
    let journal = Journal::new(100, 0);
    assert!(!journal.is_active());
    assert_eq!(append(&journal, 0, "A"), 100, "what nobody wants is not kept");

    let reader = journal.open_reader(Start::End, Hold::Everything).unwrap();
    assert!(journal.is_active());
    assert_eq!(reader.position(), 101, "what happened in between shows as a gap");
    journal.set_backlog(1000);
    drop(reader);
    assert!(journal.is_active());
    assert!(append(&journal, 0, "A") > 101);
    let end = journal.end();
    journal.set_backlog(0);
    assert!(!journal.is_active());
    assert_eq!(journal.status().buffered_bytes(), 0);

    let refused = journal.open_reader(Start::At(end), Hold::Everything).err();
    assert_eq!(refused, Some(OutOfRange { oldest: end, end }));
    journal.set_backlog(1000);
    let refused = journal.open_reader(Start::At(end), Hold::Everything).err();
    assert_eq!(refused, Some(OutOfRange { oldest: end + 1, end: end + 1 }));
}

#[test]
fn a_journal_born_with_a_backlog_continues_a_history() {
    let journal = Journal::new(100, 1000);
    let mut reader = journal.open_reader(Start::At(100), Hold::UpTo(0)).unwrap();
    append(&journal, 0, "A");
    assert_eq!(read_text(&mut reader), "*2 $6 SELECT $1 0 *1 $1 A ");
}

#[test]
fn select_is_written_where_a_reader_needs_it() {
    let journal = Journal::new(0, 1000);
    let mut first = journal.open_reader(Start::End, Hold::Everything).unwrap();
    append(&journal, 0, "A");
    append(&journal, 0, "B");
    append(&journal, 5, "C");
    let mut second = journal.open_reader(Start::End, Hold::Everything).unwrap();
    assert_eq!(second.database_at_start(), Some(5));
    append(&journal, 5, "D");
    append(&journal, 5, "E");
    let tail = "*2 $6 SELECT $1 5 *1 $1 D *1 $1 E ";
    assert_eq!(read_text(&mut second), tail);
    assert_eq!(
        read_text(&mut first),
        format!("*2 $6 SELECT $1 0 *1 $1 A *1 $1 B *2 $6 SELECT $1 5 *1 $1 C {tail}")
    );
}

#[test]
fn a_masters_bytes_are_kept_word_for_word() {
    let journal = Journal::new(0, 1000);
    journal.restart(5000);
    assert_eq!(journal.append_verbatim(b"*1\r\n$4\r\nPING\r\n", 3, 1), 5014);
    let mut reader = journal.open_reader(Start::End, Hold::Everything).unwrap();
    assert_eq!(reader.database_at_start(), Some(3));
    journal.append_verbatim(b"*1\r\n$1\r\nA\r\n", 3, 1);
    assert_eq!(read_text(&mut reader), "*1 $1 A ");
}

#[test]
fn a_slow_reader_is_lost_and_a_holding_one_is_not() {
    let journal = Journal::new(0, 1000);
    let mut slow = journal.open_reader(Start::End, Hold::UpTo(1 << 20)).unwrap();
    let mut holding = journal.open_reader(Start::End, Hold::Everything).unwrap();
    append(&journal, 0, "first");
    let name = "x".repeat(10_000);
    for _ in 0..300 {
        append(&journal, 0, &name);
        journal.notify();
    }
    assert!(3_000_000 < journal.status().buffered_bytes());
    assert_eq!(journal.status().lag_bytes_max, holding.lag_bytes());
    assert_eq!(slow.read(1, &mut Vec::new()), Ok(1), "kept for the other");

    assert!(read_text(&mut holding).starts_with("*2 $6 SELECT $1 0 *1 $5 first *1"));
    let lost = slow.read(1, &mut Vec::new()).expect_err("nobody holds it for the slow one");
    assert_eq!((lost.position, lost.oldest), (1, journal.status().oldest));
    assert!(journal.status().buffered_bytes() <= 600_000);
}

#[test]
fn a_new_history_cuts_readers_off() {
    let journal = Journal::new(0, 1000);
    let mut reader = journal.open_reader(Start::End, Hold::Everything).unwrap();
    append(&journal, 0, "A");
    journal.restart(0);
    append(&journal, 0, "A");
    assert_eq!(reader.read(100, &mut Vec::new()), Err(Lost { position: 0, oldest: 0 }));
    let mut reader = journal.open_reader(Start::At(0), Hold::Everything).unwrap();
    assert_eq!(read_text(&mut reader), "*2 $6 SELECT $1 0 *1 $1 A ");
}

#[test]
fn a_file_can_end_where_another_begins() {
    let journal = Journal::new(0, 1000);
    let mut reader = journal.open_reader(Start::End, Hold::Everything).unwrap();
    let boundary = append(&journal, 0, "A");
    append(&journal, 0, "B");
    let mut slices = Vec::new();
    assert_eq!(reader.read_until(boundary, 1000, &mut slices), Ok(boundary as usize));
    assert_eq!(reader.read_until(boundary, 1000, &mut slices), Ok(0));
    assert_eq!(read_text(&mut reader), "*1 $1 B ");
}

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_reader_is_woken_once_by_notify() {
    let journal = Journal::new(0, 0);
    let reader = journal.open_reader(Start::End, Hold::Everything).unwrap();
    let counter = Arc::new(CountingWaker::default());
    let waker = Waker::from(Arc::clone(&counter));
    let woken = || counter.0.load(SeqCst);

    assert!(reader.arm(reader.position() + 40, &waker));
    append(&journal, 0, "A");
    journal.notify();
    assert_eq!(woken(), 0, "not that far yet");
    append(&journal, 0, "B");
    append(&journal, 0, "C");
    assert_eq!(woken(), 0, "an append wakes nobody");
    journal.notify();
    journal.notify();
    assert_eq!(woken(), 1);
    assert!(!reader.arm(reader.position() + 1, &waker), "there is something to read");
    assert!(reader.arm(journal.end() + 1, &waker));
    journal.wake_all();
    assert_eq!(woken(), 2);
}

#[test]
fn a_last_reference_is_not_dropped_by_an_append() {
    let journal = Journal::new(0, 1);
    let value = Arc::new(vec![0; 1 << 20]);
    for _ in 0..2 {
        let mut effects = Effects::new();
        effects.begin(0, 2).argument(b"ECHO").shared(&value);
        journal.append(&mut effects, 1);
    }
    assert_eq!(Arc::strong_count(&value), 3);
    journal.notify();
    assert!(Arc::strong_count(&value) < 3);
}

const UNIT_COUNT: u32 = 3_000;
const APPENDER_COUNT: u32 = 4;

/// Appends units of which each says who wrote it, which one it is and how many commands it has.
fn run_appender(journal: &Journal, appender: u32) {
    let mut effects = Effects::new();
    let large = Arc::new(vec![b'l'; 20_000]);
    for unit in 0..UNIT_COUNT {
        let command_count = unit % 4 + 1;
        for index in 0..command_count {
            let mut command = effects.begin(appender * (index % 2), 5);
            command.integer(appender.into()).integer(unit.into());
            command.integer(index.into()).integer(command_count.into());
            if unit % 50 == 0 {
                command.shared(&large)
            } else {
                command.argument(b"filler")
            };
        }
        if unit % 2 == 0 {
            effects.wrap_in_transaction();
        }
        journal.append(&mut effects, u64::from(unit / 100));
        journal.notify();
    }
}

fn run_reader(reader: &mut Reader, bytes_max: usize, end: &AtomicU64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut slices: Vec<Slice> = Vec::new();
    while reader.position() < end.load(SeqCst) {
        reader.wait(Duration::from_millis(1));
        while reader.read(bytes_max, &mut slices).expect("the reader keeps up") != 0 {
            slices.drain(..).for_each(|slice| bytes.extend_from_slice(&slice));
        }
    }
    bytes
}

fn number(digits: &[u8]) -> u32 {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// Checks that units stand whole and each appender's in order.
fn check_units(bytes: &[u8]) {
    let mut unit_next = [0; APPENDER_COUNT as usize];
    let mut open_unit: Option<(u32, u32, u32, u32)> = None;
    let mut is_in_transaction = false;
    for replayed in Replay::new(bytes, 0, u32::MAX) {
        let Replayed { database, arguments, .. } = replayed.expect("the log is well formed");
        if arguments.len() == 1 {
            is_in_transaction = arguments[0] == b"MULTI";
            assert_eq!(open_unit, None);
            continue;
        }
        let (appender, unit) = (number(arguments[0]), number(arguments[1]));
        let (index, count) = (number(arguments[2]), number(arguments[3]));
        assert_eq!(database, appender * (index % 2));
        assert_eq!(is_in_transaction, unit % 2 == 0 && 1 < count);
        if let Some(open_unit) = open_unit {
            assert_eq!(open_unit, (appender, unit, index, count));
        } else {
            assert_eq!((unit, index), (unit_next[appender as usize], 0));
            unit_next[appender as usize] += 1;
        }
        let is_last = index + 1 == count;
        open_unit = (!is_last).then_some((appender, unit, index + 1, count));
    }
    assert_eq!(unit_next, [UNIT_COUNT; APPENDER_COUNT as usize]);
}

#[test]
fn all_readers_see_the_same_units_whole() {
    let journal = Journal::new(0, 1 << 16);
    let end = AtomicU64::new(u64::MAX);
    let windows = [usize::MAX, 100_000, 300];
    let seen: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let readers = windows.map(|window| {
            let mut reader = journal.open_reader(Start::End, Hold::Everything).unwrap();
            let end = &end;
            scope.spawn(move || run_reader(&mut reader, window, end))
        });
        let journal = &journal;
        let appenders: Vec<_> = (0..APPENDER_COUNT)
            .map(|appender| scope.spawn(move || run_appender(journal, appender)))
            .collect();
        for appender in appenders {
            appender.join().expect("no panic");
        }
        end.store(journal.end(), SeqCst);
        journal.wake_all();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    check_units(&seen[0]);
    assert!(seen.iter().all(|bytes| *bytes == seen[0]));
    assert!(!journal.is_active() || journal.status().buffered_bytes() <= 1 << 20);
}
