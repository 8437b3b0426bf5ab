//! The shard locks and the hand-off to waiters under shuttle's scheduler:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p rubine-keyspace`. There are four shards then. Two locks taken in two orders,
//! or a hand-off that nobody completes, show as a deadlock or as a client that waits although there is something.

use std::sync::Arc;

use rubine_base::random::Random;
use rubine_structures::value::Value;
use shuttle::thread;

use crate::{
    Access, AccessPolicy, Changes, DueKeys, Key, Keyspace, Locked, ShardSet, View, ViewOptions,
    Waiter, WaiterState,
};

const ITERATION_COUNT: usize = 20_000;
/// How often the scheduler changes its mind in a run.
const DEPTH: usize = 3;

/// Names of keys in different shards.
fn names<const N: usize>() -> [String; N] {
    let mut found: Vec<String> = Vec::new();
    for number in 0.. {
        let name = format!("key:{number}");
        let is_new =
            |it: &String| Key::new(it.as_bytes()).shard() != Key::new(name.as_bytes()).shard();
        if found.iter().all(is_new) {
            found.push(name);
        }
        if found.len() == N {
            break;
        }
    }
    found.try_into().expect("so many were looked for")
}

fn set_of(names: &[&str]) -> ShardSet {
    let mut set = ShardSet::default();
    names.iter().for_each(|name| set.add(Key::new(name.as_bytes())));
    set
}

/// Runs `change` on the keys of the locked shards, as a command would.
fn with_view<T>(locked: &mut Locked<'_>, change: impl FnOnce(&mut View<'_, '_>) -> T) -> T {
    let (mut changes, mut random) = (Changes::default(), Random::with_seed(1));
    let access = Access::new(AccessPolicy::Lru, 1);
    let options = ViewOptions { notes_access: false, due_keys: DueKeys::Removed };
    change(&mut View::new(locked, 0, 1, access, options, &mut random, &mut changes))
}

/// The bytes at a key: a queue of elements of one byte.
fn read(view: &mut View<'_, '_>, name: &str) -> Vec<u8> {
    match view.find(Key::new(name.as_bytes())).map(|it| it.value()) {
        Some(rubine_structures::value::ValueRef::Bytes { bytes, .. }) => bytes.to_vec(),
        _ => Vec::new(),
    }
}

fn write(view: &mut View<'_, '_>, name: &str, bytes: &[u8]) {
    let key = Key::new(name.as_bytes());
    if bytes.is_empty() {
        view.remove(key);
    } else {
        view.store(key, Value::string(bytes), None);
    }
    view.note_change(key);
}

/// Two keys that are always changed together are never seen apart: not by whoever locks both, and not in an image.
#[test]
fn locks_are_taken_without_deadlock_and_images_are_of_one_instant() {
    shuttle::check_pct(
        || {
            let keyspace = Arc::new(Keyspace::new().0);
            let names: [String; 3] = names();
            let writers = [[0, 1], [1, 2], [2, 0]].map(|pair| {
                let (keyspace, names) = (Arc::clone(&keyspace), names.clone());
                thread::spawn(move || {
                    let [first, second] = pair.map(|it| names[it].as_str());
                    let mut locked = keyspace.lock(&set_of(&[first, second]));
                    with_view(&mut locked, |view| {
                        for name in [first, second] {
                            let mut bytes = read(view, name);
                            bytes.push(b'x');
                            write(view, name, &bytes);
                        }
                    });
                })
            });
            let looker = {
                let (keyspace, names) = (Arc::clone(&keyspace), names.clone());
                thread::spawn(move || {
                    let image = keyspace.snapshot();
                    let lens = names.each_ref().map(|name| {
                        let key = Key::new(name.as_bytes());
                        image.find(0, key).map_or(0, |it| match it.value() {
                            rubine_structures::value::ValueRef::Bytes { bytes, .. } => bytes.len(),
                            _ => panic!("only strings are written"),
                        })
                    });
                    assert!(lens.iter().sum::<usize>().is_multiple_of(2), "{lens:?}");
                })
            };
            writers.into_iter().chain([looker]).for_each(|it| it.join().expect("it ends"));
            let mut locked = keyspace.lock(&ShardSet::All);
            let lens =
                names.each_ref().map(|it| with_view(&mut locked, |view| read(view, it).len()));
            assert_eq!(lens, [2, 2, 2]);
        },
        ITERATION_COUNT,
        DEPTH,
    );
}

/// What the waiters of a test were given: client and element, in the order of serving.
type Served = Arc<shuttle::sync::Mutex<Vec<(u64, u8)>>>;

/// Takes the locks of a command when no hand-off is due, as the server does.
fn lock<'k>(keyspace: &'k Keyspace, set: &ShardSet, served: &Served) -> Locked<'k> {
    loop {
        let locked = keyspace.lock(set);
        let Some(shard) = locked.pending_hand_off() else { return locked };
        drop(locked);
        complete(keyspace, vec![shard], served);
    }
}

/// Ends a command: hand-offs that are due because of it are completed before its reply.
fn unlock(keyspace: &Keyspace, locked: Locked<'_>, served: &Served) {
    let pending = locked.pending_hand_offs();
    drop(locked);
    complete(keyspace, pending, served);
}

/// Completes hand-offs by the rules of `blocking.rs` in the server.
fn complete(keyspace: &Keyspace, shards: Vec<usize>, served: &Served) {
    complete_before(keyspace, shards, served, true);
}

fn complete_before(keyspace: &Keyspace, shards: Vec<usize>, served: &Served, yields: bool) {
    let mut shards = std::collections::VecDeque::from(shards);
    while let Some(shard) = shards.pop_front() {
        let set = ShardSet::of_shard(shard);
        loop {
            let locked = keyspace.lock(&set);
            let Some((ready, waiters)) = locked.next_hand_off() else { break };
            drop(locked);
            for waiter in waiters {
                let names: Vec<_> = waiter.keys.iter().map(|&it| text(&waiter.args[it])).collect();
                let mut locked = keyspace.lock(&set_of(&names));
                // What is due elsewhere comes first, once: two that wait for each other's keys would never get on.
                while locked.is_current(&ready) && yields {
                    let mut others = locked.pending_hand_offs();
                    others.retain(|it| *it != shard);
                    if others.is_empty() {
                        break;
                    }
                    drop(locked);
                    complete_before(keyspace, others, served, false);
                    locked = keyspace.lock(&set_of(&names));
                }
                if !locked.is_current(&ready) {
                    break;
                }
                let _serving = waiter.start_serving();
                if waiter.state() != WaiterState::Waiting {
                    continue;
                }
                let found = with_view(&mut locked, |view| pop(view, &names));
                if let Some(element) = found {
                    assert!(waiter.end(WaiterState::Served), "nobody else ends it meanwhile");
                    locked.remove_waiter(&waiter);
                    served.lock().expect("no panic").push((waiter.client, element));
                }
                shards.extend(locked.pending_hand_offs().into_iter().filter(|it| *it != shard));
            }
            keyspace.lock(&set).settle_hand_off(&ready);
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the names are text")
}

/// Takes the first element of the first key that has one.
fn pop(view: &mut View<'_, '_>, names: &[&str]) -> Option<u8> {
    names.iter().find_map(|name| {
        let bytes = read(view, name);
        let (first, rest) = bytes.split_first()?;
        write(view, name, rest);
        Some(*first)
    })
}

fn push(keyspace: &Keyspace, name: &str, element: u8, served: &Served) {
    let mut locked = lock(keyspace, &set_of(&[name]), served);
    with_view(&mut locked, |view| {
        let mut bytes = read(view, name);
        bytes.push(element);
        write(view, name, &bytes);
    });
    unlock(keyspace, locked, served);
}

/// Lets a client take an element or wait for one.
fn pop_or_wait(keyspace: &Keyspace, client: u64, names: &[&str], served: &Served) -> Arc<Waiter> {
    let args = names.iter().map(|it| Box::from(it.as_bytes())).collect();
    let waiter = Waiter::new(client, 0, 0, args, (0..names.len()).collect(), false, 2);
    let mut locked = lock(keyspace, &set_of(names), served);
    match with_view(&mut locked, |view| pop(view, names)) {
        Some(element) => {
            waiter.end(WaiterState::Served);
            served.lock().expect("no panic").push((client, element));
        }
        None => locked.add_waiter(&waiter),
    }
    unlock(keyspace, locked, served);
    waiter
}

/// Two clients wait, two elements come by two ways, and a third client wants one, too: it gets none.
#[test]
fn nobody_takes_an_element_from_an_earlier_waiter() {
    shuttle::check_pct(
        || {
            let keyspace = Arc::new(Keyspace::new().0);
            let served = Served::default();
            let [name, other]: [String; 2] = names();
            pop_or_wait(&keyspace, 1, &[&name], &served);
            pop_or_wait(&keyspace, 2, &[&other, &name], &served);
            let threads = [b'a', b'b', 0].map(|element| {
                let (keyspace, served) = (Arc::clone(&keyspace), Arc::clone(&served));
                let name = name.clone();
                thread::spawn(move || match element {
                    0 => {
                        pop_or_wait(&keyspace, 3, &[&name], &served);
                    }
                    element => push(&keyspace, &name, element, &served),
                })
            });
            threads.into_iter().for_each(|it| it.join().expect("it ends"));
            let served = served.lock().expect("no panic");
            let clients: Vec<_> = served.iter().map(|it| it.0).collect();
            assert_eq!(clients, [1, 2], "{served:?}");
        },
        ITERATION_COUNT,
        DEPTH,
    );
}

/// A wait that is ended from outside takes nothing, or has ended with what it took: no element is lost.
#[test]
fn a_cancelled_wait_loses_nothing() {
    shuttle::check_pct(
        || {
            let keyspace = Arc::new(Keyspace::new().0);
            let served = Served::default();
            let [name]: [String; 1] = names();
            let first = pop_or_wait(&keyspace, 1, &[&name], &served);
            let second = pop_or_wait(&keyspace, 2, &[&name], &served);
            let canceller = {
                let (keyspace, name, first) =
                    (Arc::clone(&keyspace), name.clone(), Arc::clone(&first));
                thread::spawn(move || {
                    let was_waiting = first.cancel();
                    if was_waiting {
                        keyspace.lock(&set_of(&[&name])).remove_waiter(&first);
                    }
                    was_waiting
                })
            };
            let pusher = {
                let (keyspace, served) = (Arc::clone(&keyspace), Arc::clone(&served));
                let name = name.clone();
                thread::spawn(move || push(&keyspace, &name, b'a', &served))
            };
            let was_cancelled = canceller.join().expect("it ends");
            pusher.join().expect("it ends");
            let expected = if was_cancelled { 2 } else { 1 };
            assert_eq!(*served.lock().expect("no panic"), [(expected, b'a')]);
            let state = if was_cancelled { WaiterState::Cancelled } else { WaiterState::Served };
            assert_eq!(first.state(), state);
            assert_eq!(second.state() == WaiterState::Served, was_cancelled);
        },
        ITERATION_COUNT,
        DEPTH,
    );
}

/// An element that comes while its only taker decides to wait is not left lying.
#[test]
fn nobody_waits_beside_an_element() {
    shuttle::check_pct(
        || {
            let keyspace = Arc::new(Keyspace::new().0);
            let served = Served::default();
            let [name, other]: [String; 2] = names();
            let waiting = {
                let (keyspace, served) = (Arc::clone(&keyspace), Arc::clone(&served));
                let (name, other) = (name.clone(), other.clone());
                thread::spawn(move || pop_or_wait(&keyspace, 1, &[&name, &other], &served))
            };
            let pushers = [name, other].map(|name| {
                let (keyspace, served) = (Arc::clone(&keyspace), Arc::clone(&served));
                thread::spawn(move || push(&keyspace, &name, b'a', &served))
            });
            let waiter = waiting.join().expect("it ends");
            pushers.into_iter().for_each(|it| it.join().expect("it ends"));
            assert_eq!(waiter.state(), WaiterState::Served);
            assert_eq!(served.lock().expect("no panic").len(), 1);
        },
        ITERATION_COUNT,
        DEPTH,
    );
}

/// Whoever waits for two keys takes no element from an earlier waiter of one of them, while another client is about to
/// hand it that waiter's element.
#[test]
fn who_waits_for_two_keys_comes_in_turn_at_both() {
    shuttle::check_pct(
        || {
            let keyspace = Arc::new(Keyspace::new().0);
            let served = Served::default();
            let [name, other]: [String; 2] = names();
            pop_or_wait(&keyspace, 1, &[&name], &served);
            pop_or_wait(&keyspace, 2, &[&name, &other], &served);
            let pushers = [(name, b'a'), (other, b'b')].map(|(name, element)| {
                let (keyspace, served) = (Arc::clone(&keyspace), Arc::clone(&served));
                thread::spawn(move || push(&keyspace, &name, element, &served))
            });
            pushers.into_iter().for_each(|it| it.join().expect("it ends"));
            let mut served = served.lock().expect("no panic").clone();
            served.sort_unstable();
            assert_eq!(served, [(1, b'a'), (2, b'b')]);
        },
        ITERATION_COUNT,
        DEPTH,
    );
}
