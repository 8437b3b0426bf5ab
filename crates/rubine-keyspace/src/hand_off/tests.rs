//! What a push costs does not depend on how many wait. A push to a key with thousands of waiters asked each of them in turn
//! whether there was something for it, after the element was gone.

use std::cell::Cell;
use std::sync::Arc;

use rubine_base::random::Random;
use rubine_structures::value::{Type, Value};

use super::{Serve, complete_hand_offs};
use crate::{
    Access, AccessPolicy, Awaited, Changes, DueKeys, Key, Keyspace, Locked, ShardSet, View,
    ViewOptions, Waiter,
};

const KEY: &[u8] = b"key";

fn with_view<T>(locked: &mut Locked<'_>, change: impl FnOnce(&mut View<'_, '_>) -> T) -> T {
    let (mut changes, mut random) = (Changes::default(), Random::with_seed(1));
    let access = Access::new(AccessPolicy::Lru, 1);
    let options = ViewOptions { notes_access: false, due_keys: DueKeys::Removed };
    change(&mut View::new(locked, 0, 1, access, options, &mut random, &mut changes))
}

/// Gives the string at the key to one waiter.
#[derive(Default)]
struct Giver {
    /// How often a waiter was looked for.
    looks: Cell<usize>,
    runs: usize,
    served: Vec<u64>,
}

impl Serve for Giver {
    type Reply = ();

    fn now(&self) -> i64 {
        self.looks.set(self.looks.get() + 1);
        1
    }

    fn shards_of(&self, waiter: &Waiter) -> ShardSet {
        waiter.shards()
    }

    fn run(&mut self, _: &Waiter, locked: &mut Locked<'_>) -> Option<()> {
        self.runs += 1;
        let was_there = with_view(locked, |view| {
            view.note_change(Key::new(KEY));
            view.remove(Key::new(KEY))
        });
        was_there.then_some(())
    }

    fn answer(&mut self, waiter: &Waiter, (): (), _: &Locked<'_>) {
        self.served.push(waiter.client);
    }
}

fn wait(locked: &mut Locked<'_>, client: u64, awaited: Type) -> Arc<Waiter> {
    let awaited = Awaited::Type(awaited);
    let waiter = Waiter::new(client, 0, 0, vec![KEY.into()], vec![0, 0], awaited, 2);
    locked.add_waiter(&waiter);
    waiter
}

fn store(keyspace: &Keyspace, server: &mut Giver) {
    let mut locked = keyspace.lock(&ShardSet::of(Key::new(KEY)));
    with_view(&mut locked, |view| {
        view.store(Key::new(KEY), Value::string(b"element"), None);
        view.note_change(Key::new(KEY));
    });
    let pending = locked.pending_hand_offs();
    drop(locked);
    complete_hand_offs(keyspace, pending, server);
}

#[test]
fn a_push_costs_the_same_however_many_wait() {
    for count in [10, 1000, 5000] {
        let (keyspace, _) = Keyspace::new();
        let mut locked = keyspace.lock(&ShardSet::All);
        for client in 0..count {
            wait(&mut locked, 2 * client, Type::String);
            wait(&mut locked, 2 * client + 1, Type::List);
        }
        drop(locked);
        let mut server = Giver::default();
        for _ in 0..5 {
            store(&keyspace, &mut server);
        }
        assert_eq!(server.served, [0, 2, 4, 6, 8], "first come, first served");
        let cost = (server.runs, server.looks.get());
        assert_eq!(cost, (5, 10), "with {count} waiters");
    }
}

#[test]
fn whoever_leaves_is_passed_by() {
    let (keyspace, _) = Keyspace::new();
    let mut locked = keyspace.lock(&ShardSet::All);
    let waiters = [1, 2, 3].map(|client| wait(&mut locked, client, Type::String));
    locked.remove_waiter(&waiters[0]);
    assert!(waiters[1].cancel());
    drop(locked);
    let mut server = Giver::default();
    store(&keyspace, &mut server);
    assert_eq!(server.served, [3]);
    let mut locked = keyspace.lock(&ShardSet::All);
    locked.remove_waiter(&waiters[1]);
    assert_eq!(locked.shards().map(crate::Shard::waited_key_count).sum::<usize>(), 0);
}

#[test]
fn whoever_leaves_while_the_shard_is_busy_is_passed_by_and_forgotten() {
    let (keyspace, _) = Keyspace::new();
    let mut locked = keyspace.lock(&ShardSet::of(Key::new(KEY)));
    let waiters = [1, 2].map(|client| wait(&mut locked, client, Type::String));
    let watch = crate::Watch::new();
    locked.watch(0, KEY, &watch, 1);
    for waiter in &waiters {
        assert!(waiter.cancel());
        keyspace.abandon_wait(waiter);
    }
    keyspace.abandon_watch([(0, KEY)].into_iter(), &watch);
    let count = |locked: &Locked<'_>| {
        let of = |it: &crate::Shard| it.waited_key_count() + it.watched_key_count();
        locked.shards().map(of).sum::<usize>()
    };
    assert_eq!(count(&locked), 2);
    drop(locked);
    let mut server = Giver::default();
    store(&keyspace, &mut server);
    assert_eq!(server.served, [0; 0]);
    assert_eq!(count(&keyspace.lock(&ShardSet::All)), 0);
}
