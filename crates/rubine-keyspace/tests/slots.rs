//! Keys that are placed by slot, held against a model: whatever is done to them, each slot has its keys, counts and walks.
//! In a process of its own, since how keys are placed holds for all of one.

#![cfg(not(shuttle))]

use std::collections::BTreeMap;
use std::sync::Once;

use rubine_base::clock::monotonic_millis;
use rubine_base::crc::{SLOT_COUNT, slot_of};
use rubine_base::random::Random;
use rubine_keyspace::{
    Access, AccessPolicy, Changes, DefragWalk, DueKeys, EvictionOrder, EvictionRule, ExpiryCycle,
    Key, Keyspace, Locked, ScanCursor, ShardSet, Snapshot, View, ViewOptions, place_by_slot,
};
use rubine_structures::value::{Value, ValueRef};

const DATABASES: usize = 18;

fn new_keyspace() -> Keyspace {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| place_by_slot(DATABASES));
    Keyspace::new().0
}

fn with_view<T>(
    locked: &mut Locked<'_>,
    (db, now): (usize, i64),
    work: impl FnOnce(&mut View<'_, '_>) -> T,
) -> T {
    let mut changes = Changes::default();
    view_with(locked, (db, now), &mut changes, work)
}

fn view_with<T>(
    locked: &mut Locked<'_>,
    (db, now): (usize, i64),
    changes: &mut Changes,
    work: impl FnOnce(&mut View<'_, '_>) -> T,
) -> T {
    let mut random = Random::with_seed(1);
    let access = Access::new(AccessPolicy::Lru, 10);
    let options = ViewOptions { notes_access: false, due_keys: DueKeys::Removed };
    work(&mut View::new(locked, db, now, access, options, &mut random, changes))
}

/// What a keyspace should hold: numbers with their deadlines, by database and key.
type Model = BTreeMap<(usize, Vec<u8>), (i64, Option<i64>)>;

/// A keyspace with what it should hold.
struct Pair {
    keyspace: Keyspace,
    model: Model,
    now: i64,
}

impl Pair {
    fn new() -> Self {
        Self { keyspace: new_keyspace(), model: Model::new(), now: 1000 }
    }

    fn store(&mut self, db: usize, key: &[u8], number: i64, deadline: Option<i64>) {
        let mut locked = self.keyspace.lock(&ShardSet::of(Key::new(key)));
        with_view(&mut locked, (db, self.now), |view| {
            view.store(Key::new(key), Value::Int(number), deadline);
        });
        self.model.insert((db, key.to_vec()), (number, deadline));
    }

    fn remove(&mut self, db: usize, key: &[u8]) {
        let mut locked = self.keyspace.lock(&ShardSet::of(Key::new(key)));
        let found = with_view(&mut locked, (db, self.now), |view| view.remove(Key::new(key)));
        let removed = self.model.remove(&(db, key.to_vec()));
        let was_there =
            removed.is_some_and(|(_, deadline)| deadline.is_none_or(|it| self.now < it));
        assert_eq!(found, was_there, "{}", String::from_utf8_lossy(key));
    }

    fn flush(&mut self, db: Option<usize>) {
        let mut locked = self.keyspace.lock(&ShardSet::All);
        with_view(&mut locked, (0, self.now), |view| view.clear(db));
        self.model.retain(|(own, _), _| db.is_some_and(|db| *own != db));
    }

    fn flush_slot(&mut self, slot: u16, comes_back: bool) {
        let mut locked = self.keyspace.lock(&ShardSet::of_slot(slot));
        let mut told = Vec::new();
        let mut changes = Changes::default();
        let mark = comes_back.then(|| {
            changes.begin_undo();
            changes.mark()
        });
        let removed = view_with(&mut locked, (0, self.now), &mut changes, |view| {
            view.clear_slot(slot, true, |db, key| told.push((db, key.to_vec())))
        });
        told.sort();
        let gone: Vec<_> = self.model.keys().filter(|it| slot_of(&it.1) == slot).cloned().collect();
        assert_eq!((removed as usize, told), (gone.len(), gone));
        if let Some(mark) = mark {
            locked.undo_to(&mut changes, &mark);
        } else {
            self.model.retain(|(_, key), _| slot_of(key) != slot);
        }
        changes.keep_all(&self.keyspace);
    }

    /// Exchanges the slots of some tags with another keyspace, after a look at an image of them.
    fn exchange_slots(&mut self, other: &mut Self, tags: &[&str]) {
        let mut slots: Vec<u16> = tags.iter().map(|tag| slot_of(tag.as_bytes())).collect();
        slots.sort_unstable();
        slots.dedup();
        let set = ShardSet::of_slots(slots.iter().copied());
        let mut locked = self.keyspace.lock(&set);
        let mut found = Model::new();
        for image in locked.snapshot_slots(&slots) {
            let mut cursor = Some(0);
            while let Some(from) = cursor {
                cursor = image.scan(from, 3, |it| {
                    let ValueRef::Int(number) = it.value() else { panic!("only numbers") };
                    found.insert((image.db, it.key().to_vec()), (number, it.deadline()));
                });
            }
        }
        let is_moved = |key: &[u8]| slots.contains(&slot_of(key));
        let mut expected = self.model.clone();
        expected.retain(|(_, key), _| is_moved(key));
        assert_eq!(found, expected);
        locked.exchange_slots(&mut other.keyspace.lock(&set), &slots, self.now);
        let mut theirs = other.model.clone();
        theirs.retain(|(_, key), _| is_moved(key));
        self.model.retain(|(_, key), _| !is_moved(key));
        other.model.retain(|(_, key), _| !is_moved(key));
        self.model.append(&mut theirs);
        other.model.append(&mut expected);
    }

    fn swap(&mut self, first: usize, second: usize) {
        let mut locked = self.keyspace.lock(&ShardSet::All);
        with_view(&mut locked, (0, self.now), |view| view.swap_dbs(first, second));
        let swapped = |db| match db {
            db if db == first => second,
            db if db == second => first,
            db => db,
        };
        let model = std::mem::take(&mut self.model);
        self.model = model.into_iter().map(|((db, key), it)| ((swapped(db), key), it)).collect();
    }

    fn expire(&mut self) {
        self.now += 100;
        let mut cycle = ExpiryCycle::new(0, 1);
        while !cycle.step(&self.keyspace, self.now, || false, |_| {}).is_round {}
        self.model.retain(|_, (_, deadline)| deadline.is_none_or(|it| self.now < it));
    }

    fn evict(&mut self, random: &mut Random, only_volatile: bool) {
        let rule = EvictionRule { order: EvictionOrder::Random, only_volatile };
        let access = Access::new(AccessPolicy::Lru, 10);
        let mut candidates = Vec::new();
        self.keyspace.for_each_shard(|_, shard| {
            shard.sample_for_eviction(rule, access, 1, random, |it| candidates.push(it));
        });
        for candidate in candidates.into_iter().take(20) {
            let key = Key::new(&candidate.key);
            let mut locked = self.keyspace.lock(&ShardSet::of(key));
            assert!(locked.evict(candidate.db, key, rule));
            let gone = self.model.remove(&(candidate.db, candidate.key.to_vec()));
            assert!(gone.is_some_and(|it| !only_volatile || it.1.is_some()));
        }
    }

    fn defragment(&self) {
        let mut walk = DefragWalk::default();
        while !walk.step(&self.keyspace, &mut |_| true).is_over {}
    }

    fn check(&self) {
        let mut slots: BTreeMap<(usize, u16), Vec<&[u8]>> = BTreeMap::new();
        for (db, key) in self.model.keys() {
            slots.entry((*db, slot_of(key))).or_default().push(key);
        }
        for db in 0..DATABASES {
            let keys = || self.model.iter().filter(|((own, _), _)| *own == db);
            let volatile = keys().filter(|(_, it)| it.1.is_some()).count();
            assert_eq!(self.keyspace.key_counts(db), (keys().count(), volatile), "db {db}");
            let len_of = |slot| self.keyspace.slot_len(db, slot).expect("nobody else locks it");
            for slot in (0..SLOT_COUNT).filter(|it| db < 2 || it % 64 == 0) {
                assert_eq!(len_of(slot), slots.get(&(db, slot)).map_or(0, Vec::len));
            }
        }
        for ((db, slot), keys) in &slots {
            let mut locked = self.keyspace.lock(&ShardSet::of_slot(*slot));
            with_view(&mut locked, (*db, self.now), |view| {
                assert_eq!(view.slot_len(*slot), keys.len());
                let mut found = Vec::new();
                view.each_in_slot(*slot, usize::MAX, |it| found.push(it.key().to_vec()));
                found.sort();
                assert_eq!(&found, keys);
                let mut few = 0;
                view.each_in_slot(*slot, 2, |_| few += 1);
                assert_eq!(few, keys.len().min(2));
            });
        }
        let mut none = self.keyspace.lock(&ShardSet::default());
        with_view(&mut none, (0, self.now), |view| {
            let found = walk(|cursor, visit| view.scan(cursor, 7, |it, _| visit(it.key())));
            assert_eq!(found, keys_of(&self.model, 0, 0..SLOT_COUNT));
            let (first, last) = (4000, 9000);
            let found = walk(|cursor, visit| {
                let cursor = cursor.max(ScanCursor::at_slot(first));
                view.scan_slots(cursor, last, 7, |it, _| visit(it.key()))
            });
            assert_eq!(found, keys_of(&self.model, 0, first..last + 1));
            let chosen = view.random_key();
            assert_eq!(chosen.is_some(), !view.is_empty());
        });
    }
}

fn keys_of(model: &Model, db: usize, slots: std::ops::Range<u16>) -> Vec<Vec<u8>> {
    let keys = model.keys().filter(|(own, key)| *own == db && slots.contains(&slot_of(key)));
    keys.map(|(_, key)| key.clone()).collect()
}

/// All that a walk visits, in order of name.
fn walk(
    mut step: impl FnMut(ScanCursor, &mut dyn FnMut(&[u8])) -> Option<ScanCursor>,
) -> Vec<Vec<u8>> {
    let (mut found, mut cursor) = (Vec::new(), Some(ScanCursor::START));
    while let Some(from) = cursor {
        cursor = step(from, &mut |key| found.push(key.to_vec()));
        let again = cursor.map(|it| ScanCursor::from_number(it.number()));
        assert_eq!(again, cursor, "a client gets the whole position");
        assert!(cursor.is_none_or(|it| it.number() < 1 << 53));
    }
    found.sort();
    found
}

/// What an image holds, in its own order.
fn content(snapshot: &Snapshot) -> Model {
    let mut model = Model::new();
    for db in 0..DATABASES {
        let mut count = 0;
        let mut cursor = Some(ScanCursor::START);
        while let Some(from) = cursor {
            cursor = snapshot.scan(db, from, 5, |record| {
                let ValueRef::Int(number) = record.value() else {
                    panic!("only numbers are stored")
                };
                count += 1;
                model.insert((db, record.key().to_vec()), (number, record.deadline()));
            });
        }
        assert_eq!(count, snapshot.len(db));
    }
    for ((db, key), _) in model.iter().take(50) {
        assert!(snapshot.find(*db, Key::new(key)).is_some());
    }
    model
}

#[test]
fn slots_are_as_in_a_model() {
    for seed in 0..3 {
        let mut random = Random::with_seed(seed);
        let (mut here, mut there) = (Pair::new(), Pair::new());
        let mut images: Vec<(Snapshot, Model)> = Vec::new();
        for round in 0..60 {
            for _ in 0..random.below(200) {
                // Few databases, few tags, and some keys without.
                let db = [0, 0, 0, 1, 17][random.below(5) as usize];
                let key = match random.below(3) {
                    0 => format!("{}", random.below(500)),
                    1 => format!("{{a}}{}", random.below(100)),
                    _ => format!("{{{}}}x", random.below(200)),
                };
                let deadline = (random.below(3) == 0).then(|| here.now + random.below(300) as i64);
                match random.below(4) {
                    0 => here.remove(db, key.as_bytes()),
                    _ => here.store(db, key.as_bytes(), random.below(1000) as i64, deadline),
                }
            }
            match random.below(13) {
                11 => here.exchange_slots(&mut there, &["a", "1", "2", "3", "17"]),
                0 => here.expire(),
                1 => here.evict(&mut random, false),
                2 => here.evict(&mut random, true),
                3 => here.swap(0, [1, 17][random.below(2) as usize]),
                4 => here.flush(Some([0, 1, 17][random.below(3) as usize])),
                5 if random.below(4) == 0 => here.flush(None),
                6 => here.flush_slot(slot_of(b"a"), false),
                7 => here.flush_slot(slot_of(b"a"), true),
                8 => here.defragment(),
                9 => {
                    let mut locked = here.keyspace.lock(&ShardSet::All);
                    locked.exchange(&mut there.keyspace.lock(&ShardSet::All), here.now);
                    std::mem::swap(&mut here.model, &mut there.model);
                }
                10 => images.push((here.keyspace.snapshot(), here.model.clone())),
                _ => images.truncate(random.below(3) as usize),
            }
            for (image, model) in &images {
                assert_eq!(&content(image), model, "seed {seed}, round {round}");
            }
            if round % 6 == 5 {
                here.check();
            }
        }
        there.check();
    }
}

/// One tag for all keys: they lie in one table, whose directory has the depth that so many keys need.
#[test]
fn a_slot_with_all_keys_takes_what_others_take() {
    const KEYS: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let measure = |name: &dyn Fn(usize) -> String| {
        let keyspace = new_keyspace();
        let keys: Vec<String> = (0..KEYS).map(name).collect();
        let start = monotonic_millis();
        for key in &keys {
            let key = Key::new(key.as_bytes());
            let mut locked = keyspace.lock(&ShardSet::of(key));
            with_view(&mut locked, (0, 0), |view| view.store(key, Value::Int(1), None));
        }
        let time = monotonic_millis() - start;
        let mut none = keyspace.lock(&ShardSet::default());
        let shape = with_view(&mut none, (0, 0), |view| view.shape());
        (shape, time)
    };
    let (spread, spread_time) = measure(&|number| format!("tag:{number:09}"));
    let (tagged, tagged_time) = measure(&|number| format!("{{ta}}{number:09}"));
    eprintln!("spread {spread:?} in {spread_time} ms\ntagged {tagged:?} in {tagged_time} ms");
    assert!(tagged.directory_len <= (KEYS / 50).next_power_of_two());
    assert!(tagged.slots <= spread.slots);
}
