//! Random units in lanes leave what they leave one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rubine_keyspace::{Keyspace, Locked, Place, SHARD_COUNT, ShardSet};
use rubine_resp::parser::ArgRange;

use super::Lanes;
use super::run::{Incoming, RunUnits};

/// Each shard has a number, and a command makes new ones of those of its shards, so that they tell of every order.
#[derive(Clone)]
struct Mixer {
    numbers: Arc<[AtomicU64]>,
}

impl Mixer {
    fn new() -> Self {
        Self { numbers: (0..SHARD_COUNT).map(|_| AtomicU64::new(0)).collect() }
    }

    fn mix(&self, shards: impl Iterator<Item = usize> + Clone, word: &[u8]) {
        let seen = shards.clone().map(|it| self.numbers[it].load(Ordering::Relaxed));
        let word = word.iter().fold(7, |sum: u64, it| sum.wrapping_mul(31) + u64::from(*it));
        let mixed = seen.fold(word, |sum, it| (sum ^ it).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for shard in shards {
            self.numbers[shard].store(mixed.rotate_left(shard as u32), Ordering::Relaxed);
        }
    }

    fn content(&self) -> Vec<u64> {
        self.numbers.iter().map(|it| it.load(Ordering::Relaxed)).collect()
    }
}

/// What is known of a command: how long it takes.
impl RunUnits for Mixer {
    type Command = Duration;

    fn place_of(_: &Duration) -> Option<(usize, Place)> {
        None
    }

    fn begin(&mut self) {}

    fn run(&mut self, pause: Duration, bytes: &[u8], args: &[ArgRange], locked: &mut Locked<'_>) {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let shards: Vec<usize> = locked.numbers().collect();
        self.mix(shards.into_iter(), args[1].of(bytes));
    }
}

/// A unit of some commands.
#[derive(Clone, Debug)]
struct Unit {
    shards: ShardSet,
    words: Vec<String>,
    pause: Duration,
}

fn unit() -> impl Strategy<Value = Unit> {
    // Few shards, so that they meet.
    let shard = || (0..8_usize).prop_map(|it| it * SHARD_COUNT / 8);
    let several = proptest::collection::btree_set(shard(), 2..5);
    let several = several.prop_map(|shards| {
        let mut set = ShardSet::default();
        shards.into_iter().for_each(|it| set.add_all(&ShardSet::of_shard(it)));
        set
    });
    let shards = prop_oneof![
        12 => shard().prop_map(ShardSet::of_shard),
        4 => several,
        1 => Just(ShardSet::All),
        1 => Just(ShardSet::default()),
    ];
    let words = proptest::collection::vec("[a-z]{0,40}", 1..4);
    let pause = prop_oneof![30 => Just(0), 1 => 1..300_u64].prop_map(Duration::from_micros);
    (shards, words, pause).prop_map(|(shards, words, pause)| Unit { shards, words, pause })
}

/// Hands a unit in as a reader would, with all commands in one piece.
fn push(lanes: &mut Lanes<Mixer>, unit: &Unit, start: u64) -> u64 {
    let mut bytes = Vec::new();
    let mut args = Vec::new();
    for word in &unit.words {
        let name = ArgRange { start: bytes.len() + 2, len: 3 };
        bytes.extend_from_slice(b"> mix ");
        args.push([name, ArgRange { start: bytes.len(), len: word.len() }]);
        bytes.extend_from_slice(word.as_bytes());
    }
    let commands: Vec<_> = args.iter().map(|it| (unit.pause, &*bytes, &it[..])).collect();
    let end = start + bytes.len() as u64;
    lanes.push(&Incoming { start, end, shards: &unit.shards, commands: &commands });
    end
}

fn keyspace() -> &'static Keyspace {
    Box::leak(Box::new(Keyspace::new().0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lanes_leave_what_one_after_the_other_leaves(
        units in proptest::collection::vec(unit(), 0..400),
        lane_count in 1..5_usize,
        flush_every in 1..50_usize,
    ) {
        let (in_lanes, alone) = (Mixer::new(), Mixer::new());
        let runners = vec![in_lanes.clone(); lane_count + 1];
        let mut lanes = Lanes::new(keyspace(), runners, 0).unwrap();
        let (mut at, mut applied) = (0, 0);
        for (index, unit) in units.iter().enumerate() {
            for word in &unit.words {
                match &unit.shards {
                    ShardSet::All => alone.mix(0..SHARD_COUNT, word.as_bytes()),
                    shards => {
                        let listed = super::listed(shards).iter().map(|it| usize::from(*it));
                        alone.mix(listed, word.as_bytes());
                    }
                }
            }
            at = push(&mut lanes, unit, at);
            let now = lanes.applied();
            prop_assert!(applied <= now && now <= at, "{applied} <= {now} <= {at}");
            applied = now;
            if index % flush_every == 0 {
                lanes.flush();
            }
            if index == units.len() / 2 {
                lanes.barrier();
                prop_assert_eq!(lanes.applied(), at);
                prop_assert_eq!(in_lanes.content(), alone.content());
            }
        }
        lanes.barrier();
        prop_assert_eq!(lanes.applied(), at);
        prop_assert_eq!(in_lanes.content(), alone.content());
    }
}

/// A unit that a lane is busy with is not told as applied, and neither is what comes after it in other lanes.
#[test]
fn applied_is_what_has_no_gap() {
    let mixer = Mixer::new();
    let mut lanes = Lanes::new(keyspace(), vec![mixer; 3], 100).unwrap();
    assert_eq!(lanes.applied(), 100);
    let unit = |shard, pause| Unit {
        shards: ShardSet::of_shard(shard),
        words: vec!["x".to_owned()],
        pause: Duration::from_millis(pause),
    };
    let slow_at = push(&mut lanes, &unit(SHARD_COUNT - 1, 0), 100);
    let quick_at = push(&mut lanes, &unit(SHARD_COUNT - 1, 300), slow_at);
    let end = push(&mut lanes, &unit(0, 0), quick_at);
    lanes.flush();
    std::thread::sleep(Duration::from_millis(50));
    assert!(lanes.applied() <= slow_at, "the slow one runs");
    lanes.barrier();
    assert_eq!(lanes.applied(), end);
}

/// Whoever hands in faster than lanes run is held back, also where one lane waits for what another has not been sent.
#[test]
fn the_queue_has_a_bound() {
    let mixer = Mixer::new();
    let mut lanes = Lanes::new(keyspace(), vec![mixer; 3], 0).unwrap();
    let pair = ShardSet::of_shard(0);
    let mut both = pair.clone();
    both.add_all(&ShardSet::of_shard(SHARD_COUNT - 1));
    let mut at = 0;
    for index in 0..2_000 {
        let shards = match index % 3 {
            0 => pair.clone(),
            1 => ShardSet::of_shard(SHARD_COUNT - 1),
            _ => both.clone(),
        };
        let unit = Unit { shards, words: vec!["w".repeat(5_000)], pause: Duration::ZERO };
        at = push(&mut lanes, &unit, at);
        let bytes = lanes.shared.bytes();
        assert!(bytes <= super::AHEAD_BYTES_MAX + 3 * 70_000, "{bytes} bytes wait");
    }
    lanes.barrier();
    assert_eq!(lanes.applied(), at);
}
