//! Readers against a model, and changes that are taken back.

use std::collections::{BTreeMap, BTreeSet};

use rubine_base::random::Random;

use rubine_structures::value::Value;

use crate::{
    Access, AccessPolicy, Changes, DueKeys, Key, Keyspace, ShardSet, Stale, Tracking, View,
    ViewOptions,
};

type Model = BTreeMap<String, BTreeSet<u32>>;

fn check_counts(keyspace: &Keyspace, model: &Model) {
    let items: usize = model.values().map(BTreeSet::len).sum();
    assert_eq!((keyspace.tracked().keys(), keyspace.tracked().items()), (model.len(), items));
}

/// Readers come and go as in a map of sets.
#[test]
fn readers_are_as_in_a_model() {
    let keyspace = Keyspace::new().0;
    let mut random = Random::with_seed(5);
    let mut model = Model::new();
    for round in 0..20_000 {
        let name = format!("key:{}", random.below(300));
        let key = Key::new(name.as_bytes());
        let mut locked = keyspace.lock(&ShardSet::of(key));
        if random.below(10) < 8 {
            // Some keys have so many that they do not lie in the record.
            let reader = random.below(if name.ends_with('7') { 600 } else { 8 }) as u32;
            locked.add_reader(key, reader);
            model.entry(name).or_default().insert(reader);
        } else {
            let found = locked.take_readers(key);
            let found: Option<BTreeSet<u32>> = found.map(|it| it.numbers().collect());
            assert_eq!(found, model.remove(&name));
        }
        drop(locked);
        if round % 1000 == 0 {
            check_counts(&keyspace, &model);
        }
    }
    while keyspace.trim_tracked(100, 7, &mut random, |readers| {
        let name = String::from_utf8(readers.key().to_vec()).expect("names are text");
        let found: BTreeSet<u32> = readers.numbers().collect();
        assert_eq!(Some(found), model.remove(&name));
    }) {
        check_counts(&keyspace, &model);
    }
    assert_eq!(model.len(), 100);
    check_counts(&keyspace, &model);
    keyspace.forget_tracked(|| true);
    check_counts(&keyspace, &Model::new());
}

/// What is taken back has made no copy stale, and its readers are told of the next change.
#[test]
fn changes_that_are_taken_back_keep_their_readers() {
    let keyspace = Keyspace::new().0;
    let (mut changes, mut random) = (Changes::default(), Random::with_seed(1));
    changes.tracking = Tracking::Read;
    let mut locked = keyspace.lock(&ShardSet::All);
    let key = Key::new(b"k");
    let mut write = |locked: &mut crate::Locked<'_>, changes: &mut Changes| {
        let access = Access::new(AccessPolicy::Lru, 1);
        let options = ViewOptions { notes_access: false, due_keys: DueKeys::Removed };
        let mut view = View::new(locked, 0, 1, access, options, &mut random, changes);
        view.store(key, Value::string(b"v"), None);
        view.note_change(key);
    };
    locked.add_reader(key, 3);
    changes.begin_undo();
    let mark = changes.mark();
    write(&mut locked, &mut changes);
    assert_eq!(changes.stale.len(), 1);
    locked.undo_to(&mut changes, &mark);
    assert!(changes.stale.is_empty());
    write(&mut locked, &mut changes);
    let found: Vec<_> = changes.stale.drain(..).collect();
    let [Stale::Read { readers, by_time: false }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(readers.numbers().collect::<Vec<_>>(), [3]);
}
