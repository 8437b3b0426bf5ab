//! Clients that wait, on several workers: first come, first served; nobody takes what is another's; and a wait that
//! ends just when something comes loses nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rubine_testing::client::Client;
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{
    call, elements, info, integer, parallel_server, random, send, wait_for_blocked, wait_until,
};

const WAITERS: usize = 9;

/// Lets clients wait with `line`, one after the other.
fn queue_up(server: &Server, control: &mut Client, line: &str) -> Vec<Client> {
    (0..WAITERS)
        .map(|index| {
            let mut waiter = server.client();
            send(&mut waiter, line);
            wait_for_blocked(control, index + 1);
            waiter
        })
        .collect()
}

#[test]
fn first_come_first_served_on_all_workers() {
    let server = parallel_server();
    let mut control = server.client();
    let pushes = [
        "RPUSH queue 0 1 2 3 4 5 6 7 8",
        "LPUSH queue 8 7 6 5 4 3 2 1 0",
        "COPY source queue",
        "RENAME source queue",
    ];
    for push in pushes {
        call(&mut control, "DEL source");
        call(&mut control, "RPUSH source 0 1 2 3 4 5 6 7 8");
        let mut waiters = queue_up(&server, &mut control, "BLPOP none queue 0");
        call(&mut control, push);
        for (index, waiter) in waiters.iter_mut().enumerate() {
            let reply = waiter.reply().expect("it is served");
            assert_eq!(elements(&reply)[1].as_text(), Some(index.to_string()), "{push}");
        }
        assert_eq!(integer(&call(&mut control, "EXISTS queue")), 0);
        wait_for_blocked(&mut control, 0);
    }
}

/// There are as many elements as waiters, so whoever pops without waiting finds nothing.
#[test]
fn nobody_steals_from_a_waiter() {
    let server = parallel_server();
    let mut control = server.client();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for line in
            ["LPOP queue", "LMPOP 2 other queue RIGHT", "RPOPLPUSH queue queue", "DEL queue"]
        {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let mut thief = server.client();
                while !is_over.load(Ordering::Relaxed) {
                    let reply = call(&mut thief, line);
                    let is_nothing =
                        matches!(reply, Value::Nil | Value::NilArray | Value::Integer(0));
                    if !is_nothing {
                        is_over.store(true, Ordering::Relaxed);
                        panic!("{line} found {reply:?}");
                    }
                }
            });
        }
        for round in 0..12 {
            let mut waiters = queue_up(&server, &mut control, "BLPOP queue 0");
            let items = (0..WAITERS).map(|it| format!(" {it}")).collect::<String>();
            if round % 2 == 0 {
                call(&mut control, &format!("RPUSH queue{items}"));
            } else {
                call(&mut control, "MULTI");
                items.split_whitespace().for_each(|it| {
                    call(&mut control, &format!("RPUSH queue {it}"));
                });
                call(&mut control, "EXEC");
            }
            for (index, waiter) in waiters.iter_mut().enumerate() {
                let Ok(reply) = waiter.reply() else {
                    is_over.store(true, Ordering::Relaxed);
                    panic!("waiter {index} got nothing");
                };
                assert_eq!(elements(&reply)[1].as_text(), Some(index.to_string()));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Waits as short as the pushes are far apart, so that many end just when something comes; others are ended by
/// CLIENT UNBLOCK.
#[test]
fn a_wait_that_ends_loses_nothing() {
    const CONSUMERS: usize = 5;
    const ITEMS: usize = 1_500;
    let server = parallel_server();
    let taken = AtomicUsize::new(0);
    let is_over = || ITEMS <= taken.load(Ordering::Relaxed);
    let consume = |index: usize, ids: &[AtomicUsize]| {
        let mut client = server.client();
        ids[index].store(integer(&call(&mut client, "CLIENT ID")) as usize, Ordering::Relaxed);
        let mut seen = Vec::new();
        while !is_over() {
            let line = match index % 3 {
                0 => "BLPOP queue 0.002",
                1 => "BRPOP queue other 0.005",
                _ => "BLMPOP 0.003 2 other queue LEFT COUNT 2",
            };
            match call(&mut client, line) {
                Value::NilArray | Value::Nil => {}
                Value::Array(pair) => {
                    let items = pair[1].as_elements().unwrap_or(&pair[1..]);
                    seen.extend(items.iter().map(|it| it.as_text().expect("an element")));
                    taken.fetch_add(items.len(), Ordering::Relaxed);
                }
                other => panic!("{other:?}"),
            }
        }
        seen
    };
    let ids: Vec<AtomicUsize> = (0..CONSUMERS).map(|_| AtomicUsize::new(0)).collect();
    let (server, consume, is_over, ids) = (&server, &consume, &is_over, &ids);
    let mut seen: Vec<String> = thread::scope(|scope| {
        scope.spawn(move || {
            let mut client = server.client();
            for item in 0..ITEMS {
                if item % 3 == 0 {
                    thread::sleep(std::time::Duration::from_millis(2));
                }
                call(&mut client, &format!("RPUSH queue item:{item:04}"));
            }
        });
        scope.spawn(move || {
            let mut client = server.client();
            let mut random = random(3);
            while !is_over() {
                let id = ids[random.below(CONSUMERS as u64) as usize].load(Ordering::Relaxed);
                call(&mut client, &format!("CLIENT UNBLOCK {id} TIMEOUT"));
            }
        });
        let threads: Vec<_> =
            (0..CONSUMERS).map(|it| scope.spawn(move || consume(it, ids))).collect();
        threads.into_iter().flat_map(|it| it.join().expect("a consumer")).collect()
    });
    seen.sort_unstable();
    assert!((0..ITEMS).map(|it| format!("item:{it:04}")).eq(seen));
}

/// What is pushed goes past those who went away.
#[test]
fn a_waiter_that_goes_leaves_its_place() {
    let server = parallel_server();
    let mut control = server.client();
    let mut waiters = queue_up(&server, &mut control, "BLMOVE queue target LEFT RIGHT 0");
    drop(waiters.drain(..WAITERS - 1));
    wait_for_blocked(&mut control, 1);
    call(&mut control, "RPUSH queue only");
    let reply = waiters[0].reply().expect("it is served");
    assert_eq!(reply.as_text().as_deref(), Some("only"));
    assert_eq!(integer(&call(&mut control, "LLEN target")), 1);
    drop(waiters);
    wait_until("clients gone", || info(&mut control, "clients", "connected_clients") == "1");
}
