//! A shard that somebody holds for long: whoever does not need it is served, by every worker, and whoever does has his turn
//! in the order of coming.

use std::time::Duration;

use rubine_testing::client::{Client, Received};
use rubine_testing::server::Server;
use rubine_testing::value::Value;

use crate::support::{call, elements, info, integer, options, send, wait_for_blocked, wait_until};

/// Long enough for all that is done meanwhile, on whatever machine.
const HOLD: &str = "DEBUG HOLD-SHARD held 3000";

/// Keys are in the same shards in every run.
fn server() -> Server {
    let options = options().with("workers", "4").with("enable-debug-command", "yes");
    options.with("hash-seed", "busy").start().expect("it starts")
}

fn has_nothing(client: &mut Client) -> bool {
    client.receive(Duration::from_millis(1)).expect("it lives") == Received::Nothing
}

fn text(value: &str) -> Value {
    Value::Bulk(value.as_bytes().to_vec())
}

#[test]
fn others_are_served_while_it_is_held() {
    let server = server();
    let mut control = server.client();
    let mut stander = server.client();
    call(&mut control, HOLD);
    send(&mut stander, "GET held");
    wait_for_blocked(&mut control, 1);
    for mut client in (0..8).map(|_| server.client()) {
        for key in 0..100 {
            assert_eq!(
                call(&mut client, &format!("SET other:{key} v")),
                Value::Status("OK".into())
            );
        }
        call(&mut client, "MULTI");
        call(&mut client, "INCR count");
        call(&mut client, "EXEC");
        assert_eq!(integer(&call(&mut client, "DBSIZE")), 101);
        assert!(info(&mut client, "keyspace", "db0").starts_with("keys=101,"));
        call(&mut client, "MEMORY STATS");
    }
    assert!(has_nothing(&mut stander), "it is still held");
    assert_eq!(stander.reply().expect("a reply"), Value::Nil);
}

#[test]
fn those_who_stand_have_their_turns_in_order() {
    let server = server();
    let mut control = server.client();
    call(&mut control, "SET held 0");
    call(&mut control, HOLD);
    let mut standers: Vec<_> = (1..=9).map(|_| server.client()).collect();
    for (index, client) in standers.iter_mut().enumerate() {
        if index == 4 {
            call(client, "MULTI");
            call(client, "APPEND held x");
            call(client, "APPEND elsewhere x");
            send(client, "EXEC");
        } else {
            send(client, &format!("APPEND held {index}"));
        }
        wait_for_blocked(&mut control, index + 1);
    }
    // Whoever goes away leaves nobody behind standing.
    drop(standers.remove(6));
    assert!(standers.iter_mut().all(has_nothing));
    for (index, client) in standers.iter_mut().enumerate() {
        let reply = client.reply().expect("a reply");
        let index = index + usize::from(6 <= index);
        match index {
            4 => assert_eq!(integer(&elements(&reply)[0]), 6),
            _ => assert_eq!(integer(&reply), index as i64 + 2),
        }
    }
    assert_eq!(call(&mut control, "GET held"), text("00123x5678"));
    wait_for_blocked(&mut control, 0);
}

#[test]
fn waits_end_and_watches_hold_while_it_is_held() {
    let server = server();
    let mut control = server.client();
    let mut waiter = server.client();
    let mut watcher = server.client();
    let mut writer = server.client();
    call(&mut watcher, "WATCH held");
    send(&mut waiter, "BLPOP held 0.5");
    wait_for_blocked(&mut control, 1);
    call(&mut control, HOLD);
    send(&mut writer, "RPUSH held a");
    call(&mut watcher, "MULTI");
    call(&mut watcher, "SET held never");
    // Its turn comes after that of the writer, which breaks the watch.
    wait_for_blocked(&mut control, 2);
    send(&mut watcher, "EXEC");
    assert_eq!(waiter.reply().expect("its time is over"), Value::NilArray);
    assert!(has_nothing(&mut writer), "it is still held");
    assert_eq!(integer(&writer.reply().expect("a reply")), 1);
    assert_eq!(watcher.reply().expect("a reply"), Value::NilArray);
    assert_eq!(integer(&call(&mut control, "LLEN held")), 1);
}

#[test]
fn walks_begin_again_when_it_is_free() {
    let server = server();
    let mut control = server.client();
    for key in 0..2000 {
        call(&mut control, &format!("SET key:{key} v"));
    }
    call(&mut control, "SELECT 1");
    call(&mut control, "SET one v");
    call(&mut control, HOLD);
    let walks = [
        (0, "KEYS *"),
        (1, "KEYS *"),
        (0, "SCAN 0 COUNT 100000"),
        (0, "DEBUG DIGEST"),
        (0, "SORT none BY none:* GET none:*"),
        (0, "SAVE"),
    ];
    let mut walkers: Vec<_> = walks.iter().map(|_| server.client()).collect();
    for (index, (client, (db, line))) in walkers.iter_mut().zip(walks).enumerate() {
        call(client, &format!("SELECT {db}"));
        send(client, line);
        wait_for_blocked(&mut control, index + 1);
    }
    assert!(walkers.iter_mut().all(has_nothing), "it is still held");
    let replies: Vec<_> =
        walkers.iter_mut().map(|client| client.reply().expect("a reply")).collect();
    assert_eq!(elements(&replies[0]).len(), 2000);
    assert_eq!(replies[1], Value::Array(vec![text("one")]));
    assert_eq!(elements(&elements(&replies[2])[1]).len(), 2000);
    assert_eq!(replies[3].as_text().expect("a digest").len(), 40);
    assert_eq!(replies[4], Value::Array(Vec::new()));
    assert_eq!(replies[5], Value::Status("OK".into()));
    // It waits only if chance has it look there first.
    assert_eq!(call(&mut control, "RANDOMKEY"), text("one"));
}

#[test]
fn expiry_passes_it_by() {
    let server = server();
    let mut control = server.client();
    let mut stander = server.client();
    for key in 0..100 {
        call(&mut control, &format!("SET due:{key} v PX 200"));
    }
    call(&mut control, HOLD);
    send(&mut stander, "GET held");
    wait_until("expiry", || info(&mut control, "stats", "expired_keys") == "100");
    assert!(has_nothing(&mut stander), "it is still held");
    assert_eq!(stander.reply().expect("a reply"), Value::Nil);
}
