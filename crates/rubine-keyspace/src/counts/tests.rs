//! Published counts against what is there.

use rubine_base::random::Random;
use rubine_structures::value::Value;

use crate::{Access, AccessPolicy, Changes, DueKeys, Key, Keyspace, ShardSet, View, ViewOptions};

#[test]
fn counts_are_published_when_locks_are_given_back() {
    let (keyspace, _) = Keyspace::new();
    let key = Key::new(b"key");
    let (mut changes, mut random) = (Changes::default(), Random::with_seed(1));
    let access = Access::new(AccessPolicy::Lru, 1);
    let options = ViewOptions { notes_access: false, due_keys: DueKeys::Removed };
    let mut locked = keyspace.lock(&ShardSet::of(key));
    for db in [1, 99] {
        View::new(&mut locked, db, 1, access, options, &mut random, &mut changes).store(
            key,
            Value::string(b"1"),
            Some(5),
        );
    }
    assert_eq!((keyspace.key_counts(1), keyspace.total_key_counts()), ((0, 0), (0, 0)));
    drop(locked);
    assert_eq!(keyspace.total_key_counts(), (2, 2));
    assert_eq!([0, 1, 99].map(|db| keyspace.key_counts(db)), [(0, 0), (1, 1), (1, 1)]);
    keyspace.clear();
    assert_eq!([0, 1, 99].map(|db| keyspace.key_counts(db)), [(0, 0); 3]);
    assert_eq!(keyspace.total_key_counts(), (0, 0));
}
