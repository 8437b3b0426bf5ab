//! HOTKEYS: which keys take most of the processor's time and of the network, while somebody wants to know. Each worker
//! counts on its own; whoever asks adds up.
//!
//! A worker keeps the sums of a bounded number of keys. When another key comes, it takes the place of the one with the
//! least, and inherits its sum as what it may be wrong by (the "space saving" algorithm). So every key whose share is
//! above one in that number is there, and no sum that is shown is more than the key has had.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rubine_base::hash::HashMap;
use rubine_system::process::CpuTime;

/// Keys that a worker knows the sums of, for each that is to be shown.
const KNOWN_PER_SHOWN: usize = 20;
/// And at least so many.
const KNOWN_MIN: usize = 500;
/// Longer keys are part of the sums over all keys only.
const KEY_BYTES_MAX: usize = 16 * 1024;

/// What is to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) cpu: bool,
    pub(crate) net: bool,
    /// How many keys are shown.
    pub(crate) count: usize,
    /// For how long, in milliseconds; until it is ended, if there is no such time.
    pub(crate) duration_ms: Option<i64>,
    /// One in so many commands is counted for its keys.
    pub(crate) sample_ratio: u64,
}

/// The counting that goes on, or that did last.
#[derive(Debug, Default)]
pub(crate) struct HotKeys(ArcSwapOption<Tracking>);

impl HotKeys {
    pub(crate) fn current(&self) -> Option<Arc<Tracking>> {
        self.0.load_full()
    }

    pub(crate) fn set(&self, tracking: Option<Arc<Tracking>>) {
        self.0.store(tracking);
    }
}

/// One counting.
#[derive(Debug)]
pub(crate) struct Tracking {
    pub(crate) wanted: Wanted,
    /// Unix milliseconds.
    pub(crate) started_at: i64,
    /// What the process had used of the processors then.
    pub(crate) cpu_before: CpuTime,
    /// Unix milliseconds; none yet if 0.
    stopped_at: AtomicI64,
    shares: Box<[Mutex<Share>]>,
}

/// What one worker has counted.
#[derive(Debug)]
struct Share {
    totals: Totals,
    cpu: Sketch,
    net: Sketch,
}

/// Sums over all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) ticks: u64,
    pub(crate) bytes: u64,
    /// Bytes of those commands that were counted for their keys.
    pub(crate) sampled_bytes: u64,
}

/// What a command has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) ticks: u64,
    pub(crate) bytes: u64,
}

/// The keys that have most of something, with how much, the first first.
pub(crate) type Ranking = Vec<(Box<[u8]>, u64)>;

impl Tracking {
    pub(crate) fn new(wanted: Wanted, workers: usize, now: i64, cpu_before: CpuTime) -> Self {
        let known = (wanted.count * KNOWN_PER_SHOWN).max(KNOWN_MIN);
        let share = || Share {
            totals: Totals::default(),
            cpu: Sketch::new(known),
            net: Sketch::new(known),
        };
        Self {
            wanted,
            started_at: now,
            cpu_before,
            stopped_at: AtomicI64::new(0),
            shares: (0..workers).map(|_| Mutex::new(share())).collect(),
        }
    }

    /// When it ends or has ended, if that is known.
    fn end(&self) -> Option<i64> {
        match self.stopped_at.load(Ordering::Relaxed) {
            0 => self.wanted.duration_ms.map(|it| self.started_at.saturating_add(it)),
            at => Some(at),
        }
    }

    pub(crate) fn is_active(&self, now: i64) -> bool {
        self.end().is_none_or(|end| now < end)
    }

    /// Ends it.
    pub(crate) fn stop(&self, now: i64) {
        self.stopped_at.store(now.max(1), Ordering::Relaxed);
    }

    /// For how long it has been going on, in milliseconds.
    pub(crate) fn duration_ms(&self, now: i64) -> i64 {
        self.end().map_or(now, |end| now.min(end)).saturating_sub(self.started_at).max(0)
    }

    /// Counts a command, and for each of its keys a part of it. Without keys it is not counted; if it is not sampled, then
    /// for none of them.
    pub(crate) fn count(&self, worker: usize, cost: Cost, keys: &[&[u8]], is_sampled: bool) {
        let Some(share) = self.shares.get(worker).filter(|_| !keys.is_empty()) else { return };
        let mut share = share.lock();
        share.totals.ticks += cost.ticks;
        share.totals.bytes += cost.bytes;
        if !is_sampled {
            return;
        }
        share.totals.sampled_bytes += cost.bytes;
        let key_count = keys.len() as u64;
        let (ticks, bytes) = (cost.ticks / key_count, cost.bytes / key_count);
        for key in keys.iter().filter(|it| it.len() <= KEY_BYTES_MAX) {
            if self.wanted.cpu {
                share.cpu.add(key, ticks);
            }
            if self.wanted.net {
                share.net.add(key, bytes);
            }
        }
    }

    /// Sums over all keys and workers.
    pub(crate) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for share in &self.shares {
            let Totals { ticks, bytes, sampled_bytes } = share.lock().totals;
            sum.ticks += ticks;
            sum.bytes += bytes;
            sum.sampled_bytes += sampled_bytes;
        }
        sum
    }

    /// The keys that took most time, in ticks.
    pub(crate) fn by_ticks(&self) -> Ranking {
        self.rank(|share| &share.cpu)
    }

    /// The keys of which most bytes came and went.
    pub(crate) fn by_bytes(&self) -> Ranking {
        self.rank(|share| &share.net)
    }

    fn rank(&self, sketch: impl Fn(&Share) -> &Sketch) -> Ranking {
        let mut sums: HashMap<Box<[u8]>, u64> = HashMap::default();
        for share in &self.shares {
            let share = share.lock();
            for (key, sum) in sketch(&share).certain() {
                *sums.entry(key.into()).or_default() += sum;
            }
        }
        let mut ranking: Ranking = sums.into_iter().filter(|it| it.1 != 0).collect();
        ranking.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        ranking.truncate(self.wanted.count);
        ranking
    }
}

/// Sums of the keys that have most, as far as there is room.
#[derive(Debug)]
struct Sketch {
    room: usize,
    sums: HashMap<Arc<[u8]>, Sum>,
    /// The same, by their sums: the least first.
    order: BTreeSet<(u64, Arc<[u8]>)>,
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    sum: u64,
    /// So much of it may be of keys that were here before.
    inherited: u64,
}

impl Sketch {
    fn new(room: usize) -> Self {
        Self { room, sums: HashMap::default(), order: BTreeSet::new() }
    }

    fn add(&mut self, key: &[u8], amount: u64) {
        if let Some((key, known)) = self.sums.get_key_value(key) {
            let (key, known) = (Arc::clone(key), *known);
            let sum = known.sum.saturating_add(amount);
            self.order.remove(&(known.sum, Arc::clone(&key)));
            self.order.insert((sum, Arc::clone(&key)));
            self.sums.insert(key, Sum { sum, ..known });
            return;
        }
        let mut inherited = 0;
        if self.sums.len() == self.room
            && let Some((sum, least)) = self.order.pop_first()
        {
            self.sums.remove(&least);
            inherited = sum;
        }
        let (key, sum): (Arc<[u8]>, u64) = (key.into(), inherited.saturating_add(amount));
        self.order.insert((sum, Arc::clone(&key)));
        self.sums.insert(key, Sum { sum, inherited });
    }

    /// What each key has had at least.
    fn certain(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.sums.iter().map(|(key, it)| (&**key, it.sum - it.inherited))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rubine_base::random::Random;

    use super::{Cost, CpuTime, HashMap, Sketch, Tracking, Wanted};

    const WANTED: Wanted =
        Wanted { cpu: true, net: true, count: 3, duration_ms: None, sample_ratio: 1 };

    fn tracking(wanted: Wanted) -> Tracking {
        Tracking::new(wanted, 2, 1000, CpuTime { user_us: 0, system_us: 0 })
    }

    #[test]
    fn what_workers_have_counted_is_added_up() {
        let tracking = tracking(WANTED);
        let count = |worker, ticks, bytes, keys: &[&str], is_sampled| {
            let keys: Vec<_> = keys.iter().map(|it| it.as_bytes()).collect();
            tracking.count(worker, Cost { ticks, bytes }, &keys, is_sampled);
        };
        count(0, 10, 100, &["a"], true);
        count(1, 30, 100, &["a", "b"], true);
        count(1, 1, 500, &["c"], true);
        count(0, 7, 70, &["d"], false);
        count(0, 1000, 1000, &[], true);
        count(9, 1000, 1000, &["a"], true);
        count(0, 0, 1, &["e"], true);
        let named = |it: Vec<(Box<[u8]>, u64)>| -> Vec<_> {
            it.into_iter()
                .map(|(key, sum)| (String::from_utf8_lossy(&key).into_owned(), sum))
                .collect()
        };
        let pair = |key: &str, sum| (key.to_owned(), sum);
        assert_eq!(named(tracking.by_ticks()), [pair("a", 25), pair("b", 15), pair("c", 1)]);
        assert_eq!(named(tracking.by_bytes()), [pair("c", 500), pair("a", 150), pair("b", 50)]);
        let totals = tracking.totals();
        assert_eq!((totals.ticks, totals.bytes, totals.sampled_bytes), (48, 771, 701));
    }

    #[test]
    fn it_ends_by_time_or_when_told() {
        let endless = tracking(WANTED);
        assert!(endless.is_active(i64::MAX));
        assert_eq!(endless.duration_ms(1500), 500);
        endless.stop(3000);
        assert!(!endless.is_active(3000));
        assert_eq!(endless.duration_ms(9000), 2000);
        let timed = tracking(Wanted { duration_ms: Some(100), ..WANTED });
        assert!(timed.is_active(1099) && !timed.is_active(1100));
        assert_eq!(timed.duration_ms(5000), 100);
    }

    #[test]
    fn a_hot_key_among_very_many_is_found() {
        let mut sketch = Sketch::new(50);
        let mut random = Random::with_seed(7);
        for index in 0..20_000_u32 {
            let key = if random.below(10) == 0 { "hot".to_owned() } else { format!("cold{index}") };
            sketch.add(key.as_bytes(), 1);
        }
        let most = sketch.certain().max_by_key(|it| it.1).expect("there are keys");
        assert_eq!(most.0, b"hot");
        assert!((1800..=2200).contains(&most.1), "{}", most.1);
    }

    proptest! {
        #[test]
        fn no_sum_is_too_much_and_no_large_share_is_missing(
            adds in proptest::collection::vec((0..40_u8, 0..100_u64), 0..400),
        ) {
            const ROOM: usize = 16;
            let mut sketch = Sketch::new(ROOM);
            let mut truth: HashMap<u8, u64> = HashMap::default();
            let mut total = 0;
            for (key, amount) in adds {
                sketch.add(&[key], amount);
                *truth.entry(key).or_default() += amount;
                total += amount;
            }
            prop_assert!(sketch.sums.len() <= ROOM && sketch.sums.len() == sketch.order.len());
            for (key, sum) in sketch.certain() {
                prop_assert!(sum <= truth[&key[0]]);
            }
            for (key, sum) in truth {
                if total / (ROOM as u64) < sum {
                    prop_assert!(sketch.sums.contains_key(&[key][..]), "{}: {} of {}", key, sum, total);
                }
            }
        }
    }
}
