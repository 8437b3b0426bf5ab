//! Requests that stand for busy shards, on real threads and real locks. What shuttle explores is sequentially consistent;
//! these would miss a fence.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;

use rubine_base::random::Random;

use crate::busy::{Tell, Ticket};
use crate::key::SHARD_COUNT;
use crate::keyspace::{Keyspace, Locked, ShardSet};
use crate::sync::Mutex;

const CLIENT_COUNT: usize = 6;
const REQUEST_COUNT: usize = 10_000;

struct Bells(Vec<Mutex<Sender<()>>>);

impl Tell for Bells {
    fn tell(&self, _: usize, clients: &[u64]) {
        for &client in clients {
            let _ = self.0[client as usize].lock().send(());
        }
    }
}

fn keyspace() -> (Arc<Keyspace>, Vec<Receiver<()>>) {
    let (bells, hears): (Vec<_>, Vec<_>) = (0..CLIENT_COUNT).map(|_| channel()).unzip();
    let bells = Bells(bells.into_iter().map(Mutex::new).collect());
    (Arc::new(Keyspace::telling(Box::new(bells)).0), hears)
}

fn ticket(client: usize) -> Ticket {
    Ticket { worker: client / 2, client: client as u64 }
}

fn lock_or_stand<'k>(
    keyspace: &'k Keyspace,
    set: &ShardSet,
    client: usize,
    hears: &Receiver<()>,
) -> Locked<'k> {
    let mut standing = match keyspace.try_lock(set) {
        Ok(locked) => return locked,
        Err(busy) => keyspace.stand(ticket(client), busy),
    };
    loop {
        hears.recv().expect("the keyspace tells it");
        if let Some(locked) = keyspace.resume(set, &mut standing) {
            return locked;
        }
    }
}

/// Nearly all of these meet, and some hold their locks for longer than others look.
#[test]
fn nobody_is_forgotten() {
    let (keyspace, hears) = keyspace();
    let threads: Vec<_> = hears
        .into_iter()
        .enumerate()
        .map(|(client, hears)| {
            let keyspace = Arc::clone(&keyspace);
            thread::spawn(move || {
                let mut random = Random::with_seed(client as u64);
                for number in 0..REQUEST_COUNT {
                    let mut set = ShardSet::of_shard(random.below(3) as usize);
                    set.add_all(&ShardSet::of_shard(random.below(3) as usize));
                    if number % 50 == 0 {
                        set = ShardSet::All;
                    }
                    let locked = lock_or_stand(&keyspace, &set, client, &hears);
                    if random.below(20) == 0 {
                        thread::yield_now();
                    }
                    drop(locked);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|it| it.join().expect("it ends"));
    assert!(keyspace.try_lock(&ShardSet::All).is_ok(), "nobody stands any more");
}

/// While somebody holds a shard, whoever needs others has them at once, and walks pass it by.
#[test]
fn a_busy_shard_stops_nobody_else() {
    let (keyspace, hears) = keyspace();
    let (holds, lets_go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let holder = {
        let (keyspace, holds) = (Arc::clone(&keyspace), Arc::clone(&holds));
        let lets_go = Arc::clone(&lets_go);
        thread::spawn(move || {
            let _locked = keyspace.lock(&ShardSet::of_shard(7));
            holds.wait();
            lets_go.wait();
        })
    };
    holds.wait();
    assert_eq!(keyspace.try_lock(&ShardSet::of_shard(7)).err(), Some(7));
    assert_eq!(keyspace.try_lock(&ShardSet::All).err(), Some(7));
    assert!(keyspace.try_lock(&ShardSet::of_shard(8)).is_ok());
    let mut seen = 0;
    assert_eq!(keyspace.for_each_free_shard(|_, _| seen += 1), 1);
    assert_eq!(seen, SHARD_COUNT - 1);
    assert_eq!(keyspace.try_each_shard(|_, _| ()), Err(7));

    let set = ShardSet::of_shard(7);
    let mut standing = keyspace.stand(ticket(0), 7);
    let behind = keyspace.stand(ticket(1), 7);
    assert!(keyspace.resume(&set, &mut standing).is_none());
    assert!(hears[0].try_recv().is_err());
    lets_go.wait();
    holder.join().expect("it ends");
    // Both are of one worker and are told together; the second is not let past the first.
    hears[0].recv().expect("it is told");
    hears[1].recv().expect("it is told");
    let mut behind = behind;
    assert!(keyspace.try_lock(&set).is_err(), "newcomers come after those that stand");
    assert!(keyspace.resume(&set, &mut behind).is_none());
    assert!(keyspace.resume(&set, &mut standing).is_some());
    hears[1].recv().expect("it is told again");
    keyspace.withdraw(behind);
    assert!(keyspace.try_lock(&set).is_ok());
}

/// Whoever wants all and has to wait for one holds none of the others meanwhile.
#[test]
fn who_waits_for_a_busy_shard_keeps_nobody_from_the_others() {
    let (keyspace, _hears) = keyspace();
    let held = keyspace.lock(&ShardSet::of_shard(SHARD_COUNT - 1));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| drop(keyspace.lock(&ShardSet::All)));
        // It may just be looking; but it does not keep what it has got.
        let (mut in_a_row, mut looks) = (0, 0);
        while in_a_row < 1000 {
            let is_free = keyspace.try_lock(&ShardSet::of_shard(looks % (SHARD_COUNT - 1))).is_ok();
            in_a_row = if is_free { in_a_row + 1 } else { 0 };
            looks += 1;
            assert!(looks < 1_000_000, "shards are held all the time");
            thread::yield_now();
        }
        assert!(!waiter.is_finished());
        drop(held);
        waiter.join().expect("it has had them all");
    });
}
