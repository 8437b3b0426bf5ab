//! What is done through a view and taken back.

use rubine_base::random::Random;
use rubine_structures::value::{Value, ValueRef};

use crate::access::{Access, AccessPolicy};
use crate::changes::Changes;
use crate::key::Key;
use crate::keyspace::{Keyspace, Locked};
use crate::shard_set::ShardSet;
use crate::watch::Watch;

use super::{DueKeys, View, ViewOptions};

fn with_view<T>(
    locked: &mut Locked<'_>,
    changes: &mut Changes,
    work: impl FnOnce(&mut View<'_, '_>) -> T,
) -> T {
    let mut random = Random::with_seed(1);
    let access = Access::new(AccessPolicy::Lru, 10);
    let options = ViewOptions { notes_access: false, due_keys: DueKeys::Removed };
    work(&mut View::new(locked, 0, 10, access, options, &mut random, changes))
}

#[test]
fn an_exchange_and_what_is_written_around_it_are_taken_back() {
    let keyspace = Keyspace::new().0;
    let mut locked = keyspace.lock(&ShardSet::All);
    let mut changes = Changes::default();
    let key = Key::new(b"key");
    with_view(&mut locked, &mut changes, |view| view.store(key, Value::Int(1), Some(99)));
    changes.begin_undo();
    let mark = changes.mark();
    with_view(&mut locked, &mut changes, |view| {
        view.store(key, Value::Int(2), None);
        view.swap_dbs(0, 1);
        view.store(key, Value::Int(3), None);
        assert_eq!(view.clear(None), 2);
        view.store(key, Value::Int(4), None);
        view.swap_dbs(0, 2);
    });
    assert!(changes.was_flushed && locked.find(0, key, 0).is_none());
    locked.undo_to(&mut changes, &mark);
    assert_eq!((changes.dirty, changes.was_flushed), (0, false));
    changes.keep_all(&keyspace);
    assert!(!changes.can_undo());
    let record = locked.find(0, key, 0).expect("it is back");
    assert!(matches!(record.value(), ValueRef::Int(1)));
    assert_eq!(record.deadline(), Some(99));
    drop(locked);
    assert_eq!([0, 1, 2].map(|db| keyspace.key_counts(db)), [(1, 1), (0, 0), (0, 0)]);
}

#[test]
fn a_watch_that_was_broken_stays_so() {
    let keyspace = Keyspace::new().0;
    let mut locked = keyspace.lock(&ShardSet::All);
    let (mut changes, watch) = (Changes::default(), Watch::new());
    let due = Key::new(b"due");
    with_view(&mut locked, &mut changes, |view| view.store(due, Value::Int(1), Some(5)));
    locked.watch(0, due.bytes(), &watch, 10);
    assert!(!locked.fell_due(0, due.bytes(), &watch, 10));
    changes.begin_undo();
    let mark = changes.mark();
    assert!(!with_view(&mut locked, &mut changes, |view| view.contains(due)));
    assert_eq!((changes.expired_count, watch.is_broken()), (1, false));
    locked.undo_to(&mut changes, &mark);
    assert_eq!((changes.expired_count, changes.expired.len()), (0, 0));
    // It cannot be told any more whether the key was due from the beginning.
    assert!(locked.fell_due(0, due.bytes(), &watch, 10));
    with_view(&mut locked, &mut changes, |view| {
        view.store(due, Value::Int(2), None);
        view.note_change(due);
    });
    locked.undo_to(&mut changes, &mark);
    assert!(watch.is_broken());
}
