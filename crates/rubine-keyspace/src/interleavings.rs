//! The shard locks and the hand-off to waiters under shuttle's scheduler:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p rubine-keyspace`. There are four shards then. Two locks taken in two orders,
//! or a hand-off that nobody completes, show as a deadlock or as a client that waits although there is something.

use std::sync::Arc;

use rubine_base::random::Random;
use rubine_structures::value::{Type, Value};
use shuttle::thread;

use crate::{
    Access, AccessPolicy, Awaited, Changes, DueKeys, Key, Keyspace, Locked, OwedHandOffs, Serve,
    ShardSet, Stale, Standing, Tell, Ticket, Tracking, View, ViewOptions, Waiter, WaiterState,
    complete_hand_offs, lock_in_turn,
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

/// As [`with_view`], where copies of keys are noted. Returns those that are out of date.
fn with_tracking_view(
    locked: &mut Locked<'_>,
    change: impl FnOnce(&mut View<'_, '_>),
) -> Vec<Stale> {
    let (mut changes, mut random) = (Changes::default(), Random::with_seed(1));
    changes.tracking = Tracking::Read;
    let access = Access::new(AccessPolicy::Lru, 1);
    let options = ViewOptions { notes_access: false, due_keys: DueKeys::Removed };
    change(&mut View::new(locked, 0, 1, access, options, &mut random, &mut changes));
    changes.stale
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

#[test]
fn who_adds_locks_stops_nobody_and_is_alone() {
    shuttle::check_pct(
        || {
            let keyspace = Arc::new(Keyspace::new().0);
            let names: [String; 3] = names();
            let append = |locked: &mut Locked<'_>, name: &str| {
                with_view(locked, |view| {
                    let mut bytes = read(view, name);
                    bytes.push(b'x');
                    write(view, name, &bytes);
                });
            };
            let writers = [[0, 1], [1, 2], [2, 0]].map(|pair| {
                let (keyspace, names) = (Arc::clone(&keyspace), names.clone());
                thread::spawn(move || {
                    let [first, second] = pair.map(|it| names[it].as_str());
                    let mut locked = keyspace.lock(&set_of(&[first]).several());
                    let before = with_view(&mut locked, |view| read(view, first));
                    append(&mut locked, first);
                    if locked.try_add(&set_of(&[second])) {
                        append(&mut locked, second);
                        return;
                    }
                    // It is taken back, and done with all that it needs.
                    with_view(&mut locked, |view| write(view, first, &before));
                    drop(locked);
                    let mut locked = keyspace.lock(&set_of(&[first, second]));
                    [first, second].iter().for_each(|name| append(&mut locked, name));
                })
            });
            let looker = {
                let (keyspace, names) = (Arc::clone(&keyspace), names.clone());
                thread::spawn(move || {
                    let mut locked = keyspace.lock(&ShardSet::All);
                    let lens = names
                        .each_ref()
                        .map(|it| with_view(&mut locked, |view| read(view, it).len()));
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

/// Takes the locks of a command when no hand-off is due, as a thread does that may wait.
fn lock<'k>(keyspace: &'k Keyspace, set: &ShardSet, served: &Served) -> Locked<'k> {
    loop {
        let locked = keyspace.lock(set);
        let Some(shard) = locked.pending_hand_off() else { return locked };
        drop(locked);
        complete_hand_offs(keyspace, vec![shard], &mut Popper(served));
    }
}

/// Ends a command: hand-offs that are due because of it are completed before its reply.
fn unlock(keyspace: &Keyspace, locked: Locked<'_>, served: &Served) {
    let pending = locked.pending_hand_offs();
    drop(locked);
    complete_hand_offs(keyspace, pending, &mut Popper(served));
}

/// Serves clients that wait for an element.
struct Popper<'a>(&'a Served);

impl Serve for Popper<'_> {
    type Reply = u8;

    fn now(&self) -> i64 {
        1
    }

    fn shards_of(&self, waiter: &Waiter) -> ShardSet {
        waiter.shards()
    }

    fn run(&mut self, waiter: &Waiter, locked: &mut Locked<'_>) -> Option<u8> {
        let names: Vec<_> = waiter.args.iter().map(|it| text(it)).collect();
        with_view(locked, |view| pop(view, &names))
    }

    fn answer(&mut self, waiter: &Waiter, element: u8, _: &Locked<'_>) {
        self.0.lock().expect("no panic").push((waiter.client, element));
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
    let awaited = Awaited::Type(Type::String);
    let waiter = Waiter::new(client, 0, 0, args, (0..names.len()).collect(), awaited, 2);
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

/// What every client of a test hears of its turns.
type Bells = Arc<Vec<shuttle::sync::Mutex<shuttle::sync::mpsc::Sender<()>>>>;

/// Rings the client's bell: each is a worker of its own.
struct Ring(Bells);

impl Tell for Ring {
    fn tell(&self, _: usize, clients: &[u64]) {
        for &client in clients {
            // Whoever is gone hears nothing.
            let _ = self.0[client as usize].lock().expect("no panic").send(());
        }
    }
}

/// A keyspace for clients that stand for busy shards, with what each hears.
fn keyspace_with_bells<const N: usize>()
-> (Arc<Keyspace>, [Option<shuttle::sync::mpsc::Receiver<()>>; N]) {
    let (bells, receivers): (Vec<_>, Vec<_>) =
        (0..N).map(|_| shuttle::sync::mpsc::channel()).unzip();
    let bells = Arc::new(bells.into_iter().map(shuttle::sync::Mutex::new).collect());
    let keyspace = Arc::new(Keyspace::telling(Box::new(Ring(bells))).0);
    let receivers: Vec<_> = receivers.into_iter().map(Some).collect();
    (keyspace, receivers.try_into().expect("there is one for each"))
}

fn ticket(client: u64) -> Ticket {
    Ticket { worker: client as usize, client }
}

/// Goes on when the bell rings until the locks are there.
fn wait_for_turn<'k>(
    keyspace: &'k Keyspace,
    set: &ShardSet,
    mut standing: Standing,
    bell: &shuttle::sync::mpsc::Receiver<()>,
) -> Locked<'k> {
    loop {
        bell.recv().expect("the keyspace rings it");
        if let Some(locked) = keyspace.resume(set, &mut standing) {
            return locked;
        }
    }
}

/// For each set a thread that takes its locks as a worker does, and gives them back.
fn spawn_requests<const N: usize>(
    keyspace: &Arc<Keyspace>,
    sets: [ShardSet; N],
    bells: &mut [Option<shuttle::sync::mpsc::Receiver<()>>; N],
) -> Vec<thread::JoinHandle<()>> {
    let requests = sets.into_iter().zip(bells).enumerate();
    requests
        .map(|(client, (set, bell))| {
            let keyspace = Arc::clone(keyspace);
            let bell = bell.take().expect("each has its own");
            thread::spawn(move || drop(lock_or_stand(&keyspace, &set, client as u64, &bell)))
        })
        .collect()
}

/// Takes locks as a worker does for a request.
fn lock_or_stand<'k>(
    keyspace: &'k Keyspace,
    set: &ShardSet,
    client: u64,
    bell: &shuttle::sync::mpsc::Receiver<()>,
) -> Locked<'k> {
    match keyspace.try_lock(set) {
        Ok(locked) => locked,
        Err(busy) => wait_for_turn(keyspace, set, keyspace.stand(ticket(client), busy), bell),
    }
}

/// Requests for one shard, for several and for all, beside one that may wait: each has its turn, and no wake-up is lost.
#[test]
fn all_that_stand_for_busy_shards_go_on() {
    shuttle::check_pct(
        || {
            let (keyspace, mut bells) = keyspace_with_bells::<4>();
            let [name, other]: [String; 2] = names();
            let sets =
                [set_of(&[&name]), set_of(&[&other, &name]), ShardSet::All, set_of(&[&other])];
            let mut threads = spawn_requests(&keyspace, sets, &mut bells);
            let patient = Arc::clone(&keyspace);
            threads.push(thread::spawn(move || drop(patient.lock(&set_of(&[&name])))));
            threads.into_iter().for_each(|it| it.join().expect("it ends"));
            let is_free = keyspace.try_lock(&ShardSet::All).is_ok();
            assert!(is_free, "nobody stands any more");
        },
        ITERATION_COUNT,
        DEPTH,
    );
}

/// Two stand for a shard while it is held; a third comes when it may be free already. They have it in this order.
#[test]
fn those_who_stand_come_in_their_order() {
    shuttle::check_pct(
        || {
            let (keyspace, mut bells) = keyspace_with_bells::<3>();
            let [name, other]: [String; 2] = names();
            let order = Arc::new(shuttle::sync::Mutex::new(Vec::new()));
            let held = keyspace.lock(&set_of(&[&name]));
            // The first needs more than the one that is busy.
            let sets = [set_of(&[&name, &other]), set_of(&[&name]), set_of(&[&name])];
            let standing = [0, 1].map(|client| {
                let busy = keyspace.try_lock(&sets[client]).expect_err("it is held");
                keyspace.stand(ticket(client as u64), busy)
            });
            let mut standing = standing.map(Some).into_iter().flatten();
            let threads = [0, 1, 2].map(|client| {
                let (keyspace, order) = (Arc::clone(&keyspace), Arc::clone(&order));
                let bell = bells[client].take().expect("each has its own");
                let (set, standing) = (sets[client].clone(), standing.next());
                thread::spawn(move || {
                    let locked = match standing {
                        Some(standing) => wait_for_turn(&keyspace, &set, standing, &bell),
                        None => lock_or_stand(&keyspace, &set, client as u64, &bell),
                    };
                    order.lock().expect("no panic").push(client);
                    drop(locked);
                })
            });
            drop(held);
            threads.into_iter().for_each(|it| it.join().expect("it ends"));
            assert_eq!(*order.lock().expect("no panic"), [0, 1, 2]);
        },
        ITERATION_COUNT,
        DEPTH,
    );
}

/// Whoever goes away, told or not, hands his turn on.
#[test]
fn withdrawn_tickets_hand_on() {
    shuttle::check_pct(
        || {
            let (keyspace, mut bells) = keyspace_with_bells::<2>();
            let [name]: [String; 1] = names();
            let set = set_of(&[&name]);
            let held = keyspace.lock(&set);
            let leaves = keyspace.stand(ticket(0), set.each().next().expect("one").into());
            let leaver = {
                let keyspace = Arc::clone(&keyspace);
                thread::spawn(move || keyspace.withdraw(leaves))
            };
            let stays = {
                let keyspace = Arc::clone(&keyspace);
                let bell = bells[1].take().expect("each has its own");
                thread::spawn(move || drop(lock_or_stand(&keyspace, &set, 1, &bell)))
            };
            drop(held);
            leaver.join().expect("it ends");
            stays.join().expect("it ends");
        },
        ITERATION_COUNT,
        DEPTH,
    );
}

/// Somebody who may wait takes the lock after the front was told: its turn comes again.
#[test]
fn a_turn_that_came_to_nothing_comes_again() {
    shuttle::check_pct(
        || {
            let (keyspace, mut bells) = keyspace_with_bells::<1>();
            let [name]: [String; 1] = names();
            let set = set_of(&[&name]);
            let held = keyspace.lock(&set);
            let standing = keyspace.stand(ticket(0), Key::new(name.as_bytes()).shard());
            let patient = {
                let (keyspace, set) = (Arc::clone(&keyspace), set.clone());
                thread::spawn(move || drop(keyspace.lock(&set)))
            };
            let stands = {
                let keyspace = Arc::clone(&keyspace);
                let bell = bells[0].take().expect("there is one");
                thread::spawn(move || drop(wait_for_turn(&keyspace, &set, standing, &bell)))
            };
            drop(held);
            patient.join().expect("it ends");
            stands.join().expect("it ends");
        },
        ITERATION_COUNT,
        DEPTH,
    );
}

/// Requests for several shards meet one busy shard after the other, and keep their places in the end: all go on.
#[test]
fn requests_that_move_go_on() {
    shuttle::check_pct(
        || {
            let (keyspace, mut bells) = keyspace_with_bells::<4>();
            let [first, second, third]: [String; 3] = names();
            let [one, two, three] = [&first, &second, &third].map(|it| set_of(&[it]));
            let held = [&one, &two, &three].map(|it| keyspace.lock(it));
            let sets = [ShardSet::All, set_of(&[&first, &second, &third]), one, two];
            let mut threads = spawn_requests(&keyspace, sets, &mut bells);
            let patient = Arc::clone(&keyspace);
            threads.push(thread::spawn(move || drop(patient.lock(&three))));
            held.into_iter().for_each(drop);
            threads.into_iter().for_each(|it| it.join().expect("it ends"));
            assert!(keyspace.try_lock(&ShardSet::All).is_ok(), "nobody stands any more");
        },
        ITERATION_COUNT,
        DEPTH + 2,
    );
}

/// Two workers push to keys for which others wait, while somebody holds one of the shards for long: they hold no lock
/// meanwhile, and everybody is served in the end, in turn.
#[test]
fn hand_offs_do_not_wait_for_busy_shards() {
    shuttle::check_pct(
        || {
            let (keyspace, mut bells) = keyspace_with_bells::<2>();
            let served = Served::default();
            let [name, other]: [String; 2] = names();
            pop_or_wait(&keyspace, 1, &[&name, &other], &served);
            pop_or_wait(&keyspace, 2, &[&name], &served);
            pop_or_wait(&keyspace, 3, &[&name, &other], &served);
            let patient = {
                let (keyspace, other) = (Arc::clone(&keyspace), other.clone());
                thread::spawn(move || drop(keyspace.lock(&set_of(&[&other]))))
            };
            let pushers = [(0, name.clone()), (1, name)].map(|(client, name)| {
                let (keyspace, served) = (Arc::clone(&keyspace), Arc::clone(&served));
                let bell = bells[client].take().expect("each has its own");
                thread::spawn(move || push_in_turn(&keyspace, client as u64, &name, &served, &bell))
            });
            pushers.into_iter().for_each(|it| it.join().expect("it ends"));
            patient.join().expect("it ends");
            let served: Vec<_> = served.lock().expect("no panic").iter().map(|it| it.0).collect();
            assert_eq!(served, [1, 2]);
        },
        ITERATION_COUNT / 4,
        DEPTH,
    );
}

/// Pushes an element as a worker does, which waits for nothing but the bell.
fn push_in_turn(
    keyspace: &Keyspace,
    client: u64,
    name: &str,
    served: &Served,
    bell: &shuttle::sync::mpsc::Receiver<()>,
) {
    let (set, mut standing) = (set_of(&[name]), None);
    let mut server = Popper(served);
    let mut locked = loop {
        match lock_in_turn(keyspace, &set, ticket(client), &mut standing, &mut server) {
            Some(locked) => break locked,
            None => bell.recv().expect("the keyspace rings it"),
        }
    };
    with_view(&mut locked, |view| {
        let mut bytes = read(view, name);
        bytes.push(b'a');
        write(view, name, &bytes);
    });
    let pending = locked.pending_hand_offs();
    drop(locked);
    let mut owed = OwedHandOffs::default();
    let mut is_done = owed.complete(keyspace, pending, ticket(client), &mut server);
    while !is_done {
        bell.recv().expect("the keyspace rings it");
        is_done = owed.complete(keyspace, Vec::new(), ticket(client), &mut server);
    }
}

/// A client reads a key and keeps a copy; others change the key. Whoever changes it posts a notice while the key is locked,
/// and the client looks for notices when it has locked the key: it never sees another value than its copy without having
/// found one, and in the end its copy is right or a notice is there.
#[test]
fn a_copy_is_taken_back_before_another_value_is_seen() {
    shuttle::check_pct(
        || {
            const READER: u32 = 7;
            let keyspace = Arc::new(Keyspace::new().0);
            let [name]: [String; 1] = names();
            let inbox = Arc::new(shuttle::sync::Mutex::new(0_usize));
            let writers = [b"a", b"b"].map(|value| {
                let (keyspace, name, inbox) = (keyspace.clone(), name.clone(), inbox.clone());
                thread::spawn(move || {
                    let mut locked = keyspace.lock(&set_of(&[&name]));
                    let stale = with_tracking_view(&mut locked, |view| write(view, &name, value));
                    for stale in stale {
                        let Stale::Read { readers, .. } = stale else { panic!("it has readers") };
                        assert_eq!(readers.numbers().collect::<Vec<_>>(), [READER]);
                        *inbox.lock().expect("nobody panics") += 1;
                    }
                })
            });
            let reader = {
                let (keyspace, name, inbox) = (keyspace.clone(), name.clone(), inbox.clone());
                thread::spawn(move || {
                    let mut copy: Option<Vec<u8>> = None;
                    for _ in 0..3 {
                        let mut locked = keyspace.lock(&set_of(&[&name]));
                        let found = std::mem::take(&mut *inbox.lock().expect("nobody panics"));
                        if found != 0 {
                            copy = None;
                        }
                        let value = with_view(&mut locked, |view| read(view, &name));
                        locked.add_reader(Key::new(name.as_bytes()), READER);
                        drop(locked);
                        assert!(copy.is_none_or(|it| it == value), "nobody has said so");
                        copy = Some(value);
                    }
                    copy.expect("it has read")
                })
            };
            writers.into_iter().for_each(|it| it.join().expect("it ends"));
            let copy = reader.join().expect("it ends");
            let mut locked = keyspace.lock(&ShardSet::All);
            let value = with_view(&mut locked, |view| read(view, &name));
            let is_told = *inbox.lock().expect("nobody panics") != 0;
            assert!(copy == value || is_told, "the copy stays out of date");
        },
        ITERATION_COUNT,
        DEPTH,
    );
}
