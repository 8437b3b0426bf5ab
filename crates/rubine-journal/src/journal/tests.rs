//! The journal from outside: activation, loss of place, and appenders and readers on many threads.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Wake;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::history::Previous;
use crate::log::Hold;
use crate::reader::{NotShared, OutOfRange, Reader, ReplicaStart, Start};
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
    append(&journal, 5, "D");
    append(&journal, 5, "E");
    let tail = "*2 $6 SELECT $1 5 *1 $1 D *1 $1 E ";
    assert_eq!(read_text(&mut second), tail);
    assert_eq!(
        read_text(&mut first),
        format!("*2 $6 SELECT $1 0 *1 $1 A *1 $1 B *2 $6 SELECT $1 5 *1 $1 C {tail}")
    );
}

fn id(number: u8) -> HistoryId {
    HistoryId::from_random([number; 20])
}

fn after(number: u8, offset: u64) -> ReplicaStart {
    ReplicaStart::After { id: id(number), offset: ReplicationOffset(offset) }
}

fn open(journal: &Arc<Journal>, start: ReplicaStart) -> Result<Reader, NotShared> {
    journal.open_replica_reader(start, Hold::Everything)
}

#[test]
fn a_masters_bytes_are_kept_word_for_word() {
    let journal = Journal::new(0, 1000);
    journal.adopt_history(id(1), ReplicationOffset(5000));
    let append = |at, bytes: &[u8]| {
        journal.append_master(ReplicationOffset(at), bytes, Audience::Both, 3, 1)
    };
    assert_eq!(append(5000, b"*1\r\n$4\r\nPING\r\n"), Ok(5014));
    let misplaced =
        |at| Err(Misplaced { at: ReplicationOffset(at), expected: ReplicationOffset(5014) });
    assert_eq!(append(5000, b"*1\r\n$1\r\nA\r\n"), misplaced(5000), "not twice");
    assert_eq!(append(5015, b"*1\r\n$1\r\nA\r\n"), misplaced(5015), "not with a hole");

    let mut replica = open(&journal, ReplicaStart::End).unwrap();
    assert_eq!(replica.database_at_start(), Some(3));
    let mut disk = journal.open_reader(Start::End, Hold::Everything).unwrap();
    append(5014, b"*1\r\n$1\r\nA\r\n").unwrap();
    append(5025, b"*1\r\n$1\r\nB\r\n").unwrap();
    assert_eq!(read_text(&mut replica), "*1 $1 A *1 $1 B ");
    assert_eq!(read_text(&mut disk), "*2 $6 SELECT $1 3 *1 $1 A *1 $1 B ");
    assert_eq!(read_text(&mut open(&journal, after(1, 5025)).unwrap()), "*1 $1 B ");
}

#[test]
fn a_masters_bytes_count_without_anybody_who_wants_them() {
    let journal = Journal::new(0, 0);
    journal.adopt_history(id(1), ReplicationOffset(50));
    let append = |at, bytes: &[u8]| {
        journal.append_master(ReplicationOffset(at), bytes, Audience::Both, 0, 1)
    };
    assert_eq!(append(50, b"*1\r\n$1\r\nA\r\n"), Ok(61));
    assert_eq!(journal.status().buffered_bytes(), 0);
    assert!(journal.point().is_complete);
    let mut reader = open(&journal, ReplicaStart::End).unwrap();
    assert_eq!(reader.began().offset, ReplicationOffset(61), "nothing was left out");
    assert_eq!(append(61, b"*1\r\n$1\r\nB\r\n"), Ok(72));
    assert_eq!(read_text(&mut reader), "*1 $1 B ");
}

#[test]
fn who_followed_goes_on_after_a_promotion() {
    let journal = Journal::new(0, 1000);
    journal.adopt_history(id(1), ReplicationOffset(100));
    let bytes = b"*1\r\n$1\r\nA\r\n";
    journal.append_master(ReplicationOffset(100), bytes, Audience::Both, 0, 1).unwrap();
    let point = journal.begin_history(id(2), Origin::Here);
    let previous = Some(Previous { id: id(1), until: ReplicationOffset(111) });
    assert_eq!(point.history, History { id: id(2), previous });
    append(&journal, 0, "B");

    let mut follower = open(&journal, after(1, 111)).unwrap();
    assert_eq!(read_text(&mut follower), "*2 $6 SELECT $1 0 *1 $1 B ", "it selects anew");
    assert_eq!(open(&journal, after(2, 111)).unwrap().position(), 111);
    assert_eq!(open(&journal, after(1, 112)).err(), Some(NotShared::History), "it wrote alone");
    assert_eq!(open(&journal, after(3, 111)).err(), Some(NotShared::History));
    assert!(matches!(open(&journal, after(2, 99)).err(), Some(NotShared::Range(_))));
    assert!(matches!(open(&journal, after(2, 1000)).err(), Some(NotShared::Range(_))));
}

#[test]
fn the_bytes_of_another_history_are_never_served() {
    let journal = Journal::new(0, 1000);
    journal.begin_history(id(1), Origin::Here);
    let mut reader = open(&journal, ReplicaStart::End).unwrap();
    append(&journal, 0, "A");
    journal.adopt_history(id(2), ReplicationOffset(10));
    assert_eq!(reader.read(100, &mut Vec::new()), Err(Lost { position: 0, oldest: 10 }));
    assert_eq!(open(&journal, after(1, 10)).err(), Some(NotShared::History));
    assert!(matches!(open(&journal, after(2, 9)).err(), Some(NotShared::Range(_))));
    assert_eq!(open(&journal, after(2, 10)).unwrap().position(), 10);
}

#[test]
fn a_restart_keeps_the_history() {
    let journal = Journal::new(0, 1000);
    let previous = Some(Previous { id: id(1), until: ReplicationOffset(40) });
    let history = History { id: id(2), previous };
    journal.resume_history(history, ReplicationOffset(70), Origin::Here);
    let offset = ReplicationOffset(70);
    let point = Point { history, offset, position: 70, database: None, is_complete: true };
    assert_eq!(journal.point(), point);
    journal.set_backlog(0);
    assert!(!journal.point().is_complete, "what changes now has no offset");
    let mut reader = open(&journal, ReplicaStart::End).unwrap();
    assert_eq!(*reader.began(), Point { offset: ReplicationOffset(71), position: 71, ..point });
    append(&journal, 0, "A");
    assert_eq!(read_text(&mut reader), "*2 $6 SELECT $1 0 *1 $1 A ");
}

#[test]
fn what_only_replicas_get_costs_nothing_without_them() {
    let journal = Journal::new(0, 0);
    let mut disk = journal.open_reader(Start::End, Hold::Everything).unwrap();
    assert!(!journal.is_followed());
    let start = journal.end();
    assert_eq!(journal.tell_replicas(&[b"PING"], 1), start);
    let mut effects = Effects::new();
    effects.command(0, &[b"SET", b"k", b"v"]);
    assert_eq!(journal.append_for(Side::Replicas, &mut effects, 1), start);
    assert!(effects.is_empty());

    let mut replica = open(&journal, ReplicaStart::End).unwrap();
    assert!(journal.is_followed());
    assert_eq!(journal.tell_replicas(&[b"PING"], 1), start + 14);
    assert_eq!(read_text(&mut replica), "*1 $4 PING ");
    assert_eq!(read_text(&mut disk), "");
    assert_eq!(disk.position(), start + 14, "it has all that it gets");
    drop(replica);
    assert!(!journal.is_followed());
}

/// A unit of one command, named by its number, in a database.
#[derive(Clone, Debug)]
enum Step {
    Append(Audience, u32),
    /// Several commands of one unit, as a script chooses who hears of each.
    Transaction(Vec<(Audience, u32)>),
    Tell,
    OpenReaders,
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let audience = prop_oneof![
        3 => Just(Audience::Both),
        1 => Just(Audience::Only(Side::Disk)),
        1 => Just(Audience::Only(Side::Replicas)),
    ];
    let command = (audience, 0..3_u32);
    let several = proptest::collection::vec(command.clone(), 1..6);
    prop_oneof![
        8 => command.prop_map(|(audience, database)| Step::Append(audience, database)),
        4 => several.prop_map(Step::Transaction),
        1 => Just(Step::Tell),
        1 => Just(Step::OpenReaders),
        2 => (1..100_usize).prop_map(Step::Read),
    ]
}

/// What one side ought to see, and a reader that has begun at some time.
struct Follower {
    reader: Reader,
    side: Side,
    bytes: Vec<u8>,
    expected: Vec<(u32, Vec<u8>)>,
}

impl Follower {
    fn open(journal: &Arc<Journal>, side: Side) -> Self {
        let reader = match side {
            Side::Disk => {
                journal.open_reader(Start::End, Hold::Everything).expect("the end is there")
            }
            Side::Replicas => open(journal, ReplicaStart::End).expect("the end is there"),
        };
        Self { reader, side, bytes: Vec::new(), expected: Vec::new() }
    }

    fn read(&mut self, bytes_max: usize) -> usize {
        let mut slices = Vec::new();
        let count = self.reader.read(bytes_max, &mut slices).expect("it holds everything");
        slices.iter().for_each(|slice| self.bytes.extend_from_slice(slice));
        count
    }

    fn check(mut self, journal: &Journal) {
        while self.read(usize::MAX) != 0 {}
        assert_eq!(self.reader.position(), journal.end());
        let mut database = self.reader.database_at_start().unwrap_or(u32::MAX);
        let (mut seen, mut is_within) = (Vec::new(), false);
        for command in Replay::new(&self.bytes, 0, database) {
            let command = command.expect("units are whole");
            database = command.database;
            let is_wrapping = [b"MULTI".as_slice(), b"EXEC"].contains(&command.arguments[0]);
            if is_wrapping {
                assert_eq!(is_within, command.arguments[0] == b"EXEC", "a unit is whole");
                is_within = !is_within;
                continue;
            }
            seen.push((database, command.arguments[0].to_vec()));
        }
        assert!(!is_within, "a unit ends");
        let is_told = |it: &(u32, Vec<u8>)| it.1 == b"PING";
        assert_eq!(seen.len(), self.expected.len());
        for (seen, expected) in seen.iter().zip(&self.expected) {
            assert!(seen == expected || (is_told(seen) && is_told(expected)));
        }
        if self.side == Side::Replicas {
            let byte_count = journal.point().offset.0 - self.reader.began().offset.0;
            assert_eq!(byte_count, self.bytes.len() as u64, "offsets count what replicas get");
        }
    }
}

/// Appends several commands of one unit, each for whom it is. On a replica only the disk gets what clients change. Returns
/// the commands with those who get them.
fn append_several(
    journal: &Journal,
    follows: bool,
    name: &str,
    commands: Vec<(Audience, u32)>,
) -> Vec<(Audience, u32, Vec<u8>)> {
    let mut effects = Effects::new();
    let mut told = Vec::new();
    for (index, (audience, database)) in commands.into_iter().enumerate() {
        let name = format!("{name}.{index}").into_bytes();
        effects.set_audience(audience);
        effects.command(database, &[&name]);
        told.push((audience, database, name));
    }
    effects.wrap_in_transaction();
    if follows {
        journal.append_for(Side::Disk, &mut effects, 1);
        told.retain(|it| it.0 != Audience::Only(Side::Replicas));
        told.iter_mut().for_each(|it| it.0 = Audience::Only(Side::Disk));
    } else {
        journal.append(&mut effects, 1);
    }
    told
}

/// Appends a unit as a client of this server or, where the log follows a master, as the master sends it.
fn append_step(
    journal: &Journal,
    audience: Audience,
    database: u32,
    name: &[u8],
    master: Option<&mut Option<u32>>,
) {
    let mut effects = Effects::new();
    effects.command(database, &[name]);
    let Some(selected) = master.filter(|_| audience != Audience::Only(Side::Disk)) else {
        match audience {
            Audience::Both => journal.append(&mut effects, 1),
            Audience::Only(side) => journal.append_for(side, &mut effects, 1),
        };
        return;
    };
    let mut bytes = Vec::new();
    if *selected != Some(database) {
        let words: [&[u8]; 2] = [b"SELECT", &[b'0' + database as u8]];
        write_command(&words, &mut bytes).expect(INTO_MEMORY);
        *selected = Some(database);
    }
    write_command(&[name], &mut bytes).expect(INTO_MEMORY);
    let at = journal.point().offset;
    journal.append_master(at, &bytes, audience, database, 1).expect("it follows");
}

proptest! {
    #[test]
    fn each_side_gets_what_is_for_it(
        steps in proptest::collection::vec(step(), 1..60),
        follows in any::<bool>(),
    ) {
        let journal = Journal::new(0, 300);
        if follows {
            journal.adopt_history(id(1), ReplicationOffset(7));
        }
        let mut master = None;
        let both = [Side::Disk, Side::Replicas];
        let mut followers: Vec<_> = both.map(|side| Follower::open(&journal, side)).into();
        // Each end of a unit, as a position and as an offset.
        let mut ends = Vec::new();
        for (index, step) in steps.into_iter().enumerate() {
            let name = index.to_string().into_bytes();
            match step {
                Step::Append(audience, database) => {
                    // A master's SELECT is for both.
                    let audience = if follows && audience == Audience::Only(Side::Replicas) {
                        Audience::Both
                    } else {
                        audience
                    };
                    append_step(&journal, audience, database, &name, follows.then_some(&mut master));
                    let is_for = |it: &&mut Follower| audience.includes(it.side);
                    let expected = (database, name);
                    followers.iter_mut().filter(is_for).for_each(|it| it.expected.push(expected.clone()));
                }
                Step::Transaction(commands) => {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    for (audience, database, name) in append_several(&journal, follows, &name, commands) {
                        let is_for = |it: &&mut Follower| audience.includes(it.side);
                        let expected = (database, name);
                        followers.iter_mut().filter(is_for).for_each(|it| it.expected.push(expected.clone()));
                    }
                }
                Step::Tell => {
                    journal.tell_replicas(&[b"PING"], 1);
                    let is_told = |it: &&mut Follower| it.side == Side::Replicas;
                    followers.iter_mut().filter(is_told).for_each(|it| it.expected.push((0, b"PING".to_vec())));
                }
                Step::OpenReaders => {
                    followers.extend(both.map(|side| Follower::open(&journal, side)));
                }
                Step::Read(bytes_max) => {
                    followers.iter_mut().for_each(|it| assert!(it.read(bytes_max) <= bytes_max));
                }
            }
            ends.push((journal.end(), journal.point().offset));
        }
        for &(position, offset) in &ends {
            prop_assert_eq!(journal.offset_at(position), Some(offset));
            // What only the disk gets may follow, up to where something for replicas does.
            let found = journal.position_of(offset).expect("it is kept");
            prop_assert_eq!(journal.offset_at(found), Some(offset));
            prop_assert!(position <= found);
            prop_assert!(ends.iter().all(|it| it.1 <= offset || found < it.0));
        }
        followers.into_iter().for_each(|it| it.check(&journal));
    }
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
    journal.resume_history(History::new(id(1)), ReplicationOffset(0), Origin::Here);
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
