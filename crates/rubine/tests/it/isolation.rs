//! What belongs together is never seen apart: transactions, MSET, expiry, and whole databases that go or change places
//! while others use them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rubine_testing::client::Client;
use rubine_testing::value::Value;

use crate::support::{call, elements, integer, number, parallel_server, pick, random, send};

/// Runs `line` within MULTI and EXEC and gives the replies.
fn transaction(client: &mut Client, lines: &[&str]) -> Vec<Value> {
    send(client, "MULTI");
    lines.iter().for_each(|line| send(client, line));
    send(client, "EXEC");
    for _ in 0..=lines.len() {
        client.reply().expect("OK or QUEUED");
    }
    elements(&client.reply().expect("EXEC")).to_vec()
}

/// Runs readers for as long as the writers take.
fn beside(writers: Vec<Box<dyn FnOnce() + Send + '_>>, readers: Vec<Box<dyn Fn() + Send + '_>>) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let is_over = &is_over;
        for reader in readers {
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    reader();
                }
            });
        }
        let writers: Vec<_> = writers.into_iter().map(|it| scope.spawn(it)).collect();
        let results: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|it| it.expect("a writer"));
    });
}

/// Money moves between accounts of many shards; whoever looks at all of them sees the same sum.
#[test]
fn transfers_keep_the_sum() {
    const ACCOUNTS: usize = 20;
    const TRANSFERS: usize = 1_000;
    const SUM: i64 = 1_000 * ACCOUNTS as i64;
    let server = parallel_server();
    let names: Vec<String> = (0..ACCOUNTS).map(|it| format!("account:{it}")).collect();
    let mut client = server.client();
    names.iter().for_each(|it| drop(call(&mut client, &format!("SET {it} 1000"))));
    let mget = format!("MGET {}", names.join(" "));
    let gets: Vec<String> = names.iter().map(|it| format!("GET {it}")).collect();
    let gets: Vec<&str> = gets.iter().map(String::as_str).collect();

    let transfer = |seed: u64| {
        let mut client = server.client();
        let mut random = random(seed);
        for _ in 0..TRANSFERS {
            let amount = random.below(50);
            let from = format!("DECRBY {} {amount}", pick(&mut random, &names));
            let to = format!("INCRBY {} {amount}", pick(&mut random, &names));
            transaction(&mut client, &[&from, "PING", &to]);
        }
    };
    let (transfer, server, mget, gets) = (&transfer, &server, &mget, &gets);
    let writers = (0..4).map(|seed| Box::new(move || transfer(seed)) as _).collect();
    let by_mget = || {
        let balances = call(&mut server.client(), mget);
        assert_eq!(elements(&balances).iter().map(number).sum::<i64>(), SUM);
    };
    let by_transaction = || {
        let balances = transaction(&mut server.client(), gets);
        assert_eq!(balances.iter().map(number).sum::<i64>(), SUM);
    };
    beside(writers, vec![Box::new(by_mget), Box::new(by_transaction)]);
    by_mget();
}

#[test]
fn mset_is_seen_whole_or_not_at_all() {
    const KEYS: usize = 12;
    const ROUNDS: usize = 1_200;
    let server = parallel_server();
    let names: Vec<String> = (0..KEYS).map(|it| format!("key:{it}")).collect();
    let reversed = names.iter().rev().map(|it| format!(" {it}")).collect::<String>();
    let write = |writer: usize| {
        let mut client = server.client();
        for round in 0..ROUNDS {
            let pairs = names.iter().map(|it| format!(" {it} {writer}:{round}"));
            call(&mut client, &format!("MSET{}", pairs.collect::<String>()));
        }
    };
    let (write, server, reversed) = (&write, &server, &reversed);
    let writers = (0..3).map(|it| Box::new(move || write(it)) as _).collect();
    let read = || {
        let values = call(&mut server.client(), &format!("MGET{reversed}"));
        let values = elements(&values);
        assert!(values.iter().all(|it| *it == values[0]), "{values:?}");
    };
    beside(writers, vec![Box::new(read), Box::new(read)]);
}

/// Two keys of a transaction have one deadline, so they go at one instant, whoever notices.
#[test]
fn what_falls_due_together_goes_together() {
    const ROUNDS: usize = 600;
    let server = parallel_server();
    let write = || {
        let mut client = server.client();
        let mut random = random(7);
        for _ in 0..ROUNDS {
            let span = 1 + random.below(6);
            let (one, other) = (format!("SET one v PX {span}"), format!("SET other v PX {span}"));
            let replies = transaction(&mut client, &[&one, &other, "EXISTS one other"]);
            assert_eq!(integer(&replies[2]), 2, "nothing falls due within a transaction");
        }
    };
    let read = || {
        let mut client = server.client();
        let values = call(&mut client, "MGET one other");
        let values = elements(&values);
        assert_eq!(values[0], values[1], "one of two keys fell due earlier");
        assert_eq!(integer(&call(&mut client, "EXISTS other one")) % 2, 0);
    };
    beside(vec![Box::new(write)], vec![Box::new(read), Box::new(read)]);
}

/// Pairs of equal values in two databases, which are flushed and swapped all the time: no pair is ever torn.
#[test]
fn flushing_and_swapping_tear_nothing() {
    const ROUNDS: usize = 600;
    const PAIRS: u64 = 8;
    let server = parallel_server();
    let write = |db: u64| {
        let mut client = server.client();
        let mut random = random(db);
        call(&mut client, &format!("SELECT {db}"));
        for round in 0..ROUNDS {
            let pair = random.below(PAIRS);
            call(&mut client, &format!("MSET left:{pair} {db}:{round} right:{pair} {db}:{round}"));
        }
    };
    let upset = || {
        let mut client = server.client();
        let mut random = random(99);
        let lines = ["SWAPDB 0 1", "FLUSHDB", "FLUSHALL ASYNC", "FLUSHALL SYNC", "SWAPDB 1 0"];
        for _ in 0..ROUNDS {
            let line: &&str = pick(&mut random, &lines);
            assert_eq!(call(&mut client, line), Value::Status("OK".into()));
        }
    };
    let read = || {
        let mut client = server.client();
        for db in 0..2 {
            call(&mut client, &format!("SELECT {db}"));
            for pair in 0..PAIRS {
                let values = call(&mut client, &format!("MGET left:{pair} right:{pair}"));
                assert_eq!(elements(&values)[0], elements(&values)[1], "a torn pair");
            }
            let counts = transaction(&mut client, &["DBSIZE", "KEYS *"]);
            assert_eq!(integer(&counts[0]), elements(&counts[1]).len() as i64);
            assert_eq!(integer(&counts[0]) % 2, 0, "half a pair is counted");
        }
    };
    let (write, upset, read) = (&write, &upset, &read);
    let writers: Vec<Box<dyn FnOnce() + Send + '_>> =
        vec![Box::new(|| write(0)), Box::new(|| write(1)), Box::new(upset)];
    beside(writers, vec![Box::new(read), Box::new(read)]);
    let mut client = server.client();
    call(&mut client, "FLUSHALL");
    for db in 0..2 {
        call(&mut client, &format!("SELECT {db}"));
        assert_eq!(integer(&call(&mut client, "DBSIZE")), 0);
    }
}
